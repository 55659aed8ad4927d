//! What the reader refuses: fields, types, words, durations, ids, schemas.

use serde_json::json;

use super::{check, edge, error, gives, graph, step, warning, with, workflow};

#[test]
fn wrong_frame_is_named() {
    let good = graph(json!([step("a")]), json!([]));
    let spec = good["spec"].clone();
    check(vec![
        error("", "is a text: write an object", json!("x")),
        error(
            "/apiVersion",
            "\"stepstream/v2\" isn't known here; did you mean \"stepstream/v1\"?",
            with(good.clone(), "apiVersion", json!("stepstream/v2")),
        ),
        error(
            "/kind",
            "\"Job\" isn't known here: write one of Workflow",
            with(good.clone(), "kind", json!("Job")),
        ),
        error(
            "/status",
            "unknown field \"status\" of definition: remove it",
            with(good.clone(), "status", json!(1)),
        ),
        error(
            "",
            "the field \"metadata\" of definition is missing",
            json!({"apiVersion": "stepstream/v1", "kind": "Workflow", "spec": spec}),
        ),
        error(
            "/metadata/name",
            "\"a/b\" is no name of a workflow",
            with(good.clone(), "metadata", json!({"name": "a/b"})),
        ),
        error(
            "/metadata/labels/team",
            "is a number: write a text",
            with(good.clone(), "metadata", json!({"name": "w", "labels": {"team": 1}})),
        ),
        error("/spec", "the field \"nodes\" of spec is missing", workflow(json!({}))),
        error("/spec/nodes", "has no nodes: add at least one", workflow(json!({"nodes": []}))),
        error("/spec/nodes", "is an object: write a list", workflow(json!({"nodes": {}}))),
        error(
            "/spec/timeout",
            "\"1 hour\" is no duration",
            workflow(json!({"nodes": [step("a")], "timeout": "1 hour"})),
        ),
        error(
            "/spec/concurrency/limit",
            "is 0: write a whole number from 1",
            workflow(json!({"nodes": [step("a")], "concurrency": {"limit": 0}})),
        ),
        warning(
            "/spec/layout/b",
            "there is no node \"b\": remove its position",
            workflow(json!({"nodes": [step("a")], "layout": {"b": {"x": 1, "y": 2}}})),
        ),
        error(
            "/spec/layout/a/x",
            "is a text: write a number",
            workflow(json!({"nodes": [step("a")], "layout": {"a": {"x": "1", "y": 2}}})),
        ),
        error(
            "/spec/layout/a~1b~0/z",
            "unknown field \"z\" of position",
            workflow(json!({
            "nodes": [step("a")], "layout": {"a/b~": {"x": 1, "y": 2, "z": 3}}})),
        ),
    ]);
}

#[test]
fn wrong_node_is_named() {
    let node = |node| graph(json!([node]), json!([]));
    check(vec![
        error("/spec/nodes/0", "is a text: write a node", node(json!("a"))),
        error(
            "/spec/nodes/0/kind",
            "\"modell\" isn't known here; did you mean \"model\"?",
            node(json!({"id": "a", "kind": "modell"})),
        ),
        error("/spec/nodes/0", "the field \"kind\" is missing", node(json!({"id": "a"}))),
        error(
            "/spec/nodes/0",
            "the field \"id\" of fork is missing",
            node(json!({"kind": "fork"})),
        ),
        error("/spec/nodes/0/id", "\"a-b\" is no name that expressions can use", node(step("a-b"))),
        error("/spec/nodes/0/id", "\"inputs\" has a meaning in expressions", node(step("inputs"))),
        error(
            "/spec/nodes/1/id",
            "\"a\" is the id of the node at /spec/nodes/0, too",
            graph(json!([step("a"), step("a")]), json!([])),
        ),
        error(
            "/spec/nodes/1/body/nodes/0/id",
            "\"a\" is the id of the node at /spec/nodes/0, too",
            graph(
                json!([step("a"), {"id": "m", "kind": "map", "over": [1],
                "body": {"nodes": [step("a")], "result": 1}}]),
                json!([]),
            ),
        ),
        error(
            "/spec/nodes/0/vlaue",
            "unknown field \"vlaue\" of transform; did you mean \"value\"?",
            node(with(step("a"), "vlaue", json!(1))),
        ),
        error(
            "/spec/nodes/0",
            "the field \"request\" of model is missing",
            node(json!({"id": "a", "kind": "model", "model": "fast"})),
        ),
        error(
            "/spec/nodes/0/request",
            "is a text: write an object, or exactly one",
            node(json!({"id": "a", "kind": "model", "model": "fast", "request": "hello"})),
        ),
        error(
            "/spec/nodes/0/retry/on/0",
            "\"rate_limit\" isn't known here",
            node(json!({"id": "a", "kind": "function", "name": "f",
                "retry": {"on": ["rate_limit"]}})),
        ),
        error(
            "/spec/nodes/0/retry/maxTries",
            "is 0: write a whole number from 1 to 100",
            node(json!({"id": "a", "kind": "function", "name": "f", "retry": {"maxTries": 0}})),
        ),
        error(
            "/spec/nodes/0/retry/backoff/max",
            "is shorter than the first wait",
            node(json!({"id": "a", "kind": "function", "name": "f",
                "retry": {"backoff": {"initial": "10s", "max": "1s"}}})),
        ),
        error(
            "/spec/nodes/0/timeout",
            "\"0s\" is no time at all",
            node(json!({"id": "a", "kind": "function", "name": "f", "timeout": "0s"})),
        ),
        error(
            "/spec/nodes/0/timeout",
            "is a number: write a duration",
            node(json!({"id": "a", "kind": "function", "name": "f", "timeout": 30})),
        ),
        error(
            "/spec/nodes/0/onError",
            "has a default, so its onError is never taken",
            graph(
                json!([
                    with(with(step("a"), "default", json!(1)), "onError", json!("b")),
                    step("b")
                ]),
                json!([]),
            ),
        ),
    ]);
}

