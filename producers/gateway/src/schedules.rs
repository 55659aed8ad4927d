//! `/v1/schedules/{name}`: what steers a schedule that stands, and when it is due next.
//!
//! A command goes straight into the log of the schedule. What a schedule says is a definition, and in
//! `crate::definitions`.
#![allow(unused_qualifications, reason = "the macro of the document writes them")]

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use domain::fact::Order;
use domain::schedule::definition::Definition;
use domain::schedule::{life, triggered_id};
use domain::time::{parse_rfc3339, to_rfc3339};
use domain::topic::Kind;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::auth::{Caller, Look, Steer};
use crate::body::{Text, check_depth, parse};
use crate::definitions::{SCHEDULES, said};
use crate::fault::{Fault, Problem};
use crate::publish::{new_id, now};
use crate::requests::taken;
use crate::trace::Trace;
use crate::view::Accepted;

/// How many times are told to whoever doesn't say.
const TIMES: usize = 5;

/// The most times that are told.
const MOST_TIMES: usize = 100;

/// How many times are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Count {
    /// How many; 5 unless it is given.
    #[param(minimum = 1, maximum = 100)]
    count: Option<usize>,
}

/// When a schedule is due.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NextTimes {
    name: String,
    /// The version that says so.
    version: i32,
    /// When it is due.
    cron: String,
    /// In which time zone.
    time_zone: String,
    /// The next times, RFC 3339 in UTC, without the jitter; fewer than asked for where it ends before.
    next: Vec<String>,
}

/// A stretch of time.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stretch {
    /// The first time that counts, RFC 3339.
    #[schema(format = DateTime)]
    from: String,
    /// Times from here on don't count, RFC 3339; nor does what is still ahead.
    #[schema(format = DateTime)]
    to: String,
}

