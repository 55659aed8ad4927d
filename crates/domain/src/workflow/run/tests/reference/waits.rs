//! Time and signals.

use serde_json::{Value, json};

use super::{Place, Reference, Said, State};
use crate::answer::{ErrorClass, Failure};
use crate::event::EventType;
use crate::time::Millis;
use crate::workflow::definition::{Kind, Signal, Wait};
use crate::workflow::schema::violations;

impl Reference<'_> {
    pub(super) fn begin_wait(&mut self, place: &Place, wait: &Wait) {
        let due = match wait {
            Wait::Duration(ms) => self.now.plus(*ms as i64),
            Wait::Until(until) => match self.evaluate(place, until) {
                Ok(until) => Millis(until.as_i64().expect("the graphs have numbers only")),
                Err(failure) => return self.failed(place, failure),
            },
            Wait::DurationOf(_) => panic!("not in the graphs"),
            Wait::Signal(signal) => return self.await_signal(place, signal),
        };
        if due <= self.now {
            return self.succeed(place, Value::Null, None);
        }
        self.spot_mut(place).due = Some(due);
        let what = json!({"for": "time", "until": due.0});
        self.tell(EventType::StepWaiting, place, Some(what), None);
    }

    fn await_signal(&mut self, place: &Place, signal: &Signal) {
        while let Some(first) = self.signals.iter().position(|(name, _)| *name == signal.name) {
            let (_, value) = self.signals.remove(first);
            if fits(signal, &value) {
                return self.succeed(place, value, None);
            }
            self.refuse(Some(place));
        }
        self.waiters.push(place.clone());
        let due = signal.timeout_ms.map(|ms| self.now.plus(ms as i64));
        self.spot_mut(place).due = due;
        let until = due.map(|due| due.0);
        let what = json!({"for": "signal", "signal": signal.name, "until": until});
        self.tell(EventType::StepWaiting, place, Some(what), None);
        if let Some(form) = &signal.form {
            let what = json!({"signal": signal.name, "form": form, "until": until});
            self.tell(EventType::ApprovalRequested, place, Some(what), None);
        }
    }

    fn refuse(&mut self, place: Option<&Place>) {
        let step = place.map(|place| self.name(place));
        self.said.push(Said::Refused(step, "invalid_signal".to_owned()));
    }

    /// Somebody sends a signal.
    pub(in crate::workflow::run::tests) fn signalled(
        &mut self,
        name: &str,
        value: Value,
    ) -> Vec<Said> {
        let of = |wait: &Kind| match wait {
            Kind::Wait(Wait::Signal(signal)) if signal.name == name => Some(signal.clone()),
            _ => None,
        };
        let waiting = self.waiters.iter().find(|place| {
            self.state(place) == State::Running && of(&self.node(place).kind).is_some()
        });
        if let Some(place) = waiting.cloned() {
            let signal = of(&self.node(&place).kind).expect("it waits for it");
            if fits(&signal, &value) {
                self.waiters.retain(|other| *other != place);
                if signal.form.is_some() {
                    self.tell(EventType::ApprovalGiven, &place, Some(value.clone()), None);
                }
                self.succeed(&place, value, None);
            } else {
                self.refuse(Some(&place));
            }
        } else if self.stop.is_some()
            || !self.definition().nodes.iter().any(|node| of(&node.kind).is_some())
        {
            self.refuse(None);
        } else {
            self.signals.push((name.to_owned(), value));
        }
        self.work()
    }

    /// A timer fires; one that isn't set, or whose time hasn't come, means nothing.
    pub(in crate::workflow::run::tests) fn fired(&mut self, timer: &str) -> Vec<Said> {
        if self.timers().get(timer).is_some_and(|due| *due <= self.now) {
            self.time_has_come(timer);
        }
        self.work()
    }

    fn time_has_come(&mut self, timer: &str) {
        let timeout = |code: &str| Failure::new(ErrorClass::Timeout, code, "");
        let Some((what, step)) = timer.split_once('/') else {
            return self.time_out();
        };
        let place = self.find(step).expect("its timer is set");
        match what {
            "join" => self.deadline_of_join(&place),
            "retry" => self.try_again(&place),
            "timeout" => self.failed(&place, timeout("node_timeout")),
            _ => match &self.node(&place).kind {
                Kind::Wait(Wait::Signal(_)) => self.failed(&place, timeout("signal_timeout")),
                _ => self.succeed(&place, Value::Null, None),
            },
        }
    }
}

fn fits(signal: &Signal, value: &Value) -> bool {
    signal.schema.as_ref().is_none_or(|schema| violations(schema, value).is_empty())
}
