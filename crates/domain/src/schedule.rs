//! The machine of one schedule: when a workflow is to start, and what follows from each thing that
//! happens to the schedule.
//!
//! - A due time fires once: it is behind the schedule as soon as an event is folded that fires it, drops it
//!   or misses it. The id of what it starts follows from the schedule's id and the due time alone.
//! - Due times that were folded late are caught up with as [`CatchUp`] says; then [`Overlap`] says what
//!   becomes of those that are left. A time is late from [`ON_TIME_MS`] on.
//! - *Pause starts nothing*: what is due meanwhile, or was due and hasn't fired, never fires by itself, and
//!   what waits for a former execution goes on waiting. A backfill brings it back.
//! - A trigger and a backfill are what someone asked for, so they start even when the schedule is paused
//!   and whatever runs. What they start counts as running.
//! - A definition may be replaced at any time; what was due before fires by the former one.
//! - What comes for the second time, or too early, is [`Fate::Ignored`].
//!
//! It doesn't know the workflow, which version of it is the newest, or a clock: `now` is state time. It
//! doesn't watch executions either: whoever starts one says [`Event::Ended`], also when it was refused.

pub mod definition;
pub mod kept;
pub mod life;
pub mod stored;

mod calendar;
mod cron;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use crate::id;
use crate::time::Millis;
use definition::{CatchUp, Definition, Overlap};

/// The most executions that one event starts because of times that passed; the oldest beyond are missed,
/// and of a backfill the newest.
pub const MAX_AT_ONCE: usize = 1_000;

/// The most executions of one schedule that run at a time: two full catch-ups. What is due beyond is
/// dropped: a schedule that comes here starts more than it ends.
pub const MAX_RUNNING: usize = 2_000;

/// A time that fires within so many milliseconds is on time, for timers are late under load.
pub const ON_TIME_MS: i64 = 60_000;

/// The JSON Schema (draft 2020-12) of definitions, for editors.
pub const SCHEMA: &str = include_str!("../../../schemas/json/schedule.schema.json");

/// The property of a workflow's inputs that takes the time for which a schedule starts it.
pub const SCHEDULED_FOR: &str = "scheduledFor";

/// One schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Its id.
    pub id: String,
    /// What it says.
    pub definition: Definition,
    /// Whether it starts nothing for now.
    pub paused: bool,
    /// What fires next; `None`: paused, or nothing is due any more.
    pub next: Option<Next>,
    /// The executions that haven't ended, by id; at most [`MAX_RUNNING`].
    pub running: BTreeMap<String, Running>,
    /// The due time that waits until nothing runs any more.
    pub queued: Option<Millis>,
    /// The newest time for which something started.
    pub last_fired: Option<Millis>,
    /// What happened so far.
    pub counts: Counts,
}

/// A time that is ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// When it is due.
    pub scheduled_for: Millis,
    /// When it fires: with the jitter.
    pub fires_at: Millis,
}

/// An execution that hasn't ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// The time for which it started.
    pub scheduled_for: Millis,
    /// Whether it was cancelled to make room.
    pub cancelled: bool,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Executions that started.
    pub started: u64,
    /// Due times dropped because of what still ran.
    pub skipped: u64,
    /// Due times that nobody could fire in time.
    pub missed: u64,
    /// Executions cancelled to make room.
    pub cancelled: u64,
}

/// What happens to a schedule after its creation.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It says something else from here on. A pause by command stays, unless the definition changes
    /// [`Definition::paused`].
    Replaced(Box<Definition>),
    /// Its timer was due.
    Due,
    /// An execution ended, however it did, or could not be started.
    Ended {
        /// Its id.
        execution: String,
    },
    /// Someone wants it to start nothing.
    Pause,
    /// Someone wants it to go on, with the next time that is due.
    Resume,
    /// Someone wants it to start now.
    Trigger {
        /// The id of the command; that of the execution follows from it.
        command: String,
    },
    /// Someone wants the times of a stretch of the past to start, at most [`MAX_AT_ONCE`], the oldest. What
    /// runs or waits isn't started again; a time that has fired and ended is, as another execution.
    Backfill {
        /// What tells this backfill from others; the ids of its executions follow from it.
        command: String,
        /// The first that may count.
        from: Millis,
        /// Those from here on don't count, nor what is still ahead.
        to: Millis,
    },
    /// Someone wants it to end. What runs goes on.
    Delete,
}

