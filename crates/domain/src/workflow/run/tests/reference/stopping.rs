//! What ends an execution, holds it, and undoes what it did.

use serde_json::Value;

use super::{Place, Reference, Said, State, Stop, Task};
use crate::answer::{Failure, Terminal};
use crate::event::EventType;

impl Reference<'_> {
    pub(in crate::workflow::run::tests) fn cancelled(&mut self) -> Vec<Said> {
        self.stop(Stop { status: Terminal::Cancelled, code: None });
        match self.is_ended {
            true => self.work(),
            // "A cancel ends a pause, so that what is to be undone is undone."
            false => self.resumed(),
        }
    }

    pub(super) fn time_out(&mut self) {
        let code = crate::model_call::DEADLINE_EXCEEDED.to_owned();
        self.stop(Stop { status: Terminal::TimedOut, code: Some(code) });
    }

    pub(in crate::workflow::run::tests) fn paused(&mut self) -> Vec<Said> {
        if !self.is_paused {
            self.is_paused = true;
            self.said.push(Said::Execution(EventType::Paused));
            self.tell_all("pause");
        }
        self.work()
    }

    pub(in crate::workflow::run::tests) fn resumed(&mut self) -> Vec<Said> {
        if self.is_paused {
            self.is_paused = false;
            self.said.push(Said::Execution(EventType::Resumed));
            self.tell_all("resume");
        }
        self.work()
    }

    /// Everyone of whom an answer is awaited. An event that is being published can't be held.
    fn tell_all(&mut self, order: &'static str) {
        for place in self.places().collect::<Vec<_>>() {
            match self.spot(&place).asked.clone() {
                Some(id) if id != self.name(&place) => self.said.push(Said::Tell { id, order }),
                _ => {}
            }
        }
    }

    pub(super) fn execution_ends(&mut self, outcome: Result<Value, Failure>) {
        match outcome {
            Ok(result) => {
                let (status, code) = (Terminal::Succeeded, None);
                self.said.push(Said::End { status, result: Some(result), code });
                self.is_ended = true;
            }
            Err(failure) => self.stop(Stop { status: Terminal::Failed, code: Some(failure.code) }),
        }
    }

    /// "When an execution fails or is cancelled, the `compensate` nodes of the nodes that succeeded run in
    /// reverse order." The first reason to stop stands.
    fn stop(&mut self, stop: Stop) {
        if self.stop.is_some() {
            return;
        }
        self.cancel_run("");
        self.decided.clear();
        self.line.clear();
        self.stop = Some(stop);
        self.undo_next();
    }

    /// The last that succeeded and isn't undone.
    pub(super) fn undo_next(&mut self) {
        let left = self.succeeded.iter().rev().find(|place| {
            self.node(place).policy.compensate.is_some() && !self.undone.contains(place)
        });
        let Some(place) = left.cloned() else {
            let Stop { status, code } = self.stop.clone().expect("it was stopped");
            self.said.push(Said::End { status, result: None, code });
            self.is_ended = true;
            return;
        };
        let id = self.node(&place).policy.compensate.as_ref();
        let undo = self.definition().nodes.iter().position(|node| Some(&node.id) == id);
        let undo = (place.0.clone(), undo.expect("it is there"));
        self.undone.push(place);
        self.spot_mut(&undo).state = State::Ready;
        self.line.push_back(Task::Begin(undo));
    }

    /// All that is open in a run is called off.
    pub(super) fn cancel_run(&mut self, path: &str) {
        let Some(run) = self.runs.get(path).filter(|run| !run.is_over) else { return };
        let nodes: Vec<usize> = run.spots.keys().copied().collect();
        for place in nodes.into_iter().map(|node| (path.to_owned(), node)) {
            if !self.undoes(place.1) && self.is_open(&place) {
                self.cancel(&place);
            }
        }
        self.runs.get_mut(path).expect("as above").is_over = true;
    }

    /// What a step asked for, and the bodies that it runs, are called off.
    pub(super) fn call_off(&mut self, place: &Place) {
        self.waiters.retain(|other| other != place);
        let bodies = self
            .runs
            .iter()
            .filter(|(_, run)| run.parent.as_ref().is_some_and(|(owner, _)| owner == place));
        for path in bodies.map(|(path, _)| path.clone()).collect::<Vec<_>>() {
            self.cancel_run(&path);
        }
        let (name, attempt) = (self.name(place), self.spot(place).attempt);
        match self.spot_mut(place).asked.take() {
            Some(id) if id == name => self.said.push(Said::Unwant { step: name, attempt }),
            Some(id) => self.said.push(Said::Tell { id, order: "cancel" }),
            None => {}
        }
    }
}
