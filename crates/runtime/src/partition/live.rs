//! What an owner does beside folding: acknowledgements, calls, timers, checkpoints, letting go.

use std::sync::Arc;

use domain::answer::{ErrorClass, Failure};
use domain::fact::{Fact, Failed, Finished, TimerFired};
use domain::state::Position;

use super::calls::CallKey;
use super::checkpoint::Stage;
use super::effects::{Alarm, Cut, Effect};
use super::entries::{Part, Stored};
use super::outbox::Purpose;
use super::rules::Rule;
use super::takeover::{Begin, Phase};
use super::{Gauges, Partition};
use crate::ports::{CommitError, Sent};
use crate::processor::{Processor, Running};

impl<P: Processor> Partition<P> {
    /// Whatever time and room allow.
    pub(super) fn advance(&mut self, now: i64) {
        if self.phase == Phase::Live {
            self.admit_held(now);
            self.start_calls(now);
            self.fire_timers(now);
        }
        self.checkpoint(now);
        self.watch(now);
    }

    pub(super) fn handle_sent(&mut self, now: i64, seq: u64, sent: Sent) {
        let offset = match sent {
            Sent::At(offset) => offset,
            Sent::Unknown if self.rules.hold(Rule::F2UnknownAcks) || self.phase != Phase::Live => {
                return self.effects.push_back(Effect::ReplaceProducer);
            }
            Sent::Unknown => -1,
            Sent::Refused(why) => return self.stop(format!("the broker refuses a record: {why}")),
        };
        self.watchdog_rang = false;
        self.observe_sent(now, seq);
        match self.outbox.acknowledge(seq) {
            Some(Purpose::TakenOver) => self.taken_over_stands(now, offset),
            Some(Purpose::Skipped(from)) => {
                self.effects.push_back(Effect::Scan { from, to: offset });
            }
            Some(Purpose::DeadLetter(feed_offset)) => self.dead_letter_stands(now, feed_offset),
            Some(Purpose::Admission) => self.admission.stands(offset),
            Some(Purpose::Output(_) | Purpose::Append) | None => {}
        }
    }

    pub(super) fn handle_call_ended(
        &mut self,
        now: i64,
        number: u64,
        result: Result<P::Fact, Failure>,
    ) {
        let Some((key, run)) = self.calls.ended(number, result.clone()) else {
            return;
        };
        let fence = run.fence;
        if !self.rules.hold(Rule::F4WantedCalls) {
            self.calls.release(&key);
            self.calls.look_at(key.clone());
        }
        self.append_end(now, &key, fence, result);
    }

    /// Appends how a call ended. It counts when it is folded, if it is the first.
    pub(super) fn append_end(
        &mut self,
        now: i64,
        (entity, call): &CallKey,
        fence: i64,
        result: Result<P::Fact, Failure>,
    ) {
        let limit = self.options.max_record_bytes;
        let call = call.to_string();
        let framed = result.and_then(|fact| {
            let fact = self.ids.frame(&fact).map_err(|error| {
                Failure::new(ErrorClass::Internal, "unframed_outcome", error.to_string())
            })?;
            if fact.len() > limit {
                let message = format!("the outcome has {} bytes, at most {limit}", fact.len());
                return Err(Failure::new(ErrorClass::TooLarge, "outcome_too_large", message));
            }
            Ok(fact)
        });
        let fact = match framed {
            Ok(fact) => Fact::Finished(Finished { call, attempt: 1, fence, fact }),
            Err(failure) => Fact::Failed(Failed { call, attempt: 1, fence, failure }),
        };
        self.append(now, Some(entity), &fact, Purpose::Append);
    }

    /// Starts what is wanted and doesn't run, window and ownership permitting (rule F4).
    fn start_calls(&mut self, now: i64) {
        let Some(fence) = self.fence else { return };
        let sure = now - self.confirmed_at <= self.options.session_timeout_ms / 2;
        if self.suspect || self.quiesced || !sure {
            return;
        }
        let window = match self.options.window {
            Some(window) if self.rules.hold(Rule::Q3Window) => window,
            _ => usize::MAX,
        };
        while self.calls.running() < window
            && let Some((entity, name)) = self.calls.next_waiting()
        {
            let Some(Stored::Wanted(wanted)) = self.entries.get(&entity, Part::Wanted, &name)
            else {
                continue;
            };
            let call = wanted.call.clone();
            let run = self.next_run;
            self.next_run += 1;
            let running = Running { entity: entity.to_string(), call: name.to_string(), fence };
            self.calls.started((entity, name), run, fence);
            self.effects.push_back(Effect::StartCall { run, running, call });
        }
    }

    /// Appends the timers that are due: by state time, advanced by the monotonic clock (rule F5).
    fn fire_timers(&mut self, now: i64) {
        if self.quiesced {
            return;
        }
        let state_time = self.state_time.plus(now - self.time_moved_at);
        while let Some((due, entity, timer)) = self.timers.pop_due(state_time) {
            match self.entries.get(&entity, Part::Timer, &timer) {
                Some(Stored::Timer(set)) if *set == due => {
                    let fired = TimerFired { timer: timer.to_string(), due };
                    self.append(now, Some(&entity), &Fact::TimerFired(fired), Purpose::Append);
                }
                _ => self.timers.forget(due, &entity, &timer),
            }
        }
    }

