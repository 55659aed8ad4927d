//! The entity that counts the places of a workflow: from what executions tell it to [`domain::workflow::limit`],
//! and from there to the answers that let them begin.

use domain::answer::{Answer, Terminal};
use domain::fact::Order;
use domain::id::derived;
use domain::request::{JSON, Origin, OriginKind};
use domain::workflow::limit::{self, ACQUIRE, RELEASE};
use runtime::context::Context;
use runtime::processor::{Event, StepError};
use serde::de::DeserializeOwned;

use crate::Workflows;
use crate::memory::Entries;

/// Folds what an execution tells.
pub(crate) fn step(
    event: Event<Workflows>,
    context: &mut Context<'_, Workflows>,
) -> Result<(), StepError> {
    // Nobody else tells it anything.
    let Event::Command(Order::Signal { name, payload }) = event else { return Ok(()) };
    let entries = &mut Entries(context);
    let limit::Step { granted, is_idle } = match name.as_str() {
        ACQUIRE => limit::acquire(entries, &read(payload.as_deref())?),
        RELEASE => limit::release(entries, &read(payload.as_deref())?),
        _ => return Ok(()),
    };
    for holder in granted {
        let answer = Answer {
            request_id: derived(&holder, context.entity(), 1),
            // No step of it asked, but all of it.
            origin: Origin {
                kind: OriginKind::Workflow,
                id: holder,
                step: String::new(),
                attempt: 1,
            },
            status: Terminal::Succeeded,
            output: None,
            output_media_type: JSON.to_owned(),
            failure: None,
            usage: None,
            cost: None,
            output_claim: None,
        };
        context.answer(answer, None)?;
    }
    if is_idle {
        context.finish();
    }
    Ok(())
}

fn read<T: DeserializeOwned>(payload: Option<&str>) -> Result<T, StepError> {
    serde_json::from_str(payload.unwrap_or_default())
        .map_err(|error| StepError::Broken(format!("an execution's word can't be read: {error}")))
}
