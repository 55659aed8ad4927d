//! The graph of each scope as data: who leads where, in which order, and who starts.
//!
//! Small and serialisable: everything is an index. Made by `build`; only what compiles has one.

use serde::{Deserialize, Serialize};

/// Nodes and edges of all scopes. Indices of nodes and scopes are those of the definition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    /// All nodes.
    pub nodes: Vec<Node>,
    /// All edges; of a scope: its `edges`, then those of switches, then error branches.
    pub edges: Vec<Edge>,
    /// All scopes.
    pub scopes: Vec<Scope>,
}

/// A node, as the graph sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// What it is there for.
    pub role: Role,
    /// The edges that lead to it, in order.
    pub incoming: Vec<usize>,
    /// The edges that it decides, in order.
    pub outgoing: Vec<usize>,
    /// What a failure leads to.
    pub on_failure: OnFailure,
    /// The node that undoes it.
    pub compensate: Option<usize>,
    /// The scope of its body.
    pub body: Option<usize>,
    /// Of a join: the nodes that lead to nothing else; cancelled when it goes on without them.
    pub losers: Vec<usize>,
    /// The nodes whose output, error or status its expressions read, those of its edges included.
    pub reads: Vec<usize>,
}

/// What a node is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It runs when its edges say so.
    Flow,
    /// It runs only when another node failed.
    ErrorBranch,
    /// It runs only to undo this node.
    Compensation(usize),
}

/// What the failure of a node leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It gives its default, and has succeeded.
    Default,
    /// This edge is taken.
    Branch(usize),
    /// All its edges lead to joins, where it arrives as a failure.
    Arrives,
    /// The scope fails.
    FailsScope,
}

/// An edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// The node that decides it.
    pub from: usize,
    /// The node that it leads to.
    pub to: usize,
    /// When it is taken.
    pub route: Route,
}

/// When an edge is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// When its source succeeded.
    Always,
    /// When its source succeeded and the condition of this one of the scope's `edges` holds.
    When(usize),
    /// When one of these cases is the first that holds.
    Cases {
        /// Indices into the cases of the switch.
        cases: Vec<usize>,
        /// Whether it is taken when no case holds, too.
        otherwise: bool,
    },
    /// When its source failed.
    Failure,
}

/// A scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The node whose body it is.
    pub owner: Option<usize>,
    /// The nodes that start at once.
    pub starts: Vec<usize>,
    /// All nodes that edges can reach, each after those before it.
    pub order: Vec<usize>,
    /// The nodes whose output, error or status its result reads.
    pub reads: Vec<usize>,
}
