//! What a checkpoint writes: small entries, each under its own key in the state topic.
//!
//! A key is `entity U+001F part U+001F name`; entities' ids have no control characters. The partition's
//! own entries have an empty entity.

use crate::time::Millis;

/// How far a checkpoint covers its partition. Written last in each checkpoint's transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The next log offset to fold.
    pub log_offset: i64,
    /// The next feed offset to admit.
    pub feed_offset: i64,
    /// The running maximum of record times in the log.
    pub state_time: Millis,
    /// Raised when a changed program takes over.
    pub generation: i32,
    /// Fingerprint of the program that folded.
    pub program: String,
    /// How many live entries the partition has, this one and the genesis record left out.
    pub entries: i64,
    /// The highest `stable` seen of each sender.
    pub senders: Vec<Sender>,
}

/// What is known of one sender: a log partition whose outputs arrive on one of our topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The topic of ours (without prefix) on which they arrive.
    pub receiving: String,
    /// The log topic whose fold put them out.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Outputs from offsets up to this one were all acknowledged here.
    pub stable: i64,
}

/// Written once when the topic is set up; a restore that doesn't find it stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The state topic, without prefix.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// When it was written.
    pub created: Millis,
}

/// An outside call that is wanted and not yet finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedCall {
    /// What to call: the processor's own record, in Confluent framing.
    pub request: Vec<u8>,
    /// State time at which it was wanted.
    pub since: Millis,
}

/// A timer that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetTimer {
    /// When it is due, by state time.
    pub due: Millis,
}

/// The last event number of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// See [`crate::event::Position`].
    pub generation: i32,
    /// See [`crate::event::Position`].
    pub number: i64,
    /// The tenant of the entity.
    pub tenant: String,
}

/// An id of a sender's output that was applied, above its sender's `stable`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedId {
    /// As in [`Sender`].
    pub receiving: String,
    /// As in [`Sender`].
    pub topic: String,
    /// As in [`Sender`].
    pub partition: i32,
    /// The source offset.
    pub offset: i64,
}

/// An id that a client or a command used, kept for a stated time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentId {
    /// State time at which it was applied.
    pub since: Millis,
    /// The tenant of the client; `None` for a command, and in what older programs wrote.
    pub tenant: Option<String>,
}

/// A command that came before its entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlyCommand {
    /// The command's log record value, in Confluent framing.
    pub command: Vec<u8>,
    /// State time at which it came.
    pub since: Millis,
}
