//! `archive`: how fast the role moves `results` and `execution-log` into a real Cassandra, beside the same
//! rows written into the same Cassandra by the driver alone.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use scylla::client::session::Session;

use crate::asks::per_thousand;
use crate::cassandra::{Cassandra, Counts, Rows, Way, progress};
use crate::facts::{self, Written};
use crate::lane::precise;
use crate::operator::Operator;
use crate::platform::Platform;
use crate::report::{Reach, Report, Row};
use crate::stack::Stack;
use crate::usage::{cpu_seconds, peak_rss_mib};

/// Events and rows that are moved, unless said otherwise.
const RECORDS: u64 = 60_000;
/// All ways take turns so often, after one turn that isn't counted.
const ROUNDS: u32 = 3;
/// How often the role's progress is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long the role may stand still.
const PATIENCE: Duration = Duration::from_secs(60);

/// One way, as its row comes about.
#[derive(Debug)]
struct Line {
    name: &'static str,
    records: u64,
    seconds: f64,
    own: f64,
    cassandra: f64,
    broker: Option<f64>,
    peak_mib: Option<f64>,
}

impl Line {
    fn new(name: &'static str) -> Self {
        let broker = None;
        Self { name, records: 0, seconds: 0.0, own: 0.0, cassandra: 0.0, broker, peak_mib: None }
    }

    fn rate(&self) -> f64 {
        precise(self.records) / self.seconds.max(f64::MIN_POSITIVE)
    }

    fn row(&self) -> Row {
        let cpu = |seconds| per_thousand(seconds, self.records);
        let mut more = vec![
            ("records/s".to_owned(), self.rate()),
            ("its CPU s/1000".to_owned(), cpu(self.own)),
            ("Cassandra's".to_owned(), cpu(self.cassandra)),
        ];
        more.extend(self.broker.map(|broker| ("broker's".to_owned(), cpu(broker))));
        more.extend(self.peak_mib.map(|mib| ("its peak MiB".to_owned(), mib)));
        Row {
            name: self.name.into(),
            sent: self.records,
            completed: self.records,
            more,
            ..Row::default()
        }
    }
}

/// CPU seconds until now.
#[derive(Clone, Copy)]
struct Cpu {
    own: f64,
    cassandra: f64,
    broker: f64,
}

struct World<'a> {
    stack: &'a Stack,
    session: Session,
    platform: Platform,
    operator: Operator,
    written: Written,
    // Behind those who would miss it.
    cassandra: Cassandra,
}

/// The bench.
pub(crate) fn run(stack: &Stack, records: Option<u64>) -> anyhow::Result<Report> {
    let mut world = World::make(stack, records.unwrap_or(RECORDS))?;
    let mut lines = [
        Line::new("archive"),
        Line::new("raw inserts, a request for each row"),
        Line::new("raw inserts, those of a partition together"),
    ];
    let mut wrong = None;
    // Warms up: the node has just started, and its code isn't compiled.
    let facts = world.first(&mut wrong)?;
    for round in 1..=ROUNDS {
        for step in 0..lines.len() {
            // Whoever comes after a large way meets what it left to the node.
            let way = (step + round as usize) % lines.len();
            let keyspace = format!("turn_{round}_{way}");
            let flown = match way {
                0 => world.archive(&keyspace, &mut wrong)?,
                1 => world.raw(&facts, &keyspace, Way::EachRow)?,
                _ => world.raw(&facts, &keyspace, Way::Together)?,
            };
            lines[way].add(&flown);
        }
    }
    let mut rows: Vec<_> = lines.iter().map(Line::row).collect();
    rows[0].void = wrong;
    let [archive, each, together] = &lines;
    let share = |raw: &Line| archive.rate() * 100.0 / raw.rate();
    let reaches = vec![
        Reach::at_least("archive / a request for each row", share(each), 80.0, "%"),
        Reach::at_least("archive / rows of a partition together", share(together), 80.0, "%"),
    ];
    let seconds = lines.iter().map(|line| line.seconds).fold(0.0, f64::max) / f64::from(ROUNDS);
    Ok(Report::new("archive", seconds.round() as u64, rows, reaches, stack.broker_pid))
}

impl<'a> World<'a> {
    fn make(stack: &'a Stack, records: u64) -> anyhow::Result<Self> {
        let cassandra = Cassandra::start()?;
        let mut operator = Operator::new(stack)?;
        operator.set("STEPSTREAM_STORE__KIND", "cql");
        operator.set("STEPSTREAM_STORE__NODES", cassandra.node());
        operator.set("STEPSTREAM_STORE__REPLICATION_FACTOR", "1");
        let platform = Platform::join(stack, operator.prefix())?;
        let written = facts::write(&platform, records)?;
        let session = platform.runtime.block_on(cassandra.session())?;
        Ok(Self { stack, session, platform, operator, written, cassandra })
    }

