//! `/v1/definitions/models`: which deployments answer for an alias.
#![allow(unused_qualifications, reason = "the macro of the document writes them")]

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Extension, Json};
use domain::model_definition::ModelDefinition;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::App;
use crate::auth::{Caller, Define, Look};
use crate::body::{JsonText, parse};
use crate::docs::shapes::ProblemDetails;
use crate::fault::{Fault, Problem};
use crate::trace::Trace;

use super::change::Asker;
use super::page::Paging;
use super::{Definition, MODELS, Versions};

/// A tenant's definitions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Definitions {
    data: Vec<Definition>,
}

/// The tenant's model definitions.
#[utoipa::path(
    get,
    path = "/v1/definitions/models",
    tag = "definitions",
    responses(
        (status = 200, description = "The definitions", body = Definitions),
        crate::docs::PlainErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller<Look, Problem>,
) -> Json<Definitions> {
    let catalogue = app.definitions.snapshot();
    let data = catalogue
        .names(MODELS.kind, caller.tenant())
        .filter_map(|(name, version)| Definition::of(name, version))
        .collect();
    Json(Definitions { data })
}

/// One model definition; its version is the `ETag`.
#[utoipa::path(
    get,
    path = "/v1/definitions/models/{name}",
    tag = "definitions",
    params(("name" = String, Path, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", description = "The alias")),
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
    Ok(MODELS.get(&app, caller.tenant(), path)?)
}

/// Makes or replaces a model definition.
///
/// `If-Match: "3"` replaces version 3, `If-None-Match: *` makes a new one. Whoever comes second gets 409
/// with the version that stands, and changes nothing. Keys of providers are references (`{"env": "NAME"}`
/// or `{"file": "/path"}`), never the keys themselves.
#[utoipa::path(
    put,
    path = "/v1/definitions/models/{name}",
    tag = "definitions",
    params(
        ("name" = String, Path, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", description = "The alias"),
        ("If-Match" = Option<String>, Header, pattern = r#"^("[1-9][0-9]{0,8}"|[1-9][0-9]{0,8})$"#, description = "The version to replace, as in `ETag`. Either this or `If-None-Match`"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: there must be none yet"),
    ),
    request_body = crate::docs::shapes::ModelDefinition,
    responses(
        (status = 200, description = "It replaced the version", body = Definition),
        (status = 201, description = "It is new", body = Definition),
        (status = 409, description = "Another version stands", body = ProblemDetails, content_type = "application/problem+json"),
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
    body: JsonText<Problem>,
) -> Result<Response, Problem> {
    let name = MODELS.name(path)?;
    let body = body.into_text();
    check(&body)?;
    let tenant = caller.tenant();
    let catalogue = app.definitions.snapshot();
    let stands = catalogue.history(MODELS.kind, tenant, &name).last();
    let asker = Asker { app: &app, principal: &caller.principal, trace: &trace, headers: &headers };
    let (status, number) = asker.put(MODELS.kind, &name, stands, body).await?;
    let catalogue = app.definitions.snapshot();
    Ok(MODELS.answer(status, &name, MODELS.version(&catalogue, tenant, &name, number)?)?)
}

fn check(body: &str) -> Result<(), Fault> {
    if !parse::<Value>(body)?.is_object() {
        return Err(Fault::invalid("body", "must be an object"));
    }
    ModelDefinition::parse(body).map(|_| ()).map_err(|error| {
        let place = if error.path.is_empty() { "body".into() } else { error.path.to_string() };
        Fault::invalid(place, error.problem.to_string())
    })
}

/// Deletes a model definition: requests for the alias are refused. Its versions can still be read, and it
/// can be made anew.
#[utoipa::path(
    delete,
    path = "/v1/definitions/models/{name}",
    tag = "definitions",
    params(
        ("name" = String, Path, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", description = "The alias"),
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
    Ok(MODELS.delete(&asker, path).await?)
}

/// The versions of a model definition, the newest first; also when it is deleted.
#[utoipa::path(
    get,
    path = "/v1/definitions/models/{name}/versions",
    tag = "definitions",
    params(
        ("name" = String, Path, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", description = "The alias"),
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
    Ok(MODELS.versions(&app, caller.tenant(), path, &query.page()?)?)
}

/// One version of a model definition; also when it is deleted by now.
#[utoipa::path(
    get,
    path = "/v1/definitions/models/{name}/versions/{version}",
    tag = "definitions",
    params(
        ("name" = String, Path, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", description = "The alias"),
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
    Ok(MODELS.get_version(&app, caller.tenant(), path)?)
}
