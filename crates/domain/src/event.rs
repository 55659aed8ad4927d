//! What results, sockets and server-sent events carry, and the token deltas beside them.

use serde::{Deserialize, Serialize};

use crate::answer::{Cost, Failure, Usage};
use crate::claim::ClaimCheck;
use crate::time::Millis;
use crate::topic::Kind;

/// The place of an event among those of its execution. A higher generation at number n replaces
/// everything from n on; a lower one after a higher is to be dropped.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// Raised when a changed program takes over.
    pub generation: i32,
    /// Rises by one, from 1.
    pub number: i64,
}

/// What happened. The dotted name is the public one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventType {
    /// Taken in.
    #[serde(rename = "execution.admitted")]
    Admitted,
    /// Waits for a place.
    #[serde(rename = "execution.queued")]
    Queued,
    /// Work began.
    #[serde(rename = "execution.started")]
    Started,
    /// Starts nothing new.
    #[serde(rename = "execution.paused")]
    Paused,
    /// Goes on.
    #[serde(rename = "execution.resumed")]
    Resumed,
    /// Ended with an answer.
    #[serde(rename = "execution.succeeded")]
    Succeeded,
    /// Ended with a failure.
    #[serde(rename = "execution.failed")]
    Failed,
    /// Ended because someone asked for it.
    #[serde(rename = "execution.cancelled")]
    Cancelled,
    /// Ended because its deadline passed.
    #[serde(rename = "execution.timed_out")]
    TimedOut,
    /// A step began, or its next attempt.
    #[serde(rename = "step.started")]
    StepStarted,
    /// A step waits, and says for what.
    #[serde(rename = "step.waiting")]
    StepWaiting,
    /// An attempt failed, and another one follows.
    #[serde(rename = "step.retrying")]
    StepRetrying,
    /// A step gave its output.
    #[serde(rename = "step.succeeded")]
    StepSucceeded,
    /// A step failed for good.
    #[serde(rename = "step.failed")]
    StepFailed,
    /// A step was not needed: no way led to it.
    #[serde(rename = "step.skipped")]
    StepSkipped,
    /// A step that had begun was called off.
    #[serde(rename = "step.cancelled")]
    StepCancelled,
    /// A step waits for a person, and says what to fill in.
    #[serde(rename = "approval.requested")]
    ApprovalRequested,
    /// That person answered.
    #[serde(rename = "approval.given")]
    ApprovalGiven,
    /// A signal came that nobody can take.
    #[serde(rename = "signal.refused")]
    SignalRefused,
}

impl EventType {
    /// All of them, in declaration order: the symbols of the Avro enum are these names with `_` for `.`.
    pub const ALL: [Self; 19] = [
        Self::Admitted,
        Self::Queued,
        Self::Started,
        Self::Paused,
        Self::Resumed,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
        Self::StepStarted,
        Self::StepWaiting,
        Self::StepRetrying,
        Self::StepSucceeded,
        Self::StepFailed,
        Self::StepSkipped,
        Self::StepCancelled,
        Self::ApprovalRequested,
        Self::ApprovalGiven,
        Self::SignalRefused,
    ];

    /// The public name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "execution.admitted",
            Self::Queued => "execution.queued",
            Self::Started => "execution.started",
            Self::Paused => "execution.paused",
            Self::Resumed => "execution.resumed",
            Self::Succeeded => "execution.succeeded",
            Self::Failed => "execution.failed",
            Self::Cancelled => "execution.cancelled",
            Self::TimedOut => "execution.timed_out",
            Self::StepStarted => "step.started",
            Self::StepWaiting => "step.waiting",
            Self::StepRetrying => "step.retrying",
            Self::StepSucceeded => "step.succeeded",
            Self::StepFailed => "step.failed",
            Self::StepSkipped => "step.skipped",
            Self::StepCancelled => "step.cancelled",
            Self::ApprovalRequested => "approval.requested",
            Self::ApprovalGiven => "approval.given",
            Self::SignalRefused => "signal.refused",
        }
    }

    /// Whether it is how a step ended.
    #[must_use]
    pub fn ends_step(self) -> bool {
        matches!(
            self,
            Self::StepSucceeded | Self::StepFailed | Self::StepSkipped | Self::StepCancelled
        )
    }

    /// Whether nothing comes after it.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::TimedOut)
    }
}

