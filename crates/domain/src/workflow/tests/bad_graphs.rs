//! What the graph may not be: edges to nothing, cycles, joins that can't be satisfied, targets that are
//! in the normal flow as well.

use serde_json::{Value, json};

use super::{check, compiles, edge, error, graph, step, warning, with, workflow};
use crate::workflow::compile::{OnFailure, Role, Route};

fn join(id: &str, policy: Value) -> Value {
    json!({"id": id, "kind": "join", "policy": policy})
}

#[test]
fn wrong_edge_is_named() {
    let two = || json!([step("first"), step("second")]);
    check(vec![
        error(
            "/spec/edges/0/to",
            "there is no node \"secnd\"; did you mean \"second\"?",
            graph(two(), json!([edge("first", "secnd")])),
        ),
        error(
            "/spec/edges/0/from",
            "there is no node \"zero\": add it",
            graph(two(), json!([edge("zero", "first")])),
        ),
        error(
            "/spec/edges/0",
            "the field \"to\" of edge is missing",
            graph(two(), json!([{"from": "first"}])),
        ),
        error(
            "/spec/edges/1",
            "leads from \"first\" to \"second\" as edge 0 does",
            graph(two(), json!([edge("first", "second"), edge("first", "second")])),
        ),
        error(
            "/spec/edges/0/to",
            "the node \"b\" is inside of another body",
            graph(
                json!([step("a"), {"id": "m", "kind": "map", "over": [1],
                "body": {"nodes": [step("b")], "result": 1}}]),
                json!([edge("a", "b"), edge("a", "m")]),
            ),
        ),
        error(
            "/spec/edges/0/from",
            "nothing comes after \"first\", which is of kind end",
            graph(
                json!([{"id": "first", "kind": "end"}, step("second")]),
                json!([edge("first", "second")]),
            ),
        ),
        error(
            "/spec/edges/0/from",
            "\"s\" is a switch, which says in its cases",
            graph(
                json!([{"id": "s", "kind": "switch", "else": "b",
                "cases": [{"when": "{{ inputs.a }}", "to": "b"}]}, step("b")]),
                json!([edge("s", "b")]),
            ),
        ),
        error(
            "/spec/nodes/0/cases/0/to",
            "there is no node \"x\"",
            graph(
                json!([{"id": "s", "kind": "switch", "else": "b",
                "cases": [{"when": "{{ inputs.a }}", "to": "x"}]}, step("b")]),
                json!([]),
            ),
        ),
        error(
            "/spec/nodes/0/else",
            "there is no node \"x\"",
            graph(
                json!([{"id": "s", "kind": "switch", "else": "x",
                "cases": [{"when": "{{ inputs.a }}", "to": "b"}]}, step("b")]),
                json!([]),
            ),
        ),
        warning(
            "/spec/nodes/0",
            "has no else",
            graph(
                json!([{"id": "s", "kind": "switch",
                "cases": [{"when": "{{ inputs.a }}", "to": "b"}]}, step("b")]),
                json!([]),
            ),
        ),
        warning(
            "/spec/nodes/2",
            "no edge touches \"third\"",
            graph(
                json!([step("first"), step("second"), step("third")]),
                json!([edge("first", "second")]),
            ),
        ),
    ]);
}

#[test]
fn edge_to_nothing_brings_no_further_problems() {
    let definition =
        graph(json!([step("a"), step("b"), step("c")]), json!([edge("a", "b"), edge("c", "d")]));
    assert_eq!(super::problems(&definition).len(), 1);
}

#[test]
fn cycle_names_its_nodes() {
    check(vec![
        error(
            "/spec/edges/2",
            "closes a cycle (a -> b -> c -> a)",
            graph(
                json!([step("a"), step("b"), step("c")]),
                json!([edge("a", "b"), edge("b", "c"), edge("c", "a")]),
            ),
        ),
        error(
            "/spec/edges/0",
            "closes a cycle (a -> a)",
            graph(json!([step("a")]), json!([edge("a", "a")])),
        ),
        error(
            "/spec/edges/1",
            "closes a cycle (s -> b -> s)",
            graph(
                json!([{"id": "s", "kind": "switch", "else": "c",
                "cases": [{"when": "{{ inputs.a }}", "to": "b"}]}, step("b"), step("c"), step("z")]),
                json!([edge("z", "s"), edge("b", "s")]),
            ),
        ),
        error(
            "/spec/nodes/1/onError",
            "the error branch of \"b\" leads back to it (a -> b -> fix -> a)",
            graph(
                json!([
                    step("a"),
                    with(step("b"), "onError", json!("fix")),
                    step("fix"),
                    step("z")
                ]),
                json!([edge("z", "a"), edge("a", "b"), edge("fix", "a")]),
            ),
        ),
        error(
            "/spec/nodes/0/body/edges/1",
            "closes a cycle (a -> b -> a)",
            graph(
                json!([{"id": "m", "kind": "map", "over": [1], "body": {"result": 1,
                "nodes": [step("a"), step("b")], "edges": [edge("a", "b"), edge("b", "a")]}}]),
                json!([]),
            ),
        ),
    ]);
}

