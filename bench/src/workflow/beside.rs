//! Workflows of a few steps, ours and those of the peers, in turns: `steps`, `pure` and `saturation`.

use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use super::celery::{self, Celery};
use super::definitions::{Work, chain, chain_name};
use super::flight::{CPU, Leg, Plan, cpu_of};
use super::ours::{self, Ours};
use super::restate::{self, Disk, Restate};
use crate::asks::per_thousand;
use crate::highest::Search;
use crate::lane::{Lane, Series, precise};
use crate::report::{Reach, Report, Row};
use crate::stack::Stack;

/// Those who are compared take turns so often.
const ROUNDS: u32 = 4;
/// Searches for the highest rate of each side; the best counts.
const SEARCHES: u32 = 2;
/// Workflows a second at which latency is measured.
const RATES: [u64; 2] = [20, 100];
/// Steps of a workflow.
const STEPS: [u32; 3] = [1, 3, 9];
/// Steps of the workflow whose highest rate is looked for.
const SATURATED: u32 = 3;
/// Kept up with: of a hundred workflows no more than one takes longer.
const LATE: Duration = Duration::from_secs(1);
/// Seconds for which a rate has to be kept up with, at least. In so many seconds a rate that is a fifth too
/// high leaves a queue of more than [`LATE`]; in a shorter try it would seem to be kept up with.
const SHORTEST_TRY: f64 = 6.0;
/// Before the first flight: seconds of our own, until the broker's code is compiled, and of each peer.
const WARM_UP: (f64, f64) = (75.0, 3.0);
/// Workflows a second meanwhile: ours, and a peer's.
const WARM_UP_RATES: (u64, u64) = (100, 20);

/// Whose workflows they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Ours,
    Restate(Disk),
    Celery,
}

impl Side {
    const ALL: [Self; 4] =
        [Self::Ours, Self::Restate(Disk::Synced), Self::Restate(Disk::Unsynced), Self::Celery];

    fn name(self) -> String {
        match self {
            Self::Ours => "ours".into(),
            Self::Restate(Disk::Synced) => format!("Restate {}", restate::version()),
            Self::Restate(Disk::Unsynced) => {
                format!("Restate {} without fsync", restate::version())
            }
            Self::Celery => format!("Celery {}", celery::version()),
        }
    }

    /// Where the search for its highest rate begins.
    fn first(self) -> u64 {
        match self {
            Self::Ours | Self::Restate(_) => 200,
            Self::Celery => 20,
        }
    }
}

/// All sides, running.
struct Sides {
    work: Work,
    lanes: Vec<(u32, Lane)>,
    ours: Ours,
    restate: Vec<(Disk, Restate)>,
    celery: Option<Celery>,
}

impl Sides {
    /// Ours alone.
    fn alone(stack: &Stack, work: Work) -> anyhow::Result<Self> {
        let chains: Vec<_> = STEPS.iter().map(|steps| chain(work, *steps)).collect();
        let ours = Ours::start(stack, &chains)?;
        let mut lanes = Vec::new();
        for steps in STEPS {
            let input = |_| json!({ "text": "How long does nothing take?" });
            lanes.push((steps, ours.lane(&chain_name(work, steps), input)?));
        }
        let sides = Self { work, lanes, ours, restate: Vec::new(), celery: None };
        let (seconds, rate) = (WARM_UP.0, WARM_UP_RATES.0);
        for steps in STEPS {
            let plan = Plan { steps, rate, seconds: seconds / precise(STEPS.len() as u64) };
            let leg = sides.fly(Side::Ours, plan)?;
            if let Some(void) = leg.flown.void {
                anyhow::bail!("warming up workflows of {steps} steps: {void}");
            }
        }
        Ok(sides)
    }

    /// Those that are measured, and which they are.
    fn wanted(stack: &Stack, alone: bool) -> anyhow::Result<(Self, &'static [Side])> {
        Ok(match alone {
            true => (Self::alone(stack, Work::Call)?, &[Side::Ours]),
            false => (Self::together(stack)?, &Side::ALL),
        })
    }

    /// With the peers.
    fn together(stack: &Stack) -> anyhow::Result<Self> {
        let mut sides = Self::alone(stack, Work::Call)?;
        for disk in [Disk::Synced, Disk::Unsynced] {
            let peer = Restate::start(&sides.ours.platform.runtime, disk)?;
            sides.restate.push((disk, peer));
        }
        sides.celery = Some(Celery::start()?);
        for side in Side::ALL.into_iter().skip(1) {
            let (steps, rate) = (SATURATED, WARM_UP_RATES.1);
            sides.fly(side, Plan { steps, rate, seconds: WARM_UP.1 })?;
        }
        Ok(sides)
    }

    fn fly(&self, side: Side, plan: Plan) -> anyhow::Result<Leg> {
        tracing::info!(side = side.name(), ?plan, "measuring");
        match side {
            Side::Ours => {
                let lane = self.lanes.iter().find(|(steps, _)| *steps == plan.steps);
                let (_, lane) = lane.context("no workflow of so many steps")?;
                self.ours.fly(lane, plan)
            }
            Side::Restate(disk) => {
                let restate = self.restate.iter().find(|(of, _)| *of == disk);
                let (_, restate) = restate.context("Restate wasn't started")?;
                restate.fly(&self.ours.platform.runtime, plan)
            }
            Side::Celery => self.celery.as_ref().context("Celery wasn't started")?.fly(plan),
        }
    }

