//! `waiting`: executions that wait for a signal: what each holds in memory, and how long it takes after a
//! `kill -9` until another process has them all again. Some are then told what they wait for.

use std::io::{BufRead as _, BufReader};
use std::process::ChildStderr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use domain::event::{EventType, ExecutionEvent};
use domain::fact::{Command, Fact, Order};
use domain::request::DEFAULT_TENANT;
use domain::topic::{Kind, Topic};
use serde_json::json;

use super::definitions::{APPROVAL, WORD, approval};
use super::ours::{DURABILITY, Ours};
use super::watch::Watch;
use crate::flight::{Id, Schedule, Tally};
use crate::lane::{self, Encode, Lane, PATIENCE, precise};
use crate::operator::PARTITIONS;
use crate::report::{Reach, Report, Row};
use crate::stack::Stack;
use crate::usage;

/// Executions, unless said otherwise.
const EXECUTIONS: u64 = 50_000;
/// Starts a second.
const STARTS: u64 = 1_500;
/// Those of the warm-up, which end before memory is looked at, and those that are told afterwards.
const TOLD: u64 = 1_000;
/// How long a process is left alone before its memory is read.
const SETTLES: Duration = Duration::from_secs(20);
/// How long all of them may take until they wait, beyond the time of their starts.
const WAIT: Duration = Duration::from_secs(120);
/// How long another process may take to have all partitions.
const RESTORES: Duration = Duration::from_secs(180);
/// The reaches.
const KIB_EACH: f64 = 4.0;
/// See there.
const RESTORE_S: f64 = 5.0;
/// What a process says, among all else, when it takes over.
const HEARD: &str = "warn,librdkafka=error,stepstream_kafka=info,stepstream_runtime=info";

/// What is seen of them.
struct Seen {
    tally: Tally,
    waiting: u64,
}

impl Seen {
    fn new(schedule: Schedule) -> Self {
        Self { tally: Tally::new(schedule), waiting: 0 }
    }

    fn see(&mut self, event: &ExecutionEvent) {
        if event.kind != Kind::Workflow {
            return;
        }
        match event.event_type {
            EventType::StepWaiting => self.waiting += 1,
            EventType::Succeeded => {
                if let Some(id) = Id::at_front(&event.execution_id) {
                    self.tally.came_out(id, Instant::now());
                }
            }
            _ => {}
        }
    }
}

/// Resident memory of a process in KiB: all of it, and what no file stands behind.
fn memory(pid: u32) -> anyhow::Result<[f64; 2]> {
    let kib = |name: &str| {
        let mib = usage::status_mib(pid, name);
        Ok::<_, anyhow::Error>(mib.with_context(|| format!("no {name} of our process"))? * 1024.0)
    };
    Ok([kib("VmRSS:")?, kib("RssAnon:")?])
}

/// The bench.
pub(crate) fn run(stack: &Stack, count: Option<u64>) -> anyhow::Result<Report> {
    let executions = count.unwrap_or(EXECUTIONS).max(1);
    let mut ours = Ours::start(stack, &[approval()])?;
    let watch = {
        let none = schedule(0, 0);
        Watch::start(&ours.platform, Seen::new(none), |seen: &mut Seen, event, _| {
            seen.see(&event);
        })?
    };
    let starts = ours.lane(APPROVAL, |_| json!({ "text": "May it go on?" }))?;
    let signals = signals(&ours)?;

    // The same once with a few, so that what a process sets aside once isn't counted.
    let few = schedule(TOLD.min(executions), STARTS);
    wait_all(&watch, &starts, few)?;
    tell(&watch, &signals, few)?;
    std::thread::sleep(SETTLES);
    let before = memory(ours.pid()?)?;

    let all = schedule(executions, STARTS);
    wait_all(&watch, &starts, all)?;
    std::thread::sleep(SETTLES);
    let after = memory(ours.pid()?)?;
    let each = |at: usize| (after[at] - before[at]) / precise(executions);

    let restored = Restored::watch(&mut ours)?;
    let told = Schedule { total: TOLD.min(executions), ..all };
    let ends = tell(&watch, &signals, told);
    let rows = vec![
        Row {
            name: format!("{executions} executions that wait for a signal"),
            sent: executions,
            completed: executions,
            more: vec![
                ("resident KiB each".into(), each(0)),
                ("of that anonymous".into(), each(1)),
                ("resident before MiB".into(), before[0] / 1024.0),
                ("resident now MiB".into(), after[0] / 1024.0),
            ],
            ..Row::default()
        },
        Row {
            name: "after kill -9, by a new process".into(),
            sent: told.total,
            completed: watch.look(|seen| seen.tally.distinct()),
            void: ends.err().map(|why| format!("{why:#}")),
            more: vec![
                ("s from assignment to the last partition".into(), restored.restore_s),
                ("s from its start to the last partition".into(), restored.all_s),
            ],
            ..Row::default()
        },
    ];
    let reaches = vec![
        Reach::at_most("memory of a waiting execution", each(0).max(each(1)), KIB_EACH, "KiB"),
        Reach::at_most(
            format!("restore of all {PARTITIONS} partitions, at once"),
            restored.restore_s,
            RESTORE_S,
            "s",
        ),
    ];
    let report = Report::new("workflow, waiting", 0, rows, reaches, stack.broker_pid);
    Ok(Report { notes: vec![DURABILITY.into()], ..report })
}

