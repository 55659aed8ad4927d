//! `POST /v1/requests`: a model request as it would stand on the topic, answered with 202 at once.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use domain::request::{JSON, ModelRequest, Operation};
use domain::time::Millis;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::auth::{Caller, Start};
use crate::body::{JsonText, parse};
use crate::call::accepted;
use crate::docs::shapes::ProblemDetails;
use crate::fault::{Fault, Problem};
use crate::openai::{derived_id, idempotency_key, known_model};
use crate::publish::new_id;
use crate::trace::Trace;
use crate::view::{Accepted, Links, location};
use crate::{App, shape};

/// A request for work. Only `model` and `body` are required.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Submitted {
    /// The id of the execution. Without one it is derived from the idempotency key, else made.
    #[schema(min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    id: Option<String>,
    /// Must be the key's own tenant when it is given.
    tenant: Option<String>,
    /// "The same request again": as the header `Idempotency-Key`.
    #[schema(min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    idempotency_key: Option<String>,
    /// Higher goes first where calls queue.
    #[serde(default)]
    priority: i32,
    /// No answer is wanted after this: milliseconds since the epoch.
    deadline: Option<i64>,
    /// Not to be started before this: milliseconds since the epoch.
    not_before: Option<i64>,
    /// Copied to the execution log.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Alias of a model definition.
    #[schema(min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    model: String,
    /// `chat`, `text_completion`, `embeddings` or `rerank`.
    #[serde(default)]
    #[schema(value_type = crate::docs::shapes::OperationName, required = false)]
    operation: Operation,
    /// The OpenAI-shaped JSON of the operation: an object, or a string that holds one.
    #[schema(value_type = serde_json::Map<String, serde_json::Value>)]
    body: Box<RawValue>,
    /// `application/json`, the default.
    body_media_type: Option<String>,
    /// Whether tokens are published as they come.
    #[serde(default)]
    stream: bool,
    /// Bound on the whole call, in milliseconds.
    #[schema(minimum = 1)]
    timeout_ms: Option<i64>,
}

/// Starts an execution and returns at once.
///
/// A look-up right after the 202 finds it. The same idempotency key gives the same execution: the first
/// request stands, whatever the later ones say.
#[utoipa::path(
    post,
    path = "/v1/requests",
    tag = "executions",
    params(crate::docs::IdempotencyKey),
    request_body = Submitted,
    responses(
        (
            status = 202, description = "It stands", body = Accepted,
            headers(("location" = String, description = "Path of the execution"))
        ),
        (status = 404, description = "There is no such model", body = ProblemDetails, content_type = "application/problem+json"),
        crate::docs::WriteErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller<Start, Problem>,
    Extension(trace): Extension<Trace>,
    headers: HeaderMap,
    body: JsonText<Problem>,
) -> Result<Response, Problem> {
    let text = body.into_text();
    let request = read(&text, caller.tenant(), idempotency_key(&headers)?)?;
    known_model(&app, caller.tenant(), &request.model)?;
    app.publish_request(&request, &trace)
        .await
        .map_err(|error| error.into_fault(Some(&request.id)))?;
    if let Err(error) = app.store.put_accepted(accepted(&request)).await {
        // It stands in the topic: refusing it now would make the client send it twice.
        tracing::warn!(%error, "an accepted request can't be noted; its events will bring it");
    }
    let links = Links::of(&request.id);
    let location = [(LOCATION, location(&request.id))];
    let body = Json(Accepted { id: request.id, status: "accepted".into(), links });
    Ok((StatusCode::ACCEPTED, location, body).into_response())
}

