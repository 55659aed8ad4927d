//! `workflow`: what workflows cost on the real broker with the real roles, beside Restate and Celery where
//! they have the like. Each shape is a run of its own.

use clap::ValueEnum;

use crate::report::Report;
use crate::stack::Stack;

mod again;
mod alarms;
mod beside;
mod celery;
mod definitions;
mod flight;
mod ours;
mod process;
mod restate;
mod waiting;
mod watch;
mod wide;

/// What is measured of workflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// 1, 3 and 9 model calls, beside Restate and Celery.
    Steps,
    /// 1, 3 and 9 steps that ask nobody.
    Pure,
    /// The highest rate of three steps, beside Restate and Celery.
    Saturation,
    /// A body for each of 100, 1,000 and 10,000 items.
    FanOut,
    /// A model call 10,000 times.
    Loop,
    /// 100,000 executions that wait until times spread over a minute.
    Timers,
    /// 50,000 executions that wait for a signal: their memory, and their restore.
    Waiting,
}

/// What is wanted of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// What is measured.
    pub(crate) shape: Shape,
    /// How long each row is.
    pub(crate) seconds: u64,
    /// `steps` and `pure`: the only rate; `saturation`: where the search begins.
    pub(crate) rate: Option<u64>,
    /// `loop`, `timers`, `waiting`: how many; `fan-out`: the widest; where the usual number is too many.
    pub(crate) count: Option<u64>,
    /// `steps` and `saturation`: without the peers.
    pub(crate) alone: bool,
}

/// The bench.
pub(crate) fn run(stack: &Stack, wanted: Wanted) -> anyhow::Result<Report> {
    let Wanted { shape, seconds, rate, count, alone } = wanted;
    match shape {
        Shape::Steps => beside::steps(stack, seconds, rate, alone),
        Shape::Pure => beside::pure(stack, seconds, rate),
        Shape::Saturation => beside::saturation(stack, seconds, rate, alone),
        Shape::FanOut => wide::run(stack, count),
        Shape::Loop => again::run(stack, count),
        Shape::Timers => alarms::run(stack, count),
        Shape::Waiting => waiting::run(stack, count),
    }
}
