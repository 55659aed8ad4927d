//! `POST /v1/executions/{id}:retry` and `:restart`: a new execution from one that has ended. The old one stays
//! as it ended: each has exactly one end.
#![allow(unused_qualifications, reason = "the macro of the document writes them")]

use std::collections::{BTreeMap, BTreeSet};

use axum::Extension;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use domain::catalogue::DefinitionKind;
use domain::request::WorkflowStart;
use domain::topic::Kind;
use domain::workflow::history::{History, Step, StepState};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use store::{Execution, Status};
use utoipa::ToSchema;

use crate::auth::{Caller, Start};
use crate::body::{Text, parse};
use crate::docs::shapes::ProblemDetails;
use crate::executions::id;
use crate::fault::{Fault, Problem};
use crate::publish::new_id;
use crate::requests::{self, Waiting};
use crate::start::{Findable, Intent, Note, Novelty, Orphan, Request, hash, idempotency_key};
use crate::steps::history;
use crate::trace::Trace;
use crate::view::{Accepted, ExecutionView};
use crate::{App, ids, running, verbs};

/// Outputs that are taken over have at most so many bytes together: they travel in one record.
const MAX_REUSED_BYTES: usize = 512 * 1024;

/// What is changed of a start that is made again. Everything may be left out, and so may the body.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Changes {
    /// Inputs in place of the old ones.
    #[schema(value_type = Option<serde_json::Map<String, Value>>)]
    input: Option<Box<RawValue>>,
    /// The version to run: the old one unless it is given; `standing` is the one that stands now.
    #[schema(value_type = Option<crate::docs::shapes::WantedVersion>)]
    version: Option<Wanted>,
}

impl Changes {
    /// Only of the version.
    pub(crate) fn of_version(version: Option<Wanted>) -> Self {
        Self { input: None, version }
    }
}

/// A version, or the one that stands.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(untagged, expecting = "`version` must be a number from 1, or `standing`")]
pub(crate) enum Wanted {
    Version(i32),
    Named(Named),
}

/// A version by what it is.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Named {
    Standing,
}