/// What follows from one event: the schedule as it is now, what to do in this order, and whether it goes
/// on.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Step {
    /// The schedule, after the event.
    pub schedule: Schedule,
    /// What to do.
    pub effects: Vec<Effect>,
    /// Whether it goes on.
    pub fate: Fate,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// The timer is due at this time, whatever it was set to before.
    SetTimer {
        /// When.
        due: Millis,
    },
    /// The timer is not wanted any more.
    ClearTimer,
    /// An execution is wanted: of the definition's workflow, with its labels and search attributes.
    Start {
        /// Its id.
        execution_id: String,
        /// The time for which it starts.
        scheduled_for: Millis,
        /// Its input.
        input: Arc<Value>,
    },
    /// An execution is to end, so that another can start.
    Cancel {
        /// Its id.
        execution: String,
    },
    /// So many due times never fire, as nobody could fire them in time.
    Missed {
        /// How many.
        count: u64,
    },
    /// So many due times never fire, because of what still runs.
    Skipped {
        /// How many.
        count: u64,
    },
}

/// What becomes of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The event changed nothing.
    Ignored,
    /// The schedule goes on, changed.
    Kept,
    /// It is over.
    Deleted,
}

/// What to do about a time that is due and waits for its jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Jitter {
    Wait,
    Over,
}

impl Schedule {
    /// Takes in a new schedule at state time `now`: the times after it count.
    pub fn create(id: String, definition: Definition, now: Millis) -> Step {
        let mut schedule = Self {
            id,
            paused: definition.paused,
            definition,
            next: None,
            running: BTreeMap::new(),
            queued: None,
            last_fired: None,
            counts: Counts::default(),
        };
        let mut effects = Vec::new();
        schedule.plan(now, &mut effects);
        schedule.goes_on(effects)
    }

    /// What follows from `event` at state time `now`.
    pub fn step(mut self, event: Event, now: Millis) -> Step {
        let mut effects = Vec::new();
        match event {
            Event::Replaced(definition) if *definition == self.definition => self.ignores(),
            Event::Replaced(definition) => {
                self.replace(*definition, now, &mut effects);
                self.goes_on(effects)
            }
            // Early, or by an earlier setting.
            Event::Due if self.next.is_none_or(|next| next.fires_at > now) => self.ignores(),
            Event::Due => {
                self.fire(Jitter::Wait, now, &mut effects);
                self.goes_on(effects)
            }
            Event::Ended { execution } if self.running.remove(&execution).is_none() => {
                self.ignores()
            }
            Event::Ended { .. } => {
                self.start_queued(&mut effects);
                self.goes_on(effects)
            }
            Event::Pause if self.paused => self.ignores(),
            Event::Pause => {
                self.pause(now, &mut effects);
                self.goes_on(effects)
            }
            Event::Resume if !self.paused => self.ignores(),
            Event::Resume => {
                self.paused = false;
                self.start_queued(&mut effects);
                self.plan(now, &mut effects);
                self.goes_on(effects)
            }
            Event::Trigger { command } => {
                let execution_id = triggered_id(&self.id, &command);
                if self.running.contains_key(&execution_id) {
                    return self.ignores();
                }
                let skipped = self.start(execution_id, now, &mut effects);
                self.note_skipped(skipped, &mut effects);
                self.goes_on(effects)
            }
            Event::Backfill { command, from, to } => self.backfill(&command, from, to, now),
            Event::Delete => {
                if self.next.take().is_some() {
                    effects.push(Effect::ClearTimer);
                }
                self.queued = None;
                Step { schedule: self, effects, fate: Fate::Deleted }
            }
        }
    }

    fn replace(&mut self, definition: Definition, now: Millis, effects: &mut Vec<Effect>) {
        let pauses = definition.paused && !self.definition.paused;
        let resumes = !definition.paused && self.definition.paused;
        if pauses && !self.paused {
            self.pause(now, effects);
        } else if self.is_due(now) {
            // The new definition counts from now on, and would lose it.
            self.fire(Jitter::Over, now, effects);
        }
        self.definition = definition;
        self.paused = pauses || (self.paused && !resumes);
        self.start_queued(effects);
        self.plan(now, effects);
    }

