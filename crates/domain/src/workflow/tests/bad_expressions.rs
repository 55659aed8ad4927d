//! What expressions may not say: names that don't exist, nodes that can't have run, syntax, types.

use serde_json::{Value, json};

use super::{check, compiles, edge, error, gives, graph, problems, step, warning, with, workflow};

/// One node that gives this, over inputs of this schema.
fn over(inputs: Value, value: Value) -> Value {
    workflow(json!({"inputs": inputs, "nodes": [gives("a", value)]}))
}

fn one(value: Value) -> Value {
    graph(json!([gives("a", value)]), json!([]))
}

#[test]
fn syntax_error_has_its_line() {
    check(vec![
        error("/spec/nodes/0/value", "has a syntax error in line 1: ", one(json!("{{ inputs. }}"))),
        error(
            "/spec/nodes/0/value/text",
            "has a syntax error in line 3: ",
            one(json!({"text": "a\nb {{ inputs.a }}\n{% if %}"})),
        ),
        error("/spec/nodes/0/value", "has a syntax error in line 1: ", one(json!("{{ inputs.a"))),
        error(
            "/spec/nodes/0/value",
            "uses the filter \"shout\", which doesn't exist",
            one(json!("{{ inputs.a | shout }}")),
        ),
        error(
            "/spec/nodes/0/value",
            "uses the test \"prime\", which doesn't exist",
            one(json!("{{ inputs.a is prime }}")),
        ),
        error(
            "/spec/nodes/0/value",
            "uses the function \"now\", which doesn't exist",
            one(json!("{{ now() }}")),
        ),
        error(
            "/spec/edges/0/when",
            "is a text, which is never false",
            graph(
                json!([step("a"), step("b")]),
                json!([{"from": "a", "to": "b", "when": "{{ inputs.a }} "}]),
            ),
        ),
        error(
            "/spec/edges/0/when",
            "is a text without an expression: write \"{{ inputs.a }}\"",
            graph(
                json!([step("a"), step("b")]),
                json!([{"from": "a", "to": "b", "when": "inputs.a"}]),
            ),
        ),
        error(
            "/spec/edges/0/when",
            "is a number: write a condition",
            graph(json!([step("a"), step("b")]), json!([{"from": "a", "to": "b", "when": 1}])),
        ),
    ]);
}

#[test]
fn unknown_name_is_named_wherever_it_stands() {
    for text in [
        "{{ nobody }}",
        "{{ nobody.a[1:2] }}",
        "{% set nobody = nobody.a %}",
        "{% with x = nobody %}{{ x }}{% endwith %}",
        "{% filter replace(nobody, 'a') %}x{% endfilter %}",
        "{% for x in nobody %}{{ x }}{% endfor %}",
        "{% if inputs.a %}{{ nobody | upper }}{% endif %}",
        "{{ inputs[nobody] }}",
        "{{ range(nobody) }}",
        "{{ (nobody | default({})).a }}",
        "{{ [1, {'a': nobody}] | tojson }}",
    ] {
        check(vec![error(
            "/spec/nodes/0/value",
            "there is no variable \"nobody\"",
            one(json!(text)),
        )]);
    }
    for text in [
        "{% for x in inputs.a %}{{ x.b }} {{ loop.index }}{% endfor %}",
        "{% set x = inputs.a %}{{ x }}",
        "{{ inputs['a-b'] }} {{ inputs.a.b.upper() }} {{ range(3) | join(',') }}",
        "{{ execution.id }}",
    ] {
        assert_eq!(problems(&one(json!(text))), [], "{text}");
    }
}

