//! Which of the outputs of a node an edge of Dify begins at.

use serde_json::Value;

use super::feedback::Feedback;
use super::fields::{Fields, name_of};
use super::ids::Ids;
use super::source::{App, Edge, Kind, Node};

/// An output of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// It has done its work.
    Normal,
    /// It has failed.
    Fail,
    /// This case of an `if-else` holds.
    Case(usize),
    /// None of its cases does.
    Else,
    /// Nothing ever leaves there.
    Dead,
}

/// Where an edge begins.
pub(super) fn port(app: &App<'_>, ids: &Ids, feedback: &Feedback, edge: &Edge) -> Port {
    let node = &app.nodes[edge.from];
    let handle = edge.handle.as_str();
    let is_gap = is_gap(ids, feedback, edge.from);
    match (handle, node.kind) {
        ("fail-branch", kind) if kind != Kind::IfElse => {
            if has_fail_branch(node) {
                Port::Fail
            } else {
                Port::Dead
            }
        }
        (_, Kind::IfElse) if !is_gap => match cases(node).iter().position(|(id, _)| id == handle) {
            Some(case) => Port::Case(case),
            None if handle == "false" => Port::Else,
            None => Port::Dead,
        },
        _ => Port::Normal,
    }
}

/// Whether the failure of a node leads somewhere.
pub(super) fn has_fail_branch(node: &Node<'_>) -> bool {
    let can_fail = !node.kind.is_start()
        && !matches!(node.kind, Kind::IfElse | Kind::Answer | Kind::End | Kind::Note);
    can_fail && node.data.peek("error_strategy").and_then(Value::as_str) == Some("fail-branch")
}

/// Whether a `fail` stands for a node.
pub(super) fn is_gap(ids: &Ids, feedback: &Feedback, node: usize) -> bool {
    feedback.gap(ids.own(node)).is_some() || feedback.gap(ids.data(node)).is_some()
}

/// The cases of an `if-else`, each with the handle that its edges begin at; old exports have one.
pub(super) fn cases<'a>(node: &Node<'a>) -> Vec<(String, Fields<'a>)> {
    if node.data.peek("cases").is_none() && node.data.peek("conditions").is_some() {
        let at = node.data.at.clone();
        node.data.mark("conditions");
        node.data.mark("logical_operator");
        let whole = node.data.whole();
        return vec![("true".to_owned(), Fields::open(whole, at))];
    }
    let listed = node.data.objects("cases").into_iter();
    listed
        .map(|case| {
            let id = ["case_id", "id"].iter().find_map(|name| case.get(name).and_then(name_of));
            case.mark("id");
            (id.unwrap_or_default(), case)
        })
        .collect()
}
