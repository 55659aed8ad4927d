//! Joins of every policy: when they go on, when they fail, who is cancelled, and what a deadline does.

use super::*;
use crate::answer::{ErrorClass, Terminal};
use crate::event::EventType;

/// Calls `a`, `b` and `c` that lead to a join `j`, and what it gives.
fn three(policy: Value) -> Value {
    let join = json!({"id": "j", "kind": "join", "policy": policy});
    let nodes = json!([{"id": "f", "kind": "fork"}, call("a"), call("b"), call("c"), join]);
    let ids = ["a", "b", "c"];
    let edges: Vec<Value> = ids.iter().flat_map(|id| [edge("f", id), edge(id, "j")]).collect();
    giving(nodes, json!(edges), json!("{{ nodes.j.output }}"))
}

/// Lets calls end in this order: `a` gives `"a"`, `!a` fails.
fn run(definition: &Value, happenings: &[&str]) -> World {
    let mut world = World::new(definition);
    for happening in happenings {
        match happening.strip_prefix('!') {
            Some(step) => world.fail(step, ErrorClass::Provider),
            None => world.answer(happening, json!(happening)),
        }
    }
    world
}

#[test]
fn joins_go_on_when_their_policy_says() {
    let list = json!(["a", "b", "c"]);
    for (policy, happenings, result, cancelled) in [
        (json!("all"), vec!["c", "a", "b"], list.clone(), vec![]),
        (json!("any"), vec!["b"], json!("b"), vec!["a", "c"]),
        (json!("any"), vec!["!a", "!b", "c"], json!("c"), vec![]),
        (json!({"atLeast": 2}), vec!["c", "a"], json!(["a", "c"]), vec!["b"]),
        (json!({"atLeast": 2}), vec!["!c", "a", "b"], json!(["a", "b"]), vec![]),
        (json!({"tolerate": 1}), vec!["c", "!a", "b"], json!(["b", "c"]), vec![]),
        (json!({"tolerate": 1}), vec!["a", "b", "c"], list, vec![]),
        (json!({"firstValid": {"const": "b"}}), vec!["a", "b"], json!("b"), vec!["c"]),
        (json!({"firstValid": {"const": "b"}}), vec!["!a", "!c", "b"], json!("b"), vec![]),
    ] {
        let world = run(&three(policy.clone()), &happenings);
        assert_eq!(world.result(), result, "{policy} {happenings:?}");
        assert_eq!(world.called_off(), cancelled, "{policy} {happenings:?}");
        assert_eq!(world.steps(EventType::StepCancelled), cancelled);
    }
}

#[test]
fn joins_fail_when_their_policy_says() {
    for (policy, happenings, cancelled) in [
        (json!("all"), vec!["a", "!b"], vec!["c"]),
        (json!("any"), vec!["!a", "!b", "!c"], vec![]),
        (json!({"atLeast": 2}), vec!["!a", "!b"], vec!["c"]),
        (json!({"atLeast": 3}), vec!["!a"], vec!["b", "c"]),
        (json!({"tolerate": 1}), vec!["!a", "b", "!c"], vec![]),
        (json!({"tolerate": 0}), vec!["!a"], vec!["b", "c"]),
        (json!({"firstValid": {"const": "b"}}), vec!["a", "!b", "c"], vec![]),
    ] {
        let world = run(&three(policy.clone()), &happenings);
        assert_eq!(world.failed_with(), "join_failed", "{policy} {happenings:?}");
        assert_eq!(world.ended().status, Terminal::Failed);
        assert_eq!(world.called_off(), cancelled, "{policy} {happenings:?}");
        let failed = world.steps(EventType::StepFailed);
        assert_eq!(failed.iter().filter(|step| **step == "j").count(), 1);
    }
}

#[test]
fn join_waits_as_long_as_its_policy_can_be_met() {
    for (policy, happenings) in [
        (json!("all"), vec!["a", "b"]),
        (json!("any"), vec!["!a", "!b"]),
        (json!({"atLeast": 2}), vec!["!a", "b"]),
        (json!({"tolerate": 1}), vec!["!a", "b"]),
        (json!({"firstValid": {"const": "c"}}), vec!["a", "b"]),
    ] {
        let world = run(&three(policy.clone()), &happenings);
        assert_eq!(world.open(), ["c"], "{policy}");
        assert!(world.ending.is_none());
    }
}

