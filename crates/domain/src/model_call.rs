//! The machine of one model call: what it keeps while the provider works, and what follows from each
//! thing that happens to it.
//!
//! ```text
//!                 not_before ahead, or paused
//!   admitted ──┬──────────────> held ──(timer `start`, resume)──┐
//!              └────────────────────────────────────────────────┴─> started ──> one ending
//! ```
//!
//! - Any state ends at once by a cancel, by the timer `deadline` and by a fold that is given up.
//! - A deadline that has passed by state time is never followed by a start.
//! - What was wanted stays wanted until it ends: *pause holds only what has not started*. A call at a
//!   provider is paid for whether or not we listen, so its answer is taken; the log doesn't know whether
//!   a wanted call is already on the wire, so one that was wanted before the pause may still be sent
//!   after it, for the first time or, after a take-over, again with the same idempotency key.
//! - What comes for the second time, or too late, is [`Fate::Ignored`].
//!
//! It doesn't know the provider's policy, the catalogue or a clock: `now` is state time.

use std::collections::BTreeMap;

use crate::answer::{ErrorClass, Failure, ModelOutcome, Terminal};
use crate::event::EventType;
use crate::request::{ModelRequest, Operation, Origin};
use crate::time::Millis;

/// One model call between its admission and its end. Once it has started, the prompt is not here: it is
/// in the wanted call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelCall {
    /// Whose it is.
    pub tenant: String,
    /// Who asked; `None` for clients.
    pub origin: Option<Origin>,
    /// Alias of the model definition.
    pub model: String,
    /// Its version, pinned at admission.
    pub version: Option<i32>,
    /// What to do.
    pub operation: Operation,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// State time of the admission.
    pub admitted: Millis,
    /// No answer is wanted after this: the request's deadline and, once started, the end of its timeout,
    /// whichever is earlier.
    pub deadline: Option<Millis>,
    /// `traceparent` of its admission: the trace of the request, and the span below which everything is
    /// that the call does.
    pub trace_parent: Option<String>,
    /// State time at which the call was first wanted; `None`: not started.
    pub started: Option<Millis>,
    /// Whether someone paused it.
    pub paused: bool,
    /// The request, as long as it has not started.
    pub held: Option<ModelRequest>,
    /// Whether its definition lets prompt and answer text go to the execution log.
    pub log_content: bool,
}

/// What the call worker is asked to do: the request as it came, and the version that admission pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedModelCall {
    /// The request.
    pub request: ModelRequest,
    /// The version of the model definition; `None`: the newest.
    pub version: Option<i32>,
    /// As in [`ModelCall`].
    pub trace_parent: Option<String>,
}

/// The code of the failure of a call whose deadline passed, whoever noticed it.
pub const DEADLINE_EXCEEDED: &str = "deadline_exceeded";

/// What happens to a model call after its admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its outside call ended. The first one counts.
    Finished(Result<Box<ModelOutcome>, Failure>),
    /// A timer of it was due.
    Due(Timer),
    /// Someone wants it to end.
    Cancel {
        /// For people.
        reason: Option<String>,
    },
    /// Someone wants it to start nothing.
    Pause,
    /// Someone wants it to go on.
    Resume,
    /// A record of it could not be folded, or what it put out was too large.
    Broken(Failure),
}

/// The timers of a model call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The time before which it was not to start has come.
    Start,
    /// No answer is wanted any more.
    Deadline,
}

impl Timer {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Start, Self::Deadline];

    /// The key within the entity; stored.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Deadline => "deadline",
        }
    }

    /// The timer with that key.
    #[must_use]
    pub fn of_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|timer| timer.key() == key)
    }
}

/// What follows from one event: the call as it is now, what to do in this order, and whether it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// The call, after the event.
    pub call: ModelCall,
    /// What to do, before the ending if there is one.
    pub effects: Vec<Effect>,
    /// Whether it goes on.
    pub fate: Fate,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell those who follow the execution. Never a terminal type: that is [`Fate::Ended`].
    Announce(EventType),
    /// The outside call is wanted from here on. Happens at most once.
    Want(Box<WantedModelCall>),
    /// The timer is due at this time, whatever it was set to before.
    SetTimer {
        /// Which.
        timer: Timer,
        /// When.
        due: Millis,
    },
    /// The timer is not wanted any more.
    ClearTimer(Timer),
}

/// What becomes of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The event changed nothing: it came late or twice.
    Ignored,
    /// The call goes on, changed.
    Kept,
    /// It is over. Whatever it wanted or waited for is not wanted any more.
    Ended(Ending),
}

/// How a model call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With an answer.
    Succeeded(Box<ModelOutcome>),
    /// Without one.
    Failed(Failure),
    /// Because someone asked for it.
    Cancelled {
        /// For people.
        reason: Option<String>,
    },
    /// Because its deadline passed.
    TimedOut(Failure),
}

impl Ending {
    /// The public name of the ending.
    #[must_use]
    pub fn terminal(&self) -> Terminal {
        match self {
            Self::Succeeded(_) => Terminal::Succeeded,
            Self::Failed(_) => Terminal::Failed,
            Self::Cancelled { .. } => Terminal::Cancelled,
            Self::TimedOut(_) => Terminal::TimedOut,
        }
    }

    /// The event that announces it.
    #[must_use]
    pub fn event_type(&self) -> EventType {
        match self {
            Self::Succeeded(_) => EventType::Succeeded,
            Self::Failed(_) => EventType::Failed,
            Self::Cancelled { .. } => EventType::Cancelled,
            Self::TimedOut(_) => EventType::TimedOut,
        }
    }

