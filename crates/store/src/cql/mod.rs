//! The store of many machines: tables in ScyllaDB or Apache Cassandra.
//!
//! Every write is an upsert whose timestamp comes from the facts themselves (see `rank`), so what stands
//! follows from the set of writes: nothing is read before it is written, and there are no lightweight
//! transactions and no counters. What one call writes is not one transaction; it is written in an order in
//! which a reader never sees an ending without its events, and progress comes last, when everything that
//! it stands for is acknowledged. Any number of processes may write, also the same.
//!
//! Three things differ from the embedded store. Rows expire by themselves, each when its own fact is past
//! its time. Of two requests with one id and the same millisecond, or two events at one position that
//! differ (folds put out none), which stands isn't said. And an execution of which something is heard
//! after its beginning has expired is found by its id, and not listed.

mod list;
mod listing;
mod rank;
mod read;
mod recent;
mod schema;
mod statements;
mod tables;
#[cfg(test)]
mod tests;
mod write;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use domain::event::{ExecutionEvent, Position};
use domain::log_row::ExecutionLogRecord;
use domain::time::Millis;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{NewSessionError, PrepareError};
use scylla::policies::timestamp_generator::MonotonicTimestampGenerator;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::{
    AcceptedExecution, Batch, Cursor, Execution, Filter, LogPlace, MAX_ROWS, Page, Store,
    StoreError, ValueHash,
};
use recent::Recent;
use statements::Statements;

pub use schema::{Plan, Refusal, Step};

/// Writes of one process that are under way at once. Enough to keep three nodes busy, and few enough that
/// a slow one is felt here, as waiting, and not there.
const WRITES: usize = 128;

/// How the database is reached and used.
#[derive(Clone, Debug)]
pub struct Options {
    /// `host:port` of one or more nodes; the others are found through them.
    pub nodes: Vec<String>,
    /// The keyspace: letters, digits and `_`.
    pub keyspace: String,
    /// Copies of each row, for a keyspace that is made.
    pub replication_factor: u32,
    /// How many copies have to answer.
    pub consistency: Consistency,
    /// The data center whose nodes are asked; `None`: any.
    pub datacenter: Option<String>,
    /// User and password.
    pub credentials: Option<(String, SecretString)>,
    /// Bound on one request, with what is tried again in it.
    pub timeout: Duration,
    /// How long things are kept.
    pub keep: Keep,
    /// The prefix of the topics whose progress is kept, since a keyspace may serve several.
    pub prefix: String,
}

/// How long facts are kept, each from its own time on; `None`: for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Executions and their place in lists, from the last that was heard.
    pub executions: Option<Duration>,
    /// Events.
    pub events: Option<Duration>,
    /// Execution-log rows.
    pub log_rows: Option<Duration>,
}

impl Keep {
    /// How long a value is kept: as long as anything that may have a claim check for it.
    fn values(&self) -> Option<Duration> {
        self.executions.zip(self.events).map(|(executions, events)| executions.max(events))
    }
}

/// How many copies have to answer. A write that was answered is visible to every later read from a quorum
/// on, or when there is one copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// One copy.
    One,
    /// One copy in the data center.
    LocalOne,
    /// More than half of all copies.
    Quorum,
    /// More than half of the copies in the data center.
    LocalQuorum,
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No node answers, or none lets us in.
    #[error("failed to connect to {nodes}")]
    Connect {
        /// The nodes that were asked.
        nodes: String,
        /// Why.
        #[source]
        source: Box<NewSessionError>,
    },
    /// The schema can't be looked at.
    #[error("failed to look at keyspace {keyspace}")]
    Look {
        /// The keyspace.
        keyspace: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// Something is missing.
    #[error("keyspace {keyspace} is not set up: {what} is missing")]
    Missing {
        /// The keyspace.
        keyspace: String,
        /// What.
        what: String,
    },
    /// Something is there that can't be used.
    #[error("keyspace {keyspace} can't be used: table {}: {}", .refusal.table, .refusal.reason)]
    Refused {
        /// The keyspace.
        keyspace: String,
        /// The first thing that stands in the way.
        refusal: Refusal,
    },
    /// A statement can't be prepared.
    #[error("failed to prepare the statements")]
    Prepare(#[source] Box<PrepareError>),
}

/// A store in a keyspace. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cql {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    session: Session,
    statements: Statements,
    keep: Keep,
    prefix: String,
    /// Bounds what is written at once.
    writes: Semaphore,
    /// The earliest time at which an execution is listed, for those that this process has listed.
    listed: Mutex<Recent>,
    /// The hours that this process has noted.
    hours: Mutex<Recent>,
    /// The same, of those with a search attribute.
    hours_by_attribute: Mutex<Recent>,
}

/// The keyspace and its tables, before they are a store.
#[derive(Debug)]
pub struct Keyspace {
    session: Session,
    options: Options,
}

