//! What an execution waits for: time, and signals. Signals that nobody waits for are kept until somebody
//! does.

use serde_json::{Value, json};

use super::document::Document;
use super::entry::{Entry, Line, NodeState, Step, Task, name};
use super::flow::{Spent, waits_as};
use super::state::{At, Machine, index};
use super::{Announcement, Damaged, Effect, MAX_SIGNALS, Memory};
use crate::answer::{ErrorClass, Failure};
use crate::event::EventType;
use crate::time::Millis;
use crate::workflow::definition::{Kind, Signal, Wait};
use crate::workflow::duration;

impl<M: Memory> Machine<'_, M> {
    /// A timer was due.
    pub(super) fn due(&mut self, timer: &str) -> Result<(), Damaged> {
        match timer {
            "deadline" if self.has_come(self.execution.deadline) => return self.time_out(),
            "start" if self.progress.started.is_none() && self.progress.place.is_none() => {
                return self.begin();
            }
            // The line goes on after any event.
            "start" | "go" => return Ok(()),
            _ => {}
        }
        let Some((what, step)) = timer.split_once('/') else { return Ok(()) };
        let Some(run) = self.step_of(step).cloned() else { return Ok(()) };
        let at = At { frame: run.frame.clone(), node: index(run.node) };
        let node = self.program.node(at.node);
        if what == "timeout" {
            let over = node.policy.timeout_ms.map(|ms| run.started.plus(signed(ms)));
            if !self.has_come(over) {
                return Ok(());
            }
        } else if what != waits_as(&node.kind) || !self.has_come(run.until) {
            return Ok(());
        }
        match what {
            "join" => self.join_is_due(&at),
            "retry" => self.try_again(&at),
            "timeout" => {
                let message = "the time that the node may take is over";
                let failure = Failure::new(ErrorClass::Timeout, "node_timeout", message);
                self.give_up(&at, failure.from_source("workflow"), Spent::default())
            }
            "wait" if run.signal.is_some() => {
                let message = "no signal came in time";
                let failure = Failure::new(ErrorClass::Timeout, "signal_timeout", message);
                self.give_up(&at, failure.from_source("workflow"), Spent::default())
            }
            "wait" => self.succeed(&at, Document::null(), Spent::default()),
            _ => Ok(()),
        }
    }

    /// Whether a point in time that is waited for has come. A timer that fires early, or again, counts for
    /// nothing.
    fn has_come(&self, due: Option<Millis>) -> bool {
        due.is_some_and(|due| due <= self.now)
    }

    pub(super) fn begin_wait(&mut self, at: &At, step: &str, wait: &Wait) -> Result<(), Damaged> {
        let after = |ms: u64| self.now.plus(signed(ms));
        let due = match wait {
            Wait::Duration(ms) => Ok(after(*ms)),
            Wait::DurationOf(text) => self.text(at, text).and_then(|text| {
                duration::parse(&text).map(after).map_err(|problem| invalid("duration", &problem))
            }),
            Wait::Until(until) => self.evaluate(at, until).and_then(|until| instant(&until)),
            Wait::Signal(signal) => return self.await_signal(at, step, signal),
        };
        match due {
            Err(failure) => self.give_up(at, failure, Spent::default()),
            Ok(due) if due <= self.now => self.succeed(at, Document::null(), Spent::default()),
            Ok(due) => {
                self.wait_until(step, due);
                self.waits(at, json!({"for": "time", "until": due.0}));
                Ok(())
            }
        }
    }

    fn wait_until(&mut self, step: &str, due: Millis) {
        if let Some(run) = self.step_of(step).cloned() {
            self.put_step(step, Step { until: Some(due), ..run });
        }
        self.effect(Effect::SetTimer { timer: format!("wait/{step}"), due });
    }

    fn waits(&mut self, at: &At, data: Value) {
        let announcement = self.of_step(EventType::StepWaiting, at);
        self.announce(Announcement { data: Some(data.to_string()), ..announcement });
    }

    fn await_signal(&mut self, at: &At, step: &str, signal: &Signal) -> Result<(), Damaged> {
        if let Some(value) = self.kept_signal(&signal.name, at) {
            return self.succeed(at, value, Spent::default());
        }
        let mut line = self.line(&name::waiters(&signal.name));
        let place = line.next;
        line.next += 1;
        self.memory.put(&name::waiters(&signal.name), Entry::Line(line));
        let frame = at.frame.clone();
        let waiter = Task { frame, node: super::state::number(at.node), body: false };
        self.memory.put(&name::waiter(&signal.name, place), Entry::Task(waiter));
        if let Some(run) = self.step_of(step).cloned() {
            self.put_step(step, Step { signal: Some(place), ..run });
        }
        let due = signal.timeout_ms.map(|ms| self.now.plus(signed(ms)));
        if let Some(due) = due {
            self.wait_until(step, due);
        }
        let until = due.map(|due| due.0);
        self.waits(at, json!({"for": "signal", "signal": signal.name, "until": until}));
        if let Some(form) = &signal.form {
            let data = json!({"signal": signal.name, "form": form, "until": until});
            let announcement = self.of_step(EventType::ApprovalRequested, at);
            self.announce(Announcement { data: Some(data.to_string()), ..announcement });
        }
        Ok(())
    }

    /// The first signal of that name that came early and that the step can take.
    fn kept_signal(&mut self, signal: &str, at: &At) -> Option<Document> {
        let mut line = self.line(&name::signals(signal));
        let mut taken = None;
        while taken.is_none() && !line.is_empty() {
            let entry = name::signal(signal, line.first);
            line.first += 1;
            let value = self.value(&entry);
            self.memory.remove(&entry);
            match value.as_ref().and_then(|value| self.refusal(at, value)) {
                Some(failure) => self.refuse(Some(at), failure),
                None => taken = value,
            }
        }
        self.put_line(&name::signals(signal), line);
        taken
    }

    /// A signal came: the first who waits for it gets it, else it is kept.
    pub(super) fn signalled(
        &mut self,
        signal: &str,
        payload: Option<String>,
    ) -> Result<(), Damaged> {
        let Ok(value) = payload.map_or(Ok(Document::null()), Document::parse) else {
            let message = format!("the payload of the signal {signal:?} isn't JSON");
            self.refuse(None, invalid("signal", &message));
            return Ok(());
        };
        let entry = name::waiter(signal, self.line(&name::waiters(signal)).first);
        let Some(Entry::Task(waiter)) = self.memory.get(&entry).cloned() else {
            self.keep(signal, value);
            return Ok(());
        };
        let at = At { frame: waiter.frame, node: index(waiter.node) };
        if let Some(failure) = self.refusal(&at, &value) {
            self.refuse(Some(&at), failure);
            return Ok(());
        }
        self.memory.remove(&entry);
        self.close_up(signal);
        self.take(&at, value)
    }

    /// Whoever is left of those that wait for a signal stands at the head of its line.
    fn close_up(&mut self, signal: &str) {
        let entry = name::waiters(signal);
        let mut line = self.line(&entry);
        while !line.is_empty() && self.memory.get(&name::waiter(signal, line.first)).is_none() {
            line.first += 1;
        }
        self.put_line(&entry, line);
    }

    fn take(&mut self, at: &At, value: Document) -> Result<(), Damaged> {
        if self.state_of(at)? != NodeState::Running {
            return Ok(());
        }
        if let Kind::Wait(Wait::Signal(Signal { form: Some(_), .. })) =
            &self.program.node(at.node).kind
        {
            let announcement = self.of_step(EventType::ApprovalGiven, at);
            let data = Some(value.text().to_owned());
            self.announce(Announcement { data, ..announcement });
        }
        self.succeed(at, value, Spent::default())
    }

    fn keep(&mut self, signal: &str, value: Document) {
        let known = self.program.definition().nodes.iter().any(|node| {
            matches!(&node.kind, Kind::Wait(Wait::Signal(awaited)) if awaited.name == signal)
        });
        let mut line = self.line(&name::signals(signal));
        let problem = if self.progress.ending.is_some() {
            Some(format!("the workflow is ending, and waits for the signal {signal:?} no more"))
        } else if !known {
            Some(format!("nothing in this workflow waits for the signal {signal:?}"))
        } else if line.next - line.first >= MAX_SIGNALS {
            Some(format!("{MAX_SIGNALS} signals {signal:?} wait already"))
        } else {
            None
        };
        if let Some(problem) = problem {
            return self.refuse(None, invalid("signal", &problem));
        }
        self.memory.put(&name::signal(signal, line.next), Entry::Value(value));
        line.next += 1;
        self.put_line(&name::signals(signal), line);
    }

    /// Why a step doesn't take a signal.
    fn refusal(&self, at: &At, value: &Document) -> Option<Failure> {
        let schema = self.program.schemas.get(&at.node)?;
        let value = value.to_json();
        let error = schema.iter_errors(&value).next()?;
        let place = error.instance_path().as_str().to_owned();
        let place = if place.is_empty() { "the payload".to_owned() } else { place };
        let problem = error.masked_with("it");
        Some(invalid("signal", &format!("{place} doesn't fit the signal's schema: {problem}")))
    }

    /// Tells that a signal was refused; whoever waited goes on waiting.
    fn refuse(&mut self, at: Option<&At>, failure: Failure) {
        let announcement = match at {
            Some(at) => self.of_step(EventType::SignalRefused, at),
            None => Announcement {
                event_type: EventType::SignalRefused,
                step: None,
                node: None,
                attempt: None,
                data: None,
                error: None,
                usage: None,
                cost: None,
                started: None,
            },
        };
        self.announce(Announcement { error: Some(failure), ..announcement });
    }

    /// A step waits for its signal no more.
    pub(super) fn leave_line(&mut self, at: &At, run: &Step) {
        if let (Some(place), Kind::Wait(Wait::Signal(signal))) =
            (run.signal, &self.program.node(at.node).kind)
        {
            self.memory.remove(&name::waiter(&signal.name, place));
            self.close_up(&signal.name);
        }
    }

    fn line(&self, entry: &str) -> Line {
        match self.memory.get(entry) {
            Some(Entry::Line(line)) => *line,
            _ => Line::default(),
        }
    }

    /// Writes a line; one with nobody in it isn't kept.
    fn put_line(&mut self, entry: &str, line: Line) {
        match line.is_empty() {
            true => self.memory.remove(entry),
            false => self.memory.put(entry, Entry::Line(line)),
        }
    }
}

fn invalid(what: &str, problem: &str) -> Failure {
    let code = format!("invalid_{what}");
    Failure::new(ErrorClass::Invalid, &code, problem).from_source("workflow")
}

/// So many milliseconds, or as many as there are.
fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// A point in time: milliseconds since 1970, or RFC 3339.
fn instant(value: &Document) -> Result<Millis, Failure> {
    match value.to_json() {
        Value::Number(ms) if ms.is_i64() => Ok(Millis(ms.as_i64().unwrap_or_default())),
        Value::String(text) => crate::time::parse_rfc3339(&text).ok_or_else(|| {
            invalid(
                "time",
                "`until` gives a text that isn't RFC 3339, such as 2030-01-31T09:00:00Z",
            )
        }),
        _ => Err(invalid(
            "time",
            "`until` gives neither milliseconds since 1970 nor a text in RFC 3339",
        )),
    }
}
