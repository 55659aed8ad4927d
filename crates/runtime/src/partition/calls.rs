//! The outside calls that run, beside those that are wanted (rule F4).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use domain::answer::Failure;

/// The key of a call: entity and name.
pub(crate) type CallKey = (Arc<str>, Box<str>);

/// A call that counts as running: from its start until its end is folded.
#[derive(Debug)]
pub(crate) struct Run<F> {
    /// Its number with the driver.
    pub(crate) number: u64,
    /// The fence under which it was started.
    pub(crate) fence: i64,
    /// How it ended, once it has; kept until that is folded.
    pub(crate) ended: Option<Result<F, Failure>>,
}

/// The calls of a partition.
#[derive(Debug)]
pub(crate) struct Calls<F> {
    running: BTreeMap<CallKey, Run<F>>,
    by_number: BTreeMap<u64, CallKey>,
    /// Wanted, perhaps not running: to be looked at.
    waiting: VecDeque<CallKey>,
}

impl<F> Default for Calls<F> {
    fn default() -> Self {
        Self { running: BTreeMap::new(), by_number: BTreeMap::new(), waiting: VecDeque::new() }
    }
}

impl<F> Calls<F> {
    /// A call is wanted.
    pub(crate) fn look_at(&mut self, key: CallKey) {
        if !self.running.contains_key(&key) {
            self.waiting.push_back(key);
        }
    }

    /// The next wanted call that doesn't run.
    pub(crate) fn next_waiting(&mut self) -> Option<CallKey> {
        loop {
            let key = self.waiting.pop_front()?;
            if !self.running.contains_key(&key) {
                return Some(key);
            }
        }
    }

    /// A call was started.
    pub(crate) fn started(&mut self, key: CallKey, number: u64, fence: i64) {
        self.by_number.insert(number, key.clone());
        self.running.insert(key, Run { number, fence, ended: None });
    }

    /// A call ended; it still counts as running. `None`: nobody waits for it any more.
    pub(crate) fn ended(
        &mut self,
        number: u64,
        result: Result<F, Failure>,
    ) -> Option<(CallKey, &Run<F>)> {
        let key = self.by_number.get(&number)?.clone();
        let run = self.running.get_mut(&key)?;
        run.ended = Some(result);
        Some((key, run))
    }

    /// A call is no longer wanted, or its end is folded. Returns its number if it has to be aborted.
    pub(crate) fn release(&mut self, key: &CallKey) -> Option<u64> {
        let run = self.running.remove(key)?;
        self.by_number.remove(&run.number);
        run.ended.is_none().then_some(run.number)
    }

    /// How many run.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// What runs, to be handed to the machine that a restore makes.
    pub(crate) fn hand_over(self) -> Vec<(CallKey, Run<F>)> {
        self.running.into_iter().collect()
    }

    /// Takes in a call that survived a restore.
    pub(crate) fn adopt(&mut self, key: CallKey, run: Run<F>) {
        self.by_number.insert(run.number, key.clone());
        self.running.insert(key, run);
    }

    /// Every call that runs.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&CallKey, &Run<F>)> {
        self.running.iter()
    }
}
