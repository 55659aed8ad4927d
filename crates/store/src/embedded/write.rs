//! The writes, and the one thread that does them.

use std::ops::Bound;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use domain::event::ExecutionEvent;
use domain::log_row::ExecutionLogRecord;
use domain::time::Millis;
use domain::topic::Kind;
use redb::{Database, Durability, ReadableTable, Table, WriteTransaction};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::FLUSH_EVERY;
use super::read::{self, failed};
use super::tables::{
    BY_AGE, BY_ATTRIBUTE, BY_TIME, EVENTS, EXECUTIONS, LOG_ROWS, PROGRESS, VALUE_HEADS, VALUES,
    VALUES_BY_AGE, successor,
};
use crate::codec::encode;
use crate::summary::{Attributed, Summary};
use crate::value::cut;
use crate::{AcceptedExecution, Batch, LogPlace, StoreError, ValueHash};

/// The most writes in one transaction. A batch of the archive is already hundreds of rows, so more would
/// only make those at the head of the queue wait.
const IN_ONE_TRANSACTION: usize = 64;

/// The executions that one step of an expiry looks at: short enough not to be felt by other writes.
const EXPIRY_STEP: usize = 500;

/// The same for values, which have many rows each.
const VALUE_EXPIRY_STEP: usize = 20;

/// One write and who waits for it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) write: Write,
    pub(super) answer: oneshot::Sender<Result<Answer, StoreError>>,
}

/// What may be written.
#[derive(Debug)]
pub(super) enum Write {
    Accepted(AcceptedExecution),
    Batch(Batch),
    /// One step; `from` is where the step before stopped.
    Expire {
        before: Millis,
        from: Option<Age>,
    },
    /// A value, which has to be durable when it is answered.
    Value {
        tenant: String,
        hash: ValueHash,
        value: Bytes,
        now: Millis,
    },
    /// One step; it begins with the oldest.
    ExpireValues {
        before: Millis,
    },
    /// Nothing but durability.
    Flush,
}

impl Write {
    /// Whether it is on the disk when it is answered.
    fn is_durable(&self) -> bool {
        matches!(self, Self::Flush | Self::Value { .. })
    }
}

/// A key of the table by age: created, tenant, execution.
pub(super) type Age = (i64, String, String);

/// What a write answers.
#[derive(Debug)]
pub(super) enum Answer {
    Done,
    Expired {
        executions: u64,
        next: Option<Age>,
    },
    /// There may be more values that are past their time.
    MoreValues,
}

/// Starts the writer. It ends when all senders are gone, after a last flush.
pub(super) fn start(
    database: Arc<Database>,
    mut requests: mpsc::Receiver<Request>,
) -> std::io::Result<JoinHandle<()>> {
    // A runtime of its own, for the timer only: the writer outlives the one that its callers run on.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    thread::Builder::new().name("store-writer".into()).spawn(move || {
        let mut flush_due: Option<Instant> = None;
        loop {
            let mut waiting = Vec::with_capacity(IN_ONE_TRANSACTION);
            let received = runtime.block_on(async {
                let receive = requests.recv_many(&mut waiting, IN_ONE_TRANSACTION);
                match flush_due {
                    Some(due) => timeout_at(due, receive).await.ok(),
                    None => Some(receive.await),
                }
            });
            let closed = received == Some(0);
            let asked = waiting.iter().any(|request| request.write.is_durable());
            let due = flush_due.is_some_and(|due| due <= Instant::now());
            if asked || due || (closed && flush_due.is_some()) {
                flush_due = match carry_out(&database, waiting, Durability::Immediate) {
                    Committed::Something => None,
                    // What was answered before isn't on disk yet.
                    Committed::Nothing => Some(Instant::now() + FLUSH_EVERY),
                };
            } else if !closed {
                carry_out(&database, waiting, Durability::None);
                flush_due = flush_due.or_else(|| Some(Instant::now() + FLUSH_EVERY));
            }
            if closed {
                return;
            }
        }
    })
}

/// Whether a transaction went through: with it everything before it has its durability.
pub(super) enum Committed {
    Something,
    Nothing,
}

