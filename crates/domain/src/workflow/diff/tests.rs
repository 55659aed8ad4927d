//! What counts as a change, and where it is said to be.

use serde_json::{Value, json};

use super::diff;

fn workflow(nodes: Value, edges: Value) -> Value {
    json!({"metadata": {"name": "w"}, "spec": {"nodes": nodes, "edges": edges}})
}

fn node(id: &str, value: i64) -> Value {
    json!({"id": id, "kind": "transform", "value": value})
}

fn edge(from: &str, to: &str) -> Value {
    json!({"from": from, "to": to})
}

/// The changes, as what a client gets.
#[track_caller]
fn check(from: &Value, to: &Value, changes: Value) {
    assert_eq!(serde_json::to_value(diff(from, to)).unwrap(), changes, "{from} to {to}");
}

#[test]
fn same_definition_has_no_changes_whatever_the_order_of_its_fields() {
    let one = json!({"kind": "Workflow", "spec": {"nodes": [], "timeout": "1s"}});
    let other = json!({"spec": {"timeout": "1s", "nodes": []}, "kind": "Workflow"});
    check(&one, &one, json!([]));
    check(&one, &other, json!([]));
}

#[test]
fn field_is_added_removed_or_changed_at_its_place() {
    let from =
        json!({"metadata": {"name": "w", "labels": {"a/b": "1"}}, "spec": {"timeout": "1s"}});
    let to = json!({"metadata": {"name": "w", "description": null}, "spec": {"timeout": "2s"}});
    check(
        &from,
        &to,
        json!([
            {"change": "removed", "pointer": "/metadata/labels", "from": {"a/b": "1"}},
            {"change": "added", "pointer": "/metadata/description", "to": null},
            {"change": "changed", "pointer": "/spec/timeout", "from": "1s", "to": "2s"},
        ]),
    );
    let from = json!({"metadata": {"labels": {"a/b~c": "1"}}});
    let to = json!({"metadata": {"labels": {"a/b~c": ["1"]}}});
    check(
        &from,
        &to,
        json!([{"change": "changed", "pointer": "/metadata/labels/a~1b~0c", "from": "1", "to": ["1"]}]),
    );
}

#[test]
fn moved_node_is_no_change_and_what_changed_in_it_has_its_new_place() {
    let from = workflow(json!([node("a", 1), node("b", 2), node("c", 3)]), json!([]));
    let moved = workflow(json!([node("c", 3), node("a", 1), node("b", 2)]), json!([]));
    check(&from, &moved, json!([]));
    let changed = workflow(json!([node("c", 4), node("a", 1), node("d", 5)]), json!([]));
    check(
        &from,
        &changed,
        json!([
            {"change": "removed", "pointer": "/spec/nodes/1", "node": "b", "from": node("b", 2)},
            {"change": "changed", "pointer": "/spec/nodes/0/value", "node": "c", "from": 3, "to": 4},
            {"change": "added", "pointer": "/spec/nodes/2", "node": "d", "to": node("d", 5)},
        ]),
    );
}

#[test]
fn nodes_of_a_body_are_matched_as_well_and_named_by_the_innermost() {
    let looped = |nodes: Value| {
        let body = json!({"nodes": nodes, "result": "{{ 1 }}"});
        workflow(json!([{"id": "m", "kind": "map", "over": [], "body": body}]), json!([]))
    };
    let from = looped(json!([node("x", 1), node("y", 1)]));
    let to = looped(json!([node("y", 2), node("x", 1)]));
    let place = "/spec/nodes/0/body/nodes/0/value";
    check(
        &from,
        &to,
        json!([{"change": "changed", "pointer": place, "node": "y", "from": 1, "to": 2}]),
    );
}

#[test]
fn edges_go_by_their_ends_and_those_to_one_node_by_their_order() {
    let nodes = json!([node("a", 1), node("b", 1), node("j", 1), node("k", 1)]);
    let edges = |edges: Value| workflow(nodes.clone(), edges);
    let from = edges(json!([edge("a", "j"), edge("b", "j"), edge("j", "k")]));
    check(&from, &edges(json!([edge("j", "k"), edge("a", "j"), edge("b", "j")])), json!([]));
    let conditional = json!({"from": "b", "to": "j", "when": true});
    check(
        &from,
        &edges(json!([edge("a", "k"), edge("a", "j"), conditional])),
        json!([
            {"change": "added", "pointer": "/spec/edges/2/when", "to": true},
            {"change": "removed", "pointer": "/spec/edges/2", "from": edge("j", "k")},
            {"change": "added", "pointer": "/spec/edges/0", "to": edge("a", "k")},
        ]),
    );
    check(
        &from,
        &edges(json!([edge("b", "j"), edge("a", "j"), edge("j", "k")])),
        json!([{
            "change": "changed", "pointer": "/spec/edges",
            "from": [edge("a", "j"), edge("b", "j")], "to": [edge("b", "j"), edge("a", "j")],
        }]),
    );
}

#[test]
fn lists_without_names_keep_what_is_alike_at_both_ends() {
    let list = |items: Value| json!({"spec": {"variables": items}});
    for (from, to, changes) in [
        (
            json!([1, 2, 3]),
            json!([1, 9, 2, 3]),
            json!([{"change": "added", "pointer": "/spec/variables/1", "to": 9}]),
        ),
        (
            json!([1, 2, 3]),
            json!([1, 3]),
            json!([{"change": "removed", "pointer": "/spec/variables/1", "from": 2}]),
        ),
        (
            json!([1, {"a": 1}, 3]),
            json!([1, {"a": 2}, 4, 3]),
            json!([
                {"change": "changed", "pointer": "/spec/variables/1/a", "from": 1, "to": 2},
                {"change": "added", "pointer": "/spec/variables/2", "to": 4},
            ]),
        ),
        (
            json!([1, 1]),
            json!([1, 1, 1]),
            json!([{"change": "added", "pointer": "/spec/variables/2", "to": 1}]),
        ),
    ] {
        check(&list(from), &list(to), changes);
    }
}

#[test]
fn lists_called_nodes_elsewhere_are_data_and_ids_that_are_there_twice_match_nothing() {
    let request = |nodes: Value| {
        let node = json!({"id": "a", "kind": "transform", "value": {"nodes": nodes}});
        workflow(json!([node]), json!([]))
    };
    let swapped = diff(
        &request(json!([node("x", 1), node("y", 2)])),
        &request(json!([node("y", 2), node("x", 1)])),
    );
    assert_eq!(swapped.len(), 4, "{swapped:?}");
    let twice = workflow(json!([node("a", 1), node("a", 2)]), json!([]));
    let once = workflow(json!([node("a", 1)]), json!([]));
    let place = "/spec/nodes/1";
    check(&twice, &once, json!([{"change": "removed", "pointer": place, "from": node("a", 2)}]));
}