impl Keyspace {
    /// Connects.
    ///
    /// # Errors
    /// [`OpenError::Connect`].
    pub async fn connect(options: Options) -> Result<Self, OpenError> {
        let profile = ExecutionProfile::builder()
            .consistency(options.consistency.into())
            .request_timeout(Some(options.timeout))
            .build();
        let mut builder = SessionBuilder::new()
            .known_nodes(&options.nodes)
            .default_execution_profile_handle(profile.into_handle())
            .connection_timeout(options.timeout)
            // Progress has no rank of its own: what this process says last, stands.
            .timestamp_generator(Arc::new(MonotonicTimestampGenerator::new()));
        if let Some(datacenter) = &options.datacenter {
            builder = builder.prefer_datacenter(datacenter.clone());
        }
        if let Some((user, password)) = &options.credentials {
            builder = builder.user(user, password.expose_secret());
        }
        let session = builder.build().await.map_err(|source| OpenError::Connect {
            nodes: options.nodes.join(", "),
            source: Box::new(source),
        })?;
        Ok(Self { session, options })
    }

    /// What would have to be done so that it can be used.
    ///
    /// # Errors
    /// [`OpenError::Look`].
    pub async fn plan(&self) -> Result<Plan, OpenError> {
        let Options { keyspace, replication_factor, .. } = &self.options;
        schema::plan(&self.session, keyspace, *replication_factor).await.map_err(|s| self.look(s))
    }

    /// Makes what is missing; returns what was done. Done again, it does nothing.
    ///
    /// # Errors
    /// [`OpenError::Refused`], before anything is made, where something stands in the way.
    pub async fn apply(&self) -> Result<Plan, OpenError> {
        let plan = self.plan().await?;
        self.unless_refused(&plan)?;
        schema::carry_out(&self.session, &self.options.keyspace, &plan)
            .await
            .map_err(|source| self.look(source))?;
        Ok(plan)
    }

    /// The store in it.
    ///
    /// # Errors
    /// [`OpenError`] when the tables aren't as they must be.
    pub async fn open(self) -> Result<Cql, OpenError> {
        let plan = self.plan().await?;
        self.unless_refused(&plan)?;
        let Options { keyspace, keep, prefix, .. } = self.options;
        if let Some(Step { what, .. }) = plan.create.into_iter().next() {
            return Err(OpenError::Missing { keyspace, what });
        }
        let statements = Statements::prepare(&self.session, &keyspace)
            .await
            .map_err(|source| OpenError::Prepare(Box::new(source)))?;
        let session = self.session;
        let shared = Shared {
            session,
            statements,
            keep,
            prefix,
            writes: Semaphore::new(WRITES),
            listed: Mutex::default(),
            hours: Mutex::default(),
            hours_by_attribute: Mutex::default(),
        };
        Ok(Cql { shared: Arc::new(shared) })
    }

    fn unless_refused(&self, plan: &Plan) -> Result<(), OpenError> {
        match plan.refused.first() {
            None => Ok(()),
            Some(refusal) => Err(OpenError::Refused {
                keyspace: self.options.keyspace.clone(),
                refusal: refusal.clone(),
            }),
        }
    }

    fn look(&self, source: StoreError) -> OpenError {
        OpenError::Look { keyspace: self.options.keyspace.clone(), source }
    }
}

impl Cql {
    /// Connects and opens.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        Keyspace::connect(options).await?.open().await
    }
}

#[async_trait]
impl Store for Cql {
    async fn put_accepted(&self, accepted: AcceptedExecution) -> Result<(), StoreError> {
        write::accepted(&self.shared, accepted, now()).await
    }

    async fn archive(&self, batch: Batch) -> Result<(), StoreError> {
        write::batch(&self.shared, batch, now()).await
    }

    async fn execution(&self, tenant: &str, id: &str) -> Result<Option<Execution>, StoreError> {
        read::execution(&self.shared, tenant, id).await
    }

    async fn events(
        &self,
        tenant: &str,
        id: &str,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<ExecutionEvent>, StoreError> {
        read::events(&self.shared, tenant, id, after, limit.min(MAX_ROWS)).await
    }

    async fn list(
        &self,
        tenant: &str,
        filter: &Filter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        list::page(&self.shared, tenant, filter, cursor, limit.clamp(1, MAX_ROWS)).await
    }

    async fn log_rows(
        &self,
        tenant: &str,
        id: &str,
        after: Option<&LogPlace>,
        limit: usize,
    ) -> Result<Vec<ExecutionLogRecord>, StoreError> {
        read::log_rows(&self.shared, tenant, id, after, limit.min(MAX_ROWS)).await
    }

    async fn progress(&self, topic: &str, partition: i32) -> Result<Option<i64>, StoreError> {
        read::progress(&self.shared, topic, partition).await
    }

    async fn put_value(
        &self,
        tenant: &str,
        value: &Bytes,
        now: Millis,
    ) -> Result<ValueHash, StoreError> {
        let hash = ValueHash::of(value);
        write::value(&self.shared, tenant, &hash, value, now).await?;
        Ok(hash)
    }

    async fn value(&self, tenant: &str, hash: &ValueHash) -> Result<Option<Bytes>, StoreError> {
        read::value(&self.shared, tenant, hash).await
    }

    /// Deletes nothing: rows expire by themselves.
    async fn expire(&self, _before: Millis) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// Returns at once: what was answered is in the commit logs of as many nodes as were asked.
    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl From<Consistency> for scylla::statement::Consistency {
    fn from(consistency: Consistency) -> Self {
        match consistency {
            Consistency::One => Self::One,
            Consistency::LocalOne => Self::LocalOne,
            Consistency::Quorum => Self::Quorum,
            Consistency::LocalQuorum => Self::LocalQuorum,
        }
    }
}

/// The time on this machine's clock. Only how long something lives depends on it, never what stands.
fn now() -> Millis {
    SystemTime::now().into()
}
