//! A real Cassandra for one run, started by `infra/local/up`; and rows of one keyspace, written into another
//! straight by the driver. It knows the tables as their owner prints them, and nothing of topics.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlValue, Row};
use serde::Deserialize;

use crate::stack;

/// Requests under way at once: as many as the store of the product has.
const AT_ONCE: usize = 128;
/// Rows of one partition that go together, as in the store of the product.
const TOGETHER: usize = 200;
/// How long the rows of lists live, which have no column that would tell: 30 days, as by default.
const MONTH_S: i32 = 30 * 24 * 60 * 60;

/// What `infra/local/up --output json` prints.
#[derive(Debug, Deserialize)]
struct Ready {
    cassandra: String,
    cassandra_pid: u32,
    data: PathBuf,
}

/// A node.
pub(crate) struct Cassandra {
    ready: Ready,
}

impl Cassandra {
    /// Starts one in a directory of its own.
    pub(crate) fn start() -> anyhow::Result<Self> {
        Ok(Self { ready: stack::up(&["--only", "cassandra", "--cassandra-port", "0"])? })
    }

    /// `host:port` for CQL.
    pub(crate) fn node(&self) -> &str {
        &self.ready.cassandra
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.ready.cassandra_pid
    }

    /// A connection, with the driver's own defaults.
    pub(crate) async fn session(&self) -> anyhow::Result<Session> {
        let session = SessionBuilder::new().known_node(self.node()).build().await;
        session.context("connecting to Cassandra")
    }
}

impl Drop for Cassandra {
    fn drop(&mut self) {
        if let Err(error) = stack::down(&self.ready.data) {
            tracing::warn!(%error, "Cassandra is left to its watcher");
        }
    }
}

/// How many offsets of all topics are archived in a keyspace.
pub(crate) async fn progress(session: &Session, keyspace: &str) -> anyhow::Result<u64> {
    let text = format!("SELECT next_offset FROM {keyspace}.progress");
    let rows = session.query_unpaged(text, ()).await?.into_rows_result()?;
    let mut sum = 0;
    for row in rows.rows::<(Option<i64>,)>()? {
        sum += row?.0.unwrap_or_default();
    }
    u64::try_from(sum).context("progress is negative")
}

/// One statement with its values.
#[derive(Clone)]
struct Write {
    statement: PreparedStatement,
    values: Vec<CqlValue>,
}

/// The rows of a keyspace, each with its time to live and its write timestamp.
pub(crate) struct Rows {
    events: Vec<Vec<CqlValue>>,
    log_rows: Vec<Vec<CqlValue>>,
    listed: Vec<Vec<CqlValue>>,
    /// Key, and each column with its own time to live and timestamp.
    executions: Vec<Vec<CqlValue>>,
}

/// How many rows there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Events.
    pub(crate) events: u64,
    /// Rows of the execution log.
    pub(crate) log_rows: u64,
    /// Executions, each of which is in a list as well.
    pub(crate) executions: u64,
}

/// How the driver writes what lies in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A request for each row.
    EachRow,
    /// As many rows of a partition as there are, in one request.
    Together,
}

const EVENT: &str = "tenant, execution, number, newest, value";
const LOG_ROW: &str = "tenant, execution, event_time, source_offset, event_id, value";
const LISTED: &str = "tenant, hour, time, execution";
/// What is known of a call that nobody accepted.
const KNOWN: [&str; 4] = ["created", "logged", "latest", "ended"];

impl Rows {
    /// Reads a keyspace.
    pub(crate) async fn read(session: &Session, keyspace: &str) -> anyhow::Result<Self> {
        let all = async |what: String, table: &str| {
            let text = format!("SELECT {what} FROM {keyspace}.{table}");
            let pages = session.query_iter(text, ()).await.context("reading rows")?;
            let rows = pages.rows_stream::<Row>().context("reading rows")?;
            rows.map_err(anyhow::Error::new)
                .and_then(|row| async {
                    let values: Option<Vec<_>> = row.columns.into_iter().collect();
                    values.with_context(|| format!("a row of {keyspace}.{table} has no value"))
                })
                .try_collect::<Vec<Vec<CqlValue>>>()
                .await
        };
        let with = |columns: &str| format!("{columns}, TTL(value), WRITETIME(value)");
        let known = KNOWN.map(|name| format!("{name}, TTL({name}), WRITETIME({name})")).join(", ");
        Ok(Self {
            events: all(with(EVENT), "events").await?,
            log_rows: all(with(LOG_ROW), "log_rows").await?,
            listed: all(LISTED.into(), "executions_by_time").await?,
            executions: all(format!("tenant, execution, {known}"), "executions").await?,
        })
    }

