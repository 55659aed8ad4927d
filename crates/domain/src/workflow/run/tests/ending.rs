//! Cancel, pause, resume, deadlines, results that don't fit, and executions that break.

use super::*;
use crate::answer::{ErrorClass, Terminal};
use crate::event::EventType;
use crate::fact::Order;
use crate::workflow::run::Event;

#[test]
fn cancel_calls_everything_off_and_says_why() {
    let body = calling("a", "{{ item }}");
    let nodes = json!([call("x"), {"id": "m", "kind": "map", "over": [1, 2], "body": body},
        {"id": "w", "kind": "wait", "duration": "1h"},
        {"id": "e", "kind": "emit", "topic": "t", "type": "t", "data": 1},
        with(call("slow"), "timeout", json!("1h")), call("after")]);
    let mut world = World::new(&graph(nodes, json!([edge("x", "after")])));
    world.cancel();
    let ending = world.ended();
    assert_eq!((ending.status, ending.reason.as_deref()), (Terminal::Cancelled, Some("enough")));
    assert_eq!(world.called_off(), ["x", "m[0].a", "m[1].a", "slow"]);
    assert!(
        world
            .told
            .iter()
            .all(|(_, order)| { *order == Order::Cancel { reason: Some("enough".into()) } })
    );
    assert_eq!(
        world.steps(EventType::StepCancelled),
        ["x", "m[0].a", "m[1].a", "m", "w", "e", "slow"]
    );
    let unwanted = world.last.iter().any(|effect| {
        matches!(effect, crate::workflow::run::Effect::Unwant { step, attempt: 1 } if step == "e")
    });
    assert!(unwanted, "{:?}", world.last);
}

#[test]
fn second_cancel_changes_nothing() {
    let nodes = json!([with(call("a"), "compensate", json!("undo")), call("b"), call("undo")]);
    let mut world = World::new(&graph(nodes, json!([edge("a", "b")])));
    world.answer("a", json!(1));
    world.cancel();
    assert_eq!(world.open(), ["undo"]);
    let before = world.entries.clone();
    world.command(Order::Cancel { reason: Some("again".into()) });
    assert!(world.last.is_empty());
    assert_eq!(world.entries, before);
    world.answer("undo", json!(1));
    assert_eq!(world.ended().reason.as_deref(), Some("enough"));
    world.cancel();
    assert!(world.last.is_empty(), "there is nothing left to cancel");
}

#[test]
fn answer_after_a_cancel_is_ignored() {
    let nodes =
        json!([with(call("a"), "compensate", json!("undo")), call("b"), call("c"), call("undo")]);
    let mut world = World::new(&graph(nodes, json!([edge("b", "c")])));
    world.answer("a", json!(1));
    world.cancel();
    world.answered("b", 1, Ok(crate::workflow::run::document::Document::null()));
    assert!(world.last.is_empty());
    assert_eq!(world.open(), ["undo"]);
}

#[test]
fn pause_holds_what_has_not_begun_and_tells_the_rest() {
    let body = calling("n", "{{ item }}");
    let nodes = json!([call("a"), call("b"), call("c"),
        {"id": "m", "kind": "map", "over": [1, 2, 3], "concurrency": 1, "body": body}]);
    let mut world = World::new(&graph(nodes, json!([edge("a", "b"), edge("b", "c")])));
    world.pause();
    let told = [("a".to_owned(), Order::Pause), ("m[0].n".to_owned(), Order::Pause)];
    assert_eq!(world.told, told);
    world.pause();
    assert!(world.last.is_empty(), "it is paused already");
    world.answer("a", json!(1));
    world.answer("m[0].n", json!(1));
    assert_eq!(world.steps(EventType::StepSucceeded), ["a", "m[0].n"], "what has begun may end");
    assert!(world.open().is_empty());
    world.resume();
    assert_eq!(world.open(), ["b", "m[1].n"]);
    world.resume();
    assert!(world.last.is_empty(), "it goes on already");
    world.pause();
    world.resume();
    assert_eq!(
        world.told[4..],
        [("b".to_owned(), Order::Resume), ("m[1].n".to_owned(), Order::Resume)]
    );
    assert_eq!(world.of_type(EventType::Paused).len(), 2);
    assert_eq!(world.of_type(EventType::Resumed).len(), 2);
}

