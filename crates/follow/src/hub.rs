//! The one reader of `results` and `stream`, and the followers that it serves.
//!
//! Component shape: [`Hub::new`] gives the hub to run and its [`Handle`]. It reads from the end of both
//! topics; when reading breaks it begins anew at the end and tells every follower that it may have missed
//! something, for the store knows what that was.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::event::{Chunk, ExecutionEvent};
use domain::topic::Topic;
use runtime::ports::{ClusterError, Raw, Tail, TailFrom, Topics};
use schemas::{Ids, ReadError};
use tokio::sync::{Notify, watch};

use crate::feed::{Feed, Feeds, Record};
use crate::metrics as names;
use crate::queue::{Followed, Queue};
use crate::recent::{Kept, REMEMBERED_BYTES, Recent};

/// The first wait before a topic is opened again; doubled up to [`REOPEN_AT_MOST`].
const REOPEN_FIRST: Duration = Duration::from_millis(100);
/// The longest wait before a topic is opened again.
const REOPEN_AT_MOST: Duration = Duration::from_secs(5);

/// Fetches a schema that was met on the wire; blocks. As `Cluster::resolve_schema`.
pub type Resolve = Arc<dyn Fn(u32) -> Result<bool, ClusterError> + Send + Sync>;

/// How much a hub keeps.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of recent records that a late follower still gets.
    pub remembered_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { remembered_bytes: REMEMBERED_BYTES }
    }
}

/// What a hub works with.
#[derive(Clone)]
pub struct Parts {
    /// Opens the topics.
    pub topics: Arc<dyn Topics>,
    /// The registry's ids.
    pub ids: Ids,
    /// Fetches schemas of newer writers.
    pub resolve: Resolve,
}

/// Which topic a record came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Results,
    Stream,
}

impl Source {
    fn topic(self) -> Topic {
        match self {
            Self::Results => Topic::Results,
            Self::Stream => Topic::Stream,
        }
    }
}

/// Which of the two topics are being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reading {
    results: bool,
    stream: bool,
}

/// One follower's queue and its alarm clock.
#[derive(Default)]
struct Mailbox {
    queue: Mutex<Queue>,
    news: Notify,
}

struct Follower {
    number: u64,
    tenant: Arc<str>,
    mailbox: Arc<Mailbox>,
}

pub(crate) struct State {
    followers: HashMap<Bytes, Vec<Follower>>,
    pub(crate) feeds: Feeds,
    recent: Recent,
    numbers: u64,
    /// Schemas of which an unreadable record was logged.
    complained: HashSet<Option<u32>>,
}

pub(crate) struct Shared {
    ids: Ids,
    state: Mutex<State>,
    reading: watch::Sender<Reading>,
}

/// The reader. Run it once.
pub struct Hub {
    parts: Parts,
    shared: Arc<Shared>,
}

/// Makes followers. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

/// What one follower sees of one execution. Dropping it ends the following.
pub struct Following {
    shared: Arc<Shared>,
    key: Bytes,
    number: u64,
    mailbox: Arc<Mailbox>,
}

impl Hub {
    /// A hub that reads nothing until it runs, and its handle.
    #[must_use]
    pub fn new(options: Options, parts: Parts) -> (Self, Handle) {
        let shared = Arc::new(Shared {
            ids: parts.ids.clone(),
            state: Mutex::new(State {
                followers: HashMap::new(),
                feeds: Feeds::default(),
                recent: Recent::new(options.remembered_bytes),
                numbers: 0,
                complained: HashSet::new(),
            }),
            reading: watch::Sender::new(Reading::default()),
        });
        (Self { parts, shared: shared.clone() }, Handle(shared))
    }