    /// How many there are.
    ///
    /// # Errors
    /// A list lacks an execution, or has one twice.
    pub(crate) fn counts(&self) -> anyhow::Result<Counts> {
        ensure!(
            self.listed.len() == self.executions.len(),
            "{} executions are {} times in lists",
            self.executions.len(),
            self.listed.len()
        );
        Ok(Counts {
            events: self.events.len() as u64,
            log_rows: self.log_rows.len() as u64,
            executions: self.executions.len() as u64,
        })
    }

    /// Writes them into another keyspace with the same tables; how long that took.
    pub(crate) async fn write(
        &self,
        session: &Session,
        keyspace: &str,
        way: Way,
    ) -> anyhow::Result<Duration> {
        let insert = async |table: &str, columns: &str| {
            let marks = vec!["?"; columns.split(',').count()].join(", ");
            let text = format!(
                "INSERT INTO {keyspace}.{table} ({columns}) VALUES ({marks}) \
                 USING TTL ? AND TIMESTAMP ?"
            );
            prepare(session, text).await
        };
        let event = insert("events", EVENT).await?;
        let log_row = insert("log_rows", LOG_ROW).await?;
        let listed = insert("executions_by_time", LISTED).await?;
        let mut updates = Vec::new();
        for column in KNOWN {
            let text = format!(
                "UPDATE {keyspace}.executions USING TTL ? AND TIMESTAMP ? SET {column} = ? \
                 WHERE tenant = ? AND execution = ?"
            );
            updates.push(prepare(session, text).await?);
        }
        let known = format!("tenant, execution, {}", KNOWN.join(", "));
        let whole = insert("executions", &known).await?;

        let mut requests = Vec::new();
        let mut of = |rows: &[Vec<CqlValue>], statement: &PreparedStatement, key: usize| {
            let writes = rows.iter().map(|values| {
                let write = Write { statement: statement.clone(), values: values.clone() };
                (values[..key].to_vec(), write)
            });
            requests.extend(grouped(writes.collect(), way));
        };
        of(&self.events, &event, 2);
        of(&self.log_rows, &log_row, 2);
        let listed_rows: Vec<_> = self.listed.iter().map(|values| lasting(values)).collect();
        of(&listed_rows, &listed, 2);
        let executions = self.executions.iter().map(|values| match way {
            Way::EachRow => {
                // One row, so that it has one time to live and one timestamp: those of its first column.
                let mut all = values[..2].to_vec();
                all.extend(values[2..].chunks(3).map(|column| column[0].clone()));
                all.extend_from_slice(&values[3..5]);
                vec![Write { statement: whole.clone(), values: all }]
            }
            Way::Together => values[2..]
                .chunks(3)
                .zip(&updates)
                .map(|(column, statement)| {
                    let mut all = vec![column[1].clone(), column[2].clone(), column[0].clone()];
                    all.extend_from_slice(&values[..2]);
                    Write { statement: statement.clone(), values: all }
                })
                .collect(),
        });
        // Last, as in the product: whoever sees an ending finds its events.
        let executions: Vec<_> = executions.collect();
        let began = Instant::now();
        for requests in [requests, executions] {
            stream::iter(requests)
                .map(|writes| send(session, writes))
                .buffer_unordered(AT_ONCE)
                .try_collect::<()>()
                .await?;
        }
        Ok(began.elapsed())
    }
}

async fn prepare(session: &Session, text: String) -> anyhow::Result<PreparedStatement> {
    let mut statement = session.prepare(text).await.context("preparing a statement")?;
    statement.set_is_idempotent(true);
    Ok(statement)
}

/// A list's row with what it lacks: how long it lives, and a timestamp that any other beats.
fn lasting(values: &[CqlValue]) -> Vec<CqlValue> {
    let mut all = values.to_vec();
    all.extend([CqlValue::Int(MONTH_S), CqlValue::BigInt(1)]);
    all
}

/// The writes as requests; those with one key lie in one partition, and next to each other.
fn grouped(writes: Vec<(Vec<CqlValue>, Write)>, way: Way) -> Vec<Vec<Write>> {
    let mut requests: Vec<(Vec<CqlValue>, Vec<Write>)> = Vec::new();
    for (key, write) in writes {
        let last = requests
            .last_mut()
            .filter(|(of, writes)| way == Way::Together && *of == key && writes.len() < TOGETHER);
        match last {
            Some((_, writes)) => writes.push(write),
            None => requests.push((key, vec![write])),
        }
    }
    requests.into_iter().map(|(_, writes)| writes).collect()
}

async fn send(session: &Session, writes: Vec<Write>) -> anyhow::Result<()> {
    if let [Write { statement, values }] = writes.as_slice() {
        session.execute_unpaged(statement, values).await.context("writing a row")?;
        return Ok(());
    }
    let mut batch = Batch::new(BatchType::Unlogged);
    batch.set_is_idempotent(true);
    let mut values = Vec::with_capacity(writes.len());
    for write in writes {
        batch.append_statement(write.statement);
        values.push(write.values);
    }
    session.batch(&batch, values).await.context("writing rows")?;
    Ok(())
}
