//! The workflows that the simulation runs: together they have every kind of node but agents and functions,
//! which nobody here answers, and every policy. Times are short, for a seed lasts some ten seconds.

use serde_json::{Value, json};

/// All of them, by name.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    let specs = [
        chain(json!("{{ nodes.second.output.n }}")),
        choose(),
        all_of_three(),
        any(),
        quorum(),
        tolerant(),
        picky(),
        map(),
        repeat(),
        waits(),
        approval(),
        family(),
        saga(),
        limited(),
        hasty(),
        emit(),
    ];
    NAMES.into_iter().zip(specs).map(|(name, spec)| (name, whole(name, spec))).collect()
}

/// Their names.
pub(super) const NAMES: [&str; 16] = [
    "chain", "choose", "all", "any", "quorum", "tolerant", "picky", "map", "loop", "waits",
    "approval", "family", "saga", "limited", "hasty", "emit",
];

/// The second version of `chain`.
pub(super) fn second_chain() -> Value {
    whole("chain", chain(json!({"second": "{{ nodes.second.output.n }}"})))
}

fn whole(name: &str, mut spec: Value) -> Value {
    spec["inputs"] = json!({"type": "object", "required": ["text", "items", "key"], "properties": {
        "text": {"type": "string"},
        "items": {"type": "array", "items": {"type": "string"}},
        "key": {"type": "string"}}});
    json!({"apiVersion": "stepstream/v1", "kind": "Workflow", "metadata": {"name": name},
        "spec": spec})
}

/// A node that asks the model.
fn ask(id: &str, more: Value) -> Value {
    let text = "{{ inputs.text }}";
    node(
        json!({"id": id, "kind": "model", "model": "m",
            "request": {"messages": [{"role": "user", "content": text}]}}),
        more,
    )
}

/// A node with more fields.
fn node(mut node: Value, more: Value) -> Value {
    for (name, value) in more.as_object().expect("fields") {
        node[name] = value.clone();
    }
    node
}

/// Tries again what another try may mend.
fn again() -> Value {
    json!({"retry": {"on": ["provider", "rate_limited"], "maxTries": 3,
        "backoff": {"initial": "20ms"}}})
}

fn edges(of: &[(&str, &str)]) -> Value {
    of.iter().map(|(from, to)| json!({"from": from, "to": to})).collect()
}

/// One after the other, with retries by class, an error branch and a pure step.
fn chain(result: Value) -> Value {
    json!({"nodes": [
            ask("first", again()),
            {"id": "shape", "kind": "transform", "value": {"n": "{{ nodes.first.output.n }}"}},
            ask("second", json!({"onError": "sorry"})),
            {"id": "sorry", "kind": "end", "result": "{{ nodes.second.error.code }}"}],
        "edges": edges(&[("first", "shape"), ("shape", "second")]),
        "result": result})
}

fn choose() -> Value {
    json!({"nodes": [
            ask("first", again()),
            {"id": "which", "kind": "switch", "else": "neither", "cases": [
                {"when": "{{ nodes.first.output.n == 0 }}", "to": "left"},
                {"when": "{{ nodes.first.output.n <= 2 }}", "to": "right"}]},
            ask("left", json!({"default": "nothing"})),
            {"id": "right", "kind": "wait", "duration": "100ms"},
            {"id": "neither", "kind": "fail", "message": "n is {{ nodes.first.output.n }}",
                "code": "neither"}],
        "edges": edges(&[("first", "which")]),
        "result": "{{ nodes.first.output.n }}"})
}

/// Three at once, and a join of them.
fn three(join: Value, more: Vec<Value>, also: &[(&str, &str)]) -> Value {
    let mut nodes = vec![
        json!({"id": "split", "kind": "fork"}),
        ask("a", json!({})),
        ask("b", again()),
        ask("c", json!({"retry": {"maxTries": 2, "backoff": {"initial": "30ms"}}})),
        node(json!({"id": "meet", "kind": "join"}), join),
    ];
    nodes.extend(more);
    let mut all = vec![("split", "a"), ("split", "b"), ("split", "c")];
    all.extend([("a", "meet"), ("b", "meet"), ("c", "meet")]);
    all.extend(also);
    json!({"nodes": nodes, "edges": edges(&all), "result": "{{ nodes.meet.output }}"})
}

