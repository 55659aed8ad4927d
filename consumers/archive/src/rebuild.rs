//! A topic, read once from its oldest record to where it ended at the start, written into a store: for a
//! store that was lost, or a new one. Then the same again, to see that the store says what the topic says.
//!
//! It holds one batch at a time, whatever the topic's length. It deletes nothing: what the store has
//! beyond the topic stays. Another archive may go on writing meanwhile: both write the same.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::event::{ExecutionEvent, Position};
use domain::log_row::ExecutionLogRecord;
use domain::time::Millis;
use domain::topic::Topic;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use runtime::ports::{ClusterError, Tail, TailFrom};
use store::{Batch, LogPlace, Store, StoreError};

use crate::decode::{Decoded, Decoder, resolved};
use crate::reading::{Gathered, gather};
use crate::{Parts, SOURCES};

/// How often it is looked whether the end is reached without a record to tell.
const LOOK: Duration = Duration::from_millis(200);

/// How often a batch is tried that the store doesn't take, each time after twice as long.
const TRIES: u32 = 7;
/// The wait after the first try: together some half a minute.
const WAIT_FIRST: Duration = Duration::from_millis(500);

/// Executions that are compared at once.
const COMPARED: usize = 32;

/// The topics that are read.
pub const TOPICS: [Topic; 2] = SOURCES;

/// What was done so far with a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Records read.
    pub records: u64,
    /// Events written or compared.
    pub events: u64,
    /// Of those, how many end an execution.
    pub ends: u64,
    /// Rows of the execution log written or compared.
    pub rows: u64,
    /// Records that can't be read, passed over.
    pub unreadable: u64,
    /// Events and rows that the store lacks or has otherwise, once compared.
    pub missing: u64,
    /// What is missing first, for people.
    pub first_missing: Option<String>,
    /// The next offset of each partition.
    pub next: BTreeMap<i32, i64>,
}

/// Why it stopped.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The topic can't be opened.
    #[error("failed to open {topic}")]
    Open {
        /// The topic.
        topic: &'static str,
        /// Why.
        #[source]
        source: ClusterError,
    },
    /// The topic, or a schema of its records, can't be read.
    #[error("failed to read {topic}")]
    Read {
        /// The topic.
        topic: &'static str,
        /// Why.
        #[source]
        source: ClusterError,
    },
    /// The store doesn't take or tell it.
    #[error("the store failed at records of {topic}")]
    Store {
        /// The topic.
        topic: &'static str,
        /// Why.
        #[source]
        source: StoreError,
    },
}

/// Writes all of `topic`; `step` hears of each batch that was written.
///
/// # Errors
/// [`RebuildError`]. What was written stands; done again, it begins at the oldest record.
pub async fn write(
    topic: Topic,
    parts: &Parts,
    mut step: impl FnMut(&Done),
) -> Result<Done, RebuildError> {
    let mut reading = Reading::open(topic, parts).await?;
    while let Some(decoded) = reading.next(parts).await? {
        patiently(topic, parts, decoded.batch).await?;
        step(&reading.done);
    }
    parts.store.flush().await.map_err(|source| failed(topic, source))?;
    Ok(reading.done)
}

/// Looks for all of `topic` in the store, but for what is older than `since`; `step` hears of each batch
/// that was compared.
///
/// # Errors
/// [`RebuildError`].
pub async fn compare(
    topic: Topic,
    parts: &Parts,
    since: Millis,
    mut step: impl FnMut(&Done),
) -> Result<Done, RebuildError> {
    let mut reading = Reading::open(topic, parts).await?;
    while let Some(decoded) = reading.next(parts).await? {
        let groups = groups(decoded.batch, since);
        let found: Vec<Vec<String>> = stream::iter(groups)
            .map(|(key, said)| missing_of(parts.store.as_ref(), key, said))
            .buffer_unordered(COMPARED)
            .try_collect()
            .await
            .map_err(|source| failed(topic, source))?;
        for missing in found.into_iter().flatten() {
            reading.done.missing += 1;
            reading.done.first_missing.get_or_insert(missing);
        }
        step(&reading.done);
    }
    Ok(reading.done)
}

struct Reading {
    topic: Topic,
    tail: Box<dyn Tail>,
    decoder: Decoder,
    done: Done,
    /// Reading broke behind what was returned last.
    broken: Option<ClusterError>,
}

impl Reading {
    async fn open(topic: Topic, parts: &Parts) -> Result<Self, RebuildError> {
        let topics = parts.topics.clone();
        let failed = |source| RebuildError::Open { topic: topic.name(), source };
        let tail = tokio::task::spawn_blocking(move || topics.tail(topic, TailFrom::Earliest))
            .await
            .map_err(|panic| failed(ClusterError { what: "open".into(), why: panic.to_string() }))?
            .map_err(failed)?;
        let decoder = Decoder::new(topic, parts.ids.clone());
        Ok(Self { topic, tail, decoder, done: Done::default(), broken: None })
    }

