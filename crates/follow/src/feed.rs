//! What one connection follows: executions and whole tenants, in one inbox, as records that all who get
//! them share.
//!
//! It passes on what comes, in the order of the topics, and refuses to judge: copies, order and history
//! are its owner's business. It is bounded by dropping everything and saying so.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::event::{Chunk, ExecutionEvent};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::hub::{Shared, Source};
use crate::{json, metrics as names};

/// The most records that wait in one inbox. Its owner only moves them on, so one that has so many waiting
/// didn't run for a while.
pub const INBOX_RECORDS: usize = 2048;

/// One record, shared by all who get it; its JSON is made once, when somebody first needs it.
pub struct Published<T>(Arc<Encoded<T>>);

struct Encoded<T> {
    record: T,
    json: OnceLock<Box<str>>,
}

impl<T> Clone for Published<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> From<T> for Published<T> {
    fn from(record: T) -> Self {
        Self(Arc::new(Encoded { record, json: OnceLock::new() }))
    }
}

impl<T> Deref for Published<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.record
    }
}

impl<T: fmt::Debug> fmt::Debug for Published<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.record.fmt(f)
    }
}

impl Borrow<Chunk> for Published<Chunk> {
    fn borrow(&self) -> &Chunk {
        self
    }
}

impl Published<ExecutionEvent> {
    /// See [`json::event`].
    #[must_use]
    pub fn json(&self) -> &str {
        self.0.json.get_or_init(|| json::event(&self.0.record).into())
    }
}

impl Published<Chunk> {
    /// See [`json::chunk`].
    #[must_use]
    pub fn json(&self) -> &str {
        self.0.json.get_or_init(|| json::chunk(&self.0.record).into())
    }
}

/// A record of `results` or `stream`.
#[derive(Clone, Debug)]
pub enum Record {
    /// An event of an execution.
    Event(Published<ExecutionEvent>),
    /// A piece of its output.
    Chunk(Published<Chunk>),
}

impl Record {
    fn tenant_and_execution(&self) -> (&str, &str) {
        match self {
            Self::Event(event) => (&event.tenant, &event.execution_id),
            Self::Chunk(chunk) => (&chunk.tenant, &chunk.execution_id),
        }
    }

    /// Whether it is this tenant's, and of the execution that its key names.
    pub(crate) fn is_of(&self, tenant: &str, key: &[u8]) -> bool {
        let (whose, execution) = self.tenant_and_execution();
        whose == tenant && execution.as_bytes() == key
    }
}

/// What is known of an execution when following it begins.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// What is remembered of it, oldest first.
    pub records: Vec<Record>,
    /// Whether there may have been more.
    pub doubt: Doubt,
}

/// Whether something from before may be on its way to the store that nobody saw live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Reading has gone on for a while.
    None,
    /// Reading began, or began anew, less than [`DOUBT`] ago.
    Recent,
}

/// How long what was published while nobody read may take to be in the store.
pub const DOUBT: Duration = Duration::from_secs(60);

/// What a feed gives.
#[derive(Clone, Debug)]
pub enum Fed {
    /// A record of what `tag` follows.
    Record {
        /// As given to [`Feed::follow`] or [`Feed::follow_tenant`].
        tag: u64,
        /// The record.
        record: Record,
    },
    /// Anything may be missing before what comes next, of everything that is followed.
    Interrupted,
}

/// One connection's feed. Dropping it ends the following.
pub struct Feed {
    shared: Arc<Shared>,
    number: u64,
    inbox: Arc<Inbox>,
    places: HashMap<u64, Place>,
}

enum Place {
    Execution(Bytes),
    Tenant(Arc<str>),
}

impl Feed {
    pub(crate) fn new(shared: Arc<Shared>, number: u64) -> Self {
        Self { shared, number, inbox: Arc::new(Inbox::default()), places: HashMap::new() }
    }

    /// Follows an execution from now on under `tag`, which isn't in use. Returns what is remembered of it,
    /// oldest first: nothing is missing between that and what comes.
    #[must_use]
    pub fn follow(&mut self, tag: u64, tenant: &str, execution_id: &str) -> Remembered {
        let key = Bytes::copy_from_slice(execution_id.as_bytes());
        self.places.insert(tag, Place::Execution(key.clone()));
        let reader = Reader { tenant: tenant.into(), inbox: Arc::clone(&self.inbox) };
        let mut state = self.shared.state();
        let records = state.remembered(self.shared.ids(), tenant, &key);
        let doubt = match state.feeds.interrupted {
            Some(at) if at.elapsed() < DOUBT => Doubt::Recent,
            _ => Doubt::None,
        };
        state.feeds.executions.entry(key).or_default().insert((self.number, tag), reader);
        Remembered { records, doubt }
    }

