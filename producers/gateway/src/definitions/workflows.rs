//! `/v1/definitions/workflows`: graphs of steps. What can't run isn't stored.
#![allow(unused_qualifications, reason = "the macro of the document writes them")]

use std::collections::BTreeMap;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Extension, Json};
use domain::catalogue::{Version, Which};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::auth::{Caller, Define, Look};
use crate::docs::shapes::ProblemDetails;
use crate::fault::{Fault, Problem};
use crate::trace::Trace;

use super::change::Asker;
use super::compile::check;
use super::page::{Page, Paging};
use super::source::Source;
use super::{Definition, StoredDefinition, Versions, WORKFLOWS};

/// Which workflows are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Selection {
    /// With this label only: `key:value`.
    #[param(pattern = "^[^:]+:")]
    label: Option<String>,
    /// The most of a page; 50 unless it is given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
}

/// A workflow without its definition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowEntry {
    name: String,
    /// Its newest version.
    version: i32,
    /// When that was proposed: milliseconds since the epoch.
    time: i64,
    /// The version that runs where none is named: that of the alias `stable`, else the newest. Null: the
    /// alias leads nowhere.
    #[schema(required)]
    standing: Option<i32>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    labels: BTreeMap<String, String>,
}

/// A tenant's workflows by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Workflows {
    data: Vec<WorkflowEntry>,
    /// Where the next page begins, as `cursor`; null on the last one.
    #[schema(required)]
    next: Option<String>,
}

