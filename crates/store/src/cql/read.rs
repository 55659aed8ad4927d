//! The reads of one execution: one partition each, and never more of it than is asked for.

use bytes::Bytes;
use domain::event::{ExecutionEvent, Position};
use domain::log_row::ExecutionLogRecord;
use domain::time::Millis;
use domain::topic::Kind;
use futures_util::TryStreamExt as _;
use scylla::statement::prepared::PreparedStatement;
use serde::de::DeserializeOwned;

use super::Shared;
use crate::codec::decode;
use crate::summary::{Columns, Summary};
use crate::value::{Joined, Reading};
use crate::visible::{Visible, is_news};
use crate::{Execution, LogPlace, StoreError, ValueHash};

/// Rows that are fetched beyond what is asked for, since some may turn out to be hidden.
const SPARE_ROWS: usize = 16;

/// Chunks of a value that are fetched at once: a MiB.
const CHUNKS: usize = 4;

/// A column of `executions`.
type Value = Option<Vec<u8>>;

pub(super) async fn execution(
    shared: &Shared,
    tenant: &str,
    id: &str,
) -> Result<Option<Execution>, StoreError> {
    Ok(summary(shared, tenant, id).await?.map(|summary| summary.into_execution(tenant, id)))
}

/// What is kept of an execution besides its events and rows.
pub(super) async fn summary(
    shared: &Shared,
    tenant: &str,
    id: &str,
) -> Result<Option<Summary>, StoreError> {
    let failed = failed("read an execution");
    let statement = &shared.statements.read_execution;
    let answer =
        shared.session.execute_unpaged(statement, (tenant, id)).await.map_err(failed.of())?;
    let rows = answer.into_rows_result().map_err(failed.of())?;
    let row = rows
        .maybe_first_row::<(Value, Value, Value, Value, Value, Value, Value)>()
        .map_err(failed.of())?;
    let Some((created, accepted, logged, attributed, latest, standing, ended)) = row else {
        return Ok(None);
    };
    let created: Option<(Kind, Millis)> = part(tenant, id, "created", created)?;
    let (mut kind, created) = created.unzip();
    let mut keep = |of: Option<Kind>| kind = kind.or(of);
    let (of, accepted) = part(tenant, id, "accepted", accepted)?.unzip();
    keep(of);
    let (of, logged) = part(tenant, id, "logged", logged)?.unzip();
    keep(of);
    let (of, attributed) = part(tenant, id, "attributed", attributed)?.unzip();
    keep(of);
    let (of, latest) = part(tenant, id, "latest", latest)?.unzip();
    keep(of);
    let (of, standing) = part(tenant, id, "standing", standing)?.unzip();
    keep(of);
    let (of, ended) = part(tenant, id, "ended", ended)?.unzip();
    keep(of);
    let Some(kind) = kind else { return Ok(None) };
    let columns = Columns { created, accepted, logged, attributed, latest, standing, ended };
    Ok(Summary::of_columns(kind, columns))
}

fn part<T: DeserializeOwned>(
    tenant: &str,
    id: &str,
    column: &str,
    value: Value,
) -> Result<Option<(Kind, T)>, StoreError> {
    value
        .map(|value| decode("executions", || format!("{tenant}/{id}, column {column}"), &value))
        .transpose()
}

pub(super) async fn events(
    shared: &Shared,
    tenant: &str,
    id: &str,
    after: Option<Position>,
    limit: usize,
) -> Result<Vec<ExecutionEvent>, StoreError> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    if let Some(after) = after {
        // Behind an event of the newest generation nothing before can matter any more.
        let from = Scan { tenant, id, from: after.number, after: Some(after), limit };
        if let Some(found) = from.run(shared, Trust::IfKnown(after)).await? {
            return Ok(found);
        }
    }
    let all = Scan { tenant, id, from: i64::MIN, after, limit };
    Ok(all.run(shared, Trust::Always).await?.unwrap_or_default())
}

/// A walk over the events of an execution.
struct Scan<'a> {
    tenant: &'a str,
    id: &'a str,
    from: i64,
    after: Option<Position>,
    limit: usize,
}

/// Whether a walk may begin where it does.
#[derive(Clone, Copy)]
enum Trust {
    Always,
    /// Only if the first event is this one, and no generation is newer.
    IfKnown(Position),
}