    /// Each side at one rate, in turns. A row each, in their order.
    fn take_turns(&self, of: &[Side], plan: Plan) -> anyhow::Result<Vec<Row>> {
        let Plan { steps, .. } = plan;
        let plan = Plan { seconds: plan.seconds / f64::from(ROUNDS), ..plan };
        let mut lines: Vec<_> =
            of.iter().map(|side| Line::new(*side, &self.named(steps))).collect();
        for _ in 0..ROUNDS {
            for line in &mut lines {
                line.add(&self.fly(line.side, plan)?);
            }
        }
        Ok(lines.into_iter().map(Line::row).collect())
    }

    fn named(&self, steps: u32) -> String {
        let pure = if self.work == Work::Pure { "pure " } else { "" };
        let plural = if steps == 1 { "" } else { "s" };
        format!("{steps} {pure}step{plural}")
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
        let series = Series::new(format!("{what}, {}", side.name()));
        Self { side, series, cpu: 0.0, measured: 0 }
    }

    fn add(&mut self, leg: &Leg) {
        self.series.add(&leg.flown);
        self.cpu += leg.cpu;
        self.measured += leg.flown.measured;
    }

    fn row(self) -> Row {
        let mut row = self.series.row();
        if self.side != Side::Ours {
            row.broker_cpu_s_per_1000 = None;
        }
        row.more.push((CPU.into(), per_thousand(self.cpu, self.measured)));
        row
    }
}

/// `pure`: what a step costs that asks nobody.
pub(crate) fn pure(stack: &Stack, seconds: u64, rate: Option<u64>) -> anyhow::Result<Report> {
    let sides = Sides::alone(stack, Work::Pure)?;
    let (rows, reaches) = latencies(&sides, &[Side::Ours], seconds, rate, 0.2)?;
    Ok(Report::new("workflow, pure steps", seconds, rows, reaches, stack.broker_pid))
}

/// `steps`: model calls that answer at once, beside the durable steps of the peers that do nothing.
pub(crate) fn steps(
    stack: &Stack,
    seconds: u64,
    rate: Option<u64>,
    alone: bool,
) -> anyhow::Result<Report> {
    let (sides, of) = Sides::wanted(stack, alone)?;
    let (rows, reaches) = latencies(&sides, of, seconds, rate, 3.5)?;
    let report = Report::new("workflow, steps", seconds, rows, reaches, stack.broker_pid);
    Ok(Report { notes: durabilities(), ..report })
}

/// What each side promises.
fn durabilities() -> Vec<String> {
    let restate = [Disk::Synced, Disk::Unsynced].map(Disk::durability);
    [ours::DURABILITY, celery::DURABILITY].into_iter().chain(restate).map(str::to_owned).collect()
}

fn latencies(
    sides: &Sides,
    of: &[Side],
    seconds: u64,
    rate: Option<u64>,
    per_step: f64,
) -> anyhow::Result<(Vec<Row>, Vec<Reach>)> {
    let rates = rate.map_or(RATES.to_vec(), |rate| vec![rate]);
    let (mut rows, mut reaches) = (Vec::new(), Vec::new());
    for rate in rates {
        let mut medians = Vec::new();
        for steps in STEPS {
            let plan = Plan { steps, rate, seconds: precise(seconds) };
            let measured = sides.take_turns(of, plan)?;
            reaches.extend(beside(&measured, of, &format!("{}, {rate}/s", sides.named(steps))));
            medians.extend(measured[0].latency_ms.map(|latency| latency.p50));
            rows.extend(measured);
        }
        if let [one, three, nine] = medians[..] {
            for (what, added) in [("1 to 3", (three - one) / 2.0), ("1 to 9", (nine - one) / 8.0)] {
                let what = format!("each added step, {what}, {rate}/s, p50");
                reaches.push(Reach::at_most(what, added, per_step, "ms"));
            }
        }
    }
    Ok((rows, reaches))
}

/// Our latencies beside Restate's. A row that doesn't count is none to be compared with.
fn beside(rows: &[Row], of: &[Side], what: &str) -> Vec<Reach> {
    let Some((ours, peers)) = rows.split_first() else { return Vec::new() };
    let mut reaches = Vec::new();
    for (row, side) in peers.iter().zip(of.iter().skip(1)) {
        let is_restate = matches!(side, Side::Restate(_));
        let both = ours.latency_ms.zip(row.latency_ms).filter(|_| row.void.is_none());
        let Some((ours, theirs)) = both.filter(|_| is_restate) else { continue };
        let what = |which| format!("{what}: {which}, ours / {}", side.name());
        reaches.push(Reach::at_most(what("p50"), ours.p50 / theirs.p50, 1.0, "x"));
        reaches.push(Reach::at_most(what("p99"), ours.p99 / theirs.p99, 1.0, "x"));
    }
    reaches
}

