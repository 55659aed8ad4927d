//! The reads. Each sees one committed state of the file, and blocks.

use std::ops::Bound;

use bytes::Bytes;
use domain::event::{ExecutionEvent, Position};
use domain::log_row::ExecutionLogRecord;
use domain::time::Millis;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};

use super::tables::{
    BY_ATTRIBUTE, BY_TIME, EVENTS, EXECUTIONS, LOG_ROWS, PROGRESS, VALUE_HEADS, VALUES, successor,
};
use crate::codec::decode;
use crate::summary::Summary;
use crate::value::{Joined, Reading};
use crate::visible::{Visible, is_news};
use crate::{Cursor, Execution, Filter, LogPlace, Page, StoreError, ValueHash};

/// The most executions that one call of `list` looks at. A page that finds too few of the wanted ones
/// among them says where to go on.
const LOOKED_AT: usize = 2_000;

/// What fails when a list does.
const LIST: &str = "list executions";

pub(super) fn execution(
    database: &Database,
    tenant: &str,
    id: &str,
) -> Result<Option<Execution>, StoreError> {
    let transaction = begin(database)?;
    let table = transaction.open_table(EXECUTIONS).map_err(failed("read executions"))?;
    let Some(value) = table.get((tenant, id)).map_err(failed("read executions"))? else {
        return Ok(None);
    };
    Ok(Some(summary(tenant, id, value.value())?.into_execution(tenant, id)))
}

pub(super) fn events(
    database: &Database,
    tenant: &str,
    id: &str,
    after: Option<Position>,
    limit: usize,
) -> Result<Vec<ExecutionEvent>, StoreError> {
    const OPERATION: &str = "read events";
    let newest = execution(database, tenant, id)?.and_then(|execution| execution.position);
    let transaction = begin(database)?;
    let table = transaction.open_table(EVENTS).map_err(failed(OPERATION))?;
    let event_at = |number| -> Result<Option<ExecutionEvent>, StoreError> {
        let value = table.get((tenant, id, number)).map_err(failed(OPERATION))?;
        value.map(|value| event(tenant, id, number, value.value())).transpose()
    };
    // Behind an event of the newest generation nothing before can matter any more.
    let known = match after.filter(|after| newest.map(|n| n.generation) == Some(after.generation)) {
        Some(after) => event_at(after.number)?.filter(|event| event.position() == after),
        None => None,
    };
    let (from, mut visible) = match known {
        Some(event) => (event.number, Visible::from_newest(event.generation)),
        None => (i64::MIN, Visible::from_start()),
    };
    let mut found = Vec::new();
    let range = (tenant, id, from)..=(tenant, id, i64::MAX);
    for row in table.range::<(&str, &str, i64)>(range).map_err(failed(OPERATION))? {
        if found.len() == limit {
            break;
        }
        let (key, value) = row.map_err(failed(OPERATION))?;
        let event = event(tenant, id, key.value().2, value.value())?;
        if visible.shows(&event) && is_news(&event, after) {
            found.push(event);
        }
    }
    Ok(found)
}

pub(super) fn list(
    database: &Database,
    tenant: &str,
    filter: &Filter,
    cursor: Option<&Cursor>,
    limit: usize,
) -> Result<Page, StoreError> {
    let transaction = begin(database)?;
    let summaries = transaction.open_table(EXECUTIONS).map_err(failed(LIST))?;
    let from = filter.from.map_or(i64::MIN, |from| from.0);
    let to = filter.to.map(|to| (to.0, ""));
    let cursor = cursor.map(|cursor| (cursor.created().0, cursor.id()));
    // The place behind the last one; `None`: the end of the list.
    let end = match (to, cursor) {
        (Some(to), Some(cursor)) => Some(to.min(cursor)),
        (to, cursor) => to.or(cursor),
    };
    if end.is_some_and(|end| end <= (from, "")) {
        return Ok(Page::default());
    }
    match filter.attributes.first_key_value() {
        None => {
            let by_time = transaction.open_table(BY_TIME).map_err(failed(LIST))?;
            let behind = successor(tenant);
            let end = end.map_or((behind.as_str(), i64::MIN, ""), |(time, id)| (tenant, time, id));
            let rows = by_time
                .range::<(&str, i64, &str)>((tenant, from, "")..end)
                .map_err(failed(LIST))?;
            let places = rows.rev().map(|row| {
                let (key, _) = row.map_err(failed(LIST))?;
                let (_, time, id) = key.value();
                Ok((time, id.to_owned()))
            });
            page(&summaries, tenant, filter, places, limit)
        }
        // Those that have the first attribute; whether they have the others is told by themselves.
        Some((name, value)) => {
            let (name, value) = (name.as_str(), value.as_str());
            let by_attribute = transaction.open_table(BY_ATTRIBUTE).map_err(failed(LIST))?;
            let behind = successor(value);
            let end = end.map_or((tenant, name, behind.as_str(), i64::MIN, ""), |(time, id)| {
                (tenant, name, value, time, id)
            });
            let start = (tenant, name, value, from, "");
            let rows = by_attribute
                .range::<(&str, &str, &str, i64, &str)>(start..end)
                .map_err(failed(LIST))?;
            let places = rows.rev().map(|row| {
                let (key, _) = row.map_err(failed(LIST))?;
                let (_, _, _, time, id) = key.value();
                Ok((time, id.to_owned()))
            });
            page(&summaries, tenant, filter, places, limit)
        }
    }
}

