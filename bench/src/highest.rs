//! The highest rate of chat completions that someone keeps up with: doubled until it doesn't, then halved a
//! few times. It decides nothing about what is late; that is said to it.

use std::time::Duration;

use crate::asks::{Asking, Load, Until, scripted};

impl Load<'_> {
    /// The highest rate that is kept up with for `seconds`: every answer is right, and of a hundred no
    /// more than one comes later than `late` after the script's own time.
    ///
    /// # Errors
    /// It never comes to rest again.
    pub(crate) fn highest(&self, first: u64, seconds: u64, late: Duration) -> anyhow::Result<Held> {
        const WARM: u64 = 2;
        const TRIES: u32 = 2;
        let bound = scripted() + late;
        let mut search = Search::from(first);
        let mut best = None;
        while let Some(rate) = search.next() {
            let mut held = None;
            // A second chance: whatever else the machine does shouldn't look like a limit.
            for _ in 0..TRIES {
                self.until_rested()?;
                let asking = self.fly(rate, WARM, seconds, Until::Late(bound));
                let p99 =
                    Duration::from_micros(asking.flown.tally.latency().value_at_quantile(0.99));
                let holds = !asking.lost && asking.flown.void.is_none() && p99 <= bound;
                tracing::info!(url = self.asked.url, shape = %self.shape, rate, ?p99, holds, "tried");
                if holds {
                    held = Some(asking);
                    break;
                }
            }
            search.found(rate, held.is_some());
            best = held.or(best);
        }
        Ok(Held { best, broke: search.broke })
    }
}

/// What a search found.
pub(crate) struct Held {
    /// The flight at the highest rate that was kept up with; `None`: not even one a second was.
    pub(crate) best: Option<Asking>,
    /// The lowest rate that wasn't; `None`: the search ended before.
    pub(crate) broke: Option<u64>,
}

/// Doubles until it breaks, then halves what lies between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    first: u64,
    held: Option<u64>,
    /// The lowest rate that didn't hold.
    pub(crate) broke: Option<u64>,
    refinements: u32,
}

impl Search {
    /// Steps between the last rate that held and the first that didn't.
    const REFINEMENTS: u32 = 3;
    /// Where it ends in any case.
    const HIGHEST: u64 = 20_000;

    /// Begins at `first`.
    pub(crate) fn from(first: u64) -> Self {
        Self { first, held: None, broke: None, refinements: 0 }
    }

    /// The rate to try next; `None`: the search is over.
    pub(crate) fn next(&self) -> Option<u64> {
        match (self.held, self.broke) {
            (None, None) => Some(self.first),
            (Some(held), None) => Some(held * 2).filter(|rate| *rate <= Self::HIGHEST),
            (None, Some(broke)) => Some(broke / 2).filter(|rate| *rate > 0),
            (Some(held), Some(broke)) => Some(held.midpoint(broke))
                .filter(|rate| *rate > held && self.refinements < Self::REFINEMENTS),
        }
    }

    /// Says whether a rate held.
    pub(crate) fn found(&mut self, rate: u64, holds: bool) {
        if self.held.is_some() && self.broke.is_some() {
            self.refinements += 1;
        }
        match holds {
            true => self.held = Some(rate),
            false => self.broke = Some(rate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn highest(first: u64, limit: u64) -> (Option<u64>, Vec<u64>) {
        let mut search = Search::from(first);
        let mut tried = Vec::new();
        while let Some(rate) = search.next() {
            tried.push(rate);
            search.found(rate, rate <= limit);
        }
        (search.held, tried)
    }

    #[test]
    fn search_doubles_then_halves_what_is_between() {
        assert_eq!(highest(10, 71), (Some(70), vec![10, 20, 40, 80, 60, 70, 75]));
        assert_eq!(highest(10, 7), (Some(7), vec![10, 5, 7, 8]));
        assert_eq!(highest(10, 0), (None, vec![10, 5, 2, 1]));
        assert_eq!(highest(15_000, 50_000).0, Some(15_000));
    }
}
