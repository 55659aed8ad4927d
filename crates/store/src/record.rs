//! What goes into a store and what comes out of it.

use std::collections::BTreeMap;

use domain::answer::{Cost, Failure, Usage};
use domain::claim::ClaimCheck;
use domain::event::{EventType, ExecutionEvent, Position};
use domain::log_row::ExecutionLogRecord;
use domain::time::Millis;
use domain::topic::Kind;
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// An execution of which only the request is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedExecution {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// What it is.
    pub kind: Kind,
    /// The model, workflow, agent or function that was asked for.
    pub definition: String,
    /// When it was asked for.
    pub request_time: Millis,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// What it can be found by.
    pub search_attributes: BTreeMap<String, String>,
    /// JSON of whoever accepted it, for itself: the store never looks into it.
    pub note: Option<String>,
}

/// How far an execution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The request is known; no processor has said anything.
    Accepted,
    /// Taken in by its processor.
    Admitted,
    /// Waits for a place.
    Queued,
    /// Works.
    Running,
    /// Starts nothing new.
    Paused,
    /// Ended with an answer.
    Succeeded,
    /// Ended with a failure.
    Failed,
    /// Ended because someone asked for it.
    Cancelled,
    /// Ended because its deadline passed.
    TimedOut,
}

impl Status {
    /// All of them, in declaration order.
    pub const ALL: [Self; 9] = [
        Self::Accepted,
        Self::Admitted,
        Self::Queued,
        Self::Running,
        Self::Paused,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
    ];

    /// The name in rows and in HTTP answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Admitted => "admitted",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }

    /// The status with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether it will never change again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::TimedOut)
    }

    /// The status that an event leads to; `None`: it is about a step, and says nothing of the whole.
    #[must_use]
    pub fn after(event: EventType) -> Option<Self> {
        Some(match event {
            EventType::Admitted => Self::Admitted,
            EventType::Queued => Self::Queued,
            EventType::Started | EventType::Resumed => Self::Running,
            EventType::Paused => Self::Paused,
            EventType::Succeeded => Self::Succeeded,
            EventType::Failed => Self::Failed,
            EventType::Cancelled => Self::Cancelled,
            EventType::TimedOut => Self::TimedOut,
            EventType::StepStarted
            | EventType::StepWaiting
            | EventType::StepRetrying
            | EventType::StepSucceeded
            | EventType::StepFailed
            | EventType::StepSkipped
            | EventType::StepCancelled
            | EventType::ApprovalRequested
            | EventType::ApprovalGiven
            | EventType::SignalRefused => return None,
        })
    }
}

/// One execution, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Execution {
    /// Its id.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// Whose it is.
    pub tenant: String,
    /// How far it is.
    pub status: Status,
    /// The definition that was asked for, where it is known.
    pub definition: Option<String>,
    /// The execution that asked for it.
    pub parent_id: Option<String>,
    /// Free labels of the request, where it came through the gateway.
    pub labels: BTreeMap<String, String>,
    /// What it can be found by, as soon as its request or its admission has said it.
    pub search_attributes: BTreeMap<String, String>,
    /// See [`AcceptedExecution::note`].
    #[serde(skip)]
    pub note: Option<String>,
    /// The earliest time at which anything is known of it.
    pub created: Millis,
    /// The time of the fact that gave it its status.
    pub updated: Millis,
    /// The place of the last event; `None`: no event yet.
    pub position: Option<Position>,
    /// The answer's JSON, when it succeeded and `output_claim` doesn't stand for it.
    pub output: Option<String>,
    /// Stands for an answer that is too large for a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_claim: Option<ClaimCheck>,
    /// Why it ended without an answer.
    pub error: Option<Failure>,
    /// What it used.
    pub usage: Option<Usage>,
    /// What it cost.
    pub cost: Option<Cost>,
}

/// What is archived together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Events of executions.
    pub events: Vec<ExecutionEvent>,
    /// Rows of the execution log.
    pub rows: Vec<ExecutionLogRecord>,
    /// How far the topics are read once these are written.
    pub progress: Vec<Progress>,
}

