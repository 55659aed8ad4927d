//! The machine of one execution: what follows from each thing that happens to it, by the rules of
//! [`crate::workflow`].
//!
//! Pure: it sees the entries of its execution, the event, state time and the program of the version that
//! the execution is pinned to. Everything that it keeps is in small entries behind [`Memory`].
//!
//! **Order.** What is decided at one moment is decided one after the other: a node's edges in the order of
//! the graph as soon as its turn comes, first come, first served; the nodes that they lead to are
//! considered in that order. A node that may run joins a line, and the line is worked off in order. A map
//! has one place in the line, for its next item, as long as its bound lets one begin; a loop has one for its
//! next iteration. Edges to what has begun or is decided aren't looked at any more. So two owners, or one
//! owner twice, come to the same.
//!
//! **Pause** holds the line: what has begun may end, nothing begins, and nothing is undone. A cancel ends a
//! pause, so that what is to be undone is undone. **One fold** begins at most [`MAX_BEGUN`] steps; the rest stays in the line and goes on with the timer `go`, so that
//! no execution keeps a partition for itself.

pub mod document;
pub mod entry;
pub mod invariants;
pub mod program;

mod bodies;
mod ending;
mod failing;
mod flow;
mod joins;
mod names;
mod starting;
mod state;
mod waits;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::answer::{Cost, Failure, Terminal, Usage};
use crate::event::EventType;
use crate::fact::Order;
use crate::request::{AgentMessage, FunctionCall, ModelRequest, WorkflowStart};
use crate::time::Millis;
use crate::topic::Kind;
use crate::workflow::limit;

use document::Document;
use entry::{Entry, Execution};
use program::Program;
use state::Machine;

/// One fold begins so many steps, items and iterations. Pure ones take about 20 microseconds each.
pub const MAX_BEGUN: usize = 500;

/// A map takes so many items.
pub const MAX_ITEMS: usize = 100_000;

/// An output is at most so long, in bytes of JSON; that of a map isn't bounded by this, its items are.
pub const MAX_VALUE_BYTES: usize = crate::claim::LIMIT_BYTES;

/// So many signals of one name wait for someone to take them; what comes then is refused.
pub const MAX_SIGNALS: i64 = 1_000;

/// The entries of one execution.
pub trait Memory {
    /// The entry of this name.
    fn get(&self, name: &str) -> Option<&Entry>;
    /// Writes an entry.
    fn put(&mut self, name: &str, entry: Entry);
    /// Removes an entry.
    fn remove(&mut self, name: &str);
}

/// In memory only, for tests and tools.
impl Memory for BTreeMap<String, Entry> {
    fn get(&self, name: &str) -> Option<&Entry> {
        Self::get(self, name)
    }

    fn put(&mut self, name: &str, entry: Entry) {
        self.insert(name.to_owned(), entry);
    }

    fn remove(&mut self, name: &str) {
        Self::remove(self, name);
    }
}

/// What happens to an execution.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It is taken in. Always the first.
    Admitted(Box<Admission>),
    /// Another processor answered, or an outside call ended.
    Answered {
        /// The step that asked.
        step: String,
        /// Its attempt.
        attempt: i32,
        /// What came of it.
        result: Result<Document, Failure>,
        /// What it used.
        usage: Option<Usage>,
        /// What it cost.
        cost: Option<Cost>,
    },
    /// It has to wait for a place among the executions of its workflow.
    Queued(limit::Queued),
    /// It has a place among them.
    Granted,
    /// A timer of it was due.
    Due(String),
    /// Somebody outside wants something.
    Command(Order),
    /// A record of it couldn't be folded, or what it put out was too large.
    Broken(Failure),
}

/// An execution as it is taken in.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission {
    /// What it is.
    pub execution: Execution,
    /// Its inputs.
    pub inputs: Document,
    /// Not to begin before this.
    pub not_before: Option<Millis>,
    /// Outputs by step: these steps give them without being carried out.
    pub reuse: BTreeMap<String, Document>,
}

