//! Three definitions as people write them: they compile without a warning, and their expressions give
//! what their authors expect.

use serde_json::{Value, json};

use super::{Compiled, compiles, problems};
use crate::workflow::definition::{JoinPolicy, Kind, Wait};
use crate::workflow::template::{Template, environment};

/// Three models are asked; two answers are enough.
pub(super) fn vote() -> Value {
    let ask = |id: &str, model: &str| {
        json!({"id": id, "kind": "model", "model": model, "timeout": "30s",
            "retry": {"on": ["rate_limited", "timeout"], "maxTries": 2},
            "request": {"temperature": 0, "messages": [
                {"role": "system", "content": "Answer yes or no."},
                {"role": "user", "content": "{{ inputs.question }}"}]}})
    };
    json!({
        "apiVersion": "stepstream/v1", "kind": "Workflow",
        "metadata": {"name": "vote", "description": "Two of three models.", "labels": {"team": "a"}},
        "spec": {
            "inputs": {"type": "object", "required": ["question"],
                "properties": {"question": {"type": "string"}}, "additionalProperties": false},
            "outputs": {"type": "object", "required": ["answers", "agree"]},
            "result": "{{ nodes.count.output }}",
            "timeout": "5m",
            "nodes": [
                {"id": "ask", "kind": "fork"},
                ask("first", "fast"), ask("second", "careful"), ask("third", "cheap"),
                {"id": "vote", "kind": "join", "policy": {"atLeast": 2}, "deadline": "1m"},
                {"id": "count", "kind": "transform", "value": {
                    "answers": "{{ nodes.vote.output | map(attribute='choices.0.message.content') | list }}",
                    "agree": "{{ nodes.vote.output | map(attribute='choices.0.message.content') | unique \
                              | list | length == 1 }}"}},
            ],
            "edges": [
                {"from": "ask", "to": "first"}, {"from": "ask", "to": "second"},
                {"from": "ask", "to": "third"}, {"from": "first", "to": "vote"},
                {"from": "second", "to": "vote"}, {"from": "third", "to": "vote"},
                {"from": "vote", "to": "count"},
            ],
            "layout": {"ask": {"x": 0, "y": 0}, "vote": {"x": 0, "y": 200.5}},
        },
    })
}

/// A draft goes out when a person says so within two days.
pub(super) fn approval() -> Value {
    json!({
        "apiVersion": "stepstream/v1", "kind": "Workflow",
        "metadata": {"name": "approval"},
        "spec": {
            "inputs": {"type": "object", "required": ["customer", "topic"], "properties": {
                "customer": {"type": "string"}, "topic": {"type": "string"}}},
            "variables": {"tone": {"schema": {"enum": ["formal", "friendly"]}, "value": "formal"}},
            "concurrency": {"limit": 5, "key": "{{ inputs.customer }}"},
            "nodes": [
                {"id": "draft", "kind": "model", "model": "fast", "request": {"messages": [
                    {"role": "user", "content": "Write a {{ variables.tone }} note on {{ inputs.topic }}."}]}},
                {"id": "approve", "kind": "wait", "signal": {"name": "approval", "timeout": "2d",
                    "schema": {"type": "object", "required": ["approved"], "properties": {
                        "approved": {"type": "boolean"}, "by": {"type": "string"}}},
                    "form": {"type": "object", "properties": {"approved": {"title": "Send it?",
                        "type": "boolean"}}}},
                    "default": {"approved": false, "by": "nobody"}},
                {"id": "decide", "kind": "switch", "else": "refused", "cases": [
                    {"when": "{{ nodes.approve.output.approved }}", "to": "send"}]},
                {"id": "send", "kind": "emit", "topic": "notes", "type": "com.example.note",
                    "subject": "{{ inputs.customer }}", "compensate": "recall",
                    "data": {"text": "{{ nodes.draft.output.choices[0].message.content }}",
                        "by": "{{ nodes.approve.output.by | default('unknown') }}"}},
                {"id": "recall", "kind": "emit", "topic": "notes", "type": "com.example.note.recalled",
                    "data": {"note": "{{ nodes.send.output }}"}},
                {"id": "sent", "kind": "end", "result": {"sent": true}},
                {"id": "refused", "kind": "fail", "code": "refused",
                    "message": "{{ nodes.approve.output.by | default('someone') }} refused"},
            ],
            "edges": [
                {"from": "draft", "to": "approve"}, {"from": "approve", "to": "decide"},
                {"from": "send", "to": "sent"},
            ],
        },
    })
}

