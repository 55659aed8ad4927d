//! `/v1/definitions/workflows/{name}/aliases`: names for versions of a workflow. `stable` says which one runs
//! where nobody names one.
//!
//! An alias has versions of its own, and its `ETag` is of those: it is changed by the rule that everything is
//! changed by.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::ETAG;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use domain::catalogue::{Catalogue, Version, alias};
use domain::workflow::problem::Problem as Found;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::App;
use crate::auth::{Caller, Define, Look};
use crate::body::{JsonText, parse};
use crate::docs::shapes::ProblemDetails;
use crate::fault::{Fault, Problem};
use crate::trace::Trace;

use super::change::Asker;
use super::{WORKFLOWS, etag, workflow_name};

/// A name for a version of a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Alias {
    alias: String,
    /// The version of the workflow that it stands for.
    version: i32,
    /// The version of the alias itself, which is its `ETag`.
    revision: i32,
    /// When it was proposed: milliseconds since the epoch.
    time: i64,
}

/// The aliases of a workflow by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowAliases {
    data: Vec<Alias>,
}

/// What an alias shall stand for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AliasTarget {
    /// A version of the workflow.
    #[schema(minimum = 1, maximum = 2147483647)]
    version: i32,
}

impl Alias {
    fn answer(self, status: StatusCode) -> Response {
        (status, [(ETAG, etag(self.revision))], Json(self)).into_response()
    }
}

/// A workflow's alias, by what it is called in a path.
struct Place {
    workflow: String,
    alias: String,
    /// The name that it has in the log.
    full: String,
}

impl Place {
    fn of(path: Result<Path<(String, String)>, PathRejection>) -> Result<Self, Fault> {
        let (workflow, alias) = WORKFLOWS.names(path)?;
        workflow_name(&alias, "alias")?;
        let full = alias::full_name(&workflow, &alias);
        Ok(Self { workflow, alias, full })
    }

    fn missing(&self) -> Fault {
        Fault::NotFound {
            what: "alias of a workflow",
            name: format!("{}, {}", self.workflow, self.alias),
        }
    }

    fn find<'c>(&self, catalogue: &'c Catalogue, tenant: &str) -> Result<&'c Version, Fault> {
        catalogue.newest(WORKFLOWS.kind, tenant, &self.full).ok_or_else(|| self.missing())
    }

    fn shown(&self, version: &Version) -> Result<Alias, Fault> {
        Ok(Alias {
            alias: self.alias.clone(),
            version: alias::version_of(version).ok_or_else(|| self.missing())?,
            revision: version.number,
            time: version.time.0,
        })
    }
}

/// The aliases of a workflow, by name.
#[utoipa::path(
    get,
    path = "/v1/definitions/workflows/{name}/aliases",
    tag = "definitions",
    params(("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The workflow")),
    responses(
        (status = 200, description = "The aliases", body = WorkflowAliases),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller<Look, Problem>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<WorkflowAliases>, Problem> {
    let name = WORKFLOWS.name(path)?;
    let catalogue = app.definitions.snapshot();
    if catalogue.history(WORKFLOWS.kind, caller.tenant(), &name).is_empty() {
        return Err(Problem(WORKFLOWS.missing(&name)));
    }
    let aliases = catalogue.aliases(caller.tenant(), &name);
    let data = aliases.map(|(alias, version, own)| Alias {
        alias: alias.to_owned(),
        version,
        revision: own.number,
        time: own.time.0,
    });
    Ok(Json(WorkflowAliases { data: data.collect() }))
}

/// One alias of a workflow.
#[utoipa::path(
    get,
    path = "/v1/definitions/workflows/{name}/aliases/{alias}",
    tag = "definitions",
    params(
        ("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The workflow"),
        ("alias" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The alias"),
    ),
    responses(
        (status = 200, description = "The alias", body = Alias),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller<Look, Problem>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Problem> {
    let place = Place::of(path)?;
    let catalogue = app.definitions.snapshot();
    let found = place.shown(place.find(&catalogue, caller.tenant())?)?;
    Ok(found.answer(StatusCode::OK))
}

/// Makes an alias of a version, or lets it stand for another one.
///
/// `If-Match` and `If-None-Match` are about the alias, as in its `ETag`, and not about the workflow.
#[utoipa::path(
    put,
    path = "/v1/definitions/workflows/{name}/aliases/{alias}",
    tag = "definitions",
    params(
        ("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The workflow"),
        ("alias" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The alias; `stable` is what runs where nobody names a version"),
        ("If-Match" = Option<String>, Header, pattern = r#"^("[1-9][0-9]{0,8}"|[1-9][0-9]{0,8})$"#, description = "The alias's own version to replace, as in `ETag`. Either this or `If-None-Match`"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: there must be none yet"),
    ),
    request_body = AliasTarget,
    responses(
        (status = 200, description = "It stands for this version now", body = Alias),
        (status = 201, description = "It is new", body = Alias),
        (status = 404, description = "There is no such workflow", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "The alias was changed meanwhile", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "The workflow has no such version", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 428, description = "The alias's version to replace isn't named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 504, description = "Written, but the outcome isn't known yet", body = ProblemDetails, content_type = "application/problem+json"),
        crate::docs::WriteErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn put(
    State(app): State<App>,
    caller: Caller<Define, Problem>,
    Extension(trace): Extension<Trace>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: JsonText<Problem>,
) -> Result<Response, Problem> {
    let place = Place::of(path)?;
    let body = body.into_text();
    let AliasTarget { version } = parse(&body)?;
    let (catalogue, tenant) = (app.definitions.snapshot(), caller.tenant());
    WORKFLOWS.newest(&catalogue, tenant, &place.workflow)?;
    if WORKFLOWS.version(&catalogue, tenant, &place.workflow, version).is_err() {
        let message =
            format!("{:?} has no version {version}: name one that it has", place.workflow);
        let problems = vec![Found::error("/version", message)];
        return Err(Problem(Fault::Refused { problems }));
    }
    let stands = catalogue.history(WORKFLOWS.kind, tenant, &place.full).last();
    let asker = Asker { app: &app, principal: &caller.principal, trace: &trace, headers: &headers };
    let body = alias::body(version);
    let (status, revision) = asker.put(WORKFLOWS.kind, &place.full, stands, body).await?;
    let catalogue = app.definitions.snapshot();
    let made = catalogue.version(WORKFLOWS.kind, tenant, &place.full, revision);
    Ok(place.shown(made.ok_or_else(|| place.missing())?)?.answer(status))
}

/// Deletes an alias; the version that it stood for stays.
#[utoipa::path(
    delete,
    path = "/v1/definitions/workflows/{name}/aliases/{alias}",
    tag = "definitions",
    params(
        ("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The workflow"),
        ("alias" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The alias"),
        ("If-Match" = Option<String>, Header, pattern = r#"^("[1-9][0-9]{0,8}"|[1-9][0-9]{0,8})$"#, description = "The alias's own version to delete, as in `ETag`"),
    ),
    responses(
        (status = 204, description = "It is deleted"),
        (status = 409, description = "The alias was changed meanwhile", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 428, description = "The alias's version to delete isn't named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 504, description = "Written, but the outcome isn't known yet", body = ProblemDetails, content_type = "application/problem+json"),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller<Define, Problem>,
    Extension(trace): Extension<Trace>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let place = Place::of(path)?;
    place.find(&app.definitions.snapshot(), caller.tenant())?;
    let asker = Asker { app: &app, principal: &caller.principal, trace: &trace, headers: &headers };
    Ok(asker.delete(WORKFLOWS.kind, &place.full).await?)
}
