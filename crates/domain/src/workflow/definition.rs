//! A workflow as its author wrote it, typed. Nodes and scopes lie flat, so that an index names them:
//! the same one in [`Definition`] and in the graph that [`super::compile`] makes of it.
//!
//! Made only by the compiler; whoever holds one from a [`super::compile::Compiled`] needs no further
//! check.

use std::collections::BTreeMap;

use serde_json::Value;

use super::problem::Pointer;
use super::template::Template;
use crate::answer::ErrorClass;
use crate::catalogue::Which;
use crate::request::Operation;

/// What `apiVersion` must be.
pub const API_VERSION: &str = "stepstream/v1";
/// What `kind` must be.
pub const KIND: &str = "Workflow";

/// The longest name of a workflow, or of an alias.
pub const MAX_NAME_BYTES: usize = 128;

/// Whether a workflow or an alias may be called so: letters, digits, `-`, `_` and `.`, as it is part of
/// addresses.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.chars().all(allowed)
}

/// The index of the scope that everything is in.
pub const TOP: usize = 0;

/// A workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// The schema of its inputs.
    pub inputs: Value,
    /// The schema of its result, where there is one.
    pub outputs: Option<Value>,
    /// Constants, in the order of the definition.
    pub variables: Vec<Variable>,
    /// How many executions run at once.
    pub concurrency: Option<Concurrency>,
    /// How long an execution may take, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// All nodes of all scopes, in the order of the definition; those of a body follow their owner.
    pub nodes: Vec<Node>,
    /// All scopes; [`TOP`] first.
    pub scopes: Vec<Scope>,
}

/// A constant of an execution.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// What its value must fit.
    pub schema: Option<Value>,
    /// Its value, over the inputs.
    pub value: Template,
    /// Where it stands.
    pub at: Pointer,
}

/// How many executions run at once; more wait.
#[derive(Clone, Debug, PartialEq)]
pub struct Concurrency {
    /// So many ...
    pub limit: u32,
    /// ... of each key; without one: of all.
    pub key: Option<Template>,
}

/// The nodes that edges connect: the whole workflow, or the body of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// The node whose body this is; `None`: [`TOP`].
    pub owner: Option<usize>,
    /// Its nodes, in the order of the definition.
    pub nodes: Vec<usize>,
    /// Its edges, in the order of the definition; without those of switches and error branches.
    pub edges: Vec<Edge>,
    /// What it gives.
    pub result: Option<Template>,
    /// Where it stands: the object that has its `nodes`.
    pub at: Pointer,
}

/// One of the `edges` of a scope.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// The id of the node that it comes from.
    pub from: String,
    /// The id of the node that it leads to.
    pub to: String,
    /// When it is taken: a boolean, or an expression. `None`: always.
    pub when: Option<Template>,
    /// Where it stands.
    pub at: Pointer,
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique in the definition; a name that expressions can use.
    pub id: String,
    /// What it is for.
    pub description: Option<String>,
    /// What it does.
    pub kind: Kind,
    /// What happens when it fails.
    pub policy: Policy,
    /// The scope that it is in.
    pub scope: usize,
    /// Where it stands.
    pub at: Pointer,
}

/// What happens when a node fails, and after.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// Whether it is tried again.
    pub retry: Option<Retry>,
    /// How long it may take, all tries together, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// The id of the node that goes on.
    pub on_error: Option<String>,
    /// What it gives instead.
    pub default: Option<Template>,
    /// The id of the node that undoes it.
    pub compensate: Option<String>,
    /// Executions share its output under the same key.
    pub cache_key: Option<Template>,
}

/// When and how often a node is tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// After failures of these classes; `None`: after those that say that another try may help.
    pub on: Option<Vec<ErrorClass>>,
    /// The first try included.
    pub max_tries: u32,
    /// The wait before the second try, in milliseconds.
    pub initial_ms: u64,
    /// No wait is longer, in milliseconds.
    pub max_ms: u64,
    /// Each wait is so many times the one before.
    pub factor: f64,
}

impl Default for Retry {
    fn default() -> Self {
        Self { on: None, max_tries: 3, initial_ms: 1_000, max_ms: 60_000, factor: 2.0 }
    }
}