/// Each document is summarised, and the summaries are made into one.
pub(super) fn documents() -> Value {
    json!({
        "apiVersion": "stepstream/v1", "kind": "Workflow",
        "metadata": {"name": "documents"},
        "spec": {
            "inputs": {"type": "object", "required": ["documents"], "properties": {
                "documents": {"type": "array", "items": {"type": "object"}},
                "words": {"type": "integer", "default": 50}}},
            "result": {"summary": "{{ nodes.reduce.output.choices[0].message.content }}",
                "documents": "{{ nodes.each.output | length }}"},
            "nodes": [
                {"id": "each", "kind": "map", "over": "{{ inputs.documents }}", "as": "document",
                    "concurrency": 20, "onItemError": "skip", "body": {
                        "nodes": [
                            {"id": "summarise", "kind": "model", "model": "fast",
                                "retry": {"maxTries": 5, "backoff": {"initial": "500ms", "max": "20s"}},
                                "request": {"messages": [{"role": "user", "content":
                                    "Summarise document {{ index + 1 }} in {{ inputs.words }} words: \
                                     {{ document.text }}"}]}},
                            {"id": "short", "kind": "transform",
                                "value": "{{ nodes.summarise.output.choices[0].message.content | trim }}"},
                        ],
                        "edges": [{"from": "summarise", "to": "short"}],
                        "result": {"title": "{{ document.title }}", "text": "{{ nodes.short.output }}"}}},
                {"id": "reduce", "kind": "model", "model": "careful", "request": {"messages": [
                    {"role": "user", "content":
                        "{% for part in nodes.each.output %}{{ part.title }}: {{ part.text }}\n{% endfor %}"}]}},
            ],
            "edges": [{"from": "each", "to": "reduce"}],
        },
    })
}

/// All of them.
pub(super) fn all() -> [Value; 3] {
    [vote(), approval(), documents()]
}

fn node<'c>(compiled: &'c Compiled, id: &str) -> &'c Kind {
    &compiled.definition.nodes.iter().find(|node| node.id == id).expect("a node").kind
}

fn evaluate(template: &Template, context: Value) -> Value {
    let context = minijinja::Value::from(minijinja::value::Serde(context));
    template.evaluate(&environment(), &context).expect("has a value")
}

#[test]
fn examples_have_no_problems() {
    for example in all() {
        assert_eq!(problems(&example), [], "{}", example["metadata"]["name"]);
    }
}

#[test]
fn vote_waits_for_two_and_keeps_types() {
    let compiled = compiles(&vote());
    assert!(matches!(
        node(&compiled, "vote"),
        Kind::Join { policy: JoinPolicy::AtLeast(2), deadline_ms: Some(60_000) }
    ));
    let join = &compiled.graph.nodes[4];
    assert_eq!(join.losers, [0, 1, 2, 3]);
    let Kind::Transform { value } = node(&compiled, "count") else { panic!("a transform") };
    let answer = |text: &str| json!({"choices": [{"message": {"content": text}}]});
    let context = json!({"nodes": {"vote": {"output": [answer("yes"), answer("yes")]}}});
    assert_eq!(evaluate(value, context), json!({"answers": ["yes", "yes"], "agree": true}));
}

#[test]
fn approval_waits_for_a_person_and_has_a_way_out() {
    let compiled = compiles(&approval());
    let Kind::Wait(Wait::Signal(signal)) = node(&compiled, "approve") else { panic!("a signal") };
    assert_eq!(signal.timeout_ms, Some(2 * 86_400_000));
    let Kind::Fail { message, .. } = node(&compiled, "refused") else { panic!("a fail") };
    let context = json!({"nodes": {"approve": {"output": {"approved": false}}}});
    assert_eq!(evaluate(message, context), json!("someone refused"));
}

#[test]
fn map_and_reduce_hand_values_on() {
    let compiled = compiles(&documents());
    let body = compiled.graph.nodes[0].body.expect("a body");
    let result = compiled.definition.scopes[body].result.as_ref().expect("a result");
    let context = json!({"document": {"title": "A"}, "nodes": {"short": {"output": "b"}}});
    assert_eq!(evaluate(result, context), json!({"title": "A", "text": "b"}));
    let Kind::Model { request, .. } = node(&compiled, "reduce") else { panic!("a model") };
    let context = json!({"nodes": {"each": {"output": [{"title": "A", "text": "b"}]}}});
    assert_eq!(evaluate(request, context)["messages"][0]["content"], json!("A: b\n"));
    let result = compiled.definition.scopes[0].result.as_ref().expect("a result");
    let context = json!({"nodes": {"each": {"output": [1, 2]},
        "reduce": {"output": {"choices": [{"message": {"content": "all"}}]}}}});
    assert_eq!(evaluate(result, context), json!({"summary": "all", "documents": 2}));
}

#[test]
fn undefined_values_and_endless_expressions_are_errors() {
    let fails = |source: &str| {
        let template = Template::Expression(source.to_owned());
        template.evaluate(
            &environment(),
            &minijinja::Value::from(minijinja::value::Serde(json!({"a": {}}))),
        )
    };
    assert!(fails("a.b").is_err());
    assert!(fails("a.b.c").is_err());
    assert!(fails("range(9999) | map('string') | list | length").is_ok());
    let text = Template::Text(
        "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}".to_owned(),
    );
    let error = text.evaluate(&environment(), &minijinja::Value::from(())).expect_err("too long");
    assert_eq!(error.kind(), minijinja::ErrorKind::OutOfFuel);
}
