//! What the runtime needs of a cluster. The ports carry bytes; they decide nothing.
//!
//! A [`Cluster`] hands out the parts. Whatever happens in them reaches the worker as a [`Report`] (small,
//! never held back) or as [`Records`] (bounded, so a slow fold slows the reader).

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use domain::time::Millis;
use domain::topic::{Kind, Topic};
use tokio::sync::mpsc;

/// Headers of a record, in order; a name may repeat.
pub type Headers = Vec<(String, Bytes)>;

/// The value of the last header called `name`, as text.
#[must_use]
pub fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers
        .iter()
        .rev()
        .find(|(have, _)| have == name)
        .and_then(|(_, value)| std::str::from_utf8(value).ok())
}

/// A record as a topic holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// Its offset.
    pub offset: i64,
    /// Its time: append time in logs, the writer's in feeds. `Millis(0)` where the broker has none.
    pub time: Millis,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; empty for a tombstone.
    pub value: Bytes,
    /// Its headers.
    pub headers: Headers,
}

/// A record to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub topic: Topic,
    /// Which partition; `None`: by `murmur2_random` of the key.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Bytes,
    /// Its headers.
    pub headers: Headers,
}

/// The two topics that a partition's owner reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// `X-requests`.
    Feed,
    /// `X-events`.
    Log,
}

/// Records read from one side of one partition, in offset order.
#[derive(Debug)]
pub struct Records {
    /// Which side.
    pub side: Side,
    /// Which partition.
    pub partition: i32,
    /// The epoch that [`Reader::start`] was given: a record read before a later start has the older one.
    pub epoch: u64,
    /// At least one record.
    pub records: Vec<Raw>,
}

/// Identifies one send: which producer (counted by [`Sender::replace`]), which partition machine, which
/// place in its outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The producer that was asked.
    pub producer: u64,
    /// The partition whose machine asked.
    pub partition: i32,
    /// Incarnation of that machine: a restore makes a new one.
    pub incarnation: u64,
    /// Its place in that machine's outbox.
    pub seq: u64,
}

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It stands in its topic at this offset.
    At(i64),
    /// Nobody can say: an error, or an acknowledgement without an offset.
    Unknown,
    /// The broker refuses this record for good (too large, not allowed). Says why.
    Refused(&'static str),
}

/// What the parts tell the worker.
#[derive(Debug)]
pub enum Report {
    /// The group gave these feed partitions to this member: none, if others have them all.
    Assigned(Vec<i32>),
    /// The group takes these partitions back. The group waits until `done` is dropped or its patience ends.
    Revoked {
        /// Which.
        partitions: Vec<i32>,
        /// Dropped by the worker when it has let go.
        done: std::sync::mpsc::SyncSender<()>,
    },
    /// These partitions were lost without asking; somebody else may own them already.
    Lost(Vec<i32>),
    /// A send came to an end.
    Sent(Ticket, Sent),
    /// Reading can't go on at this place: the offset is gone, or the topic is.
    ReadFailed {
        /// Which side.
        side: Side,
        /// Which partition.
        partition: i32,
        /// Why, for people.
        reason: String,
    },
}

/// The most batches of [`Records`] that may wait for the worker: a few milliseconds of work.
pub const RECORD_BATCHES: usize = 64;

/// The most records in one batch of [`Records`].
pub const RECORDS_PER_BATCH: usize = 256;

/// Where the parts put what they have for the worker.
///
/// Reports are not bounded by the channel but by what causes them: a machine never has more than its
/// outbox's bound of sends in flight, and assignments are few.
#[derive(Clone, Debug)]
pub struct Inbox {
    /// Never held back.
    pub reports: mpsc::UnboundedSender<Report>,
    /// Bounded by [`RECORD_BATCHES`]: the reader's thread waits (`blocking_send`).
    pub records: mpsc::Sender<Records>,
}

/// A cluster could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct ClusterError {
    /// What was being done.
    pub what: String,
    /// The cause, in the client's words.
    pub why: String,
}

/// For [`Membership::confirm`]: the position that was committed last.
pub const STANDING: i64 = -1;

