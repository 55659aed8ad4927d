//! The gateway's own documents: OpenAPI 3.1 of the routes, AsyncAPI 3 of the topics.

pub(crate) mod page;
pub(crate) mod shapes;
mod sockets;

use std::sync::LazyLock;

use axum::Json;
use axum::extract::State;
use domain::schedule::SCHEMA as SCHEDULE;
use serde_json::{Map, Value, json};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoParams, IntoResponses, Modify, OpenApi};

use crate::docs::shapes::{OpenAiError, ProblemDetails};
use crate::{
    App, cloud_events, definitions, events, executions, health, openai, requests, running,
    schedules, steering,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Stepstream gateway",
        description = "Event-driven AI on Kafka: OpenAI-compatible routes, executions, and their events. \
            Every answer carries `x-request-id`; `traceparent` is passed on."
    ),
    paths(
        openai::chat::create,
        openai::embeddings::create,
        openai::rerank::create,
        openai::responses::create,
        openai::responses::get,
        openai::responses::cancel,
        openai::responses::delete,
        openai::models::list,
        openai::models::get,
        requests::create,
        cloud_events::create,
        executions::list,
        executions::get,
        crate::bulk::cancel,
        crate::bulk::pause,
        crate::bulk::resume,
        crate::bulk_again::retry,
        crate::bulk_again::restart,
        steering::cancel,
        steering::pause,
        steering::resume,
        steering::signal,
        running::start,
        crate::again::retry,
        crate::again::restart,
        events::get,
        crate::steps::list,
        crate::steps::get,
        crate::steps::why,
        crate::values::get,
        definitions::models::list,
        definitions::models::get,
        definitions::models::put,
        definitions::models::delete,
        definitions::models::versions,
        definitions::models::version,
        definitions::workflows::list,
        definitions::workflows::get,
        definitions::workflows::put,
        definitions::workflows::delete,
        definitions::workflows::versions,
        definitions::workflows::version,
        definitions::views::graph,
        definitions::views::diff,
        definitions::aliases::list,
        definitions::aliases::get,
        definitions::aliases::put,
        definitions::aliases::delete,
        definitions::compile::post,
        definitions::schedules::list,
        definitions::schedules::get,
        definitions::schedules::put,
        definitions::schedules::delete,
        definitions::schedules::versions,
        definitions::schedules::version,
        schedules::next,
        schedules::pause,
        schedules::resume,
        schedules::trigger,
        schedules::backfill,
        health::live,
        health::ready,
        health::metrics,
        openapi,
        asyncapi,
        page::get,
        crate::page::get,
        sockets::open,
        sockets::ticket,
    ),
    tags(
        (name = "openai", description = "As OpenAI has them, and rerank"),
        (name = "executions", description = "Requests and what becomes of them"),
        (name = "definitions", description = "Models, workflows and schedules"),
        (name = "schedules", description = "What steers a schedule that stands"),
        (name = "push", description = "The WebSocket, where this process has the role `push`"),
        (name = "operation", description = "Probes, metrics, documents")
    ),
    modifiers(&Key)
)]
struct Api;

/// The scheme `key`: `Authorization: Bearer sk-ss-…`.
struct Key;

impl Modify for Key {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key; it decides the tenant and what is allowed"))
            .build();
        let components = api.components.get_or_insert_with(Default::default);
        components.add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

/// Schemas of what clients send, by name. They say more than a type can, and much of it has no type here,
/// since it passes verbatim.
const BODIES: &str = include_str!("bodies.json");

/// The OpenAPI document.
pub(crate) fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
        let mut document = serde_json::to_value(Api::openapi()).expect("a document is JSON");
        let bodies: Map<String, Value> = serde_json::from_str(BODIES).expect("schemas are JSON");
        if let Value::Object(schemas) = &mut document["components"]["schemas"] {
            schemas.extend(bodies);
            schemas.insert("ScheduleDefinition".to_owned(), schedule());
        }
        without_null(&mut document);
        document
    });
    &DOCUMENT
}

/// The schema of schedules, which editors have as well.
fn schedule() -> Value {
    let mut schema: Value = serde_json::from_str(SCHEDULE).expect("the schema is JSON");
    if let Value::Object(map) = &mut schema {
        map.retain(|name, _| !name.starts_with('$'));
        let example = json!({
            "workflow": "nightly-report", "cron": "0 2 * * *", "timeZone": "Europe/Berlin",
        });
        map.insert("example".to_owned(), example);
    }
    schema
}

/// Headers that have one value.
const ONLY: [(&str, &str); 3] = [
    ("If-None-Match", "*"),
    ("ce-specversion", "1.0"),
    ("ce-type", "io.stepstream.v1.ModelRequest"),
];

/// A parameter may be left out, but it is never null.
fn without_null(document: &mut Value) {
    let list = |value: &mut Value, at: &str, keep: fn(&Value) -> bool| {
        if let Some(Value::Array(items)) = value.pointer_mut(at) {
            items.retain(keep);
        }
    };
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    let operations = paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    let parameters = operations.filter_map(|operation| operation.pointer_mut("/parameters"));
    for parameter in parameters.filter_map(Value::as_array_mut).flatten() {
        list(parameter, "/schema/type", |kind| kind != "null");
        if let Some(kind) = parameter.pointer_mut("/schema/type")
            && let Some([only]) = kind.as_array().map(Vec::as_slice)
        {
            *kind = only.clone();
        }
        list(parameter, "/schema/oneOf", |choice| choice["type"] != "null");
        let only = ONLY.iter().find(|(name, _)| parameter["name"] == *name);
        if let Some((_, value)) = only {
            parameter["schema"] = json!({"type": "string", "enum": [value]});
        }
    }
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "operation",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Map<String, Value>))
)]
pub(crate) async fn openapi() -> Json<&'static Value> {
    Json(document())
}