/// How far a topic's partition is archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The topic, without prefix.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// The next offset to read.
    pub next_offset: i64,
}

/// Which executions a list has. An empty filter takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this kind only.
    pub kind: Option<Kind>,
    /// With this status only.
    pub status: Option<Status>,
    /// With all of these search attributes. Such a list goes by the time at which an execution's attributes were
    /// first named, which is that of its request or its admission; so do `from` and `to` then.
    pub attributes: BTreeMap<String, String>,
    /// Created at this time or later.
    pub from: Option<Millis>,
    /// Created before this time.
    pub to: Option<Millis>,
}

impl Filter {
    /// Whether a list has this one, by all but its time.
    pub(crate) fn wants(&self, execution: &Execution) -> bool {
        let mut attributes = self.attributes.iter();
        self.kind.is_none_or(|kind| kind == execution.kind)
            && self.status.is_none_or(|status| status == execution.status)
            && attributes.all(|(name, value)| execution.search_attributes.get(name) == Some(value))
    }
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The executions, newest first.
    pub executions: Vec<Execution>,
    /// Where to go on; `None`: that was all.
    pub next: Option<Cursor>,
}

/// The place of a row among those of its execution: log order, as the rows themselves tell it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPlace {
    /// State time of the fact.
    pub event_time: Millis,
    /// Offset of the fact in its log; -1 where the row doesn't say.
    pub source_offset: i64,
    /// The row's id.
    pub event_id: String,
}

impl LogPlace {
    /// The place of `row`.
    #[must_use]
    pub fn of(row: &ExecutionLogRecord) -> Self {
        Self {
            event_time: row.event_time,
            source_offset: row.source_offset.unwrap_or(-1),
            event_id: row.event_id.clone(),
        }
    }
}

/// Where a list goes on. Opaque to clients: it says nothing that they may rely on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    created: Millis,
    id: String,
}

impl Cursor {
    /// The longest text that is looked at; a longer one is not ours.
    const MAX_TEXT_BYTES: usize = 4 * 1024;

    /// The place after the execution `id`, created at `created`.
    #[must_use]
    pub fn after(created: Millis, id: impl Into<String>) -> Self {
        Self { created, id: id.into() }
    }

    /// When the last execution before the cursor was created.
    #[must_use]
    pub fn created(&self) -> Millis {
        self.created
    }

    /// The last execution before the cursor.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Reads what [`Cursor`]'s `Display` wrote.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for any other text.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        if text.len() > Self::MAX_TEXT_BYTES || !text.is_ascii() || !text.len().is_multiple_of(2) {
            return Err(StoreError::Cursor);
        }
        let bytes: Vec<u8> = (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16))
            .collect::<Result<_, _>>()
            .map_err(|_| StoreError::Cursor)?;
        let (created, id) = bytes.split_first_chunk::<8>().ok_or(StoreError::Cursor)?;
        let id = String::from_utf8(id.to_vec()).map_err(|_| StoreError::Cursor)?;
        let cursor = Self { created: Millis(i64::from_be_bytes(*created)), id };
        // One text per place: signs and capitals that the number parser lets through are not ours.
        if cursor.to_string() == text { Ok(cursor) } else { Err(StoreError::Cursor) }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.created.0)?;
        self.id.bytes().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_reads_back_what_it_wrote_and_nothing_else() {
        for (created, id) in [(0, ""), (-1, "a"), (i64::MAX, "é/1"), (1_700_000_000_000, "x")] {
            let cursor = Cursor::after(Millis(created), id);
            assert_eq!(Cursor::parse(&cursor.to_string()).unwrap(), cursor);
        }
        let long = "00".repeat(3_000);
        for text in [
            "",
            "00",
            "zz",
            "+100000000000000",
            "00000000000000AB",
            "é",
            "0000000000000000ff",
            &long,
        ] {
            assert!(matches!(Cursor::parse(text), Err(StoreError::Cursor)), "{text}");
        }
    }

    #[test]
    fn every_status_is_found_by_its_name() {
        for status in Status::ALL {
            assert_eq!(Status::named(status.as_str()), Some(status));
        }
        assert_eq!(Status::named("done"), None);
    }
}
