//! Taking a partition over, and passing a record that can't be folded (rules F6, F7, K2).

use std::sync::Arc;

use domain::fact::{Fact, Skipped, TakenOver};

use super::Partition;
use super::checkpoint::Stage;
use super::effects::{Alarm, Cut, Effect};
use super::outbox::Purpose;
use super::rules::Rule;
use crate::ports::{Confirmed, Raw, Side};
use crate::processor::Processor;

/// How far a take-over has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A raised generation is being committed.
    Raising,
    /// `TakenOver` is on its way.
    TakingOver,
    /// The log is read ahead for records to be skipped.
    Scanning,
    /// Folding towards the own `TakenOver`.
    CatchingUp,
    /// Owner: admission, calls and timers run.
    Live,
    /// Dropped by its worker soon, or waiting for a person.
    Stopped,
}

/// How a take-over begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// The program has changed since the last checkpoint.
    RaiseGeneration,
    /// As usual.
    TakeOver,
}

/// Folding stands at a record whose step fails.
#[derive(Debug)]
pub(super) struct Stuck {
    offset: i64,
    reason: String,
}

impl<P: Processor> Partition<P> {
    pub(super) fn begin(&mut self, begin: Begin, now: i64) {
        match begin {
            Begin::RaiseGeneration => {
                self.phase = Phase::Raising;
                self.commit_position();
            }
            Begin::TakeOver if self.rules.hold(Rule::F6TakeOver) => {
                self.phase = Phase::TakingOver;
                self.append_taken_over(now);
            }
            Begin::TakeOver => {
                self.phase = Phase::CatchingUp;
                self.start_log();
                self.go_live(now, 0);
            }
        }
    }

    /// Commits the position alone: the raised generation, before the first output under it.
    pub(super) fn commit_position(&mut self) {
        let position = self.position();
        let log_offset = position.log_offset;
        self.stage = Stage::Committing { keys: Vec::new(), rows: Arc::default(), log_offset };
        let cut = Cut { entries: Vec::new(), rows: Arc::default(), position };
        self.effects.push_back(Effect::Commit(cut));
    }

    fn append_taken_over(&mut self, now: i64) {
        let taken = TakenOver {
            owner: self.identity.owner.clone(),
            program: self.identity.program.clone(),
        };
        self.append(now, None, &Fact::TakenOver(taken), Purpose::TakenOver);
    }

    fn start_log(&mut self) {
        self.log_epoch = (self.identity.incarnation << 32) + 1;
        let offset = (self.log_next > 0).then_some(self.log_next);
        self.effects.push_back(Effect::Start { side: Side::Log, offset, epoch: self.log_epoch });
    }

    /// Our `TakenOver` stands at this offset.
    pub(super) fn taken_over_stands(&mut self, now: i64, offset: i64) {
        self.appended_fence = offset;
        if self.phase == Phase::TakingOver {
            if offset < self.log_next {
                return self.stop(format!(
                    "the log ends at {offset}, before its checkpoint at {}: the topic was \
                     recreated or emptied; see docs/operations/state-repair.md",
                    self.log_next
                ));
            }
            if offset == self.log_next {
                self.phase = Phase::CatchingUp;
                self.start_log();
            } else {
                self.phase = Phase::Scanning;
                self.effects.push_back(Effect::Scan { from: self.log_next, to: offset });
            }
        } else if let Some(stuck) = &self.stuck {
            // A second take-over was written because another owner's stood before our `Skipped`.
            let (offset, reason) = (stuck.offset, stuck.reason.clone());
            self.append_skipped(now, offset, reason);
        }
    }

    pub(super) fn handle_scanned(&mut self, records: &[Raw]) {
        let skips = self.skips_in(records);
        if self.phase == Phase::Scanning {
            self.skips = skips.into_iter().collect();
            self.phase = Phase::CatchingUp;
            self.start_log();
        } else if let Some(stuck) = self.stuck.take() {
            match skips.into_iter().find(|(offset, _)| *offset == stuck.offset) {
                Some((offset, reason)) => {
                    self.skips.insert(offset, reason.clone());
                    self.effects.push_back(Effect::Alarm(Alarm::Skipped { offset, reason }));
                }
                None => {
                    self.stuck = Some(stuck);
                    self.become_suspect();
                }
            }
        }
    }

