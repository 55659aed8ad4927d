//! Compensation: what succeeded is undone in reverse order when the execution doesn't succeed.

use super::*;
use crate::answer::{ErrorClass, Terminal};
use crate::event::EventType;

/// Calls in a chain, each undone by a call of its own that gets the output.
fn saga() -> Value {
    let undone = |id: &str| {
        [
            with(call(id), "compensate", json!(format!("undo_{id}"))),
            call_with(&format!("undo_{id}"), &format!("{{{{ nodes.{id}.output }}}}")),
        ]
    };
    let nodes: Vec<Value> =
        ["a", "b", "c"].into_iter().flat_map(undone).chain([call("d")]).collect();
    graph(json!(nodes), json!([edge("a", "b"), edge("b", "c"), edge("c", "d")]))
}

fn arguments(world: &World) -> String {
    match world.requests.last() {
        Some((_, crate::workflow::run::Request::Function(call))) => call.arguments.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_succeeded_is_undone_in_reverse_order() {
    let mut world = World::new(&saga());
    for step in ["a", "b", "c"] {
        world.answer(step, json!(step));
    }
    world.fail("d", ErrorClass::Provider);
    for step in ["c", "b", "a"] {
        assert_eq!(world.open(), [format!("undo_{step}")], "one after the other");
        assert_eq!(arguments(&world), format!(r#"{{"it":"{step}"}}"#));
        world.answer(&format!("undo_{step}"), json!(1));
    }
    assert_eq!(world.failed_with(), "provider");
    assert_eq!(world.ended().status, Terminal::Failed);
}

#[test]
fn only_what_succeeded_is_undone() {
    let mut world = World::new(&saga());
    world.answer("a", json!("a"));
    world.fail("b", ErrorClass::Provider);
    assert_eq!(world.open(), ["undo_a"]);
    world.answer("undo_a", json!(1));
    assert_eq!(world.failed_with(), "provider");
}

#[test]
fn nothing_is_undone_when_it_succeeds() {
    let mut world = World::new(&saga());
    for step in ["a", "b", "c", "d"] {
        world.answer(step, json!(step));
    }
    assert_eq!(world.ended().status, Terminal::Succeeded);
    assert_eq!(world.requests.len(), 4);
}

#[test]
fn cancel_and_deadline_undo_too() {
    for is_cancel in [true, false] {
        let mut admission = world::admission(json!({}));
        admission.execution.deadline = Some(world::BEGINNING.plus(1_000));
        let mut world = World::admitted(&saga(), admission);
        world.answer("a", json!("a"));
        world.answer("b", json!("b"));
        if is_cancel {
            world.cancel();
        } else {
            world.fire("deadline");
        }
        assert_eq!(world.called_off(), ["c"]);
        for step in ["undo_b", "undo_a"] {
            world.answer(step, json!(1));
        }
        let status = if is_cancel { Terminal::Cancelled } else { Terminal::TimedOut };
        assert_eq!(world.ended().status, status);
    }
}

#[test]
fn undoing_that_fails_does_not_keep_the_rest_from_being_undone() {
    let mut world = World::new(&saga());
    world.answer("a", json!("a"));
    world.answer("b", json!("b"));
    world.cancel();
    world.fail("undo_b", ErrorClass::Provider);
    assert_eq!(world.steps(EventType::StepFailed), ["undo_b"]);
    assert_eq!(world.open(), ["undo_a"]);
    world.answer("undo_a", json!(1));
    assert_eq!(world.ended().status, Terminal::Cancelled);
}

#[test]
fn undoing_may_be_tried_again_and_times_out() {
    let undo = with(with(call("undo"), "retry", json!({"maxTries": 2})), "timeout", json!("1m"));
    let nodes = json!([with(call("a"), "compensate", json!("undo")), undo, call("b")]);
    let mut world = World::new(&graph(nodes, json!([edge("a", "b")])));
    world.answer("a", json!(1));
    world.cancel();
    world.fail("undo", ErrorClass::Provider);
    assert_eq!(world.set(), ["retry/undo", "timeout/undo"]);
    world.fire("retry/undo");
    assert_eq!(world.asked["undo"].0, 2);
    world.fire("timeout/undo");
    assert_eq!(world.called_off(), ["b", "undo"]);
    assert_eq!(world.ended().status, Terminal::Cancelled);
}

#[test]
fn pause_holds_the_undoing() {
    let mut world = World::new(&saga());
    world.answer("a", json!("a"));
    world.answer("b", json!("b"));
    world.cancel();
    world.pause();
    assert_eq!(world.told.last().map(|(step, _)| step.as_str()), Some("undo_b"));
    world.answer("undo_b", json!(1));
    assert!(world.open().is_empty());
    world.resume();
    assert_eq!(world.open(), ["undo_a"]);
}

#[test]
fn what_succeeded_in_bodies_is_undone_with_their_own_names() {
    let body = json!({"nodes": [with(call("book"), "compensate", json!("unbook")),
            call_with("unbook", "{{ item }} {{ index }} {{ nodes.book.output }} {{ nodes.first.output }}"),
            call("pay")],
        "edges": [edge("book", "pay")], "result": "{{ nodes.pay.output }}"});
    let nodes = json!([with(call("first"), "compensate", json!("unfirst")), call("unfirst"),
        {"id": "m", "kind": "map", "over": ["x", "y", "z"], "onItemError": "skip", "body": body},
        call("final")]);
    let mut world = World::new(&graph(nodes, json!([edge("first", "m"), edge("m", "final")])));
    world.answer("first", json!("f"));
    world.answer("m[2].book", json!("bz"));
    world.answer("m[0].book", json!("bx"));
    world.answer("m[0].pay", json!(1));
    world.fail("m[1].book", ErrorClass::Provider);
    world.fail("m[2].pay", ErrorClass::Provider);
    // The map is over: one item gave something, two failed, and one of these had booked.
    assert_eq!(world.open(), ["final"]);
    world.fail("final", ErrorClass::Provider);
    for (step, argument) in [("m[0].unbook", "x 0 bx f"), ("m[2].unbook", "z 2 bz f")] {
        assert_eq!(world.open(), [step]);
        assert_eq!(arguments(&world), format!(r#"{{"it":"{argument}"}}"#));
        world.answer(step, json!(1));
    }
    assert_eq!(world.open(), ["unfirst"]);
    world.answer("unfirst", json!(1));
    assert_eq!(world.failed_with(), "provider");
}

#[test]
fn what_succeeded_in_a_cancelled_item_is_undone() {
    let body = json!({"nodes": [with(call("book"), "compensate", json!("unbook")), call("unbook"),
            call("pay")], "edges": [edge("book", "pay")]});
    let nodes = json!([{"id": "m", "kind": "map", "over": [1, 2], "body": body}]);
    let mut world = World::new(&graph(nodes, json!([])));
    world.answer("m[0].book", json!(1));
    world.answer("m[1].book", json!(1));
    world.fail("m[1].pay", ErrorClass::Provider);
    assert_eq!(world.called_off(), ["m[0].pay"]);
    world.answer("m[1].unbook", json!(1));
    world.answer("m[0].unbook", json!(1));
    assert_eq!(world.failed_with(), "provider");
}

#[test]
fn pure_compensations_run_one_after_the_other_at_once() {
    let nodes = json!([
        with(call("a"), "compensate", json!("ua")),
        gives("ua", json!(1)),
        with(call("b"), "compensate", json!("ub")),
        gives("ub", json!(2)),
        call("c")
    ]);
    let mut world = World::new(&graph(nodes, json!([edge("a", "b"), edge("b", "c")])));
    world.answer("a", json!(1));
    world.answer("b", json!(1));
    world.cancel();
    assert_eq!(world.steps(EventType::StepSucceeded), ["a", "b", "ub", "ua"]);
    assert_eq!(world.ended().status, Terminal::Cancelled);
}

#[test]
fn signal_that_comes_while_it_undoes_is_refused() {
    let nodes = json!([with(call("a"), "compensate", json!("undo")), call("undo"),
        {"id": "w", "kind": "wait", "signal": {"name": "go"}}]);
    let mut world = World::new(&graph(nodes, json!([edge("a", "w")])));
    world.answer("a", json!(1));
    world.cancel();
    world.signal("go", json!(1));
    assert_eq!(world.of_type(EventType::SignalRefused).len(), 1);
    assert_eq!(world.open(), ["undo"]);
}

#[test]
fn iteration_is_undone_with_the_value_that_it_began_with() {
    let body = json!({"nodes": [with(call("book"), "compensate", json!("unbook")),
            call_with("unbook", "{{ iteration }} after {{ last }}")],
        "result": "{{ nodes.book.output }}"});
    let nodes = json!([{"id": "l", "kind": "loop", "until": "{{ iteration == 2 }}",
        "maxIterations": 5, "body": body}, call("final")]);
    let mut world = World::new(&graph(nodes, json!([edge("l", "final")])));
    for iteration in 0..3 {
        world.answer(&format!("l[{iteration}].book"), json!(iteration * 10));
    }
    world.cancel();
    for (iteration, last) in [(2, "10"), (1, "0"), (0, "None")] {
        assert_eq!(arguments(&world), format!(r#"{{"it":"{iteration} after {last}"}}"#));
        world.answer(&format!("l[{iteration}].unbook"), json!(1));
    }
    assert_eq!(world.ended().status, Terminal::Cancelled);
}

#[test]
fn body_of_a_body_is_undone_with_all_that_was_around_it() {
    let inner = json!({"nodes": [with(call("book"), "compensate", json!("unbook")),
        call_with("unbook", "{{ day }} {{ item }} {{ index }} {{ nodes.plan.output }}")]});
    let outer = json!({"nodes": [call("plan"),
            {"id": "inner", "kind": "map", "over": ["x"], "body": inner}, call("pay")],
        "edges": [edge("plan", "inner"), edge("inner", "pay")]});
    let nodes = json!([{"id": "days", "kind": "map", "over": ["mon", "tue"], "as": "day", "body": outer},
        call("close")]);
    let mut world = World::new(&graph(nodes, json!([edge("days", "close")])));
    for day in [1, 0] {
        world.answer(&format!("days[{day}].plan"), json!(format!("plan {day}")));
        world.answer(&format!("days[{day}].inner[0].book"), json!(1));
        world.answer(&format!("days[{day}].pay"), json!(1));
    }
    world.fail("close", ErrorClass::Provider);
    for (day, argument) in [(0, "mon x 0 plan 0"), (1, "tue x 0 plan 1")] {
        assert_eq!(arguments(&world), format!(r#"{{"it":"{argument}"}}"#));
        world.answer(&format!("days[{day}].inner[0].unbook"), json!(1));
    }
    assert_eq!(world.failed_with(), "provider");
}
