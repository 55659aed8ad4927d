//! The processor that is measured: it does nothing but pass on, so what is seen is the runtime.
//!
//! Entities are admitted once and kept. An answer in the log that has hops left goes on, as an answer, to
//! the next entity's log; the last hop tells a client.

use domain::answer::ModelOutcome;
use domain::answer::{Answer, Failure, Terminal};
use domain::event::EventType;
use domain::fact::Fact;
use domain::log_row::ExecutionLogRecord;
use domain::model_call::WantedModelCall;
use domain::request::{JSON, ModelRequest, Origin, OriginKind};
use domain::state::RecentId;
use domain::topic::Kind;
use runtime::context::{Context, EventBody};
use runtime::processor::{Event, Processor, Refusal, StepError, Subject};
use schemas::Ids;

use crate::flight::Id;

/// How many entities are kept.
pub(crate) const ENTITIES: u64 = 1_000;

/// Bytes that records are padded to, about.
pub(crate) const PADDED: usize = 256;

/// The model that a request names whose entity is kept.
const KEEP: &str = "keep";

/// What a step does besides passing on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Nothing.
    Nothing,
    /// Writes one state entry and one row of the execution log.
    Writes,
}

/// See the module.
pub(crate) struct Relay {
    /// What each step does besides.
    pub(crate) work: Work,
}

impl Processor for Relay {
    const KIND: Kind = Kind::Workflow;
    type Request = ModelRequest;
    type Entry = RecentId;
    type Call = WantedModelCall;
    type Fact = ModelOutcome;

    fn subject(&self, request: &ModelRequest) -> Subject {
        Subject { origin: None, ..request.into() }
    }

    fn admit(&self, _: &ModelRequest) -> Result<Option<i32>, Refusal> {
        Ok(None)
    }

    fn step(&self, event: Event<Self>, context: &mut Context<'_, Self>) -> Result<(), StepError> {
        match event {
            Event::Admitted { request, .. } => {
                let keep = request.model == KEEP;
                tell(context, EventType::Admitted, request.body)?;
                if !keep {
                    context.finish();
                }
            }
            Event::Answer(answer) => {
                if self.work == Work::Writes {
                    let since = context.now();
                    context.put("last", RecentId { since, tenant: None });
                    let row = ExecutionLogRecord::new(
                        "bench.hop",
                        Self::KIND,
                        context.entity(),
                        context.tenant(),
                    );
                    context.log(row);
                }
                pass_on(*answer, context)?;
            }
            Event::Finished { .. } | Event::Timer { .. } | Event::Command(_) => {}
        }
        Ok(())
    }

    fn fail(&self, failure: &Failure, context: &mut Context<'_, Self>) {
        tracing::error!(%failure, entity = context.entity(), "a step of the bench failed");
        context.finish();
    }
}

fn tell(
    context: &mut Context<'_, Relay>,
    event_type: EventType,
    data: String,
) -> Result<(), StepError> {
    let body = EventBody { data: Some(data), ..EventBody::default() };
    context.event(event_type, body)
}

fn pass_on(answer: Answer, context: &mut Context<'_, Relay>) -> Result<(), StepError> {
    let hops = answer.origin.attempt;
    let text = answer.output.unwrap_or_default();
    if hops <= 1 {
        return tell(context, EventType::Started, text);
    }
    let id =
        Id::at_front(&text).ok_or_else(|| StepError::Broken("an answer without an id".into()))?;
    context.answer(answer_to(id, hops - 1, text), None)
}

/// An answer that has so many hops to go. Each hop visits another entity, so most change the partition.
fn answer_to(id: Id, hops: i32, text: String) -> Answer {
    let entity = (id.nth + u64::from(hops.unsigned_abs()) * 7) % ENTITIES;
    Answer {
        request_id: format!("{id}.{hops}"),
        origin: Origin {
            kind: OriginKind::Workflow,
            id: entity_name(entity),
            step: "hop".into(),
            attempt: hops,
        },
        status: Terminal::Succeeded,
        output: Some(text),
        output_media_type: JSON.into(),
        failure: None,
        usage: None,
        cost: None,
        output_claim: None,
    }
}

fn entity_name(entity: u64) -> String {
    format!("entity-{entity}")
}

/// The text of a record: its id, padded.
pub(crate) fn text(id: Id, length: usize) -> String {
    format!("{:<length$}", format!("{id} "))
}

/// The log record that starts a run of so many hops: key and value.
pub(crate) fn starts(ids: &Ids, id: Id, hops: i32) -> (String, Vec<u8>) {
    // Framing and the other fields take the rest.
    let answer = answer_to(id, hops, text(id, PADDED - 100));
    let key = answer.origin.id.clone();
    let value = ids.frame_fact(&Fact::Answer(answer)).expect("every schema is registered");
    (key, value)
}

/// The feed record that makes entity `id.nth`, which stays.
pub(crate) fn makes_entity(ids: &Ids, id: Id) -> (String, Vec<u8>) {
    let name = entity_name(id.nth % ENTITIES);
    let request = ModelRequest::new(name.clone(), KEEP, text(id, PADDED - 100));
    (name, ids.frame(&request).expect("every schema is registered"))
}

/// The feed record that passes through: admitted, told, ended.
pub(crate) fn passes(ids: &Ids, id: Id) -> (String, Vec<u8>) {
    let name = id.to_string();
    let request = ModelRequest::new(name.clone(), "pass", text(id, PADDED - 100));
    (name, ids.frame(&request).expect("every schema is registered"))
}
