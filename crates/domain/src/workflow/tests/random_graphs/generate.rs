//! Random definitions that are right by construction: all kinds of control flow, error branches,
//! compensations, and bodies in bodies.

use serde_json::{Value, json};

use crate::workflow::tests::workflow;

/// A source of choices; when they run out, always the first.
pub(in crate::workflow) struct Chance {
    choices: std::vec::IntoIter<u32>,
}

impl Chance {
    pub(in crate::workflow) fn new(choices: Vec<u32>) -> Self {
        Self { choices: choices.into_iter() }
    }

    /// A number below `bound`.
    pub(in crate::workflow) fn below(&mut self, bound: usize) -> usize {
        self.choices.next().map_or(0, |choice| choice as usize % bound)
    }

    /// True once in `of`.
    pub(in crate::workflow) fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 1
    }
}

/// Bodies go no deeper.
const DEPTH: usize = 2;

pub(in crate::workflow) fn definition(chance: &mut Chance) -> Value {
    let mut ids = 0;
    let scope = scope(chance, DEPTH, &mut ids);
    workflow(json!({"nodes": scope["nodes"], "edges": scope["edges"], "result": 1}))
}

struct Draft {
    nodes: Vec<Value>,
    edges: Vec<Value>,
    /// For each node of the flow, how many edges lead to it, those of switches included.
    incoming: Vec<usize>,
    has_switch: bool,
}

fn scope(chance: &mut Chance, depth: usize, ids: &mut usize) -> Value {
    let least = if depth == DEPTH { 3 } else { 1 };
    let count = least + chance.below(6);
    let names: Vec<String> = (0..count).map(|_| fresh(ids)).collect();
    let mut draft =
        Draft { nodes: Vec::new(), edges: Vec::new(), incoming: vec![0; count], has_switch: false };
    let mut helpers = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let later = &names[index + 1..];
        let node = node(chance, name, index, later, depth, ids, &mut draft);
        let kind = node["kind"].as_str().expect("a kind").to_owned();
        let mut node = node;
        if kind != "switch" && kind != "end" && kind != "fail" {
            lead_on(chance, name, index, later, &mut draft);
        }
        let calls = ["function", "map", "loop"].contains(&kind.as_str());
        if (calls || ["join", "transform", "wait"].contains(&kind.as_str())) && chance.one_in(3) {
            if chance.one_in(2) {
                node["default"] = json!(0);
            } else {
                let branch = fresh(ids);
                node["onError"] = json!(branch);
                lead_on(chance, &branch, index, later, &mut draft);
                helpers.push(json!({"id": branch, "kind": "transform", "value": 2}));
            }
        }
        if calls && chance.one_in(4) {
            let undo = fresh(ids);
            node["compensate"] = json!(undo);
            helpers.push(json!({"id": undo, "kind": "function", "name": "undo"}));
        }
        draft.nodes.push(node);
    }
    for (index, node) in draft.nodes.iter_mut().enumerate() {
        if node["kind"] == "join" {
            settle_join(chance, node, draft.incoming[index], draft.has_switch);
        }
    }
    draft.nodes.extend(helpers);
    json!({"nodes": draft.nodes, "edges": draft.edges, "result": 1})
}

fn fresh(ids: &mut usize) -> String {
    *ids += 1;
    format!("n{ids}")
}

fn node(
    chance: &mut Chance,
    name: &str,
    index: usize,
    later: &[String],
    depth: usize,
    ids: &mut usize,
    draft: &mut Draft,
) -> Value {
    match chance.below(14) {
        1 if !later.is_empty() => {
            let mut to = || {
                let target = chance.below(later.len());
                draft.incoming[index + 1 + target] += 1;
                json!(later[target])
            };
            let mut cases = vec![json!({"when": "{{ inputs.a }}", "to": to()})];
            cases.push(json!({"when": "{{ inputs.b }}", "to": to()}));
            let otherwise = to();
            draft.has_switch = true;
            let mut node = json!({"id": name, "kind": "switch", "cases": cases});
            if chance.one_in(2) {
                node["else"] = otherwise;
            } else {
                // Counted above, though no edge leads there: a join with it is only less bold.
                draft.has_switch = true;
                let last = otherwise.as_str().expect("an id");
                let target = later.iter().position(|id| id == last).expect("one of them");
                draft.incoming[index + 1 + target] -= 1;
            }
            node
        }
        2 => json!({"id": name, "kind": "fork"}),
        3..=6 => json!({"id": name, "kind": "join"}),
        7 if depth > 0 => {
            json!({"id": name, "kind": "map", "over": [1, 2, 3], "as": format!("item_{name}"),
                "onItemError": (["fail", "skip", "keep"][chance.below(3)]),
                "body": scope(chance, depth - 1, ids)})
        }
        8 if depth > 0 => {
            json!({"id": name, "kind": "loop", "until": "{{ iteration > 1 }}", "maxIterations": 3,
                "body": scope(chance, depth - 1, ids)})
        }
        9 => json!({"id": name, "kind": "wait", "signal": {"name": "go", "timeout": "1d"}}),
        10 => json!({"id": name, "kind": "end"}),
        11 if index > 0 => json!({"id": name, "kind": "fail", "message": "no"}),
        _ => json!({"id": name, "kind": "function", "name": "f"}),
    }
}

/// Edges from a node to some of the later ones.
fn lead_on(chance: &mut Chance, from: &str, index: usize, later: &[String], draft: &mut Draft) {
    for (offset, to) in later.iter().enumerate() {
        if !chance.one_in(3) {
            continue;
        }
        let mut edge = json!({"from": from, "to": to});
        if chance.one_in(3) {
            edge["when"] = json!("{{ inputs.c }}");
        }
        draft.edges.push(edge);
        draft.incoming[index + 1 + offset] += 1;
    }
}

/// A policy that the edges to a join can satisfy; without edges it can't be a join.
fn settle_join(chance: &mut Chance, node: &mut Value, incoming: usize, has_switch: bool) {
    if incoming == 0 {
        node["kind"] = json!("transform");
        node["value"] = json!(3);
        return;
    }
    // Two cases of a switch may lead to the same node by one edge.
    let edges = if has_switch { 1 } else { incoming };
    node["policy"] = match chance.below(5) {
        0 => json!("all"),
        1 => json!("any"),
        2 => json!({"atLeast": 1 + chance.below(edges)}),
        3 => json!({"tolerate": chance.below(edges)}),
        _ => json!({"firstValid": {"type": "integer"}}),
    };
    if chance.one_in(3) {
        node["deadline"] = json!("1h");
    }
}
