//! `POST /v1/executions:cancel`, `:pause` and `:resume`: the same for all executions that a filter finds.
//! `bulk_again` has `:retry` and `:restart`.
#![allow(unused_qualifications, reason = "the macro of the document writes them")]

use std::collections::BTreeMap;

use axum::extract::State;
use axum::{Extension, Json};
use domain::fact::Order;
use domain::time::Millis;
use domain::topic::Kind;
use serde::{Deserialize, Serialize};
use store::{Cursor, Execution, Filter, Status};
use utoipa::ToSchema;

use crate::again::Wanted;
use crate::auth::{Caller, Steer};
use crate::body::{JsonText, parse};
use crate::executions::{away, cursor, named};
use crate::fault::{Fault, Problem};
use crate::trace::Trace;
use crate::{App, shape};

/// So many executions are commanded by one request; the answer says whether there are more.
const MOST: usize = 10_000;
/// So many of their ids are in the answer.
const SHOWN: usize = 100;

/// Which executions, and whether it is meant. All that is given has to fit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Selection {
    /// Only says what would be done; that is so unless it is `false`.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub(crate) dry_run: bool,
    /// Of this kind.
    #[schema(value_type = Option<crate::docs::shapes::KindName>)]
    pub(crate) kind: Option<String>,
    /// With this status.
    #[schema(value_type = Option<crate::docs::shapes::StatusName>)]
    status: Option<String>,
    /// Of this workflow, model, agent or function.
    definition: Option<String>,
    /// With these labels.
    #[serde(default)]
    #[schema(value_type = crate::docs::shapes::Labels)]
    labels: BTreeMap<String, String>,
    /// With these search attributes. Found by an index, where labels are looked for one by one.
    #[serde(default)]
    #[schema(value_type = crate::docs::shapes::Labels)]
    search_attributes: BTreeMap<String, String>,
    /// Created at this time or later: milliseconds since the epoch.
    #[schema(minimum = 0, maximum = 253_402_300_799_999_i64)]
    from: Option<i64>,
    /// Created before this time: milliseconds since the epoch.
    #[schema(minimum = 0, maximum = 253_402_300_799_999_i64)]
    to: Option<i64>,
    /// For people, where it cancels.
    #[schema(max_length = 1024)]
    reason: Option<String>,
    /// Where it restarts: the version to run, the old one unless it is given; `standing` is the one that stands
    /// now.
    #[schema(value_type = Option<crate::docs::shapes::WantedVersion>)]
    pub(crate) version: Option<Wanted>,
    /// Where to go on: `next` of the answer before.
    cursor: Option<String>,
}

fn yes() -> bool {
    true
}

/// What was done, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Outcome {
    dry_run: bool,
    /// How many executions the filter finds that haven't ended.
    matched: usize,
    /// How many commands stand.
    commanded: usize,
    /// The first hundred of them.
    ids: Vec<String>,
    /// Whether there may be more than one request takes: ask again.
    more: bool,
    /// What to pass as `cursor` to go on behind these; null: that was all.
    next: Option<String>,
}

/// Cancels all executions that a filter finds and that haven't ended.
///
/// Without `"dry_run": false` it only says which those are.
#[utoipa::path(
    post,
    path = "/v1/executions:cancel",
    tag = "executions",
    request_body = Selection,
    responses(
        (status = 200, description = "What was done, or would be", body = Outcome),
        crate::docs::WriteErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller<Steer, Problem>,
    Extension(trace): Extension<Trace>,
    body: JsonText<Problem>,
) -> Result<Json<Outcome>, Problem> {
    let selection: Selection = parse(&body.into_text())?;
    let reason = selection.reason.clone().unwrap_or_else(|| "asked for over HTTP".into());
    command(&app, caller.tenant(), selection, &Order::Cancel { reason: Some(reason) }, &trace).await
}

