//! What is kept: nothing that isn't needed any more, and the same whoever folds.

use super::*;
use crate::answer::ErrorClass;

#[track_caller]
fn kept(world: &World, names: &[&str]) {
    let expected: std::collections::BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(world.entry_names(), expected);
}

#[test]
fn step_leaves_its_output_and_only_where_it_is_read() {
    let nodes = json!([call("a"), call("b"), call_with("c", "{{ nodes.a.output }}"), call("d")]);
    let edges = json!([edge("a", "b"), edge("b", "c"), edge("c", "d")]);
    let mut world = World::new(&graph(nodes, edges));
    kept(&world, &["step/a"]);
    world.answer("a", json!(1));
    kept(&world, &["step/b", "output/a"]);
    world.answer("b", json!(1));
    world.answer("c", json!(1));
    kept(&world, &["step/d", "output/a"]);
}

#[test]
fn map_leaves_its_results_and_only_where_they_are_read() {
    for is_read in [true, false] {
        let map = json!({"id": "m", "kind": "map", "over": [1, 2, 3], "concurrency": 2,
            "body": calling("a", "{{ item }}")});
        let after =
            if is_read { call_with("final", "{{ nodes.m.output }}") } else { call("final") };
        let mut world = World::new(&graph(json!([map, after]), json!([edge("m", "final")])));
        kept(
            &world,
            &[
                "step/m",
                "item/m[0]",
                "item/m[1]",
                "item/m[2]",
                "frame/m[0]",
                "frame/m[1]",
                "step/m[0].a",
                "step/m[1].a",
            ],
        );
        world.answer("m[1].a", json!(1));
        kept(
            &world,
            &[
                "step/m",
                "item/m[0]",
                "item/m[2]",
                "frame/m[0]",
                "frame/m[2]",
                "step/m[0].a",
                "step/m[2].a",
                "result/m[1]",
            ],
        );
        world.answer("m[0].a", json!(1));
        world.answer("m[2].a", json!(1));
        match is_read {
            true => kept(
                &world,
                &["step/final", "output/m", "result/m[0]", "result/m[1]", "result/m[2]"],
            ),
            false => kept(&world, &["step/final"]),
        }
    }
}

#[test]
fn map_that_fails_leaves_nothing() {
    let map = json!({"id": "m", "kind": "map", "over": [1, 2, 3], "concurrency": 2,
        "body": calling("a", "{{ item }}"), "onError": "mend"});
    let mut world = World::new(&graph(json!([map, call("mend")]), json!([])));
    world.answer("m[0].a", json!(1));
    world.fail("m[1].a", ErrorClass::Provider);
    kept(&world, &["step/mend"]);
}

#[test]
fn loop_leaves_its_output_only() {
    let repeat = |field: &str, condition: &str| {
        let node = json!({"id": "l", "kind": "loop", "maxIterations": 2, "onError": "mend",
            "body": calling("a", "{{ last }}")});
        let nodes = json!([with(node, field, json!(condition)), call("final"), call("mend")]);
        World::new(&graph(nodes, json!([edge("l", "final")])))
    };
    let mut world = repeat("until", "{{ iteration == 1 }}");
    kept(&world, &["step/l", "frame/l[0]", "step/l[0].a"]);
    world.answer("l[0].a", json!(1));
    kept(&world, &["step/l", "last/l", "frame/l[1]", "step/l[1].a"]);
    world.answer("l[1].a", json!(1));
    kept(&world, &["step/final"]);
    for (field, condition) in [("until", "{{ iteration == 7 }}"), ("while", "{{ iteration < 7 }}")]
    {
        let mut world = repeat(field, condition);
        world.answer("l[0].a", json!(1));
        world.answer("l[1].a", json!(1));
        kept(&world, &["step/mend"]);
    }
    let mut world = repeat("until", "{{ iteration == 1 }}");
    world.answer("l[0].a", json!(1));
    world.fail("l[1].a", ErrorClass::Provider);
    kept(&world, &["step/mend"]);
}