    fn pause(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        self.paused = true;
        if let Some(next) = self.next.take() {
            effects.push(Effect::ClearTimer);
            let missed = self.definition.count(next.scheduled_for.plus(-1), now);
            self.note_missed(missed, effects);
        }
    }

    fn backfill(mut self, command: &str, from: Millis, to: Millis, now: Millis) -> Step {
        // What is ahead fires by itself.
        let ahead = self.next.map_or(now.plus(1), |next| next.scheduled_for.min(now.plus(1)));
        let to = to.min(ahead).plus(-1);
        let mut effects = Vec::new();
        let runs: BTreeSet<_> = self.running.values().map(|it| it.scheduled_for).collect();
        let (mut skipped, mut last) = (0, from.plus(-1));
        for _ in 0..MAX_AT_ONCE {
            let Some(time) = self.definition.next_after(last).filter(|time| *time <= to) else {
                break;
            };
            last = time;
            if self.queued != Some(time) && !runs.contains(&time) {
                let step = format!("backfill:{command}:{}", time.0);
                let execution_id = id::derived(&self.id, &step, 1);
                skipped += self.start(execution_id, time, &mut effects);
            }
        }
        self.note_skipped(skipped, &mut effects);
        let missed = self.definition.count(last, to);
        self.note_missed(missed, &mut effects);
        if effects.is_empty() { self.ignores() } else { self.goes_on(effects) }
    }

    fn is_due(&self, now: Millis) -> bool {
        self.next.is_some_and(|next| next.scheduled_for <= now)
    }

    /// Deals with every time that has come by `now`, and plans the next.
    fn fire(&mut self, jitter: Jitter, now: Millis, effects: &mut Vec<Effect>) {
        let Some(next) = self.next.take() else { return };
        let since = next.scheduled_for.plus(-1);
        let mut total = self.definition.count(since, now);
        // One more than may fire, as the newest may have to wait.
        let mut times = self.definition.newest(since, now, MAX_AT_ONCE + 1);
        let waits = |time: &Millis| jitter == Jitter::Wait && self.fires_at(*time) > now;
        let waiting = times.last().copied().filter(waits);
        if waiting.is_some() {
            times.pop();
            total -= 1;
        }
        let mut times = self.caught_up(times, now);
        let beyond = times.len().saturating_sub(MAX_AT_ONCE);
        times.drain(..beyond);
        let fired = u64::try_from(times.len()).unwrap_or(u64::MAX);
        self.note_missed(total.saturating_sub(fired), effects);

        let mut skipped = 0;
        if self.definition.overlap == Overlap::Cancel && times.len() > 1 {
            // Each would cancel the one before it.
            skipped += fired - 1;
            times.drain(..times.len() - 1);
        }
        for time in times {
            skipped += self.want(time, effects);
        }
        self.note_skipped(skipped, effects);
        match waiting {
            Some(time) => self.set(time, effects),
            None => self.plan(now, effects),
        }
    }

    /// Those of the times that passed, oldest first, that are to fire.
    fn caught_up(&self, mut times: Vec<Millis>, now: Millis) -> Vec<Millis> {
        let window = i64::try_from(self.definition.catch_up_window_ms).unwrap_or(i64::MAX);
        let late = times.partition_point(|time| now.since(self.fires_at(*time)) >= ON_TIME_MS);
        let too_late = times[..late].partition_point(|time| now.since(*time) > window);
        let dropped = match self.definition.catch_up {
            CatchUp::None => late,
            CatchUp::One if late < times.len() => late,
            CatchUp::One => too_late.max(late.saturating_sub(1)),
            CatchUp::All => too_late,
        };
        times.drain(..dropped);
        times
    }