    /// The records that stand in `records` as skipped, by whoever was the latest owner then.
    fn skips_in(&self, records: &[Raw]) -> Vec<(i64, String)> {
        let mut latest: Option<(i64, String)> = None;
        let mut fence_owner = std::collections::BTreeMap::new();
        let mut skips = Vec::new();
        for raw in records {
            match self.ids.read_fact(&raw.value) {
                Ok(Fact::TakenOver(taken)) => {
                    fence_owner.insert(raw.offset, taken.owner.clone());
                    latest = Some((raw.offset, taken.owner));
                }
                Ok(Fact::Skipped(Skipped { offset, fence, reason })) => {
                    let stands = latest.as_ref().is_none_or(|(_, owner)| {
                        fence_owner.get(&fence).is_some_and(|by| by == owner)
                            || (fence == self.appended_fence && *owner == self.identity.owner)
                    });
                    if stands {
                        skips.push((offset, reason));
                    }
                }
                _ => {}
            }
        }
        skips
    }

    /// Folding failed at `raw`: it is passed when that is a fact.
    pub(super) fn become_stuck(&mut self, now: i64, raw: Raw, reason: String) {
        let offset = raw.offset;
        self.held.push_front(raw);
        self.stuck = Some(Stuck { offset, reason: reason.clone() });
        if self.rules.hold(Rule::F7Skip) {
            self.append_skipped(now, offset, reason);
        }
    }

    fn append_skipped(&mut self, now: i64, offset: i64, reason: String) {
        let skipped = Skipped { offset, fence: self.appended_fence, reason };
        self.append(now, None, &Fact::Skipped(skipped), Purpose::Skipped(offset));
    }

    /// A `TakenOver` was folded at this offset.
    pub(super) fn fold_taken_over(&mut self, now: i64, offset: i64, owner: &str) {
        if owner == self.identity.owner {
            self.go_live(now, offset);
        } else if self.appended_fence >= 0 && offset > self.appended_fence {
            self.become_suspect();
        }
    }

    fn go_live(&mut self, now: i64, fence: i64) {
        self.fence = Some(fence);
        if self.phase != Phase::CatchingUp {
            return;
        }
        self.phase = Phase::Live;
        self.start_feed();
        // A call that ended while its machine was being replaced: say it again, the first one counts.
        let ended: Vec<_> = self
            .calls
            .iter()
            .filter_map(|(key, run)| Some((key.clone(), run.fence, run.ended.clone()?)))
            .collect();
        for (key, fence, result) in ended {
            self.append_end(now, &key, fence, result);
        }
    }

    fn become_suspect(&mut self) {
        self.suspect = true;
        self.effects.push_back(Effect::Confirm);
    }

    pub(super) fn handle_confirmed(&mut self, now: i64, confirmed: Confirmed, asked_at: i64) {
        match confirmed {
            Confirmed::Owner => {
                self.confirmed_at = self.confirmed_at.max(asked_at);
                if std::mem::take(&mut self.suspect) {
                    // Someone who isn't the owner wrote a take-over after ours: ours has to be the latest.
                    self.append_taken_over(now);
                }
            }
            Confirmed::NotOwner => self.give_up("the group has given the partition away".into()),
            Confirmed::Unknown => {
                if self.suspect {
                    self.effects.push_back(Effect::Confirm);
                }
            }
        }
    }

    /// Drops this machine; the worker confirms ownership and restores, or releases.
    pub(super) fn give_up(&mut self, reason: String) {
        if self.phase != Phase::Stopped {
            self.phase = Phase::Stopped;
            self.effects.push_back(Effect::Restore(reason));
        }
    }
}
