//! `timers`: executions that wait until times spread over a minute. How late each goes on, none early, none
//! twice.

use std::time::{Duration, Instant};

use anyhow::ensure;
use domain::event::{EventType, ExecutionEvent};
use domain::time::Millis;
use domain::topic::Kind;
use serde_json::json;

use super::definitions::{ALARM, alarm};
use super::ours::{DURABILITY, Ours};
use super::watch::Watch;
use crate::flight::{Id, Schedule, Tally};
use crate::lane::{self, PATIENCE, precise};
use crate::platform::now;
use crate::report::{Latency, Reach, Report, Row};
use crate::stack::Stack;

/// Timers, unless said otherwise.
const TIMERS: u64 = 100_000;
/// Seconds over which they are due.
const SPREAD_S: u64 = 60;
/// Starts a second beforehand. All have to wait when the first is due.
const STARTS: u64 = 1_500;
/// Between the last start and the first that is due.
const SETTLES_S: u64 = 15;
/// The reach.
const LATE_MS: f64 = 250.0;

/// When the timers are due.
#[derive(Clone, Copy, Debug)]
struct Due {
    from: Millis,
    rate: u64,
}

impl Due {
    fn of(self, nth: u64) -> Millis {
        let after = nth.saturating_mul(1_000) / self.rate.max(1);
        self.from.plus(i64::try_from(after).unwrap_or(i64::MAX))
    }
}

/// What is seen of them.
struct Seen {
    due: Due,
    tally: Tally,
    began: Instant,
    waiting: u64,
    went_on: u64,
    early: u64,
    ended: u64,
}

impl Seen {
    fn see(&mut self, event: &ExecutionEvent, at: Millis) {
        if event.kind != Kind::Workflow {
            return;
        }
        let Some(id) = Id::at_front(&event.execution_id) else { return };
        match event.event_type {
            EventType::StepWaiting => self.waiting += 1,
            EventType::Succeeded => self.ended += 1,
            EventType::StepSucceeded => {
                let due = self.due.of(id.nth);
                // By the log's clock and by ours, which are the same on one machine.
                self.early += u64::from(event.time.0 < due.0 || at.0 < due.0);
                self.went_on += 1;
                let late = Duration::from_millis(at.since(due).max(0).unsigned_abs());
                self.tally.came_out(id, self.began + Duration::from_millis(self.after(due)) + late);
            }
            _ => {}
        }
    }

    fn after(&self, due: Millis) -> u64 {
        due.since(self.due.from).max(0).unsigned_abs()
    }
}

/// The bench.
pub(crate) fn run(stack: &Stack, count: Option<u64>) -> anyhow::Result<Report> {
    let rate = count.unwrap_or(TIMERS).div_ceil(SPREAD_S);
    let timers = rate * SPREAD_S;
    let ours = Ours::start(stack, &[alarm()])?;
    let past = now();
    let warm_up = ours.lane(ALARM, move |_| json!({ "due": past.0 }))?;
    let warmed = ours.fly(&warm_up, super::flight::Plan { steps: 1, rate: 150, seconds: 15.0 })?;
    ensure!(warmed.flown.void.is_none(), "warming up: {:?}", warmed.flown.void);
    let starts_s = timers.div_ceil(STARTS);
    let lead = Duration::from_secs(starts_s + SETTLES_S);
    let lead_ms = i64::try_from(lead.as_millis()).unwrap_or(i64::MAX);
    let due = Due { from: now().plus(lead_ms), rate };
    let lane = ours.lane(ALARM, move |id| json!({ "due": due.of(id.nth).0 }))?;
    let flight = lane::new_flight();
    let began = Instant::now() + lead;
    let schedule = Schedule { flight, began, rate, total: timers, warm: 0 };
    let tally = Tally::new(schedule);
    let seen = Seen { due, tally, began, waiting: 0, went_on: 0, early: 0, ended: 0 };
    let watch = Watch::start(&ours.platform, seen, |seen: &mut Seen, event, at| {
        seen.see(&event, at);
    })?;
    let cpu = ours.cpu();
    lane.launch(&Schedule { began: Instant::now(), rate: STARTS, ..schedule })?;
    std::thread::sleep(began.saturating_duration_since(Instant::now()));
    let missing = timers.saturating_sub(watch.look(|seen| seen.waiting));
    let late =
        (missing > 0).then(|| format!("{missing} of {timers} didn't wait when the first was due"));
    let armed = ours.cpu();
    let patience = Duration::from_secs(SPREAD_S) + PATIENCE;
    watch.until(patience, |seen| seen.ended >= timers);
    // Whatever comes twice comes soon after.
    std::thread::sleep(Duration::from_secs(1));
    let cpu = [armed - cpu, ours.cpu() - armed];
    let (row, reaches) = watch.look(|seen| judged(seen, timers, late, cpu));
    let report = Report::new("workflow, timers", SPREAD_S, vec![row], reaches, stack.broker_pid);
    Ok(Report { notes: vec![DURABILITY.into()], ..report })
}

fn judged(seen: &Seen, timers: u64, late: Option<String>, cpu: [f64; 2]) -> (Row, Vec<Reach>) {
    let latency = Latency::of(seen.tally.latency());
    let thousands = precise(timers) / 1000.0;
    let lost = timers - seen.tally.distinct();
    let void = match (late, lost, timers == seen.ended) {
        (Some(late), ..) => Some(late),
        (None, 0, true) => None,
        (None, 0, false) => Some(format!("{} of {timers} executions ended", seen.ended)),
        (None, lost, _) => Some(format!("{lost} of {timers} never went on")),
    };
    let row = Row {
        name: format!("{timers} timers over {SPREAD_S} s: lateness"),
        rate: seen.due.rate,
        sent: timers,
        completed: seen.tally.distinct(),
        copies: seen.tally.copies(),
        void,
        latency_ms: latency,
        more: vec![
            ("CPU of all its processes s/1000, until they wait".into(), cpu[0] / thousands),
            ("from then on".into(), cpu[1] / thousands),
        ],
        ..Row::default()
    };
    let p99 = latency.map_or(f64::MAX, |latency| latency.p99);
    let reaches = vec![
        Reach::at_most("lateness p99, as a reader of `results` sees it", p99, LATE_MS, "ms"),
        Reach::at_most("timers that went on early", precise(seen.early), 0.0, "timers"),
        Reach::at_most("timers that went on twice", precise(seen.tally.copies()), 0.0, "timers"),
    ];
    (row, reaches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_are_due_evenly_from_the_first() {
        let due = Due { from: Millis(1_000), rate: 1_667 };
        assert_eq!(due.of(0), Millis(1_000));
        assert_eq!(due.of(1_667), Millis(2_000));
        assert_eq!(due.of(1_667 * 60 - 1).0 / 1_000, 60);
    }
}
