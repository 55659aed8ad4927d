//! Maps and loops: a body for each item, or again and again.

use serde_json::{Value, json};

use super::document::Document;
use super::entry::{Entry, Items, Parent, Step, Task, name};
use super::flow::Spent;
use super::state::{At, Machine, index, number};
use super::{Damaged, MAX_ITEMS, Memory};
use crate::answer::{ErrorClass, Failure};
use crate::workflow::definition::{Kind, LoopCondition, OnItemError};
use crate::workflow::template::Template;

impl<M: Memory> Machine<'_, M> {
    /// A map or a loop begins.
    pub(super) fn begin_body(&mut self, at: &At, step: &str) -> Result<(), Damaged> {
        self.started(at, None);
        let program = self.program;
        if let Kind::Map { over, .. } = &program.node(at.node).kind {
            return match self.list(at, over) {
                Ok(items) => self.begin_items(at, step, items),
                Err(failure) => self.give_up(at, failure, Spent::default()),
            };
        }
        self.go_on_with_body(at)
    }

    fn list(&self, at: &At, over: &Template) -> Result<Vec<Value>, Failure> {
        let invalid = |code, message: String| {
            Err(Failure::new(ErrorClass::Invalid, code, message).from_source("workflow"))
        };
        match self.evaluate(at, over)?.to_json() {
            Value::Array(items) if items.len() <= MAX_ITEMS => Ok(items),
            Value::Array(items) => {
                let message = format!("`over` gives {} items, at most {MAX_ITEMS}", items.len());
                invalid("too_many_items", message)
            }
            _ => invalid("not_a_list", "`over` doesn't give a list".to_owned()),
        }
    }

    fn begin_items(&mut self, at: &At, step: &str, items: Vec<Value>) -> Result<(), Damaged> {
        let total = i64::try_from(items.len()).unwrap_or(i64::MAX);
        for (item, value) in items.iter().enumerate() {
            let frame = format!("{step}[{item}]");
            self.memory.put(&name::item(&frame), Entry::Value(Document::from(value)));
        }
        self.change(step, |run| run.items = Some(Items { total, next: 0, active: 0 }));
        if total == 0 {
            return self.end_items(at, step, 0);
        }
        self.line_up_body(at);
        Ok(())
    }

    /// The next item, or the next iteration.
    pub(super) fn go_on_with_body(&mut self, at: &At) -> Result<(), Damaged> {
        let program = self.program;
        let step = program.step(&at.frame, at.node);
        let Some(run) = self.step_of(&step).cloned() else {
            return Err(Damaged(format!("no step {step:?}")));
        };
        match &program.node(at.node).kind {
            Kind::Map { concurrency, body, .. } => {
                let Some(items) = run.items else { return Ok(()) };
                if items.next >= items.total || items.active >= i64::from(*concurrency) {
                    return Ok(());
                }
                let going = Items { next: items.next + 1, active: items.active + 1, ..items };
                self.change(&step, |run| run.items = Some(going));
                if going.next < going.total && going.active < i64::from(*concurrency) {
                    self.line_up_body(at);
                }
                self.open_body(at, &step, *body, items.next)
            }
            Kind::Loop { condition, max_iterations, body } => {
                let max = i64::from(*max_iterations);
                let goes_on = match condition {
                    LoopCondition::While(condition) => self.loop_holds(at, condition, &run),
                    LoopCondition::Until(_) => Ok(true),
                };
                match goes_on {
                    Err(failure) => self.give_up(at, failure, Spent::default()),
                    Ok(false) => self.end_loop(at, &step),
                    Ok(true) if run.iteration >= max => {
                        self.give_up(at, exceeded(max), Spent::default())
                    }
                    Ok(true) => self.open_body(at, &step, *body, run.iteration),
                }
            }
            _ => Err(Damaged(format!("no body at {step:?}"))),
        }
    }

    fn open_body(&mut self, at: &At, step: &str, scope: usize, item: i64) -> Result<(), Damaged> {
        let parent = Parent { frame: at.frame.clone(), node: number(at.node), index: item };
        self.open(&format!("{step}[{item}]"), scope, Some(parent))
    }

    fn line_up_body(&mut self, at: &At) {
        self.line_up(Task { frame: at.frame.clone(), node: number(at.node), body: true });
    }

    fn change(&mut self, step: &str, change: impl FnOnce(&mut Step)) {
        if let Some(run) = self.step_of(step).cloned() {
            let mut run = run;
            change(&mut run);
            self.put_step(step, run);
        }
    }

    /// A body has ended.
    pub(super) fn body_ended(
        &mut self,
        frame: &str,
        parent: &Parent,
        outcome: Result<Document, Failure>,
    ) -> Result<(), Damaged> {
        let program = self.program;
        let at = At { frame: parent.frame.clone(), node: index(parent.node) };
        let step = program.step(&at.frame, at.node);
        let Some(run) = self.step_of(&step).cloned() else {
            return Err(Damaged(format!("no step {step:?} around {frame:?}")));
        };
        match &program.node(at.node).kind {
            Kind::Map { concurrency, on_item_error, .. } => {
                let Some(items) = run.items else {
                    return Err(Damaged(format!("no items at {step:?}")));
                };
                let result = match (outcome, on_item_error) {
                    (Ok(value), _) => Some(value),
                    (Err(failure), OnItemError::Fail) => {
                        return self.give_up(&at, failure, Spent::default());
                    }
                    (Err(_), OnItemError::Skip) => None,
                    (Err(failure), OnItemError::Keep) => Some(kept(&failure)),
                };
                if let Some(value) = result {
                    self.memory.put(&name::result(frame), Entry::Value(value));
                }
                // Below the bound, the next one stands in the line already.
                let was_full = items.active >= i64::from(*concurrency);
                let items = Items { active: items.active - 1, ..items };
                self.change(&step, |run| run.items = Some(items));
                if items.next < items.total {
                    if was_full {
                        self.line_up_body(&at);
                    }
                } else if items.active == 0 {
                    return self.end_items(&at, &step, items.total);
                }
                Ok(())
            }
            Kind::Loop { condition, max_iterations, .. } => {
                let value = match outcome {
                    Ok(value) => value,
                    Err(failure) => return self.give_up(&at, failure, Spent::default()),
                };
                self.memory.put(&name::last(&step), Entry::Value(value));
                let is_done = match condition {
                    LoopCondition::While(_) => Ok(false),
                    LoopCondition::Until(condition) => self.loop_holds(&at, condition, &run),
                };
                self.change(&step, |run| run.iteration += 1);
                match is_done {
                    Err(failure) => self.give_up(&at, failure, Spent::default()),
                    Ok(true) => self.end_loop(&at, &step),
                    Ok(false)
                        if matches!(condition, LoopCondition::Until(_))
                            && run.iteration + 1 >= i64::from(*max_iterations) =>
                    {
                        let max = i64::from(*max_iterations);
                        self.give_up(&at, exceeded(max), Spent::default())
                    }
                    Ok(false) => {
                        self.line_up_body(&at);
                        Ok(())
                    }
                }
            }
            _ => Err(Damaged(format!("no body at {step:?}"))),
        }
    }

    fn end_loop(&mut self, at: &At, step: &str) -> Result<(), Damaged> {
        let value = self.last_of(step);
        self.memory.remove(&name::last(step));
        self.succeed(at, value, Spent::default())
    }

    /// All items are over: their results are the output. They stay where they are.
    fn end_items(&mut self, at: &At, step: &str, total: i64) -> Result<(), Damaged> {
        let output = self.pieces(step, total);
        let fits = output.text().len() <= super::MAX_VALUE_BYTES;
        self.succeeded(at, fits.then_some(output), None, Spent::default())?;
        match self.program.is_read[at.node] {
            true => self.memory.put(&name::output(step), Entry::Pieces(total)),
            false => self.drop_items(step, 0..total),
        }
        Ok(())
    }

    /// A map is called off.
    pub(super) fn cancel_items(
        &mut self,
        step: &str,
        run: &Step,
        reason: Option<&str>,
    ) -> Result<(), Damaged> {
        let Some(items) = run.items else { return Ok(()) };
        for item in 0..items.next {
            self.cancel_frame(&format!("{step}[{item}]"), reason)?;
        }
        self.drop_items(step, 0..items.total);
        Ok(())
    }

    /// Drops what is kept of items, but for those whose frames stay to be undone.
    fn drop_items(&mut self, step: &str, items: std::ops::Range<i64>) {
        for item in items {
            let frame = format!("{step}[{item}]");
            self.memory.remove(&name::result(&frame));
            if self.peek(&frame).is_none() {
                self.memory.remove(&name::item(&frame));
            }
        }
    }
}

fn exceeded(max: i64) -> Failure {
    let message = format!("{max} iterations are done, and it would go on");
    Failure::new(ErrorClass::Invalid, "max_iterations", message).from_source("workflow")
}

/// What stands in the place of an item that failed.
fn kept(failure: &Failure) -> Document {
    let error =
        json!({"code": failure.code, "message": failure.message, "class": failure.class.as_str()});
    Document::from(&json!({ "error": error }))
}