    /// The answer, where there is one.
    #[must_use]
    pub fn outcome(&self) -> Option<&ModelOutcome> {
        match self {
            Self::Succeeded(outcome) => Some(outcome),
            Self::Failed(_) | Self::Cancelled { .. } | Self::TimedOut(_) => None,
        }
    }

    /// Why there is no answer, where something failed.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) | Self::TimedOut(failure) => Some(failure),
            Self::Succeeded(_) | Self::Cancelled { .. } => None,
        }
    }
}

impl ModelCall {
    /// Takes in a request at state time `now`: it ends at once when its deadline has passed, is held until
    /// its `not_before`, and else starts.
    pub fn admit(
        request: ModelRequest,
        version: Option<i32>,
        trace_parent: Option<String>,
        now: Millis,
    ) -> Step {
        let call = Self {
            tenant: request.tenant.clone(),
            origin: request.origin.clone(),
            model: request.model.clone(),
            version,
            operation: request.operation,
            labels: request.labels.clone(),
            admitted: now,
            deadline: request.deadline,
            trace_parent,
            started: None,
            paused: false,
            held: Some(request),
            log_content: false,
        };
        let mut effects = vec![Effect::Announce(EventType::Admitted)];
        if let Some(due) = call.deadline.filter(|due| *due > now) {
            effects.push(Effect::SetTimer { timer: Timer::Deadline, due });
        }
        call.start_or_hold(effects, now)
    }

    /// What follows from `event` at state time `now`.
    pub fn step(mut self, event: Event, now: Millis) -> Step {
        match event {
            // Nothing that was never wanted can have ended.
            Event::Finished(_) if self.started.is_none() => self.ignores(),
            Event::Finished(Ok(outcome)) => self.ends(Vec::new(), Ending::Succeeded(outcome)),
            Event::Finished(Err(failure)) if self.is_timed_out_by(&failure, now) => {
                self.ends(Vec::new(), Ending::TimedOut(failure))
            }
            Event::Finished(Err(failure)) => self.ends(Vec::new(), Ending::Failed(failure)),
            Event::Due(Timer::Deadline) if self.is_past_deadline(now) => {
                self.ends(Vec::new(), Ending::TimedOut(deadline_passed()))
            }
            // It was due by an earlier setting.
            Event::Due(Timer::Deadline) => self.ignores(),
            Event::Due(Timer::Start) if self.held.is_none() || self.paused => self.ignores(),
            Event::Due(Timer::Start) => self.start_or_hold(Vec::new(), now),
            Event::Cancel { reason } => self.ends(Vec::new(), Ending::Cancelled { reason }),
            Event::Pause if self.paused => self.ignores(),
            Event::Pause => {
                self.paused = true;
                let mut effects = vec![Effect::Announce(EventType::Paused)];
                // Not paused and not started: it waits for that timer. `resume` sets it again.
                if self.held.is_some() {
                    effects.push(Effect::ClearTimer(Timer::Start));
                }
                self.goes_on(effects)
            }
            Event::Resume if !self.paused => self.ignores(),
            Event::Resume => {
                self.paused = false;
                self.start_or_hold(vec![Effect::Announce(EventType::Resumed)], now)
            }
            Event::Broken(failure) => self.ends(Vec::new(), Ending::Failed(failure)),
        }
    }

    /// The one place that starts: a call that is held, neither paused nor early, and not too late. A call
    /// that has started already goes on as it is.
    fn start_or_hold(mut self, mut effects: Vec<Effect>, now: Millis) -> Step {
        if self.is_past_deadline(now) {
            return self.ends(effects, Ending::TimedOut(deadline_passed()));
        }
        let Some(request) = self.held.take() else {
            return self.goes_on(effects);
        };
        if let Some(due) = request.not_before.filter(|due| *due > now) {
            effects.push(Effect::SetTimer { timer: Timer::Start, due });
            self.held = Some(request);
            return self.goes_on(effects);
        }
        self.started = Some(now);
        let timeout = request.timeout_ms.map(|timeout| now.plus(timeout));
        if let Some(due) = timeout.filter(|end| self.deadline.is_none_or(|due| *end < due)) {
            self.deadline = Some(due);
            effects.push(Effect::SetTimer { timer: Timer::Deadline, due });
        }
        effects.push(Effect::Announce(EventType::Started));
        effects.push(Effect::Want(Box::new(WantedModelCall {
            request,
            version: self.version,
            trace_parent: self.trace_parent.clone(),
        })));
        self.goes_on(effects)
    }

    fn is_past_deadline(&self, now: Millis) -> bool {
        self.deadline.is_some_and(|due| due <= now)
    }

    /// The worker and the timer watch the same deadline; whichever is first in the log, the call has timed
    /// out. The worker may be a little early, for its clock isn't the log's.
    fn is_timed_out_by(&self, failure: &Failure, now: Millis) -> bool {
        let says_so = self.deadline.is_some() && failure.code == DEADLINE_EXCEEDED;
        failure.class == ErrorClass::Timeout && (says_so || self.is_past_deadline(now))
    }

    fn ignores(self) -> Step {
        Step { call: self, effects: Vec::new(), fate: Fate::Ignored }
    }

    fn goes_on(self, effects: Vec<Effect>) -> Step {
        Step { call: self, effects, fate: Fate::Kept }
    }

    fn ends(self, effects: Vec<Effect>, ending: Ending) -> Step {
        Step { call: self, effects, fate: Fate::Ended(ending) }
    }
}

fn deadline_passed() -> Failure {
    Failure::new(
        ErrorClass::Timeout,
        DEADLINE_EXCEEDED,
        "the deadline or the timeout of the request passed before there was an answer",
    )
}

#[cfg(test)]
mod tests;