#[test]
fn wrong_fields_of_a_kind_are_named() {
    let node = |node| graph(json!([node]), json!([]));
    let body = json!({"nodes": [step("b")], "result": 1});
    let repeat = |more: serde_json::Value| {
        let mut node = json!({"id": "l", "kind": "loop", "body": body});
        for (name, value) in more.as_object().expect("an object") {
            node[name] = value.clone();
        }
        graph(json!([node]), json!([]))
    };
    let until = "{{ iteration > 3 }}";
    check(vec![
        error(
            "/spec/nodes/0/concurrency",
            "is 0: write a whole number from 1",
            node(json!({"id": "m", "kind": "map", "over": [1], "concurrency": 0, "body": body})),
        ),
        error(
            "/spec/nodes/0/over",
            "is a text: write a list",
            node(json!({"id": "m", "kind": "map", "over": "x {{ inputs.a }}", "body": body})),
        ),
        error(
            "/spec/nodes/0/as",
            "\"index\" has a meaning in expressions",
            node(json!({"id": "m", "kind": "map", "over": [1], "as": "index", "body": body})),
        ),
        error(
            "/spec/nodes/0/onItemError",
            "\"ignore\" isn't known here: write one of fail, skip",
            node(json!({"id": "m", "kind": "map", "over": [1], "onItemError": "ignore",
                "body": body})),
        ),
        error(
            "/spec/nodes/0/body/nodes/0",
            "\"item\" is the item of the map around it, too",
            node(json!({"id": "m", "kind": "map", "over": [1], "body": {"result": 1, "nodes": [
                {"id": "n", "kind": "map", "over": [1], "body": body}]}})),
        ),
        error(
            "/spec/nodes/0",
            "the field \"maxIterations\" of loop is missing",
            repeat(json!({"until": until})),
        ),
        error(
            "/spec/nodes/0/maxIterations",
            "is 100001: write a whole number from 1 to 100000",
            repeat(json!({"until": until, "maxIterations": 100_001})),
        ),
        error(
            "/spec/nodes/0",
            "must have either while or until",
            repeat(json!({"maxIterations": 1})),
        ),
        error(
            "/spec/nodes/0",
            "must have either while or until",
            repeat(json!({"maxIterations": 1, "while": until, "until": until})),
        ),
        error(
            "/spec/nodes/0/while",
            "never ends the loop",
            repeat(json!({"maxIterations": 1, "while": true})),
        ),
        error(
            "/spec/nodes/0",
            "must have exactly one of duration, until and signal",
            node(json!({"id": "a", "kind": "wait"})),
        ),
        error(
            "/spec/nodes/0",
            "must have exactly one of duration, until and signal",
            node(json!({"id": "a", "kind": "wait", "duration": "1s", "until": 5})),
        ),
        error(
            "/spec/nodes/0/until",
            "is no point in time",
            node(json!({"id": "a", "kind": "wait", "until": "tomorrow"})),
        ),
        error(
            "/spec/nodes/0/signal",
            "the field \"name\" of signal is missing",
            node(json!({"id": "a", "kind": "wait", "signal": {}})),
        ),
        warning(
            "/spec/nodes/0/signal",
            "waits for ever when nobody sends the signal",
            node(json!({"id": "a", "kind": "wait", "signal": {"name": "go"}})),
        ),
        warning(
            "/spec/nodes/0/name",
            "runs the workflow that it is in",
            node(json!({"id": "a", "kind": "workflow", "name": "w"})),
        ),
        error(
            "/spec/nodes/0/alias",
            "has a version as well: keep one",
            node(json!({"id": "a", "kind": "workflow", "name": "x", "version": 1, "alias": "s"})),
        ),
        error(
            "/spec/nodes/0/policy",
            "\"most\" isn't known here: write all, any",
            graph(
                json!([{"id": "j", "kind": "join", "policy": "most"}, step("a")]),
                json!([edge("a", "j")]),
            ),
        ),
        error(
            "/spec/nodes/0/policy",
            "must have exactly one field",
            graph(
                json!([{"id": "j", "kind": "join", "policy": {"atLeast": 1, "tolerate": 0}},
                step("a")]),
                json!([edge("a", "j")]),
            ),
        ),
        error(
            "/spec/nodes/0/cases",
            "has no cases",
            graph(
                json!([{"id": "s", "kind": "switch", "cases": [], "else": "t"}, step("t")]),
                json!([]),
            ),
        ),
    ]);
}

