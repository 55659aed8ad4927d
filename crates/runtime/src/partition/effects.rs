//! What the machine takes in and gives out. Both are closed sets.

use std::sync::Arc;

use domain::answer::Failure;
use domain::log_row::ExecutionLogRecord;
use domain::state::Position;
use domain::topic::Topic;
use domain::trace::SpanId;

use crate::partition::entries::{Key, Stored};
use crate::ports::{CommitError, Confirmed, Outgoing, Raw, Sent, Side};
use crate::processor::{Processor, Running};

/// Something happened.
#[derive(Debug)]
pub enum Input<P: Processor> {
    /// Records of one side, in offset order.
    Records {
        /// Which side.
        side: Side,
        /// The epoch of the [`Effect::Start`] under which they were read.
        epoch: u64,
        /// The records.
        records: Vec<Raw>,
    },
    /// A send came to an end.
    Sent {
        /// Its place in the outbox.
        seq: u64,
        /// How.
        sent: Sent,
    },
    /// There is a new producer: everything unacknowledged must be sent again.
    ProducerReplaced,
    /// A call came to an end.
    CallEnded {
        /// The number that [`Effect::StartCall`] gave it.
        run: u64,
        /// How.
        result: Result<P::Fact, Failure>,
    },
    /// A checkpoint came to an end.
    Committed(Result<(), CommitError>),
    /// What [`Effect::Scan`] asked for.
    Scanned(Vec<Raw>),
    /// What [`Effect::ResolveSchema`] asked for: the id is known now, or refused for good.
    SchemaResolved(u32),
    /// What [`Effect::Confirm`], or the worker by itself, asked the coordinator, and when.
    Confirmed {
        /// The answer.
        confirmed: Confirmed,
        /// Monotonic milliseconds at which the question left.
        asked_at: i64,
    },
    /// Reading can't go on.
    ReadFailed {
        /// Which side.
        side: Side,
        /// Why.
        reason: String,
    },
    /// Admit nothing more, start no call and fire no timer; go on folding.
    Quiesce,
    /// Take a last checkpoint and let go.
    Drain,
    /// Time has passed.
    Tick,
}

/// Something to be done. The driver carries it out and decides nothing.
#[derive(Debug)]
pub enum Effect<P: Processor> {
    /// Hand this to the producer.
    Send {
        /// Its place in the outbox.
        seq: u64,
        /// The record.
        record: Arc<Outgoing>,
    },
    /// The outcome of a send is unknown: a new producer, for every partition of the worker.
    ReplaceProducer,
    /// Read one side from here on; `None`: from the earliest record.
    Start {
        /// Which side.
        side: Side,
        /// From where.
        offset: Option<i64>,
        /// Tags what is read.
        epoch: u64,
    },
    /// Hold reading.
    Pause(Side),
    /// Go on reading.
    Resume(Side),
    /// Start an outside call.
    StartCall {
        /// Its number, for [`Input::CallEnded`].
        run: u64,
        /// What runs.
        running: Running,
        /// What to call.
        call: P::Call,
    },
    /// Abort an outside call.
    StopCall(u64),
    /// Commit a checkpoint.
    Commit(Cut<P>),
    /// Read this range of the log, ends included.
    Scan {
        /// First offset.
        from: i64,
        /// Last offset.
        to: i64,
    },
    /// Fetch a schema.
    ResolveSchema(u32),
    /// Ask the coordinator whether the partition is still ours.
    Confirm,
    /// Drop this machine and restore; the worker confirms ownership first.
    Restore(String),
    /// Everything is checkpointed, after [`Input::Drain`].
    Drained,
    /// A person should look.
    Alarm(Alarm),
}

/// What an operator must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Folding this log offset failed for good; its entity was failed.
    Skipped {
        /// The offset.
        offset: i64,
        /// What the fold said.
        reason: String,
    },
    /// A log record can't be read; it became a dead letter.
    Unreadable {
        /// The offset.
        offset: i64,
        /// Why.
        reason: String,
    },
    /// Folding waits at this log offset for something that should have come long ago.
    DefinitionLate {
        /// The offset.
        offset: i64,
        /// What it waits for.
        what: String,
    },
    /// Sends have not been acknowledged for this many milliseconds.
    SendsStuck(i64),
    /// Reading can't go on; the partition stands still.
    Stopped(String),
}

/// A checkpoint: the changed entries at one log offset.
#[derive(Debug)]
pub struct Cut<P: Processor> {
    pub(crate) entries: Vec<(Key, Option<Stored<P>>)>,
    /// Rows of the execution log.
    pub rows: Arc<Vec<ExecutionLogRecord>>,
    /// How far it covers.
    pub position: Position,
}

/// A record that a fold puts out, before it has a source.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) topic: Topic,
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) record: &'static str,
    pub(crate) tenant: Option<String>,
    pub(crate) trace_parent: Option<String>,
    /// The span above the one that `trace_parent` names, where that is to be observed.
    pub(crate) below: Option<SpanId>,
    pub(crate) value: Vec<u8>,
}