fn schedule(total: u64, rate: u64) -> Schedule {
    Schedule { flight: lane::new_flight(), began: Instant::now(), rate, total, warm: 0 }
}

/// Tells executions what they wait for: the record goes straight to the log.
fn signals(ours: &Ours) -> anyhow::Result<Lane> {
    let ids = ours.platform.ids.clone();
    let encode: Encode = Box::new(move |id| {
        let order = Order::Signal { name: WORD.into(), payload: Some("1".into()) };
        let command = Command { id: format!("{id}-word"), tenant: DEFAULT_TENANT.into(), order };
        let value = ids.frame_fact(&Fact::Command(command));
        (id.to_string(), value.expect("every schema is registered"))
    });
    ours.lane_to("signals", Topic::Log(Kind::Workflow), encode)
}

/// Starts executions, and waits until all of them wait.
fn wait_all(watch: &Watch<Seen>, starts: &Lane, schedule: Schedule) -> anyhow::Result<()> {
    watch.look(|seen| *seen = Seen::new(schedule));
    starts.launch(&Schedule { began: Instant::now(), ..schedule })?;
    let total = schedule.total;
    if !watch.until(WAIT, |seen| seen.waiting >= total) {
        let waiting = watch.look(|seen| seen.waiting);
        bail!("{waiting} of {total} executions wait after {} s", WAIT.as_secs());
    }
    Ok(())
}

/// Tells executions what they wait for, and waits until they have ended, each once.
fn tell(watch: &Watch<Seen>, signals: &Lane, schedule: Schedule) -> anyhow::Result<()> {
    watch.look(|seen| *seen = Seen::new(schedule));
    signals.launch(&Schedule { began: Instant::now(), ..schedule })?;
    watch.until(PATIENCE, |seen| seen.tally.is_complete());
    // Whatever comes twice comes soon after.
    std::thread::sleep(Duration::from_millis(500));
    Ok(watch.look(|seen| seen.tally.gate(0))?)
}

/// How long the next process took.
struct Restored {
    /// From the assignment of its partitions until it had taken over the last.
    restore_s: f64,
    /// The same from its start, which waits until the group has given up the one that was killed.
    all_s: f64,
}

impl Restored {
    /// Kills our process, starts another and listens to what it says.
    fn watch(ours: &mut Ours) -> anyhow::Result<Self> {
        ours.kill();
        let began = Instant::now();
        let said = ours.serve_heard(HEARD)?;
        let (tell, told) = mpsc::sync_channel(LINES);
        let reader = std::thread::Builder::new().name("said".into());
        reader.spawn(move || listen(said, &tell)).context("listening to our process")?;
        let mut takes = Takes::default();
        while takes.taken < PARTITIONS {
            let left = RESTORES.saturating_sub(began.elapsed());
            let (line, at) = told.recv_timeout(left).with_context(|| {
                let taken = takes.taken;
                format!("{taken} of {PARTITIONS} partitions are back after {left:?}")
            })?;
            takes.hear(&line, at);
        }
        let last = takes.last.context("nothing was taken over")?;
        let assigned = takes.assigned.context("no partitions were assigned")?;
        ensure!(assigned >= began, "the assignment was heard before the start");
        let restore_s = last.duration_since(assigned).as_secs_f64();
        Ok(Self { restore_s, all_s: last.duration_since(began).as_secs_f64() })
    }
}

/// Lines of our process that wait to be looked at: more than it says in a start.
const LINES: usize = 10_000;

fn listen(said: ChildStderr, tell: &mpsc::SyncSender<(String, Instant)>) {
    for line in BufReader::new(said).lines().map_while(Result::ok) {
        // Nobody listens any more, but the process still wants to be read.
        let _ = tell.try_send((line, Instant::now()));
    }
}

/// What a process said of its partitions of workflows.
#[derive(Debug, Default)]
struct Takes {
    assigned: Option<Instant>,
    last: Option<Instant>,
    taken: i32,
}

impl Takes {
    fn hear(&mut self, line: &str, at: Instant) {
        let is_workflow = line.contains("workflow");
        if is_workflow && line.contains("partitions assigned") {
            self.assigned.get_or_insert(at);
        }
        if is_workflow && line.contains("partition taken over") {
            self.taken += 1;
            self.last = Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restore_is_from_the_first_assignment_to_the_last_take_over_of_workflows() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut takes = Takes::default();
        for (line, ms) in [
            ("INFO partitions assigned feed=\"b-model-requests\"", 1),
            ("INFO partitions assigned feed=\"b-workflow-requests\" partitions=[0, 1]", 5),
            ("INFO partition taken over kind=\"model\" partition=0", 6),
            ("INFO partition taken over kind=\"workflow\" partition=1", 9),
            ("INFO partition taken over kind=\"workflow\" partition=0", 20),
        ] {
            takes.hear(line, at(ms));
        }
        assert_eq!((takes.assigned, takes.last, takes.taken), (Some(at(5)), Some(at(20)), 2));
    }
}
