//! Maps and loops.

use super::*;
use crate::answer::ErrorClass;
use crate::event::EventType;
use crate::workflow::run::MAX_BEGUN;

fn map(over: Value, body: Value) -> Value {
    json!({"id": "m", "kind": "map", "over": over, "body": body})
}

fn alone(node: Value) -> Value {
    let result = format!("{{{{ nodes.{}.output }}}}", node["id"].as_str().expect("an id"));
    giving(json!([node]), json!([]), json!(result))
}

#[test]
fn map_of_nothing_gives_an_empty_list() {
    let world = World::new(&alone(map(json!([]), calling("a", "{{ item }}"))));
    assert_eq!(world.result(), json!([]));
}

#[test]
fn results_of_a_map_are_in_the_order_of_its_items() {
    let mut world =
        World::new(&alone(map(json!([5, 6, 7]), calling("a", "{{ item }} at {{ index }}"))));
    assert_eq!(world.open(), ["m[0].a", "m[1].a", "m[2].a"]);
    let arguments: Vec<String> = world
        .requests
        .iter()
        .map(|(_, request)| match request {
            crate::workflow::run::Request::Function(call) => call.arguments.clone(),
            _ => panic!("{request:?}"),
        })
        .collect();
    assert_eq!(arguments, [r#"{"it":"5 at 0"}"#, r#"{"it":"6 at 1"}"#, r#"{"it":"7 at 2"}"#]);
    for item in [2, 0, 1] {
        world.answer(&format!("m[{item}].a"), json!(item * 10));
    }
    assert_eq!(world.result(), json!([0, 10, 20]));
}

#[test]
fn no_more_items_run_at_once_than_the_bound() {
    let items: Vec<usize> = (0..20).collect();
    let node = with(map(json!(items), calling("a", "{{ item }}")), "concurrency", json!(3));
    let mut world = World::new(&alone(node));
    let mut begun = 3;
    // The middle one of those that run ends first.
    while world.ending.is_none() {
        let open: Vec<String> = world.open().into_iter().map(str::to_owned).collect();
        assert_eq!(open.len(), 3.min(20 - (begun - 3)), "{open:?}");
        world.answer(&open[open.len() / 2], json!(1));
        begun += 1;
    }
    assert_eq!(world.requests.len(), 20);
}

#[test]
fn nothing_stands_in_the_line_twice_for_an_item() {
    let items: Vec<usize> = (0..400).collect();
    let node = with(map(json!(items), giving_body("a", "{{ item }}")), "concurrency", json!(10));
    let mut world = World::new(&alone(node));
    world.go_on();
    assert_eq!(world.result().as_array().map(Vec::len), Some(400));
    assert_eq!(world.folds.len(), 2, "an item and its one step take two places of {MAX_BEGUN}");
}

#[test]
fn item_that_fails_ends_the_map_or_is_left_out_or_kept() {
    for (policy, outcome) in [
        ("fail", None),
        ("skip", Some(json!([0, 2]))),
        (
            "keep",
            Some(json!([0,
            {"error": {"code": "provider", "message": "it didn't work", "class": "provider"}}, 2])),
        ),
    ] {
        let node =
            with(map(json!([1, 2, 3]), calling("a", "{{ item }}")), "onItemError", json!(policy));
        let mut world = World::new(&alone(node));
        world.answer("m[0].a", json!(0));
        world.fail("m[1].a", ErrorClass::Provider);
        match outcome {
            None => {
                assert_eq!(world.failed_with(), "provider");
                assert_eq!(world.called_off(), ["m[2].a"]);
            }
            Some(result) => {
                world.answer("m[2].a", json!(2));
                assert_eq!(world.result(), result, "{policy}");
            }
        }
    }
}

#[test]
fn map_over_what_is_no_list_fails() {
    let world = World::of(
        &alone(map(json!("{{ inputs.x }}"), calling("a", "{{ item }}"))),
        json!({"x": 1}),
    );
    assert_eq!(world.failed_with(), "not_a_list");
}

#[test]
fn map_of_two_thousand_items_takes_many_small_folds() {
    let items: Vec<usize> = (0..2_000).collect();
    let over = json!("{{ inputs.items }}");
    let node = with(map(over, giving_body("a", "{{ item + 1 }}")), "concurrency", json!(50));
    let mut world = World::of(&alone(node), json!({ "items": items }));
    let folds = world.go_on();
    let expected: Vec<usize> = (1..=2_000).collect();
    assert_eq!(world.result(), json!(expected));
    assert!(folds >= 4, "{folds}");
    for fold in &world.folds {
        let announced = fold
            .effects
            .iter()
            .filter(|effect| matches!(effect, crate::workflow::run::Effect::Announce(_)));
        assert!(announced.count() <= MAX_BEGUN + 3);
    }
}

#[test]
fn map_of_two_thousand_calls_asks_by_and_by() {
    let items: Vec<usize> = (0..2_000).collect();
    let node = with(
        map(json!("{{ inputs.items }}"), calling("a", "{{ item }}")),
        "concurrency",
        json!(2_000),
    );
    let mut world = World::of(&alone(node), json!({ "items": items }));
    while world.timers.contains_key("go") {
        let asked = |world: &World| world.requests.len();
        let before = asked(&world);
        world.fire("go");
        assert!(asked(&world) - before <= MAX_BEGUN);
    }
    assert_eq!(world.requests.len(), 2_000);
    for item in (0..2_000).rev() {
        world.answer(&format!("m[{item}].a"), json!(item));
        assert!(world.last.len() < 10, "{:?}", world.last);
    }
    assert_eq!(world.result(), json!(items));
}

#[test]
fn maps_nest() {
    let inner = json!({"id": "inner", "kind": "map", "over": "{{ item }}", "as": "one",
        "body": calling("a", "{{ item | length }} {{ one }} {{ index }}")});
    let body = json!({"nodes": [inner], "result": "{{ nodes.inner.output }}"});
    let mut world = World::new(&alone(map(json!([[1, 2], [], [3]]), body)));
    assert_eq!(world.open(), ["m[0].inner[0].a", "m[0].inner[1].a", "m[2].inner[0].a"]);
    let crate::workflow::run::Request::Function(second) = &world.requests[1].1 else {
        panic!("{:?}", world.requests)
    };
    assert_eq!(second.arguments, r#"{"it":"2 2 1"}"#, "the innermost index stands");
    for step in ["m[2].inner[0].a", "m[0].inner[1].a", "m[0].inner[0].a"] {
        world.answer(step, json!(step.len()));
    }
    assert_eq!(world.result(), json!([[15, 15], [], [15]]));
}

#[test]
fn body_sees_the_nodes_around_it() {
    let nodes = json!([
        call("before"),
        map(json!([1, 2]), giving_body("a", "{{ nodes.before.output + item }}"))
    ]);
    let mut world =
        World::new(&giving(nodes, json!([edge("before", "m")]), json!("{{ nodes.m.output }}")));
    world.answer("before", json!(10));
    assert_eq!(world.result(), json!([11, 12]));
}

#[test]
fn timeout_of_a_map_calls_off_its_items() {
    let node = with(map(json!([1, 2, 3]), calling("a", "{{ item }}")), "timeout", json!("1s"));
    let node = with(node, "default", json!("none"));
    let mut world = World::new(&alone(node));
    world.answer("m[1].a", json!(1));
    world.fire("timeout/m");
    assert_eq!(world.called_off(), ["m[0].a", "m[2].a"]);
    assert_eq!(world.result(), json!("none"));
}

fn repeat(field: &str, condition: &str, max: u32, body: Value) -> Value {
    let node = json!({"id": "l", "kind": "loop", "maxIterations": max, "body": body});
    alone(with(node, field, json!(condition)))
}

#[test]
fn while_is_asked_before_each_iteration() {
    let body = || giving_body("a", "{{ iteration }} after {{ last }}");
    let world = World::new(&repeat("while", "{{ iteration < 3 }}", 5, body()));
    assert_eq!(world.result(), json!("2 after 1 after 0 after None"));
    assert_eq!(world.steps(EventType::StepSucceeded), ["l[0].a", "l[1].a", "l[2].a", "l"]);
    let world = World::new(&repeat("while", "{{ iteration < 0 }}", 5, body()));
    assert_eq!(world.result(), Value::Null);
    let world = World::new(&repeat(
        "while",
        "{{ last is none or last < 1 }}",
        5,
        giving_body("a", "{{ iteration }}"),
    ));
    assert_eq!(world.result(), json!(1));
}

#[test]
fn until_is_asked_after_each_iteration() {
    let body = || giving_body("a", "{{ iteration }}");
    let world = World::new(&repeat("until", "{{ last >= 2 and iteration == 2 }}", 5, body()));
    assert_eq!(world.result(), json!(2));
    let world = World::new(&repeat("until", "{{ iteration >= 0 }}", 5, body()));
    assert_eq!(world.result(), json!(0));
}

#[test]
fn loop_that_would_go_on_too_long_fails() {
    let body = || giving_body("a", "{{ iteration }}");
    for (field, condition) in [("while", "{{ iteration < 4 }}"), ("until", "{{ iteration > 2 }}")] {
        let world = World::new(&repeat(field, condition, 3, body()));
        assert_eq!(world.failed_with(), "max_iterations", "{field}");
        assert_eq!(world.steps(EventType::StepSucceeded).len(), 3);
    }
    for (field, condition) in [("while", "{{ iteration < 3 }}"), ("until", "{{ iteration == 2 }}")]
    {
        let world = World::new(&repeat(field, condition, 3, body()));
        assert_eq!(world.result(), json!(2), "{field} may use them all");
    }
}

#[test]
fn iteration_that_fails_fails_the_loop() {
    let mut world =
        World::new(&repeat("until", "{{ iteration > 5 }}", 9, calling("a", "{{ last }}")));
    world.answer("l[0].a", json!(1));
    assert_eq!(world.open(), ["l[1].a"]);
    world.fail("l[1].a", ErrorClass::Provider);
    assert_eq!(world.failed_with(), "provider");
}

#[test]
fn ten_thousand_iterations_take_many_small_folds_and_no_more_entries() {
    let body = giving_body("a", "{{ (last or 0) + 1 }}");
    let mut world = World::new(&repeat("until", "{{ last >= 10000 }}", 20_000, body));
    let mut most = 0;
    let mut folds = 0;
    while world.timers.contains_key("go") {
        most = most.max(world.entries.len());
        world.fire("go");
        world.said.clear();
        world.folds.truncate(1);
        folds += 1;
    }
    assert_eq!(world.result(), json!(10_000));
    assert!(most <= 10, "{most} entries");
    assert!((39..=41).contains(&folds), "{folds}");
}

#[test]
fn end_in_a_body_ends_only_that_body() {
    let body = json!({"nodes": [call("a"), call("b"), {"id": "e", "kind": "end", "result": "{{ item }}"}],
        "edges": [edge("b", "e")], "result": "none"});
    let mut world = World::new(&alone(map(json!([1, 2]), body)));
    world.answer("m[0].b", json!(1));
    assert_eq!(world.called_off(), ["m[0].a"]);
    assert_eq!(world.open(), ["m[1].a", "m[1].b"]);
    world.answer("m[1].b", json!(1));
    assert_eq!(world.result(), json!([1, 2]));
}

#[test]
fn output_of_a_map_may_be_larger_than_any_of_its_items() {
    let piece = "x".repeat(crate::workflow::run::MAX_VALUE_BYTES / 2);
    let map = map(json!([1, 2, 3]), calling("a", "{{ item }}"));
    let read = gives("count", json!("{{ nodes.m.output | length }}"));
    let whole = with(gives("whole", json!("{{ nodes.m.output }}")), "default", json!("too large"));
    let mut world = World::new(&giving(
        json!([map, read, whole]),
        json!([edge("m", "count"), edge("m", "whole")]),
        json!(["{{ nodes.count.output }}", "{{ nodes.whole.output }}"]),
    ));
    for item in 0..3 {
        world.answer(&format!("m[{item}].a"), json!(piece));
    }
    assert_eq!(world.result(), json!([3, "too large"]));
    let said = world.of_type(EventType::StepSucceeded);
    let map = said.iter().find(|said| said.step.as_deref() == Some("m")).expect("it succeeded");
    assert_eq!(map.data, None, "what is told stays small");
}

#[test]
fn map_over_too_many_items_fails() {
    let items = vec![1; crate::workflow::run::MAX_ITEMS + 1];
    let node = map(json!("{{ inputs.items }}"), calling("a", "{{ item }}"));
    let world = World::of(&alone(node), json!({ "items": items }));
    assert_eq!(world.failed_with(), "too_many_items");
}
