//! What a failure leads to: another try, a default, an error branch, the end of the scope.

use super::*;
use crate::answer::{ErrorClass, Terminal};
use crate::event::EventType;
use crate::workflow::run::document::Document;

fn retried() -> Value {
    with(
        call("a"),
        "retry",
        json!({"maxTries": 4, "on": ["rate_limited", "provider"],
            "backoff": {"initial": "1s", "factor": 3, "max": "5s"}}),
    )
}

#[test]
fn tries_follow_each_other_after_growing_waits() {
    let mut world =
        World::new(&giving(json!([retried()]), json!([]), json!("{{ nodes.a.output }}")));
    for (attempt, wait) in [(1, 1_000), (2, 3_000), (3, 5_000)] {
        assert_eq!(world.asked["a"].0, attempt);
        let now = world.now;
        world.fail("a", ErrorClass::Provider);
        assert_eq!(world.timers["retry/a"], now.plus(wait));
        assert!(world.open().is_empty());
        world.fire("retry/a");
    }
    world.answer("a", json!("at last"));
    assert_eq!(world.result(), json!("at last"));
    assert_eq!(world.of_type(EventType::StepRetrying).len(), 3);
    assert_eq!(world.of_type(EventType::StepStarted).len(), 4);
    let ids: std::collections::BTreeSet<&String> = world
        .requests
        .iter()
        .map(|(_, request)| match request {
            crate::workflow::run::Request::Function(call) => &call.id,
            _ => panic!("{request:?}"),
        })
        .collect();
    assert_eq!(ids.len(), 4, "each attempt has an id of its own");
}

#[test]
fn step_fails_when_its_tries_are_used_up() {
    let mut world = World::new(&graph(json!([retried()]), json!([])));
    for _ in 0..3 {
        world.fail("a", ErrorClass::RateLimited);
        world.fire("retry/a");
    }
    world.fail("a", ErrorClass::RateLimited);
    assert_eq!(world.failed_with(), "rate_limited");
}

#[test]
fn failures_of_other_classes_are_final() {
    let mut world = World::new(&graph(json!([retried()]), json!([])));
    world.fail("a", ErrorClass::Invalid);
    assert_eq!(world.failed_with(), "invalid");
}

#[test]
fn without_classes_the_failure_says_whether_another_try_may_help() {
    let node = with(call("a"), "retry", json!({"maxTries": 2}));
    let mut world = World::new(&graph(json!([node]), json!([])));
    world.answered("a", 1, Err(world::failure(ErrorClass::Network)));
    assert_eq!(world.set(), ["retry/a"]);
    world.fire("retry/a");
    let refused = crate::answer::Failure::new(ErrorClass::Network, "refused", "no");
    world.answered("a", 2, Err(refused));
    assert_eq!(world.failed_with(), "refused");
}

#[test]
fn answers_of_earlier_attempts_are_ignored() {
    let mut world = World::new(&graph(json!([retried()]), json!([])));
    world.fail("a", ErrorClass::Provider);
    let before = world.entries.clone();
    world.answered("a", 1, Ok(Document::null()));
    world.answered("a", 1, Err(world::failure(ErrorClass::Provider)));
    world.answered("a", 2, Ok(Document::null()));
    assert_eq!(world.entries, before);
    world.fire("retry/a");
    let before = world.entries.clone();
    world.answered("a", 1, Ok(Document::null()));
    assert_eq!(world.entries, before);
    assert_eq!(world.open(), ["a"]);
    world.answer("a", json!(1));
    assert_eq!(world.ended().status, Terminal::Succeeded);
}

#[test]
fn timer_that_fires_early_or_again_changes_nothing() {
    use crate::workflow::run::Event;
    let nodes = json!([with(retried(), "timeout", json!("1m")),
        {"id": "w", "kind": "wait", "duration": "10s"}, call("b"),
        {"id": "j", "kind": "join", "deadline": "1m"}]);
    let mut world = World::new(&graph(nodes, json!([edge("b", "j"), edge("w", "j")])));
    world.fail("a", ErrorClass::Provider);
    let before = world.entries.clone();
    for timer in [
        "retry/a",
        "timeout/a",
        "wait/w",
        "join/j",
        "retry/b",
        "retry/w",
        "wait/a",
        "deadline",
        "join/a",
        "wait/nobody",
        "what",
        "timeout/b",
    ] {
        world.fold(Event::Due(timer.into()));
        assert_eq!(world.last, [], "{timer}");
        assert_eq!(world.entries, before, "{timer}");
    }
    world.fire("retry/a");
    let before = world.entries.clone();
    world.fold(Event::Due("retry/a".into()));
    assert_eq!(world.entries, before, "one fires once");
}

#[test]
fn default_stands_in_for_an_output() {
    let node = with(call("a"), "default", json!("{{ nodes.a.error.code }}!"));
    let mut world = World::new(&giving(
        json!([node]),
        json!([]),
        json!("{{ nodes.a.output }} {{ nodes.a.status }}"),
    ));
    world.fail("a", ErrorClass::Provider);
    assert_eq!(world.result(), json!("provider! succeeded"));
    let said = world.of_type(EventType::StepSucceeded);
    assert_eq!(said[0].error.as_ref().map(|error| error.code.as_str()), Some("provider"));
}

#[test]
fn default_that_fails_ends_the_scope() {
    let node = with(call("a"), "default", json!("{{ inputs.no.such }}"));
    let mut world = World::new(&graph(json!([node, call("b")]), json!([])));
    world.fail("a", ErrorClass::Provider);
    assert_eq!(world.failed_with(), "expression_failed");
    assert_eq!(world.called_off(), ["b"]);
}