    /// Reads until `shutdown` completes.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        tokio::select! {
            () = self.read(Source::Results) => {}
            () = self.read(Source::Stream) => {}
            () = shutdown => {}
        }
        self.shared.reading.send_replace(Reading::default());
    }

    /// Reads one topic, for ever.
    async fn read(&self, source: Source) {
        let topic = source.topic().name();
        let mut wait = REOPEN_FIRST;
        loop {
            let why = match self.open(source).await {
                Ok(mut tail) => {
                    self.shared.set_reading(source, true);
                    // What was published until now, and since a break, is in the store or will be.
                    self.shared.state().feeds.interrupt();
                    wait = REOPEN_FIRST;
                    let why = self.read_on(source, tail.as_mut()).await;
                    self.shared.set_reading(source, false);
                    self.shared.state().missed_something();
                    why
                }
                Err(why) => why,
            };
            tracing::warn!(topic, error = %why, "following is interrupted");
            metrics::counter!(names::REOPENED, "topic" => topic).increment(1);
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(REOPEN_AT_MOST);
        }
    }

    async fn open(&self, source: Source) -> Result<Box<dyn Tail>, ClusterError> {
        let topics = self.parts.topics.clone();
        tokio::task::spawn_blocking(move || topics.tail(source.topic(), TailFrom::Latest))
            .await
            .unwrap_or_else(|panic| {
                Err(ClusterError { what: "open a topic".into(), why: panic.to_string() })
            })
    }

    async fn read_on(&self, source: Source, tail: &mut dyn Tail) -> ClusterError {
        loop {
            let batch = match tail.next().await {
                Ok(batch) => batch,
                Err(why) => return why,
            };
            for tailed in batch {
                if let Err(ReadError::UnknownSchema(id)) =
                    self.shared.ids.name_of(&tailed.record.value)
                {
                    self.fetch_schema(id).await;
                }
                self.shared.deliver(source, &tailed.record);
            }
        }
    }

    /// Asks the registry once. Without an answer the record is counted as unreadable: a client that waits
    /// for it finds it in the store, where the archive brings it when the registry is back.
    async fn fetch_schema(&self, id: u32) {
        let resolve = self.parts.resolve.clone();
        match tokio::task::spawn_blocking(move || resolve(id)).await {
            Ok(Ok(_)) => {}
            Ok(Err(why)) => tracing::warn!(schema = id, error = %why, "schema can't be fetched"),
            Err(panic) => tracing::warn!(schema = id, error = %panic, "schema can't be fetched"),
        }
    }
}

impl Handle {
    /// Follows one execution from now on; what is remembered of it comes first. Register before the
    /// request is published, and nothing can be missed.
    #[must_use]
    pub fn follow(&self, tenant: &str, execution_id: &str) -> Following {
        let key = Bytes::copy_from_slice(execution_id.as_bytes());
        let mailbox = Arc::new(Mailbox::default());
        let mut state = self.0.state();
        state.numbers += 1;
        let number = state.numbers;
        let follower = Follower { number, tenant: tenant.into(), mailbox: mailbox.clone() };
        for (source, value) in state.recent.of(&key) {
            // Unreadable records were counted when they came.
            if let Ok(news) = News::read(&self.0.ids, source, value) {
                follower.tell(&news, &key);
            }
        }
        state.followers.entry(key.clone()).or_default().push(follower);
        drop(state);
        metrics::gauge!(names::FOLLOWERS).increment(1.0);
        Following { shared: self.0.clone(), key, number, mailbox }
    }

    /// A feed that follows nothing yet, for one connection that follows several things.
    #[must_use]
    pub fn feed(&self) -> Feed {
        let mut state = self.0.state();
        state.numbers += 1;
        Feed::new(self.0.clone(), state.numbers)
    }

    /// Whether both topics are being read.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let reading = *self.0.reading.borrow();
        reading.results && reading.stream
    }

    /// Waits until both topics are being read: what is published after that is seen.
    pub async fn ready(&self) {
        let mut reading = self.0.reading.subscribe();
        // The sender lives in `self`, so waiting can't fail.
        let _ = reading.wait_for(|reading| reading.results && reading.stream).await;
    }
}