#[test]
fn each_knot_of_cycles_is_reported_once() {
    let definition = graph(
        json!([step("a"), step("b"), step("c"), step("d"), step("e")]),
        json!([edge("a", "b"), edge("b", "a"), edge("c", "d"), edge("d", "c"), edge("b", "e")]),
    );
    let found = super::problems(&definition);
    assert_eq!(found.len(), 2, "{}", super::listed(&found));
}

#[test]
fn join_that_cannot_be_satisfied_is_named() {
    let into = |policy| {
        graph(
            json!([step("a"), step("b"), join("j", policy)]),
            json!([edge("a", "j"), edge("b", "j")]),
        )
    };
    check(vec![
        error(
            "/spec/nodes/2/policy/atLeast",
            "can't be satisfied: 3 of 2 incoming edges",
            into(json!({"atLeast": 3})),
        ),
        error(
            "/spec/nodes/2/policy/tolerate",
            "can't be meant: all 2 incoming edges may fail",
            into(json!({"tolerate": 2})),
        ),
        error(
            "/spec/nodes/2/policy/atLeast",
            "is 0: write a whole number from 1",
            into(json!({"atLeast": 0})),
        ),
        error(
            "/spec/nodes/0",
            "is a join without incoming edges",
            graph(json!([join("j", json!("all")), step("a")]), json!([edge("j", "a")])),
        ),
        error(
            "/spec/nodes/3/policy/atLeast",
            "can't be satisfied: of the 2 incoming edges at most 1 are ever taken together",
            graph(
                json!([{"id": "s", "kind": "switch", "else": "b",
                "cases": [{"when": "{{ inputs.a }}", "to": "a"}]}, step("a"), step("b"),
                join("j", json!({"atLeast": 2}))]),
                json!([edge("a", "j"), edge("b", "j")]),
            ),
        ),
    ]);
    for policy in [json!({"atLeast": 2}), json!({"tolerate": 1}), json!({"firstValid": {}})] {
        compiles(&into(policy));
    }
}

#[test]
fn node_that_nothing_reaches_is_named() {
    check(vec![
        error(
            "/spec/nodes/1",
            "\"b\" is never reached",
            graph(json!([step("a"), step("b")]), json!([{"from": "a", "to": "b", "when": false}])),
        ),
        error(
            "/spec/nodes/1",
            "\"b\" is never reached",
            graph(
                json!([step("a"), step("b")]),
                json!([{"from": "a", "to": "b", "when": "{{ 1 > 2 }}"}]),
            ),
        ),
        error(
            "/spec/nodes/2",
            "\"b\" is never reached",
            graph(
                json!([{"id": "s", "kind": "switch",
                "cases": [{"when": true, "to": "a"}, {"when": "{{ inputs.b }}", "to": "b"}]},
                step("a"), step("b")]),
                json!([]),
            ),
        ),
    ]);
}

#[test]
fn error_branch_and_compensation_stay_out_of_the_flow() {
    let call = |id: &str| json!({"id": id, "kind": "function", "name": "f"});
    check(vec![
        error(
            "/spec/nodes/0/onError",
            "there is no node \"fi\"; did you mean \"fix\"?",
            graph(json!([with(call("a"), "onError", json!("fi")), call("fix")]), json!([])),
        ),
        error(
            "/spec/edges/0",
            "\"fix\" is an error branch, which only a failure leads to",
            graph(
                json!([with(call("a"), "onError", json!("fix")), call("fix"), call("c")]),
                json!([edge("c", "fix"), edge("a", "c")]),
            ),
        ),
        error(
            "/spec/edges/0",
            "\"undo\" is there to undo \"a\" and has no edges",
            graph(
                json!([with(call("a"), "compensate", json!("undo")), call("undo")]),
                json!([edge("a", "undo")]),
            ),
        ),
        error(
            "/spec/nodes/1/compensate",
            "\"undo\" undoes \"a\" already",
            graph(
                json!([
                    with(call("a"), "compensate", json!("undo")),
                    with(call("b"), "compensate", json!("undo")),
                    call("undo")
                ]),
                json!([edge("a", "b")]),
            ),
        ),
        error(
            "/spec/nodes/0/compensate",
            "\"fix\" is an error branch, too",
            graph(
                json!([
                    with(with(call("a"), "compensate", json!("fix")), "onError", json!("fix")),
                    call("fix")
                ]),
                json!([]),
            ),
        ),
        error(
            "/spec/nodes/0/compensate",
            "a node can't undo itself",
            graph(json!([with(call("a"), "compensate", json!("a"))]), json!([])),
        ),
        error(
            "/spec/nodes/0/compensate",
            "\"undo\" is of kind fork, which undoes nothing",
            graph(
                json!([with(call("a"), "compensate", json!("undo")),
                {"id": "undo", "kind": "fork"}]),
                json!([]),
            ),
        ),
        error(
            "/spec/nodes/0/compensate",
            "\"undo\" only undoes \"a\", so it can't have onError",
            graph(
                json!([
                    with(call("a"), "compensate", json!("undo")),
                    with(call("undo"), "compensate", json!("more")),
                    call("more")
                ]),
                json!([]),
            ),
        ),
        error(
            "/spec/nodes/0/onError",
            "the error branch of \"a\" leads back to it (a -> a)",
            graph(json!([with(call("a"), "onError", json!("a")), step("z")]), json!([])),
        ),
    ]);
}