/// The topics and records, for publishers and readers.
#[utoipa::path(
    get, path = "/asyncapi.json", tag = "operation",
    responses((status = 200, description = "AsyncAPI 3", body = serde_json::Map<String, Value>))
)]
pub(crate) async fn asyncapi(State(app): State<App>) -> Json<Value> {
    let options = &app.options;
    Json(schemas::asyncapi::asyncapi(&options.topic_prefix, &options.brokers))
}

/// The header for "the same request again".
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by name where it is needed; here for the document")]
pub(crate) struct IdempotencyKey {
    /// The same key of the same tenant with the same request is the same execution, and the answer has
    /// `idempotent-replayed`; with another request it is refused.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
    idempotency_key: Option<String>,
}

/// How reading on OpenAI's routes can fail.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum OpenAiReadErrors {
    /// The path is not UTF-8
    #[response(status = 400)]
    Invalid(OpenAiError),
    /// No key, or not a valid one
    #[response(status = 401)]
    Unauthenticated(OpenAiError),
    /// The key lacks the scope
    #[response(status = 403)]
    Forbidden(OpenAiError),
    /// The key asks more often than it may
    #[response(status = 429)]
    RateLimited(OpenAiError),
}

/// How asking a model can fail.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum ModelRouteErrors {
    /// The request is wrong, too long for the model, or against the provider's policy
    #[response(status = 400)]
    Invalid(OpenAiError),
    /// No key, or not a valid one
    #[response(status = 401)]
    Unauthenticated(OpenAiError),
    /// The key lacks the scope
    #[response(status = 403)]
    Forbidden(OpenAiError),
    /// There is no such model
    #[response(status = 404)]
    NotFound(OpenAiError),
    /// The body took too long to arrive
    #[response(status = 408)]
    SlowBody(OpenAiError),
    /// The execution was cancelled, or the response to go on from has no answer
    #[response(status = 409)]
    Cancelled(OpenAiError),
    /// The body is too large
    #[response(status = 413)]
    TooLarge(OpenAiError),
    /// The body is not application/json
    #[response(status = 415)]
    MediaType(OpenAiError),
    /// The idempotency key was used for another request
    #[response(status = 422)]
    Reused(OpenAiError),
    /// The provider limits the rate, or the key asks more often than it may
    #[response(status = 429)]
    RateLimited(OpenAiError),
    /// Our own fault
    #[response(status = 500)]
    Internal(OpenAiError),
    /// The provider failed
    #[response(status = 502)]
    Provider(OpenAiError),
    /// A dependency is away
    #[response(status = 503)]
    Away(OpenAiError),
    /// No answer in time; `x-execution-id` says where to fetch it
    #[response(status = 504)]
    Waiting(OpenAiError),
}

/// How a list can fail.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum PlainErrors {
    /// No key, or not a valid one
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(ProblemDetails),
    /// The key lacks the scope
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(ProblemDetails),
    /// The key asks more often than it may
    #[response(status = 429, content_type = "application/problem+json")]
    RateLimited(ProblemDetails),
}

/// How looking something up can fail.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum ReadErrors {
    /// Something in the request is wrong; `place` says what
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(ProblemDetails),
    /// No key, or not a valid one
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(ProblemDetails),
    /// The key lacks the scope
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(ProblemDetails),
    /// There is none, or it is another tenant's
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(ProblemDetails),
    /// A dependency is away
    #[response(status = 503, content_type = "application/problem+json")]
    Away(ProblemDetails),
    /// The key asks more often than it may
    #[response(status = 429, content_type = "application/problem+json")]
    RateLimited(ProblemDetails),
}

/// How writing something can fail.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum WriteErrors {
    /// Something in the request is wrong; `place` says what
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(ProblemDetails),
    /// No key, or not a valid one
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(ProblemDetails),
    /// The key lacks the scope, or belongs to another tenant
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(ProblemDetails),
    /// The body took too long to arrive
    #[response(status = 408, content_type = "application/problem+json")]
    SlowBody(ProblemDetails),
    /// The body is too large
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(ProblemDetails),
    /// The body is not application/json
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(ProblemDetails),
    /// A dependency is away
    #[response(status = 503, content_type = "application/problem+json")]
    Away(ProblemDetails),
    /// The key asks more often than it may
    #[response(status = 429, content_type = "application/problem+json")]
    RateLimited(ProblemDetails),
}

/// How starting something can fail, beside [`WriteErrors`].
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum StartErrors {
    /// The idempotency key or the id was used for another request
    #[response(status = 422, content_type = "application/problem+json")]
    Reused(ProblemDetails),
}

/// How a list with a filter can fail.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum ListErrors {
    /// Something in the request is wrong; `place` says what
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(ProblemDetails),
    /// No key, or not a valid one
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(ProblemDetails),
    /// The key lacks the scope
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(ProblemDetails),
    /// The key asks more often than it may
    #[response(status = 429, content_type = "application/problem+json")]
    RateLimited(ProblemDetails),
    /// A dependency is away
    #[response(status = 503, content_type = "application/problem+json")]
    Away(ProblemDetails),
}