/// `saturation`: the highest rate of workflows of three steps that each side keeps up with.
pub(crate) fn saturation(
    stack: &Stack,
    seconds: u64,
    first: Option<u64>,
    alone: bool,
) -> anyhow::Result<Report> {
    let (sides, of) = Sides::wanted(stack, alone)?;
    let seconds_of_try = (precise(seconds) / 2.0).max(SHORTEST_TRY);
    let mut best: [Option<Leg>; 4] = [const { None }; 4];
    let mut broke = [None; 4];
    for _ in 0..SEARCHES {
        for ((side, best), broke) in of.iter().zip(&mut best).zip(&mut broke) {
            let known = best.as_ref().map(|leg| (leg.flown.rate / 2).max(1));
            let first = known.or(first).unwrap_or(side.first());
            let found = highest(&sides, *side, first, seconds_of_try)?;
            let rate = |leg: &Option<Leg>| leg.as_ref().map(|leg| leg.flown.rate);
            if rate(&found.0) > rate(best) {
                (*best, *broke) = found;
            }
        }
    }
    let mut rows = Vec::new();
    let mut rates = Vec::new();
    for ((side, best), broke) in of.iter().zip(best).zip(broke) {
        let mut line = Line::new(*side, &format!("highest rate of {SATURATED} steps"));
        let Some(leg) = best else {
            let void = Some("not even one a second was kept up with".into());
            rows.push(Row { void, ..line.row() });
            continue;
        };
        line.add(&leg);
        let mut row = line.row();
        row.more.extend(broke.map(|rate| ("not kept up with /s".into(), precise(rate))));
        rates.push((*side, leg.flown.rate, cpu_of(&row).unwrap_or_default()));
        rows.push(row);
    }
    let reaches = ratios(&rates);
    let report = Report::new("workflow, saturation", seconds, rows, reaches, stack.broker_pid);
    Ok(Report { notes: durabilities(), ..report })
}

/// The flight at the highest rate that a side kept up with, and the lowest rate at which it didn't.
fn highest(
    sides: &Sides,
    side: Side,
    first: u64,
    seconds: f64,
) -> anyhow::Result<(Option<Leg>, Option<u64>)> {
    /// A second chance: whatever else the machine does shouldn't look like a limit.
    const TRIES: u32 = 2;
    let mut search = Search::from(first);
    let mut best = None;
    while let Some(rate) = search.next() {
        let mut held = None;
        for _ in 0..TRIES {
            let leg = sides.fly(side, Plan { steps: SATURATED, rate, seconds })?;
            let holds = leg.holds(LATE);
            tracing::info!(side = side.name(), rate, holds, void = ?leg.flown.void, "tried");
            if holds {
                held = Some(leg);
                break;
            }
        }
        search.found(rate, held.is_some());
        best = held.or(best);
    }
    Ok((best, search.broke))
}

/// Our rate and CPU beside those of the peers.
fn ratios(rates: &[(Side, u64, f64)]) -> Vec<Reach> {
    let Some(((Side::Ours, rate, cpu), peers)) = rates.split_first() else { return Vec::new() };
    let mut reaches = Vec::new();
    for (side, theirs, their_cpu) in peers {
        let name = side.name();
        let times = if *side == Side::Celery { 30.0 } else { 3.0 };
        let what = format!("completed a second, ours / {name}");
        reaches.push(Reach::at_least(what, precise(*rate) / precise(*theirs), times, "x"));
        let what = format!("CPU of 1,000, ours / {name}");
        let ratio = cpu / their_cpu.max(f64::MIN_POSITIVE);
        reaches.push(Reach::at_most(what, ratio, 1.0, "x"));
    }
    reaches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Latency;

    fn row(p50: f64, p99: f64, void: Option<&str>) -> Row {
        let latency_ms = Some(Latency { p50, p99, ..Latency::default() });
        Row { latency_ms, void: void.map(str::to_owned), ..Row::default() }
    }

    #[test]
    fn latency_is_judged_beside_each_restate_that_counts_and_not_beside_celery() {
        let rows = [
            row(8.0, 30.0, None),
            row(10.0, 20.0, None),
            row(4.0, 9.0, Some("lost")),
            row(1.0, 1.0, None),
        ];
        let reaches = beside(&rows, &Side::ALL, "1 step, 20/s");
        let met: Vec<_> = reaches.iter().map(|reach| (reach.measured, reach.met)).collect();
        assert_eq!(met, [(0.8, true), (1.5, false)]);
    }

    #[test]
    fn rates_and_cpu_are_judged_beside_every_peer() {
        let restate = Side::Restate(Disk::Synced);
        let rates = [(Side::Ours, 2_400, 0.5), (restate, 800, 1.0), (Side::Celery, 100, 10.0)];
        let reaches = ratios(&rates);
        let met: Vec<_> = reaches.iter().map(|reach| (reach.measured, reach.met)).collect();
        assert_eq!(met, [(3.0, true), (0.5, true), (24.0, false), (0.05, true)]);
        assert!(ratios(&rates[1..]).is_empty(), "without ours there is nothing to compare");
    }
}
