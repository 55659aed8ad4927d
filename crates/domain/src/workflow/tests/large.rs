//! Definitions as large as they may be, and larger: the work stays bounded.

use serde_json::{Value, json};

use super::{compiles, edge, graph, problems, step};

/// The most nodes and edges that a definition may have.
const NODES: usize = 2_000;
const EDGES: usize = 20_000;

fn name(index: usize) -> String {
    format!("n{index}")
}

#[test]
fn largest_definition_compiles() {
    let nodes: Vec<Value> = (0..NODES)
        .map(|i| match i {
            0 => step("n0"),
            _ => json!({"id": name(i), "kind": "transform",
                "value": format!("{{{{ nodes.{}.output }}}}", name(i - 1))}),
        })
        .collect();
    // Each node leads to the next ten.
    let edges: Vec<Value> = (0..NODES)
        .flat_map(|i| (i + 1..NODES.min(i + 11)).map(move |j| edge(&name(i), &name(j))))
        .take(EDGES)
        .collect();
    let compiled = compiles(&graph(json!(nodes), json!(edges)));
    assert_eq!(compiled.graph.nodes.len(), NODES);
    assert_eq!(compiled.warnings, []);
}

#[test]
fn larger_ones_are_refused_and_mistakes_without_number_are_cut_off() {
    let nodes: Vec<Value> = (0..=NODES).map(|i| step(&name(i))).collect();
    let found = problems(&graph(json!(nodes), json!([])));
    assert_eq!(found[0].pointer, "/spec/nodes");
    assert!(found[0].message.starts_with("has more than 2000 nodes"));

    let edges: Vec<Value> = (0..=EDGES).map(|i| edge("a", &format!("b{i}"))).collect();
    let found = problems(&graph(json!([step("a")]), json!(edges)));
    assert_eq!(found.len(), 1_000);
    assert!(found[0].message.starts_with("has more than 20000 edges"));
}

#[test]
fn bodies_go_eight_deep() {
    let nested = |depth: usize| {
        (0..depth).fold(step("inner"), |inner, level| {
            json!({"id": name(level), "kind": "map", "over": [1], "as": format!("item{level}"),
                "body": {"nodes": [inner], "result": 1}})
        })
    };
    compiles(&graph(json!([nested(8)]), json!([])));
    let found = problems(&graph(json!([nested(9)]), json!([])));
    assert!(found[0].message.starts_with("is the body of a body more than 8 deep"), "{found:#?}");
}
