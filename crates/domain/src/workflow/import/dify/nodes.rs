//! From each kind of node to what stands for it: one node of ours, or a chain of them.

pub(super) mod extractor;
pub(super) mod llm;

mod http;
mod plain;

use serde_json::Value;

use super::reference::Desk;
use super::source::{Kind, Node};

/// The function that turns the text of a model into the JSON that it says.
pub(super) const PARSE_JSON: &str = "parse-json";

/// Makes what stands for a node that is neither a start, a branch nor an end.
///
/// # Errors
/// Why it has no counterpart, and what to do by hand.
pub(super) fn make(desk: &mut Desk<'_>, node: &Node<'_>, id: &str) -> Result<Vec<Value>, String> {
    match node.kind {
        Kind::Llm => llm::make(desk, node, id),
        Kind::Extractor => extractor::make(desk, node, id),
        Kind::Http => http::make(desk, node, id),
        Kind::Template => plain::template(desk, node, id),
        Kind::Aggregator => plain::aggregator(desk, node, id),
        Kind::Iteration => plain::iteration(desk, node, id),
        _ => Err(by_hand(node.type_name)),
    }
}

/// Whether a second node reads the JSON that a model node gives.
pub(super) fn has_data(node: &Node<'_>) -> bool {
    node.kind == Kind::Extractor || node.kind == Kind::Llm && llm::is_structured(node)
}

/// What to do about a node that has no counterpart.
fn by_hand(type_name: &str) -> String {
    let advice = match type_name {
        "code" => {
            "serve the code behind an HTTP endpoint, register it as a function and put a function node here; \
             or write it as a transform, if it only moves values"
        }
        "knowledge-retrieval" => {
            "register your retrieval as a function and put a function node here"
        }
        "question-classifier" => {
            "put a model node that names the class here, and a switch after it"
        }
        "tool" => "register the tool as a function and put a function node here",
        "agent" => "define the agent, and put an agent node here",
        "assigner" => {
            "nothing is kept between executions: give the new value back as a result, or use an agent"
        }
        "loop" => "put a loop node here, with the steps inside as its body",
        "document-extractor" => {
            "register something that reads documents as a function and put a function node here"
        }
        "list-operator" => "put a transform here, with the filters select, sort, first and slices",
        "human-input" => "put a wait node here, with a signal that has a form",
        _ => "put the node that does the same here",
    };
    format!("nodes of the type {type_name:?} are not converted: {advice}")
}