    /// Follows the events of all executions of a tenant from now on under `tag`, which isn't in use.
    pub fn follow_tenant(&mut self, tag: u64, tenant: &str) {
        let tenant: Arc<str> = tenant.into();
        self.places.insert(tag, Place::Tenant(Arc::clone(&tenant)));
        let reader = Reader { tenant: Arc::clone(&tenant), inbox: Arc::clone(&self.inbox) };
        let mut state = self.shared.state();
        state.feeds.tenants.entry(tenant).or_default().insert((self.number, tag), reader);
    }

    /// Follows it no more. Records that wait may still come.
    pub fn unfollow(&mut self, tag: u64) {
        if let Some(place) = self.places.remove(&tag) {
            self.shared.state().feeds.remove(self.number, tag, &place);
        }
    }

    /// Waits for what comes next. May be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Fed {
        loop {
            if let Some(fed) = self.try_next() {
                return fed;
            }
            self.inbox.news.notified().await;
        }
    }

    /// What has already arrived, without waiting.
    pub fn try_next(&mut self) -> Option<Fed> {
        self.inbox.waiting().pop()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if self.places.is_empty() {
            return;
        }
        let mut state = self.shared.state();
        for (tag, place) in self.places.drain() {
            state.feeds.remove(self.number, tag, &place);
        }
    }
}

#[derive(Default)]
struct Inbox {
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Default)]
struct Waiting {
    records: VecDeque<(u64, Record)>,
    interrupted: bool,
}

impl Waiting {
    fn pop(&mut self) -> Option<Fed> {
        if std::mem::take(&mut self.interrupted) {
            return Some(Fed::Interrupted);
        }
        let (tag, record) = self.records.pop_front()?;
        if self.records.is_empty() {
            // Ten thousand idle connections must not each keep the room of their busiest moment.
            self.records = VecDeque::new();
        }
        Some(Fed::Record { tag, record })
    }

    fn interrupt(&mut self) {
        self.records = VecDeque::new();
        self.interrupted = true;
    }
}

impl Inbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // It is whole after each method, so a panic elsewhere doesn't spoil it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, tag: u64, record: &Record) {
        let mut waiting = self.waiting();
        if waiting.records.len() >= INBOX_RECORDS {
            metrics::counter!(names::OVERFLOWED).increment(1);
            waiting.interrupt();
        }
        waiting.records.push_back((tag, record.clone()));
        drop(waiting);
        self.news.notify_one();
    }
}

struct Reader {
    tenant: Arc<str>,
    inbox: Arc<Inbox>,
}

/// By the feed's number and the tag in it, so that leaving doesn't search among thousands.
type Readers = HashMap<(u64, u64), Reader>;

/// All feeds of a hub.
#[derive(Default)]
pub(crate) struct Feeds {
    executions: HashMap<Bytes, Readers>,
    tenants: HashMap<Arc<str>, Readers>,
    /// When reading began anew.
    interrupted: Option<Instant>,
}

impl Feeds {
    /// Whether anybody may want a record with this key.
    pub(crate) fn want(&self, source: Source, key: &[u8]) -> bool {
        self.executions.contains_key(key) || (source == Source::Results && !self.tenants.is_empty())
    }

    /// Passes a record on to whoever follows it, unless it is another tenant's or its key says otherwise
    /// than its value.
    pub(crate) fn tell(&self, record: &Record, key: &[u8]) {
        for ((_, tag), reader) in self.executions.get(key).into_iter().flatten() {
            if record.is_of(&reader.tenant, key) {
                reader.inbox.put(*tag, record);
            } else {
                metrics::counter!(names::OTHER_TENANT).increment(1);
            }
        }
        let (tenant, _) = record.tenant_and_execution();
        if !matches!(record, Record::Event(_)) || !record.is_of(tenant, key) {
            return;
        }
        for ((_, tag), reader) in self.tenants.get(tenant).into_iter().flatten() {
            reader.inbox.put(*tag, record);
        }
    }

    /// Tells everybody that something may be missing.
    pub(crate) fn interrupt(&mut self) {
        self.interrupted = Some(Instant::now());
        let readers = self.executions.values().chain(self.tenants.values()).flatten();
        for (_, reader) in readers {
            reader.inbox.waiting().interrupt();
            reader.inbox.news.notify_one();
        }
    }

    fn remove(&mut self, number: u64, tag: u64, place: &Place) {
        match place {
            Place::Execution(key) => {
                if let Some(readers) = self.executions.get_mut(key) {
                    readers.remove(&(number, tag));
                    if readers.is_empty() {
                        self.executions.remove(key);
                    }
                }
            }
            Place::Tenant(tenant) => {
                if let Some(readers) = self.tenants.get_mut(tenant) {
                    readers.remove(&(number, tag));
                    if readers.is_empty() {
                        self.tenants.remove(tenant);
                    }
                }
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.executions.is_empty() && self.tenants.is_empty()
    }
}
