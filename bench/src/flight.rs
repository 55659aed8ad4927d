//! One measured stretch: records at a fixed rate, each with an intended time, and the tally of what came
//! back. It judges no speed; it only says whether the run counts at all.

use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Names one record of one flight. Its text opens whatever the record carries, so that the reader at the
/// far end needs nothing but the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    /// The flight, unique within the process.
    pub(crate) flight: u32,
    /// The record, from 0.
    pub(crate) nth: u64,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}-{}", self.flight, self.nth)
    }
}

impl Id {
    /// Reads the id that `text` begins with; what follows its digits is left.
    pub(crate) fn at_front(text: &str) -> Option<Self> {
        let (flight, rest) = text.strip_prefix('b')?.split_once('-')?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        Some(Self { flight: flight.parse().ok()?, nth: rest.get(..end)?.parse().ok()? })
    }
}

/// When each record is meant to leave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// The flight.
    pub(crate) flight: u32,
    /// When the first record is meant to leave.
    pub(crate) began: Instant,
    /// Records a second.
    pub(crate) rate: u64,
    /// How many in all.
    pub(crate) total: u64,
    /// How many of them warm up: they count for the gate, not for latency and cost.
    pub(crate) warm: u64,
}

impl Schedule {
    /// When record `nth` is meant to leave.
    pub(crate) fn intended(&self, nth: u64) -> Instant {
        self.began + Duration::from_nanos(nth.saturating_mul(1_000_000_000) / self.rate.max(1))
    }
}

/// A run that doesn't count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Void {
    /// Records that never came out.
    #[error("{missing} of {sent} records never came out")]
    Lost {
        /// How many were sent.
        sent: u64,
        /// How many are missing.
        missing: u64,
    },
    /// Records that came out again.
    #[error("{copies} copies came out")]
    Doubled {
        /// How many too many.
        copies: u64,
    },
    /// Records that nobody sent.
    #[error("{strange} records came out that nobody sent")]
    Strange {
        /// How many.
        strange: u64,
    },
    /// The producer gave up on some.
    #[error("{failed} records were not acknowledged")]
    NotSent {
        /// How many.
        failed: u64,
    },
}

/// The largest latency that is told apart, in microseconds: ten minutes.
const LONGEST_US: u64 = 600_000_000;

/// An empty histogram of microseconds with three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are in order")
}

/// What came out of one flight.
#[derive(Debug)]
pub(crate) struct Tally {
    schedule: Schedule,
    seen: Vec<u8>,
    distinct: u64,
    copies: u64,
    strange: u64,
    latency: Histogram<u64>,
    last: Option<Instant>,
    gap: Duration,
}

impl Tally {
    /// Nothing came out yet.
    pub(crate) fn new(schedule: Schedule) -> Self {
        let total = usize::try_from(schedule.total).expect("a run fits into memory");
        Self {
            schedule,
            seen: vec![0; total],
            distinct: 0,
            copies: 0,
            strange: 0,
            latency: histogram(),
            last: None,
            gap: Duration::ZERO,
        }
    }

    /// A record came out. Those of other flights are late guests of an earlier one, which has been judged.
    pub(crate) fn came_out(&mut self, id: Id, at: Instant) {
        if id.flight != self.schedule.flight {
            return;
        }
        let place = usize::try_from(id.nth).ok().and_then(|nth| self.seen.get_mut(nth));
        let Some(count) = place else {
            self.strange += 1;
            return;
        };
        *count = count.saturating_add(1);
        if *count > 1 {
            self.copies += 1;
            return;
        }
        self.distinct += 1;
        if let Some(last) = self.last {
            self.gap = self.gap.max(at.saturating_duration_since(last));
        }
        self.last = Some(at);
        if id.nth >= self.schedule.warm {
            let late = at.saturating_duration_since(self.schedule.intended(id.nth));
            let late = u64::try_from(late.as_micros()).unwrap_or(LONGEST_US);
            self.latency.saturating_record(late.max(1));
        }
    }

    /// Whether nothing is missing any more.
    pub(crate) fn is_complete(&self) -> bool {
        self.distinct == self.schedule.total
    }

    /// How many came out, each counted once.
    pub(crate) fn distinct(&self) -> u64 {
        self.distinct
    }

