//! The entity that counts the places of a workflow: from what executions tell it to [`domain::workflow::limit`],
//! and from there to the answers that let them begin.

use domain::answer::{Answer, Terminal};
use domain::fact::Order;
use domain::id::derived;
use domain::request::{JSON, Origin, OriginKind};
use domain::workflow::limit::{self, ACQUIRE, Acquire, RELEASE};
use domain::workflow::run;
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
    let (step, asked) = match name.as_str() {
        ACQUIRE => {
            let asked: Acquire = read(payload.as_deref())?;
            (limit::acquire(entries, &asked), Some(asked.holder))
        }
        RELEASE => (limit::release(entries, &read(payload.as_deref())?), None),
        _ => return Ok(()),
    };
    let limit::Step { granted, queued, is_idle } = step;
    if let (Some(queued), Some(holder)) = (queued, asked) {
        let place = serde_json::to_string(&queued).expect("plain fields are JSON");
        tell(holder, WAITS, Some(place), context)?;
    }
    for holder in granted {
        tell(holder, RUNS, None, context)?;
    }
    if is_idle {
        context.finish();
    }
    Ok(())
}

/// What an execution is told, as the attempt of the answer: each has an id of its own.
const RUNS: i32 = 1;
/// See [`RUNS`].
const WAITS: i32 = 2;

/// Tells an execution that it has a place, or where it waits.
fn tell(
    holder: String,
    what: i32,
    place: Option<String>,
    context: &mut Context<'_, Workflows>,
) -> Result<(), StepError> {
    let answer = Answer {
        request_id: derived(&holder, context.entity(), what),
        // No step of it asked, but all of it.
        origin: Origin {
            kind: OriginKind::Workflow,
            id: holder,
            step: String::new(),
            attempt: what,
        },
        status: Terminal::Succeeded,
        output: place,
        output_media_type: JSON.to_owned(),
        failure: None,
        usage: None,
        cost: None,
        output_claim: None,
    };
    context.answer(answer, None)
}

/// What the answer of an entity that counts places says to the execution that asked.
pub(crate) fn answered(answer: &Answer) -> Option<run::Event> {
    match &answer.output {
        None => Some(run::Event::Granted),
        Some(place) => serde_json::from_str(place).ok().map(run::Event::Queued),
    }
}

fn read<T: DeserializeOwned>(payload: Option<&str>) -> Result<T, StepError> {
    serde_json::from_str(payload.unwrap_or_default())
        .map_err(|error| StepError::Broken(format!("an execution's word can't be read: {error}")))
}
