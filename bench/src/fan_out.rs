//! `fan-out`: how long a piece of text takes from being published to each socket that follows it: one stream
//! to many sockets, many streams to one socket each, and the first again while some don't read.
//!
//! It publishes in place of the processors, so nothing but the broker and the push role is in between.

mod listener;
mod publisher;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use self::listener::{Expected, Listener, Standing};
use self::publisher::{EVENTS, Flight, Publisher};
use crate::flight::histogram;
use crate::lane::precise;
use crate::platform::Platform;
use crate::push_role::{Metric, PushRole};
use crate::report::{Latency, Reach, Report, Row};
use crate::socket::{AT_ONCE, Heard, Socket, check_open_files};
use crate::stack::Stack;
use crate::usage::{Usage, cpu_seconds};

/// Sockets in each way.
const SOCKETS: usize = 1_000;
/// Those of them that don't read, where some don't: 5 %.
const STALLED: usize = 50;
/// Pieces a second of the one stream: a model that is read along. Two cores then write, and read again,
/// 20,000 messages a second.
const ONE_RATE: u64 = 20;
/// Pieces a second of the thousand streams together, each of which is a record of its own on the broker.
const MANY_RATE: u64 = 2_000;
/// The ways take turns so often.
const ROUNDS: u64 = 3;
/// Of each flight: counts for the gate only.
const WARM: Duration = Duration::from_secs(1);
/// Flown before anything is counted, until the broker's code is compiled.
const WARM_UP: Duration = Duration::from_secs(15);
/// How long after the last piece the rest may take to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// From the last subscription to the first piece: the role may read history in between.
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is looked whether stalled sockets have had enough.
const LOOK: Duration = Duration::from_millis(20);
/// Pieces of ballast between two looks, and the most before a socket that took them all isn't stalled.
const BALLAST: (usize, usize) = (8, 8_192);

/// The p99 that is aimed at, in milliseconds.
const REACH_MS: f64 = 50.0;
/// The p99 of those that read, while others don't, by the p99 without such.
const REACH_STALLED: f64 = 1.2;

/// One way to fan out.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    streams: usize,
    stalled: usize,
    rate: u64,
}

const ONE: Way = Way { name: "1 stream to 1,000 sockets", streams: 1, stalled: 0, rate: ONE_RATE };
const SOME_STALLED: Way =
    Way { name: "1 stream to 950 sockets, 50 more stalled", stalled: STALLED, ..ONE };
const MANY: Way =
    Way { name: "1,000 streams to 1 socket each", streams: SOCKETS, stalled: 0, rate: MANY_RATE };

/// The bench.
pub(crate) fn run(stack: &Stack, seconds: u64) -> anyhow::Result<Report> {
    check_open_files(SOCKETS)?;
    let platform = Platform::make(stack, 4)?;
    let role = PushRole::start(stack, &platform)?;
    let publisher = Arc::new(Publisher::new(&platform)?);
    let world = World { platform: &platform, role: &role, publisher };
    for way in [MANY, ONE] {
        if let Some(void) = world.fly(way, WARM_UP)?.void {
            bail!("warming up {}: {void}", way.name);
        }
    }
    let mut series = [ONE, SOME_STALLED, MANY].map(Series::new);
    for round in 0..ROUNDS {
        for series in &mut series {
            tracing::info!(way = series.way.name, round, "measuring");
            let seconds = Duration::from_secs(seconds) / u32::try_from(ROUNDS)?;
            series.add(world.fly(series.way, seconds)?);
        }
    }
    let rows = series.map(Series::row);
    let p99 = rows.each_ref().map(|row| row.latency_ms.map_or(f64::NAN, |latency| latency.p99));
    let [one, stalled, many] = p99;
    let reaches = vec![
        Reach::at_most(format!("{}: p99", ONE.name), one, REACH_MS, "ms"),
        Reach::at_most(format!("{}: p99", MANY.name), many, REACH_MS, "ms"),
        Reach::at_most("p99 with 5 % stalled / without", stalled / one, REACH_STALLED, "x"),
    ];
    Ok(Report::new("fan-out", seconds, rows.into(), reaches, stack.broker_pid))
}

struct World<'a> {
    platform: &'a Platform,
    role: &'a PushRole,
    publisher: Arc<Publisher>,
}

/// What one flight gave.
struct Flown {
    void: Option<String>,
    /// Messages that were due, over all sockets that read.
    due: u64,
    /// Those that came.
    came: u64,
    late: Histogram<u64>,
    used: Usage,
    role_cpu: f64,
    joined: f64,
}