/// The part of a definition that a list shows.
#[derive(Default, Deserialize)]
struct Outline {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl Outline {
    /// One that was written into the topic by somebody else may say anything.
    fn of(version: &Version) -> Metadata {
        let body = version.body.as_deref().unwrap_or_default();
        serde_json::from_str::<Self>(body).unwrap_or_default().metadata
    }
}

/// The tenant's workflows by name, without their definitions.
#[utoipa::path(
    get,
    path = "/v1/definitions/workflows",
    tag = "definitions",
    params(Selection),
    responses(
        (status = 200, description = "A page", body = Workflows),
        crate::docs::ListErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller<Look, Problem>,
    query: Result<Query<Selection>, QueryRejection>,
) -> Result<Json<Workflows>, Problem> {
    let Query(query) = query.map_err(|error| Fault::invalid("query", error.body_text()))?;
    let page = Page::asked(query.limit, query.cursor.as_deref())?;
    let label = query.label.as_deref().map(|label| {
        let label = label.split_once(':').filter(|(key, _)| !key.is_empty());
        label.ok_or_else(|| Fault::invalid("label", "must be `key:value`"))
    });
    let label = label.transpose()?;
    let (catalogue, tenant) = (app.definitions.snapshot(), caller.tenant());
    let names = catalogue.names(WORKFLOWS.kind, tenant);
    let (data, next) = page.take(
        names.filter(|(name, _)| page.after().is_none_or(|after| *name > after)).filter_map(
            |(name, version)| {
                let Metadata { description, labels } = Outline::of(version);
                if label.is_some_and(|(key, value)| labels.get(key).is_none_or(|is| is != value)) {
                    return None;
                }
                let standing = catalogue.resolve(WORKFLOWS.kind, tenant, name, Which::Standing);
                let entry = WorkflowEntry {
                    name: name.to_owned(),
                    version: version.number,
                    time: version.time.0,
                    standing: standing.map(|version| version.number),
                    description,
                    labels,
                };
                Some((name.to_owned(), entry))
            },
        ),
    );
    Ok(Json(Workflows { data, next }))
}

/// The newest version of a workflow definition; its number is the `ETag`.
#[utoipa::path(
    get,
    path = "/v1/definitions/workflows/{name}",
    tag = "definitions",
    params(("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The workflow")),
    responses(
        (status = 200, description = "The definition", body = Definition),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller<Look, Problem>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    Ok(WORKFLOWS.get(&app, caller.tenant(), path)?)
}

/// Makes a workflow, or a new version of it. What was begun with an older version goes on with that.
///
/// `If-Match: "3"` replaces version 3, `If-None-Match: *` makes a new one. Whoever comes second gets 409
/// with the version that stands, and changes nothing. A definition that can't be used is refused with all
/// problems at once.
#[utoipa::path(
    put,
    path = "/v1/definitions/workflows/{name}",
    tag = "definitions",
    params(
        ("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The workflow; `metadata.name` says the same"),
        ("If-Match" = Option<String>, Header, pattern = r#"^("[1-9][0-9]{0,8}"|[1-9][0-9]{0,8})$"#, description = "The version to replace, as in `ETag`. Either this or `If-None-Match`"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: there must be none yet"),
    ),
    request_body(content(
        (crate::docs::shapes::WorkflowDefinition = "application/json"),
        (crate::docs::shapes::WorkflowDefinition = "application/yaml"),
    )),
    responses(
        (status = 200, description = "It replaced the version", body = StoredDefinition),
        (status = 201, description = "It is new", body = StoredDefinition),
        (status = 409, description = "Another version stands", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "It can't be used; `problems` says why", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 428, description = "The version to replace isn't named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 504, description = "Written, but the outcome isn't known yet", body = ProblemDetails, content_type = "application/problem+json"),
        crate::docs::WriteErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn put(
    State(app): State<App>,
    caller: Caller<Define, Problem>,
    Extension(trace): Extension<Trace>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    source: Source,
) -> Result<Response, Problem> {
    let name = WORKFLOWS.name(path)?;
    let definition = source.required()?;
    let tenant = caller.tenant();
    let catalogue = app.definitions.snapshot();
    let (definition, result) = check(catalogue.clone(), tenant, &name, definition).await;
    let compiled = result.map_err(|problems| Fault::Refused { problems })?;
    let stands = catalogue.history(WORKFLOWS.kind, tenant, &name).last();
    let asker = Asker { app: &app, principal: &caller.principal, trace: &trace, headers: &headers };
    Ok(WORKFLOWS.put(&asker, &name, stands, (&definition, compiled.warnings)).await?)
}

/// Deletes a workflow: nothing new starts with it, whatever its aliases say, and what runs goes on. Its
/// versions can still be read, and it can be made anew; its aliases then stand as before.
#[utoipa::path(
    delete,
    path = "/v1/definitions/workflows/{name}",
    tag = "definitions",
    params(
        ("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The workflow"),
        ("If-Match" = Option<String>, Header, pattern = r#"^("[1-9][0-9]{0,8}"|[1-9][0-9]{0,8})$"#, description = "The version to delete, as in `ETag`"),
    ),
    responses(
        (status = 204, description = "It is deleted"),
        (status = 409, description = "Another version stands", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 428, description = "The version to delete isn't named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 504, description = "Written, but the outcome isn't known yet", body = ProblemDetails, content_type = "application/problem+json"),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller<Define, Problem>,
    Extension(trace): Extension<Trace>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let asker = Asker { app: &app, principal: &caller.principal, trace: &trace, headers: &headers };
    Ok(WORKFLOWS.delete(&asker, path).await?)
}

/// The versions of a workflow definition, the newest first; also when it is deleted.
#[utoipa::path(
    get,
    path = "/v1/definitions/workflows/{name}/versions",
    tag = "definitions",
    params(
        ("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The workflow"),
        Paging,
    ),
    responses(
        (status = 200, description = "A page", body = Versions),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn versions(
    State(app): State<App>,
    caller: Caller<Look, Problem>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Paging>, QueryRejection>,
) -> Result<Json<Versions>, Problem> {
    let Query(query) = query.map_err(|error| Fault::invalid("query", error.body_text()))?;
    Ok(WORKFLOWS.versions(&app, caller.tenant(), path, &query.page()?)?)
}

/// One version of a workflow definition; also when it is deleted by now.
#[utoipa::path(
    get,
    path = "/v1/definitions/workflows/{name}/versions/{version}",
    tag = "definitions",
    params(
        ("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The workflow"),
        ("version" = i32, Path, minimum = 1, maximum = 2147483647, description = "The version"),
    ),
    responses(
        (status = 200, description = "The definition as it was then", body = Definition),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn version(
    State(app): State<App>,
    caller: Caller<Look, Problem>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Problem> {
    Ok(WORKFLOWS.get_version(&app, caller.tenant(), path)?)
}