#[test]
fn edges_that_are_not_taken_count_neither_way() {
    // Of three edges one is never taken.
    let definition = |policy: Value| {
        let join = json!({"id": "j", "kind": "join", "policy": policy});
        let nodes = json!([{"id": "f", "kind": "fork"}, call("a"), call("b"), call("c"), join]);
        let edges = json!([edge("f", "a"), edge("f", "b"),
            {"from": "f", "to": "c", "when": "{{ inputs.none }}"},
            edge("a", "j"), edge("b", "j"), edge("c", "j")]);
        giving(nodes, edges, json!("{{ nodes.j.output }}"))
    };
    let run = |policy: Value, happenings: &[&str]| {
        let mut world = World::of(&definition(policy), json!({"none": false}));
        for happening in happenings {
            match happening.strip_prefix('!') {
                Some(step) => world.fail(step, ErrorClass::Provider),
                None => world.answer(happening, json!(happening)),
            }
        }
        world
    };
    assert_eq!(run(json!("all"), &["b", "a"]).result(), json!(["a", "b"]));
    assert_eq!(run(json!({"tolerate": 1}), &["!b", "a"]).result(), json!(["a"]));
    assert_eq!(run(json!({"tolerate": 2}), &["!b", "!a"]).failed_with(), "join_failed");
    assert_eq!(run(json!({"atLeast": 3}), &["a"]).failed_with(), "join_failed");
    assert!(run(json!({"atLeast": 3}), &[]).ending.is_none(), "nothing has come");
    assert_eq!(run(json!("any"), &["!a", "!b"]).failed_with(), "join_failed");
}

#[test]
fn join_that_no_edge_is_taken_to_is_skipped() {
    let nodes = json!([{"id": "f", "kind": "fork"}, gives("a", json!(1)), gives("b", json!(1)),
        {"id": "j", "kind": "join", "policy": {"atLeast": 2}}, gives("final", json!(1))]);
    let when = |to: &str| json!({"from": "f", "to": to, "when": "{{ inputs.none }}"});
    let edges = json!([when("a"), when("b"), edge("a", "j"), edge("b", "j"), edge("j", "final")]);
    let world = World::of(&graph(nodes, edges), json!({"none": false}));
    assert_eq!(world.steps(EventType::StepSkipped), ["a", "b", "j", "final"]);
    assert_eq!(world.ended().status, Terminal::Succeeded);
}

#[test]
fn losers_are_all_that_leads_to_nothing_but_the_join() {
    // `a` -> `a2` -> j are losers; `b` also leads to `keep`, so it goes on.
    let nodes = json!([call("a"), call("a2"), call("b"), call("c"), call("keep"),
        {"id": "j", "kind": "join", "policy": "any"}]);
    let edges = json!([
        edge("a", "a2"),
        edge("a2", "j"),
        edge("b", "j"),
        edge("b", "keep"),
        edge("c", "j")
    ]);
    let mut world = World::new(&giving(nodes, edges, json!("{{ nodes.a2.status }}")));
    world.answer("c", json!(1));
    assert_eq!(world.called_off(), ["a"]);
    assert_eq!(world.steps(EventType::StepCancelled), ["a"], "a2 had not begun");
    assert_eq!(world.open(), ["b"]);
    world.answer("b", json!(1));
    world.answer("keep", json!(1));
    assert_eq!(world.result(), json!("cancelled"));
    assert_eq!(world.steps(EventType::StepSucceeded), ["c", "j", "b", "keep"]);
}

#[test]
fn late_answers_of_losers_change_nothing() {
    let definition = three(json!("any"));
    let nodes = definition["spec"]["nodes"].as_array().expect("nodes").iter().cloned();
    let mut definition = definition.clone();
    definition["spec"]["nodes"] = json!(nodes.chain([call("after")]).collect::<Vec<_>>());
    definition["spec"]["edges"].as_array_mut().expect("edges").push(edge("j", "after"));
    let mut world = run(&definition, &["a"]);
    assert_eq!(world.open(), ["after"]);
    for result in [
        Ok(crate::workflow::run::document::Document::null()),
        Err(world::failure(ErrorClass::Provider)),
    ] {
        let before = world.entries.clone();
        world.answered("b", 1, result);
        assert!(world.last.is_empty());
        assert_eq!(world.entries, before);
    }
    world.answer("after", json!(1));
    assert_eq!(world.result(), json!("a"));
}

