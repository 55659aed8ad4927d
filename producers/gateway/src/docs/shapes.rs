//! Shapes that exist for the document only: bodies that pass verbatim, and errors that are made by hand.
//! Fields that are not named here pass as well.
#![expect(dead_code, reason = "nothing makes these; the document describes with them")]
#![allow(unused_qualifications, reason = "the derive writes them")]

use serde_json::{Map, Value};
use utoipa::ToSchema;

/// An error in OpenAI's shape.
#[derive(ToSchema)]
pub(crate) struct OpenAiError {
    error: OpenAiErrorBody,
}

/// What is wrong.
#[derive(ToSchema)]
pub(crate) struct OpenAiErrorBody {
    /// For people.
    message: String,
    /// The kind of error.
    r#type: String,
    /// Where in the request.
    #[schema(required)]
    param: Option<String>,
    /// For programs.
    #[schema(required)]
    code: Option<String>,
}

/// RFC 9457.
#[derive(ToSchema)]
pub(crate) struct ProblemDetails {
    /// Always `about:blank`: `code` tells problems apart.
    r#type: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// For people.
    detail: String,
    /// For programs.
    code: String,
    /// Where in the request.
    place: Option<String>,
    /// The execution that it is about.
    execution_id: Option<String>,
    /// The version that stands, after a conflict.
    version: Option<i32>,
    /// All that is wrong with a definition, errors first.
    problems: Option<Vec<Finding>>,
}

/// One thing that is wrong with a definition.
#[derive(ToSchema)]
pub(crate) struct Finding {
    /// `error`: it can't be used; `warning`: it may not do what its author wants.
    severity: String,
    /// Where: a JSON pointer; empty: the whole definition.
    pointer: String,
    /// For people: what is wrong, and what to do.
    message: String,
}

/// One difference between two versions of a workflow.
#[derive(ToSchema)]
pub(crate) struct WorkflowChange {
    /// `added`, `removed` or `changed`
    change: String,
    /// Where: a JSON pointer into the version that has it, the later one where both do.
    pointer: String,
    /// The id of the node that it is, or is in.
    node: Option<String>,
    /// What it was, unless it was added.
    from: Option<Value>,
    /// What it is, unless it was removed.
    to: Option<Value>,
}

/// A `chat.completion`, as the provider gave it.
#[derive(ToSchema)]
pub(crate) struct ChatAnswer {
    choices: Vec<Map<String, Value>>,
}

/// A list of vectors, as the provider gave it.
#[derive(ToSchema)]
pub(crate) struct EmbeddingsAnswer {
    data: Vec<Map<String, Value>>,
}

/// The places and scores, as the provider gave them.
#[derive(ToSchema)]
pub(crate) struct RerankAnswer {
    results: Vec<Map<String, Value>>,
}

/// A model that can be asked.
#[derive(ToSchema)]
pub(crate) struct Model {
    /// Its alias.
    id: String,
    /// `model`
    object: String,
    /// Seconds since the epoch.
    created: i64,
    owned_by: String,
}

/// The models that can be asked.
#[derive(ToSchema)]
pub(crate) struct Models {
    /// `list`
    object: String,
    data: Vec<Model>,
}

/// One event of a stream.
#[derive(ToSchema)]
pub(crate) struct ServerSentEvent {
    /// What happened.
    event: Option<String>,
    /// Where to resume, for events that have a place.
    id: Option<String>,
    /// JSON, or `[DONE]` at the end of a chat.
    data: Option<String>,
    /// Milliseconds until the client should connect again.
    retry: Option<i64>,
}

/// A response, as OpenAI has it.
#[derive(ToSchema)]
pub(crate) struct ResponseObject {
    /// `resp_` and the execution's id.
    id: String,
    /// `response`
    object: String,
    /// Seconds since the epoch.
    created_at: i64,
    /// `queued`, `in_progress`, `completed`, `incomplete`, `failed` or `cancelled`
    status: String,
    model: String,
    output: Vec<Map<String, Value>>,
}

/// A response that was forgotten.
#[derive(ToSchema)]
pub(crate) struct ResponseDeleted {
    id: String,
    /// `response`
    object: String,
    /// `true`
    deleted: bool,
}

/// What an execution is.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum KindName {
    Model,
    Function,
    Workflow,
    Agent,
}

/// How far an execution is.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum StatusName {
    Accepted,
    Admitted,
    Queued,
    Running,
    Paused,
    Succeeded,
    Failed,
    Cancelled,
    TimedOut,
}

/// How far a step is.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum StepStateName {
    Running,
    Waiting,
    Retrying,
    Succeeded,
    Failed,
    Skipped,
    Cancelled,
}

/// Bodies of requests: their schemas are written by hand, in `bodies.json`.
pub(crate) mod bodies {
    use utoipa::ToSchema;

    /// See `bodies.json`.
    #[derive(ToSchema)]
    pub(crate) struct Labels {}
    /// See `bodies.json`.
    #[derive(ToSchema)]
    pub(crate) struct WantedVersion {}
    /// See `bodies.json`.
    #[derive(ToSchema)]
    pub(crate) struct ChatRequest {}
    /// See `bodies.json`.
    #[derive(ToSchema)]
    pub(crate) struct EmbeddingsRequest {}
    /// See `bodies.json`.
    #[derive(ToSchema)]
    pub(crate) struct RerankRequest {}
    /// See `bodies.json`.
    #[derive(ToSchema)]
    pub(crate) struct ResponseRequest {}
    /// See `bodies.json`.
    #[derive(ToSchema)]
    pub(crate) struct Submitted {}
    /// See `bodies.json`.
    #[derive(ToSchema)]
    pub(crate) struct CloudEvent {}
    /// See `bodies.json`.
    #[derive(ToSchema)]
    pub(crate) struct CloudEventBatch {}
    /// See `bodies.json`.
    #[derive(ToSchema)]
    pub(crate) struct CloudEventData {}
    /// See `bodies.json`.
    #[derive(ToSchema)]
    pub(crate) struct ModelDefinition {}
    /// See `bodies.json`.
    #[derive(ToSchema)]
    pub(crate) struct WorkflowDefinition {}
    /// See `schemas/json/schedule.schema.json`.
    #[derive(ToSchema)]
    pub(crate) struct ScheduleDefinition {}
}

pub(crate) use bodies::{
    ChatRequest, CloudEvent, CloudEventBatch, CloudEventData, EmbeddingsRequest, Labels,
    ModelDefinition, RerankRequest, ResponseRequest, ScheduleDefinition, Submitted, WantedVersion,
    WorkflowDefinition,
};