    /// All ways once, uncounted; the rows that the archive writes.
    fn first(&mut self, wrong: &mut Option<String>) -> anyhow::Result<Rows> {
        self.archive("first", wrong)?;
        let rows = self.platform.runtime.block_on(Rows::read(&self.session, "first"))?;
        self.raw(&rows, "first_each_row", Way::EachRow)?;
        self.raw(&rows, "first_together", Way::Together)?;
        Ok(rows)
    }

    /// The gate: what is in the keyspace is what was in the topics.
    fn check(&self, keyspace: &str, wrong: &mut Option<String>) -> anyhow::Result<()> {
        let rows = self.platform.runtime.block_on(Rows::read(&self.session, keyspace))?;
        let found = rows.counts()?;
        let expected = Counts {
            events: self.written.events(),
            log_rows: self.written.events(),
            executions: self.written.calls,
        };
        if found != expected {
            wrong.get_or_insert(format!("{found:?} are in {keyspace} instead of {expected:?}"));
        }
        Ok(())
    }

    /// Makes a keyspace, as an operator does.
    fn apply(&mut self, keyspace: &str) -> anyhow::Result<()> {
        self.operator.set("STEPSTREAM_STORE__KEYSPACE", keyspace);
        self.operator.run(&["store", "apply"])?;
        Ok(())
    }

    fn cpu(&self, own: u32) -> Cpu {
        let of = |pid| cpu_seconds(pid).unwrap_or_default();
        let broker = self.stack.broker_pid.map_or(0.0, of);
        Cpu { own: of(own), cassandra: of(self.cassandra.pid()), broker }
    }

    /// The role, from the first progress that is seen to the last; then the gate.
    fn archive(&mut self, keyspace: &str, wrong: &mut Option<String>) -> anyhow::Result<Line> {
        let line = self.timed(keyspace)?;
        self.check(keyspace, wrong)?;
        Ok(line)
    }

    fn timed(&mut self, keyspace: &str) -> anyhow::Result<Line> {
        self.apply(keyspace)?;
        let total = self.written.records();
        let mut serving = self.operator.serve("archive")?;
        let mut began: Option<(Instant, u64, Cpu)> = None;
        let (mut last, mut moved) = (0, Instant::now());
        loop {
            let done = self.platform.runtime.block_on(progress(&self.session, keyspace))?;
            let now = Instant::now();
            if done > last {
                (last, moved) = (done, now);
            }
            if let Some((since, at, before)) = began.filter(|_| done >= total) {
                let cpu = self.cpu(serving.pid());
                return Ok(Line {
                    name: "archive",
                    records: total - at,
                    seconds: now.duration_since(since).as_secs_f64(),
                    own: cpu.own - before.own,
                    cassandra: cpu.cassandra - before.cassandra,
                    broker: self.stack.broker_pid.map(|_| cpu.broker - before.broker),
                    peak_mib: peak_rss_mib(serving.pid()),
                });
            }
            if began.is_none() && done > 0 {
                ensure!(done < total / 2, "too few records to be timed: raise --records");
                began = Some((now, done, self.cpu(serving.pid())));
            }
            serving.still_runs()?;
            if now.duration_since(moved) > PATIENCE {
                bail!("the archive stands still at {done} of {total}");
            }
            std::thread::sleep(LOOK);
        }
    }

    fn raw(&mut self, rows: &Rows, keyspace: &str, way: Way) -> anyhow::Result<Line> {
        self.apply(keyspace)?;
        let own = std::process::id();
        let before = self.cpu(own);
        let took = self
            .platform
            .runtime
            .block_on(rows.write(&self.session, keyspace, way))
            .context("writing rows without the archive")?;
        let cpu = self.cpu(own);
        Ok(Line {
            name: "raw",
            records: self.written.records(),
            seconds: took.as_secs_f64(),
            own: cpu.own - before.own,
            cassandra: cpu.cassandra - before.cassandra,
            broker: None,
            peak_mib: None,
        })
    }
}

impl Line {
    fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.seconds += other.seconds;
        self.own += other.own;
        self.cassandra += other.cassandra;
        if let Some(broker) = other.broker {
            *self.broker.get_or_insert(0.0) += broker;
        }
        let peaks = [self.peak_mib, other.peak_mib];
        self.peak_mib = peaks.into_iter().flatten().reduce(f64::max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_add_up_to_one_rate() {
        let flown = |records, seconds| Line {
            records,
            seconds,
            broker: Some(1.0),
            peak_mib: Some(seconds),
            ..Line::new("x")
        };
        let mut line = Line::new("archive");
        line.add(&flown(1_000, 1.0));
        line.add(&flown(1_000, 3.0));
        assert!((line.rate() - 500.0).abs() < 1e-9);
        assert_eq!(line.broker, Some(2.0));
        assert_eq!(line.peak_mib, Some(3.0));
        assert_eq!(line.row().more.len(), 5);
    }
}
