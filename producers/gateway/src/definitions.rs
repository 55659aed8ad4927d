//! `/v1/definitions/models`: what there is, and proposals to change it.
//!
//! A change names the version that it replaces; the first one in the log wins, and the other is told so.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use domain::catalogue::{Catalogue, DefinitionKind, DefinitionProposed, Outcome, Version};
use domain::model_definition::ModelDefinition;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::App;
use crate::audit;
use crate::auth::{Caller, Define, Look};
use crate::body::{JsonText, parse};
use crate::docs::shapes::ProblemDetails;
use crate::fault::{Fault, Problem};
use crate::publish::{new_id, now};
use crate::shape;
use crate::trace::Trace;

/// How long a proposal's outcome is waited for: a round trip through the log takes milliseconds.
const OUTCOME_PATIENCE: Duration = Duration::from_secs(10);

/// One definition as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Definition {
    /// Its name: the alias that requests use.
    name: String,
    /// Its version, from 1.
    version: i32,
    /// When it was proposed: milliseconds since the epoch.
    time: i64,
    /// What it says.
    #[schema(value_type = serde_json::Map<String, Value>)]
    definition: Box<RawValue>,
}

/// A tenant's definitions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Definitions {
    data: Vec<Definition>,
}

impl Definition {
    fn of(name: &str, version: &Version) -> Option<Self> {
        let definition = RawValue::from_string(version.body.clone()?).ok()?;
        let (number, time) = (version.number, version.time.0);
        Some(Self { name: name.to_owned(), version: number, time, definition })
    }
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
        .names(DefinitionKind::Model, caller.tenant())
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
    let name = name(path)?;
    Ok(answer(StatusCode::OK, &app.definitions.snapshot(), caller.tenant(), &name)?)
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
    let name = name(path)?;
    let body = body.into_text();
    check(&body)?;
    let tenant = caller.tenant();
    let catalogue = app.definitions.snapshot();
    let stands = catalogue.history(DefinitionKind::Model, tenant, &name).last();
    let expects = expected(&headers, stands)?;
    let proposal = DefinitionProposed {
        id: new_id(),
        kind: DefinitionKind::Model,
        tenant: tenant.to_owned(),
        name: name.clone(),
        expects,
        body: Some(body),
        proposed_by: format!("key {}", caller.principal.key_id),
        time: now(),
    };
    app.publish_proposal(&proposal, &trace).await.map_err(|error| error.into_fault(None))?;
    let outcome = app.definitions.wait_for(&proposal.id, OUTCOME_PATIENCE).await;
    audit::proposed(&proposal, &caller.principal, outcome);
    match outcome {
        Some(Outcome::Accepted(_)) => {
            let fresh = stands.is_none_or(|version| version.body.is_none());
            let status = if fresh { StatusCode::CREATED } else { StatusCode::OK };
            Ok(answer(status, &app.definitions.snapshot(), tenant, &name)?)
        }
        Some(Outcome::Conflict(version)) => Err(Problem(conflict(version))),
        None => Err(Problem(Fault::Undecided { proposal: proposal.id })),
    }
}

fn name(path: Result<Path<String>, PathRejection>) -> Result<String, Fault> {
    let Path(name) = path.map_err(|_| Fault::invalid("name", "is not UTF-8"))?;
    shape::model(&name.into(), "name")
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

/// The version that the client means to replace; 0: none.
fn expected(headers: &HeaderMap, stands: Option<&Version>) -> Result<i32, Fault> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default().trim());
    match (text(IF_MATCH), text(IF_NONE_MATCH)) {
        (Some(tag), None) => {
            let tag = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
            tag.parse().ok().filter(|version| *version > 0).ok_or_else(|| {
                Fault::invalid("If-Match", "must be a version, as in the `ETag` of an answer")
            })
        }
        (None, Some("*")) => match stands {
            None => Ok(0),
            Some(version) if version.body.is_none() => Ok(version.number),
            Some(version) => Err(conflict(version.number)),
        },
        (None, Some(_)) => Err(Fault::invalid("If-None-Match", "must be `*`")),
        (Some(_), Some(_)) => {
            Err(Fault::invalid("If-None-Match", "must not come together with `If-Match`"))
        }
        (None, None) => Err(Fault::PreconditionRequired(
            "send `If-Match` with the version to replace, or `If-None-Match: *` for a new definition",
        )),
    }
}

fn conflict(version: i32) -> Fault {
    Fault::Conflict {
        code: "version_conflict",
        problem: format!("version {version} stands; read it and decide again"),
        version: Some(version),
    }
}

fn answer(
    status: StatusCode,
    catalogue: &Catalogue,
    tenant: &str,
    name: &str,
) -> Result<Response, Fault> {
    let found = catalogue
        .newest(DefinitionKind::Model, tenant, name)
        .and_then(|version| Definition::of(name, version));
    match found {
        Some(definition) => {
            let tag = format!("\"{}\"", definition.version);
            Ok((status, [(ETAG, tag)], Json(definition)).into_response())
        }
        None => Err(Fault::NotFound { what: "model definition", name: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use domain::time::Millis;

    use super::*;

    fn version(number: i32, body: Option<&str>) -> Version {
        let body = body.map(str::to_owned);
        Version { number, body, proposal: "p".into(), time: Millis(0) }
    }

    #[test]
    fn change_names_what_it_replaces() {
        let (live, deleted) = (version(3, Some("{}")), version(4, None));
        let of = |pairs: &[(&'static str, &str)], stands: Option<&Version>| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            expected(&headers, stands).map_err(|fault| fault.status().as_u16())
        };
        assert_eq!(of(&[("if-match", "\"3\"")], Some(&live)), Ok(3));
        assert_eq!(of(&[("if-match", "3")], Some(&live)), Ok(3));
        assert_eq!(of(&[("if-match", "\"2\"")], Some(&live)), Ok(2), "the log decides");
        assert_eq!(of(&[("if-none-match", "*")], None), Ok(0));
        assert_eq!(of(&[("if-none-match", "*")], Some(&deleted)), Ok(4));
        assert_eq!(of(&[("if-none-match", "*")], Some(&live)), Err(409));
        assert_eq!(of(&[], Some(&live)), Err(428));
        for wrong in ["", "0", "-1", "x", "\"3", "99999999999"] {
            assert!(matches!(of(&[("if-match", wrong)], None), Err(400)), "{wrong}");
        }
        assert_eq!(of(&[("if-none-match", "\"3\"")], None), Err(400));
        assert_eq!(of(&[("if-match", "3"), ("if-none-match", "*")], None), Err(400));
    }
}