impl World<'_> {
    fn fly(&self, way: Way, seconds: Duration) -> anyhow::Result<Flown> {
        self.platform.runtime.block_on(async {
            let flown = self.flight(way, seconds).await?;
            // The next one isn't to pay for the goodbyes of this one.
            self.role.until(Metric::Sockets, PATIENCE, |open| open == 0.0).await?;
            Ok(flown)
        })
    }

    async fn flight(&self, way: Way, seconds: Duration) -> anyhow::Result<Flown> {
        let executions: Vec<String> =
            (0..way.streams).map(|_| uuid::Uuid::now_v7().to_string()).collect();
        let readers = SOCKETS - way.stalled;
        let executions: Arc<[String]> = executions.into();
        let sockets: Vec<Socket> = stream::iter(0..readers)
            .map(|nth| self.open(nth, &executions[nth % way.streams]))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let stalled = self.stall(way.stalled, &executions[0]).await?;
        let flight = Flight::new(executions, way.rate, WARM + seconds, Instant::now() + PAUSE);
        let expected = Expected {
            began: flight.began,
            warm: WARM,
            pieces: flight.pieces_each(),
            events: EVENTS,
        };
        let ends = flight.ends() + PATIENCE;
        let mut listening = JoinSet::new();
        for socket in sockets {
            listening.spawn(tokio::time::timeout_at(ends.into(), listen(socket, expected)));
        }
        let cpu = || cpu_seconds(self.role.pid()).context("the push role is gone");
        let joined = self.role.metric(Metric::Coalesced).await?;
        let (used, role_cpu) = (Usage::now(self.platform.broker_pid), cpu()?);
        let publisher = Arc::clone(&self.publisher);
        let published = tokio::task::spawn_blocking(move || publisher.fly(&flight));
        let mut flown = Flown {
            void: None,
            due: expected.pieces * readers as u64,
            came: 0,
            late: histogram(),
            used: Usage::default(),
            role_cpu: 0.0,
            joined: 0.0,
        };
        let mut wrong = Vec::new();
        while let Some(heard) = listening.join_next().await {
            match heard.context("a reader panicked")? {
                Ok(Ok(listener)) => {
                    flown.came += expected.pieces;
                    for late in listener.late() {
                        let late = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
                        flown.late.saturating_record(late.max(1));
                    }
                }
                Ok(Err(why)) => wrong.push(format!("{why:#}")),
                Err(_) => wrong.push("not everything came in time".into()),
            }
        }
        flown.used = Usage::now(self.platform.broker_pid).since(used);
        flown.role_cpu = cpu()? - role_cpu;
        flown.joined = self.role.metric(Metric::Coalesced).await? - joined;
        drop(stalled);
        let unsent = published.await.context("the publisher panicked")??;
        if unsent > 0 {
            flown.void = Some(format!("{unsent} events were not acknowledged"));
        } else if let Some(first) = wrong.first() {
            flown.void = Some(format!("{} of {readers} sockets: {first}", wrong.len()));
        } else if flown.joined < precise(way.stalled as u64) {
            flown.void = Some("those that were to be stalled took what came".into());
        }
        Ok(flown)
    }

    async fn open(&self, nth: usize, execution: &str) -> anyhow::Result<Socket> {
        let mut socket = Socket::open(self.role.address, nth, &self.role.key).await?;
        socket.subscribe("s", execution).await?;
        Ok(socket)
    }

    /// Sockets that follow `execution` and don't read: ballast is sent to them until the kernel takes no more
    /// and the role begins to join what waits for them.
    async fn stall(&self, count: usize, execution: &str) -> anyhow::Result<Vec<Socket>> {
        let ballast = uuid::Uuid::now_v7().to_string();
        let mut stalled = Vec::new();
        for nth in 0..count {
            let mut socket = self.open(nth, execution).await?;
            socket.subscribe("ballast", &ballast).await?;
            stalled.push(socket);
        }
        if stalled.is_empty() {
            return Ok(stalled);
        }
        let joined = self.role.metric(Metric::Coalesced).await?;
        let enough = joined + precise(count as u64);
        let (batch, most) = BALLAST;
        for begin in (0..most).step_by(batch) {
            for index in begin..begin + batch {
                self.publisher.ballast(&ballast, index)?;
            }
            tokio::time::sleep(LOOK).await;
            if self.role.metric(Metric::Coalesced).await? >= enough {
                return Ok(stalled);
            }
        }
        bail!("{count} sockets that nobody reads took {most} pieces of ballast")
    }
}

async fn listen(mut socket: Socket, expected: Expected) -> anyhow::Result<Listener> {
    let mut listener = Listener::new(expected);
    loop {
        match socket.next().await? {
            Heard::Text(text) => match listener.hear(&text, socket.read_at())? {
                Standing::Open => {}
                Standing::Ended => return Ok(listener),
            },
            Heard::Closed(code, reason) => bail!("closed with {code}: {reason}"),
        }
    }
}

/// Several flights of one way become one row.
struct Series {
    way: Way,
    row: Row,
    late: Histogram<u64>,
    used: Usage,
    role_cpu: f64,
    joined: f64,
}

impl Series {
    fn new(way: Way) -> Self {
        Self {
            way,
            row: Row { name: way.name.into(), rate: way.rate, ..Row::default() },
            late: histogram(),
            used: Usage::default(),
            role_cpu: 0.0,
            joined: 0.0,
        }
    }

    fn add(&mut self, flown: Flown) {
        self.row.sent += flown.due;
        self.row.completed += flown.came;
        if self.row.void.is_none() {
            self.row.void = flown.void;
        }
        self.late.add(&flown.late).expect("both have the same bounds");
        self.used = self.used.plus(flown.used);
        self.role_cpu += flown.role_cpu;
        self.joined += flown.joined;
    }

    fn row(mut self) -> Row {
        let thousands = precise(self.row.completed.max(1)) / 1000.0;
        let readers = (SOCKETS - self.way.stalled) / self.way.streams;
        self.row.latency_ms = Latency::of(&self.late);
        self.row.own_cpu_s_per_1000 = Some(self.used.own / thousands);
        self.row.broker_cpu_s_per_1000 = Some(self.used.broker / thousands);
        self.row.more = vec![
            ("messages/s".into(), precise(self.way.rate) * precise(readers as u64)),
            ("push CPU s/1000".into(), self.role_cpu / thousands),
            ("joined".into(), self.joined),
        ];
        self.row
    }
}