impl Following {
    /// Waits for what comes next. May be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Followed {
        loop {
            if let Some(followed) = self.mailbox.queue().pop() {
                return followed;
            }
            self.mailbox.news.notified().await;
        }
    }

    /// What has already arrived, without waiting.
    pub fn try_next(&mut self) -> Option<Followed> {
        self.mailbox.queue().pop()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if let Some(followers) = state.followers.get_mut(&self.key) {
            followers.retain(|follower| follower.number != self.number);
            if followers.is_empty() {
                state.followers.remove(&self.key);
            }
        }
        drop(state);
        metrics::gauge!(names::FOLLOWERS).decrement(1.0);
    }
}

/// A record, read.
enum News {
    Event(Box<ExecutionEvent>),
    Chunk(Chunk),
}

impl News {
    fn read(ids: &Ids, source: Source, value: &[u8]) -> Result<Self, ReadError> {
        match source {
            Source::Results => ids.read(value).map(|event| Self::Event(Box::new(event))),
            Source::Stream => ids.read(value).map(Self::Chunk),
        }
    }

    fn tenant_and_execution(&self) -> (&str, &str) {
        match self {
            Self::Event(event) => (&event.tenant, &event.execution_id),
            Self::Chunk(chunk) => (&chunk.tenant, &chunk.execution_id),
        }
    }
}

impl From<News> for Record {
    fn from(news: News) -> Self {
        match news {
            News::Event(event) => Self::Event((*event).into()),
            News::Chunk(chunk) => Self::Chunk(chunk.into()),
        }
    }
}

impl Follower {
    /// Passes a record on, unless it is another tenant's or its key says otherwise than its value.
    fn tell(&self, news: &News, key: &[u8]) {
        let (tenant, execution) = news.tenant_and_execution();
        if tenant != &*self.tenant || execution.as_bytes() != key {
            metrics::counter!(names::OTHER_TENANT).increment(1);
            return;
        }
        let mut queue = self.mailbox.queue();
        match news {
            News::Event(event) => queue.event((**event).clone()),
            News::Chunk(chunk) => queue.chunk(chunk.clone()),
        }
        drop(queue);
        self.mailbox.news.notify_one();
    }
}

impl Mailbox {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A queue is whole after each of its methods, so a panic elsewhere doesn't spoil it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ids(&self) -> &Ids {
        &self.ids
    }

    fn set_reading(&self, source: Source, now: bool) {
        self.reading.send_modify(|reading| match source {
            Source::Results => reading.results = now,
            Source::Stream => reading.stream = now,
        });
    }

    fn deliver(&self, source: Source, record: &Raw) {
        let Some(key) = &record.key else { return };
        let mut state = self.state();
        state.recent.remember(Kept::of(source, &record.headers), key, &record.value);
        let State { followers, feeds, complained, .. } = &mut *state;
        let followers = followers.get(key);
        if followers.is_none() && !feeds.want(source, key) {
            return;
        }
        let topic = source.topic().name();
        match News::read(&self.ids, source, &record.value) {
            Ok(news) => {
                followers.into_iter().flatten().for_each(|follower| follower.tell(&news, key));
                feeds.tell(&news.into(), key);
                metrics::counter!(names::DELIVERED, "topic" => topic).increment(1);
            }
            Err(error) => {
                metrics::counter!(names::UNREADABLE, "topic" => topic).increment(1);
                if complained.insert(schemas::schema_id(&record.value).ok()) {
                    let offset = record.offset;
                    tracing::warn!(topic, offset, %error, "a followed record can't be read");
                }
            }
        }
    }
}

impl State {
    /// What is remembered of an execution of this tenant, oldest first.
    pub(crate) fn remembered(&self, ids: &Ids, tenant: &str, key: &[u8]) -> Vec<Record> {
        // Unreadable records were counted when they came.
        let records = self
            .recent
            .of(key)
            .filter_map(|(source, value)| News::read(ids, source, value).ok().map(Record::from));
        records.filter(|record| record.is_of(tenant, key)).collect()
    }

    fn missed_something(&mut self) {
        self.recent.clear();
        self.feeds.interrupt();
        for follower in self.followers.values().flatten() {
            follower.mailbox.queue().lag();
            follower.mailbox.news.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
