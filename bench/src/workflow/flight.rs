//! A flight of workflows, whoever runs them: so many steps, at a rate, and what it gave.

use std::time::{Duration, Instant};

use crate::flight::{Schedule, Tally};
use crate::lane::{Flown, PATIENCE, precise};
use crate::report::Row;
use crate::usage::Usage;

/// Seconds of warm-up before each flight.
pub(crate) const WARM: f64 = 1.0;

/// The name of the CPU of all processes of a side; the column `own` is the harness.
pub(crate) const CPU: &str = "CPU of all its processes s/1000";

/// A flight that is to be flown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Steps of a workflow.
    pub(crate) steps: u32,
    /// Workflows a second.
    pub(crate) rate: u64,
    /// Seconds that count.
    pub(crate) seconds: f64,
}

impl Plan {
    /// Workflows that warm up.
    pub(crate) fn warm(&self) -> u64 {
        (WARM * precise(self.rate)).round() as u64
    }

    /// Workflows, warm-up included.
    pub(crate) fn total(&self) -> u64 {
        self.warm() + (self.seconds * precise(self.rate)).round() as u64
    }

    /// When each is meant to leave.
    pub(crate) fn schedule(&self, flight: u32, began: Instant) -> Schedule {
        let (total, warm) = (self.total(), self.warm());
        Schedule { flight, began, rate: self.rate, total, warm }
    }
}

/// What a flight gave.
pub(crate) struct Leg {
    /// As of any other bench.
    pub(crate) flown: Flown,
    /// CPU seconds of all processes of the side, in the measured part.
    pub(crate) cpu: f64,
}

impl Leg {
    /// Of what came out.
    pub(crate) fn of(schedule: Schedule, tally: Tally, failed: u64, used: Usage, cpu: f64) -> Self {
        let flown = Flown {
            flight: schedule.flight,
            rate: schedule.rate,
            sent: schedule.total,
            measured: schedule.total - schedule.warm,
            void: tally.gate(failed).err().map(|void| void.to_string()),
            used,
            tally,
        };
        Self { flown, cpu }
    }

    /// Whether it kept up: everything came out, and of a hundred no more than one was later than this.
    pub(crate) fn holds(&self, bound: Duration) -> bool {
        let latency = self.flown.tally.latency();
        let p99 = Duration::from_micros(latency.value_at_quantile(0.99));
        self.flown.void.is_none() && p99 <= bound
    }
}

/// How long after the last the rest may take to come out, whoever runs them.
pub(crate) const REST: Duration = PATIENCE;

/// The CPU seconds of a side for 1,000 workflows, as its row says it.
pub(crate) fn cpu_of(row: &Row) -> Option<f64> {
    row.more.iter().find(|(name, _)| name == CPU).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flight::Id;

    fn leg(late: Duration, came: u64) -> Leg {
        let plan = Plan { steps: 1, rate: 10, seconds: 1.0 };
        let schedule = plan.schedule(1, Instant::now());
        let mut tally = Tally::new(schedule);
        for nth in 0..came {
            tally.came_out(Id { flight: 1, nth }, schedule.intended(nth) + late);
        }
        Leg::of(schedule, tally, 0, Usage::default(), 1.0)
    }

    #[test]
    fn warm_up_is_sent_before_what_counts() {
        let plan = Plan { steps: 3, rate: 100, seconds: 2.5 };
        assert_eq!((plan.warm(), plan.total()), (100, 350));
    }

    #[test]
    fn flight_holds_when_all_of_it_comes_in_time() {
        let second = Duration::from_secs(1);
        assert!(leg(Duration::from_millis(900), 20).holds(second));
        assert!(!leg(Duration::from_millis(1_100), 20).holds(second));
        assert!(!leg(Duration::from_millis(5), 19).holds(second));
    }
}