    /// The next records; `None`: the end is reached, as it was at the start.
    async fn next(&mut self, parts: &Parts) -> Result<Option<Decoded>, RebuildError> {
        let failed = |source| RebuildError::Read { topic: self.topic.name(), source };
        if let Some(error) = self.broken.take() {
            return Err(failed(error));
        }
        let Gathered { records, broken } = loop {
            if self.tail.caught_up() {
                return Ok(None);
            }
            if let Ok(next) = tokio::time::timeout(LOOK, gather(self.tail.as_mut())).await {
                break next.map_err(failed)?;
            }
        };
        self.broken = broken;
        let decoded = resolved(&mut self.decoder, parts, &records).await.map_err(failed)?;
        let Done { records: read, events, ends, rows, unreadable, next, .. } = &mut self.done;
        *read += records.len() as u64;
        *events += decoded.batch.events.len() as u64;
        *ends += decoded.batch.events.iter().filter(|e| e.event_type.is_terminal()).count() as u64;
        *rows += decoded.batch.rows.len() as u64;
        *unreadable += decoded.unreadable;
        for reached in &decoded.batch.progress {
            next.insert(reached.partition, reached.next_offset);
        }
        Ok(Some(decoded))
    }
}

/// Writes a batch, again and again for a while: a node that restarts must not end hours of work.
async fn patiently(topic: Topic, parts: &Parts, batch: Batch) -> Result<(), RebuildError> {
    let mut wait = WAIT_FIRST;
    for _ in 1..TRIES {
        match parts.store.archive(batch.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                tracing::warn!(%error, "the store doesn't take a batch; it is tried again");
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        }
    }
    parts.store.archive(batch).await.map_err(|source| failed(topic, source))
}

fn failed(topic: Topic, source: StoreError) -> RebuildError {
    RebuildError::Store { topic: topic.name(), source }
}

/// What a batch says of one execution.
#[derive(Default)]
struct Said {
    events: Vec<ExecutionEvent>,
    rows: Vec<ExecutionLogRecord>,
}

/// Tenant and id.
type Key = (String, String);

fn groups(batch: Batch, since: Millis) -> BTreeMap<Key, Said> {
    let mut groups: BTreeMap<Key, Said> = BTreeMap::new();
    for event in batch.events.into_iter().filter(|event| event.time >= since) {
        let key = (event.tenant.clone(), event.execution_id.clone());
        groups.entry(key).or_default().events.push(event);
    }
    for row in batch.rows.into_iter().filter(|row| row.event_time >= since) {
        let key = (row.tenant.clone(), row.execution_id.clone());
        groups.entry(key).or_default().rows.push(row);
    }
    groups
}

/// Which of these facts the store lacks, has otherwise, or doesn't show in the execution itself.
async fn missing_of(
    store: &dyn Store,
    (tenant, id): Key,
    said: Said,
) -> Result<Vec<String>, StoreError> {
    let mut missing = Vec::new();
    let execution = store.execution(&tenant, &id).await?;
    for event in &said.events {
        let Position { generation, number } = event.position();
        let after = Position { generation, number: number - 1 };
        let standing = store.events(&tenant, &id, Some(after), 1).await?;
        let stands = |found: &ExecutionEvent| {
            // A copy with other content, or a newer generation, may stand in its place.
            (found.number, found.generation) == (number, generation)
                || (found.number <= number && found.generation > generation)
        };
        let covered = execution.as_ref().is_some_and(|execution| {
            execution.position.is_some_and(|newest| newest >= event.position())
                && (!event.event_type.is_terminal()
                    || execution.status.is_terminal()
                    || execution.position.is_some_and(|newest| newest.generation > generation))
        });
        // Behind a newer generation nothing may stand at all.
        let replaced = execution
            .as_ref()
            .and_then(|execution| execution.position)
            .is_some_and(|newest| newest.generation > generation);
        if !covered || !(replaced || standing.iter().any(stands)) {
            missing.push(format!("event {generation}.{number} of {tenant}/{id}"));
        }
    }
    for row in &said.rows {
        let place = LogPlace::of(row);
        let before = LogPlace { event_id: String::new(), ..place.clone() };
        let found = store.log_rows(&tenant, &id, Some(&before), store::MAX_ROWS).await?;
        if !found.contains(row) || execution.is_none() {
            missing.push(format!("row {} of {tenant}/{id}", place.event_id));
        }
    }
    Ok(missing)
}
