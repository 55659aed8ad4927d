//! The routes that an unmodified OpenAI client uses, and rerank beside them.
//!
//! Bodies pass verbatim to the provider and back. Here they are only checked, published and waited for.

mod assembly;
pub(crate) mod chat;
pub(crate) mod embeddings;
pub(crate) mod models;
pub(crate) mod rerank;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use domain::catalogue::DefinitionKind;
use domain::request::{ModelRequest, Operation};
use tokio::time::Instant;

use crate::App;
use crate::call::{Call, Novelty};
use crate::fault::{EXECUTION_ID, Fault};
use crate::publish::new_id;
use crate::shape::{Output, Shape};
use crate::trace::Trace;

/// A model request of this tenant, and whether it may be a repetition.
pub(crate) fn request(
    app: &App,
    tenant: &str,
    headers: &HeaderMap,
    operation: Operation,
    shape: &Shape,
    body: String,
) -> Result<(ModelRequest, Novelty), Fault> {
    known_model(app, tenant, &shape.model)?;
    let key = idempotency_key(headers)?;
    let (id, novelty) = match &key {
        Some(key) => (derived_id(tenant, key), Novelty::Maybe),
        None => (new_id(), Novelty::New),
    };
    let request = ModelRequest {
        tenant: tenant.to_owned(),
        idempotency_key: key,
        operation,
        stream: matches!(shape.output, Output::Stream(_)),
        ..ModelRequest::new(id, shape.model.clone(), body)
    };
    Ok((request, novelty))
}

/// Refuses a model that the catalogue doesn't have, so that a typing error is answered at once.
pub(crate) fn known_model(app: &App, tenant: &str, model: &str) -> Result<(), Fault> {
    match app.definitions.snapshot().newest(DefinitionKind::Model, tenant, model) {
        Some(_) => Ok(()),
        None => Err(Fault::NotFound { what: "model", name: model.to_owned() }),
    }
}

/// The longest key of a client for "the same request again", in bytes.
const MAX_IDEMPOTENCY_KEY_BYTES: usize = 256;

/// The `Idempotency-Key` header.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let wrong = |problem: &str| Fault::invalid("Idempotency-Key", problem);
    let key = value.to_str().map_err(|_| wrong("must be visible ASCII"))?;
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY_BYTES {
        return Err(wrong(&format!("must have 1 to {MAX_IDEMPOTENCY_KEY_BYTES} bytes")));
    }
    Ok(Some(key.to_owned()))
}

/// The id of the execution that this key of this tenant stands for.
pub(crate) fn derived_id(tenant: &str, key: &str) -> String {
    domain::id::derived(tenant, &format!("idempotency-key:{key}"), 1)
}

/// Publishes, and waits for the answer in one piece.
async fn whole(
    app: &App,
    request: &ModelRequest,
    novelty: Novelty,
    trace: &Trace,
) -> Result<(String, String), Fault> {
    let deadline = Instant::now() + app.options.wait;
    let mut call = Call::start(app, request, novelty, trace).await?;
    let answer = call.answer(deadline).await?.into_output(call.id())?;
    Ok((answer, request.id.clone()))
}

/// A provider's JSON as an answer, with the execution's id beside it.
fn verbatim(answer: String, execution: &str) -> Response {
    let mut response = answer.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(id) = HeaderValue::from_str(execution) {
        headers.insert(EXECUTION_ID, id);
    }
    response
}