#[test]
fn deadline_counts_what_has_not_come_as_failed() {
    let with_deadline = |policy: Value| {
        let mut definition = three(policy);
        definition["spec"]["nodes"][4]["deadline"] = json!("10s");
        definition
    };
    for (policy, happenings, outcome) in [
        (json!("all"), vec!["a", "b"], Err("join_failed")),
        (json!("any"), vec![], Err("join_failed")),
        (json!({"atLeast": 2}), vec!["a"], Err("join_failed")),
        (json!({"tolerate": 1}), vec!["a", "b"], Ok(json!(["a", "b"]))),
        (json!({"tolerate": 2}), vec!["!a", "b"], Ok(json!(["b"]))),
        (json!({"tolerate": 2}), vec![], Err("join_failed")),
        (json!({"firstValid": {"const": "c"}}), vec!["a"], Err("join_failed")),
    ] {
        let mut world = run(&with_deadline(policy.clone()), &happenings);
        assert_eq!(world.timers["join/j"], world::BEGINNING.plus(10_000));
        let open: Vec<String> = world.open().into_iter().map(str::to_owned).collect();
        world.fire("join/j");
        match outcome {
            Ok(result) => assert_eq!(world.result(), result, "{policy} {happenings:?}"),
            Err(code) => assert_eq!(world.failed_with(), code, "{policy} {happenings:?}"),
        }
        assert_eq!(world.called_off(), open);
    }
    let mut world = run(&with_deadline(json!("any")), &["a"]);
    assert!(world.set().is_empty(), "it went on before");
    world.fold(crate::workflow::run::Event::Due("join/j".into()));
    assert!(world.last.is_empty());
}

#[test]
fn deadline_runs_from_the_start_of_the_first_node_before_it() {
    let nodes = json!([call("first"), call("a"), call("b"),
        {"id": "j", "kind": "join", "deadline": "10s"}]);
    let edges = json!([edge("first", "a"), edge("a", "j"), edge("b", "first"), edge("first", "j")]);
    let mut world = World::new(&graph(nodes, edges));
    assert!(world.set().is_empty());
    world.now = world.now.plus(5_000);
    world.answer("b", json!(1));
    assert_eq!(world.timers["join/j"], world::BEGINNING.plus(15_000));
    world.now = world.now.plus(5_000);
    world.answer("first", json!(1));
    assert_eq!(world.timers["join/j"], world::BEGINNING.plus(15_000), "set once");
}

#[test]
fn deadline_of_a_join_that_only_joins_lead_to_runs_too() {
    let nodes = json!([call("a"), call("b"), {"id": "j1", "kind": "join"},
        {"id": "j2", "kind": "join"},
        {"id": "final", "kind": "join", "policy": {"tolerate": 1}, "deadline": "10s"}]);
    let edges = json!([edge("a", "j1"), edge("b", "j2"), edge("j1", "final"), edge("j2", "final")]);
    let mut world = World::new(&giving(nodes, edges, json!("{{ nodes.final.output }}")));
    world.answer("a", json!(1));
    assert_eq!(world.set(), ["join/final"]);
    world.fire("join/final");
    assert_eq!(world.result(), json!([[1]]));
    assert_eq!(world.called_off(), ["b"]);
}

#[test]
fn join_that_fails_may_have_a_default_or_an_error_branch() {
    let mut definition = three(json!("all"));
    definition["spec"]["nodes"][4]["default"] = json!("none");
    assert_eq!(run(&definition, &["!a"]).result(), json!("none"));
    let mut definition = three(json!("all"));
    definition["spec"]["nodes"][4]["onError"] = json!("branch");
    definition["spec"]["nodes"].as_array_mut().expect("nodes").push(call("branch"));
    definition["spec"]["result"] = json!("{{ nodes.branch.output }}");
    let mut world = run(&definition, &["!a"]);
    assert_eq!(world.open(), ["branch"]);
    assert_eq!(world.called_off(), ["b", "c"]);
    world.answer("branch", json!("mended"));
    assert_eq!(world.result(), json!("mended"));
}

#[test]
fn join_that_fails_ends_the_execution_once() {
    // The failure comes to the join through an edge, and nothing is left open then.
    let definition = three(json!("all"));
    let mut definition = definition.clone();
    definition["spec"]["nodes"][1]["compensate"] = json!("undo");
    definition["spec"]["nodes"].as_array_mut().expect("nodes").push(call("undo"));
    let mut world = run(&definition, &["a", "!b"]);
    assert_eq!(world.open(), ["undo"]);
    assert!(world.ending.is_none());
    world.answer("undo", json!(1));
    assert_eq!(world.ended().status, Terminal::Failed);
}

#[test]
fn failure_arrives_only_where_all_edges_lead_to_joins() {
    // `a` leads to the join and to `b`: its failure ends the scope.
    let nodes =
        json!([call("a"), call("b"), {"id": "j", "kind": "join", "policy": {"tolerate": 1}}]);
    let edges = json!([edge("a", "j"), edge("a", "b"), edge("b", "j")]);
    let mut world = World::new(&graph(nodes, edges));
    world.fail("a", ErrorClass::Provider);
    assert_eq!(world.failed_with(), "provider");
}