#[test]
fn name_that_is_out_of_place_gets_a_hint() {
    let spec = |value: &str| {
        workflow(json!({
        "inputs": {"type": "object", "properties": {"text": {"type": "string"}},
            "required": ["text"], "additionalProperties": false},
        "variables": {"tone": {"value": "formal"}},
        "nodes": [step("draft"), gives("a", json!(value))],
        "edges": [edge("draft", "a")]}))
    };
    let at = "/spec/nodes/1/value";
    check(vec![
        error(
            at,
            "there is no variable \"draft\"; did you mean nodes.draft.output?",
            spec("{{ draft }}"),
        ),
        error(
            at,
            "there is no variable \"tone\"; did you mean variables.tone?",
            spec("{{ tone }}"),
        ),
        error(at, "there is no variable \"text\"; did you mean inputs.text?", spec("{{ text }}")),
        error(
            at,
            "there is no variable \"input\"; did you mean \"inputs\"?",
            spec("{{ input.text }}"),
        ),
        error(
            at,
            "there is no variable \"variables.tune\"; did you mean \"tone\"?",
            spec("{{ variables.tune }}"),
        ),
        error(
            at,
            "\"inputs.txt\" reads what the schema of inputs forbids; did you mean \"text\"?",
            spec("{{ inputs.txt }}"),
        ),
        error(
            at,
            "there is no node \"drat\"; did you mean \"draft\"?",
            spec("{{ nodes.drat.output }}"),
        ),
        error(
            at,
            "of a node its output, error and status can be read",
            spec("{{ nodes.draft.text }}"),
        ),
        error(at, "of a node its output, error and status can be read", spec("{{ nodes.draft }}")),
        error(
            at,
            "reads nodes by a name that isn't fixed",
            spec("{{ nodes[inputs.text].output }}"),
        ),
        error(at, "of the execution only execution.id", spec("{{ execution.name }}")),
        error(at, "there is no variable \"item\"", spec("{{ item }}")),
    ]);
    compiles(&spec("{{ nodes['draft'].output ~ inputs['text'] }}"));
}

#[test]
fn variables_and_keys_see_inputs_only() {
    let spec = |more: Value| {
        let mut spec = json!({"nodes": [step("a")]});
        for (name, value) in more.as_object().expect("an object") {
            spec[name] = value.clone();
        }
        workflow(spec)
    };
    check(vec![
        error(
            "/spec/variables/v/value",
            "nodes can't be read here",
            spec(json!({"variables": {"v": {"value": "{{ nodes.a.output }}"}}})),
        ),
        error(
            "/spec/variables/v/value",
            "a variable can't read variables",
            spec(json!({"variables": {"v": {"value": "{{ variables.v }}"}}})),
        ),
        error(
            "/spec/concurrency/key",
            "nodes can't be read here",
            spec(json!({"concurrency": {"limit": 1, "key": "{{ nodes.a.output }}"}})),
        ),
    ]);
    compiles(&spec(json!({"variables": {"v": {"value": "{{ inputs.a }}"}},
        "concurrency": {"limit": 1, "key": "{{ variables.v }}"}})));
}

/// `first -> reader`, where `reader` gives `value`; `other` starts beside them.
fn reads(value: &str) -> Value {
    graph(
        json!([step("first"), gives("reader", json!(value)), step("other"), step("later")]),
        json!([edge("first", "reader"), edge("reader", "later"), edge("other", "later")]),
    )
}

#[test]
fn node_that_cannot_have_run_is_an_error() {
    let at = "/spec/nodes/1/value";
    check(vec![
        error(at, "\"other\" isn't before this on any path", reads("{{ nodes.other.output }}")),
        error(at, "\"later\" runs after this", reads("{{ nodes.later.output }}")),
        error(at, "\"reader\" reads itself", reads("{{ nodes.reader.output }}")),
        error(
            at,
            "\"first\" has succeeded when this runs, so it has no error",
            reads("{{ nodes.first.error }}"),
        ),
        error(
            "/spec/nodes/1/value",
            "\"b\" is inside of the body of \"m\"",
            graph(
                json!([{"id": "m", "kind": "map", "over": [1],
                "body": {"nodes": [step("b")], "result": 1}}, gives("a", json!("{{ nodes.b.output }}"))]),
                json!([edge("m", "a")]),
            ),
        ),
        error(
            "/spec/nodes/2/value",
            "\"a\" has failed when this runs, so it has no output",
            graph(
                json!([{"id": "a", "kind": "function", "name": "f", "onError": "fix"}, step("b"),
                gives("fix", json!("{{ nodes.a.output }}"))]),
                json!([edge("a", "b")]),
            ),
        ),
        error(
            "/spec/result",
            "\"undo\" runs only to undo another",
            workflow(json!({"result": "{{ nodes.undo.output }}", "nodes": [
                {"id": "a", "kind": "function", "name": "f", "compensate": "undo"},
                {"id": "undo", "kind": "function", "name": "g"}]})),
        ),
    ]);
    compiles(&reads("{{ nodes.first.output }} {{ nodes.first.status }}"));
}

