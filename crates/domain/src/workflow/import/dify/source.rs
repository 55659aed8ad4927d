//! The parts of an export, as they lie: the app, its nodes and its edges. Nothing is judged here.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::NotDify;
use super::fields::{Fields, name_of};
use crate::workflow::problem::Pointer;

/// An exported app.
#[derive(Debug)]
pub(super) struct App<'a> {
    /// The whole.
    pub(super) root: Fields<'a>,
    /// `app`.
    pub(super) app: Fields<'a>,
    /// `workflow`.
    pub(super) workflow: Fields<'a>,
    /// What kind of app.
    pub(super) mode: Mode,
    /// In the order of the source.
    pub(super) nodes: Vec<Node<'a>>,
    /// In the order of the source.
    pub(super) edges: Vec<Edge>,
    /// What of `nodes` and `edges` can't be told from its form.
    pub(super) unreadable: Vec<Pointer>,
}

/// The modes that have a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Inputs to outputs.
    Workflow,
    /// A message to an answer.
    Chat,
}

/// One node.
#[derive(Debug)]
pub(super) struct Node<'a> {
    /// As the source has it.
    pub(super) id: String,
    /// What it does.
    pub(super) kind: Kind,
    /// `data.type`.
    pub(super) type_name: &'a str,
    /// What people call it.
    pub(super) title: String,
    /// `data`.
    pub(super) data: Fields<'a>,
    /// The index of the node whose body it is in.
    pub(super) parent: Option<usize>,
    /// Where it is on the canvas.
    pub(super) position: Option<(Value, Value)>,
    /// Where it stands in the source.
    pub(super) at: Pointer,
}

/// One edge.
#[derive(Debug)]
pub(super) struct Edge {
    /// The index of its source.
    pub(super) from: usize,
    /// The index of its target.
    pub(super) to: usize,
    /// Which of the outputs of its source.
    pub(super) handle: String,
    /// Where it stands.
    pub(super) at: Pointer,
}

/// What nodes do, as far as it is told apart here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `start`.
    Start,
    /// `iteration-start`.
    BodyStart,
    /// `trigger-webhook`, `trigger-schedule`, `trigger-plugin`.
    Trigger,
    /// `llm`.
    Llm,
    /// `if-else`.
    IfElse,
    /// `http-request`.
    Http,
    /// `template-transform`.
    Template,
    /// `parameter-extractor`.
    Extractor,
    /// `iteration`.
    Iteration,
    /// `answer`.
    Answer,
    /// `end`.
    End,
    /// `variable-aggregator`, `variable-assigner` in old exports.
    Aggregator,
    /// A note on the canvas.
    Note,
    /// Everything else.
    Other,
}

impl Kind {
    fn of(type_name: &str, shown_as: &str) -> Self {
        match type_name {
            "start" => Self::Start,
            "iteration-start" => Self::BodyStart,
            "llm" => Self::Llm,
            "if-else" => Self::IfElse,
            "http-request" => Self::Http,
            "template-transform" => Self::Template,
            "parameter-extractor" => Self::Extractor,
            "iteration" => Self::Iteration,
            "answer" => Self::Answer,
            "end" => Self::End,
            "variable-aggregator" | "variable-assigner" => Self::Aggregator,
            _ if type_name.starts_with("trigger-") => Self::Trigger,
            "" if shown_as == "custom-note" => Self::Note,
            _ => Self::Other,
        }
    }

    /// Whether it is where a scope begins, and no step itself.
    pub(super) fn is_start(self) -> bool {
        matches!(self, Self::Start | Self::BodyStart | Self::Trigger)
    }
}

impl<'a> App<'a> {
    /// Reads an export.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn read(source: &'a Value) -> Result<Self, NotDify> {
        if !source.is_object() {
            return Err(NotDify::NoObject);
        }
        let root = Fields::open(Some(source), Pointer::root());
        if root.text("kind") != "app" {
            let found = root.get("kind").map_or_else(|| "missing".to_owned(), Value::to_string);
            return Err(NotDify::OtherKind { found });
        }
        let app = root.object("app");
        let workflow = root.object("workflow");
        let mode = match app.text("mode") {
            "advanced-chat" => Mode::Chat,
            _ => Mode::Workflow,
        };
        let graph = workflow.object("graph");
        if !graph.is_there() {
            return Err(NotDify::NoGraph { mode: app.text("mode").to_owned() });
        }
        let listed = graph.list("nodes");
        if listed.is_empty() {
            return Err(NotDify::NoNodes);
        }
        let mut unreadable = Vec::new();
        let mut nodes: Vec<Node<'a>> = Vec::new();
        let mut parents = Vec::new();
        let mut by_id = BTreeMap::new();
        let places = graph.at.field("nodes");
        for (i, value) in listed.iter().enumerate() {
            let at = places.index(i);
            let (node, parent) = match node(value, at.clone()) {
                Some(read) if !by_id.contains_key(&read.0.id) => read,
                _ => {
                    unreadable.push(at);
                    continue;
                }
            };
            by_id.insert(node.id.clone(), nodes.len());
            nodes.push(node);
            parents.push(parent);
        }
        if nodes.is_empty() {
            return Err(NotDify::NoNodes);
        }
        for (node, parent) in nodes.iter_mut().zip(parents) {
            node.parent = parent.and_then(|id| by_id.get(&id).copied());
        }
        let places = graph.at.field("edges");
        let mut edges = Vec::new();
        for (i, value) in graph.list("edges").iter().enumerate() {
            let at = places.index(i);
            let end = |name: &str| by_id.get(&name_of(value.get(name)?)?).copied();
            let (Some(from), Some(to)) = (end("source"), end("target")) else {
                unreadable.push(at);
                continue;
            };
            let handle = value.get("sourceHandle").and_then(name_of).unwrap_or_default();
            edges.push(Edge { from, to, handle, at });
        }
        Ok(Self { root, app, workflow, mode, nodes, edges, unreadable })
    }

    /// The index of the node with this id.
    pub(super) fn find(&self, id: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }
}

/// Reads a node, and the id of its parent.
fn node(value: &Value, at: Pointer) -> Option<(Node<'_>, Option<String>)> {
    let id = name_of(value.get("id")?)?;
    let data = Fields::open(value.get("data"), at.field("data"));
    let shown_as = value.get("type").and_then(Value::as_str).unwrap_or_default();
    let type_name = data.text("type");
    let kind = Kind::of(type_name, shown_as);
    let title = match data.text("title").trim() {
        "" if type_name.is_empty() => id.clone(),
        "" => type_name.to_owned(),
        title => title.to_owned(),
    };
    let parent = ["iteration_id", "loop_id"].iter().find_map(|name| data.peek(name));
    let owner = value.get("parentId").filter(|id| !id.is_null()).or(parent).and_then(name_of);
    let place = ["positionAbsolute", "position"].iter().find_map(|name| value.get(name));
    let position = place.and_then(|place| {
        let axis = |name: &str| place.get(name).filter(|value| value.is_number()).cloned();
        Some((axis("x")?, axis("y")?))
    });
    Some((Node { id, kind, type_name, title, data, parent: None, position, at }, owner))
}
