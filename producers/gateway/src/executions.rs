//! `GET /v1/executions/{id}` and what steers an execution.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use domain::fact::Order;
use store::Execution;

use crate::App;
use crate::auth::{Caller, See, Steer};
use crate::docs::shapes::ProblemDetails;
use crate::fault::{Fault, Problem};
use crate::trace::Trace;
use crate::view::{Accepted, ExecutionView, Links};

/// What a path's last segment ends with to cancel.
pub(crate) const CANCEL: &str = ":cancel";

/// An id in a path, checked.
pub(crate) fn id(path: Result<Path<String>, PathRejection>) -> Result<String, Fault> {
    let Path(id) = path.map_err(|_| Fault::invalid("id", "is not UTF-8"))?;
    domain::id::check(&id).map_err(|why| Fault::invalid("id", why.to_string()))?;
    Ok(id)
}

/// The tenant's execution with this id.
pub(crate) async fn find(app: &App, tenant: &str, id: &str) -> Result<Option<Execution>, Fault> {
    app.store.execution(tenant, id).await.map_err(|error| {
        tracing::warn!(%error, "the store can't be asked");
        Fault::Away { what: "the store", execution: None }
    })
}

/// One execution: how far it is, and its answer when it has one.
#[utoipa::path(
    get,
    path = "/v1/executions/{id}",
    tag = "executions",
    params(("id" = String, Path, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", description = "The execution")),
    responses(
        (status = 200, description = "The execution", body = ExecutionView),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller<See, Problem>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<ExecutionView>, Problem> {
    let id = id(path)?;
    match find(&app, caller.tenant(), &id).await? {
        Some(execution) => Ok(Json(execution.into())),
        None => Err(Problem(Fault::NotFound { what: "execution", name: id })),
    }
}

/// Ends an execution as cancelled. Its provider call is aborted; nothing new starts.
///
/// The 202 says that the command stands in the log; the execution's `execution.cancelled` says that it was
/// carried out. One that ended in the meantime stays as it ended.
#[utoipa::path(
    post,
    path = "/v1/executions/{id}:cancel",
    tag = "executions",
    params(("id" = String, Path, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", description = "The execution")),
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
) -> Result<Response, Problem> {
    // The router matches whole segments, so the verb comes with the id.
    let path = match path {
        Ok(Path(segment)) => match segment.strip_suffix(CANCEL) {
            Some(id) => Ok(Path(id.to_owned())),
            None => return Err(Problem(Fault::Method { allowed: "GET" })),
        },
        Err(wrong) => Err(wrong),
    };
    let id = id(path)?;
    let Some(execution) = find(&app, caller.tenant(), &id).await? else {
        return Err(Problem(Fault::NotFound { what: "execution", name: id }));
    };
    if execution.status.is_terminal() {
        return Err(Problem(Fault::Conflict {
            code: "already_ended",
            problem: format!("the execution has already ended: {}", execution.status.as_str()),
            version: None,
        }));
    }
    let order = Order::Cancel { reason: Some("asked for over HTTP".into()) };
    app.publish_command(execution.kind, &id, caller.tenant(), order, Some(&trace))
        .await
        .map_err(|error| error.into_fault(Some(&id)))?;
    let links = Links::of(&id);
    let status = execution.status.as_str().to_owned();
    Ok((StatusCode::ACCEPTED, Json(Accepted { id, status, links })).into_response())
}
