//! `GET /v1/executions` and `GET /v1/executions/{id}`.
#![allow(unused_qualifications, reason = "the macro of the document writes them")]

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, RawQuery, State};
use axum::http::Uri;
use domain::time::Millis;
use domain::topic::Kind;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use store::{Cursor, Execution, Filter, Status};
use utoipa::IntoParams;

use crate::auth::{Caller, See};
use crate::fault::{Fault, Problem};
use crate::view::{ExecutionView, Executions};
use crate::{App, shape, waiting};

/// An id in a path, checked.
pub(crate) fn id(path: Result<Path<String>, PathRejection>) -> Result<String, Fault> {
    let Path(id) = path.map_err(|_| Fault::invalid("id", "is not UTF-8"))?;
    domain::id::check(&id).map_err(|why| Fault::invalid("id", why.to_string()))?;
    Ok(id)
}

/// The tenant's execution with this id.
pub(crate) async fn find(app: &App, tenant: &str, id: &str) -> Result<Option<Execution>, Fault> {
    app.store.execution(tenant, id).await.map_err(|error| away(&error))
}

/// The execution with its answer, wherever that lies.
pub(crate) async fn whole(app: &App, mut execution: Execution) -> Result<Execution, Fault> {
    app.claims.fill_execution(&mut execution).await.map_err(|error| away(&error))?;
    Ok(execution)
}

/// How many executions a page has that doesn't say.
const PAGE: usize = 50;

/// Which executions are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Selection {
    /// Of this kind only.
    #[param(inline, value_type = Option<crate::docs::shapes::KindName>)]
    kind: Option<String>,
    /// With this status only.
    #[param(inline, value_type = Option<crate::docs::shapes::StatusName>)]
    status: Option<String>,
    /// Created at this time or later: milliseconds since the epoch.
    #[param(minimum = 0, maximum = 253_402_300_799_999_i64)]
    from: Option<i64>,
    /// Created before this time: milliseconds since the epoch.
    #[param(minimum = 0, maximum = 253_402_300_799_999_i64)]
    to: Option<i64>,
    /// The most of a page; 50 unless it is given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
}

/// The tenant's executions, newest first.
///
/// An answer above 256 KiB is not in the list: `output_claim` stands there for it, and the execution itself
/// has it.
///
/// With search attributes the list goes by the time at which those were told, which is that of the request or of
/// the admission; so do `from` and `to` then.
///
/// A page may have fewer than `limit`, even none, and still a `next`: a rare status is looked for in bounded
/// steps. The last page's `next` is null.
#[utoipa::path(
    get,
    path = "/v1/executions",
    tag = "executions",
    params(
        Selection,
        (
            "attribute.NAME" = Option<String>, Query, max_length = 256,
            description = "With this search attribute only, whose name stands in place of `NAME`: \
                `attribute.customer=c-7`. May come for several names; all of them have to fit"
        ),
    ),
    responses(
        (status = 200, description = "A page", body = Executions),
        crate::docs::ListErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller<See, Problem>,
    RawQuery(query): RawQuery,
) -> Result<Json<Executions>, Problem> {
    let (query, attributes) = read(query.as_deref().unwrap_or_default())?;
    let (filter, cursor) = selected(&query, attributes)?;
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=store::MAX_ROWS).contains(&limit) {
        let problem = format!("must be 1 to {}", store::MAX_ROWS);
        return Err(Problem(Fault::invalid("limit", problem)));
    }
    let page = app
        .store
        .list(caller.tenant(), &filter, cursor.as_ref(), limit)
        .await
        .map_err(|error| away(&error))?;
    Ok(Json(Executions {
        data: page.executions.into_iter().map(ExecutionView::from).collect(),
        next: page.next.map(|next| next.to_string()),
    }))
}

/// What the name of a parameter begins with that wants a search attribute.
const ATTRIBUTE: &str = "attribute.";

/// The parameters of a list, and the search attributes among them.
fn read(query: &str) -> Result<(Selection, BTreeMap<String, String>), Fault> {
    fn parse<T: DeserializeOwned>(query: &str) -> Result<T, Fault> {
        let wrong = |error: String| Fault::invalid("query", error);
        let uri: Uri = format!("/?{query}").parse().map_err(|_| wrong("is no query".into()))?;
        let Query(read) = Query::try_from_uri(&uri).map_err(|error| wrong(error.body_text()))?;
        Ok(read)
    }
    let (mut attributes, mut others) = (BTreeMap::new(), Vec::new());
    for parameter in query.split('&') {
        let mut pairs: Vec<(String, String)> = parse(parameter)?;
        let Some((name, value)) = pairs.pop() else { continue };
        match name.strip_prefix(ATTRIBUTE) {
            None => others.push(parameter),
            Some(attribute) => {
                if attributes.insert(attribute.to_owned(), value).is_some() {
                    return Err(Fault::invalid(name, "must come once"));
                }
            }
        }
    }
    shape::labels("attribute", attributes.iter())?;
    Ok((parse(&others.join("&"))?, attributes))
}

fn selected(
    query: &Selection,
    attributes: BTreeMap<String, String>,
) -> Result<(Filter, Option<Cursor>), Fault> {
    let text = query.cursor.as_deref().filter(|text| !text.is_empty());
    let cursor = text.map(cursor);
    let filter = Filter {
        kind: named(query.kind.as_deref(), "kind", &Kind::ALL, Kind::as_str)?,
        status: named(query.status.as_deref(), "status", &Status::ALL, Status::as_str)?,
        from: query.from.map(Millis),
        to: query.to.map(Millis),
        attributes,
    };
    Ok((filter, cursor.transpose()?))
}

/// The cursor that a page's `next` stands for.
pub(crate) fn cursor(text: &str) -> Result<Cursor, Fault> {
    Cursor::parse(text).map_err(|_| Fault::invalid("cursor", "is not `next` of a page"))
}

/// The one of these with that name; an error names the field and all of them.
pub(crate) fn named<T: Copy>(
    name: Option<&str>,
    field: &str,
    all: &[T],
    name_of: fn(T) -> &'static str,
) -> Result<Option<T>, Fault> {
    let Some(name) = name else { return Ok(None) };
    let found = all.iter().copied().find(|one| name_of(*one) == name);
    found.map(Some).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|one| format!("`{}`", name_of(*one))).collect();
        Fault::invalid(field, format!("must be one of {}", names.join(", ")))
    })
}

/// What a client is told when the store fails; the cause is for the log.
pub(crate) fn away(error: &store::StoreError) -> Fault {
    tracing::warn!(%error, "the store can't be asked");
    Fault::Away { what: "the store", execution: None }
}

/// One execution: how far it is, and its answer when it has one.
///
/// With `?wait=30s` the answer comes when the execution has ended, or after that time.
#[utoipa::path(
    get,
    path = "/v1/executions/{id}",
    tag = "executions",
    params(
        ("id" = String, Path, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", description = "The execution"),
        crate::requests::Waiting,
    ),
    responses(
        (status = 200, description = "The execution", body = ExecutionView),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller<See, Problem>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<crate::requests::Waiting>, QueryRejection>,
) -> Result<Json<ExecutionView>, Problem> {
    let id = id(path)?;
    let Query(query) = query.map_err(|error| Fault::invalid("query", error.body_text()))?;
    let wait = query.duration(&app)?;
    match find(&app, caller.tenant(), &id).await? {
        Some(execution) => {
            let execution = waiting::end_of(&app, execution, wait).await;
            Ok(Json(whole(&app, execution).await?.into()))
        }
        None => Err(Problem(Fault::NotFound { what: "execution", name: id })),
    }
}
