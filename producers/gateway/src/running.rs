//! `POST /v1/workflows/{name}:start`: a run of a workflow, answered with 202 at once or with its result.
#![allow(unused_qualifications, reason = "the macro of the document writes them")]

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use domain::catalogue::{DefinitionKind, Version, Which};
use domain::request::WorkflowStart;
use domain::time::Millis;
use domain::workflow::schema;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::auth::{Caller, Start};
use crate::body::{JsonText, parse};
use crate::definitions::workflow_name;
use crate::docs::shapes::ProblemDetails;
use crate::fault::{Fault, Problem};
use crate::publish::new_id;
use crate::requests::{self, Waiting, one_key, times};
use crate::start::{Findable, Intent, Note, Novelty, Orphan, Request, hash, idempotency_key};
use crate::trace::Trace;
use crate::view::{Accepted, ExecutionView};
use crate::{App, ids, shape, verbs};

/// The longest input, in bytes of JSON: what a step may give as well.
const MAX_INPUT_BYTES: usize = domain::workflow::run::MAX_VALUE_BYTES;

/// A start. Everything may be left out that the workflow's inputs don't require.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// The inputs.
    #[schema(value_type = Option<serde_json::Map<String, Value>>)]
    input: Option<Box<RawValue>>,
    /// The version to run; the one that `alias` names, or that stands, unless it is given.
    #[schema(minimum = 1, maximum = 2147483647)]
    version: Option<i32>,
    /// The alias that names the version.
    #[schema(min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$")]
    alias: Option<String>,
    /// The execution's id; made unless it is given. A UUID of version 4 or 7, or `TENANT/…`; the tenant `default` may use
    /// any text without a `/` that is no UUID.
    #[schema(min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    id: Option<String>,
    /// Your own key for "the same start again"; or in the header `Idempotency-Key`.
    #[schema(min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    idempotency_key: Option<String>,
    /// Higher goes first where something queues.
    priority: Option<i32>,
    /// It times out then: milliseconds since the epoch.
    #[schema(minimum = 0, maximum = 253_402_300_799_999_i64)]
    deadline: Option<i64>,
    /// Not to be started before this: milliseconds since the epoch.
    #[schema(minimum = 0, maximum = 253_402_300_799_999_i64)]
    not_before: Option<i64>,
    /// Free labels, copied to the execution log and to what the execution asks for.
    #[schema(value_type = Option<crate::docs::shapes::Labels>)]
    labels: Option<BTreeMap<String, String>>,
    /// What the execution can be found by: `GET /v1/executions?attribute.NAME=VALUE`. Its children have the same.
    #[schema(value_type = Option<crate::docs::shapes::Labels>)]
    search_attributes: Option<BTreeMap<String, String>>,
}

/// Starts a workflow and returns at once, or when it has ended.
///
/// The execution stays with the version that stands when it is admitted. The same idempotency key, or the same
/// id, with the same start gives the same execution; with another start it is refused. With `?wait=30s` the
/// answer is 200 with the execution if it ends in that time.
#[utoipa::path(
    post,
    path = "/v1/workflows/{name}:start",
    tag = "executions",
    params(
        ("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The workflow"),
        crate::docs::IdempotencyKey,
        Waiting,
    ),
    request_body = Asked,
    responses(
        (status = 200, description = "It ended while it was waited for", body = ExecutionView),
        (
            status = 202, description = "It stands", body = Accepted,
            headers(("location" = String, description = "Path of the execution"))
        ),
        (status = 404, description = "There is no such workflow, version or alias", body = ProblemDetails, content_type = "application/problem+json"),
        crate::docs::StartErrors,
        crate::docs::WriteErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn start(
    State(app): State<App>,
    caller: Caller<Start, Problem>,
    Extension(trace): Extension<Trace>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Waiting>, QueryRejection>,
    headers: HeaderMap,
    body: JsonText<Problem>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Fault::invalid("query", error.body_text()))?;
    let wait = query.duration(&app)?;
    let path = verbs::without(path, verbs::START)?;
    let Path(name) = path.map_err(|_| Fault::invalid("name", "is not UTF-8"))?;
    workflow_name(&name, "name")?;
    let intent = read(&name, &body.into_text(), caller.tenant(), idempotency_key(&headers)?)?;
    if let Request::Workflow(start) = &intent.request {
        fits(&app, start)?;
    }
    requests::answer(&app, intent, wait, &trace).await
}

