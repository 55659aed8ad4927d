//! The names of the topics. A configurable prefix comes before each; nothing else ever varies.

use serde::{Deserialize, Serialize};

/// One of the four processors, and so the kind of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A model call.
    Model,
    /// A function call.
    Function,
    /// A workflow execution.
    Workflow,
    /// An agent session.
    Agent,
}

impl Kind {
    /// All four, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Model, Self::Function, Self::Workflow, Self::Agent];

    /// The name in topics, records and rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Function => "function",
            Self::Workflow => "workflow",
            Self::Agent => "agent",
        }
    }
}

/// A topic of ours, without the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// `X-requests`: work waiting to be admitted. Public.
    Feed(Kind),
    /// `X-events`: what happened, in one order per entity.
    Log(Kind),
    /// `X-state`: compacted checkpoints.
    State(Kind),
    /// Execution events for clients.
    Results,
    /// Token deltas.
    Stream,
    /// The typed log for data teams.
    ExecutionLog,
    /// What could not be taken, with the original bytes.
    DeadLetters,
    /// Models, workflows, agents, functions and keys; one partition, kept for ever.
    Definitions,
}

impl Topic {
    /// Every topic, in the order of the documentation.
    pub const ALL: [Self; 17] = [
        Self::Feed(Kind::Model),
        Self::Feed(Kind::Function),
        Self::Feed(Kind::Workflow),
        Self::Feed(Kind::Agent),
        Self::Log(Kind::Model),
        Self::Log(Kind::Function),
        Self::Log(Kind::Workflow),
        Self::Log(Kind::Agent),
        Self::State(Kind::Model),
        Self::State(Kind::Function),
        Self::State(Kind::Workflow),
        Self::State(Kind::Agent),
        Self::Results,
        Self::Stream,
        Self::ExecutionLog,
        Self::DeadLetters,
        Self::Definitions,
    ];

    /// The name without the prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Feed(Kind::Model) => "model-requests",
            Self::Feed(Kind::Function) => "function-requests",
            Self::Feed(Kind::Workflow) => "workflow-requests",
            Self::Feed(Kind::Agent) => "agent-requests",
            Self::Log(Kind::Model) => "model-events",
            Self::Log(Kind::Function) => "function-events",
            Self::Log(Kind::Workflow) => "workflow-events",
            Self::Log(Kind::Agent) => "agent-events",
            Self::State(Kind::Model) => "model-state",
            Self::State(Kind::Function) => "function-state",
            Self::State(Kind::Workflow) => "workflow-state",
            Self::State(Kind::Agent) => "agent-state",
            Self::Results => "results",
            Self::Stream => "stream",
            Self::ExecutionLog => "execution-log",
            Self::DeadLetters => "dead-letters",
            Self::Definitions => "definitions",
        }
    }
}