/// Does all of `requests` in one transaction, or each in its own when that fails, so that only those
/// fail that can't succeed. After a disk error none succeeds: the database refuses every write then.
pub(super) fn carry_out(
    database: &Database,
    requests: Vec<Request>,
    durability: Durability,
) -> Committed {
    let writes = requests.iter().map(|request| &request.write);
    match transact(database, writes, durability) {
        Ok(answers) => {
            for (request, answer) in requests.into_iter().zip(answers) {
                reply(request.answer, Ok(answer));
            }
            Committed::Something
        }
        Err(error) => match <[Request; 1]>::try_from(requests) {
            Ok([only]) => {
                reply(only.answer, Err(error));
                Committed::Nothing
            }
            Err(requests) => each_alone(database, requests, durability),
        },
    }
}

fn each_alone(database: &Database, requests: Vec<Request>, durability: Durability) -> Committed {
    let mut committed = Committed::Nothing;
    for request in requests {
        let outcome = transact(database, [&request.write].into_iter(), durability);
        if outcome.is_ok() {
            committed = Committed::Something;
        }
        reply(request.answer, outcome.map(|mut answers| answers.remove(0)));
    }
    committed
}

/// Whoever asked may have gone; the write stands all the same.
fn reply(to: oneshot::Sender<Result<Answer, StoreError>>, answer: Result<Answer, StoreError>) {
    let _ = to.send(answer);
}

fn transact<'a>(
    database: &Database,
    writes: impl Iterator<Item = &'a Write>,
    durability: Durability,
) -> Result<Vec<Answer>, StoreError> {
    let mut transaction = database.begin_write().map_err(failed("begin a write"))?;
    transaction.set_durability(durability).map_err(failed("begin a write"))?;
    let answers = {
        let mut open = Open::tables(&transaction)?;
        writes.map(|write| open.apply(write)).collect::<Result<Vec<_>, _>>()?
    };
    transaction.commit().map_err(failed("commit"))?;
    Ok(answers)
}

/// The tables of one write transaction.
struct Open<'t> {
    executions: Table<'t, (&'static str, &'static str), &'static [u8]>,
    events: Table<'t, (&'static str, &'static str, i64), &'static [u8]>,
    log_rows: Table<'t, (&'static str, &'static str, i64, i64, &'static str), &'static [u8]>,
    by_time: Table<'t, (&'static str, i64, &'static str), ()>,
    by_attribute: Table<'t, (&'static str, &'static str, &'static str, i64, &'static str), ()>,
    by_age: Table<'t, (i64, &'static str, &'static str), ()>,
    progress: Table<'t, (&'static str, i32), &'static [u8]>,
    values: Table<'t, (&'static str, &'static str, i32), &'static [u8]>,
    value_heads: Table<'t, (&'static str, &'static str), (i64, i64)>,
    values_by_age: Table<'t, (i64, &'static str, &'static str), ()>,
}

impl<'t> Open<'t> {
    fn tables(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        let failed = || failed("open the tables");
        Ok(Self {
            executions: transaction.open_table(EXECUTIONS).map_err(failed())?,
            events: transaction.open_table(EVENTS).map_err(failed())?,
            log_rows: transaction.open_table(LOG_ROWS).map_err(failed())?,
            by_time: transaction.open_table(BY_TIME).map_err(failed())?,
            by_attribute: transaction.open_table(BY_ATTRIBUTE).map_err(failed())?,
            by_age: transaction.open_table(BY_AGE).map_err(failed())?,
            progress: transaction.open_table(PROGRESS).map_err(failed())?,
            values: transaction.open_table(VALUES).map_err(failed())?,
            value_heads: transaction.open_table(VALUE_HEADS).map_err(failed())?,
            values_by_age: transaction.open_table(VALUES_BY_AGE).map_err(failed())?,
        })
    }

