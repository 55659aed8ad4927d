//! `hop`, `admit`, `chain`, `saturation`: the real runtime on the real broker, with a processor that does
//! nothing, beside a relay that promises nothing and one that makes transactions.

use std::sync::Arc;

use domain::event::ExecutionEvent;
use domain::topic::{Kind, Topic};
use runtime::partition;
use runtime::worker;
use schemas::Ids;

use crate::flight::Id;
use crate::lane::{Encode, Lane, Probe, id_of_text, side_by_side, warm_up};
use crate::peers;
use crate::platform::{Platform, Running};
use crate::relay::{self, ENTITIES, PADDED, Relay, Work};
use crate::report::{Reach, Report, Row};
use crate::stack::Stack;

/// Ways take turns so often.
const ROUNDS: u32 = 4;
/// Seconds of warm-up before each flight.
const WARM: f64 = 1.0;
/// Records a second while the broker warms up.
const WARM_UP_RATE: u64 = 2_000;
/// Partitions of each topic: the development layout.
const PARTITIONS: i32 = 4;

/// A platform with a worker that has taken over and a thousand entities.
struct Ground {
    platform: Platform,
    running: Running,
    results: Arc<Probe>,
}

impl Ground {
    fn prepare(stack: &Stack, work: Work) -> anyhow::Result<Self> {
        let platform = Platform::make(stack, PARTITIONS)?;
        let options = worker::Options {
            partition: partition::Options { window: None, ..partition::Options::default() },
            ..worker::Options::default()
        };
        let running = platform.start(Relay { work }, options);
        let results = Arc::new(results_probe(&platform)?);
        let ground = Self { platform, running, results };
        let feed = Topic::Feed(Kind::Workflow);
        let made = ground.lane("entities", feed, relay::makes_entity)?.fly(ENTITIES, 0.0, 1.0)?;
        if let Some(void) = made.void {
            anyhow::bail!("making the entities: {void}");
        }
        Ok(ground)
    }

    /// A way through the runtime.
    fn lane(
        &self,
        name: &str,
        topic: Topic,
        encode: impl Fn(&Ids, Id) -> (String, Vec<u8>) + Send + Sync + 'static,
    ) -> anyhow::Result<Lane> {
        let ids = self.platform.ids.clone();
        let encode: Encode = Box::new(move |id| encode(&ids, id));
        let topic = self.platform.topic(topic);
        self.lane_to(name, &topic, &self.results, encode)
    }

    fn lane_to(
        &self,
        name: &str,
        topic: &str,
        probe: &Arc<Probe>,
        encode: Encode,
    ) -> anyhow::Result<Lane> {
        let Platform { brokers, broker_pid, .. } = &self.platform;
        Lane::new(brokers, *broker_pid, name, topic, probe, encode)
    }

    /// A way of so many hops through the log.
    fn hops(&self, name: &str, hops: i32) -> anyhow::Result<Lane> {
        self.lane(name, Topic::Log(Kind::Workflow), move |ids, id| relay::starts(ids, id, hops))
    }

    fn stop(self) -> anyhow::Result<()> {
        drop(self.results);
        self.platform.stop(self.running)
    }
}

fn results_probe(platform: &Platform) -> anyhow::Result<Probe> {
    let ids = platform.ids.clone();
    let results = platform.topic(Topic::Results);
    Probe::start(&platform.brokers, &results, move |value| {
        let event = ids.read::<ExecutionEvent>(value).ok()?;
        Id::at_front(event.data.as_deref()?)
    })
}

fn plain(id: Id) -> (String, Vec<u8>) {
    (id.to_string(), relay::text(id, PADDED).into_bytes())
}

/// The ways to compare with, on topics of their own.
struct Peers {
    leg: Lane,
    plain: Lane,
    transactional: Lane,
    // Dropped after the lanes, which have nothing left to send then.
    _relays: [peers::Relay; 2],
}

impl Peers {
    fn prepare(ground: &Ground) -> anyhow::Result<Self> {
        let Platform { brokers, runtime, .. } = &ground.platform;
        let prefix = ground.platform.prefix();
        let name = |what: &str| format!("{prefix}peer-{what}");
        let names = ["leg", "plain-in", "plain-out", "tx-in", "tx-out"].map(name);
        let [leg, plain_in, plain_out, tx_in, tx_out] = &names;
        runtime.block_on(crate::client::make_topics(
            brokers,
            &names.each_ref().map(String::as_str),
            PARTITIONS,
        ))?;
        let relays = [
            peers::Relay::plain(brokers, plain_in, plain_out)?,
            peers::Relay::transactional(brokers, tx_in, tx_out, &name("tx"))?,
        ];
        let lane = |name: &str, topic: &str, out: &str| {
            let probe = Arc::new(Probe::start(brokers, out, id_of_text)?);
            ground.lane_to(name, topic, &probe, Box::new(plain))
        };
        Ok(Self {
            leg: lane("one produce and consume", leg, leg)?,
            plain: lane("raw hop (promises nothing)", plain_in, plain_out)?,
            transactional: lane("transaction per batch", tx_in, tx_out)?,
            _relays: relays,
        })
    }
}

