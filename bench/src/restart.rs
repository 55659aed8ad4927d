//! `restart`: two worker processes at 100 requests a second, one of which is killed with `kill -9`; how long
//! anything waited, and whether the execution log is exact afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context;
use domain::log_row::ExecutionLogRecord;
use domain::script::{Rule, Script};
use domain::topic::Topic;
use model::scripted::Server;
use rdkafka::Message;

use crate::client;
use crate::flight::Id;
use crate::lane::{Flown, Series, precise};
use crate::models::{Copies, endings, lane};
use crate::platform::Platform;
use crate::report::{Reach, Report};
use crate::stack::Stack;
use crate::worker::{Place, Process};

/// Requests a second.
const RATE: u64 = 100;
/// What a call takes, in milliseconds.
const CALL_MS: u64 = 200;
/// The group's session timeout and two seconds.
const GAP_S: f64 = 12.0;
/// How long the two workers may take to share the partitions.
const SHARED: Duration = Duration::from_secs(8);

/// The bench.
pub(crate) fn run(stack: &Stack, seconds: u64) -> anyhow::Result<Report> {
    let platform = Platform::make(stack, 4)?;
    let script = Script {
        rules: vec![Rule { reply: Some("done".into()), latency_ms: CALL_MS, ..Rule::default() }],
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = platform
        .runtime
        .block_on(Server::start(address, script))
        .context("starting the scripted server")?;
    let place = Place { prefix: platform.prefix().to_owned(), model_url: server.base_url() };
    let mut killed = Process::start(stack, &place)?;
    let mut survivor = Process::start(stack, &place)?;
    let probe = endings(&platform, Copies::DropEqual)?;
    let lane = lane(&platform, "one of two killed", &probe)?;
    let warm = lane.fly(20, 0.0, 3.0)?;
    std::thread::sleep(SHARED);
    let before = server.seen().requests;
    // Long enough for the group to notice and for what waited to come out.
    let seconds = seconds.max(30);
    let kill_at = RATE * seconds / 3;
    let mut open_at_kill = 0;
    let mut result = Ok(());
    let flown = lane.fly_and(RATE, 0.0, precise(seconds), |nth| {
        if nth == kill_at {
            result = killed.kill();
            open_at_kill = nth - probe.distinct();
        }
    })?;
    result?;
    let again = (server.seen().requests - before).saturating_sub(flown.sent);
    survivor.stop()?;
    let log = read_log(&platform, &warm, &flown)?;
    let mut series = Series::new(lane.name.as_str());
    series.add(&flown);
    let mut row = series.row();
    row.more = vec![
        ("calls made again".into(), precise(again)),
        ("open at the kill".into(), precise(open_at_kill)),
        ("longest silence s".into(), flown.tally.gap().as_secs_f64()),
        ("rows of the log".into(), precise(log.rows)),
    ];
    let longest = row.latency_ms.map_or(f64::MAX, |latency| latency.max) / 1000.0;
    let reaches = vec![
        Reach::at_most("longest wait of any request", longest, GAP_S, "s"),
        Reach::at_most(
            "calls made again, bound: those open at the kill",
            precise(again),
            precise(open_at_kill),
            "calls",
        ),
        Reach::at_most("rows of the log that stand twice", precise(log.twice), 0.0, "rows"),
        Reach::at_most(
            "requests without exactly one ending in the log",
            precise(log.wrong),
            0.0,
            "requests",
        ),
    ];
    Ok(Report::new("restart", seconds, vec![row], reaches, stack.broker_pid))
}

/// What stands in the execution log.
struct Log {
    rows: u64,
    twice: u64,
    wrong: u64,
}

/// Reads the whole log as a data team would: committed records only.
fn read_log(platform: &Platform, warm: &Flown, flown: &Flown) -> anyhow::Result<Log> {
    let topic = platform.topic(Topic::ExecutionLog);
    let consumer = client::consumer_from_start(&platform.brokers, &topic, "bench-log")?;
    let mut seen = BTreeSet::new();
    let mut endings: BTreeMap<String, u64> = BTreeMap::new();
    let mut log = Log { rows: 0, twice: 0, wrong: 0 };
    // Quiet for this long after the first row: the end, since nobody writes any more.
    let quiet = Duration::from_secs(5);
    let mut last = Instant::now();
    while last.elapsed() < quiet {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        last = Instant::now();
        let message = message?;
        let row: ExecutionLogRecord = platform
            .ids
            .read(message.payload().unwrap_or_default())
            .context("reading a row of the execution log")?;
        log.rows += 1;
        if row.status.is_some() {
            *endings.entry(row.execution_id.clone()).or_default() += 1;
        }
        if !seen.insert(row.event_id) {
            log.twice += 1;
        }
    }
    for flown in [warm, flown] {
        for nth in 0..flown.sent {
            let id = Id { flight: flown.flight, nth };
            if endings.remove(&id.to_string()) != Some(1) {
                log.wrong += 1;
            }
        }
    }
    log.wrong += u64::try_from(endings.len()).unwrap_or(u64::MAX);
    Ok(log)
}
