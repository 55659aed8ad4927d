//! Chains, conditions, switches, skipped branches; what is asked of whom.

use super::*;
use crate::answer::Terminal;
use crate::event::EventType;
use crate::workflow::run::Request;

#[test]
fn steps_of_a_chain_run_one_after_the_other() {
    let mut world = World::new(&giving(
        json!([call("a"), call_with("b", "{{ nodes.a.output.x }}")]),
        json!([edge("a", "b")]),
        json!({"b": "{{ nodes.b.output }}"}),
    ));
    assert_eq!(world.open(), ["a"]);
    world.answer("a", json!({"x": 7}));
    assert_eq!(world.open(), ["b"]);
    let Some((_, Request::Function(asked))) = world.requests.last() else {
        panic!("{:?}", world.requests)
    };
    assert_eq!(asked.arguments, r#"{"it":7}"#);
    assert_eq!((asked.tenant.as_str(), asked.function.as_str()), ("acme", "f"));
    world.answer("b", json!("done"));
    assert_eq!(world.result(), json!({"b": "done"}));
    assert_eq!(
        world.story(),
        [
            "execution.admitted",
            "execution.started",
            "step.started a",
            "step.succeeded a",
            "step.started b",
            "step.succeeded b"
        ]
    );
}

#[test]
fn pure_steps_run_within_one_fold() {
    let world = World::of(
        &workflow(json!({
            "inputs": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}},
            "variables": {"twice": {"value": "{{ inputs.n * 2 }}"}},
            "nodes": [gives("a", json!("{{ variables.twice + 1 }}")),
                gives("b", json!("{{ nodes.a.output + 1 }} of {{ execution.id }}"))],
            "edges": [edge("a", "b")],
            "result": "{{ nodes.b.output }}",
        })),
        json!({"n": 20}),
    );
    assert_eq!(world.folds.len(), 1);
    assert_eq!(world.result(), json!("42 of execution-1"));
}

#[test]
fn scope_without_a_result_gives_null() {
    let world = World::new(&graph(json!([gives("a", json!(1))]), json!([])));
    assert_eq!(world.result(), Value::Null);
}

fn switch(otherwise: Value) -> Value {
    let mut switch = json!({"id": "s", "kind": "switch", "cases": [
        {"when": "{{ inputs.n > 10 }}", "to": "big"},
        {"when": "{{ inputs.n > 5 }}", "to": "middle"}]});
    if !otherwise.is_null() {
        switch["else"] = otherwise;
    }
    let nodes = json!([
        switch,
        gives("big", json!(1)),
        gives("middle", json!(2)),
        gives("small", json!(3)),
        gives("final", json!(4))
    ]);
    let edges = json!([edge("big", "final"), edge("middle", "final"), edge("small", "final")]);
    giving(nodes, edges, json!("{{ nodes.final.status }}"))
}

#[test]
fn switch_takes_the_first_case_that_holds() {
    for (n, taken) in [(11, "big"), (6, "middle"), (1, "small")] {
        let world = World::of(&switch(json!("small")), json!({"n": n}));
        assert_eq!(world.steps(EventType::StepSucceeded), ["s", taken, "final"], "{n}");
        assert_eq!(world.result(), json!("succeeded"));
        assert_eq!(world.steps(EventType::StepSkipped).len(), 2);
    }
}

#[test]
fn switch_without_else_skips_all_that_follows() {
    let definition = json!({"nodes": [{"id": "s", "kind": "switch", "cases": [
            {"when": "{{ inputs.n > 10 }}", "to": "big"}]},
            gives("big", json!(1)), gives("final", json!(2))],
        "edges": [edge("big", "final")], "result": "{{ nodes.final.status }}"});
    let world = World::of(&workflow(definition), json!({"n": 1}));
    assert_eq!(world.steps(EventType::StepSkipped), ["big", "final"]);
    assert_eq!(world.result(), json!("skipped"));
}

#[test]
fn edge_whose_condition_does_not_hold_is_not_taken() {
    let edges = json!([{"from": "a", "to": "b", "when": "{{ nodes.a.output > 3 }}"},
        {"from": "a", "to": "c", "when": "{{ nodes.a.output <= 3 }}"}, edge("b", "d"), edge("c", "d")]);
    let nodes =
        json!([call("a"), gives("b", json!(1)), gives("c", json!(1)), gives("d", json!(1))]);
    let mut world = World::new(&graph(nodes, edges));
    world.answer("a", json!(4));
    assert_eq!(world.steps(EventType::StepSucceeded), ["a", "b", "d"]);
    assert_eq!(world.steps(EventType::StepSkipped), ["c"]);
}

#[test]
fn node_with_two_ways_to_it_runs_once_both_are_decided() {
    let nodes = json!([call("a"), call("b"), call("c")]);
    let mut world = World::new(&graph(nodes, json!([edge("a", "c"), edge("b", "c")])));
    world.answer("b", json!(1));
    assert_eq!(world.open(), ["a"]);
    world.answer("a", json!(1));
    assert_eq!(world.open(), ["c"]);
}