#[test]
fn loser_leaves_nothing() {
    let inner =
        json!({"id": "m", "kind": "map", "over": [1, 2], "body": calling("a", "{{ item }}")});
    let repeat = json!({"id": "l", "kind": "loop", "maxIterations": 5, "until": "{{ iteration > 3 }}",
        "body": calling("b", "{{ last }}")});
    let wait = json!({"id": "w", "kind": "wait", "signal": {"name": "go", "timeout": "1h"}});
    let nodes = json!([inner, repeat, wait, call("c"),
        {"id": "j", "kind": "join", "policy": "any", "deadline": "1h"}, call("final")]);
    let edges =
        json!([edge("m", "j"), edge("l", "j"), edge("w", "j"), edge("c", "j"), edge("j", "final")]);
    let mut world = World::new(&graph(nodes, edges));
    world.answer("m[1].a", json!(1));
    world.answer("l[0].b", json!(1));
    world.answer("c", json!(1));
    kept(&world, &["step/final", "output/c"]);
    assert!(world.set().is_empty(), "{:?}", world.timers);
}

#[test]
fn those_who_waited_for_a_signal_leave_no_line() {
    let timed = |id: &str| json!({"id": id, "kind": "wait", "default": 0, "signal": {"name": "go", "timeout": "1h"}});
    let mut world =
        World::new(&graph(json!([timed("w1"), timed("w2"), timed("w3"), call("a")]), json!([])));
    kept(
        &world,
        &[
            "step/a",
            "step/w1",
            "step/w2",
            "step/w3",
            "waiters/go",
            "waiter/0/go",
            "waiter/1/go",
            "waiter/2/go",
        ],
    );
    world.fire("wait/w2");
    world.signal("go", json!(1));
    kept(&world, &["step/a", "step/w3", "waiters/go", "waiter/2/go"]);
    world.fire("wait/w3");
    kept(&world, &["step/a"]);
    world.signal("go", json!(1));
    kept(&world, &["step/a", "signals/go", "signal/0/go"]);
}

#[test]
fn signal_that_was_taken_leaves_no_line() {
    let wait = |id: &str| json!({"id": id, "kind": "wait", "signal": {"name": "go"}});
    let mut world = World::new(&graph(
        json!([call("a"), wait("w1"), wait("w2")]),
        json!([edge("a", "w1"), edge("w1", "w2")]),
    ));
    world.signal("go", json!(1));
    world.answer("a", json!(1));
    kept(&world, &["step/w2", "waiters/go", "waiter/0/go"]);
}

#[test]
fn what_is_to_be_undone_is_kept_until_it_is() {
    let body = json!({"nodes": [with(call("book"), "compensate", json!("unbook")),
        call_with("unbook", "{{ item }} {{ nodes.book.output }}")]});
    let nodes = json!([{"id": "m", "kind": "map", "over": [1, 2], "body": body}, call("final")]);
    let mut world = World::new(&graph(nodes, json!([edge("m", "final")])));
    world.answer("m[0].book", json!(1));
    world.answer("m[1].book", json!(1));
    kept(
        &world,
        &[
            "step/final",
            "undo/0",
            "undo/1",
            "frame/m[0]",
            "frame/m[1]",
            "item/m[0]",
            "item/m[1]",
            "output/m[0].book",
            "output/m[1].book",
        ],
    );
}

#[test]
fn line_that_is_held_is_gone_when_it_was_worked_off() {
    let nodes: Vec<Value> = (0..5).map(|n| call(&format!("n{n}"))).chain([call("first")]).collect();
    let edges: Vec<Value> = (0..5).map(|n| edge("first", &format!("n{n}"))).collect();
    let mut world = World::new(&graph(json!(nodes), json!(edges)));
    world.pause();
    world.answer("first", json!(1));
    kept(&world, &["waiting/0", "waiting/1", "waiting/2", "waiting/3", "waiting/4"]);
    world.resume();
    kept(&world, &["step/n0", "step/n1", "step/n2", "step/n3", "step/n4"]);
}

#[test]
fn failure_is_kept_only_where_the_node_has_failed() {
    let node = with(call("a"), "default", json!("{{ nodes.a.error.code }}"));
    let nodes = json!([node, call_with("final", "{{ nodes.a.output }}")]);
    let mut world = World::new(&graph(nodes, json!([edge("a", "final")])));
    world.fail("a", ErrorClass::Provider);
    kept(&world, &["step/final", "output/a"]);
    let node = with(call("a"), "onError", json!("mend"));
    let nodes = json!([node, call_with("mend", "{{ nodes.a.error.code }}")]);
    let mut world = World::new(&graph(nodes, json!([])));
    world.fail("a", ErrorClass::Provider);
    kept(&world, &["step/mend", "error/a"]);
}