/// One thing to do, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Tell those who follow the execution.
    Announce(Box<Announcement>),
    /// Ask another processor, through its feed.
    Ask(Box<Request>),
    /// Tell an execution that this one asked for what to do.
    Tell {
        /// What it is.
        kind: Kind,
        /// Its id.
        id: String,
        /// What to do.
        order: Order,
    },
    /// An outside call is wanted.
    Want {
        /// The step.
        step: String,
        /// Its attempt.
        attempt: i32,
        /// What to do.
        call: Box<Publication>,
    },
    /// It is not wanted any more.
    Unwant {
        /// The step.
        step: String,
        /// Its attempt.
        attempt: i32,
    },
    /// The timer is due at this time, whatever it was set to before.
    SetTimer {
        /// Its key.
        timer: String,
        /// When.
        due: Millis,
    },
    /// The timer is not wanted any more.
    ClearTimer(String),
    /// It is over; nothing of it is kept.
    End(Box<Ending>),
}

/// Something that those who follow an execution are told. Never a terminal type: that is [`Effect::End`].
#[derive(Clone, Debug, PartialEq)]
pub struct Announcement {
    /// What happened.
    pub event_type: EventType,
    /// The step.
    pub step: Option<String>,
    /// Its node, by index.
    pub node: Option<usize>,
    /// Its attempt.
    pub attempt: Option<i32>,
    /// JSON, by type.
    pub data: Option<String>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// What the step used.
    pub usage: Option<Usage>,
    /// What the step cost.
    pub cost: Option<Cost>,
    /// When the step began.
    pub started: Option<Millis>,
}

/// A request to another processor.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A model call.
    Model(ModelRequest),
    /// A child.
    Workflow(WorkflowStart),
    /// A function call.
    Function(FunctionCall),
    /// A message to an agent.
    Agent(AgentMessage),
}

/// A `CloudEvent` that a node `emit` publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Its id: the same for every try to write it.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// The topic.
    pub topic: String,
    /// The record's key.
    pub key: Option<String>,
    /// Its type.
    pub event_type: String,
    /// Where it comes from: workflow and step.
    pub source: String,
    /// What it is about.
    pub subject: Option<String>,
    /// When it happened.
    pub time: Millis,
    /// JSON.
    pub data: String,
    /// `traceparent` of the execution.
    pub trace_parent: Option<String>,
}

/// A [`Publication`] stands in its topic: the fact that the call ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// How.
    pub status: Terminal,
    /// Its result, where it succeeded.
    pub result: Option<Document>,
    /// Why not, where it failed or ran out of time.
    pub failure: Option<Failure>,
    /// Why it was cancelled, for people.
    pub reason: Option<String>,
    /// What it used.
    pub usage: Option<Usage>,
    /// What it cost, where that is in one currency.
    pub cost: Option<Cost>,
    /// When its nodes began.
    pub started: Option<Millis>,
}

impl Ending {
    /// The event that announces it.
    #[must_use]
    pub fn event_type(&self) -> EventType {
        match self.status {
            Terminal::Succeeded => EventType::Succeeded,
            Terminal::Failed => EventType::Failed,
            Terminal::Cancelled => EventType::Cancelled,
            Terminal::TimedOut => EventType::TimedOut,
        }
    }
}

/// The entries of an execution contradict each other, or the program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entries of the execution can't be: {0}")]
pub struct Damaged(pub String);

/// What follows from `event` at state time `now`.
///
/// # Errors
/// [`Damaged`]; what was written to `memory` by then is to be dropped.
pub fn step(
    program: &Program,
    id: &str,
    memory: &mut impl Memory,
    event: Event,
    now: Millis,
) -> Result<Vec<Effect>, Damaged> {
    if let Event::Admitted(admission) = event {
        return Machine::admit(program, id, memory, *admission, now)?.finish();
    }
    let Some(mut machine) = Machine::load(program, id, memory, now)? else {
        return Ok(Vec::new());
    };
    match event {
        Event::Admitted(_) => {}
        Event::Answered { step, attempt, result, usage, cost } => {
            machine.answered(&step, attempt, result, usage, cost)?;
        }
        Event::Queued(place) => machine.queued(place),
        Event::Granted => machine.granted()?,
        Event::Due(timer) => machine.due(&timer)?,
        Event::Command(order) => machine.command(order)?,
        Event::Broken(failure) => machine.end_as_failed(failure),
    }
    machine.work()?;
    machine.finish()
}
