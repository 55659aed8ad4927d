//! How an execution is stopped, held and ended, and how what it did is undone.

use super::document::Document;
use super::entry::{Asked, Entry, NodeState, PendingEnding, Step, Task, name};
use super::state::{At, MAIN, Machine, index, number};
use super::{Damaged, Effect, Ending, Memory};
use crate::answer::{Cost, ErrorClass, Failure, Terminal};
use crate::event::EventType;
use crate::fact::Order;
use crate::workflow::definition::Kind;

impl<M: Memory> Machine<'_, M> {
    pub(super) fn command(&mut self, order: Order) -> Result<(), Damaged> {
        match order {
            Order::Cancel { reason } => {
                let ending = PendingEnding { failure: None, timed_out: false, reason };
                self.stop(ending)?;
                // A pause would hold what undoes, and whoever cancels wants it over with.
                if self.progress.paused && !self.over {
                    self.resume();
                }
                Ok(())
            }
            Order::Pause if !self.progress.paused => {
                self.progress.paused = true;
                self.tell(EventType::Paused);
                self.tell_all(&Order::Pause);
                Ok(())
            }
            Order::Resume if self.progress.paused => {
                self.resume();
                Ok(())
            }
            Order::Signal { name, payload } => self.signalled(&name, payload),
            // It is held already, or goes on; and nothing in a workflow takes a callback.
            Order::Pause | Order::Resume | Order::Callback { .. } => Ok(()),
        }
    }

    fn resume(&mut self) {
        self.progress.paused = false;
        self.tell(EventType::Resumed);
        self.tell_all(&Order::Resume);
    }

    /// The deadline has passed.
    pub(super) fn time_out(&mut self) -> Result<(), Damaged> {
        let message = "the deadline or the timeout of the execution passed before it ended";
        let code = crate::model_call::DEADLINE_EXCEEDED;
        let failure = Failure::new(ErrorClass::Timeout, code, message).from_source("workflow");
        self.stop(PendingEnding { failure: Some(failure), timed_out: true, reason: None })
    }

    /// Its scope failed.
    pub(super) fn fail_execution(&mut self, failure: Failure) -> Result<(), Damaged> {
        self.stop(PendingEnding { failure: Some(failure), timed_out: false, reason: None })
    }

    /// Calls everything off, and undoes what is to be undone. The first reason to stop stands.
    fn stop(&mut self, ending: PendingEnding) -> Result<(), Damaged> {
        if self.progress.ending.is_some() {
            return Ok(());
        }
        self.cancel_open(MAIN, ending.reason.as_deref())?;
        // It stays for what is to be undone; the flow is over.
        if self.any_frame(MAIN).is_some() {
            self.frame_mut(MAIN)?.over = true;
        }
        self.decided.clear();
        self.clear_line();
        if self.execution.deadline.is_some() {
            self.effect(Effect::ClearTimer("deadline".into()));
        }
        self.progress.ending = Some(ending);
        self.undo_next()
    }

    /// A step that succeeded is to be undone if the execution fails.
    pub(super) fn note_undoable(&mut self, at: &At) -> Result<(), Damaged> {
        let Some(undo) = self.program.shape(at.node).compensate else { return Ok(()) };
        let task = Task { frame: at.frame.clone(), node: number(undo), body: false };
        self.memory.put(&name::undo(self.progress.undo), Entry::Task(task));
        self.progress.undo += 1;
        self.frame_mut(&at.frame)?.undoable = true;
        Ok(())
    }

    /// The next step to undo, the last one first; the execution ends when there is none.
    pub(super) fn undo_next(&mut self) -> Result<(), Damaged> {
        self.progress.undoing = None;
        let Some(ending) = self.progress.ending.clone() else { return Ok(()) };
        if self.progress.undo == 0 {
            self.end_pending(ending);
            return Ok(());
        }
        self.progress.undo -= 1;
        let entry = name::undo(self.progress.undo);
        let Some(Entry::Task(task)) = self.memory.get(&entry).cloned() else {
            return Err(Damaged(format!("no entry {entry:?}")));
        };
        self.memory.remove(&entry);
        let at = At { frame: task.frame.clone(), node: index(task.node) };
        self.set_raw(&at, NodeState::Ready)?;
        self.progress.undoing = Some(task.clone());
        self.line_up(task);
        Ok(())
    }

    fn end_pending(&mut self, ending: PendingEnding) {
        let PendingEnding { failure, timed_out, reason } = ending;
        let status = match (&failure, timed_out) {
            (None, _) => Terminal::Cancelled,
            (Some(_), true) => Terminal::TimedOut,
            (Some(_), false) => Terminal::Failed,
        };
        self.end_with(status, None, failure, reason);
    }

    /// The top scope gave its value.
    pub(super) fn succeed_execution(&mut self, result: Document) -> Result<(), Damaged> {
        if let Err(failure) = self.check_result(&result) {
            return self.fail_execution(failure);
        }
        self.end_with(Terminal::Succeeded, Some(result), None, None);
        Ok(())
    }

    /// Nothing can be folded any more: it ends at once, and nothing is undone.
    pub(super) fn end_as_failed(&mut self, failure: Failure) {
        self.tell_all(&Order::Cancel { reason: Some("the workflow broke".into()) });
        self.end_with(Terminal::Failed, None, Some(failure), None);
    }

    fn end_with(
        &mut self,
        status: Terminal,
        result: Option<Document>,
        failure: Option<Failure>,
        reason: Option<String>,
    ) {
        self.give_place_back();
        let costs = &self.progress.costs;
        let only = costs.iter().next().filter(|_| costs.len() == 1);
        let cost =
            only.map(|(currency, micros)| Cost { micros: *micros, currency: currency.clone() });
        let (usage, started) = (self.progress.usage, self.progress.started);
        let ending = Ending { status, result, failure, reason, usage, cost, started };
        self.effect(Effect::End(Box::new(ending)));
        self.over = true;
    }

    /// Calls off what one step asked for or waits for; not what is in its body.
    pub(super) fn call_off(&mut self, at: &At, run: &Step, reason: Option<&str>) {
        self.leave_line(at, run);
        if let Some(Asked { kind, id }) = run.asked.clone() {
            let reason = reason.map(str::to_owned);
            self.effect(Effect::Tell { kind, id, order: Order::Cancel { reason } });
        }
        if matches!(self.program.node(at.node).kind, Kind::Emit { .. }) && run.until.is_none() {
            let step = self.program.step(&at.frame, at.node);
            self.effect(Effect::Unwant { step, attempt: run.attempt });
        }
    }

    /// Tells everyone whom this execution waits for.
    fn tell_all(&mut self, order: &Order) {
        let mut asked = Vec::new();
        self.outstanding(MAIN, &mut asked);
        if let Some(task) = self.progress.undoing.clone() {
            let step = self.program.step(&task.frame, index(task.node));
            asked.extend(self.step_of(&step).and_then(|run| run.asked.clone()));
        }
        for Asked { kind, id } in asked {
            self.effect(Effect::Tell { kind, id, order: order.clone() });
        }
    }

    /// What the running steps of a frame and of the bodies in it asked for.
    fn outstanding(&mut self, path: &str, asked: &mut Vec<Asked>) {
        if self.frame(path).is_none() {
            return;
        }
        for at in self.nodes_of(path) {
            let step = self.program.step(path, at.node);
            let Some(run) = self.step_of(&step).cloned() else { continue };
            asked.extend(run.asked);
            match (&self.program.node(at.node).kind, run.items) {
                (Kind::Map { .. }, Some(items)) => {
                    for item in 0..items.next {
                        self.outstanding(&format!("{step}[{item}]"), asked);
                    }
                }
                (Kind::Loop { .. }, _) => {
                    self.outstanding(&format!("{step}[{}]", run.iteration), asked);
                }
                _ => {}
            }
        }
    }
}