#[test]
fn wrong_schema_and_value_are_named() {
    let inputs = |inputs| workflow(json!({"inputs": inputs, "nodes": [step("a")]}));
    let variable = |variable| workflow(json!({"variables": {"v": variable}, "nodes": [step("a")]}));
    check(vec![
        error("/spec/inputs", "is no JSON Schema: write an object", inputs(json!("object"))),
        error(
            "/spec/inputs/properties/a/type",
            "is no valid JSON Schema",
            inputs(json!({"properties": {"a": {"type": "text"}}})),
        ),
        error(
            "/spec/inputs",
            "is a JSON Schema that can't be used",
            inputs(json!({"$ref": "https://example.com/a.json"})),
        ),
        error("/spec/inputs/type", "inputs are always an object", inputs(json!({"type": "array"}))),
        error(
            "/spec/inputs/properties/n/default",
            "doesn't fit the schema of it",
            inputs(json!({"properties": {"n": {"type": "integer", "default": "one"}}})),
        ),
        error(
            "/spec/variables/v/value",
            "doesn't fit the variable's schema",
            variable(json!({"schema": {"type": "integer"}, "value": "formal"})),
        ),
        error(
            "/spec/variables/v/value",
            "doesn't fit the variable's schema",
            variable(json!({"schema": {"type": "integer"}, "value": "{{ inputs.a }} euros"})),
        ),
        error(
            "/spec/variables/v/value/b",
            "doesn't fit the variable's schema",
            variable(json!({"schema": {"properties": {"b": {"maximum": 1}}},
                "value": {"a": "{{ inputs.a }}", "b": 2}})),
        ),
        error(
            "/spec/variables/v/value",
            "doesn't fit the variable's schema",
            variable(json!({"schema": {"required": ["c"]}, "value": {"a": "{{ inputs.a }}"}})),
        ),
        error(
            "/spec/variables/a.b",
            "\"a.b\" is no name that expressions can use",
            workflow(json!({"variables": {"a.b": {"value": 1}}, "nodes": [step("a")]})),
        ),
        error(
            "/spec/result/ok",
            "doesn't fit the schema of outputs",
            workflow(json!({
            "outputs": {"properties": {"ok": {"type": "boolean"}}}, "result": {"ok": "yes"},
            "nodes": [step("a")]})),
        ),
        error(
            "/spec",
            "has outputs but no result",
            workflow(json!({"outputs": {"type": "object"}, "nodes": [step("a")]})),
        ),
        warning(
            "/spec/nodes/0/value/a {{ 1 }}",
            "has an expression in its name",
            graph(json!([gives("a", json!({"a {{ 1 }}": 1}))]), json!([])),
        ),
    ]);
}

#[test]
fn unknown_parts_of_a_value_are_left_alone() {
    let schema = json!({"type": "object", "required": ["a", "b"], "properties": {
        "a": {"type": "integer"}, "b": {"pattern": "^x"}, "c": {"oneOf": [{"type": "null"}]}}});
    let value = json!({"a": "{{ inputs.a }}", "b": "{{ inputs.b }} y", "c": ["{{ inputs.c }}"]});
    let definition = workflow(json!({"variables": {"v": {"schema": schema, "value": value}},
        "nodes": [step("a")]}));
    assert_eq!(super::problems(&definition), []);
}

#[test]
fn inputs_of_a_child_are_checked_where_they_are_known() {
    let definition = graph(
        json!([{"id": "c", "kind": "workflow", "name": "child", "input": {"n": "two"}},
            {"id": "d", "kind": "workflow", "name": "other"}]),
        json!([]),
    );
    let schema = json!({"properties": {"n": {"type": "integer"}}});
    let known = |name: &str, _: &crate::workflow::definition::Pin| {
        (name == "child").then(|| schema.clone())
    };
    let problems = crate::workflow::compile::compile_with(&definition, &known).expect_err("bad");
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!(problems[0].pointer, "/spec/nodes/0/input/n");
    assert!(problems[0].message.starts_with("doesn't fit the inputs of \"child\""));
}