#[test]
fn ends_agree_on_who_gives_the_result() {
    let cases = json!({"id": "s", "kind": "switch", "else": "y",
        "cases": [{"when": "{{ inputs.a }}", "to": "x"}]});
    let end = |id: &str| json!({"id": id, "kind": "end"});
    let ends = |x: Value, y: Value, result: Option<Value>| {
        let mut spec = json!({"nodes": [cases, x, y]});
        if let Some(result) = result {
            spec["result"] = result;
        }
        workflow(spec)
    };
    check(vec![
        error(
            "/spec/nodes/2",
            "\"y\" has no result, though another end has one",
            ends(with(end("x"), "result", json!(1)), end("y"), None),
        ),
        warning(
            "/spec/nodes/2",
            "\"y\" gives the result of what is around it",
            ends(with(end("x"), "result", json!(1)), end("y"), Some(json!(2))),
        ),
        warning(
            "/spec/result",
            "is never used: every end has a result of its own",
            ends(
                with(end("x"), "result", json!(1)),
                with(end("y"), "result", json!(2)),
                Some(json!(3)),
            ),
        ),
        warning(
            "/spec/nodes/0/body",
            "has no result, so it gives null",
            graph(
                json!([{"id": "m", "kind": "map", "over": [1], "body": {"nodes": [step("a")]}}]),
                json!([]),
            ),
        ),
    ]);
    compiles(&ends(end("x"), end("y"), Some(json!(2))));
}

#[test]
fn graph_is_what_the_definition_says() {
    let definition = graph(
        json!([
            {"id": "s", "kind": "switch", "else": "b", "cases": [
                {"when": "{{ inputs.x == 1 }}", "to": "a"},
                {"when": "{{ inputs.x == 2 }}", "to": "b"},
                {"when": "{{ inputs.x == 3 }}", "to": "a"}]},
            with(step("a"), "onError", json!("fix")),
            step("b"), step("fix"),
            {"id": "c", "kind": "function", "name": "f", "compensate": "undo"},
            {"id": "undo", "kind": "function", "name": "g"},
            join("j", json!("any")), step("after"),
        ]),
        json!([edge("a", "j"), edge("b", "j"), edge("fix", "j"), edge("j", "after"),
            {"from": "c", "to": "after", "when": "{{ nodes.c.output }}"}]),
    );
    let compiled = compiles(&definition);
    let nodes = &compiled.graph.nodes;
    let index =
        |id: &str| compiled.definition.nodes.iter().position(|node| node.id == id).expect("a node");
    let routes = |id: &str| -> Vec<Route> {
        nodes[index(id)].outgoing.iter().map(|e| compiled.graph.edges[*e].route.clone()).collect()
    };
    assert_eq!(
        routes("s"),
        [
            Route::Cases { cases: vec![0, 2], otherwise: false },
            Route::Cases { cases: vec![1], otherwise: true },
        ]
    );
    assert_eq!(routes("a"), [Route::Always, Route::Failure]);
    assert_eq!(routes("c"), [Route::When(4)]);
    assert_eq!(nodes[index("fix")].role, Role::ErrorBranch);
    assert_eq!(nodes[index("undo")].role, Role::Compensation(index("c")));
    assert_eq!(nodes[index("c")].compensate, Some(index("undo")));
    assert_eq!(nodes[index("b")].on_failure, OnFailure::Arrives);
    assert_eq!(nodes[index("s")].on_failure, OnFailure::FailsScope);
    assert!(matches!(nodes[index("a")].on_failure, OnFailure::Branch(_)));
    let losers = ["s", "a", "b", "fix"].map(index);
    assert_eq!(nodes[index("j")].losers, losers);
    assert_eq!(nodes[index("c")].reads, [index("c")]);
    let top = &compiled.graph.scopes[0];
    assert_eq!(top.starts, ["s", "c"].map(index));
    assert_eq!(top.order.len(), 7, "all but what undoes");
    let written = serde_json::to_string(&compiled.graph).expect("serialises");
    assert_eq!(compiled.graph, serde_json::from_str(&written).expect("reads back"));
}
