//! The store of one machine: a redb file beside the process.
//!
//! One thread writes. It takes what is waiting, applies it in one transaction and answers all of it, so
//! the cost of a transaction is shared by whoever came at the same time. Commits are not synced to disk
//! one by one: what is stored is a projection, and [`Store::progress`] lies in the same transactions as
//! the rows, so losing the last ones means reading the topics from a little earlier, never a gap. (A value, which
//! stands in no topic, is synced before it is answered, and all before it with it.) A
//! crash loses at most [`FLUSH_EVERY`] of answered writes; a clean close or [`Store::flush`] loses none.
//! (Behind the in-memory topics of `stepstream dev` there is nothing to read again: there that much is
//! gone.)
//!
//! After a disk error the file is closed for writing: all writes fail until the process opens it again.

mod read;
mod tables;
#[cfg(test)]
mod tests;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use domain::event::{ExecutionEvent, Position};
use domain::log_row::ExecutionLogRecord;
use domain::time::Millis;
use redb::backends::InMemoryBackend;
use redb::{Builder, Database};
use tokio::sync::{mpsc, oneshot};

use crate::{
    AcceptedExecution, Batch, Cursor, Execution, Filter, LogPlace, MAX_ROWS, Page, Store,
    StoreError, ValueHash,
};
use write::{Answer, Request, Write};

/// How long an answered write may stay in memory only.
pub const FLUSH_EVERY: Duration = Duration::from_millis(250);

/// Pages kept in memory. redb's own default is a GiB, more than the whole of `stepstream dev` may take.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Writes that wait for the writer; whoever comes later waits to get in. A few transactions' worth.
const WAITING: usize = 1_024;

/// Why a file can't be used as a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder can't be made.
    #[error("failed to make the folder {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not a store, damaged, or open in another process.
    #[error("failed to open the store {path}")]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// Written by a program that lays its rows out differently.
    #[error("the store {path} has layout {found}, and this program knows {known}")]
    Layout {
        /// The file.
        path: PathBuf,
        /// The layout it has.
        found: u32,
        /// The layout that this program knows.
        known: u32,
    },
    /// The writer's thread can't be started.
    #[error("failed to start the store's writer")]
    Writer(#[source] std::io::Error),
}

/// A store in one file, open in one process. Dropping the last handle writes everything to disk.
#[derive(Clone, Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    database: Arc<Database>,
    /// `None` only while it is being dropped.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Opens the store in the file at `path`, and makes it when there is none. Blocks.
    ///
    /// # Errors
    /// [`OpenError`]; also when another process has it open.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)
                .map_err(|source| OpenError::Folder { path: folder.into(), source })?;
        }
        let database = builder().create(path).map_err(|source| OpenError::Database {
            path: path.into(),
            source: Box::new(source.into()),
        })?;
        Self::start(database, path)
    }

    /// A store that is gone with its last handle.
    ///
    /// # Errors
    /// [`OpenError`], when the writer can't be started.
    pub fn in_memory() -> Result<Self, OpenError> {
        let path = Path::new(":memory:");
        let database = builder().create_with_backend(InMemoryBackend::new()).map_err(|source| {
            OpenError::Database { path: path.into(), source: Box::new(source.into()) }
        })?;
        Self::start(database, path)
    }

    fn start(database: Database, path: &Path) -> Result<Self, OpenError> {
        let layout = tables::prepare(&database).map_err(|source| OpenError::Database {
            path: path.into(),
            source: Box::new(source),
        })?;
        if layout != tables::LAYOUT {
            let known = tables::LAYOUT;
            return Err(OpenError::Layout { path: path.into(), found: layout, known });
        }
        let database = Arc::new(database);
        let (requests, waiting) = mpsc::channel(WAITING);
        let writer = write::start(Arc::clone(&database), waiting).map_err(OpenError::Writer)?;
        Ok(Self {
            shared: Arc::new(Shared { database, requests: Some(requests), writer: Some(writer) }),
        })
    }

    async fn write(&self, write: Write) -> Result<Answer, StoreError> {
        let (answer, answered) = oneshot::channel();
        let requests = self.shared.requests.as_ref().ok_or(StoreError::Closed)?;
        requests.send(Request { write, answer }).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Reads on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = Arc::clone(&self.shared.database);
        match tokio::task::spawn_blocking(move || read(&database)).await {
            Ok(outcome) => outcome,
            // The runtime is shutting down, or the read panicked.
            Err(source) => Err(StoreError::backend("read", source)),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The writer ends when nobody can send any more, after its last flush.
        drop(self.requests.take());
        if let Some(writer) = self.writer.take() {
            // A panic of the writer was answered to those who waited for it as `Closed`.
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn put_accepted(&self, accepted: AcceptedExecution) -> Result<(), StoreError> {
        self.write(Write::Accepted(accepted)).await.map(drop)
    }

    async fn archive(&self, batch: Batch) -> Result<(), StoreError> {
        self.write(Write::Batch(batch)).await.map(drop)
    }

    async fn execution(&self, tenant: &str, id: &str) -> Result<Option<Execution>, StoreError> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.read(move |database| read::execution(database, &tenant, &id)).await
    }

    async fn events(
        &self,
        tenant: &str,
        id: &str,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<ExecutionEvent>, StoreError> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        let limit = limit.min(MAX_ROWS);
        self.read(move |database| read::events(database, &tenant, &id, after, limit)).await
    }

    async fn list(
        &self,
        tenant: &str,
        filter: &Filter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let (tenant, filter, cursor) = (tenant.to_owned(), filter.clone(), cursor.cloned());
        let limit = limit.clamp(1, MAX_ROWS);
        self.read(move |database| read::list(database, &tenant, &filter, cursor.as_ref(), limit))
            .await
    }

    async fn log_rows(
        &self,
        tenant: &str,
        id: &str,
        after: Option<&LogPlace>,
        limit: usize,
    ) -> Result<Vec<ExecutionLogRecord>, StoreError> {
        let (tenant, id, after) = (tenant.to_owned(), id.to_owned(), after.cloned());
        let limit = limit.min(MAX_ROWS);
        self.read(move |database| read::log_rows(database, &tenant, &id, after.as_ref(), limit))
            .await
    }

    async fn progress(&self, topic: &str, partition: i32) -> Result<Option<i64>, StoreError> {
        let topic = topic.to_owned();
        self.read(move |database| read::progress(database, &topic, partition)).await
    }

    async fn put_value(
        &self,
        tenant: &str,
        value: &Bytes,
        now: Millis,
    ) -> Result<ValueHash, StoreError> {
        let (tenant, value) = (tenant.to_owned(), value.clone());
        let hash = ValueHash::of(&value);
        self.write(Write::Value { tenant, hash: hash.clone(), value, now }).await?;
        Ok(hash)
    }

    async fn value(&self, tenant: &str, hash: &ValueHash) -> Result<Option<Bytes>, StoreError> {
        let (tenant, hash) = (tenant.to_owned(), hash.clone());
        self.read(move |database| read::value(database, &tenant, &hash)).await
    }

    async fn expire(&self, before: Millis) -> Result<u64, StoreError> {
        let (mut deleted, mut from) = (0, None);
        // In steps, so that other writes get their turn between two of them.
        while let Answer::Expired { executions, next } =
            self.write(Write::Expire { before, from }).await?
        {
            deleted += executions;
            if next.is_none() {
                break;
            }
            from = next;
        }
        while let Answer::MoreValues = self.write(Write::ExpireValues { before }).await? {}
        Ok(deleted)
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.write(Write::Flush).await.map(drop)
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}