/// What a node does.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Calls a model. Gives the provider's answer, in the OpenAI shape.
    Model {
        /// The alias.
        model: String,
        /// What to do.
        operation: Operation,
        /// The OpenAI-shaped request, without the model.
        request: Template,
    },
    /// Runs an agent.
    Agent {
        /// Its name.
        agent: String,
        /// What it is asked.
        input: Option<Template>,
        /// The session that it goes on with; absent: a new one.
        session: Option<Template>,
    },
    /// Calls a function.
    Function {
        /// Its name.
        name: String,
        /// Its arguments.
        arguments: Option<Template>,
    },
    /// Gives a value made of others.
    Transform {
        /// The value.
        value: Template,
    },
    /// Takes the first case that holds.
    Switch {
        /// Asked in order.
        cases: Vec<Case>,
        /// The id of the node to go on with when none holds.
        otherwise: Option<String>,
    },
    /// Does nothing: all its edges are taken.
    Fork,
    /// Waits for some of its incoming edges.
    Join {
        /// For which.
        policy: JoinPolicy,
        /// For how long, in milliseconds.
        deadline_ms: Option<u64>,
    },
    /// Runs a body for each item of a list.
    Map {
        /// The list.
        over: Template,
        /// The name of the item in the body.
        item: String,
        /// How many bodies run at once.
        concurrency: u32,
        /// What happens when one fails.
        on_item_error: OnItemError,
        /// The scope of the body.
        body: usize,
    },
    /// Runs a body again and again.
    Loop {
        /// When it goes on.
        condition: LoopCondition,
        /// It fails when it would go on after so many.
        max_iterations: u32,
        /// The scope of the body.
        body: usize,
    },
    /// Waits.
    Wait(Wait),
    /// Runs another workflow.
    Workflow {
        /// Its name.
        name: String,
        /// Which version of it.
        pin: Pin,
        /// Its inputs.
        input: Option<Template>,
        /// Whether to wait for it.
        mode: ChildMode,
    },
    /// Publishes a `CloudEvent`.
    Emit {
        /// Where.
        topic: Template,
        /// Its type.
        event_type: Template,
        /// What it is about.
        subject: Option<Template>,
        /// The key of its record.
        key: Option<Template>,
        /// Its data.
        data: Template,
    },
    /// Fails its scope.
    Fail {
        /// A sentence for people.
        message: Template,
        /// A stable name for programs.
        code: Option<String>,
    },
    /// Ends its scope.
    End {
        /// With this result; absent: with the scope's own.
        result: Option<Template>,
    },
}

impl Kind {
    /// The name in definitions.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Model { .. } => "model",
            Self::Agent { .. } => "agent",
            Self::Function { .. } => "function",
            Self::Transform { .. } => "transform",
            Self::Switch { .. } => "switch",
            Self::Fork => "fork",
            Self::Join { .. } => "join",
            Self::Map { .. } => "map",
            Self::Loop { .. } => "loop",
            Self::Wait(_) => "wait",
            Self::Workflow { .. } => "workflow",
            Self::Emit { .. } => "emit",
            Self::Fail { .. } => "fail",
            Self::End { .. } => "end",
        }
    }

    /// The scope of its body, where it has one.
    #[must_use]
    pub fn body(&self) -> Option<usize> {
        match self {
            Self::Map { body, .. } | Self::Loop { body, .. } => Some(*body),
            _ => None,
        }
    }

    /// Whether nothing can come after it in its scope.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Fail { .. } | Self::End { .. })
    }
}

/// One case of a `switch`.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// A boolean, or an expression.
    pub when: Template,
    /// The id of the node to go on with.
    pub to: String,
    /// Where it stands.
    pub at: Pointer,
}

/// For which incoming edges a `join` waits.
#[derive(Clone, Debug, PartialEq)]
pub enum JoinPolicy {
    /// All.
    All,
    /// The first.
    Any,
    /// So many.
    AtLeast(u32),
    /// All, of which so many may fail.
    Tolerate(u32),
    /// The first whose output fits the schema.
    FirstValid(Value),
}

impl JoinPolicy {
    /// Whether it can go on while some of its edges are undecided.
    #[must_use]
    pub fn is_early(&self) -> bool {
        matches!(self, Self::Any | Self::AtLeast(_) | Self::FirstValid(_))
    }
}

/// What happens when the body of an item of a `map` fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnItemError {
    /// The map fails.
    #[default]
    Fail,
    /// The item is left out.
    Skip,
    /// The failure takes the item's place.
    Keep,
}

/// When a `loop` goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum LoopCondition {
    /// As long as this holds; asked before each iteration.
    While(Template),
    /// Until this holds; asked after each iteration.
    Until(Template),
}

/// What a `wait` waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Wait {
    /// Some time, in milliseconds.
    Duration(u64),
    /// Some time that an expression gives, as the text of a duration.
    DurationOf(Template),
    /// A point in time: RFC 3339 text, or milliseconds since 1970.
    Until(Template),
    /// Someone's word.
    Signal(Signal),
}

/// The signal that a `wait` waits for. Its output is the signal's data.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// Its name.
    pub name: String,
    /// What its data must fit.
    pub schema: Option<Value>,
    /// The node fails when none came for so long, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// What a person is shown to fill in: a schema.
    pub form: Option<Value>,
}

/// Which version of a child workflow runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// None: that of the alias `stable` when the child starts, else the newest.
    Newest,
    /// This one.
    Version(i32),
    /// The one that has this alias when the child starts.
    Alias(String),
}

impl Pin {
    /// The version that is meant where the workflow is started now.
    #[must_use]
    pub fn which(&self) -> Which<'_> {
        match self {
            Self::Newest => Which::Standing,
            Self::Version(number) => Which::Version(*number),
            Self::Alias(alias) => Which::Alias(alias),
        }
    }

    /// What a start names, by number or by alias.
    #[must_use]
    pub fn named(&self) -> (Option<i32>, Option<&str>) {
        match self {
            Self::Newest => (None, None),
            Self::Version(number) => (Some(*number), None),
            Self::Alias(alias) => (None, Some(alias)),
        }
    }
}

/// Whether a node waits for its child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChildMode {
    /// It does; the child's result is its output, and cancelling it cancels the child.
    #[default]
    Attached,
    /// It doesn't; its output has the child's id.
    Detached,
}
