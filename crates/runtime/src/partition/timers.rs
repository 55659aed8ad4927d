//! The timers of a partition, by due time. The entries are the truth; this only says when to look.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;

use domain::time::Millis;

type Timer = (Millis, Arc<str>, Box<str>);

/// When to append which `TimerFired`.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Timer>>,
    /// Appended and not folded yet.
    appended: HashSet<Timer>,
}

impl Timers {
    /// A timer was set, or its firing came too early.
    pub(crate) fn set(&mut self, due: Millis, entity: &Arc<str>, timer: &str) {
        let timer = (due, Arc::clone(entity), timer.into());
        self.appended.remove(&timer);
        self.heap.push(Reverse(timer));
    }

    /// The next timer that is due, to be checked against the entries and then appended.
    pub(crate) fn pop_due(&mut self, now: Millis) -> Option<Timer> {
        loop {
            let Reverse((due, _, _)) = self.heap.peek()?;
            if *due > now {
                return None;
            }
            let Reverse(timer) = self.heap.pop()?;
            if self.appended.insert(timer.clone()) {
                return Some(timer);
            }
        }
    }

    /// Whether one is due by then.
    pub(crate) fn is_due(&self, then: Millis) -> bool {
        self.heap.peek().is_some_and(|Reverse((due, _, _))| *due <= then)
    }

    /// A firing was folded, or the timer is gone.
    pub(crate) fn forget(&mut self, due: Millis, entity: &Arc<str>, timer: &str) {
        if !self.appended.is_empty() {
            self.appended.remove(&(due, Arc::clone(entity), timer.into()));
        }
    }
}
