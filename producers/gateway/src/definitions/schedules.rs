//! `/v1/definitions/schedules`: when workflows start by themselves. What could start nothing isn't stored.
//!
//! What steers a schedule that stands is in `crate::schedules`.
#![allow(unused_qualifications, reason = "the macro of the document writes them")]

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Extension, Json};
use domain::catalogue::{Catalogue, Version};
use domain::schedule::stored;
use domain::workflow::problem::Problem as Found;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::App;
use crate::auth::{Caller, Define, Look};
use crate::docs::shapes::ProblemDetails;
use crate::fault::{Fault, Problem};
use crate::trace::Trace;

use super::change::Asker;
use super::page::Paging;
use super::source::Source;
use super::{Definition, SCHEDULES, StoredDefinition, Versions};

/// A schedule, as far as a list shows it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScheduleEntry {
    name: String,
    /// Its newest version.
    version: i32,
    /// When that was proposed: milliseconds since the epoch.
    time: i64,
    /// The workflow that it starts.
    workflow: String,
    /// When it is due.
    cron: String,
    /// In which time zone.
    time_zone: String,
}

/// A tenant's schedules by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Schedules {
    data: Vec<ScheduleEntry>,
    /// Where the next page begins, as `cursor`; null on the last one.
    #[schema(required)]
    next: Option<String>,
}

/// The part of a definition that a list shows.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Outline {
    workflow: String,
    cron: String,
    time_zone: Option<String>,
}

impl Outline {
    /// One that was written into the topic by somebody else may say anything.
    fn of(version: &Version) -> Self {
        serde_json::from_str(version.body.as_deref().unwrap_or_default()).unwrap_or_default()
    }
}

/// The tenant's schedules by name.
#[utoipa::path(
    get,
    path = "/v1/definitions/schedules",
    tag = "definitions",
    params(Paging),
    responses(
        (status = 200, description = "A page", body = Schedules),
        crate::docs::ListErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller<Look, Problem>,
    query: Result<Query<Paging>, QueryRejection>,
) -> Result<Json<Schedules>, Problem> {
    let Query(query) = query.map_err(|error| Fault::invalid("query", error.body_text()))?;
    let page = query.page()?;
    let catalogue = app.definitions.snapshot();
    let names = catalogue.names(SCHEDULES.kind, caller.tenant());
    let names = names.filter(|(name, _)| page.after().is_none_or(|after| *name > after));
    let (data, next) = page.take(names.map(|(name, version)| {
        let Outline { workflow, cron, time_zone } = Outline::of(version);
        let entry = ScheduleEntry {
            name: name.to_owned(),
            version: version.number,
            time: version.time.0,
            workflow,
            cron,
            time_zone: time_zone.unwrap_or_else(|| "UTC".to_owned()),
        };
        (name.to_owned(), entry)
    }));
    Ok(Json(Schedules { data, next }))
}

/// The newest version of a schedule; its number is the `ETag`.
#[utoipa::path(
    get,
    path = "/v1/definitions/schedules/{name}",
    tag = "definitions",
    params(("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The schedule")),
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
    Ok(SCHEDULES.get(&app, caller.tenant(), path)?)
}

/// Makes a schedule, or a new version of it, which counts from then on. What runs goes on.
///
/// `If-Match: "3"` replaces version 3, `If-None-Match: *` makes a new one. Whoever comes second gets 409
/// with the version that stands, and changes nothing. A definition that can't be used, or whose workflow
/// isn't there or doesn't take its input, is refused with the places.
#[utoipa::path(
    put,
    path = "/v1/definitions/schedules/{name}",
    tag = "definitions",
    params(
        ("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The schedule"),
        ("If-Match" = Option<String>, Header, pattern = r#"^("[1-9][0-9]{0,8}"|[1-9][0-9]{0,8})$"#, description = "The version to replace, as in `ETag`. Either this or `If-None-Match`"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: there must be none yet"),
    ),
    request_body(content(
        (crate::docs::shapes::ScheduleDefinition = "application/json"),
        (crate::docs::shapes::ScheduleDefinition = "application/yaml"),
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
    let name = SCHEDULES.name(path)?;
    let definition = source.required()?;
    let (catalogue, tenant) = (app.definitions.snapshot(), caller.tenant());
    let (definition, result) = check(catalogue.clone(), tenant, &name, definition).await;
    let warnings = result.map_err(|problems| Fault::Refused { problems })?;
    let stands = catalogue.history(SCHEDULES.kind, tenant, &name).last();
    let asker = Asker { app: &app, principal: &caller.principal, trace: &trace, headers: &headers };
    Ok(SCHEDULES.put(&asker, &name, stands, (&definition, warnings)).await?)
}

/// Checks a definition, and gives it back with its warnings. The workflow is compiled for it, so that has a
/// thread of its own.
async fn check(
    catalogue: Arc<Catalogue>,
    tenant: &str,
    name: &str,
    definition: Value,
) -> (Value, Result<Vec<Found>, Vec<Found>>) {
    let (tenant, name) = (tenant.to_owned(), name.to_owned());
    let checking = tokio::task::spawn_blocking(move || {
        let result = stored::check(&catalogue, &tenant, &name, &definition);
        (definition, result.map(|(_, warnings)| warnings))
    });
    checking.await.expect("the check takes anything, and nobody aborts it")
}

/// Deletes a schedule: nothing starts by it any more, and what runs goes on. Its versions can still be read,
/// and it can be made anew.
#[utoipa::path(
    delete,
    path = "/v1/definitions/schedules/{name}",
    tag = "definitions",
    params(
        ("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The schedule"),
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
    Ok(SCHEDULES.delete(&asker, path).await?)
}

/// The versions of a schedule, the newest first; also when it is deleted.
#[utoipa::path(
    get,
    path = "/v1/definitions/schedules/{name}/versions",
    tag = "definitions",
    params(
        ("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The schedule"),
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
    Ok(SCHEDULES.versions(&app, caller.tenant(), path, &query.page()?)?)
}

/// One version of a schedule; also when it is deleted by now.
#[utoipa::path(
    get,
    path = "/v1/definitions/schedules/{name}/versions/{version}",
    tag = "definitions",
    params(
        ("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The schedule"),
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
    Ok(SCHEDULES.get_version(&app, caller.tenant(), path)?)
}
