//! `POST /v1/executions:retry` and `:restart`: the same for all executions that a filter finds. Each that is run
//! again is a new execution, as with the routes of one; each that can't be says why.
#![allow(unused_qualifications, reason = "the macro of the document writes them")]

use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Extension, Json};
use domain::request::WorkflowStart;
use domain::topic::Kind;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use serde_json::{Value, json};
use store::Execution;
use utoipa::ToSchema;

use crate::App;
use crate::again::{self, Changes, Wanted};
use crate::auth::{Caller, Start};
use crate::body::{JsonText, parse};
use crate::bulk::{Found, Selection};
use crate::fault::{Fault, Problem};
use crate::start::idempotency_key;
use crate::trace::Trace;

/// So many executions are looked at by one request, each with all its events.
const MOST: usize = 1_000;
/// So many of each list are in the answer.
const SHOWN: usize = 100;
/// So many are looked at, and started, at once.
const AT_ONCE: usize = 16;

/// What was done, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Repeated {
    dry_run: bool,
    /// How many executions the filter finds, of those that one request looks at.
    matched: usize,
    /// How many of them can be run again.
    fitting: usize,
    /// How many new executions stand.
    started: usize,
    /// The first hundred that can be run again, with the new execution of each.
    executions: Vec<Pair>,
    /// How many can't be run again.
    refused: usize,
    /// The first hundred of those, each with its reason.
    reasons: Vec<Reason>,
    /// What to pass as `cursor` to go on behind these; null: that was all.
    next: Option<String>,
}

/// An execution, and the one that runs it again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Pair {
    id: String,
    /// Null in a dry run.
    started: Option<String>,
}

/// Why an execution can't be run again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Reason {
    id: String,
    /// A stable name, as the route of one execution answers it.
    code: String,
    /// For people.
    detail: String,
}

/// How executions are run again.
#[derive(Clone, Copy, Debug)]
enum Again {
    Retry,
    Restart(Option<Wanted>),
}

/// Goes on from where each of the executions failed that a filter finds: new ones, as `POST
/// /v1/executions/{id}:retry` makes one.
///
/// Without `"dry_run": false` it only says which can be, and why the others can't. Only workflows are looked for
/// unless `kind` says otherwise. With an `Idempotency-Key` the same call again starts nothing twice; an
/// execution that was retried is found again without one.
#[utoipa::path(
    post,
    path = "/v1/executions:retry",
    tag = "executions",
    params(crate::docs::IdempotencyKey),
    request_body = Selection,
    responses(
        (status = 200, description = "What was done, or would be", body = Repeated),
        crate::docs::WriteErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn retry(
    State(app): State<App>,
    caller: Caller<Start, Problem>,
    Extension(trace): Extension<Trace>,
    headers: HeaderMap,
    body: JsonText<Problem>,
) -> Result<Json<Repeated>, Problem> {
    let selection: Selection = parse(&body.into_text())?;
    let key = idempotency_key(&headers)?;
    all(&app, caller.tenant(), selection, Again::Retry, key, &trace).await
}

/// Runs all workflows again from their beginning that a filter finds: new executions, as `POST
/// /v1/executions/{id}:restart` makes one, each with its own inputs.
///
/// Without `"dry_run": false` it only says which can be, and why the others can't. Only workflows are looked for
/// unless `kind` says otherwise. With an `Idempotency-Key` the same call again starts nothing twice; an
/// execution that was restarted is found again without one.
#[utoipa::path(
    post,
    path = "/v1/executions:restart",
    tag = "executions",
    params(crate::docs::IdempotencyKey),
    request_body = Selection,
    responses(
        (status = 200, description = "What was done, or would be", body = Repeated),
        crate::docs::WriteErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn restart(
    State(app): State<App>,
    caller: Caller<Start, Problem>,
    Extension(trace): Extension<Trace>,
    headers: HeaderMap,
    body: JsonText<Problem>,
) -> Result<Json<Repeated>, Problem> {
    let selection: Selection = parse(&body.into_text())?;
    let (key, again) = (idempotency_key(&headers)?, Again::Restart(selection.version));
    all(&app, caller.tenant(), selection, again, key, &trace).await
}

async fn all(
    app: &App,
    tenant: &str,
    mut selection: Selection,
    again: Again,
    key: Option<String>,
    trace: &Trace,
) -> Result<Json<Repeated>, Problem> {
    selection.kind.get_or_insert_with(|| Kind::Workflow.as_str().to_owned());
    let Found { executions, next } = selection.find(app, tenant, MOST, |_| true).await?;
    let matched = executions.len();
    let (key, dry_run) = (key.as_deref(), selection.dry_run);
    let outcomes: Vec<_> = stream::iter(executions)
        .map(|execution| async move {
            let outcome = one(app, &execution, again, key, dry_run, trace).await;
            match outcome {
                Ok(started) => Ok((execution.id, Ok(started))),
                Err(Problem(fault)) if is_about_it(&fault) => Ok((execution.id, Err(fault))),
                Err(problem) => Err(problem),
            }
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let (mut fitting, mut refused) = (Vec::new(), Vec::new());
    for (id, outcome) in outcomes {
        match outcome {
            Ok(started) => fitting.push(Pair { id, started }),
            Err(fault) => {
                let (code, detail) = (fault.code().to_owned(), fault.message());
                refused.push(Reason { id, code, detail });
            }
        }
    }
    let mut outcome = Repeated {
        dry_run,
        matched,
        fitting: fitting.len(),
        started: fitting.iter().filter(|pair| pair.started.is_some()).count(),
        executions: fitting,
        refused: refused.len(),
        reasons: refused,
        next: next.map(|next| next.to_string()),
    };
    outcome.executions.truncate(SHOWN);
    outcome.reasons.truncate(SHOWN);
    Ok(Json(outcome))
}

/// Whether it says something of the execution, and nothing of the call or of what is around.
fn is_about_it(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Conflict { .. }
            | Fault::NotFound { .. }
            | Fault::Invalid { .. }
            | Fault::TooLarge { .. }
            | Fault::Reused { .. }
    )
}

/// Runs one again; the id of the new execution, unless nothing is meant.
async fn one(
    app: &App,
    execution: &Execution,
    again: Again,
    key: Option<&str>,
    dry_run: bool,
    trace: &Trace,
) -> Result<Option<String>, Problem> {
    let Execution { tenant, id, .. } = execution;
    let (start, verb, said): (WorkflowStart, _, _) = match again {
        Again::Retry => (again::retried(app, tenant, id).await?, "retry", Value::Null),
        Again::Restart(version) => {
            let changes = Changes::of_version(version);
            let said = json!({ "version": version });
            (again::restarted(app, tenant, id, changes).await?, "restart", said)
        }
    };
    if dry_run {
        return Ok(None);
    }
    // One call, many executions: each has a key of its own under the call's.
    let route = format!("{verb}/{id}");
    let key = key.map(|key| domain::id::derived(key, &route, 1));
    let intent = again::named(start, key, &route, &said);
    app.start(&intent, trace).await?;
    Ok(Some(intent.request.id().to_owned()))
}