/// Holds all executions that a filter finds and that haven't ended.
///
/// Without `"dry_run": false` it only says which those are.
#[utoipa::path(
    post,
    path = "/v1/executions:pause",
    tag = "executions",
    request_body = Selection,
    responses(
        (status = 200, description = "What was done, or would be", body = Outcome),
        crate::docs::WriteErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn pause(
    State(app): State<App>,
    caller: Caller<Steer, Problem>,
    Extension(trace): Extension<Trace>,
    body: JsonText<Problem>,
) -> Result<Json<Outcome>, Problem> {
    let selection = parse(&body.into_text())?;
    command(&app, caller.tenant(), selection, &Order::Pause, &trace).await
}

/// Lets all executions go on that a filter finds.
///
/// Without `"dry_run": false` it only says which those are.
#[utoipa::path(
    post,
    path = "/v1/executions:resume",
    tag = "executions",
    request_body = Selection,
    responses(
        (status = 200, description = "What was done, or would be", body = Outcome),
        crate::docs::WriteErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn resume(
    State(app): State<App>,
    caller: Caller<Steer, Problem>,
    Extension(trace): Extension<Trace>,
    body: JsonText<Problem>,
) -> Result<Json<Outcome>, Problem> {
    let selection = parse(&body.into_text())?;
    command(&app, caller.tenant(), selection, &Order::Resume, &trace).await
}

async fn command(
    app: &App,
    tenant: &str,
    selection: Selection,
    order: &Order,
    trace: &Trace,
) -> Result<Json<Outcome>, Problem> {
    let goes_on = |execution: &Execution| !execution.status.is_terminal();
    let Found { executions, next } = selection.find(app, tenant, MOST, goes_on).await?;
    let mut outcome = Outcome {
        dry_run: selection.dry_run,
        matched: executions.len(),
        commanded: 0,
        ids: executions.iter().take(SHOWN).map(|execution| execution.id.clone()).collect(),
        more: next.is_some(),
        next: next.map(|next| next.to_string()),
    };
    if selection.dry_run {
        return Ok(Json(outcome));
    }
    for Execution { id, kind, .. } in executions {
        app.publish_command(kind, &id, tenant, order.clone(), Some(trace))
            .await
            .map_err(|error| error.into_fault(Some(&id)))?;
        outcome.commanded += 1;
    }
    Ok(Json(outcome))
}

/// What a filter finds.
pub(crate) struct Found {
    /// At most as many as were asked for.
    pub(crate) executions: Vec<Execution>,
    /// Where to go on; `None`: that was all.
    pub(crate) next: Option<Cursor>,
}

impl Selection {
    /// Checks what a client selects.
    fn filter(&self) -> Result<(Filter, Option<Cursor>), Fault> {
        shape::labels("labels", self.labels.iter())?;
        shape::labels("search_attributes", self.search_attributes.iter())?;
        let text = self.cursor.as_deref().filter(|text| !text.is_empty());
        let cursor = text.map(cursor).transpose()?;
        let filter = Filter {
            kind: named(self.kind.as_deref(), "kind", &Kind::ALL, Kind::as_str)?,
            status: named(self.status.as_deref(), "status", &Status::ALL, Status::as_str)?,
            attributes: self.search_attributes.clone(),
            from: self.from.map(Millis),
            to: self.to.map(Millis),
        };
        Ok((filter, cursor))
    }

    /// The executions that fit and are `wanted`, at most `most`.
    pub(crate) async fn find(
        &self,
        app: &App,
        tenant: &str,
        most: usize,
        wanted: impl Fn(&Execution) -> bool,
    ) -> Result<Found, Fault> {
        let (filter, mut cursor) = self.filter()?;
        let fits = |execution: &Execution| {
            let definition = self.definition.as_ref();
            let mut labels = self.labels.iter();
            wanted(execution)
                && definition.is_none_or(|it| execution.definition.as_ref() == Some(it))
                && labels.all(|(name, value)| execution.labels.get(name) == Some(value))
        };
        let mut executions = Vec::new();
        loop {
            let limit = (most - executions.len()).min(store::MAX_ROWS);
            let page = app
                .store
                .list(tenant, &filter, cursor.as_ref(), limit)
                .await
                .map_err(|error| away(&error))?;
            executions.extend(page.executions.into_iter().filter(|it| fits(it)));
            cursor = page.next;
            if cursor.is_none() || executions.len() >= most {
                return Ok(Found { executions, next: cursor });
            }
        }
    }
}