#[test]
fn node_that_may_be_skipped_is_a_warning_unless_guarded() {
    let branches = |value: &str| {
        graph(
            json!([{"id": "s", "kind": "switch", "else": "b",
                "cases": [{"when": "{{ inputs.a }}", "to": "a"}]}, step("a"), step("b"),
                gives("c", json!(value))]),
            json!([edge("a", "c"), edge("b", "c")]),
        )
    };
    let at = "/spec/nodes/3/value";
    let begins = "\"a\" may be skipped or fail before this runs";
    check(vec![
        warning(at, begins, branches("{{ nodes.a.output }}")),
        warning(at, begins, branches("{{ nodes.a.output.text | default('') }}")),
        warning(at, "\"a\" has an error only when it fails", branches("{{ nodes.a.error }}")),
    ]);
    for safe in [
        "{{ nodes.a.output | default('none') }}",
        "{{ (nodes.a.output | default({})).text | default('') }}",
        "{{ nodes.a.output.text if nodes.a.output is defined else '' }}",
        "{% if nodes.a.status == 'succeeded' %}{{ nodes.a.output }}{% endif %}",
        "{{ nodes.a.status }}",
    ] {
        assert_eq!(problems(&branches(safe)), [], "{safe}");
    }
}

#[test]
fn what_is_certain_needs_no_guard() {
    let all = "{{ [nodes.a.output, nodes.b.output, nodes.start.output] }}";
    let fork = |more: Value, policy: &str| {
        graph(
            json!([{"id": "start", "kind": "fork"}, step("a"), with(step("b"), "description", more),
                {"id": "j", "kind": "join", "policy": policy}, gives("c", json!(all))]),
            json!([
                edge("start", "a"),
                edge("start", "b"),
                edge("a", "j"),
                edge("b", "j"),
                edge("j", "c")
            ]),
        )
    };
    assert_eq!(problems(&fork(json!("x"), "all")), []);
    let early = problems(&fork(json!("x"), "any"));
    assert_eq!(early.len(), 2, "the loser may have been cancelled: {}", super::listed(&early));

    let voted = |policy: Value| {
        workflow(
            json!({"result": "{{ nodes.c.output }}", "nodes": [{"id": "start", "kind": "fork"},
            step("a"), step("b"), {"id": "j", "kind": "join", "policy": policy, "deadline": "1m"},
            step("c"), step("beside"), gives("d", json!("{{ [nodes.j.output, nodes.beside.output] }}"))],
            "edges": [edge("start", "a"), edge("start", "b"), edge("a", "j"), edge("b", "j"),
                edge("j", "c"), edge("c", "d"), edge("start", "beside"), edge("beside", "d")]}),
        )
    };
    for policy in
        [json!("any"), json!({"atLeast": 2}), json!({"tolerate": 1}), json!({"firstValid": {}})]
    {
        assert_eq!(
            problems(&voted(policy.clone())),
            [],
            "what comes after the join is certain: {policy}"
        );
    }

    let defaulted = graph(
        json!([
            step("z"),
            with(step("a"), "default", json!(2)),
            gives("b", json!("{{ nodes.a.output }}"))
        ]),
        json!([edge("z", "a"), edge("a", "b")]),
    );
    assert_eq!(problems(&defaulted), []);
    let handled = graph(
        json!([
            with(step("a"), "onError", json!("fix")),
            gives("fix", json!("{{ nodes.a.error }}")),
            gives("b", json!("{{ nodes.a.output | default(nodes.fix.output) }}"))
        ]),
        json!([edge("a", "b"), edge("fix", "b")]),
    );
    let found = problems(&handled);
    assert_eq!(found.len(), 1, "fix may not have run: {}", super::listed(&found));
}

#[test]
fn condition_reads_its_source_and_default_its_failure() {
    let definition = graph(
        json!([step("a"), step("b"), {"id": "c", "kind": "function", "name": "f",
            "default": {"why": "{{ nodes.c.error }}"}}]),
        json!([{"from": "a", "to": "b", "when": "{{ nodes.a.output == 1 }}"}, edge("b", "c")]),
    );
    assert_eq!(problems(&definition), []);
}