/// One event of an execution (topic `results`, key: the execution's id).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionEvent {
    /// The execution.
    pub execution_id: String,
    /// What it is.
    pub kind: Kind,
    /// Whose it is.
    pub tenant: String,
    /// The execution that asked for it.
    pub parent_id: Option<String>,
    /// See [`Position`].
    pub generation: i32,
    /// See [`Position`].
    pub number: i64,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// State time of the fold that put it out.
    pub time: Millis,
    /// The step, in a workflow or agent.
    pub step: Option<String>,
    /// The attempt of the step, from 1.
    pub attempt: Option<i32>,
    /// JSON, by type; for `execution.succeeded` the answer. `None` as well when `data_claim` stands for it.
    pub data: Option<String>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// What it used.
    pub usage: Option<Usage>,
    /// What it cost.
    pub cost: Option<Cost>,
    /// Stands for data that is too large for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_claim: Option<ClaimCheck>,
}

impl ExecutionEvent {
    /// Its place among the events of its execution.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { generation: self.generation, number: self.number }
    }
}

/// What a [`Chunk`] carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChunkKind {
    /// Answer text.
    Text,
    /// Reasoning text.
    Reasoning,
    /// A piece of tool calls: a JSON array in the OpenAI delta shape.
    ToolCalls,
    /// The call's stream is complete; `text` is empty.
    Done,
    /// No output: where the call waits, a [`QueuePlace`] as JSON. It stands outside the numbering of the text.
    Queued,
}

/// Where a call stands in the queue before a deployment: what a chunk of the kind [`ChunkKind::Queued`]
/// says. Only the newest one counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePlace {
    /// 1: it is the next one; 0: it waits no more.
    pub position: u64,
    /// About how long it will still wait, in milliseconds; `None` as long as there is nothing to judge by.
    pub estimated_wait_ms: Option<u64>,
}

impl QueuePlace {
    /// The turn of a call that waited has come.
    pub const TURN: Self = Self { position: 0, estimated_wait_ms: Some(0) };

    /// The text of a chunk that says it.
    #[must_use]
    pub fn to_text(self) -> String {
        match self.estimated_wait_ms {
            Some(wait) => {
                format!(r#"{{"position":{},"estimated_wait_ms":{wait}}}"#, self.position)
            }
            None => format!(r#"{{"position":{},"estimated_wait_ms":null}}"#, self.position),
        }
    }
}

/// A piece of a call's stream (topic `stream`, key: the execution's id).
///
/// A chunk with a higher `(fence, attempt)` than the last one means: discard what came before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The execution.
    pub execution_id: String,
    /// Whose it is.
    pub tenant: String,
    /// The owner that produced it: the offset of its `TakenOver`.
    pub fence: i64,
    /// The try of the call under that fence, from 1.
    #[serde(rename = "try")]
    pub attempt: i32,
    /// Rises by one from 0 within a try. For [`ChunkKind::Queued`] it falls by one from -1, and the try is the
    /// one that is waited for: no reader that counts text meets a hole.
    pub index: i64,
    /// What it carries.
    pub kind: ChunkKind,
    /// Which choice of the answer (`choices[].index`).
    pub choice: i32,
    /// The text, or JSON for [`ChunkKind::ToolCalls`] and [`ChunkKind::Queued`].
    pub text: String,
}

impl Chunk {
    /// Where the call waits; `None` for output, and for text that doesn't say it.
    #[must_use]
    pub fn queue_place(&self) -> Option<QueuePlace> {
        match self.kind {
            ChunkKind::Queued => serde_json::from_str(&self.text).ok(),
            _ => None,
        }
    }
}
