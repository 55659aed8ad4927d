//! What an execution keeps, in small entries: a step rewrites only what it changes, so its cost doesn't
//! grow with the steps that were taken, nor with the width of a fan-out.
//!
//! A *step* is a node in a frame, a *frame* one run of a scope. Their names are what people read in
//! events: `draft`, `each[17]` (the body of `each` for its item 17), `each[17].draft`.

use std::collections::BTreeMap;

use crate::answer::{Failure, Usage};
use crate::request::Origin;
use crate::schedule::Running;
use crate::schedule::kept::Kept;
use crate::time::Millis;
use crate::topic::Kind;

use super::document::Document;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// What an execution is; written once.
    Execution(Box<Execution>),
    /// How far it is.
    Progress(Box<Progress>),
    /// A frame.
    Frame(Frame),
    /// A step that has begun and isn't over.
    Step(Box<Step>),
    /// A value: inputs, variables, an output, an item, a signal that came early.
    Value(Document),
    /// Why a step or an item failed.
    Failure(Box<Failure>),
    /// The output of a map: it lies in the entries of its items' results.
    Pieces(i64),
    /// Something that is to begin.
    Task(Task),
    /// The numbers of entries that stand in a line.
    Line(Line),
    /// A schedule; of an execution that is one, which has no entry of the others but a value.
    Schedule(Box<Kept>),
    /// An execution that a schedule started and that hasn't ended.
    Running(Running),
}

/// What an execution is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// Whose it is.
    pub tenant: String,
    /// Who asked; `None` for clients.
    pub origin: Option<Origin>,
    /// The name of the workflow.
    pub workflow: String,
    /// Its version, pinned at admission.
    pub version: i32,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// What it can be found by.
    pub search_attributes: BTreeMap<String, String>,
    /// Higher goes first where something queues.
    pub priority: i32,
    /// State time of the admission.
    pub admitted: Millis,
    /// When it times out.
    pub deadline: Option<Millis>,
    /// `traceparent` of its admission.
    pub trace_parent: Option<String>,
    /// Whether values may stand in the execution log.
    pub log_content: bool,
}

/// How far an execution is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether its nodes have begun.
    pub started: Option<Millis>,
    /// Whether someone paused it.
    pub paused: bool,
    /// How it is going to end, when everything that is to be undone is undone.
    pub ending: Option<PendingEnding>,
    /// Who counts the places of its workflow, once it has asked for one.
    pub place: Option<String>,
    /// What waits to begin, because of a pause or because one fold did enough.
    pub waiting: Line,
    /// How many steps are to be undone if it fails.
    pub undo: i64,
    /// What is being undone.
    pub undoing: Option<Task>,
    /// What it used so far.
    pub usage: Option<Usage>,
    /// What it cost so far, in millionths, by currency.
    pub costs: BTreeMap<String, i64>,
}

/// How an execution is going to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingEnding {
    /// Why it failed or ran out of time; `None`: it was cancelled.
    pub failure: Option<Failure>,
    /// Whether it ran out of time.
    pub timed_out: bool,
    /// Why it was cancelled, for people.
    pub reason: Option<String>,
}

/// One run of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The scope, by its index in the definition.
    pub scope: i32,
    /// Which step runs it; `None`: the execution.
    pub parent: Option<Parent>,
    /// A [`NodeState`] for each of the scope's nodes.
    pub nodes: Vec<u8>,
    /// An [`EdgeState`] for each of the scope's edges.
    pub edges: Vec<u8>,
    /// How many of its nodes aren't decided.
    pub undecided: i32,
    /// Whether something in it is to be undone if the execution fails, so that it stays when it is over.
    pub undoable: bool,
    /// Whether it is over.
    pub over: bool,
}

/// The step whose body a frame runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The frame of that step.
    pub frame: String,
    /// Its node, by index.
    pub node: i32,
    /// Which item, or which iteration.
    pub index: i64,
}

/// Where a node is in a frame. Stored as its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum NodeState {
    /// Its edges aren't decided.
    Waiting = 0,
    /// It is to begin.
    Ready = 1,
    /// It has begun.
    Running = 2,
    /// It gave an output.
    Succeeded = 3,
    /// It failed.
    Failed = 4,
    /// None of its edges was taken.
    Skipped = 5,
    /// It lost against others, or its scope ended without it.
    Cancelled = 6,
    /// It is there to undo another, and has no part in the flow.
    Apart = 7,
}

impl NodeState {
    /// The state with that number.
    #[must_use]
    pub fn of(number: u8) -> Self {
        match number {
            0 => Self::Waiting,
            1 => Self::Ready,
            2 => Self::Running,
            3 => Self::Succeeded,
            4 => Self::Failed,
            5 => Self::Skipped,
            6 => Self::Cancelled,
            _ => Self::Apart,
        }
    }

