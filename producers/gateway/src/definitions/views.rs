//! Two ways to look at stored workflow definitions: as a flowchart, and what differs between two versions.
#![allow(unused_qualifications, reason = "the macro of the document writes them")]

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use domain::workflow::diff::{self, Change};
use domain::workflow::mermaid;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::auth::{Caller, Look};
use crate::docs::shapes::{ProblemDetails, WorkflowChange};
use crate::fault::{Fault, Problem};

use super::WORKFLOWS;
use super::compile::{Asked, check, find, read, version_asked};

/// The media type of Mermaid, as IANA has it.
const MERMAID: &str = "text/vnd.mermaid; charset=utf-8";

/// A workflow as a Mermaid flowchart.
#[utoipa::path(
    get,
    path = "/v1/definitions/workflows/{name}/graph",
    tag = "definitions",
    params(
        ("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The workflow"),
        Asked,
    ),
    responses(
        (status = 200, description = "The flowchart", body = String, content_type = "text/vnd.mermaid"),
        (status = 422, description = "It can't be used by now; `problems` says why", body = ProblemDetails, content_type = "application/problem+json"),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn graph(
    State(app): State<App>,
    caller: Caller<Look, Problem>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    let name = WORKFLOWS.name(path)?;
    let number = version_asked(query)?;
    let (catalogue, tenant) = (app.definitions.snapshot(), caller.tenant());
    let definition = read(find(&catalogue, tenant, &name, number)?, &name)?;
    let (_, result) = check(catalogue, tenant, &name, definition).await;
    let compiled = result.map_err(|problems| Fault::Refused { problems })?;
    Ok(([(CONTENT_TYPE, MERMAID)], mermaid::flowchart(&compiled)).into_response())
}

/// Which versions are compared.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Pair {
    /// The earlier version.
    #[param(minimum = 1, maximum = 2147483647)]
    from: i32,
    /// The later version.
    #[param(minimum = 1, maximum = 2147483647)]
    to: i32,
}

/// What differs between two versions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowDiff {
    name: String,
    from: i32,
    to: i32,
    /// The differences, place by place; none: both say the same.
    #[schema(value_type = Vec<WorkflowChange>)]
    changes: Vec<Change>,
}

/// What differs between two versions of a workflow.
///
/// Nodes are matched by their id and edges by their ends, so one that was only moved in its list is no change.
#[utoipa::path(
    get,
    path = "/v1/definitions/workflows/{name}/diff",
    tag = "definitions",
    params(
        ("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The workflow"),
        Pair,
    ),
    responses(
        (status = 200, description = "The differences", body = WorkflowDiff),
        (status = 422, description = "What is stored can't be read; `problems` says why", body = ProblemDetails, content_type = "application/problem+json"),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn diff(
    State(app): State<App>,
    caller: Caller<Look, Problem>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Pair>, QueryRejection>,
) -> Result<Json<WorkflowDiff>, Problem> {
    let name = WORKFLOWS.name(path)?;
    let Query(Pair { from, to }) =
        query.map_err(|error| Fault::invalid("query", error.body_text()))?;
    let catalogue = app.definitions.snapshot();
    let said = |number| read(WORKFLOWS.version(&catalogue, caller.tenant(), &name, number)?, &name);
    let changes = diff::diff(&said(from)?, &said(to)?);
    Ok(Json(WorkflowDiff { name, from, to, changes }))
}
