//! The writes. What one call writes about one execution goes in one mutation of each table.
//!
//! The order is: events, rows and places in lists; then executions; then progress. Each waits for the one
//! before, so a reader who sees how an execution ended finds its events, and a crash in between leaves
//! only what will be written again.

use std::collections::BTreeMap;

use bytes::Bytes;
use domain::event::ExecutionEvent;
use domain::log_row::ExecutionLogRecord;
use domain::time::Millis;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use scylla::statement::batch::{Batch as Statements, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;

use super::listing::{Attribution, Listing};
use super::{Shared, WRITES, rank};
use crate::codec::encode;
use crate::summary::Summary;
use crate::value;
use crate::{AcceptedExecution, Batch, LogPlace, Progress, StoreError, ValueHash};

/// A mutation ends here and the next one begins, since databases refuse those of several MiB.
const MUTATION_BYTES: usize = 256 * 1024;
/// The same, for many small rows.
const MUTATION_ROWS: usize = 200;

/// One statement with its values.
#[derive(Debug)]
pub(super) struct Write {
    statement: PreparedStatement,
    values: Vec<CqlValue>,
    bytes: usize,
}

/// Writes to one partition of one table, together.
type Mutation = Vec<Write>;

/// An execution, by tenant and id.
type Key = (String, String);

/// Writes a request.
pub(super) async fn accepted(
    shared: &Shared,
    accepted: AcceptedExecution,
    now: Millis,
) -> Result<(), StoreError> {
    let key = (accepted.tenant.clone(), accepted.id.clone());
    let mut summary = Summary::new(accepted.kind, accepted.request_time);
    summary.accept(accepted);
    executions(shared, BTreeMap::from([(key, summary)]), Vec::new(), now).await
}

/// Writes a batch, and then its progress.
pub(super) async fn batch(shared: &Shared, batch: Batch, now: Millis) -> Result<(), StoreError> {
    let Batch { events, rows, progress: reached } = batch;
    let mut summaries: BTreeMap<Key, Summary> = BTreeMap::new();
    let mut by_execution: BTreeMap<Key, (Vec<Write>, Vec<Write>)> = BTreeMap::new();
    for event in &events {
        let key = (event.tenant.clone(), event.execution_id.clone());
        let summary =
            summaries.entry(key.clone()).or_insert_with(|| Summary::new(event.kind, event.time));
        summary.hear(event);
        by_execution.entry(key).or_default().0.extend(write_event(shared, event, now));
    }
    for row in &rows {
        let key = (row.tenant.clone(), row.execution_id.clone());
        let summary =
            summaries.entry(key.clone()).or_insert_with(|| Summary::new(row.kind, row.event_time));
        summary.log(row);
        by_execution.entry(key).or_default().1.extend(write_row(shared, row, now));
    }
    let mutations =
        by_execution.into_values().flat_map(|(events, rows)| [events, rows]).flat_map(cut);
    executions(shared, summaries, mutations.collect(), now).await?;
    progress(shared, reached).await
}

/// Writes a value, each chunk by itself. A reader who comes in between finds it incomplete, and so not there.
pub(super) async fn value(
    shared: &Shared,
    tenant: &str,
    hash: &ValueHash,
    value: &Bytes,
    now: Millis,
) -> Result<(), StoreError> {
    let Some(left) = rank::seconds_left(shared.keep.values(), now, now) else { return Ok(()) };
    let length = i64::try_from(value.len()).unwrap_or(i64::MAX);
    let chunks = value::cut(value).map(|(chunk, bytes)| {
        let values = vec![
            CqlValue::Text(tenant.to_owned()),
            CqlValue::Text(hash.as_str().to_owned()),
            CqlValue::Int(chunk),
            CqlValue::BigInt(length),
            CqlValue::Blob(bytes.into()),
            CqlValue::Int(left),
            // The latest put stands, with its longer time.
            CqlValue::BigInt(rank::same(now)),
        ];
        vec![Write::new(&shared.statements.value_chunk, values)]
    });
    carry_out(shared, "write a value", chunks.collect()).await
}

/// Writes `first` and the places of executions in lists, and then the executions.
async fn executions(
    shared: &Shared,
    summaries: BTreeMap<Key, Summary>,
    mut first: Vec<Mutation>,
    now: Millis,
) -> Result<(), StoreError> {
    let listings: Vec<_> = summaries
        .iter()
        .filter_map(|((tenant, id), summary)| Listing::due(shared, tenant, id, summary.created))
        .collect();
    // Those of an hour lie in one partition.
    let mut places: BTreeMap<(&str, i64), Vec<Write>> = BTreeMap::new();
    for listing in &listings {
        let places = places.entry((&listing.tenant, listing.hour)).or_insert_with(|| {
            first.extend(listing.write_hour(shared, now).map(|write| vec![write]));
            Vec::new()
        });
        places.extend(listing.write_place(shared, now));
    }
    first.extend(places.into_values().flat_map(cut));
    let attributions: Vec<_> = summaries
        .iter()
        .flat_map(|((tenant, id), summary)| Attribution::all(tenant, id, summary))
        .collect();
    for attribution in &attributions {
        let writes = [attribution.write_hour(shared, now), attribution.write_place(shared, now)];
        first.extend(writes.into_iter().flatten().map(|write| vec![write]));
    }
    carry_out(shared, "write events, rows and lists", first).await?;
    for listing in listings {
        listing.remember(shared);
    }
    for attribution in attributions {
        attribution.remember(shared);
    }
    let summaries = summaries
        .into_iter()
        .map(|((tenant, id), summary)| write_summary(shared, &tenant, &id, &summary, now));
    carry_out(shared, "write executions", summaries.collect()).await
}

async fn progress(shared: &Shared, reached: Vec<Progress>) -> Result<(), StoreError> {
    let writes = reached.into_iter().map(|progress| {
        let Progress { topic, partition, next_offset } = progress;
        let prefix = CqlValue::Text(shared.prefix.clone());
        let values = vec![
            prefix,
            CqlValue::Text(topic),
            CqlValue::Int(partition),
            CqlValue::BigInt(next_offset),
        ];
        vec![Write::new(&shared.statements.progress, values)]
    });
    carry_out(shared, "write progress", writes.collect()).await
}

/// Writes them all, as many at once as there is room for.
async fn carry_out(
    shared: &Shared,
    operation: &'static str,
    mutations: Vec<Mutation>,
) -> Result<(), StoreError> {
    let mutations = mutations.into_iter().filter(|mutation| !mutation.is_empty());
    stream::iter(mutations)
        .map(|mutation| mutate(shared, operation, mutation))
        .buffer_unordered(WRITES)
        .try_collect()
        .await
}

async fn mutate(
    shared: &Shared,
    operation: &'static str,
    mutation: Mutation,
) -> Result<(), StoreError> {
    let _room = shared.writes.acquire().await.map_err(|_| StoreError::Closed)?;
    let failed = |source| StoreError::backend(operation, source);
    if let [Write { statement, values, .. }] = mutation.as_slice() {
        shared.session.execute_unpaged(statement, values).await.map_err(failed)?;
        return Ok(());
    }
    // Unlogged: it is one partition, whose mutation is one by itself.
    let mut statements = Statements::new(BatchType::Unlogged);
    statements.set_is_idempotent(true);
    let mut values = Vec::with_capacity(mutation.len());
    for write in mutation {
        statements.append_statement(write.statement);
        values.push(write.values);
    }
    shared.session.batch(&statements, values).await.map_err(failed)?;
    Ok(())
}

fn write_event(shared: &Shared, event: &ExecutionEvent, now: Millis) -> Option<Write> {
    let left = rank::seconds_left(shared.keep.events, event.time, now)?;
    let values = vec![
        CqlValue::Text(event.tenant.clone()),
        CqlValue::Text(event.execution_id.clone()),
        CqlValue::BigInt(event.number),
        CqlValue::Int(event.generation),
        CqlValue::Blob(encode(event)),
        CqlValue::Int(left),
        CqlValue::BigInt(rank::newest(event.generation)),
    ];
    Some(Write::new(&shared.statements.event, values))
}

fn write_row(shared: &Shared, row: &ExecutionLogRecord, now: Millis) -> Option<Write> {
    let left = rank::seconds_left(shared.keep.log_rows, row.event_time, now)?;
    let LogPlace { event_time, source_offset, event_id } = LogPlace::of(row);
    let values = vec![
        CqlValue::Text(row.tenant.clone()),
        CqlValue::Text(row.execution_id.clone()),
        CqlValue::BigInt(event_time.0),
        CqlValue::BigInt(source_offset),
        CqlValue::Text(event_id),
        CqlValue::Blob(encode(row)),
        CqlValue::Int(left),
        CqlValue::BigInt(rank::same(event_time)),
    ];
    Some(Write::new(&shared.statements.log_row, values))
}

/// What is known of an execution, each column with its own rank.
fn write_summary(
    shared: &Shared,
    tenant: &str,
    id: &str,
    summary: &Summary,
    now: Millis,
) -> Mutation {
    let statements = &shared.statements;
    let Summary { kind, created, touched, accepted, logged, attributed, latest, standing, ended } =
        summary;
    let Some(left) = rank::seconds_left(shared.keep.executions, *touched, now) else {
        return Vec::new();
    };
    let write = |statement: &PreparedStatement, rank: i64, value: Vec<u8>| {
        let values = vec![
            CqlValue::Int(left),
            CqlValue::BigInt(rank),
            CqlValue::Blob(value),
            CqlValue::Text(tenant.into()),
            CqlValue::Text(id.into()),
        ];
        Write::new(statement, values)
    };
    let mut writes =
        vec![write(&statements.created, rank::earliest(*created), encode(&(kind, created)))];
    if let Some(accepted) = accepted {
        let rank = rank::earliest(accepted.request_time);
        writes.push(write(&statements.accepted, rank, encode(&(kind, accepted))));
    }
    if let Some(logged) = logged {
        let rank = rank::earliest(logged.event_time);
        writes.push(write(&statements.logged, rank, encode(&(kind, logged))));
    }
    if let Some(attributed) = attributed {
        let rank = rank::earliest(attributed.time);
        writes.push(write(&statements.attributed, rank, encode(&(kind, attributed))));
    }
    if let Some(latest) = latest {
        let rank = rank::highest(latest.position);
        writes.push(write(&statements.latest, rank, encode(&(kind, latest))));
    }
    if let Some(standing) = standing {
        let rank = rank::highest(standing.position);
        writes.push(write(&statements.standing, rank, encode(&(kind, standing))));
    }
    if let Some(ended) = ended {
        let rank = rank::first_of_newest(ended.position);
        writes.push(write(&statements.ended, rank, encode(&(kind, ended))));
    }
    writes
}

impl Write {
    pub(super) fn new(statement: &PreparedStatement, values: Vec<CqlValue>) -> Self {
        let bytes = values.iter().map(size).sum();
        Self { statement: statement.clone(), values, bytes }
    }
}

fn size(value: &CqlValue) -> usize {
    match value {
        CqlValue::Blob(bytes) => bytes.len(),
        CqlValue::Text(text) => text.len(),
        _ => 8,
    }
}

/// Cuts what belongs to one partition into mutations that databases take.
fn cut(writes: Vec<Write>) -> Vec<Mutation> {
    let mut mutations: Vec<Mutation> = Vec::new();
    let mut bytes = 0;
    for write in writes {
        let fits = bytes + write.bytes <= MUTATION_BYTES;
        match mutations.last_mut().filter(|last| fits && last.len() < MUTATION_ROWS) {
            Some(last) => {
                bytes += write.bytes;
                last.push(write);
            }
            None => {
                bytes = write.bytes;
                mutations.push(vec![write]);
            }
        }
    }
    mutations
}
