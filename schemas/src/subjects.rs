//! Which records are written to which topic, and the registry's subjects for them (TopicRecordName).

use domain::answer::{Answer, ModelOutcome};
use domain::catalogue::DefinitionProposed;
use domain::event::{Chunk, ExecutionEvent};
use domain::fact::{
    Admitted, DeadLetter, Failed, Finished, Rejected, Skipped, TakenOver, TimerFired,
};
use domain::log_row::ExecutionLogRecord;
use domain::model_call::{ModelCall, WantedModelCall};
use domain::request::{AgentMessage, FunctionCall, ModelRequest, WorkflowStart};
use domain::state::{
    AppliedId, EarlyCommand, Genesis, Position, RecentId, Sequence, SetTimer, WantedCall,
};
use domain::topic::{Kind, Topic};
use domain::workflow::run::entry::Entry;
use domain::workflow::run::{Publication, Published};

use crate::command::{Callback, Cancel, Pause, Resume, Signal};
use crate::record::{Declared, Record, declared};

/// What a topic carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subjects {
    /// The topic.
    pub topic: Topic,
    groups: &'static [&'static [&'static str]],
}

impl Subjects {
    /// The records in it, those inside another's `bytes` included.
    pub fn records(self) -> impl Iterator<Item = &'static Declared> {
        self.groups.iter().copied().flatten().filter_map(|name| declared(name))
    }
}

/// The commands: what an outsider may write to a log.
pub const COMMANDS: &[&str] =
    &[Cancel::NAME, Pause::NAME, Resume::NAME, Signal::NAME, Callback::NAME];

/// What every processor's log carries.
pub const LOG: &[&str] = &[
    Admitted::NAME,
    Rejected::NAME,
    Finished::NAME,
    Failed::NAME,
    TimerFired::NAME,
    TakenOver::NAME,
    Skipped::NAME,
    Answer::NAME,
    Cancel::NAME,
    Pause::NAME,
    Resume::NAME,
    Signal::NAME,
    Callback::NAME,
];

/// What every processor's state carries.
const STATE: &[&str] = &[
    Position::NAME,
    Genesis::NAME,
    WantedCall::NAME,
    SetTimer::NAME,
    Sequence::NAME,
    AppliedId::NAME,
    RecentId::NAME,
    EarlyCommand::NAME,
];

/// Every topic, each once.
pub const SUBJECTS: &[Subjects] = &[
    of(Topic::Feed(Kind::Model), &[&[ModelRequest::NAME]]),
    of(Topic::Feed(Kind::Function), &[&[FunctionCall::NAME]]),
    of(Topic::Feed(Kind::Workflow), &[&[WorkflowStart::NAME]]),
    of(Topic::Feed(Kind::Agent), &[&[AgentMessage::NAME]]),
    of(Topic::Log(Kind::Model), &[LOG, &[ModelOutcome::NAME]]),
    of(Topic::Log(Kind::Function), &[LOG]),
    of(Topic::Log(Kind::Workflow), &[LOG, &[Published::NAME]]),
    of(Topic::Log(Kind::Agent), &[LOG]),
    of(Topic::State(Kind::Model), &[STATE, &[ModelCall::NAME, WantedModelCall::NAME]]),
    of(Topic::State(Kind::Function), &[STATE]),
    of(Topic::State(Kind::Workflow), &[STATE, &[Entry::NAME, Publication::NAME]]),
    of(Topic::State(Kind::Agent), &[STATE]),
    of(Topic::Results, &[&[ExecutionEvent::NAME]]),
    of(Topic::Stream, &[&[Chunk::NAME]]),
    of(Topic::ExecutionLog, &[&[ExecutionLogRecord::NAME]]),
    of(Topic::DeadLetters, &[&[DeadLetter::NAME]]),
    of(Topic::Definitions, &[&[DefinitionProposed::NAME]]),
];

const fn of(topic: Topic, groups: &'static [&'static [&'static str]]) -> Subjects {
    Subjects { topic, groups }
}

/// The subject of a record in a topic: `<prefix><topic>-<full name>`.
#[must_use]
pub fn subject(prefix: &str, topic: Topic, record: &str) -> String {
    format!("{prefix}{}-{record}", topic.name())
}

/// Every subject with the record that is registered under it.
pub fn all(prefix: &str) -> impl Iterator<Item = (String, &'static Declared)> {
    SUBJECTS.iter().flat_map(move |entry| {
        entry.records().map(move |record| (subject(prefix, entry.topic, record.name), record))
    })
}