/// Membership in the consumer group of a feed. Dropping it leaves the group.
///
/// It only says who owns which partition; it reads nothing.
pub trait Membership: Send + Sync {
    /// Asks the coordinator, by a generation-checked group commit of these positions (which also serve
    /// lag displays), whether the partitions are still ours: all of them, or none. Where only some went, the
    /// answer is [`Confirmed::Unknown`]. Blocks for one round trip, at most `request.timeout.ms`.
    fn confirm(&self, positions: &[(i32, i64)]) -> Confirmed;
    /// Says that the worker still takes in what the member reports; called at every tick, so it costs next
    /// to nothing. A member whose worker falls silent may not keep its partitions: others must get them.
    fn attend(&self);
}

/// The coordinator's answer to [`Membership::confirm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// Ours, at the moment of asking.
    Owner,
    /// Not ours any more: the generation or the member is unknown.
    NotOwner,
    /// No answer.
    Unknown,
}

/// Reads feeds and logs of one processor, by manual assignment. Methods may be called from any thread and
/// return at once; they take effect in order.
pub trait Reader: Send + Sync {
    /// Reads from `offset` on. Anything that is delivered for an earlier start keeps its older epoch.
    fn start(&self, side: Side, partition: i32, offset: i64, epoch: u64);
    /// Stops reading.
    fn stop(&self, side: Side, partition: i32);
    /// Holds reading; batches on their way still arrive.
    fn pause(&self, side: Side, partition: i32);
    /// Goes on reading.
    fn resume(&self, side: Side, partition: i32);
}

/// The producer's queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

/// Writes outputs and appends: `acks=all`, idempotent, one request in flight, endless message timeout.
pub trait Sender: Send + Sync {
    /// Hands one record to the current producer; records of one partition of one topic keep their order. The
    /// outcome comes as [`Report::Sent`].
    ///
    /// # Errors
    /// [`QueueFull`]: nothing was taken; try again when reports have come in.
    fn send(&self, ticket: Ticket, record: &Outgoing) -> Result<(), QueueFull>;
    /// The number of the current producer, for [`Ticket::producer`].
    fn current(&self) -> u64;
    /// Purges the current producer and makes a new one; returns its number. Reports of the old one may still
    /// arrive and are to be ignored.
    fn replace(&self) -> Result<u64, ClusterError>;
}

/// The token deltas' own producer, outside all acknowledgements: it may drop, it never blocks.
pub trait Deltas: Send + Sync {
    /// Writes a chunk to `stream`.
    fn send(&self, key: &str, value: Vec<u8>, headers: Headers);
}

/// Why a checkpoint was not committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Nothing of it stands; the producer is usable.
    #[error("the transaction was aborted: {0}")]
    Aborted(String),
    /// Another producer with our transactional id is in charge.
    #[error("fenced by another owner: {0}")]
    Fenced(String),
    /// Nobody can say whether it stands.
    #[error("the outcome of the transaction is unknown: {0}")]
    Unknown(String),
}

/// One checkpoint, as bytes: everything in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Entries of the state partition, in order; `None` is a tombstone. The position record is last.
    pub entries: Vec<(Bytes, Option<Bytes>)>,
    /// Rows of the execution log: key and value.
    pub rows: Vec<(Bytes, Bytes)>,
}

/// Reads and writes the checkpoints of one partition. Every method blocks and is called on the partition's
/// own thread.
pub trait Checkpoints: Send {
    /// Fences every earlier owner's transactions and waits until the last of them has ended
    /// (`init_transactions`).
    fn take_over(&mut self) -> Result<(), CommitError>;
    /// Reads every entry of the state partition up to its high watermark, oldest first; a tombstone has no
    /// value.
    fn restore(&mut self, each: &mut dyn FnMut(Bytes, Option<Bytes>)) -> Result<(), ClusterError>;
    /// Commits one checkpoint.
    fn commit(&mut self, batch: Batch) -> Result<(), CommitError>;
}

/// What reading a range of a log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// The records, in order.
    Records(Vec<Raw>),
    /// The range's beginning is gone: retention has passed it, or the topic was made anew. Says so.
    Gone(String),
}

