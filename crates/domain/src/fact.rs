//! What may stand in a processor's log: every fact about its entities, in one order per entity.

use crate::answer::{Answer, Failure};
use crate::request::Origin;
use crate::time::Millis;

/// Where an output came from, for the receiver's copy detection (DESIGN, rule F3). Travels in headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Deterministic id of the output: entity, step, attempt, kind.
    pub id: String,
    /// The log topic (without prefix) whose fold put it out.
    pub topic: String,
    /// Partition of that log.
    pub partition: i32,
    /// Offset of the record in that log whose fold put it out.
    pub offset: i64,
    /// The last offset of that log that was covered by a committed checkpoint when it was put out; -1: none.
    pub stable: i64,
}

/// A feed record was taken in. Written by the owner, for each feed record exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The feed position before this record: the next offset to admit, as the writer knew it.
    pub feed_before: i64,
    /// The offset of this record in the feed.
    pub feed_offset: i64,
    /// The broker's or upstream's time of the feed record.
    pub feed_time: Millis,
    /// Its source, when another fold put it out.
    pub source: Option<Source>,
    /// The version of the definition that admission pinned.
    pub version: Option<i32>,
    /// The request in Confluent framing, in the schema of the writer of this fact.
    pub request: Vec<u8>,
    /// `traceparent` of the feed record.
    pub trace_parent: Option<String>,
    /// Whether the definition lets prompt and answer text go to the execution log.
    pub log_content: bool,
}

/// A feed record was refused, after its dead letter was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// As in [`Admitted`].
    pub feed_before: i64,
    /// As in [`Admitted`].
    pub feed_offset: i64,
    /// The request's id, where it could be read.
    pub request_id: Option<String>,
    /// The tenant, where it could be read.
    pub tenant: Option<String>,
    /// Who asked, where it could be read.
    pub origin: Option<Origin>,
    /// As in [`Admitted`].
    pub source: Option<Source>,
    /// Why.
    pub failure: Failure,
}

/// An outside call ended well. The first one in the log for its call counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The call's key within its entity.
    pub call: String,
    /// Which try of the call under this fence, from 1.
    pub attempt: i32,
    /// The fence of the owner that ran it.
    pub fence: i64,
    /// The processor's own record, in Confluent framing.
    pub fact: Vec<u8>,
}

/// An outside call ended badly. Counts like [`Finished`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// As in [`Finished`].
    pub call: String,
    /// As in [`Finished`].
    pub attempt: i32,
    /// As in [`Finished`].
    pub fence: i64,
    /// Why.
    pub failure: Failure,
}

/// A timer was due. Counts only if it is due by state time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerFired {
    /// The timer's key within its entity.
    pub timer: String,
    /// When it was due.
    pub due: Millis,
}

/// A new owner begins. The offset of this record is its fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenOver {
    /// Unique for each take-over.
    pub owner: String,
    /// Fingerprint of the program that folds from here on.
    pub program: String,
}

/// A log record whose fold failed is passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The offset of the record that is passed.
    pub offset: i64,
    /// The fence of the owner that says so; it counts only while that owner is the latest.
    pub fence: i64,
    /// What the fold said.
    pub reason: String,
}

/// Something from outside that an entity should do. Public to write, straight to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Unique; the command is applied once.
    pub id: String,
    /// The tenant that commands; another tenant's entity ignores it.
    pub tenant: String,
    /// What to do.
    pub order: Order,
}

/// What a [`Command`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// End as cancelled.
    Cancel {
        /// For people.
        reason: Option<String>,
    },
    /// Start nothing new.
    Pause,
    /// Go on.
    Resume,
    /// Tell a waiting step something.
    Signal {
        /// The signal's name.
        name: String,
        /// JSON.
        payload: Option<String>,
    },
    /// The outcome of a function that answers by callback.
    Callback {
        /// The single-use token of the call.
        token: String,
        /// JSON.
        payload: Option<String>,
    },
}

/// One record of a processor's log; its key is the entity's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// See [`Admitted`].
    Admitted(Admitted),
    /// See [`Rejected`].
    Rejected(Rejected),
    /// See [`Finished`].
    Finished(Finished),
    /// See [`Failed`].
    Failed(Failed),
    /// See [`TimerFired`].
    TimerFired(TimerFired),
    /// See [`TakenOver`].
    TakenOver(TakenOver),
    /// See [`Skipped`].
    Skipped(Skipped),
    /// See [`Answer`].
    Answer(Answer),
    /// See [`Command`].
    Command(Command),
}

/// A value that could not be taken (topic `dead-letters`, key: the original key).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Deterministic: topic, partition and offset of the original.
    pub id: String,
    /// Where it stood.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When it was written.
    pub time: Millis,
    /// Machine-readable reason, e.g. `unknown_schema`.
    pub code: String,
    /// What is wrong, and where.
    pub message: String,
    /// The tenant, where it could be read.
    pub tenant: Option<String>,
    /// The original key.
    pub key: Option<Vec<u8>>,
    /// The original value.
    pub value: Vec<u8>,
    /// The original headers, in order; values as they were.
    pub headers: Vec<Header>,
}

/// One header of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Vec<u8>,
}