/// Checks a start and fills in what was left out.
fn read(name: &str, text: &str, tenant: &str, key: Option<String>) -> Result<Intent, Fault> {
    let asked: Asked = parse(text)?;
    let key = one_key(key, asked.idempotency_key)?;
    if let Some(id) = &asked.id {
        ids::check(tenant, id)?;
    }
    if asked.version.is_some() && asked.alias.is_some() {
        return Err(Fault::invalid("alias", "must not be given beside a version"));
    }
    if let Some(alias) = &asked.alias {
        domain::id::check(alias).map_err(|why| Fault::invalid("alias", why.to_string()))?;
    }
    times(None, asked.deadline, asked.not_before)?;
    let labels = asked.labels.unwrap_or_default();
    shape::labels("labels", labels.iter())?;
    let search_attributes = asked.search_attributes.unwrap_or_default();
    shape::labels("search_attributes", search_attributes.iter())?;
    let input = asked.input.map_or_else(|| "{}".to_owned(), |input| input.get().to_owned());
    if !input.starts_with('{') {
        return Err(Fault::invalid("input", "must be an object"));
    }
    if input.len() > MAX_INPUT_BYTES {
        return Err(Fault::TooLarge { limit: MAX_INPUT_BYTES });
    }
    let chosen = asked.id.or_else(|| key.as_deref().map(|key| ids::of_key(tenant, key)));
    let (novelty, note) = match &chosen {
        Some(_) => {
            let mut said: Value = parse(text)?;
            said.as_object_mut().map(|said| said.shift_remove("idempotency_key"));
            let hash = Some(hash(&format!("workflows/{name}"), &said));
            (Novelty::Maybe, Note { hash, ..Note::default() })
        }
        None => (Novelty::New, Note::default()),
    };
    let start = WorkflowStart {
        tenant: tenant.to_owned(),
        idempotency_key: key,
        priority: asked.priority.unwrap_or_default(),
        deadline: asked.deadline.map(Millis),
        not_before: asked.not_before.map(Millis),
        labels,
        version: asked.version,
        alias: asked.alias,
        input,
        search_attributes,
        ..WorkflowStart::new(chosen.unwrap_or_else(new_id), name)
    };
    let request = Request::Workflow(Box::new(start));
    Ok(Intent { request, novelty, findable: Findable::AtOnce, orphan: Orphan::Kept, note })
}

/// Looks whether the workflow is there and its inputs fit, so that a mistake is answered at once.
pub(crate) fn fits(app: &App, start: &WorkflowStart) -> Result<(), Fault> {
    let which = start.which();
    let catalogue = app.definitions.snapshot();
    let kind = DefinitionKind::Workflow;
    let found = catalogue.resolve(kind, &start.tenant, &start.workflow, which);
    let Some(version) = found else {
        let (what, name) = match which {
            Which::Version(version) => {
                ("version of a workflow", format!("{}, {version}", start.workflow))
            }
            Which::Alias(alias) => ("alias of a workflow", format!("{}, {alias}", start.workflow)),
            Which::Standing => ("workflow", start.workflow.clone()),
        };
        return Err(Fault::NotFound { what, name });
    };
    let input: Value = parse(&start.input)?;
    match schema::violations(&inputs_of(version), &input).into_iter().next() {
        None => Ok(()),
        Some(violation) => {
            let place = format!("input{}", violation.pointer.replace('/', "."));
            Err(Fault::invalid(place, format!("doesn't fit the workflow: {}", violation.message)))
        }
    }
}

/// The schema of what a version takes; anything, where it says nothing.
fn inputs_of(version: &Version) -> Value {
    #[derive(Deserialize)]
    struct Outline {
        spec: Spec,
    }
    #[derive(Deserialize)]
    struct Spec {
        inputs: Option<Value>,
    }
    let body = version.body.as_deref().unwrap_or_default();
    let outline = serde_json::from_str::<Outline>(body).ok();
    outline.and_then(|outline| outline.spec.inputs).unwrap_or(Value::Bool(true))
}