#[test]
fn error_branch_is_taken_instead_of_the_other_edges() {
    let nodes = json!([
        with(call("a"), "onError", json!("mend")),
        gives("b", json!(1)),
        gives("mend", json!("{{ nodes.a.error.code }}")),
        gives("final", json!(1))
    ]);
    let edges = json!([edge("a", "b"), edge("b", "final"), edge("mend", "final")]);
    let definition = giving(nodes, edges, json!("{{ nodes.mend.output | default('fine') }}"));
    let mut world = World::new(&definition);
    world.fail("a", ErrorClass::Timeout);
    assert_eq!(world.result(), json!("timeout"));
    assert_eq!(world.steps(EventType::StepSkipped), ["b"]);
    let mut world = World::new(&definition);
    world.answer("a", json!(1));
    assert_eq!(world.result(), json!("fine"));
    assert_eq!(world.steps(EventType::StepSkipped), ["mend"]);
}

#[test]
fn condition_that_cannot_be_evaluated_fails_the_scope() {
    let edges = json!([{"from": "a", "to": "b", "when": "{{ nodes.a.output.no.such }}"}]);
    let mut world = World::new(&graph(json!([call("a"), call("b"), call("c")]), edges));
    world.answer("a", json!({}));
    assert_eq!(world.failed_with(), "expression_failed");
    assert_eq!(world.called_off(), ["c"]);
}

#[test]
fn request_that_cannot_be_made_fails_its_step() {
    let emit =
        json!({"id": "e", "kind": "emit", "topic": "t", "type": "t", "data": "{{ inputs.no }}"});
    for node in [call_with("a", "{{ inputs.no.such }}"), emit] {
        let world = World::new(&graph(json!([node]), json!([])));
        assert_eq!(world.failed_with(), "expression_failed");
        assert!(world.requests.is_empty());
    }
}

#[test]
fn fail_node_fails_its_scope_with_its_own_words() {
    let node =
        json!({"id": "f", "kind": "fail", "code": "too_bad", "message": "no {{ inputs.n }}"});
    let world = World::of(&graph(json!([node]), json!([])), json!({"n": 1}));
    assert_eq!(world.failed_with(), "too_bad");
    let failure = world.ended().failure.clone().expect("it failed");
    assert_eq!(failure.message, "no 1");
}

#[test]
fn end_whose_result_cannot_be_evaluated_fails() {
    let end = json!({"id": "e", "kind": "end", "result": "{{ inputs.no.such }}"});
    let world = World::new(&graph(json!([end]), json!([])));
    assert_eq!(world.failed_with(), "expression_failed");
    assert_eq!(world.steps(EventType::StepFailed), ["e"]);
    assert!(world.steps(EventType::StepSucceeded).is_empty());
}

#[test]
fn timeout_of_a_node_covers_all_its_tries() {
    let node = with(retried(), "timeout", json!("4s"));
    let mut world = World::new(&graph(json!([node]), json!([])));
    assert_eq!(world.timers["timeout/a"], world::BEGINNING.plus(4_000));
    world.fail("a", ErrorClass::Provider);
    world.fire("retry/a");
    assert_eq!(world.timers["timeout/a"], world::BEGINNING.plus(4_000));
    world.fire("timeout/a");
    assert_eq!(world.failed_with(), "node_timeout");
    assert_eq!(world.called_off(), ["a"]);
}

#[test]
fn timeout_while_a_retry_waits_takes_its_timer_along() {
    let nodes =
        json!([with(with(retried(), "timeout", json!("1s")), "default", json!(0)), call("b")]);
    let mut world = World::new(&graph(nodes, json!([])));
    world.now = world.now.plus(500);
    world.fail("a", ErrorClass::Provider);
    world.fire("timeout/a");
    assert!(world.set().is_empty(), "{:?}", world.timers);
    assert_eq!(world.open(), ["b"]);
}

#[test]
fn step_that_answers_clears_its_timeout() {
    let nodes = json!([with(call("a"), "timeout", json!("1s")), call("b")]);
    let mut world = World::new(&graph(nodes, json!([])));
    world.answer("a", json!(1));
    assert!(world.set().is_empty());
}

#[test]
fn emit_that_fails_is_tried_again_under_the_same_id() {
    let emit = json!({"id": "e", "kind": "emit", "topic": "t", "type": "t", "data": 1,
        "retry": {"maxTries": 2}});
    let mut world = World::new(&graph(json!([emit]), json!([])));
    let (_, first) = world.wanted["e"].clone();
    world.fail("e", ErrorClass::Network);
    world.answered("e", 1, Ok(Document::null()));
    assert!(world.last.is_empty(), "a copy of the answer");
    world.fire("retry/e");
    assert_eq!(world.wanted["e"], (2, first));
    world.fail("e", ErrorClass::Network);
    assert_eq!(world.failed_with(), "network");
}

#[test]
fn value_that_is_too_large_fails_its_step() {
    let large = "x".repeat(crate::workflow::run::MAX_VALUE_BYTES);
    let mut world = World::new(&graph(json!([call("a")]), json!([])));
    world.answer("a", json!(large));
    assert_eq!(world.failed_with(), "value_too_large");
    let world = World::of(
        &graph(json!([gives("a", json!("{{ inputs.x }}!"))]), json!([])),
        json!({"x": large}),
    );
    assert_eq!(world.failed_with(), "value_too_large");
}
