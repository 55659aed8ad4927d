//! Where executions can be looked up: a projection of the topics, which a replay rebuilds.
//!
//! The interface has exactly the operations that CQL serves well: upserts whose outcome doesn't depend
//! on the order in which they arrive, reads of one partition, one list by time. There is no
//! read-modify-write that a caller could see, no counter, no search, no transaction over two calls. The
//! store decides nothing about an execution; it keeps what the folds said.
//!
//! One thing in it stands in no topic: values too large for a record, for which a claim check stands there.
//! No replay brings them back, so they are durable before their record can be written.

mod claims;
pub mod conformance;
pub mod cql;
pub mod embedded;

mod codec;
mod error;
mod record;
mod summary;
mod value;
mod visible;

use async_trait::async_trait;
use bytes::Bytes;
use domain::event::{ExecutionEvent, Position};
use domain::log_row::ExecutionLogRecord;
use domain::time::Millis;

pub use claims::{CheckInError, CheckOutError, Checked, Claims};
pub use cql::Cql;
pub use embedded::Embedded;
pub use error::StoreError;
pub use record::{
    AcceptedExecution, Batch, Cursor, Execution, Filter, LogPlace, Page, Progress, Status,
};
pub use value::{CHUNK_BYTES, ValueHash};

/// The most rows that one read returns, whatever its `limit` says: a page stays a page.
pub const MAX_ROWS: usize = 1_000;

/// One store of executions, events and execution-log rows.
///
/// Every write is idempotent and independent of order: the rows after a set of writes are the same
/// whichever came first and however often each came. A write that was answered is visible to every
/// later read; it is durable after [`Store::flush`], or a little later by itself. A reader of topics
/// therefore starts at [`Store::progress`], which is never ahead of the rows that it stands for.
///
/// Each read names a tenant and never returns another tenant's row.
#[async_trait]
pub trait Store: Send + Sync {
    /// Makes an execution known before anything was heard of it, so that a look-up right after the
    /// request was accepted finds it. Of several with one id the earliest request stands; of two at the
    /// same millisecond, either.
    async fn put_accepted(&self, accepted: AcceptedExecution) -> Result<(), StoreError>;

    /// Writes events and rows, and then the progress that covers them.
    ///
    /// Among events with the same execution and number the highest generation stands; a higher
    /// generation at number n hides everything lower from n on; a lower one after a higher is dropped.
    /// The first ending of the highest generation is how the execution ended.
    async fn archive(&self, batch: Batch) -> Result<(), StoreError>;

    /// Writes events only. See [`Store::archive`].
    async fn apply_events(&self, events: &[ExecutionEvent]) -> Result<(), StoreError> {
        self.archive(Batch { events: events.to_vec(), ..Batch::default() }).await
    }

    /// Writes one event. See [`Store::archive`].
    async fn apply_event(&self, event: &ExecutionEvent) -> Result<(), StoreError> {
        self.apply_events(std::slice::from_ref(event)).await
    }

    /// One execution, as far as it is known.
    async fn execution(&self, tenant: &str, id: &str) -> Result<Option<Execution>, StoreError>;

    /// The events of an execution that stand, by number, as someone who knows all up to `after` has
    /// to hear them: those with a higher number or a higher generation. At most `limit` of them.
    async fn events(
        &self,
        tenant: &str,
        id: &str,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<ExecutionEvent>, StoreError>;

    /// A tenant's executions, newest first.
    ///
    /// A page may hold fewer than `limit`, even none, and still have a `next`: a rare status is
    /// looked for in bounded steps.
    async fn list(
        &self,
        tenant: &str,
        filter: &Filter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// The execution-log rows of an execution in log order, from after `after`, at most `limit`.
    async fn log_rows(
        &self,
        tenant: &str,
        id: &str,
        after: Option<&LogPlace>,
        limit: usize,
    ) -> Result<Vec<ExecutionLogRecord>, StoreError>;

    /// Writes execution-log rows only. See [`Store::archive`].
    async fn append_log_rows(&self, rows: &[ExecutionLogRecord]) -> Result<(), StoreError> {
        self.archive(Batch { rows: rows.to_vec(), ..Batch::default() }).await
    }

    /// The next offset to read of a topic's partition; `None`: nothing of it was archived.
    async fn progress(&self, topic: &str, partition: i32) -> Result<Option<i64>, StoreError>;

    /// Keeps a value under the hash of its bytes, which it returns. It is durable when it is answered, for
    /// it stands nowhere else. Its time begins at `now`, and begins again whenever it is put.
    async fn put_value(
        &self,
        tenant: &str,
        value: &Bytes,
        now: Millis,
    ) -> Result<ValueHash, StoreError>;

    /// The tenant's value with this hash: the whole, or `None` when any of it is missing.
    async fn value(&self, tenant: &str, hash: &ValueHash) -> Result<Option<Bytes>, StoreError>;

    /// Deletes the executions of which nothing was heard since `before`, with all their rows, and
    /// says how many; and the values that were put before then. A store whose rows expire by themselves
    /// deletes none.
    async fn expire(&self, before: Millis) -> Result<u64, StoreError>;

    /// Returns when everything that was answered before is durable.
    async fn flush(&self) -> Result<(), StoreError>;
}
