//! Definitions made from what other products export, with a report of what became of everything.
//!
//! Pure, and honest rather than complete: what has no counterpart here is never left out in silence. It
//! is in the report, with its place in the source and what to do by hand; where it was a step, a `fail`
//! with the code [`NOT_CONVERTED`] stands in for it, so that nothing but its own error branch runs past a
//! gap. It reads no YAML, and copies no secrets.

use serde::{Deserialize, Serialize};
use serde_json::Value;

mod dify;

/// The `code` of the `fail` nodes that stand for what could not be converted.
pub const NOT_CONVERTED: &str = "not_converted";

/// A definition, and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// It compiles, though it may have `fail` nodes where there are gaps.
    pub definition: Value,
    /// What became of each node and setting: the app first, then the steps in the order of the graph.
    pub report: Vec<Finding>,
}

/// What became of one node or setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How well it went.
    pub outcome: Outcome,
    /// Where it stands in the source: a JSON pointer.
    pub pointer: String,
    /// What it is called there: the title of a node, else the name of the setting.
    pub subject: String,
    /// The node of the definition that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// A sentence: what it became, what is different now, or what to do by hand.
    pub message: String,
}

/// How well a conversion went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It does here what it did there.
    Converted,
    /// It is there, and does something else in some cases.
    Different,
    /// It is not there.
    NotConverted,
}

/// Why a document is no workflow of Dify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDify {
    /// It isn't an object.
    #[error("not an export of an app: it is no object")]
    NoObject,
    /// Its `kind` is another.
    #[error("not an export of an app: /kind is {found}, not \"app\"")]
    OtherKind {
        /// What stands there.
        found: String,
    },
    /// The app has no graph: a plain chat, completion or agent app.
    #[error(
        "an app of the mode {mode:?} has no workflow at /workflow/graph: in Dify, convert it to a workflow \
         first"
    )]
    NoGraph {
        /// What `/app/mode` says.
        mode: String,
    },
    /// `/workflow/graph/nodes` isn't a list with something in it.
    #[error("not a workflow: /workflow/graph/nodes is no list of nodes")]
    NoNodes,
}

/// Makes a definition of an app that Dify exported (`kind: app`, of the modes `workflow` and
/// `advanced-chat`), as JSON.
///
/// # Errors
/// The document isn't such an export. Everything else is in the report.
pub fn dify(source: &Value) -> Result<Imported, NotDify> {
    dify::import(source)
}

#[cfg(test)]
mod tests;
