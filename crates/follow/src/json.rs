//! Events and pieces of output as JSON: one vocabulary for sockets and server-sent events.
//!
//! What is JSON inside a record stays JSON, not text that holds JSON. Nothing here says how a message is
//! framed, or whose it may be.

use domain::answer::{Cost, Failure, Usage};
use domain::claim::ClaimCheck;
use domain::event::{Chunk, ChunkKind, EventType, ExecutionEvent, QueuePlace};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::order::Try;

/// An execution event.
#[must_use]
pub fn event(event: &ExecutionEvent) -> String {
    text(&EventView {
        execution_id: &event.execution_id,
        kind: event.kind.as_str(),
        tenant: &event.tenant,
        parent_id: event.parent_id.as_deref(),
        generation: event.generation,
        number: event.number,
        event_type: event.event_type.as_str(),
        time: event.time.0,
        step: event.step.as_deref(),
        attempt: event.attempt,
        data: event.data.as_deref().map(Json::of),
        error: event.error.as_ref().map(ErrorView::of),
        usage: event.usage.as_ref().map(UsageView::of),
        cost: event.cost.as_ref().map(CostView::of),
        data_claim: event.data_claim.as_ref(),
    })
}

/// `execution.queued` without a number: where an execution waits at this moment.
#[must_use]
pub fn queued(execution_id: &str, place: QueuePlace) -> String {
    text(&QueuedView {
        event_type: EventType::Queued.as_str(),
        execution_id,
        position: place.position,
        estimated_wait_ms: place.estimated_wait_ms,
    })
}

/// `output.delta`, or `output.done` or `execution.queued` for the chunk that says so.
#[must_use]
pub fn chunk(chunk: &Chunk) -> String {
    if let Some(place) = chunk.queue_place() {
        return queued(&chunk.execution_id, place);
    }
    if chunk.kind == ChunkKind::Done {
        return text(&DoneView {
            event_type: "output.done",
            execution_id: &chunk.execution_id,
            fence: chunk.fence,
            attempt: chunk.attempt,
            index: chunk.index,
        });
    }
    text(&DeltaView {
        event_type: "output.delta",
        execution_id: &chunk.execution_id,
        fence: chunk.fence,
        attempt: chunk.attempt,
        index: chunk.index,
        kind: chunk.kind,
        choice: chunk.choice,
        text: &chunk.text,
    })
}

/// `output.reset`: discard the text so far. `of` is the try that goes on, where there is one.
#[must_use]
pub fn reset(execution_id: &str, of: Option<Try>, reason: &str) -> String {
    text(&ResetView {
        event_type: "output.reset",
        execution_id,
        fence: of.map(|of| of.fence),
        attempt: of.map(|of| of.attempt),
        reason,
    })
}

fn text(view: &impl Serialize) -> String {
    serde_json::to_string(view).expect("a view has text keys and plain values")
}

/// JSON that belongs to somebody else, as it came.
#[derive(Serialize)]
#[serde(untagged)]
enum Json<'a> {
    /// It is JSON.
    Raw(&'a RawValue),
    /// It should have been.
    Text(&'a str),
}

impl<'a> Json<'a> {
    fn of(text: &'a str) -> Self {
        serde_json::from_str(text).map_or(Self::Text(text), Self::Raw)
    }
}

#[derive(Serialize)]
struct EventView<'a> {
    execution_id: &'a str,
    kind: &'a str,
    tenant: &'a str,
    parent_id: Option<&'a str>,
    generation: i32,
    number: i64,
    #[serde(rename = "type")]
    event_type: &'a str,
    time: i64,
    step: Option<&'a str>,
    attempt: Option<i32>,
    data: Option<Json<'a>>,
    error: Option<ErrorView<'a>>,
    usage: Option<UsageView>,
    cost: Option<CostView<'a>>,
    /// Only where the value that it stands for can't be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_claim: Option<&'a ClaimCheck>,
}

#[derive(Serialize)]
struct ErrorView<'a> {
    code: &'a str,
    message: &'a str,
    class: &'a str,
    retryable: bool,
    source: &'a str,
    http_status: Option<i32>,
}

impl<'a> ErrorView<'a> {
    fn of(failure: &'a Failure) -> Self {
        Self {
            code: &failure.code,
            message: &failure.message,
            class: failure.class.as_str(),
            retryable: failure.retryable,
            source: &failure.source_name,
            http_status: failure.http_status,
        }
    }
}