fn all_of_three() -> Value {
    let late = json!({"id": "late", "kind": "end", "result": "late"});
    three(json!({"deadline": "400ms", "onError": "late"}), vec![late], &[])
}

fn any() -> Value {
    three(json!({"policy": "any"}), vec![ask("then", json!({}))], &[("meet", "then")])
}

fn quorum() -> Value {
    let join = json!({"policy": {"atLeast": 2}, "deadline": "300ms", "onError": "instead"});
    three(join, vec![ask("instead", json!({"default": 0}))], &[])
}

fn tolerant() -> Value {
    let then = ask("then", json!({"compensate": "undo"}));
    let undo = ask("undo", again());
    let wait = json!({"id": "rest", "kind": "wait", "duration": "40ms"});
    let also = [("meet", "then"), ("then", "rest")];
    three(json!({"policy": {"tolerate": 1}}), vec![then, undo, wait], &also)
}

fn picky() -> Value {
    let valid = json!({"type": "object", "required": ["n"],
        "properties": {"n": {"type": "integer", "minimum": 2}}});
    three(json!({"policy": {"firstValid": valid}, "default": "none"}), Vec::new(), &[])
}

fn map() -> Value {
    let body = json!({
        "nodes": [
            ask("read", again()),
            {"id": "note", "kind": "transform", "value": "{{ nodes.read.output.text }}"}],
        "edges": edges(&[("read", "note")]),
        "result": {"item": "{{ item }}", "text": "{{ nodes.note.output }}"}});
    json!({"nodes": [
            {"id": "each", "kind": "map", "over": "{{ inputs.items }}", "concurrency": 2,
                "onItemError": "keep", "body": body},
            {"id": "count", "kind": "map", "over": "{{ nodes.each.output }}", "as": "one",
                "onItemError": "skip", "body": {"nodes": [
                    {"id": "same", "kind": "transform", "value": "{{ one.item }}"}],
                    "result": "{{ nodes.same.output }}"}}],
        "edges": edges(&[("each", "count")]),
        "result": {"all": "{{ nodes.each.output }}", "count": "{{ nodes.count.output | length }}"}})
}

fn repeat() -> Value {
    let body = json!({
        "nodes": [ask("draft", again()), {"id": "rest", "kind": "wait", "duration": "20ms"}],
        "edges": edges(&[("draft", "rest")]),
        "result": {"n": "{{ nodes.draft.output.n }}"}});
    json!({"nodes": [
            {"id": "round", "kind": "loop", "until": "{{ last.n == 3 }}", "maxIterations": 4,
                "onError": "gave_up", "body": body},
            {"id": "gave_up", "kind": "end", "result": "gave up"}],
        "edges": [],
        "result": "{{ nodes.round.output.n }}"})
}

