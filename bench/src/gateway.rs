//! `gateway`: what chat completions cost that go through the platform, beside asking the same scripted server
//! directly and beside the LiteLLM proxy in front of it. And how many a second each of the two keeps up with.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use model::scripted::Server;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::asks::{self, Asked, Asking, Load, Shape, Until, per_thousand};
use crate::highest::Held;
use crate::lane::{Series, precise};
use crate::litellm::{self, LiteLlm};
use crate::models::MODEL;
use crate::operator::{Operator, READY, Serving, until_ready};
use crate::report::{Latency, Reach, Report, Row};
use crate::stack::Stack;
use crate::usage::peak_rss_mib;

/// Requests a second at which the added time is measured.
const RATE: u64 = 100;
/// The same beside LiteLLM: one worker of it keeps up with this on a slow machine.
const LOW_RATE: u64 = 10;
/// Seconds of warm-up before each flight.
const WARM: u64 = 2;
/// Seconds and requests a second before the first flight, until the broker's code is compiled.
const WARM_UP: (u64, u64) = (20, 150);
/// Those who are compared take turns so often.
const ROUNDS: u64 = 3;
/// Where the searches begin: ours, and LiteLLM's.
const FIRST: (u64, u64) = (50, 5);
/// Kept up with: of a hundred answers no more than one comes later than this after the script's own time.
const LATE: Duration = Duration::from_secs(1);
/// A quarter of `--seconds` is too short for a queue to be seen below this.
const SHORTEST_TRY: u64 = 4;
/// Everything that one process can do for a chat completion.
const ROLES: &str = "gateway,inference,archive,push";

/// All who are asked.
struct Sides {
    runtime: Runtime,
    server: Server,
    direct: Asked,
    gateway: Asked,
    serving: Serving,
    broker: Option<u32>,
    litellm: Asked,
    proxy: LiteLlm,
    // Behind the process that uses its directory.
    _operator: Operator,
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Direct,
    Gateway,
    LiteLlm,
}

impl Sides {
    fn start(stack: &Stack) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("making a runtime")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = runtime
            .block_on(Server::start(address, asks::script()))
            .context("starting the scripted server")?;
        let base = server.base_url();
        // First, because of what may have to be fetched for it.
        let mut proxy = LiteLlm::start(&base)?;
        let operator = Operator::new(stack)?;
        let definition = json!({ "deployments": [{
            "name": "server", "provider": "openai-compatible", "model": "m", "base_url": base,
        }]});
        operator.put_model(MODEL, &definition.to_string())?;
        let key = operator.run(&["keys", "create"])?;
        let mut serving = operator.serve(ROLES)?;
        let http = asks::http()?;
        runtime.block_on(async {
            let url = format!("{}/readyz", serving.url());
            until_ready(&http, &url, READY, || serving.still_runs()).await?;
            let url = format!("{}/health/liveliness", proxy.url());
            until_ready(&http, &url, READY, || proxy.still_runs()).await
        })?;
        Ok(Self {
            direct: Asked::new(&base, "none")?,
            gateway: Asked::new(&format!("{}/v1", serving.url()), &key)?,
            litellm: Asked::new(&format!("{}/v1", proxy.url()), proxy.key())?,
            broker: stack.broker_pid,
            runtime,
            server,
            serving,
            proxy,
            _operator: operator,
        })
    }

    fn load(&self, side: Side, shape: Shape) -> Load<'_> {
        let (asked, process, broker) = match side {
            Side::Direct => (&self.direct, None, None),
            Side::Gateway => (&self.gateway, Some(self.serving.pid()), self.broker),
            Side::LiteLlm => (&self.litellm, Some(self.proxy.pid()), None),
        };
        Load { runtime: &self.runtime, asked, shape, process, broker }
    }

    /// The sides in turn, at one rate.
    fn take_turns(&self, sides: &[Side], rate: u64, seconds: u64) -> Vec<Line> {
        let mut lines: Vec<_> = sides.iter().map(|side| Line::new(*side, "calls")).collect();
        for _ in 0..ROUNDS {
            for line in &mut lines {
                let load = self.load(line.side, Shape::Whole);
                let seconds = seconds.div_ceil(ROUNDS);
                line.add(&load.fly(rate, WARM, seconds, Until::Answered));
            }
        }
        lines
    }
}

impl Side {
    fn name(self) -> String {
        match self {
            Self::Direct => "the server alone".into(),
            Self::Gateway => "through the gateway".into(),
            Self::LiteLlm => format!("through LiteLLM {}", litellm::version()),
        }
    }
}

/// A row, as it comes about.
struct Line {
    side: Side,
    series: Series,
    cpu: f64,
    measured: u64,
}

impl Line {
    fn new(side: Side, what: &str) -> Self {
        let series = Series::new(format!("{what} {}", side.name()));
        Self { side, series, cpu: 0.0, measured: 0 }
    }

    fn add(&mut self, asking: &Asking) {
        self.series.add(&asking.flown);
        self.cpu += asking.cpu;
        self.measured += asking.flown.measured;
    }

    fn row(self) -> Row {
        let mut row = self.series.row();
        match self.side {
            Side::Direct => row.broker_cpu_s_per_1000 = None,
            Side::LiteLlm => {
                row.broker_cpu_s_per_1000 = None;
                row.more.push((CPU.into(), per_thousand(self.cpu, self.measured)));
            }
            Side::Gateway => row.more.push((CPU.into(), per_thousand(self.cpu, self.measured))),
        }
        row
    }
}

