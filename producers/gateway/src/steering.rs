//! What steers an execution: `POST /v1/executions/{id}:cancel`, `:pause`, `:resume` and `:signal`.
//!
//! Each writes a command straight into the log of the execution. That it stands is what the answer says; what
//! came of it, the execution's events say.
#![allow(unused_qualifications, reason = "the macro of the document writes them")]

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use domain::fact::Order;
use domain::schedule::life;
use domain::topic::Kind;
use serde::Deserialize;
use serde_json::value::RawValue;
use store::Execution;
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::auth::{Caller, Steer};
use crate::body::{JsonText, parse};
use crate::docs::shapes::ProblemDetails;
use crate::executions::{find, id};
use crate::fault::{Fault, Problem};
use crate::trace::Trace;
use crate::verbs;
use crate::view::{Accepted, Links};

/// The longest reason of a cancel, in bytes.
const MAX_REASON_BYTES: usize = 1_024;
/// The longest payload of a signal, in bytes of JSON: what a step may give as well.
const MAX_PAYLOAD_BYTES: usize = domain::workflow::run::MAX_VALUE_BYTES;

/// Why an execution is cancelled.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Why {
    /// For people; it is in the execution's last event.
    #[param(min_length = 1, max_length = 1024)]
    reason: Option<String>,
}

/// Something that an execution is told.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signalled {
    /// The signal that a step waits for, or will.
    #[schema(min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    name: String,
    /// What it says, any JSON; null unless it is given.
    #[schema(value_type = Option<serde_json::Value>)]
    payload: Option<Box<RawValue>>,
}

/// Ends an execution as cancelled. What it asked for is aborted, what it did is undone where its definition
/// says how, and nothing new starts.
///
/// The 202 says that the command stands in the log; the execution's `execution.cancelled` says that it was
/// carried out. One that ended in the meantime stays as it ended.
#[utoipa::path(
    post,
    path = "/v1/executions/{id}:cancel",
    tag = "executions",
    params(
        ("id" = String, Path, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", description = "The execution"),
        Why,
    ),
    responses(
        (status = 202, description = "The command stands", body = Accepted),
        (status = 409, description = "The execution has already ended", body = ProblemDetails, content_type = "application/problem+json"),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller<Steer, Problem>,
    Extension(trace): Extension<Trace>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Why>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Why { reason }) =
        query.map_err(|error| Fault::invalid("query", error.body_text()))?;
    if reason.as_ref().is_some_and(|it| it.is_empty() || it.len() > MAX_REASON_BYTES) {
        let problem = format!("must have 1 to {MAX_REASON_BYTES} bytes");
        return Err(Problem(Fault::invalid("reason", problem)));
    }
    let execution = running(&app, caller.tenant(), path, verbs::CANCEL).await?;
    if life::is_schedule(&execution.id) {
        return Err(Problem(Fault::Conflict {
            code: "is_a_schedule",
            problem: "a schedule ends when its definition is deleted".into(),
            version: None,
        }));
    }
    let reason = reason.unwrap_or_else(|| "asked for over HTTP".into());
    command(&app, execution, Order::Cancel { reason: Some(reason) }, &trace).await
}

/// Holds an execution: what has begun may end, nothing new begins, until it is resumed.
#[utoipa::path(
    post,
    path = "/v1/executions/{id}:pause",
    tag = "executions",
    params(("id" = String, Path, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", description = "The execution")),
    responses(
        (status = 202, description = "The command stands", body = Accepted),
        (status = 409, description = "The execution has already ended", body = ProblemDetails, content_type = "application/problem+json"),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn pause(
    State(app): State<App>,
    caller: Caller<Steer, Problem>,
    Extension(trace): Extension<Trace>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let execution = running(&app, caller.tenant(), path, verbs::PAUSE).await?;
    command(&app, execution, Order::Pause, &trace).await
}

/// Lets an execution go on that was paused.
#[utoipa::path(
    post,
    path = "/v1/executions/{id}:resume",
    tag = "executions",
    params(("id" = String, Path, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", description = "The execution")),
    responses(
        (status = 202, description = "The command stands", body = Accepted),
        (status = 409, description = "The execution has already ended", body = ProblemDetails, content_type = "application/problem+json"),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn resume(
    State(app): State<App>,
    caller: Caller<Steer, Problem>,
    Extension(trace): Extension<Trace>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let execution = running(&app, caller.tenant(), path, verbs::RESUME).await?;
    command(&app, execution, Order::Resume, &trace).await
}

/// Tells an execution something that a step of it waits for, such as a person's approval.
///
/// One that comes before its step waits is kept until it does. A payload that doesn't fit the step's schema is
/// refused with the event `signal.refused`, and the step goes on waiting.
#[utoipa::path(
    post,
    path = "/v1/executions/{id}:signal",
    tag = "executions",
    params(("id" = String, Path, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", description = "The execution")),
    request_body = Signalled,
    responses(
        (status = 202, description = "The signal stands", body = Accepted),
        (status = 404, description = "There is no such execution", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "The execution has already ended, or takes no signals", body = ProblemDetails, content_type = "application/problem+json"),
        crate::docs::WriteErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn signal(
    State(app): State<App>,
    caller: Caller<Steer, Problem>,
    Extension(trace): Extension<Trace>,
    path: Result<Path<String>, PathRejection>,
    body: JsonText<Problem>,
) -> Result<Response, Problem> {
    let Signalled { name, payload } = parse(&body.into_text())?;
    domain::id::check(&name).map_err(|why| Fault::invalid("name", why.to_string()))?;
    let payload = payload.map(|payload| payload.get().to_owned());
    if payload.as_ref().is_some_and(|payload| payload.len() > MAX_PAYLOAD_BYTES) {
        return Err(Problem(Fault::TooLarge { limit: MAX_PAYLOAD_BYTES }));
    }
    let execution = running(&app, caller.tenant(), path, verbs::SIGNAL).await?;
    if execution.kind != Kind::Workflow {
        return Err(Problem(Fault::Conflict {
            code: "no_signals",
            problem: format!(
                "an execution of kind {} waits for no signal",
                execution.kind.as_str()
            ),
            version: None,
        }));
    }
    command(&app, execution, Order::Signal { name, payload }, &trace).await
}

/// The execution that a path with a verb names, as long as it hasn't ended.
async fn running(
    app: &App,
    tenant: &str,
    path: Result<Path<String>, PathRejection>,
    verb: &str,
) -> Result<Execution, Problem> {
    let id = id(verbs::without(path, verb)?)?;
    let Some(execution) = find(app, tenant, &id).await? else {
        return Err(Problem(Fault::NotFound { what: "execution", name: id }));
    };
    if execution.status.is_terminal() {
        return Err(Problem(Fault::Conflict {
            code: "already_ended",
            problem: format!("the execution has already ended: {}", execution.status.as_str()),
            version: None,
        }));
    }
    Ok(execution)
}

async fn command(
    app: &App,
    execution: Execution,
    order: Order,
    trace: &Trace,
) -> Result<Response, Problem> {
    let Execution { id, kind, tenant, status, .. } = execution;
    app.publish_command(kind, &id, &tenant, order, Some(trace))
        .await
        .map_err(|error| error.into_fault(Some(&id)))?;
    let (links, status) = (Links::of(&id), status.as_str().to_owned());
    Ok((StatusCode::ACCEPTED, Json(Accepted { id, status, links })).into_response())
}