impl Scan<'_> {
    /// `None`: it may not begin there.
    async fn run(
        &self,
        shared: &Shared,
        trust: Trust,
    ) -> Result<Option<Vec<ExecutionEvent>>, StoreError> {
        let failed = failed("read events");
        let Self { tenant, id, from, after, limit } = *self;
        let statement = paged(&shared.statements.read_events, limit + SPARE_ROWS);
        let pages = shared
            .session
            .execute_iter(statement, (tenant, id, from))
            .await
            .map_err(failed.of())?;
        let mut rows = pages.rows_stream::<(i64, Option<i32>, Value)>().map_err(failed.of())?;
        let mut visible = match trust {
            Trust::Always => Some(Visible::from_start()),
            Trust::IfKnown(_) => None,
        };
        let mut found = Vec::new();
        while found.len() < limit {
            let Some((number, newest, value)) = rows.try_next().await.map_err(failed.of())? else {
                break;
            };
            // A row without a value is about to expire.
            let Some(value) = value else { continue };
            let event: ExecutionEvent =
                decode("events", || format!("{tenant}/{id}/{number}"), &value)?;
            if let (None, Trust::IfKnown(known)) = (&visible, trust) {
                if event.position() != known || newest != Some(known.generation) {
                    return Ok(None);
                }
                visible = Some(Visible::from_newest(known.generation));
            }
            let shows = visible.as_mut().is_some_and(|visible| visible.shows(&event));
            if shows && is_news(&event, after) {
                found.push(event);
            }
        }
        // An empty walk says nothing about what came before it.
        Ok(visible.map(|_| found))
    }
}

pub(super) async fn log_rows(
    shared: &Shared,
    tenant: &str,
    id: &str,
    after: Option<&LogPlace>,
    limit: usize,
) -> Result<Vec<ExecutionLogRecord>, StoreError> {
    let failed = failed("read log rows");
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    // No row stands at the lowest place: its id would be empty, and its offset less than none.
    let (time, offset, event_id) = after.map_or((i64::MIN, i64::MIN, ""), |after| {
        (after.event_time.0, after.source_offset, after.event_id.as_str())
    });
    let statement = paged(&shared.statements.read_log_rows, limit);
    let pages = shared
        .session
        .execute_iter(statement, (tenant, id, time, offset, event_id))
        .await
        .map_err(failed.of())?;
    let mut rows = pages.rows_stream::<(Value,)>().map_err(failed.of())?;
    while found.len() < limit {
        let Some((value,)) = rows.try_next().await.map_err(failed.of())? else { break };
        let Some(value) = value else { continue };
        let place = || format!("{tenant}/{id}, row {} after {event_id:?}", found.len() + 1);
        found.push(decode("log_rows", place, &value)?);
    }
    Ok(found)
}

pub(super) async fn progress(
    shared: &Shared,
    topic: &str,
    partition: i32,
) -> Result<Option<i64>, StoreError> {
    let failed = failed("read progress");
    let key = (shared.prefix.as_str(), topic, partition);
    let statement = &shared.statements.read_progress;
    let answer = shared.session.execute_unpaged(statement, key).await.map_err(failed.of())?;
    let rows = answer.into_rows_result().map_err(failed.of())?;
    let row = rows.maybe_first_row::<(Option<i64>,)>().map_err(failed.of())?;
    Ok(row.and_then(|(next,)| next))
}

pub(super) async fn value(
    shared: &Shared,
    tenant: &str,
    hash: &ValueHash,
) -> Result<Option<Bytes>, StoreError> {
    let failed = failed("read a value");
    let statement = paged(&shared.statements.read_value, CHUNKS);
    let pages = shared
        .session
        .execute_iter(statement, (tenant, hash.as_str()))
        .await
        .map_err(failed.of())?;
    let mut rows = pages.rows_stream::<(i32, Option<i64>, Value)>().map_err(failed.of())?;
    let mut joined = Joined::default();
    while let Some((chunk, length, value)) = rows.try_next().await.map_err(failed.of())? {
        // A row without a value is about to expire.
        let (Some(length), Some(value)) = (length, value) else { return Ok(None) };
        if joined.take(chunk, length, &value) == Reading::Broken {
            return Ok(None);
        }
    }
    joined.finish(hash)
}

/// The statement, fetching `rows` rows at a time.
pub(super) fn paged(statement: &PreparedStatement, rows: usize) -> PreparedStatement {
    let mut statement = statement.clone();
    statement.set_page_size(i32::try_from(rows).unwrap_or(i32::MAX));
    statement
}

/// Says what was tried when the database fails.
#[derive(Clone, Copy)]
pub(super) struct Failed(&'static str);

pub(super) fn failed(operation: &'static str) -> Failed {
    Failed(operation)
}

impl Failed {
    /// For `map_err`, of any of the driver's errors.
    pub(super) fn of<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        self,
    ) -> impl FnOnce(E) -> StoreError {
        move |source| StoreError::backend(self.0, source)
    }
}