    /// The name that expressions see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting | Self::Ready | Self::Apart => "waiting",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it has not ended yet, and may.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Ready | Self::Running)
    }
}

/// What became of an edge. Stored as its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EdgeState {
    /// Its source isn't decided.
    Open = 0,
    /// Taken.
    Taken = 1,
    /// Not taken.
    NotTaken = 2,
    /// Its source failed, and it leads to a join.
    Failed = 3,
}

impl EdgeState {
    /// The state with that number.
    #[must_use]
    pub fn of(number: u8) -> Self {
        match number {
            0 => Self::Open,
            1 => Self::Taken,
            2 => Self::NotTaken,
            _ => Self::Failed,
        }
    }
}

/// A step that has begun and isn't over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Its frame.
    pub frame: String,
    /// Its node, by index.
    pub node: i32,
    /// From 1.
    pub attempt: i32,
    /// When its first attempt began.
    pub started: Millis,
    /// What it asked of another processor, as long as there is no answer.
    pub asked: Option<Asked>,
    /// Until when it waits.
    pub until: Option<Millis>,
    /// Its place among those that wait for a signal.
    pub signal: Option<i64>,
    /// The items of a map.
    pub items: Option<Items>,
    /// The iteration of a loop.
    pub iteration: i64,
}

/// A request to another processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Which.
    pub kind: Kind,
    /// The request's id.
    pub id: String,
}

/// How far a map is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Items {
    /// How many there are.
    pub total: i64,
    /// The next to begin.
    pub next: i64,
    /// How many have begun and aren't over.
    pub active: i64,
}

/// Something that is to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The frame.
    pub frame: String,
    /// The node, by index.
    pub node: i32,
    /// Whether the node has begun, and its next item or iteration is meant.
    pub body: bool,
}

/// A line of numbered entries: first come, first served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The number of the first.
    pub first: i64,
    /// The number of the next to come.
    pub next: i64,
}

impl Line {
    /// Whether nothing stands in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.first >= self.next
    }
}

/// The names of entries.
pub mod name {
    /// See [`super::Execution`].
    pub const EXECUTION: &str = "execution";
    /// See [`super::Progress`].
    pub const PROGRESS: &str = "progress";
    /// The inputs.
    pub const INPUTS: &str = "inputs";
    /// The variables.
    pub const VARIABLES: &str = "variables";

    /// A frame.
    #[must_use]
    pub fn frame(frame: &str) -> String {
        format!("frame/{frame}")
    }

    /// A step that has begun.
    #[must_use]
    pub fn step(step: &str) -> String {
        format!("step/{step}")
    }

    /// The output of a step.
    #[must_use]
    pub fn output(step: &str) -> String {
        format!("output/{step}")
    }

    /// The output that a step gives without being carried out.
    #[must_use]
    pub fn reuse(step: &str) -> String {
        format!("reuse/{step}")
    }

    /// Why a step failed.
    #[must_use]
    pub fn error(step: &str) -> String {
        format!("error/{step}")
    }

    /// An item of a map, by the frame of its body.
    #[must_use]
    pub fn item(frame: &str) -> String {
        format!("item/{frame}")
    }

    /// What an item of a map came to, by the frame of its body.
    #[must_use]
    pub fn result(frame: &str) -> String {
        format!("result/{frame}")
    }

    /// The value of the last iteration of a loop; and, by its frame, of the one before an iteration that is
    /// over and kept, as something in it may have to be undone.
    #[must_use]
    pub fn last(step: &str) -> String {
        format!("last/{step}")
    }

    /// A task that waits.
    #[must_use]
    pub fn waiting(number: i64) -> String {
        format!("waiting/{number}")
    }

    /// A step that is to be undone if the execution fails.
    #[must_use]
    pub fn undo(number: i64) -> String {
        format!("undo/{number}")
    }

    /// The line of signals of this name that nobody waited for.
    #[must_use]
    pub fn signals(signal: &str) -> String {
        format!("signals/{signal}")
    }

    /// One of them.
    #[must_use]
    pub fn signal(signal: &str, number: i64) -> String {
        format!("signal/{number}/{signal}")
    }

    /// The line of steps that wait for a signal of this name.
    #[must_use]
    pub fn waiters(signal: &str) -> String {
        format!("waiters/{signal}")
    }

    /// One of them.
    #[must_use]
    pub fn waiter(signal: &str, number: i64) -> String {
        format!("waiter/{number}/{signal}")
    }
}