#[test]
fn end_ends_its_scope_and_cancels_the_rest() {
    let nodes = json!([call("a"), call("b"),
        {"id": "e", "kind": "end", "result": "{{ nodes.b.output }}"}]);
    let mut world = World::new(&graph(nodes, json!([edge("b", "e")])));
    world.answer("b", json!("first"));
    assert_eq!(world.result(), json!("first"));
    assert_eq!(world.called_off(), ["a"]);
    assert_eq!(world.steps(EventType::StepCancelled), ["a"]);
}

#[test]
fn end_without_a_result_gives_that_of_the_scope() {
    let nodes = json!([gives("a", json!(5)), {"id": "e", "kind": "end"}]);
    let world = World::new(&giving(nodes, json!([edge("a", "e")]), json!("{{ nodes.a.output }}")));
    assert_eq!(world.result(), json!(5));
}

#[test]
fn models_agents_and_children_are_asked_in_their_own_words() {
    let nodes = json!([
        {"id": "m", "kind": "model", "model": "fast", "request": {"n": "{{ inputs.n }}"}},
        {"id": "g", "kind": "agent", "agent": "helper", "input": "number {{ inputs.n }}",
            "session": "s-{{ inputs.n }}"},
        {"id": "h", "kind": "agent", "agent": "helper", "input": "again"},
        {"id": "c", "kind": "workflow", "name": "child", "version": 3, "input": {"n": "{{ inputs.n }}"}},
    ]);
    let world = World::of(&graph(nodes, json!([])), json!({"n": 2}));
    let requests: Vec<&Request> = world.requests.iter().map(|(_, request)| request).collect();
    let [
        Request::Model(model),
        Request::Agent(agent),
        Request::Agent(other),
        Request::Workflow(child),
    ] = requests[..]
    else {
        panic!("{requests:?}")
    };
    assert_eq!((model.model.as_str(), model.body.as_str()), ("fast", r#"{"n":2}"#));
    assert_eq!((agent.session.as_str(), agent.content.as_str()), ("s-2", "number 2"));
    assert_eq!(other.session, other.id, "a session of its own");
    assert_eq!((child.version, child.input.as_str()), (Some(3), r#"{"n":2}"#));
    assert_eq!(child.origin.as_ref().map(|origin| origin.step.as_str()), Some("c"));
}

#[test]
fn attached_child_is_awaited_and_a_detached_one_is_not() {
    let child = |mode: &str| json!({"id": "c", "kind": "workflow", "name": "child", "mode": mode});
    let definition = |mode| giving(json!([child(mode)]), json!([]), json!("{{ nodes.c.output }}"));
    let mut world = World::new(&definition("attached"));
    assert_eq!(world.open(), ["c"]);
    world.answer("c", json!("theirs"));
    assert_eq!(world.result(), json!("theirs"));
    let world = World::new(&definition("detached"));
    let Some((_, Request::Workflow(started))) = world.requests.last() else {
        panic!("{:?}", world.requests)
    };
    assert_eq!(started.origin, None);
    assert_eq!(world.result(), json!({"execution_id": started.id}));
}

#[test]
fn emit_wants_its_event_published_and_waits_for_it() {
    let emit = json!({"id": "e", "kind": "emit", "topic": "orders", "type": "order.done",
        "subject": "{{ inputs.n }}", "key": "k{{ inputs.n }}", "data": {"n": "{{ inputs.n }}"}});
    let mut world = World::of(&graph(json!([emit]), json!([])), json!({"n": 9}));
    let (attempt, call) = world.wanted["e"].clone();
    assert_eq!(attempt, 1);
    assert_eq!((call.topic.as_str(), call.event_type.as_str()), ("orders", "order.done"));
    assert_eq!((call.key.as_deref(), call.subject.as_deref()), (Some("k9"), Some("9")));
    assert_eq!((call.data.as_str(), call.source.as_str()), (r#"{"n":9}"#, "/workflows/w/e"));
    world.answer("e", Value::Null);
    assert_eq!(world.ended().status, Terminal::Succeeded);
}

#[test]
fn what_is_used_and_what_it_costs_adds_up() {
    use crate::answer::{Cost, Usage};
    use crate::workflow::run::{Event, document::Document};
    let mut world = World::new(&graph(json!([call("a"), call("b")]), json!([])));
    for step in ["a", "b", "b"] {
        world.fold(Event::Answered {
            step: step.into(),
            attempt: 1,
            result: Ok(Document::null()),
            usage: Some(Usage { input_tokens: 10, output_tokens: 1, ..Usage::default() }),
            cost: Some(Cost { micros: 5, currency: "EUR".into() }),
        });
    }
    let ending = world.ended();
    assert_eq!(ending.usage.map(|usage| usage.input_tokens), Some(20), "b counts once");
    assert_eq!(ending.cost, Some(Cost { micros: 10, currency: "EUR".into() }));
}