#[test]
fn pause_holds_a_retry_whose_time_has_come() {
    let node = with(call("a"), "retry", json!({"maxTries": 2}));
    let mut world = World::new(&graph(json!([node]), json!([])));
    world.fail("a", ErrorClass::Provider);
    world.pause();
    world.fire("retry/a");
    assert!(world.open().is_empty());
    world.resume();
    assert_eq!(world.asked["a"].0, 2);
}

#[test]
fn retry_that_is_held_is_cancelled_as_a_step_that_had_begun() {
    let node = with(call("a"), "retry", json!({"maxTries": 2}));
    let mut world = World::new(&graph(json!([node]), json!([])));
    world.fail("a", ErrorClass::Provider);
    world.pause();
    world.fire("retry/a");
    world.cancel();
    assert_eq!(world.steps(EventType::StepCancelled), ["a"]);
    assert_eq!(world.ended().status, Terminal::Cancelled);
}

#[test]
fn timers_go_on_during_a_pause_and_nothing_begins() {
    let nodes = json!([{"id": "w", "kind": "wait", "duration": "1s"}, call("a"),
        with(with(call("b"), "timeout", json!("2s")), "onError", json!("mend")), call("mend")]);
    let mut world = World::new(&graph(nodes, json!([edge("w", "a")])));
    world.pause();
    world.fire("wait/w");
    world.fire("timeout/b");
    assert_eq!(world.called_off(), ["b"]);
    assert!(world.open().is_empty());
    world.resume();
    assert_eq!(world.open(), ["a", "mend"]);
}

#[test]
fn pause_holds_an_execution_that_is_to_begin_later() {
    let mut admission = world::admission(json!({}));
    admission.not_before = Some(world::BEGINNING.plus(1_000));
    let mut world = World::admitted(&graph(json!([call("a")]), json!([])), admission);
    world.pause();
    world.fire("start");
    assert!(world.open().is_empty());
    world.resume();
    assert_eq!(world.open(), ["a"]);
}

#[test]
fn pause_stops_a_long_line_of_pure_steps() {
    let node = json!({"id": "l", "kind": "loop", "until": "{{ iteration >= 2000 }}",
        "maxIterations": 3000, "body": giving_body("a", "{{ iteration }}")});
    let mut world = World::new(&graph(json!([node]), json!([])));
    world.pause();
    let said = world.said.len();
    world.fire("go");
    assert!(world.timers.is_empty());
    assert_eq!(world.said.len(), said);
    world.resume();
    world.go_on();
    assert_eq!(world.ended().status, Terminal::Succeeded);
}

#[test]
fn deadline_ends_an_execution_as_timed_out() {
    let mut admission = world::admission(json!({}));
    admission.execution.deadline = Some(world::BEGINNING.plus(1_000));
    let definition = graph(json!([call("a")]), json!([]));
    let mut world = World::admitted(&definition, admission.clone());
    world.fire("deadline");
    assert_eq!(world.ended().status, Terminal::TimedOut);
    assert_eq!(world.failed_with(), "deadline_exceeded");
    assert_eq!(world.called_off(), ["a"]);
    // One that has passed before it begins.
    admission.execution.deadline = Some(world::BEGINNING);
    let world = World::admitted(&definition, admission.clone());
    assert_eq!(world.ended().status, Terminal::TimedOut);
    assert!(world.requests.is_empty());
    // One that passes before it may begin.
    admission.execution.deadline = Some(world::BEGINNING.plus(1_000));
    admission.not_before = Some(world::BEGINNING.plus(2_000));
    let mut world = World::admitted(&definition, admission);
    world.fire("deadline");
    assert_eq!(world.ended().status, Terminal::TimedOut);
    assert_eq!(world.ended().started, None);
}

#[test]
fn deadline_after_a_stop_changes_nothing() {
    let mut admission = world::admission(json!({}));
    admission.execution.deadline = Some(world::BEGINNING.plus(1_000));
    let nodes = json!([with(call("a"), "compensate", json!("undo")), call("b"), call("undo")]);
    let mut world = World::admitted(&graph(nodes, json!([edge("a", "b")])), admission);
    world.answer("a", json!(1));
    world.cancel();
    assert!(world.set().is_empty());
    world.now = world.now.plus(2_000);
    world.fold(Event::Due("deadline".into()));
    assert!(world.last.is_empty());
    world.answer("undo", json!(1));
    assert_eq!(world.ended().status, Terminal::Cancelled);
}