/// The next times at which a schedule is due, as its newest version says. Whether it is paused isn't looked at.
#[utoipa::path(
    get,
    path = "/v1/schedules/{name}/next",
    tag = "schedules",
    params(
        ("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The schedule"),
        Count,
    ),
    responses(
        (status = 200, description = "The times", body = NextTimes),
        (status = 422, description = "What is stored can't be used; `problems` says why", body = crate::docs::shapes::ProblemDetails, content_type = "application/problem+json"),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn next(
    State(app): State<App>,
    caller: Caller<Look, Problem>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Count>, QueryRejection>,
) -> Result<Json<NextTimes>, Problem> {
    let name = SCHEDULES.name(path)?;
    let Query(Count { count }) =
        query.map_err(|error| Fault::invalid("query", error.body_text()))?;
    let count = count.unwrap_or(TIMES);
    if !(1..=MOST_TIMES).contains(&count) {
        return Err(Problem(Fault::invalid("count", format!("must be 1 to {MOST_TIMES}"))));
    }
    let catalogue = app.definitions.snapshot();
    let version = SCHEDULES.newest(&catalogue, caller.tenant(), &name)?;
    let definition = read(version.body.as_deref().unwrap_or_default())?;
    let due = |after: &_| definition.next_after(*after);
    let next = std::iter::successors(due(&now()), due).take(count).map(to_rfc3339).collect();
    Ok(Json(NextTimes {
        name,
        version: version.number,
        cron: definition.cron().to_owned(),
        time_zone: definition.time_zone().to_owned(),
        next,
    }))
}

/// What a version says. One that was written into the topic by somebody else may be no schedule.
fn read(body: &str) -> Result<Definition, Fault> {
    Definition::read(&said(body)?)
        .map(|(definition, _)| definition)
        .map_err(|problems| Fault::Refused { problems })
}

/// Leads to what a path's last segment asks for: the router matches whole segments, so the verb comes with
/// the name.
pub(crate) async fn post(
    state: State<App>,
    caller: Caller<Steer, Problem>,
    trace: Extension<Trace>,
    path: Result<Path<String>, PathRejection>,
    body: Text,
) -> Result<Response, Problem> {
    let Path(segment) = path.map_err(|_| Fault::invalid("name", "is not UTF-8"))?;
    let (name, verb) = segment.rsplit_once(':').unwrap_or((&segment, ""));
    let name = Ok(Path(name.to_owned()));
    match verb {
        "pause" => pause(state, caller, trace, name).await,
        "resume" => resume(state, caller, trace, name).await,
        "trigger" => trigger(state, caller, trace, name).await,
        "backfill" => backfill(state, caller, trace, name, body).await,
        _ => Err(Problem(Fault::NoRoute)),
    }
}

/// Lets a schedule start nothing for now. What is due meanwhile is missed, and what runs goes on.
///
/// The 202 says that the command stands in the log. A change of `paused` in the definition overrides it.
#[utoipa::path(
    post,
    path = "/v1/schedules/{name}:pause",
    tag = "schedules",
    params(("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The schedule")),
    responses(
        (status = 202, description = "The command stands", body = Accepted),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn pause(
    State(app): State<App>,
    caller: Caller<Steer, Problem>,
    Extension(trace): Extension<Trace>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let schedule = standing(&app, caller.tenant(), path)?;
    command(&app, caller.tenant(), &trace, &schedule, Order::Pause).await?;
    Ok(accepted(schedule))
}

/// Lets a paused schedule go on, with the next time that is due.
///
/// The 202 says that the command stands in the log.
#[utoipa::path(
    post,
    path = "/v1/schedules/{name}:resume",
    tag = "schedules",
    params(("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The schedule")),
    responses(
        (status = 202, description = "The command stands", body = Accepted),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn resume(
    State(app): State<App>,
    caller: Caller<Steer, Problem>,
    Extension(trace): Extension<Trace>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let schedule = standing(&app, caller.tenant(), path)?;
    command(&app, caller.tenant(), &trace, &schedule, Order::Resume).await?;
    Ok(accepted(schedule))
}

/// Starts the workflow of a schedule now, also when the schedule is paused and whatever runs.
///
/// The answer names the execution that starts; it can be followed at once.
#[utoipa::path(
    post,
    path = "/v1/schedules/{name}:trigger",
    tag = "schedules",
    params(("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The schedule")),
    responses(
        (status = 202, description = "The command stands; `id` is the execution that starts", body = Accepted),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn trigger(
    State(app): State<App>,
    caller: Caller<Steer, Problem>,
    Extension(trace): Extension<Trace>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let schedule = standing(&app, caller.tenant(), path)?;
    let id = new_id();
    let payload = Some(json!({ "id": id }).to_string());
    let order = Order::Signal { name: "trigger".into(), payload };
    command(&app, caller.tenant(), &trace, &schedule, order).await?;
    Ok(accepted(triggered_id(&schedule, &id)))
}

/// Starts the workflow of a schedule for the times of a stretch of the past: at most 1000, the oldest, also
/// when the schedule is paused. What runs isn't started again; a time whose execution has ended is.
///
/// The 202 says that the command stands in the log.
#[utoipa::path(
    post,
    path = "/v1/schedules/{name}:backfill",
    tag = "schedules",
    params(("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The schedule")),
    request_body = Stretch,
    responses(
        (status = 202, description = "The command stands", body = Accepted),
        (status = 404, description = "There is no such schedule", body = crate::docs::shapes::ProblemDetails, content_type = "application/problem+json"),
        crate::docs::WriteErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn backfill(
    State(app): State<App>,
    caller: Caller<Steer, Problem>,
    Extension(trace): Extension<Trace>,
    path: Result<Path<String>, PathRejection>,
    body: Text,
) -> Result<Response, Problem> {
    let schedule = standing(&app, caller.tenant(), path)?;
    let body = body.into_text();
    check_depth(&body)?;
    let Stretch { from, to } = parse(&body)?;
    let time = |text: &str, place: &'static str| {
        let wrong = "must be a time such as 2026-03-29T02:00:00Z";
        parse_rfc3339(text).ok_or_else(|| Fault::invalid(place, wrong))
    };
    if time(&from, "from")? >= time(&to, "to")? {
        return Err(Problem(Fault::invalid("to", "must be after `from`")));
    }
    let payload = Some(json!({"from": from, "to": to}).to_string());
    let order = Order::Signal { name: "backfill".into(), payload };
    command(&app, caller.tenant(), &trace, &schedule, order).await?;
    Ok(accepted(schedule))
}

/// The execution that the schedule is.
fn standing(
    app: &App,
    tenant: &str,
    path: Result<Path<String>, PathRejection>,
) -> Result<String, Fault> {
    let name = SCHEDULES.name(path)?;
    let catalogue = app.definitions.snapshot();
    life::standing(&catalogue, tenant, &name).ok_or_else(|| SCHEDULES.missing(&name))
}

async fn command(
    app: &App,
    tenant: &str,
    trace: &Trace,
    schedule: &str,
    order: Order,
) -> Result<(), Fault> {
    let published = app.publish_command(Kind::Workflow, schedule, tenant, order, Some(trace)).await;
    published.map_err(|error| error.into_fault(Some(schedule)))
}

fn accepted(id: String) -> Response {
    (StatusCode::ACCEPTED, Json(taken(id))).into_response()
}