/// Goes on from where an execution failed: a new one with the same inputs and version, in which the steps that
/// succeeded give what they gave and aren't carried out again.
///
/// Steps whose compensation ran are carried out again, for what they did is undone; so are those whose default
/// stood in for a failure. What happened to the old execution stays as it is. An `Idempotency-Key` makes
/// retrying twice harmless.
#[utoipa::path(
    post,
    path = "/v1/executions/{id}:retry",
    tag = "executions",
    params(
        ("id" = String, Path, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", description = "The execution"),
        crate::docs::IdempotencyKey,
        Waiting,
    ),
    responses(
        (status = 200, description = "The new one ended while it was waited for", body = ExecutionView),
        (
            status = 202, description = "The new one stands", body = Accepted,
            headers(("location" = String, description = "Path of the new execution"))
        ),
        (status = 404, description = "There is no such execution, or its version is gone", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "It goes on, it succeeded, or it was no workflow", body = ProblemDetails, content_type = "application/problem+json"),
        crate::docs::StartErrors,
        crate::docs::WriteErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn retry(
    State(app): State<App>,
    caller: Caller<Start, Problem>,
    Extension(trace): Extension<Trace>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Waiting>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Fault::invalid("query", error.body_text()))?;
    let wait = query.duration(&app)?;
    let id = id(verbs::without(path, verbs::RETRY)?)?;
    let start = retried(&app, caller.tenant(), &id).await?;
    let intent = named(start, idempotency_key(&headers)?, &format!("retry/{id}"), &Value::Null);
    requests::answer(&app, intent, wait, &trace).await
}

/// The start that goes on from where an execution failed, under an id of its own.
pub(crate) async fn retried(app: &App, tenant: &str, id: &str) -> Result<WorkflowStart, Problem> {
    let (execution, history) = ended(app, tenant, id).await?;
    if execution.status == Status::Succeeded {
        return Err(Problem(Fault::Conflict {
            code: "nothing_failed",
            problem: "the execution succeeded: POST its `:restart` to run it again".into(),
            version: None,
        }));
    }
    let start = first(&execution, &history)?;
    let reuse = reused(app, &start, &history)?;
    let bytes: usize = reuse.values().map(String::len).sum();
    if bytes > MAX_REUSED_BYTES {
        return Err(Problem(Fault::Conflict {
            code: "too_large_to_retry",
            problem: format!(
                "the outputs of the steps that succeeded have {bytes} bytes, at most {MAX_REUSED_BYTES} can be \
                 taken over: POST its `:restart` to run all of it again"
            ),
            version: None,
        }));
    }
    Ok(WorkflowStart { reuse, ..start })
}

/// Runs a workflow again from its beginning: with the same inputs and version, unless the body says otherwise.
#[utoipa::path(
    post,
    path = "/v1/executions/{id}:restart",
    tag = "executions",
    params(
        ("id" = String, Path, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", description = "The execution"),
        crate::docs::IdempotencyKey,
        Waiting,
    ),
    request_body(content = Changes, description = "What is changed; nothing: an empty body"),
    responses(
        (status = 200, description = "The new one ended while it was waited for", body = ExecutionView),
        (
            status = 202, description = "The new one stands", body = Accepted,
            headers(("location" = String, description = "Path of the new execution"))
        ),
        (status = 404, description = "There is no such execution, or no such version", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "It goes on, or it was no workflow", body = ProblemDetails, content_type = "application/problem+json"),
        crate::docs::StartErrors,
        crate::docs::WriteErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn restart(
    State(app): State<App>,
    caller: Caller<Start, Problem>,
    Extension(trace): Extension<Trace>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Waiting>, QueryRejection>,
    headers: HeaderMap,
    body: Text,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Fault::invalid("query", error.body_text()))?;
    let wait = query.duration(&app)?;
    let id = id(verbs::without(path, verbs::RESTART)?)?;
    let body = body.into_text();
    let (changes, said) = match body.trim().is_empty() {
        true => (Changes::default(), Value::Null),
        false => (parse(&body)?, parse(&body)?),
    };
    let start = restarted(&app, caller.tenant(), &id, changes).await?;
    let intent = named(start, idempotency_key(&headers)?, &format!("restart/{id}"), &said);
    requests::answer(&app, intent, wait, &trace).await
}

/// The start that runs an execution again from its beginning, under an id of its own.
pub(crate) async fn restarted(
    app: &App,
    tenant: &str,
    id: &str,
    changes: Changes,
) -> Result<WorkflowStart, Problem> {
    let (execution, history) = ended(app, tenant, id).await?;
    let mut start = first(&execution, &history)?;
    if let Some(input) = changes.input {
        start.input = input.get().to_owned();
    }
    match changes.version {
        None => {}
        Some(Wanted::Version(version)) => start.version = Some(version),
        Some(Wanted::Named(Named::Standing)) => start.version = None,
    }
    running::fits(app, &start)?;
    Ok(start)
}

/// An execution of a workflow that has ended, and what its events tell.
async fn ended(app: &App, tenant: &str, id: &str) -> Result<(Execution, History), Problem> {
    let (execution, history) = history(app, tenant, id).await?;
    let conflict =
        |code, problem: String| Err(Problem(Fault::Conflict { code, problem, version: None }));
    if execution.kind != Kind::Workflow {
        let kind = execution.kind.as_str();
        return conflict(
            "no_workflow",
            format!("an execution of kind {kind} is sent again by its own route"),
        );
    }
    if !execution.status.is_terminal() {
        let status = execution.status.as_str();
        return conflict(
            "not_ended",
            format!("the execution goes on, it is {status}: cancel it first"),
        );
    }
    Ok((execution, history))
}

/// The start that an execution began with, under a new id.
fn first(execution: &Execution, history: &History) -> Result<WorkflowStart, Problem> {
    let (Some(workflow), Some(input), Some(version)) =
        (&execution.definition, &history.input, history.version)
    else {
        return Err(Problem(Fault::Conflict {
            code: "never_admitted",
            problem: "the execution was refused before it began: start it anew".into(),
            version: None,
        }));
    };
    Ok(WorkflowStart {
        tenant: execution.tenant.clone(),
        labels: execution.labels.clone(),
        search_attributes: execution.search_attributes.clone(),
        version: Some(version),
        input: input.clone(),
        retry_of: Some(execution.id.clone()),
        ..WorkflowStart::new(new_id(), workflow.clone())
    })
}

/// The outputs that can be taken over.
fn reused(
    app: &App,
    start: &WorkflowStart,
    history: &History,
) -> Result<BTreeMap<String, String>, Problem> {
    let (tenant, name) = (&start.tenant, &start.workflow);
    let number = start.version.unwrap_or_default();
    let catalogue = app.definitions.snapshot();
    let found = catalogue.version(DefinitionKind::Workflow, tenant, name, number);
    let Some(body) = found.and_then(|version| version.body.as_deref()) else {
        let name = format!("{name}, {number}");
        return Err(Problem(Fault::NotFound { what: "version of a workflow", name }));
    };
    let definition: Value = serde_json::from_str(body).unwrap_or_default();
    let mut undo = BTreeMap::new();
    compensations(&definition["spec"], &mut undo);
    let began: BTreeSet<&str> = history.steps().iter().map(|step| step.name.as_str()).collect();
    let is_undone = |step: &Step| {
        let (frame, node) = step.name.rsplit_once('.').unwrap_or(("", &step.name));
        let undoing = undo.get(node).map(|undo| match frame {
            "" => undo.clone(),
            frame => format!("{frame}.{undo}"),
        });
        undoing.is_some_and(|undoing| began.contains(undoing.as_str()))
    };
    let kept = history.steps().iter().filter(|step| {
        let asks = step.node.as_deref().is_some_and(|node| !matches!(node, "map" | "loop"));
        let succeeded = step.state == StepState::Succeeded && step.error.is_none();
        asks && succeeded && !is_undone(step) && !undo.values().any(|undo| is_node(step, undo))
    });
    Ok(kept.filter_map(|step| Some((step.name.clone(), step.output.clone()?))).collect())
}

/// Whether a step is of this node.
fn is_node(step: &Step, node: &str) -> bool {
    step.name.rsplit_once('.').map_or(step.name.as_str(), |(_, id)| id) == node
}

/// Which node undoes which, in a scope and the bodies in it.
fn compensations(scope: &Value, found: &mut BTreeMap<String, String>) {
    for node in scope["nodes"].as_array().into_iter().flatten() {
        if let (Some(id), Some(undo)) = (node["id"].as_str(), node["compensate"].as_str()) {
            found.insert(id.to_owned(), undo.to_owned());
        }
        compensations(&node["body"], found);
    }
}

/// A start under the client's own name for it, where there is one.
pub(crate) fn named(
    mut start: WorkflowStart,
    key: Option<String>,
    route: &str,
    said: &Value,
) -> Intent {
    let (mut novelty, mut note) = (Novelty::New, Note::default());
    if let Some(key) = key {
        start.id = ids::of_key(&start.tenant, &key);
        start.idempotency_key = Some(key);
        novelty = Novelty::Maybe;
        note.hash = Some(hash(route, said));
    }
    let request = Request::Workflow(Box::new(start));
    Intent { request, novelty, findable: Findable::AtOnce, orphan: Orphan::Kept, note }
}