    /// A firing was folded too early by state time: it is appended again when due.
    pub(super) fn refire(&mut self, entity: &str, timer: &str) {
        if let Some(Stored::Timer(due)) = self.entries.get(entity, Part::Timer, timer) {
            self.timers.set(*due, &Arc::from(entity), timer);
        }
    }

    /// How far the fold stands, for the position record.
    pub(super) fn position(&self) -> Position {
        Position {
            log_offset: self.log_next,
            feed_offset: self.feed_next,
            state_time: self.state_time,
            generation: self.generation,
            program: self.identity.program.clone(),
            entries: self.entries.count(),
            senders: self.senders.snapshot(),
        }
    }

    fn checkpoint(&mut self, now: i64) {
        if !matches!(self.phase, Phase::CatchingUp | Phase::Live) {
            // Nothing was folded yet, or nothing may be: there is nothing to keep.
            if std::mem::take(&mut self.draining) {
                self.phase = Phase::Stopped;
                self.effects.push_back(Effect::Drained);
            }
            return;
        }
        if matches!(self.stage, Stage::Idle) {
            let owed = self.entries.changed() + self.rows.len();
            let moved = owed > 0 || self.log_next > self.checked;
            let waited = now - self.checked_at;
            let busy = owed >= self.options.checkpoint_busy
                || self.log_next - self.checked >= self.options.max_unchecked;
            let due = self.draining
                || waited >= self.options.checkpoint_max_ms
                || (busy && waited >= self.options.checkpoint_min_ms);
            if moved && due {
                let position = self.position();
                let entries = self.entries.cut();
                let rows = Arc::new(std::mem::take(&mut self.rows));
                self.stage = Stage::Cut(Cut { entries, rows, position });
            } else if self.draining && !moved {
                self.draining = false;
                self.phase = Phase::Stopped;
                self.effects.push_back(Effect::Drained);
            }
        }
        if let Stage::Cut(cut) = &self.stage
            && (self.outbox.outputs_stand_through(cut.position.log_offset - 1)
                || !self.rules.hold(Rule::K1Outputs))
        {
            let keys = cut.entries.iter().map(|(key, _)| key.clone()).collect();
            let committing = Stage::Committing {
                keys,
                rows: Arc::clone(&cut.rows),
                log_offset: cut.position.log_offset,
            };
            if let Stage::Cut(cut) = std::mem::replace(&mut self.stage, committing) {
                self.effects.push_back(Effect::Commit(cut));
            }
        }
    }

    pub(super) fn handle_committed(&mut self, now: i64, result: Result<(), CommitError>) {
        let Stage::Committing { keys, rows, log_offset } =
            std::mem::replace(&mut self.stage, Stage::Idle)
        else {
            return;
        };
        let committed = match result {
            Err(CommitError::Unknown(_)) if !self.rules.hold(Rule::K3Unknown) => Ok(()),
            other => other,
        };
        match committed {
            Ok(()) => {
                self.checked = log_offset;
                self.checked_at = now;
                if self.phase == Phase::Raising {
                    self.begin(Begin::TakeOver, now);
                }
            }
            Err(CommitError::Aborted(_)) if self.phase == Phase::Raising => self.commit_position(),
            Err(CommitError::Aborted(_)) => {
                self.entries.owe(keys);
                let rows = Arc::unwrap_or_clone(rows);
                let newer = std::mem::replace(&mut self.rows, rows);
                self.rows.extend(newer);
                // Not at once again: what aborted it may last.
                self.checked_at =
                    now - self.options.checkpoint_max_ms + self.options.checkpoint_min_ms;
            }
            Err(error) => self.give_up(error.to_string()),
        }
    }

    /// Our own watchdog over sends, which otherwise wait for ever.
    fn watch(&mut self, now: i64) {
        let waited = self.outbox.oldest().map_or(0, |sent_at| now - sent_at);
        if waited > self.options.watchdog_ms && !self.watchdog_rang {
            self.watchdog_rang = true;
            self.effects.push_back(Effect::Alarm(Alarm::SendsStuck(waited)));
        }
    }

    /// The next feed offset that the fold knows, for lag displays.
    #[must_use]
    pub fn feed_position(&self) -> i64 {
        self.feed_next
    }

    /// What an operator watches.
    #[must_use]
    pub fn gauges(&self, now: i64) -> Gauges {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let state_time = self.state_time.plus(now - self.time_moved_at);
        Gauges {
            live: i64::from(self.is_live()),
            held: count(self.held.len()),
            unchecked: self.log_next - self.checked,
            outbox: count(self.outbox.len()),
            entries: self.entries.count(),
            wanted: count(self.entries.wanted()),
            oldest_ms: self.entries.oldest_wanted().map_or(0, |since| state_time.since(since)),
        }
    }

    /// Whether the partition is owned and caught up.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// Whether it stands still until a person looks.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// Whether the passing of so many milliseconds changes nothing here.
    #[must_use]
    pub fn rests_for(&self, now: i64, ms: i64) -> bool {
        let settled = self.phase == Phase::Live
            && matches!(self.stage, Stage::Idle)
            && self.held.is_empty()
            && self.rows.is_empty()
            && self.entries.changed() == 0
            && self.log_next == self.checked
            && self.outbox.len() == 0
            && self.calls.running() == 0
            && !self.admission.waits()
            && !self.draining;
        settled && !self.timers.is_due(self.state_time.plus(now - self.time_moved_at + ms))
    }

    /// Whether calls still run, or their ends are not folded yet.
    #[must_use]
    pub fn has_running_calls(&self) -> bool {
        self.calls.running() > 0
    }
}
