//! `loop`: a model call thousands of times in one execution, and whether the last calls cost what the first
//! ones did.

use std::time::Duration;

use domain::event::{EventType, ExecutionEvent};
use domain::time::Millis;
use serde_json::json;

use super::definitions::{AGAIN, ASK, again};
use super::ours::{DURABILITY, LONG, Ours};
use super::watch::Watch;
use crate::lane::{Series, precise};
use crate::report::{Reach, Report, Row};
use crate::stack::Stack;
use crate::usage::{cpu_seconds, tree_seconds};

/// Iterations, unless said otherwise.
const TIMES: u64 = 10_000;
/// Iterations at either end that are compared, of a loop of the usual length.
const ENDS: u64 = 1_000;
/// Iterations of a loop before, until the broker's code is compiled.
const WARM_UP: u64 = 2_000;
/// What the last may cost more than the first.
const FLAT: f64 = 1.2;
/// How long after the end its last events may take.
const REST: Duration = Duration::from_secs(10);

/// What is seen of a loop.
struct Seen {
    execution: String,
    processes: Vec<u32>,
    /// Iterations at which time and CPU are looked at.
    marks: Vec<u64>,
    at: Vec<Option<Mark>>,
    iterations: u64,
}

/// A look at the end of an iteration.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Mark {
    time: Millis,
    cpu: f64,
}

impl Seen {
    fn new(processes: Vec<u32>, times: u64, ends: u64) -> Self {
        let marks = vec![0, ends, times - 1 - ends, times - 1];
        let at = vec![None; marks.len()];
        Self { execution: String::new(), processes, marks, at, iterations: 0 }
    }

    fn see(&mut self, event: &ExecutionEvent) {
        if event.event_type != EventType::StepSucceeded || event.execution_id != self.execution {
            return;
        }
        let Some(nth) = event.step.as_deref().and_then(iteration) else { return };
        self.iterations += 1;
        for (mark, at) in self.marks.iter().zip(&mut self.at) {
            if nth == *mark {
                let cpu = self.processes.iter().map(|pid| tree_seconds(*pid)).sum();
                *at = Some(Mark { time: event.time, cpu });
            }
        }
    }
}

/// The iteration of `again[17].ask`.
fn iteration(step: &str) -> Option<u64> {
    let (_, rest) = step.split_once('[')?;
    let (nth, step) = rest.split_once("].")?;
    (step == ASK).then(|| nth.parse().ok())?
}

/// The bench.
pub(crate) fn run(stack: &Stack, count: Option<u64>) -> anyhow::Result<Report> {
    let times = count.unwrap_or(TIMES).max(10);
    let ends = ENDS.min(times / 10);
    let ours = Ours::start(stack, &[again()])?;
    let input = |times: u64| move |_| json!({ "times": times });
    let warm_up = ours.lane(AGAIN, input(WARM_UP.min(times)))?.patient(LONG);
    ours.fly_one(&warm_up)?;
    let lane = ours.lane(AGAIN, input(times))?.patient(LONG);
    let mut processes = vec![ours.pid()?];
    processes.extend(ours.platform.broker_pid.filter(|pid| cpu_seconds(*pid).is_some()));
    let seen = Seen::new(processes, times, ends);
    let watch = Watch::start(&ours.platform, seen, |seen: &mut Seen, event, _| {
        // One execution runs; the first event says which.
        if seen.execution.is_empty() && event.event_type == EventType::Admitted {
            seen.execution.clone_from(&event.execution_id);
        }
        seen.see(&event);
    })?;
    let leg = ours.fly_one(&lane)?;
    watch.until(REST, |seen| seen.iterations >= times);
    let mut series = Series::new(format!("a model call {times} times"));
    series.add(&leg.flown);
    let mut row = series.row();
    let (at, iterations) = watch.look(|seen| (seen.at.clone(), seen.iterations));
    let right = Some(times.to_string());
    if row.void.is_none() && (iterations != times || ours.last_result() != right) {
        let result = ours.last_result();
        row.void = Some(format!("{iterations} calls of {times} came out, and it gave {result:?}"));
    }
    let reaches = compared(&mut row, &at, ends);
    let report = Report::new("workflow, loop", 0, vec![row], reaches, stack.broker_pid);
    Ok(Report { notes: vec![DURABILITY.into()], ..report })
}

/// The last iterations beside the first; the row gets what each cost.
fn compared(row: &mut Row, at: &[Option<Mark>], ends: u64) -> Vec<Reach> {
    let [Some(first), Some(after_first), Some(before_last), Some(last)] = at[..] else {
        row.void.get_or_insert_with(|| "an end of the loop wasn't seen".into());
        return Vec::new();
    };
    let ms = |from: Mark, to: Mark| {
        let ms = to.time.since(from.time).max(0).unsigned_abs();
        precise(ms) / precise(ends)
    };
    let cpu = |from: Mark, to: Mark| (to.cpu - from.cpu) * 1000.0 / precise(ends);
    let times = [ms(first, after_first), ms(before_last, last)];
    let cpus = [cpu(first, after_first), cpu(before_last, last)];
    row.more = vec![
        (format!("ms each, first {ends}"), times[0]),
        (format!("ms each, last {ends}"), times[1]),
        (format!("CPU of all its processes s/1000, first {ends}"), cpus[0]),
        (format!("the same, last {ends}"), cpus[1]),
    ];
    let ratio = |of: [f64; 2]| of[1] / of[0].max(f64::MIN_POSITIVE);
    vec![
        Reach::at_most(
            format!("time of an iteration, last / first {ends}"),
            ratio(times),
            FLAT,
            "x",
        ),
        Reach::at_most(format!("CPU of an iteration, last / first {ends}"), ratio(cpus), FLAT, "x"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iteration_is_read_from_the_name_of_its_step() {
        assert_eq!(iteration("again[17].ask"), Some(17));
        for step in ["again", "again[17]", "again[x].ask", "again[1].other", ""] {
            assert_eq!(iteration(step), None, "{step}");
        }
    }

    #[test]
    fn last_iterations_are_compared_with_the_first() {
        let mark = |ms, cpu| Some(Mark { time: Millis(ms), cpu });
        let at = [mark(0, 0.0), mark(2_000, 1.0), mark(20_000, 9.0), mark(23_000, 10.0)];
        let mut row = Row::default();
        let reaches = compared(&mut row, &at, 1_000);
        let measured: Vec<_> = reaches.iter().map(|reach| (reach.measured, reach.met)).collect();
        assert_eq!(measured, [(1.5, false), (1.0, true)]);
        assert!(row.void.is_none());
        assert!(compared(&mut row, &[None; 4], 1_000).is_empty());
        assert!(row.void.is_some());
    }
}