    /// A time has come; gives how many due times are dropped for it.
    fn want(&mut self, time: Millis, effects: &mut Vec<Effect>) -> u64 {
        let free = self.running.is_empty() && self.queued.is_none();
        match self.definition.overlap {
            Overlap::Skip | Overlap::Queue | Overlap::Cancel if free => {
                self.start(self.execution_id(time), time, effects)
            }
            Overlap::Allow => self.start(self.execution_id(time), time, effects),
            Overlap::Skip => 1,
            Overlap::Queue => match self.queued {
                Some(_) => 1,
                None => {
                    self.queued = Some(time);
                    0
                }
            },
            Overlap::Cancel => {
                for (execution, running) in &mut self.running {
                    if !running.cancelled {
                        running.cancelled = true;
                        self.counts.cancelled += 1;
                        effects.push(Effect::Cancel { execution: execution.clone() });
                    }
                }
                u64::from(self.queued.replace(time).is_some())
            }
        }
    }

    /// The one place that starts; gives how many due times are dropped for want of room.
    fn start(&mut self, execution_id: String, time: Millis, effects: &mut Vec<Effect>) -> u64 {
        if self.running.len() >= MAX_RUNNING {
            return 1;
        }
        self.running
            .insert(execution_id.clone(), Running { scheduled_for: time, cancelled: false });
        self.counts.started += 1;
        self.last_fired = self.last_fired.max(Some(time));
        let input = Arc::clone(&self.definition.input);
        effects.push(Effect::Start { execution_id, scheduled_for: time, input });
        0
    }

    fn start_queued(&mut self, effects: &mut Vec<Effect>) {
        let free = self.running.is_empty() || self.definition.overlap == Overlap::Allow;
        if self.paused || !free {
            return;
        }
        if let Some(time) = self.queued.take() {
            let skipped = self.start(self.execution_id(time), time, effects);
            self.note_skipped(skipped, effects);
        }
    }

    /// What fires next is the first time after `now`.
    fn plan(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let was_set = self.next.take().is_some();
        let next = if self.paused { None } else { self.definition.next_after(now) };
        match next {
            Some(time) => self.set(time, effects),
            None if was_set => effects.push(Effect::ClearTimer),
            None => {}
        }
    }

    fn set(&mut self, time: Millis, effects: &mut Vec<Effect>) {
        let next = Next { scheduled_for: time, fires_at: self.fires_at(time) };
        self.next = Some(next);
        effects.push(Effect::SetTimer { due: next.fires_at });
    }

    /// A due time with its jitter, which never reaches the next one.
    fn fires_at(&self, time: Millis) -> Millis {
        let Ok(jitter @ 1..) = i64::try_from(self.definition.jitter_ms) else { return time };
        let room = self.definition.next_after(time).map_or(jitter, |next| next.since(time) - 1);
        let seed = id::derived(&self.id, &format!("jitter:{}", time.0), 1);
        let (_, low) = Uuid::parse_str(&seed).expect("a derived id is a UUID").as_u64_pair();
        // The two highest bits are the same in every UUID.
        let random = i64::try_from(low & (u64::MAX >> 2)).unwrap_or_default();
        time.plus(random % (jitter.min(room) + 1))
    }

    fn execution_id(&self, time: Millis) -> String {
        execution_id(&self.id, time)
    }

    fn note_missed(&mut self, count: u64, effects: &mut Vec<Effect>) {
        if count > 0 {
            self.counts.missed += count;
            effects.push(Effect::Missed { count });
        }
    }

    fn note_skipped(&mut self, count: u64, effects: &mut Vec<Effect>) {
        if count > 0 {
            self.counts.skipped += count;
            effects.push(Effect::Skipped { count });
        }
    }

    fn ignores(self) -> Step {
        Step { schedule: self, effects: Vec::new(), fate: Fate::Ignored }
    }

    fn goes_on(self, effects: Vec<Effect>) -> Step {
        Step { schedule: self, effects, fate: Fate::Kept }
    }
}

/// The id of the execution that a trigger starts.
#[must_use]
pub fn triggered_id(schedule: &str, command: &str) -> String {
    id::derived(schedule, &format!("trigger:{command}"), 1)
}

/// The id of the execution that the schedule starts for a due time.
#[must_use]
pub fn execution_id(schedule: &str, time: Millis) -> String {
    id::derived(schedule, &time.0.to_string(), 1)
}

#[cfg(test)]
mod tests;