#[test]
fn result_that_breaks_the_promise_of_outputs_fails_the_execution() {
    let spec = |result: &str| {
        workflow(json!({"outputs": {"type": "integer"}, "result": "{{ nodes.a.output }}",
            "nodes": [with(call("a"), "compensate", json!("undo")), call("undo"),
                {"id": "e", "kind": "end", "result": result}],
            "edges": [{"from": "a", "to": "e", "when": "{{ nodes.a.output != 0 }}"}]}))
    };
    let mut world = World::new(&spec("{{ nodes.a.output }}"));
    world.answer("a", json!("secret"));
    assert_eq!(world.open(), ["undo"], "what was done is undone");
    world.answer("undo", json!(1));
    assert_eq!(world.failed_with(), "output_mismatch");
    let failure = world.ended().failure.clone().expect("it failed");
    assert!(!failure.message.contains("secret"), "{failure:?}");
    let mut world = World::new(&spec("{{ nodes.a.output }}"));
    world.answer("a", json!(3));
    assert_eq!(world.result(), json!(3));
}

#[test]
fn variable_that_cannot_be_evaluated_fails_the_execution() {
    let definition = workflow(json!({"variables": {"v": {"value": "{{ inputs.no.such }}"}},
        "nodes": [call("a")]}));
    let world = World::new(&definition);
    assert_eq!(world.failed_with(), "expression_failed");
    let failure = world.ended().failure.clone().expect("it failed");
    assert!(failure.message.starts_with("variable v:"), "{failure:?}");
}

#[test]
fn execution_that_broke_ends_at_once_and_undoes_nothing() {
    let nodes = json!([with(call("a"), "compensate", json!("undo")), call("b"), call("undo")]);
    let mut world = World::new(&graph(nodes, json!([edge("a", "b")])));
    world.answer("a", json!(1));
    world.fold(Event::Broken(world::failure(ErrorClass::Internal)));
    assert_eq!(world.called_off(), ["b"]);
    assert_eq!(world.failed_with(), "internal");
}

#[test]
fn execution_that_broke_while_it_undid_calls_that_off() {
    let nodes = json!([with(call("a"), "compensate", json!("undo")), call("b"), call("undo")]);
    let mut world = World::new(&graph(nodes, json!([edge("a", "b")])));
    world.answer("a", json!(1));
    world.cancel();
    world.fold(Event::Broken(world::failure(ErrorClass::Internal)));
    assert_eq!(world.called_off(), ["b", "undo"]);
    assert_eq!(world.failed_with(), "internal");
}

#[test]
fn nobody_home_means_nothing_happens() {
    let mut world = World::new(&graph(json!([gives("a", json!(1))]), json!([])));
    assert!(world.ending.is_some());
    for event in [Event::Due("go".into()), Event::Command(Order::Resume)] {
        world.fold(event);
        assert!(world.last.is_empty());
    }
}

#[test]
fn cancel_reaches_attached_children_and_no_others() {
    let child = |id: &str, mode: &str| json!({"id": id, "kind": "workflow", "name": "child", "mode": mode, "input": {}});
    let nodes = json!([child("a", "attached"), child("d", "detached"), call("b")]);
    let mut world = World::new(&graph(nodes, json!([edge("d", "b")])));
    assert_eq!(world.requests.len(), 3);
    world.cancel();
    assert_eq!(world.called_off(), ["a", "b"]);
    assert_eq!(world.ended().status, Terminal::Cancelled);
}

#[test]
fn cancel_ends_a_pause_so_that_it_is_over_with() {
    let nodes = json!([with(call("a"), "compensate", json!("undo")), call("b"), call("undo")]);
    let mut world = World::new(&graph(nodes, json!([edge("a", "b")])));
    world.answer("a", json!(1));
    world.pause();
    world.cancel();
    assert_eq!(world.called_off(), ["b"]);
    assert_eq!(world.open(), ["undo"]);
    world.answer("undo", json!(1));
    assert_eq!(world.ended().status, Terminal::Cancelled);
}
