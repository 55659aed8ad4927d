//! `GET /v1/executions/{id}/steps[/{step}]` and `/why`: what became of each step, and what an execution waits
//! for. Folded from the events in the store; nothing here asks a processor.
#![allow(unused_qualifications, reason = "the macro of the document writes them")]

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use domain::event::Position;
use domain::time::to_rfc3339;
use domain::topic::Kind;
use domain::workflow::history::{History, Place, Step, StepState};
use domain::workflow::limit;
use serde::{Deserialize, Serialize};
use store::{Execution, Status};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::auth::{Caller, See};
use crate::executions::{away, find, id, named};
use crate::fault::{Fault, Problem};
use crate::view::{ErrorView, Json as AnyJson, UsageView, location};

/// How many events are read at once.
const PAGE: usize = 500;
/// More events than these are not looked at for one answer.
const MAX_EVENTS: usize = 200_000;
/// How many steps a page has that doesn't say.
const STEPS: usize = 200;
/// The most that a page may have.
const MAX_STEPS: usize = 1_000;
/// How many things an execution waits for are named.
const REASONS: usize = 50;

/// Which steps are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Selection {
    /// In this state only.
    #[param(inline, value_type = Option<crate::docs::shapes::StepStateName>)]
    state: Option<String>,
    /// The most of a page; 200 unless it is given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where to go on: `next` of the page before.
    #[param(pattern = "^[0-9]{1,9}$")]
    cursor: Option<String>,
}

/// One step of an execution.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepView {
    /// Its name: the node, in the body of `each` for item 3 `each[3].node`.
    step: String,
    /// The kind of its node; null for those that are done at once.
    node: Option<String>,
    /// `running`, `waiting`, `retrying`, `succeeded`, `failed`, `skipped` or `cancelled`.
    state: String,
    /// How often it was tried; null for those that are done at once.
    attempts: Option<i32>,
    /// The execution that it asked for last.
    execution_id: Option<String>,
    /// Milliseconds since the epoch.
    started: i64,
    /// Milliseconds since the epoch.
    ended: Option<i64>,
    /// Why its last attempt failed, or what its default stands in for.
    error: Option<ErrorView>,
    /// What all its attempts used.
    usage: Option<UsageView>,
    /// What all its attempts cost: millionths of a unit, by currency.
    costs: BTreeMap<String, i64>,
    /// The signal that it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<String>,
    /// Until when it waits: milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
    /// What it asked for; of one step only, not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    input: Option<AnyJson>,
    /// What it gave; of one step only, not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    output: Option<AnyJson>,
}

impl From<&Step> for StepView {
    fn from(step: &Step) -> Self {
        Self {
            step: step.name.clone(),
            node: step.node.clone(),
            state: step.state.as_str().into(),
            attempts: step.attempt,
            execution_id: step.execution_id.clone(),
            started: step.started.0,
            ended: step.ended.map(|time| time.0),
            error: step.error.clone().map(Into::into),
            usage: step.usage.map(Into::into),
            costs: step.costs.clone(),
            signal: step.signal.clone(),
            until: step.until.map(|time| time.0),
            input: None,
            output: None,
        }
    }
}

/// A page of steps.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Steps {
    data: Vec<StepView>,
    /// What to pass as `cursor` for the next page; null: that was all so far.
    next: Option<String>,
}

/// What an execution waits for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Why {
    /// As in the execution.
    status: String,
    /// What it waits for; empty when it has ended. At most 50.
    waits: Vec<Wait>,
    /// How many more there are.
    more: usize,
}

/// One thing that an execution waits for.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Wait {
    /// `admission`, `start`, `resume`, `place`, `execution`, `signal`, `time`, `retry` or `work`.
    r#for: String,
    /// The step that waits; null: the whole.
    step: Option<String>,
    /// Since when: milliseconds since the epoch.
    since: i64,
    /// Until when at most: milliseconds since the epoch.
    until: Option<i64>,
    /// What would move it on.
    moves_on: String,
    /// Of a wait for a place: where it stood when it began to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<PlaceView>,
}

/// Where an execution stood when it began to wait for a place among those of its workflow. Others may have gone
/// since, and others with a higher priority may have come.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PlaceView {
    /// How many run at once.
    limit: u32,
    /// By what executions are counted; null: all of the workflow together.
    key: Option<String>,
    /// How many ran.
    running: u32,
    /// How many waited who go first.
    ahead: u64,
}