    fn apply(&mut self, write: &Write) -> Result<Answer, StoreError> {
        match write {
            Write::Accepted(accepted) => {
                let AcceptedExecution { tenant, id, kind, request_time, .. } = accepted;
                self.update(tenant, id, *kind, *request_time, |summary| {
                    summary.accept(accepted.clone());
                })?;
            }
            Write::Batch(batch) => {
                for event in &batch.events {
                    self.event(event)?;
                }
                for row in &batch.rows {
                    self.log_row(row)?;
                }
                for progress in &batch.progress {
                    let key = (progress.topic.as_str(), progress.partition);
                    let value = encode(&progress.next_offset);
                    self.progress
                        .insert(key, value.as_slice())
                        .map_err(failed("write progress"))?;
                }
            }
            Write::Expire { before, from } => return self.expire(*before, from.as_ref()),
            Write::Value { tenant, hash, value, now } => {
                self.value(tenant, hash.as_str(), value, *now).map_err(failed("write a value"))?;
            }
            Write::ExpireValues { before } => {
                return self.expire_values(*before).map_err(failed("expire values"));
            }
            Write::Flush => {}
        }
        Ok(Answer::Done)
    }

    fn event(&mut self, event: &ExecutionEvent) -> Result<(), StoreError> {
        let ExecutionEvent { tenant, execution_id: id, number, .. } = event;
        let key = (tenant.as_str(), id.as_str(), *number);
        let stands = match self.events.get(key).map_err(failed("read events"))? {
            Some(value) => {
                // The first copy stands, and so does a higher generation.
                read::event(tenant, id, *number, value.value())?.generation >= event.generation
            }
            None => false,
        };
        if !stands {
            self.events.insert(key, encode(event).as_slice()).map_err(failed("write an event"))?;
        }
        // Also when another stands: what the summary takes from it must not depend on who came first.
        self.update(tenant, id, event.kind, event.time, |summary| summary.hear(event))
    }

    fn log_row(&mut self, row: &ExecutionLogRecord) -> Result<(), StoreError> {
        let LogPlace { event_time, source_offset, event_id } = LogPlace::of(row);
        let (tenant, id) = (row.tenant.as_str(), row.execution_id.as_str());
        self.log_rows
            .insert(
                (tenant, id, event_time.0, source_offset, event_id.as_str()),
                encode(row).as_slice(),
            )
            .map_err(failed("write a log row"))?;
        self.update(tenant, id, row.kind, row.event_time, |summary| summary.log(row))
    }

    /// Changes one summary, and the places in the lists that follow from it.
    fn update(
        &mut self,
        tenant: &str,
        id: &str,
        kind: Kind,
        time: Millis,
        change: impl FnOnce(&mut Summary),
    ) -> Result<(), StoreError> {
        let failed = || failed("write an execution");
        let before = match self.executions.get((tenant, id)).map_err(failed())? {
            Some(value) => Some(read::summary(tenant, id, value.value())?),
            None => None,
        };
        let mut summary = before.clone().unwrap_or_else(|| Summary::new(kind, time));
        change(&mut summary);
        if before.as_ref() == Some(&summary) {
            return Ok(());
        }
        let created = summary.created.0;
        let listed = before.as_ref().map(|before| before.created.0);
        let attributed = before.and_then(|before| before.attributed);
        if attributed != summary.attributed {
            self.unlist_by_attributes(tenant, id, attributed.as_ref()).map_err(failed())?;
            if let Some(Attributed { time, attributes }) = &summary.attributed {
                for (name, value) in attributes {
                    let place = (tenant, name.as_str(), value.as_str(), time.0, id);
                    self.by_attribute.insert(place, ()).map_err(failed())?;
                }
            }
        }
        if listed != Some(created) {
            if let Some(listed) = listed {
                self.by_time.remove((tenant, listed, id)).map_err(failed())?;
                self.by_age.remove((listed, tenant, id)).map_err(failed())?;
            }
            self.by_time.insert((tenant, created, id), ()).map_err(failed())?;
            self.by_age.insert((created, tenant, id), ()).map_err(failed())?;
        }
        self.executions.insert((tenant, id), encode(&summary).as_slice()).map_err(failed())?;
        Ok(())
    }

    /// Takes an execution out of the lists by attribute.
    fn unlist_by_attributes(
        &mut self,
        tenant: &str,
        id: &str,
        attributed: Option<&Attributed>,
    ) -> Result<(), redb::StorageError> {
        let Some(Attributed { time, attributes }) = attributed else { return Ok(()) };
        for (name, value) in attributes {
            self.by_attribute.remove((tenant, name.as_str(), value.as_str(), time.0, id))?;
        }
        Ok(())
    }