#[derive(Serialize)]
struct UsageView {
    input_tokens: i64,
    output_tokens: i64,
    cached_tokens: i64,
    reasoning_tokens: i64,
}

impl UsageView {
    fn of(usage: &Usage) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cached_tokens: usage.cached_tokens,
            reasoning_tokens: usage.reasoning_tokens,
        }
    }
}

#[derive(Serialize)]
struct CostView<'a> {
    micros: i64,
    currency: &'a str,
}

impl<'a> CostView<'a> {
    fn of(cost: &'a Cost) -> Self {
        Self { micros: cost.micros, currency: &cost.currency }
    }
}

#[derive(Serialize)]
struct DeltaView<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    execution_id: &'a str,
    fence: i64,
    #[serde(rename = "try")]
    attempt: i32,
    index: i64,
    kind: ChunkKind,
    choice: i32,
    text: &'a str,
}

#[derive(Serialize)]
struct DoneView<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    execution_id: &'a str,
    fence: i64,
    #[serde(rename = "try")]
    attempt: i32,
    index: i64,
}

#[derive(Serialize)]
struct QueuedView<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    execution_id: &'a str,
    position: u64,
    estimated_wait_ms: Option<u64>,
}

#[derive(Serialize)]
struct ResetView<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    execution_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fence: Option<i64>,
    #[serde(rename = "try", skip_serializing_if = "Option::is_none")]
    attempt: Option<i32>,
    reason: &'a str,
}

#[cfg(test)]
mod tests {
    use domain::time::Millis;
    use domain::topic::Kind;

    use super::*;

    fn succeeded(data: &str) -> ExecutionEvent {
        ExecutionEvent {
            execution_id: "e".into(),
            kind: Kind::Model,
            tenant: "t".into(),
            parent_id: None,
            generation: 0,
            number: 3,
            event_type: EventType::Succeeded,
            time: Millis(7),
            step: None,
            attempt: None,
            data: Some(data.into()),
            error: None,
            usage: Some(Usage {
                input_tokens: 1,
                output_tokens: 2,
                cached_tokens: 0,
                reasoning_tokens: 0,
            }),
            cost: Some(Cost { micros: 5, currency: "USD".into() }),
            data_claim: None,
        }
    }

    #[test]
    fn event_has_json_inside_and_every_field() {
        let expected = concat!(
            r#"{"execution_id":"e","kind":"model","tenant":"t","parent_id":null,"generation":0,"#,
            r#""number":3,"type":"execution.succeeded","time":7,"step":null,"attempt":null,"#,
            r#""data":{"a":1.0},"error":null,"usage":{"input_tokens":1,"output_tokens":2,"#,
            r#""cached_tokens":0,"reasoning_tokens":0},"cost":{"micros":5,"currency":"USD"}}"#
        );
        assert_eq!(event(&succeeded(r#"{"a":1.0}"#)), expected);
        assert!(event(&succeeded("not JSON")).contains(r#""data":"not JSON""#));
    }

    #[test]
    fn output_says_which_try_it_is_of() {
        let mut piece = Chunk {
            execution_id: "e".into(),
            tenant: "t".into(),
            fence: 4,
            attempt: 2,
            index: 9,
            kind: ChunkKind::Text,
            choice: 0,
            text: "a\"b".into(),
        };
        let delta = concat!(
            r#"{"type":"output.delta","execution_id":"e","fence":4,"try":2,"index":9,"#,
            r#""kind":"text","choice":0,"text":"a\"b"}"#
        );
        assert_eq!(chunk(&piece), delta);
        piece.kind = ChunkKind::Done;
        let done = r#"{"type":"output.done","execution_id":"e","fence":4,"try":2,"index":9}"#;
        assert_eq!(chunk(&piece), done);
        piece.kind = ChunkKind::Queued;
        for (wait, text) in [(Some(1_200), "1200"), (None, "null")] {
            let place = QueuePlace { position: 3, estimated_wait_ms: wait };
            piece.text = place.to_text();
            assert_eq!(piece.queue_place(), Some(place));
            let queued = format!(
                r#"{{"type":"execution.queued","execution_id":"e","position":3,"estimated_wait_ms":{text}}}"#
            );
            assert_eq!(chunk(&piece), queued);
        }
        let plain = r#"{"type":"output.reset","execution_id":"e","reason":"r"}"#;
        assert_eq!(reset("e", None, "r"), plain);
    }
}
