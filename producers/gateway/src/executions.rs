//! `GET /v1/executions`, `GET /v1/executions/{id}` and what steers an execution.
#![allow(unused_qualifications, reason = "the macro of the document writes them")]

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use domain::fact::Order;
use domain::schedule::life;
use domain::time::Millis;
use domain::topic::Kind;
use serde::Deserialize;
use store::{Cursor, Execution, Filter, Status};
use utoipa::IntoParams;

use crate::App;
use crate::auth::{Caller, See, Steer};
use crate::docs::shapes::ProblemDetails;
use crate::fault::{Fault, Problem};
use crate::trace::Trace;
use crate::view::{Accepted, ExecutionView, Executions, Links};
use crate::waiting;

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
    app.store.execution(tenant, id).await.map_err(|error| away(&error))
}

/// The execution with its answer, wherever that lies.
pub(crate) async fn whole(app: &App, mut execution: Execution) -> Result<Execution, Fault> {
    app.claims.fill_execution(&mut execution).await.map_err(|error| away(&error))?;
    Ok(execution)
}

/// How many executions a page has that doesn't say.
const PAGE: usize = 50;

/// Which executions are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Selection {
    /// Of this kind only.
    #[param(inline, value_type = Option<crate::docs::shapes::KindName>)]
    kind: Option<String>,
    /// With this status only.
    #[param(inline, value_type = Option<crate::docs::shapes::StatusName>)]
    status: Option<String>,
    /// Created at this time or later: milliseconds since the epoch.
    #[param(minimum = 0, maximum = 253_402_300_799_999_i64)]
    from: Option<i64>,
    /// Created before this time: milliseconds since the epoch.
    #[param(minimum = 0, maximum = 253_402_300_799_999_i64)]
    to: Option<i64>,
    /// The most of a page; 50 unless it is given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
}

/// The tenant's executions, newest first.
///
/// An answer above 256 KiB is not in the list: `output_claim` stands there for it, and the execution itself
/// has it.
///
/// A page may have fewer than `limit`, even none, and still a `next`: a rare status is looked for in bounded
/// steps. The last page's `next` is null.
#[utoipa::path(
    get,
    path = "/v1/executions",
    tag = "executions",
    params(Selection),
    responses(
        (status = 200, description = "A page", body = Executions),
        crate::docs::ListErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller<See, Problem>,
    query: Result<Query<Selection>, QueryRejection>,
) -> Result<Json<Executions>, Problem> {
    let Query(query) = query.map_err(|error| Fault::invalid("query", error.body_text()))?;
    let (filter, cursor) = selected(&query)?;
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=store::MAX_ROWS).contains(&limit) {
        let problem = format!("must be 1 to {}", store::MAX_ROWS);
        return Err(Problem(Fault::invalid("limit", problem)));
    }
    let page = app
        .store
        .list(caller.tenant(), &filter, cursor.as_ref(), limit)
        .await
        .map_err(|error| away(&error))?;
    Ok(Json(Executions {
        data: page.executions.into_iter().map(ExecutionView::from).collect(),
        next: page.next.map(|next| next.to_string()),
    }))
}

fn selected(query: &Selection) -> Result<(Filter, Option<Cursor>), Fault> {
    let kind = query.kind.as_deref().map(|name| {
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == name);
        kind.ok_or_else(|| Fault::invalid("kind", one_of(Kind::ALL.map(Kind::as_str))))
    });
    let status = query.status.as_deref().map(|name| {
        Status::named(name)
            .ok_or_else(|| Fault::invalid("status", one_of(Status::ALL.map(Status::as_str))))
    });
    let cursor = query.cursor.as_deref().filter(|text| !text.is_empty()).map(|text| {
        Cursor::parse(text).map_err(|_| Fault::invalid("cursor", "is not `next` of a page"))
    });
    let filter = Filter {
        kind: kind.transpose()?,
        status: status.transpose()?,
        from: query.from.map(Millis),
        to: query.to.map(Millis),
    };
    Ok((filter, cursor.transpose()?))
}

fn one_of<const N: usize>(names: [&str; N]) -> String {
    format!("must be one of {}", names.map(|name| format!("`{name}`")).join(", "))
}

/// What a client is told when the store fails; the cause is for the log.
pub(crate) fn away(error: &store::StoreError) -> Fault {
    tracing::warn!(%error, "the store can't be asked");
    Fault::Away { what: "the store", execution: None }
}

/// One execution: how far it is, and its answer when it has one.
///
/// With `?wait=30s` the answer comes when the execution has ended, or after that time.
#[utoipa::path(
    get,
    path = "/v1/executions/{id}",
    tag = "executions",
    params(
        ("id" = String, Path, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", description = "The execution"),
        crate::requests::Waiting,
    ),
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
    query: Result<Query<crate::requests::Waiting>, QueryRejection>,
) -> Result<Json<ExecutionView>, Problem> {
    let id = id(path)?;
    let Query(query) = query.map_err(|error| Fault::invalid("query", error.body_text()))?;
    let wait = query.duration(&app)?;
    match find(&app, caller.tenant(), &id).await? {
        Some(execution) => {
            let execution = waiting::end_of(&app, execution, wait).await;
            Ok(Json(whole(&app, execution).await?.into()))
        }
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
        (status = 409, description = "The execution has already ended, or is a schedule", body = ProblemDetails, content_type = "application/problem+json"),
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
            None => return Err(Problem(Fault::Method { allowed: "GET, HEAD" })),
        },
        Err(wrong) => Err(wrong),
    };
    let id = id(path)?;
    let Some(execution) = find(&app, caller.tenant(), &id).await? else {
        return Err(Problem(Fault::NotFound { what: "execution", name: id }));
    };
    if life::is_schedule(&id) {
        return Err(Problem(Fault::Conflict {
            code: "is_a_schedule",
            problem: "a schedule ends when its definition is deleted".into(),
            version: None,
        }));
    }
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