/// Everything that a worker needs of a cluster.
pub trait Cluster: Send + Sync + 'static {
    /// How many partitions `kind`'s feed, log and state have.
    fn partitions(&self, kind: Kind) -> Result<i32, ClusterError>;
    /// Joins the group of `kind`'s feed.
    fn join(&self, kind: Kind, inbox: Inbox) -> Result<Arc<dyn Membership>, ClusterError>;
    /// A reader of `kind`'s feed and log.
    fn reader(&self, kind: Kind, inbox: Inbox) -> Result<Arc<dyn Reader>, ClusterError>;
    /// A sender whose outcomes go to `inbox`.
    fn sender(&self, inbox: Inbox) -> Result<Arc<dyn Sender>, ClusterError>;
    /// The producer of token deltas.
    fn deltas(&self) -> Result<Arc<dyn Deltas>, ClusterError>;
    /// The checkpoints of one partition.
    fn checkpoints(&self, kind: Kind, partition: i32)
    -> Result<Box<dyn Checkpoints>, ClusterError>;
    /// Reads `[from, to]` of a log partition, both ends included; `from` 0 means the earliest record there
    /// is. Blocks.
    ///
    /// # Errors
    /// What may pass. That records are gone for good is an answer: [`Scanned::Gone`].
    fn scan(&self, kind: Kind, partition: i32, from: i64, to: i64)
    -> Result<Scanned, ClusterError>;
    /// Fetches a schema by its id from the registry and teaches it to the process's [`schemas::Ids`].
    /// Blocks. `Ok(false)`: the registry says that it doesn't exist.
    fn resolve_schema(&self, id: u32) -> Result<bool, ClusterError>;
}

/// Writes single records for the edges, and waits for each: `acks=all`, idempotent.
#[async_trait]
pub trait Publish: Send + Sync {
    /// Writes one record and waits until it stands. Returns its partition and offset.
    ///
    /// # Errors
    /// Says whether the record was refused, or whether nobody can say if it stands: then the same
    /// record, with the same id, may be written again.
    async fn publish(&self, record: Outgoing) -> Result<(i32, i64), ClusterError>;
}

/// A record for a topic that is none of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// The topic's whole name: no prefix comes before it.
    pub topic: String,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Bytes,
    /// Its headers.
    pub headers: Headers,
}

/// Why a record doesn't stand elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElsewhereError {
    /// It is not to be written, and would not be another time.
    #[error("{0}")]
    Refused(String),
    /// It may stand or not: it may be written again with the same id.
    #[error("{0}")]
    Unknown(String),
}

/// Writes single records to topics of others, and waits for each. Topics of ours are refused: what stands in
/// them is written by those who keep to their rules.
#[async_trait]
pub trait PublishElsewhere: Send + Sync {
    /// Writes one record and waits until it stands. Returns its partition and offset.
    ///
    /// # Errors
    /// [`ElsewhereError`].
    async fn publish_elsewhere(&self, record: Elsewhere) -> Result<(i32, i64), ElsewhereError>;
}

/// A record that [`Tail::next`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tailed {
    /// Its partition.
    pub partition: i32,
    /// The record.
    pub record: Raw,
}

/// Where a [`Tail`] begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailFrom {
    /// At the oldest record of each partition.
    Earliest,
    /// At the end: every record written after [`Topics::tail`] has returned is seen.
    Latest,
    /// At these next offsets; a partition that is not named begins at its oldest record.
    Offsets(BTreeMap<i32, i64>),
}

/// Reads every partition of one topic, outside any group, for the edges. Dropping it stops reading.
#[async_trait]
pub trait Tail: Send {
    /// Waits for the next records, at least one; each partition's are in offset order. May be dropped
    /// while it waits: nothing is lost.
    ///
    /// # Errors
    /// The position is gone (retention passed it) or the topic is: never a silent reset. The tail is of
    /// no more use then. Brokers that can't be reached for a while are no error.
    async fn next(&mut self) -> Result<Vec<Tailed>, ClusterError>;
    /// Whether [`Tail::next`] has returned everything that the topic held when the tail was made.
    ///
    /// It turns true without a record where there is nothing to read, so ask on a timer too.
    fn caught_up(&self) -> bool;
}

/// Opens [`Tail`]s.
pub trait Topics: Send + Sync {
    /// Reads all partitions of `topic` from `from` on. Blocks for a few round trips.
    ///
    /// # Errors
    /// The topic doesn't exist, or no broker answers.
    fn tail(&self, topic: Topic, from: TailFrom) -> Result<Box<dyn Tail>, ClusterError>;
}