impl From<&Place> for PlaceView {
    fn from(place: &Place) -> Self {
        let limit::Queued { limit, running, ahead } = place.queued;
        Self { limit, key: place.key.clone(), running, ahead }
    }
}

/// The steps of an execution that have begun, in the order in which they did.
#[utoipa::path(
    get,
    path = "/v1/executions/{id}/steps",
    tag = "executions",
    params(
        ("id" = String, Path, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", description = "The execution"),
        Selection,
    ),
    responses(
        (status = 200, description = "A page", body = Steps),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller<See, Problem>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Selection>, QueryRejection>,
) -> Result<Json<Steps>, Problem> {
    let id = id(path)?;
    let Query(query) = query.map_err(|error| Fault::invalid("query", error.body_text()))?;
    let limit = query.limit.unwrap_or(STEPS);
    if !(1..=MAX_STEPS).contains(&limit) {
        return Err(Problem(Fault::invalid("limit", format!("must be 1 to {MAX_STEPS}"))));
    }
    let from: usize = match query.cursor.as_deref() {
        None | Some("") => 0,
        Some(text) => {
            text.parse().map_err(|_| Fault::invalid("cursor", "is not `next` of a page"))?
        }
    };
    let state = named(query.state.as_deref(), "state", &STATES, StepState::as_str)?;
    let (_, history) = history(&app, caller.tenant(), &id).await?;
    let wanted = |step: &&Step| state.is_none_or(|state| step.state == state);
    let mut found = history.steps().iter().enumerate().skip(from);
    let mut data = Vec::new();
    let mut next = None;
    for (place, step) in found.by_ref() {
        if !wanted(&step) {
            continue;
        }
        if data.len() == limit {
            next = Some(place.to_string());
            break;
        }
        data.push(StepView::from(step));
    }
    Ok(Json(Steps { data, next }))
}

/// In the order of the document.
const STATES: [StepState; 7] = [
    StepState::Running,
    StepState::Waiting,
    StepState::Retrying,
    StepState::Succeeded,
    StepState::Failed,
    StepState::Skipped,
    StepState::Cancelled,
];

/// One step of an execution, with what it asked for and what it gave.
#[utoipa::path(
    get,
    path = "/v1/executions/{id}/steps/{step}",
    tag = "executions",
    params(
        ("id" = String, Path, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", description = "The execution"),
        ("step" = String, Path, min_length = 1, max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f/]+$", description = "The step, such as `each[3].draft`"),
    ),
    responses(
        (status = 200, description = "The step", body = StepView),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller<See, Problem>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<StepView>, Problem> {
    let Path((execution, name)) = path.map_err(|_| Fault::invalid("step", "is not UTF-8"))?;
    let execution = id(Ok(Path(execution)))?;
    let (_, history) = history(&app, caller.tenant(), &execution).await?;
    let Some(step) = history.step(&name) else {
        return Err(Problem(Fault::NotFound { what: "step", name }));
    };
    let input = step.input.clone().map(AnyJson::of);
    let output = step.output.clone().map(AnyJson::of);
    Ok(Json(StepView { input, output, ..StepView::from(step) }))
}

/// What an execution waits for, since when, and what would move it on.
#[utoipa::path(
    get,
    path = "/v1/executions/{id}/why",
    tag = "executions",
    params(("id" = String, Path, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", description = "The execution")),
    responses(
        (status = 200, description = "What it waits for", body = Why),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn why(
    State(app): State<App>,
    caller: Caller<See, Problem>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Why>, Problem> {
    let id = id(path)?;
    let (execution, history) = history(&app, caller.tenant(), &id).await?;
    let mut waits = waits(&execution, &history);
    let more = waits.len().saturating_sub(REASONS);
    waits.truncate(REASONS);
    Ok(Json(Why { status: execution.status.as_str().into(), waits, more }))
}

/// An execution and what its events tell.
pub(crate) async fn history(
    app: &App,
    tenant: &str,
    id: &str,
) -> Result<(Execution, History), Fault> {
    let Some(execution) = find(app, tenant, id).await? else {
        return Err(Fault::NotFound { what: "execution", name: id.to_owned() });
    };
    let mut history = History::default();
    let mut after: Option<Position> = None;
    let mut read = 0;
    loop {
        let events =
            app.store.events(tenant, id, after, PAGE).await.map_err(|error| away(&error))?;
        let (count, last) = (events.len(), events.last().map(|event| event.position()));
        read += count;
        for mut event in events {
            app.claims.fill_event(&mut event).await;
            history.take_in(event);
        }
        if count < PAGE || read >= MAX_EVENTS {
            return Ok((execution, history));
        }
        after = last;
    }
}

fn waits(execution: &Execution, history: &History) -> Vec<Wait> {
    let this = location(&execution.id);
    let whole = |r#for: &str, since: i64, until: Option<i64>, moves_on: String| Wait {
        r#for: r#for.into(),
        step: None,
        since,
        until,
        moves_on,
        place: None,
    };
    if execution.status.is_terminal() {
        return Vec::new();
    }
    if execution.status == Status::Accepted {
        let role = match execution.kind {
            Kind::Model => "inference",
            kind => kind.as_str(),
        };
        let says = format!(
            "its request stands, and no processor has taken it in: is a process with the role `{role}` running, \
             and is it ready?"
        );
        return vec![whole("admission", execution.created.0, None, says)];
    }
    let mut found = Vec::new();
    if let Some(since) = history.paused {
        let says = format!("it is paused: POST {this}:resume");
        found.push(whole("resume", since.0, None, says));
    }
    if let Some(since) = history.queued {
        let place = history.place.as_ref().map(PlaceView::from);
        let says = has_to_end(place.as_ref());
        found.push(Wait { place, ..whole("place", since.0, None, says) });
    } else if history.started.is_none() {
        match history.not_before {
            Some(due) => {
                let says = format!("it begins at {}", to_rfc3339(due));
                found.push(whole("start", execution.created.0, Some(due.0), says));
            }
            // Whoever has a place begins at once.
            None if execution.kind == Kind::Workflow => {
                let says = "it has asked for a place among the executions of its workflow, as its `concurrency` \
                            wants it, and was not answered yet: is every partition of `workflow-requests` served?";
                found.push(whole("place", execution.updated.0, None, says.into()));
            }
            None => {}
        }
    }
    found.extend(history.steps().iter().filter(|step| step.state.is_open()).map(|step| {
        let (r#for, moves_on) = reason(&this, step);
        let until = step.until.map(|until| until.0);
        let step_name = Some(step.name.clone());
        let since = step.since.0;
        Wait { r#for: r#for.into(), step: step_name, since, until, moves_on, place: None }
    }));
    found
}

/// Who has to end before an execution that waits for a place may begin.
fn has_to_end(place: Option<&PlaceView>) -> String {
    let Some(PlaceView { limit, key, running, ahead }) = place else {
        return "as many executions of its workflow run as its `concurrency` allows: one of them has to end".into();
    };
    let of = key.as_ref().map_or_else(String::new, |key| format!(" with the key {key:?}"));
    let first = match ahead {
        0 => "it was the next one".to_owned(),
        1 => "one other was to begin first".to_owned(),
        ahead => format!("{ahead} others were to begin first"),
    };
    format!(
        "of its workflow {limit} run at once{of} (`concurrency`): {running} ran when it began to wait, and {first}; \
         it begins when enough of them have ended"
    )
}

fn reason(this: &str, step: &Step) -> (&'static str, String) {
    match (step.state, &step.signal, step.until, &step.execution_id) {
        (StepState::Retrying, _, Some(due), _) => {
            let code = step.error.as_ref().map_or("a failure", |error| error.code.as_str());
            let due = to_rfc3339(due);
            ("retry", format!("its last attempt ended with {code}; the next begins at {due}"))
        }
        (StepState::Waiting, Some(signal), ..) => {
            ("signal", format!("POST {this}:signal with the name {signal:?}"))
        }
        (StepState::Waiting, None, Some(until), _) => {
            ("time", format!("it goes on at {}", to_rfc3339(until)))
        }
        (_, _, _, Some(asked)) => {
            let asked = location(asked);
            ("execution", format!("what it asked for has to end: GET {asked}, {asked}/why"))
        }
        _ => ("work", "what it has begun has to end: see the steps in it".into()),
    }
}