/// The wanted ones of the executions at these places.
fn page(
    summaries: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
    tenant: &str,
    filter: &Filter,
    places: impl Iterator<Item = Result<(i64, String), StoreError>>,
    limit: usize,
) -> Result<Page, StoreError> {
    let mut page = Page::default();
    let mut last: Option<Cursor> = None;
    for (looked_at, place) in places.enumerate() {
        if page.executions.len() == limit || looked_at == LOOKED_AT {
            page.next = last;
            break;
        }
        let (time, id) = place?;
        let found = summaries.get((tenant, id.as_str())).map_err(failed(LIST))?;
        last = Some(Cursor::after(Millis(time), id.clone()));
        let Some(value) = found else { continue };
        let execution = summary(tenant, &id, value.value())?.into_execution(tenant, &id);
        if filter.wants(&execution) {
            page.executions.push(execution);
        }
    }
    Ok(page)
}

pub(super) fn log_rows(
    database: &Database,
    tenant: &str,
    id: &str,
    after: Option<&LogPlace>,
    limit: usize,
) -> Result<Vec<ExecutionLogRecord>, StoreError> {
    const OPERATION: &str = "read log rows";
    let transaction = begin(database)?;
    let table = transaction.open_table(LOG_ROWS).map_err(failed(OPERATION))?;
    let start = after.map_or(Bound::Included((tenant, id, i64::MIN, i64::MIN, "")), |after| {
        let LogPlace { event_time, source_offset, event_id } = after;
        Bound::Excluded((tenant, id, event_time.0, *source_offset, event_id.as_str()))
    });
    let behind = successor(id);
    let end = Bound::Excluded((tenant, behind.as_str(), i64::MIN, i64::MIN, ""));
    let mut found = Vec::new();
    let rows =
        table.range::<(&str, &str, i64, i64, &str)>((start, end)).map_err(failed(OPERATION))?;
    for row in rows.take(limit) {
        let (key, value) = row.map_err(failed(OPERATION))?;
        let event_id = key.value().4;
        found.push(decode("log-rows", || format!("{tenant}/{id}/{event_id}"), value.value())?);
    }
    Ok(found)
}

pub(super) fn progress(
    database: &Database,
    topic: &str,
    partition: i32,
) -> Result<Option<i64>, StoreError> {
    let transaction = begin(database)?;
    let table = transaction.open_table(PROGRESS).map_err(failed("read progress"))?;
    let value = table.get((topic, partition)).map_err(failed("read progress"))?;
    value.map(|v| decode("progress", || format!("{topic}/{partition}"), v.value())).transpose()
}

pub(super) fn value(
    database: &Database,
    tenant: &str,
    hash: &ValueHash,
) -> Result<Option<Bytes>, StoreError> {
    const OPERATION: &str = "read a value";
    let transaction = begin(database)?;
    let heads = transaction.open_table(VALUE_HEADS).map_err(failed(OPERATION))?;
    let values = transaction.open_table(VALUES).map_err(failed(OPERATION))?;
    let Some(head) = heads.get((tenant, hash.as_str())).map_err(failed(OPERATION))? else {
        return Ok(None);
    };
    let (length, _) = head.value();
    let mut joined = Joined::default();
    let range = (tenant, hash.as_str(), i32::MIN)..=(tenant, hash.as_str(), i32::MAX);
    for row in values.range::<(&str, &str, i32)>(range).map_err(failed(OPERATION))? {
        let (key, chunk) = row.map_err(failed(OPERATION))?;
        if joined.take(key.value().2, length, chunk.value()) == Reading::Broken {
            return Ok(None);
        }
    }
    joined.finish(hash)
}

/// The summary in a row's value.
pub(super) fn summary(tenant: &str, id: &str, value: &[u8]) -> Result<Summary, StoreError> {
    decode("executions", || format!("{tenant}/{id}"), value)
}

/// The event in a row's value.
pub(super) fn event(
    tenant: &str,
    id: &str,
    number: i64,
    value: &[u8],
) -> Result<ExecutionEvent, StoreError> {
    decode("events", || format!("{tenant}/{id}/{number}"), value)
}

/// Says what was tried when the database fails.
pub(super) fn failed<E: Into<redb::Error>>(
    operation: &'static str,
) -> impl FnOnce(E) -> StoreError + Copy {
    move |source| StoreError::backend(operation, source.into())
}

fn begin(database: &Database) -> Result<ReadTransaction, StoreError> {
    database.begin_read().map_err(failed("begin a read"))
}