    /// How many came out again.
    pub(crate) fn copies(&self) -> u64 {
        self.copies
    }

    /// The longest time between two records that came out.
    pub(crate) fn gap(&self) -> Duration {
        self.gap
    }

    /// The latencies in microseconds, from the intended time, warm-up left out.
    pub(crate) fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }

    /// The gate: every record came out once, and nothing else did.
    ///
    /// # Errors
    /// The first reason for which the run doesn't count.
    pub(crate) fn gate(&self, failed: u64) -> Result<(), Void> {
        if failed > 0 {
            return Err(Void::NotSent { failed });
        }
        let missing = self.schedule.total - self.distinct;
        if missing > 0 {
            return Err(Void::Lost { sent: self.schedule.total, missing });
        }
        if self.copies > 0 {
            return Err(Void::Doubled { copies: self.copies });
        }
        if self.strange > 0 {
            return Err(Void::Strange { strange: self.strange });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(total: u64, warm: u64) -> Tally {
        Tally::new(Schedule { flight: 7, began: Instant::now(), rate: 1_000, total, warm })
    }

    fn id(nth: u64) -> Id {
        Id { flight: 7, nth }
    }

    #[test]
    fn id_is_read_back_from_the_front_of_a_text() {
        let id = Id { flight: 3, nth: 41 };
        for text in ["b3-41", "b3-41 xxxx", "b3-41.2"] {
            assert_eq!(Id::at_front(text), Some(id), "{text}");
        }
        for text in ["", "b3", "b-1", "c3-41", "b3-x", "bx-1"] {
            assert_eq!(Id::at_front(text), None, "{text}");
        }
    }

    #[test]
    fn each_record_once_in_any_order_passes_the_gate() {
        let mut tally = tally(3, 0);
        for nth in [2, 0, 1] {
            assert!(!tally.is_complete());
            tally.came_out(id(nth), Instant::now());
        }
        assert!(tally.is_complete());
        assert_eq!(tally.gate(0), Ok(()));
    }

    #[test]
    fn lost_record_voids_the_run() {
        let mut tally = tally(3, 0);
        tally.came_out(id(0), Instant::now());
        tally.came_out(id(2), Instant::now());
        assert_eq!(tally.gate(0), Err(Void::Lost { sent: 3, missing: 1 }));
    }

    #[test]
    fn doubled_record_voids_the_run_and_makes_up_for_no_lost_one() {
        let mut tally = tally(2, 0);
        for nth in [0, 1, 1] {
            tally.came_out(id(nth), Instant::now());
        }
        assert_eq!(tally.gate(0), Err(Void::Doubled { copies: 1 }));
        let mut tally = self::tally(2, 0);
        for nth in [0, 0] {
            tally.came_out(id(nth), Instant::now());
        }
        assert!(matches!(tally.gate(0), Err(Void::Lost { .. })));
    }

    #[test]
    fn record_beyond_the_last_voids_the_run() {
        let mut tally = tally(1, 0);
        tally.came_out(id(0), Instant::now());
        tally.came_out(id(1), Instant::now());
        assert_eq!(tally.gate(0), Err(Void::Strange { strange: 1 }));
    }

    #[test]
    fn record_that_was_never_acknowledged_voids_the_run() {
        let mut tally = tally(1, 0);
        tally.came_out(id(0), Instant::now());
        assert_eq!(tally.gate(1), Err(Void::NotSent { failed: 1 }));
    }

    #[test]
    fn records_of_another_flight_are_left_out() {
        let mut tally = tally(1, 0);
        tally.came_out(Id { flight: 6, nth: 0 }, Instant::now());
        assert_eq!(tally.distinct(), 0);
    }

    #[test]
    fn latency_counts_from_the_intended_time_and_without_the_warm_up() {
        let mut tally = tally(20, 10);
        let began = tally.schedule.began;
        // All arrive at once, half a second in: record 10 was meant to leave 10 ms in.
        for nth in 0..20 {
            tally.came_out(id(nth), began + Duration::from_millis(500));
        }
        assert_eq!(tally.latency().len(), 10);
        let slowest = tally.latency().max();
        assert!((489_000..=491_000).contains(&slowest), "{slowest}");
    }
}