    /// Looks at the next executions that were created before `before`, and deletes those of which
    /// nothing was heard since.
    fn expire(&mut self, before: Millis, from: Option<&Age>) -> Result<Answer, StoreError> {
        let failed = || failed("expire executions");
        let start = from.map_or(Bound::Unbounded, |(created, tenant, id)| {
            Bound::Excluded((*created, tenant.as_str(), id.as_str()))
        });
        let end = Bound::Excluded((before.0, "", ""));
        let mut candidates: Vec<Age> = Vec::new();
        if from.is_none_or(|(created, _, _)| *created < before.0) {
            let rows = self.by_age.range::<(i64, &str, &str)>((start, end)).map_err(failed())?;
            for row in rows.take(EXPIRY_STEP) {
                let (key, _) = row.map_err(failed())?;
                let (created, tenant, id) = key.value();
                candidates.push((created, tenant.to_owned(), id.to_owned()));
            }
        }
        let mut executions = 0;
        for (created, tenant, id) in &candidates {
            let summary =
                match self.executions.get((tenant.as_str(), id.as_str())).map_err(failed())? {
                    Some(value) => Some(read::summary(tenant, id, value.value())?),
                    None => None,
                };
            if summary.as_ref().is_none_or(|summary| summary.touched < before) {
                let attributed = summary.and_then(|summary| summary.attributed);
                self.unlist_by_attributes(tenant, id, attributed.as_ref()).map_err(failed())?;
                self.delete(*created, tenant, id).map_err(failed())?;
                executions += 1;
            }
        }
        let next = (candidates.len() == EXPIRY_STEP).then(|| candidates.pop()).flatten();
        Ok(Answer::Expired { executions, next })
    }

    fn value(
        &mut self,
        tenant: &str,
        hash: &str,
        value: &Bytes,
        now: Millis,
    ) -> Result<(), redb::StorageError> {
        let before = self.value_heads.get((tenant, hash))?.map(|head| head.value().1);
        // A clock that was set back must not shorten its time.
        let put = before.map_or(now.0, |before| before.max(now.0));
        if let Some(before) = before {
            self.values_by_age.remove((before, tenant, hash))?;
        }
        self.values_by_age.insert((put, tenant, hash), ())?;
        let length = i64::try_from(value.len()).unwrap_or(i64::MAX);
        self.value_heads.insert((tenant, hash), (length, put))?;
        for (chunk, bytes) in cut(value) {
            self.values.insert((tenant, hash, chunk), &*bytes)?;
        }
        Ok(())
    }

    /// Deletes some of the values that were put before `before`.
    fn expire_values(&mut self, before: Millis) -> Result<Answer, redb::StorageError> {
        let mut old: Vec<Age> = Vec::new();
        for row in self.values_by_age.range::<(i64, &str, &str)>(..(before.0, "", ""))? {
            if old.len() == VALUE_EXPIRY_STEP {
                break;
            }
            let (key, _) = row?;
            let (put, tenant, hash) = key.value();
            old.push((put, tenant.to_owned(), hash.to_owned()));
        }
        for (put, tenant, hash) in &old {
            let (tenant, hash) = (tenant.as_str(), hash.as_str());
            self.values_by_age.remove((*put, tenant, hash))?;
            self.value_heads.remove((tenant, hash))?;
            let chunks = (tenant, hash, i32::MIN)..=(tenant, hash, i32::MAX);
            self.values.retain_in::<(&str, &str, i32), _>(chunks, |_, _| false)?;
        }
        Ok(if old.len() == VALUE_EXPIRY_STEP { Answer::MoreValues } else { Answer::Done })
    }

    fn delete(&mut self, created: i64, tenant: &str, id: &str) -> Result<(), redb::StorageError> {
        self.executions.remove((tenant, id))?;
        self.by_time.remove((tenant, created, id))?;
        self.by_age.remove((created, tenant, id))?;
        let behind = successor(id);
        let behind = behind.as_str();
        let numbers = (tenant, id, i64::MIN)..(tenant, behind, i64::MIN);
        self.events.retain_in::<(&str, &str, i64), _>(numbers, |_, _| false)?;
        let rows = (tenant, id, i64::MIN, i64::MIN, "")..(tenant, behind, i64::MIN, i64::MIN, "");
        self.log_rows.retain_in::<(&str, &str, i64, i64, &str), _>(rows, |_, _| false)
    }
}
