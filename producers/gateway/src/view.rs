//! What clients see of executions and events: JSON with JSON inside, not text that holds JSON.

use std::collections::BTreeMap;

use domain::answer::{Cost, Failure, Usage};
use domain::claim::ClaimCheck;
use domain::event::{Chunk, ChunkKind, ExecutionEvent};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::text::segment;

/// JSON that belongs to somebody else, as it came.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Json {
    /// It is JSON.
    Raw(Box<RawValue>),
    /// It should have been.
    Text(String),
}

impl Json {
    pub(crate) fn of(text: String) -> Self {
        match serde_json::from_str::<&RawValue>(&text) {
            Ok(raw) => Self::Raw(raw.to_owned()),
            Err(_) => Self::Text(text),
        }
    }
}

/// Where to go from an execution.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Links {
    /// The execution.
    #[serde(rename = "self")]
    this: String,
    /// Its events: server-sent events, or a list for `Accept: application/json`.
    events: String,
    /// Ends it (`POST`).
    cancel: String,
}

impl Links {
    pub(crate) fn of(execution: &str) -> Self {
        let this = location(execution);
        Self { events: format!("{this}/events"), cancel: format!("{this}:cancel"), this }
    }
}

/// The path of an execution.
pub(crate) fn location(execution: &str) -> String {
    format!("/v1/executions/{}", segment(execution))
}

/// A request that was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// The execution.
    pub(crate) id: String,
    /// `accepted`: no processor has said anything yet.
    pub(crate) status: String,
    pub(crate) links: Links,
}

/// Why something ended without an answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorView {
    /// A stable name for programs.
    code: String,
    /// For people.
    message: String,
    /// The class that retries and fallbacks act on.
    class: String,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// Who says so.
    source: String,
    /// The provider's HTTP status, where there was one.
    http_status: Option<i32>,
}

impl From<Failure> for ErrorView {
    fn from(failure: Failure) -> Self {
        Self {
            code: failure.code,
            message: failure.message,
            class: failure.class.as_str().into(),
            retryable: failure.retryable,
            source: failure.source_name,
            http_status: failure.http_status,
        }
    }
}

/// Tokens that were used.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageView {
    input_tokens: i64,
    output_tokens: i64,
    cached_tokens: i64,
    reasoning_tokens: i64,
}

impl From<Usage> for UsageView {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cached_tokens: usage.cached_tokens,
            reasoning_tokens: usage.reasoning_tokens,
        }
    }
}

/// Money.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CostView {
    /// Millionths of the currency's unit.
    micros: i64,
    /// ISO 4217 code.
    currency: String,
}

impl From<Cost> for CostView {
    fn from(cost: Cost) -> Self {
        Self { micros: cost.micros, currency: cost.currency }
    }
}

/// Stands for a value that isn't here. Clients meet it in lists, and where the value is gone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClaimView {
    /// What `GET /v1/values/{hash}` takes: `sha256:` and 64 hex digits.
    hash: String,
    /// The value's length in bytes.
    length: i64,
    /// What the value is.
    media_type: String,
}

impl From<ClaimCheck> for ClaimView {
    fn from(claim: ClaimCheck) -> Self {
        let ClaimCheck { hash, length, media_type } = claim;
        Self { hash, length, media_type }
    }
}

/// The place of an event among those of its execution.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PositionView {
    /// Raised when a changed program takes over: replaces everything from `number` on.
    generation: i32,
    /// Rises by one, from 1.
    number: i64,
}

/// An execution, as far as it is known.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExecutionView {
    id: String,
    /// `model`, `function`, `workflow` or `agent`.
    kind: String,
    tenant: String,
    /// `accepted`, `admitted`, `queued`, `running`, `paused`, `succeeded`, `failed`, `cancelled` or
    /// `timed_out`.
    status: String,
    /// The model, workflow, agent or function that was asked for.
    definition: Option<String>,
    /// The execution that asked for it.
    parent_id: Option<String>,
    labels: BTreeMap<String, String>,
    /// What it can be found by.
    search_attributes: BTreeMap<String, String>,
    /// Milliseconds since the epoch.
    created: i64,
    /// Milliseconds since the epoch.
    updated: i64,
    /// The place of its last event.
    position: Option<PositionView>,
    /// The answer, when it succeeded.
    #[schema(value_type = Option<serde_json::Value>)]
    output: Option<Json>,
    /// Only where the answer isn't: in lists, when it is above 256 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_claim: Option<ClaimView>,
    /// Why it ended without an answer.
    error: Option<ErrorView>,
    usage: Option<UsageView>,
    cost: Option<CostView>,
    links: Links,
}