#[test]
fn bodies_see_what_is_around_them_and_their_own_names() {
    let body = |value: &str| {
        graph(
            json!([step("before"), step("beside"), {"id": "m", "kind": "map", "over": [1], "as": "page",
                "body": {"nodes": [gives("x", json!(value))], "result": "{{ nodes.x.output }}"}},
                step("end")]),
            json!([edge("before", "m"), edge("beside", "end"), edge("m", "end")]),
        )
    };
    let at = "/spec/nodes/2/body/nodes/0/value";
    assert_eq!(
        problems(&body("{{ page }} {{ index }} {{ nodes.before.output }} {{ inputs.a }}")),
        []
    );
    check(vec![
        error(at, "\"beside\" isn't before this on any path", body("{{ nodes.beside.output }}")),
        error(at, "\"m\" reads itself", body("{{ nodes.m.output }}")),
        error(at, "there is no variable \"iteration\"", body("{{ iteration }}")),
    ]);
    let repeat = |until: &str, value: &str| {
        graph(
            json!([{"id": "l", "kind": "loop", "until": until, "maxIterations": 3,
            "body": {"nodes": [gives("x", json!(value))], "result": "{{ nodes.x.output }}"}}]),
            json!([]),
        )
    };
    assert_eq!(problems(&repeat("{{ last == 2 }}", "{{ iteration }} {{ last | tojson }}")), []);
    check(vec![
        error(
            "/spec/nodes/0/until",
            "\"x\" is inside of the body of \"l\"",
            repeat("{{ nodes.x.output }}", "y"),
        ),
        error("/spec/nodes/0/until", "there is no variable \"item\"", repeat("{{ item }}", "y")),
    ]);
}

#[test]
fn inputs_are_held_to_their_schema() {
    let schema = json!({"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string"}, "note": {"type": "string"},
        "tags": {"type": "array", "default": []},
        "deep": {"type": "object", "properties": {"x": {"type": "number"}}}}});
    let at = "/spec/nodes/0/value";
    check(vec![
        warning(at, "\"note\" may be left out", over(schema.clone(), json!("{{ inputs.note }}"))),
        warning(
            at,
            "\"deep\" may be left out",
            over(schema.clone(), json!("{{ inputs.deep.x | default(1) }}")),
        ),
        warning(
            at,
            "\"inputs.nmae\" isn't in the schema of inputs; did you mean \"name\"?",
            over(schema.clone(), json!("{{ inputs.nmae }}")),
        ),
        error(
            "/spec/nodes/0/over",
            "gives a text: write an expression that gives a list",
            workflow(json!({"inputs": schema, "nodes": [{"id": "m", "kind": "map",
                "over": "{{ inputs.name }}", "body": {"nodes": [step("x")], "result": 1}}]})),
        ),
    ]);
    for fine in ["{{ inputs.note | default('') }}", "{{ inputs.tags }}", "{{ inputs.name }}"] {
        assert_eq!(problems(&over(schema.clone(), json!(fine))), [], "{fine}");
    }
}

#[test]
fn missing_tojson_is_a_warning() {
    let schema = json!({"type": "object", "required": ["ok", "doc"], "properties": {
        "ok": {"type": "boolean"}, "doc": {"type": "object"}}});
    let at = "/spec/nodes/0/value";
    check(vec![
        warning(
            at,
            "\"inputs.ok\" is a boolean, which in a text isn't shown as JSON",
            over(schema.clone(), json!("ok: {{ inputs.ok }}")),
        ),
        warning(
            at,
            "\"inputs.doc\" is an object",
            over(schema.clone(), json!("{{ inputs.doc }}!")),
        ),
        warning(at, "an expression here gives a boolean", one(json!("{{ 1 < 2 }}!"))),
        warning(at, "an expression here gives a boolean", one(json!("is {{ true }}"))),
        warning(at, "an expression here gives an object", one(json!("is {{ {'a': 1} }}"))),
        warning(
            "/spec/nodes/1/value",
            "\"nodes.m.output\" is an object",
            graph(
                json!([{"id": "m", "kind": "model", "model": "x", "request": {}},
                gives("a", json!("said {{ nodes.m.output }}"))]),
                json!([edge("m", "a")]),
            ),
        ),
    ]);
    for fine in
        ["{{ inputs.ok }}", "ok: {{ inputs.ok | tojson }}", "{% if inputs.ok %}a{% endif %}"]
    {
        assert_eq!(problems(&over(schema.clone(), json!(fine))), [], "{fine}");
    }
}

#[test]
fn deep_expressions_are_refused_before_they_hurt() {
    for text in [
        format!("{{{{ {} 1 }}}}", "not ".repeat(50_000)),
        format!("{{{{ {} 1 }}}}", "1 + ".repeat(50_000)),
        format!("{{{{ {} 1 {} }}}}", "(".repeat(50_000), ")".repeat(50_000)),
        format!("{{{{ a{} }}}}", ".b".repeat(50_000)),
        format!("{}x{}", "{% if 1 %}".repeat(10_000), "{% endif %}".repeat(10_000)),
    ] {
        let found = problems(&one(json!(text)));
        assert_eq!(found.len(), 1, "{} ...", &text[..20]);
    }
}