/// A time, a signal with a time and a schema, a signal without.
fn waits() -> Value {
    let ok =
        json!({"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}});
    json!({"nodes": [
            {"id": "rest", "kind": "wait", "duration": "120ms"},
            {"id": "go", "kind": "wait", "onError": "late",
                "signal": {"name": "go", "schema": ok, "timeout": "900ms"}},
            ask("work", json!({"default": "nothing"})),
            {"id": "stop", "kind": "wait", "signal": {"name": "stop"}},
            {"id": "late", "kind": "end", "result": "late"}],
        "edges": edges(&[("rest", "go"), ("go", "work"), ("work", "stop")]),
        "result": "{{ nodes.stop.output }}"})
}

fn approval() -> Value {
    let decision = json!({"type": "object", "required": ["approved"],
        "properties": {"approved": {"type": "boolean"}}});
    json!({"nodes": [
            ask("draft", again()),
            {"id": "approve", "kind": "wait", "onError": "unanswered", "signal": {
                "name": "decision", "schema": decision, "form": decision, "timeout": "900ms"}},
            {"id": "decide", "kind": "switch", "else": "refused",
                "cases": [{"when": "{{ nodes.approve.output.approved }}", "to": "send"}]},
            ask("send", again()),
            {"id": "refused", "kind": "end", "result": "refused"},
            {"id": "unanswered", "kind": "fail", "message": "nobody answered"}],
        "edges": edges(&[("draft", "approve"), ("approve", "decide")]),
        "result": "{{ nodes.send.output.n }}"})
}

/// Children: one for each item, one that may take so long, one that nobody waits for.
fn family() -> Value {
    let input = json!({"text": "{{ inputs.text }}", "items": [], "key": "{{ inputs.key }}"});
    let child = json!({"id": "child", "kind": "workflow", "name": "chain", "input": input});
    json!({"nodes": [
            {"id": "each", "kind": "map", "over": "{{ inputs.items }}", "concurrency": 2,
                "onItemError": "keep",
                "body": {"nodes": [child], "result": "{{ nodes.child.output }}"}},
            {"id": "aside", "kind": "workflow", "name": "choose", "mode": "detached",
                "input": input},
            {"id": "booking", "kind": "workflow", "name": "saga", "input": input,
                "timeout": "700ms", "retry": {"maxTries": 2, "backoff": {"initial": "20ms"}},
                "onError": "without"},
            {"id": "without", "kind": "end", "result": "without a booking"}],
        "edges": edges(&[("each", "booking")]),
        "result": {"each": "{{ nodes.each.output }}", "aside": "{{ nodes.aside.output }}"}})
}

fn saga() -> Value {
    json!({"nodes": [
            ask("reserve", json!({"compensate": "release"})),
            ask("pay", node(again(), json!({"compensate": "refund"}))),
            {"id": "rest", "kind": "wait", "duration": "50ms"},
            ask("confirm", json!({})),
            {"id": "which", "kind": "switch", "else": "done", "cases": [
                {"when": "{{ nodes.confirm.output.n == 1 }}", "to": "declined"}]},
            {"id": "declined", "kind": "fail", "message": "declined", "code": "declined"},
            {"id": "done", "kind": "end", "result": "{{ nodes.pay.output.n }}"},
            ask("release", again()),
            ask("refund", again())],
        "edges": edges(&[("reserve", "pay"), ("pay", "rest"), ("rest", "confirm"),
            ("confirm", "which")])})
}

fn limited() -> Value {
    json!({"concurrency": {"limit": 2, "key": "{{ inputs.key }}"},
        "nodes": [ask("work", again()), {"id": "rest", "kind": "wait", "duration": "60ms"}],
        "edges": edges(&[("work", "rest")]),
        "result": "{{ nodes.work.output.n }}"})
}

/// Its time may be over at any step.
fn hasty() -> Value {
    json!({"timeout": "800ms",
        "nodes": [
            ask("first", json!({"timeout": "120ms", "onError": "plain", "compensate": "undo",
                "retry": {"maxTries": 3, "backoff": {"initial": "15ms"}}})),
            {"id": "plain", "kind": "transform", "value": "plain"},
            ask("undo", again()),
            {"id": "rest", "kind": "wait", "duration": "90ms"},
            ask("second", again())],
        "edges": edges(&[("first", "rest"), ("plain", "rest"), ("rest", "second")]),
        "result": "{{ nodes.second.output.n }}"})
}

fn emit() -> Value {
    json!({"nodes": [
            {"id": "tell", "kind": "emit", "topic": "notes", "type": "com.example.note",
                "key": "{{ inputs.key }}", "data": {"text": "{{ inputs.text }}"},
                "retry": {"maxTries": 2, "backoff": {"initial": "20ms"}}},
            ask("then", again())],
        "edges": edges(&[("tell", "then")]),
        "result": "{{ nodes.tell.output.offset }}"})
}

#[test]
fn every_workflow_of_the_simulation_compiles() {
    for (name, definition) in all().into_iter().chain([("chain", second_chain())]) {
        if let Err(problems) = domain::workflow::run::program::Program::new(&definition) {
            panic!("{name}: {problems:#?}");
        }
    }
}