/// The name of the CPU of whoever is asked; the column `own` is the harness and the scripted server.
const CPU: &str = "its CPU s/1000";

/// What was measured at the highest rate that one side kept up with.
#[derive(Clone, Copy, Debug, Default)]
struct Highest {
    rate: u64,
    cpu: f64,
    with_broker: f64,
}

/// Its row, and its numbers; `None`: it kept up with nothing.
fn highest(side: Side, shape: Shape, held: Held) -> (Row, Option<Highest>) {
    let what = format!("highest rate, {shape}");
    let Some(asking) = held.best else {
        let name = Line::new(side, &what).row().name;
        let void = Some("not even one a second was kept up with".into());
        return (Row { name, void, ..Row::default() }, None);
    };
    let mut line = Line::new(side, &what);
    line.add(&asking);
    let mut row = line.row();
    let cpu = per_thousand(asking.cpu, asking.flown.measured);
    let with_broker = cpu + row.broker_cpu_s_per_1000.unwrap_or_default();
    if let Some(broke) = held.broke {
        row.more.push(("not kept up with /s".into(), precise(broke)));
    }
    (row, Some(Highest { rate: asking.flown.rate, cpu, with_broker }))
}

/// The bench.
pub(crate) fn run(stack: &Stack, seconds: u64) -> anyhow::Result<Report> {
    let sides = Sides::start(stack)?;
    let (ours, peer) = (Side::Gateway, Side::LiteLlm);
    for side in [Side::Direct, ours, peer] {
        sides.load(side, Shape::Whole).until_rested()?;
    }
    let (warm_up, rate) = WARM_UP;
    sides.load(ours, Shape::Whole).fly(rate, 0, warm_up, Until::Answered);
    sides.load(peer, Shape::Whole).fly(LOW_RATE, 0, WARM, Until::Answered);

    let mut rows = Vec::new();
    let mut reaches = Vec::new();
    for line in sides.take_turns(&[Side::Direct, ours], RATE, seconds) {
        rows.push(line.row());
    }
    if let [Some(direct), Some(through)] = [rows[0].latency_ms, rows[1].latency_ms] {
        reaches.extend(added(direct, through));
    }
    for line in sides.take_turns(&[Side::Direct, ours, peer], LOW_RATE, seconds) {
        rows.push(line.row());
    }
    let try_for = (seconds / 4).max(SHORTEST_TRY);
    for shape in [Shape::Whole, Shape::Streamed] {
        let mut found = Vec::new();
        for (side, first) in [(ours, FIRST.0), (peer, FIRST.1)] {
            let load = sides.load(side, shape);
            let (mut row, highest) = highest(side, shape, load.highest(first, try_for, LATE)?);
            let peak = load.process.and_then(peak_rss_mib);
            row.more.extend(peak.map(|mib| ("its peak MiB".into(), mib)));
            rows.push(row);
            found.push(highest);
        }
        if let [Some(ours), Some(peer)] = found[..] {
            reaches.extend(beside(shape, ours, peer));
        }
    }
    tracing::info!(requests = sides.server.seen().requests, "the scripted server was asked");
    Ok(Report::new("gateway", seconds, rows, reaches, stack.broker_pid))
}

fn added(direct: Latency, through: Latency) -> [Reach; 2] {
    let what = |which| format!("added to a call, {RATE}/s, {which}");
    [
        Reach::at_most(what("p50"), through.p50 - direct.p50, 10.0, "ms"),
        Reach::at_most(what("p99"), through.p99 - direct.p99, 40.0, "ms"),
    ]
}

fn beside(shape: Shape, ours: Highest, peer: Highest) -> Vec<Reach> {
    let rates = precise(ours.rate) / precise(peer.rate.max(1));
    let mut reaches =
        vec![Reach::at_least(format!("{shape} a second, ours / LiteLLM's"), rates, 20.0, "x")];
    if shape == Shape::Whole {
        let peers = peer.cpu.max(f64::MIN_POSITIVE);
        for (what, cpu) in [("ours", ours.cpu), ("ours with the broker's", ours.with_broker)] {
            let what = format!("CPU of 1,000 {shape}, {what} / LiteLLM's");
            reaches.push(Reach::at_most(what, cpu / peers, 0.1, "x"));
        }
    }
    reaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_share_is_judged_beside_ours_and_not_left_out() {
        let ours = Highest { rate: 1_000, cpu: 0.5, with_broker: 1.5 };
        let peer = Highest { rate: 50, cpu: 10.0, with_broker: 10.0 };
        let reaches = beside(Shape::Whole, ours, peer);
        let met: Vec<_> = reaches.iter().map(|reach| (reach.measured, reach.met)).collect();
        assert_eq!(met, [(20.0, true), (0.05, true), (0.15, false)]);
        assert_eq!(beside(Shape::Streamed, ours, peer).len(), 1);
    }

    #[test]
    fn side_that_keeps_up_with_nothing_has_a_row_that_does_not_count() {
        let (row, found) =
            highest(Side::LiteLlm, Shape::Whole, Held { best: None, broke: Some(1) });
        assert!(row.void.is_some() && found.is_none());
        assert!(row.name.contains("LiteLLM"), "{}", row.name);
    }
}