impl From<store::Execution> for ExecutionView {
    fn from(execution: store::Execution) -> Self {
        Self {
            links: Links::of(&execution.id),
            id: execution.id,
            kind: execution.kind.as_str().into(),
            tenant: execution.tenant,
            status: execution.status.as_str().into(),
            definition: execution.definition,
            parent_id: execution.parent_id,
            labels: execution.labels,
            search_attributes: execution.search_attributes,
            created: execution.created.0,
            updated: execution.updated.0,
            position: execution
                .position
                .map(|at| PositionView { generation: at.generation, number: at.number }),
            output: execution.output.map(Json::of),
            output_claim: execution.output_claim.map(Into::into),
            error: execution.error.map(Into::into),
            usage: execution.usage.map(Into::into),
            cost: execution.cost.map(Into::into),
        }
    }
}

/// A page of executions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Executions {
    pub(crate) data: Vec<ExecutionView>,
    /// What to pass as `cursor` for the next page; null: that was all.
    pub(crate) next: Option<String>,
}

/// One event of an execution.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventView {
    execution_id: String,
    /// `model`, `function`, `workflow` or `agent`.
    kind: String,
    tenant: String,
    parent_id: Option<String>,
    /// A higher generation at number n replaces everything from n on.
    generation: i32,
    /// Rises by one, from 1.
    number: i64,
    /// `execution.admitted`, `execution.started`, `execution.succeeded`, …
    #[serde(rename = "type")]
    event_type: String,
    /// Milliseconds since the epoch.
    time: i64,
    step: Option<String>,
    attempt: Option<i32>,
    /// JSON, by type; for `execution.succeeded` the answer.
    #[schema(value_type = Option<serde_json::Value>)]
    data: Option<Json>,
    error: Option<ErrorView>,
    usage: Option<UsageView>,
    cost: Option<CostView>,
    /// Only where data above 256 KiB can't be had any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_claim: Option<ClaimView>,
}

impl From<ExecutionEvent> for EventView {
    fn from(event: ExecutionEvent) -> Self {
        Self {
            execution_id: event.execution_id,
            kind: event.kind.as_str().into(),
            tenant: event.tenant,
            parent_id: event.parent_id,
            generation: event.generation,
            number: event.number,
            event_type: event.event_type.as_str().into(),
            time: event.time.0,
            step: event.step,
            attempt: event.attempt,
            data: event.data.map(Json::of),
            error: event.error.map(Into::into),
            usage: event.usage.map(Into::into),
            cost: event.cost.map(Into::into),
            data_claim: event.data_claim.map(Into::into),
        }
    }
}

/// A list of events.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Events {
    pub(crate) data: Vec<EventView>,
    /// What to pass as `after` for the next page; null: that was all so far.
    pub(crate) next: Option<String>,
}

/// A piece of output, as data of `output.delta`.
#[derive(Debug, Serialize)]
pub(crate) struct DeltaView {
    execution_id: String,
    fence: i64,
    #[serde(rename = "try")]
    attempt: i32,
    index: i64,
    /// `text`, `reasoning` or `tool_calls`.
    kind: ChunkKind,
    choice: i32,
    text: String,
}

impl From<Chunk> for DeltaView {
    fn from(chunk: Chunk) -> Self {
        Self {
            execution_id: chunk.execution_id,
            fence: chunk.fence,
            attempt: chunk.attempt,
            index: chunk.index,
            kind: chunk.kind,
            choice: chunk.choice,
            text: chunk.text,
        }
    }
}
