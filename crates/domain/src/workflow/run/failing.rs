//! What follows when an attempt fails: another one, what its author says instead, or the end of its scope.

use super::entry::{Entry, NodeState, Step, name};
use super::flow::Spent;
use super::state::{At, Machine};
use super::{Announcement, Damaged, Effect, Memory};
use crate::answer::Failure;
use crate::event::EventType;
use crate::workflow::compile::OnFailure;
use crate::workflow::definition::Retry;

impl<M: Memory> Machine<'_, M> {
    /// An attempt failed: another one follows, or the step is given up.
    pub(super) fn fail(&mut self, at: &At, failure: Failure, spent: Spent) -> Result<(), Damaged> {
        let step = self.program.step(&at.frame, at.node);
        let program = self.program;
        let retry = program.node(at.node).policy.retry.as_ref();
        let run = self.step_of(&step).cloned();
        if let (Some(retry), Some(run)) = (retry, run)
            && is_worth_another(retry, &failure, run.attempt)
        {
            let due = self.now.plus(wait_before(retry, run.attempt));
            self.announce(Announcement {
                data: Some(
                    serde_json::json!({"attempt": run.attempt + 1, "due": due.0}).to_string(),
                ),
                error: Some(failure),
                usage: spent.usage,
                cost: spent.cost,
                ..self.of_step(EventType::StepRetrying, at)
            });
            let run = Step { asked: None, until: Some(due), ..run };
            self.put_step(&step, run);
            self.effect(Effect::SetTimer { timer: format!("retry/{step}"), due });
            return Ok(());
        }
        self.fall_back(at, failure, spent)
    }

    /// A step failed for good, and what it asked for isn't wanted any more.
    pub(super) fn give_up(
        &mut self,
        at: &At,
        failure: Failure,
        spent: Spent,
    ) -> Result<(), Damaged> {
        self.stop_work(at, None)?;
        self.fall_back(at, failure, spent)
    }

    /// A step of which nothing is under way failed for good: what its author says then.
    pub(super) fn fall_back(
        &mut self,
        at: &At,
        failure: Failure,
        spent: Spent,
    ) -> Result<(), Damaged> {
        let step = self.program.step(&at.frame, at.node);
        let program = self.program;
        // An expression of the default may read why it failed.
        if program.is_read[at.node] {
            let error = Entry::Failure(Box::new(failure.clone()));
            self.memory.put(&name::error(&step), error);
        }
        if let Some(default) = &program.node(at.node).policy.default {
            let before = self.state_of(at)?;
            self.set_raw(at, NodeState::Failed)?;
            let value = self.evaluate(at, default);
            self.set_raw(at, before)?;
            return match value {
                Ok(value) => {
                    self.memory.remove(&name::error(&step));
                    self.succeeded(at, Some(value), Some(failure), spent)
                }
                Err(failure) => self.failed(at, failure, spent, OnFailure::FailsScope),
            };
        }
        self.failed(at, failure, spent, program.shape(at.node).on_failure)
    }

    fn failed(
        &mut self,
        at: &At,
        failure: Failure,
        spent: Spent,
        then: OnFailure,
    ) -> Result<(), Damaged> {
        self.announce(Announcement {
            error: Some(failure.clone()),
            usage: spent.usage,
            cost: spent.cost,
            ..self.of_step(EventType::StepFailed, at)
        });
        self.forget_step(at);
        self.set_state(at, NodeState::Failed)?;
        if self.program.is_compensation(at.node) || then != OnFailure::FailsScope {
            self.decided.push_back(at.clone());
            return Ok(());
        }
        self.end_frame(&at.frame, Err(failure))
    }
}

fn is_worth_another(retry: &Retry, failure: &Failure, attempt: i32) -> bool {
    let tries = i32::try_from(retry.max_tries).unwrap_or(i32::MAX);
    let wanted = match &retry.on {
        Some(classes) => classes.contains(&failure.class),
        None => failure.retryable,
    };
    attempt < tries && wanted
}

/// The wait before the attempt that follows this one, in milliseconds.
fn wait_before(retry: &Retry, attempt: i32) -> i64 {
    let factor = retry.factor.powi(attempt - 1);
    let wait = (retry.initial_ms as f64 * factor).min(retry.max_ms as f64);
    wait as i64
}
