//! `POST /v1/requests`: a model request as it would stand on the topic, answered with 202 at once.
#![allow(unused_qualifications, reason = "the macro of the document writes them")]

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use domain::request::{JSON, ModelRequest, Operation};
use domain::time::Millis;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::IntoParams;

use crate::auth::{Caller, Start};
use crate::body::{JsonText, parse};
use crate::call::Call;
use crate::docs::shapes::ProblemDetails;
use crate::executions::{find, whole};
use crate::fault::{Fault, Problem};
use crate::openai::known_model;
use crate::publish::new_id;
use crate::start::{Findable, Intent, Note, Novelty, Orphan, hash, idempotency_key};
use crate::trace::Trace;
use crate::view::{Accepted, ExecutionView, Links, location};
use crate::{App, ids, shape, waiting};

/// The longest timeout that a request may ask for: a day, as admission has it.
const MAX_TIMEOUT_MS: i64 = 24 * 60 * 60 * 1_000;

/// The latest time that a request may name, in milliseconds since the epoch: the end of the year 9999.
const MAX_TIME_MS: i64 = 253_402_300_799_999;

/// A request for work. Only `model` and `body` are required.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Submitted {
    id: Option<String>,
    tenant: Option<String>,
    idempotency_key: Option<String>,
    priority: Option<i32>,
    deadline: Option<i64>,
    not_before: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    model: String,
    operation: Option<Operation>,
    body: Box<RawValue>,
    body_media_type: Option<String>,
    stream: Option<bool>,
    timeout_ms: Option<i64>,
}

/// How long to wait.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Waiting {
    /// How long to wait for the end, e.g. `30s`, `500ms` or `2m`; without it the answer comes at once.
    #[param(pattern = r"^[0-9]{1,6}(ms|s|m)$")]
    wait: Option<String>,
}

impl Waiting {
    /// How long to wait; not at all unless it was asked for.
    pub(crate) fn duration(&self, app: &App) -> Result<Duration, Fault> {
        let wait = self.wait.as_deref();
        wait.map_or(Ok(Duration::ZERO), |wait| waiting::duration(wait, app.options.wait))
    }
}

/// Starts an execution and returns at once, or when it has ended.
///
/// A look-up right after the 202 finds it. The same idempotency key, or the same id, with the same request
/// gives the same execution, and the header `idempotent-replayed`; with another request it is refused. With
/// `?wait=30s` the answer is 200 with the execution if it ends in that time, else 202 all the same.
/// `not_before` delays the start; where calls queue, a higher `priority` goes first.
#[utoipa::path(
    post,
    path = "/v1/requests",
    tag = "executions",
    params(crate::docs::IdempotencyKey, Waiting),
    request_body = crate::docs::shapes::Submitted,
    responses(
        (status = 200, description = "It ended while it was waited for", body = ExecutionView),
        (
            status = 202, description = "It stands", body = Accepted,
            headers(("location" = String, description = "Path of the execution"))
        ),
        (status = 404, description = "There is no such model", body = ProblemDetails, content_type = "application/problem+json"),
        crate::docs::StartErrors,
        crate::docs::WriteErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller<Start, Problem>,
    Extension(trace): Extension<Trace>,
    query: Result<Query<Waiting>, QueryRejection>,
    headers: HeaderMap,
    body: JsonText<Problem>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Fault::invalid("query", error.body_text()))?;
    let wait = query.duration(&app)?;
    let asked = read(&body.into_text(), caller.tenant(), idempotency_key(&headers)?)?;
    known_model(&app, caller.tenant(), &asked.request.model)?;
    answer(&app, asked.into_intent(), wait, &trace).await
}

/// Starts what is intended, and says so at once or when it has ended.
pub(crate) async fn answer(
    app: &App,
    intent: Intent,
    wait: Duration,
    trace: &Trace,
) -> Result<Response, Problem> {
    let (id, tenant) = (intent.request.id().to_owned(), intent.request.tenant());
    let (standing, ended) = if wait.is_zero() {
        (app.start(&intent, trace).await?, None)
    } else {
        let call = Call::start(app, &intent, trace).await?;
        let standing = call.standing().clone();
        match find(app, tenant, &id).await? {
            Some(known) => (standing, Some(waiting::finish(call, known, wait).await)),
            None => (standing, None),
        }
    };
    let location = [(LOCATION, location(&id))];
    let mut response = match ended.filter(|execution| execution.status.is_terminal()) {
        Some(ended) => {
            let ended = ExecutionView::from(whole(app, ended).await?);
            (StatusCode::OK, location, Json(ended)).into_response()
        }
        None => (StatusCode::ACCEPTED, location, Json(taken(id))).into_response(),
    };
    standing.mark(&mut response);
    Ok(response)
}

/// A model request that is to be started, and is not waited for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: ModelRequest,
    pub(crate) novelty: Novelty,
    pub(crate) note: Note,
}

impl Asked {
    pub(crate) fn into_intent(self) -> Intent {
        let Self { request, novelty, note } = self;
        let request = request.into();
        Intent { request, novelty, findable: Findable::AtOnce, orphan: Orphan::Kept, note }
    }
}

/// What is said of a request that stands.
pub(crate) fn taken(id: String) -> Accepted {
    let links = Links::of(&id);
    Accepted { id, status: "accepted".into(), links }
}