/// Checks a request and fills in what was left out.
fn read(text: &str, tenant: &str, key: Option<String>) -> Result<ModelRequest, Fault> {
    let submitted: Submitted = parse(text)?;
    if submitted.tenant.as_deref().is_some_and(|named| named != tenant) {
        return Err(Fault::Forbidden("the API key belongs to another tenant".into()));
    }
    let media_type = submitted.body_media_type.unwrap_or_else(|| JSON.into());
    if media_type != JSON {
        return Err(Fault::invalid("body_media_type", format!("must be `{JSON}`")));
    }
    let key = match (key, submitted.idempotency_key) {
        (Some(header), Some(field)) if header != field => {
            let problem = "differs from the header `Idempotency-Key`";
            return Err(Fault::invalid("idempotency_key", problem));
        }
        (header, field) => header.or(field),
    };
    if let Some(key) = &key {
        domain::id::check(key).map_err(|why| Fault::invalid("idempotency_key", why.to_string()))?;
    }
    if let Some(id) = &submitted.id {
        domain::id::check(id).map_err(|why| Fault::invalid("id", why.to_string()))?;
    }
    let model = shape::model(&submitted.model.into(), "model")?;
    shape::labels(submitted.labels.iter())?;
    if submitted.timeout_ms.is_some_and(|timeout| timeout <= 0) {
        return Err(Fault::invalid("timeout_ms", "must be at least 1"));
    }
    for (field, time) in [("deadline", submitted.deadline), ("not_before", submitted.not_before)] {
        if time.is_some_and(|time| time < 0) {
            return Err(Fault::invalid(field, "must not be negative"));
        }
    }
    let body = inner(&submitted.body)?;
    shape::check_nested(submitted.operation, &parse(&body)?)?;
    let id = submitted
        .id
        .or_else(|| key.as_deref().map(|key| derived_id(tenant, key)))
        .unwrap_or_else(new_id);
    Ok(ModelRequest {
        tenant: tenant.to_owned(),
        idempotency_key: key,
        priority: submitted.priority,
        deadline: submitted.deadline.map(Millis),
        not_before: submitted.not_before.map(Millis),
        labels: submitted.labels,
        operation: submitted.operation,
        body_media_type: media_type,
        stream: submitted.stream,
        timeout_ms: submitted.timeout_ms,
        ..ModelRequest::new(id, model, body)
    })
}

/// The body as JSON text: an object as it came, or what a string holds.
fn inner(body: &RawValue) -> Result<String, Fault> {
    let text = body.get();
    if !text.starts_with('"') {
        return Ok(text.to_owned());
    }
    let held: String = parse(text)?;
    crate::body::check_depth(&held)?;
    serde_json::from_str::<&RawValue>(&held)
        .map_err(|error| Fault::invalid("body", format!("holds no JSON: {error}")))?;
    Ok(held)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn minimal() -> Value {
        json!({"model": "fast", "body": {"messages": [{"role": "user", "content": "hi"}]}})
    }

    fn with(field: &str, value: Value) -> String {
        let mut request = minimal();
        request[field] = value;
        request.to_string()
    }

    #[test]
    fn only_model_and_body_are_required() {
        let request = read(&minimal().to_string(), "acme", None).unwrap();
        assert_eq!(request.tenant, "acme");
        assert_eq!(request.body, r#"{"messages":[{"role":"user","content":"hi"}]}"#);
        assert_eq!((request.operation, request.stream), (Operation::Chat, false));
        let text = with("body", json!(r#"{"messages": [{"role": "user"}], "x": 1.50}"#));
        let request = read(&text, "acme", None).unwrap();
        assert_eq!(request.body, r#"{"messages": [{"role": "user"}], "x": 1.50}"#);
    }

    #[test]
    fn same_key_of_the_same_tenant_is_the_same_execution() {
        let id = |tenant: &str, text: &str, key: Option<&str>| {
            read(text, tenant, key.map(str::to_owned)).unwrap().id
        };
        let plain = minimal().to_string();
        let first = id("acme", &plain, Some("k"));
        assert_eq!(first, id("acme", &with("idempotency_key", json!("k")), None));
        assert_ne!(first, id("other", &plain, Some("k")));
        assert_ne!(first, id("acme", &plain, Some("l")));
        assert_ne!(id("acme", &plain, None), id("acme", &plain, None));
        assert_eq!(id("acme", &with("id", json!("mine")), Some("k")), "mine");
    }

    #[test]
    fn wrong_request_is_refused_at_its_place() {
        for (field, value, place) in [
            ("id", json!(""), "id"),
            ("id", json!("a\u{1f}b"), "id"),
            ("id", json!("x".repeat(257)), "id"),
            ("idempotency_key", json!("\n"), "idempotency_key"),
            ("model", json!(""), "model"),
            ("timeout_ms", json!(0), "timeout_ms"),
            ("deadline", json!(-1), "deadline"),
            ("body_media_type", json!("text/plain"), "body_media_type"),
            ("body", json!("not json"), "body"),
            ("body", json!([]), "body"),
            ("body", json!({}), "body.messages"),
            ("labels", json!({"": "x"}), "labels (entry 0)"),
            ("origin", json!({"kind": "workflow"}), "origin"),
            ("priority", json!("high"), "priority"),
        ] {
            match read(&with(field, value.clone()), "acme", None) {
                Err(Fault::Invalid { place: got, .. }) => {
                    assert_eq!(got, place, "{field}: {value}")
                }
                other => panic!("{field}: {value}: {other:?}"),
            }
        }
    }

    #[test]
    fn tenant_comes_from_the_key_only() {
        assert!(read(&with("tenant", json!("acme")), "acme", None).is_ok());
        let refused = read(&with("tenant", json!("victim")), "acme", None);
        assert!(matches!(refused, Err(Fault::Forbidden(_))));
    }
}
