//! The routes that an unmodified OpenAI client uses, and rerank beside them.
//!
//! Bodies pass verbatim to the provider and back. Here they are only checked, published and waited for.

mod assembly;
pub(crate) mod chat;
pub(crate) mod embeddings;
pub(crate) mod models;
pub(crate) mod rerank;
pub(crate) mod responses;
mod sent;
pub(crate) mod telling;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use domain::catalogue::DefinitionKind;
use domain::request::{ModelRequest, Operation};
use serde_json::Value;
use tokio::time::Instant;

use self::sent::Diverged;
use crate::call::Call;
use crate::fault::{Fault, name_execution};
use crate::publish::new_id;
use crate::shape::{Output, Shape};
use crate::start::{self, Findable, Intent, Note, Novelty, Orphan, Standing};
use crate::trace::Trace;
use crate::{App, metrics as names};

/// A model request of this tenant, and whether it may be a repetition. `asked` is what the client sent.
pub(crate) fn intent(
    app: &App,
    tenant: &str,
    headers: &HeaderMap,
    (operation, shape): (Operation, &Shape),
    asked: &Value,
    body: String,
) -> Result<Intent, Fault> {
    known_model(app, tenant, &shape.model)?;
    let key = start::idempotency_key(headers)?;
    let request = ModelRequest {
        tenant: tenant.to_owned(),
        operation,
        stream: matches!(shape.output, Output::Stream(_)),
        ..ModelRequest::new(new_id(), shape.model.clone(), body)
    };
    Ok(named(request, key, operation.as_str(), asked))
}

/// A request under the client's own name for it, where there is one.
pub(crate) fn named(
    mut request: ModelRequest,
    key: Option<String>,
    route: &str,
    asked: &Value,
) -> Intent {
    let (mut novelty, mut note) = (Novelty::New, Note::default());
    if let Some(key) = key {
        request.id = crate::ids::of_key(&request.tenant, &key);
        request.idempotency_key = Some(key);
        novelty = Novelty::Maybe;
        note.hash = Some(start::hash(route, asked));
    }
    let request = request.into();
    Intent { request, novelty, findable: Findable::Later, orphan: Orphan::Cancelled, note }
}

/// Refuses a model that the catalogue doesn't have, so that a typing error is answered at once.
pub(crate) fn known_model(app: &App, tenant: &str, model: &str) -> Result<(), Fault> {
    match app.definitions.snapshot().newest(DefinitionKind::Model, tenant, model) {
        Some(_) => Ok(()),
        None => Err(Fault::NotFound { what: "model", name: model.to_owned() }),
    }
}

/// Starts, and waits for the answer in one piece.
async fn whole(app: &App, intent: &Intent, trace: &Trace) -> Result<Whole, Fault> {
    let deadline = Instant::now() + app.options.wait;
    let mut call = Call::start(app, intent, trace).await?;
    let answer = call.answer(deadline).await?.into_output(call.id())?;
    Ok(Whole {
        answer,
        execution: intent.request.id().to_owned(),
        standing: call.standing().clone(),
    })
}

/// An answer in one piece.
struct Whole {
    /// As the provider gave it.
    answer: String,
    execution: String,
    standing: Standing,
}

impl Whole {
    /// The provider's JSON as it is.
    fn into_response(self) -> Response {
        let mut response = verbatim(self.answer, &self.execution);
        self.standing.mark(&mut response);
        response
    }
}

/// What was sent of this execution differs from what is said now.
fn diverged(execution: &str, why: Diverged) -> Fault {
    ::metrics::counter!(names::DIVERGED).increment(1);
    Fault::Diverged { execution: execution.to_owned(), why: why.to_string() }
}

/// A provider's JSON as an answer, with the execution's id beside it.
fn verbatim(answer: String, execution: &str) -> Response {
    let mut response = answer.into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    name_execution(&mut response, execution);
    response
}