/// `hop`: log record, fold, output read by the next.
pub(crate) fn hop(stack: &Stack, seconds: u64) -> anyhow::Result<Report> {
    let ground = Ground::prepare(stack, Work::Nothing)?;
    let peers = Peers::prepare(&ground)?;
    let hop = ground.hops("hop", 1)?;
    let lanes = [&peers.leg, &peers.plain, &hop, &peers.transactional];
    warm_up(&lanes, WARM_UP_RATE)?;
    let mut rows = Vec::new();
    let mut reaches = Vec::new();
    for rate in [100, 2_000] {
        let measured = side_by_side(&lanes, rate, ROUNDS, WARM, as_seconds(seconds))?;
        if let [_, raw, hop, transactional] = &measured[..] {
            reaches.extend(against_raw("hop", rate, hop, raw, 1.5));
            if let (Some(hop), Some(raw)) = (hop.latency_ms, raw.latency_ms) {
                let what = format!("hop p99 / raw hop p99, {rate}/s");
                reaches.push(Reach::at_most(what, hop.p99 / raw.p99, 3.0, "x"));
            }
            if let (Some(hop), Some(transactional)) = (hop.latency_ms, transactional.latency_ms) {
                let what = format!("transaction per batch p50 / hop p50, {rate}/s");
                let ratio = transactional.p50 / hop.p50;
                reaches.push(Reach::at_least(what, ratio, 8.0, "x"));
            }
        }
        rows.extend(measured);
    }
    drop((hop, peers));
    ground.stop()?;
    Ok(Report::new("hop", seconds, rows, reaches, stack.broker_pid))
}

fn against_raw(name: &str, rate: u64, row: &Row, raw: &Row, bound: f64) -> Option<Reach> {
    let (row, raw) = (row.latency_ms?, raw.latency_ms?);
    let what = format!("{name} p50 / raw hop p50, {rate}/s");
    Some(Reach::at_most(what, row.p50 / raw.p50, bound, "x"))
}

/// `admit`: the same from the feed.
pub(crate) fn admit(stack: &Stack, seconds: u64) -> anyhow::Result<Report> {
    let ground = Ground::prepare(stack, Work::Nothing)?;
    let peers = Peers::prepare(&ground)?;
    let admit = ground.lane("admit", Topic::Feed(Kind::Workflow), relay::passes)?;
    let lanes = [&peers.plain, &admit];
    warm_up(&lanes, WARM_UP_RATE)?;
    let mut rows = Vec::new();
    let mut reaches = Vec::new();
    for rate in [100, 2_000] {
        let measured = side_by_side(&lanes, rate, ROUNDS, WARM, as_seconds(seconds))?;
        if let [raw, admit] = &measured[..] {
            reaches.extend(against_raw("admit", rate, admit, raw, 2.5));
        }
        rows.extend(measured);
    }
    drop((admit, peers));
    ground.stop()?;
    Ok(Report::new("admit", seconds, rows, reaches, stack.broker_pid))
}

/// `chain`: 1, 3 and 9 hops, each through a log, most to another partition.
pub(crate) fn chain(stack: &Stack, seconds: u64) -> anyhow::Result<Report> {
    let ground = Ground::prepare(stack, Work::Nothing)?;
    let lanes = [1, 3, 9].map(|hops| ground.hops(&format!("{hops} hops"), hops));
    let [one, three, nine] = lanes;
    let lanes = [one?, three?, nine?];
    let all: Vec<&Lane> = lanes.iter().collect();
    warm_up(&all, 500)?;
    let rows = side_by_side(&all, 100, ROUNDS, WARM, as_seconds(seconds))?;
    let p50 = |row: &Row| row.latency_ms.map(|latency| latency.p50);
    let mut reaches = Vec::new();
    if let [one, three, nine] = &rows[..]
        && let (Some(one), Some(three), Some(nine)) = (p50(one), p50(three), p50(nine))
    {
        for (what, added) in [("1 to 3", (three - one) / 2.0), ("1 to 9", (nine - one) / 8.0)] {
            let what = format!("each added hop, {what}, p50");
            reaches.push(Reach::at_most(what, added, 1.5, "ms"));
        }
    }
    drop(lanes);
    ground.stop()?;
    Ok(Report::new("chain", seconds, rows, reaches, stack.broker_pid))
}

/// `saturation`: the highest rate at which one stage, writing state and log entries, keeps up.
pub(crate) fn saturation(stack: &Stack, seconds: u64) -> anyhow::Result<Report> {
    const RATES: [u64; 7] = [2_500, 5_000, 10_000, 15_000, 20_000, 25_000, 30_000];
    const BOUND_MS: f64 = 100.0;
    let ground = Ground::prepare(stack, Work::Writes)?;
    warm_up(&[&ground.hops("warm-up", 1)?], WARM_UP_RATE)?;
    let mut rows = Vec::new();
    let mut held = 0;
    for rate in RATES {
        let lane = ground.hops("hop that writes", 1)?;
        let measured = side_by_side(&[&lane], rate, 1, WARM, as_seconds(seconds))?;
        let kept_up =
            measured.iter().all(|row| row.latency_ms.is_some_and(|latency| latency.p99 < BOUND_MS));
        rows.extend(measured);
        if !kept_up {
            break;
        }
        held = rate;
    }
    ground.stop()?;
    let what = format!("rate with p99 below {BOUND_MS} ms");
    let reach = Reach::at_least(what, crate::lane::precise(held), 15_000.0, "hops/s");
    Ok(Report::new("saturation", seconds, rows, vec![reach], stack.broker_pid))
}

fn as_seconds(seconds: u64) -> f64 {
    crate::lane::precise(seconds)
}
