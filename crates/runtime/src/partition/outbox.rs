//! What was sent and is not acknowledged yet, in order: outputs of folds and appends to the own log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::ports::Outgoing;

/// What should happen when it stands in its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An output of the fold of this log offset: a checkpoint that covers it waits.
    Output(i64),
    /// An `Admitted` or `Rejected` of ours.
    Admission,
    /// Our `TakenOver`.
    TakenOver,
    /// A `Skipped` of ours, for this offset.
    Skipped(i64),
    /// The dead letter of this feed offset: its `Rejected` waits for it.
    DeadLetter(i64),
    /// Any other append; nothing waits for it.
    Append,
}

#[derive(Debug)]
struct Unacked {
    record: Arc<Outgoing>,
    purpose: Purpose,
    sent_at: i64,
    done: bool,
}

/// Sends in order, not yet acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    first: u64,
    queue: VecDeque<Unacked>,
    outputs: BTreeMap<i64, usize>,
    admissions: usize,
}

impl Outbox {
    /// Takes in one send; returns its place.
    pub(crate) fn push(&mut self, record: Arc<Outgoing>, purpose: Purpose, now: i64) -> u64 {
        match purpose {
            Purpose::Output(offset) => *self.outputs.entry(offset).or_default() += 1,
            Purpose::Admission => self.admissions += 1,
            _ => {}
        }
        self.queue.push_back(Unacked { record, purpose, sent_at: now, done: false });
        self.first + self.queue.len() as u64 - 1
    }

    /// Marks one as standing in its topic; returns why it was sent. A second report is ignored.
    pub(crate) fn acknowledge(&mut self, seq: u64) -> Option<Purpose> {
        let index = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        let unacked = self.queue.get_mut(index).filter(|unacked| !unacked.done)?;
        unacked.done = true;
        let purpose = unacked.purpose.clone();
        match &purpose {
            Purpose::Output(offset) => {
                if let Some(left) = self.outputs.get_mut(offset) {
                    *left -= 1;
                    if *left == 0 {
                        self.outputs.remove(offset);
                    }
                }
            }
            Purpose::Admission => self.admissions -= 1,
            _ => {}
        }
        while self.queue.front().is_some_and(|unacked| unacked.done) {
            self.queue.pop_front();
            self.first += 1;
        }
        Some(purpose)
    }

    /// Everything that is not acknowledged, in order, to be sent again.
    pub(crate) fn unacknowledged(&self) -> impl Iterator<Item = (u64, &Arc<Outgoing>)> {
        (self.first..)
            .zip(&self.queue)
            .filter(|(_, unacked)| !unacked.done)
            .map(|(seq, unacked)| (seq, &unacked.record))
    }

    /// Whether every output of inputs up to `offset` is acknowledged.
    pub(crate) fn outputs_stand_through(&self, offset: i64) -> bool {
        self.outputs.first_key_value().is_none_or(|(first, _)| *first > offset)
    }

    /// Whether every `Admitted` and `Rejected` of ours is acknowledged.
    pub(crate) fn admissions_stand(&self) -> bool {
        self.admissions == 0
    }

    /// When the oldest unacknowledged send was made.
    pub(crate) fn oldest(&self) -> Option<i64> {
        self.queue.front().map(|unacked| unacked.sent_at)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}