/// Checks a request and fills in what was left out.
pub(crate) fn read(text: &str, tenant: &str, key: Option<String>) -> Result<Asked, Fault> {
    let submitted: Submitted = parse(text)?;
    if submitted.tenant.as_deref().is_some_and(|named| named != tenant) {
        return Err(Fault::Forbidden("the API key belongs to another tenant".into()));
    }
    let media_type = submitted.body_media_type.unwrap_or_else(|| JSON.into());
    if media_type != JSON {
        return Err(Fault::invalid("body_media_type", format!("must be `{JSON}`")));
    }
    let key = one_key(key, submitted.idempotency_key)?;
    if let Some(id) = &submitted.id {
        ids::check(tenant, id)?;
    }
    let model = shape::model(&submitted.model.into(), "model")?;
    let labels = submitted.labels.unwrap_or_default();
    shape::labels("labels", labels.iter())?;
    times(submitted.timeout_ms, submitted.deadline, submitted.not_before)?;
    let operation = submitted.operation.unwrap_or_default();
    let body = inner(&submitted.body)?;
    shape::check_nested(operation, &parse(&body)?)?;
    let chosen = submitted.id.or_else(|| key.as_deref().map(|key| ids::of_key(tenant, key)));
    let mut asked: Value = parse(text)?;
    asked.as_object_mut().map(|asked| asked.shift_remove("idempotency_key"));
    let (novelty, note) = match &chosen {
        Some(_) => {
            let hash = Some(hash("requests", &asked));
            (Novelty::Maybe, Note { hash, ..Note::default() })
        }
        None => (Novelty::New, Note::default()),
    };
    let request = ModelRequest {
        tenant: tenant.to_owned(),
        idempotency_key: key,
        priority: submitted.priority.unwrap_or_default(),
        deadline: submitted.deadline.map(Millis),
        not_before: submitted.not_before.map(Millis),
        labels,
        operation,
        body_media_type: media_type,
        stream: submitted.stream.unwrap_or_default(),
        timeout_ms: submitted.timeout_ms,
        ..ModelRequest::new(chosen.unwrap_or_else(new_id), model, body)
    };
    Ok(Asked { request, novelty, note })
}

/// The client's key, in the header or in the body.
pub(crate) fn one_key(
    header: Option<String>,
    field: Option<String>,
) -> Result<Option<String>, Fault> {
    if header.is_some() && field.is_some() && header != field {
        let problem = "differs from the header `Idempotency-Key`";
        return Err(Fault::invalid("idempotency_key", problem));
    }
    let key = header.or(field);
    if let Some(key) = &key {
        domain::id::check(key).map_err(|why| Fault::invalid("idempotency_key", why.to_string()))?;
    }
    Ok(key)
}

/// Checks what admission would refuse, so that it is answered at once.
pub(crate) fn times(
    timeout: Option<i64>,
    deadline: Option<i64>,
    start: Option<i64>,
) -> Result<(), Fault> {
    if timeout.is_some_and(|timeout| !(1..=MAX_TIMEOUT_MS).contains(&timeout)) {
        return Err(Fault::invalid("timeout_ms", format!("must be 1 to {MAX_TIMEOUT_MS}")));
    }
    for (field, time) in [("deadline", deadline), ("not_before", start)] {
        if time.is_some_and(|time| !(0..=MAX_TIME_MS).contains(&time)) {
            return Err(Fault::invalid(field, format!("must be 0 to {MAX_TIME_MS}")));
        }
    }
    match (start, deadline) {
        (Some(start), Some(end)) if start >= end => {
            Err(Fault::invalid("not_before", "must be before the deadline"))
        }
        _ => Ok(()),
    }
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
        let request = read(&minimal().to_string(), "acme", None).unwrap().request;
        assert_eq!(request.tenant, "acme");
        assert_eq!(request.body, r#"{"messages":[{"role":"user","content":"hi"}]}"#);
        assert_eq!((request.operation, request.stream), (Operation::Chat, false));
        let text = with("body", json!(r#"{"messages": [{"role": "user"}], "x": 1.50}"#));
        let request = read(&text, "acme", None).unwrap().request;
        assert_eq!(request.body, r#"{"messages": [{"role": "user"}], "x": 1.50}"#);
    }

    #[test]
    fn same_key_of_the_same_tenant_is_the_same_execution() {
        let id = |tenant: &str, text: &str, key: Option<&str>| {
            read(text, tenant, key.map(str::to_owned)).unwrap().request.id
        };
        let plain = minimal().to_string();
        let first = id("acme", &plain, Some("k"));
        assert_eq!(first, id("acme", &with("idempotency_key", json!("k")), None));
        assert_ne!(first, id("other", &plain, Some("k")));
        assert_ne!(first, id("acme", &plain, Some("l")));
        assert_ne!(id("acme", &plain, None), id("acme", &plain, None));
        assert_eq!(id("acme", &with("id", json!("acme/1")), Some("k")), "acme/1");
        assert_eq!(id("default", &with("id", json!("mine")), None), "mine");
    }

    #[test]
    fn wrong_request_is_refused_at_its_place() {
        for (field, value, place) in [
            ("id", json!(""), "id"),
            ("id", json!("a\u{1f}b"), "id"),
            ("id", json!("x".repeat(257)), "id"),
            ("idempotency_key", json!("\n"), "idempotency_key"),
            ("model", json!(""), "model"),
            ("id", json!("theirs/1"), "id"),
            ("id", json!("nobodys"), "id"),
            ("timeout_ms", json!(0), "timeout_ms"),
            ("timeout_ms", json!(MAX_TIMEOUT_MS + 1), "timeout_ms"),
            ("not_before", json!(MAX_TIME_MS + 1), "not_before"),
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
