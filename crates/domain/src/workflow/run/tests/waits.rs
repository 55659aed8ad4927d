//! Waits for time and for signals.

use super::*;
use crate::answer::Terminal;
use crate::event::EventType;
use crate::fact::Order;
use crate::time::Millis;

fn wait(field: &str, value: Value) -> Value {
    let node = with(json!({"id": "w", "kind": "wait"}), field, value);
    giving(json!([node]), json!([]), json!("{{ nodes.w.output }}"))
}

fn signal(id: &str, schema: Value) -> Value {
    json!({"id": id, "kind": "wait", "signal": {"name": "go", "schema": schema}})
}

#[test]
fn wait_ends_when_its_time_has_come() {
    let at = |ms: i64| Some(Millis(ms));
    for (field, value, due) in [
        ("duration", json!("30s"), at(1_030_000)),
        ("duration", json!("{{ inputs.some }}s"), at(1_005_000)),
        ("until", json!(1_000_001), at(1_000_001)),
        ("until", json!("{{ inputs.then }}"), at(1_234_000)),
        ("until", json!("1970-01-01T00:00:01Z"), None),
    ] {
        let inputs = json!({"some": 5, "then": "1970-01-01T00:20:34Z"});
        let mut world = World::of(&wait(field, value.clone()), inputs);
        assert_eq!(world.timers.get("wait/w").copied(), due, "{field} {value}");
        if due.is_some() {
            let said = world.of_type(EventType::StepWaiting)[0].data.clone();
            assert!(said.is_some_and(|said| said.contains(r#""for":"time""#)));
            world.fire("wait/w");
        }
        assert_eq!(world.result(), Value::Null);
    }
}

#[test]
fn wait_for_no_time_at_all_fails() {
    for (field, value) in
        [("duration", "{{ inputs.x }}"), ("until", "{{ inputs.x }}"), ("until", "{{ inputs.y }}")]
    {
        let world = World::of(&wait(field, json!(value)), json!({"x": "soon", "y": [1]}));
        assert!(world.failed_with().starts_with("invalid_"), "{field}");
    }
}

#[test]
fn signal_ends_the_wait_for_it() {
    let mut world = World::new(&wait("signal", json!({"name": "go"})));
    assert!(world.set().is_empty());
    world.signal("go", json!({"x": 1}));
    assert_eq!(world.result(), json!({"x": 1}));
}

#[test]
fn signal_without_a_payload_gives_null() {
    let mut world = World::new(&wait("signal", json!({"name": "go"})));
    world.command(Order::Signal { name: "go".into(), payload: None });
    assert_eq!(world.result(), Value::Null);
}

#[test]
fn signal_that_comes_early_is_kept() {
    let nodes = json!([call("a"), signal("w1", json!({})), signal("w2", json!({}))]);
    let edges = json!([edge("a", "w1"), edge("w1", "w2")]);
    let result = json!(["{{ nodes.w1.output }}", "{{ nodes.w2.output }}"]);
    let mut world = World::new(&giving(nodes, edges, result));
    world.signal("go", json!(1));
    world.signal("go", json!(2));
    world.signal("go", json!(3));
    world.answer("a", json!(0));
    assert_eq!(world.result(), json!([1, 2]));
}

#[test]
fn those_who_wait_for_a_signal_get_it_in_their_order() {
    let nodes = json!([signal("w1", json!({})), signal("w2", json!({})), signal("w3", json!({}))]);
    let mut world = World::new(&graph(nodes, json!([])));
    for (n, step) in ["w1", "w2", "w3"].iter().enumerate() {
        world.signal("go", json!(n));
        assert_eq!(world.steps(EventType::StepSucceeded)[n], *step);
    }
    assert_eq!(world.ended().status, Terminal::Succeeded);
}

#[test]
fn signal_that_does_not_fit_is_refused_and_the_wait_goes_on() {
    let schema = json!({"type": "object", "required": ["ok"]});
    let mut world = World::new(&wait("signal", json!({"name": "go", "schema": schema})));
    let before = world.entries.clone();
    world.signal("go", json!("secret"));
    world.command(Order::Signal { name: "go".into(), payload: Some("{".into()) });
    world.signal("stop", json!({"ok": 1}));
    assert_eq!(world.entries, before);
    let refused = world.of_type(EventType::SignalRefused);
    assert_eq!(refused.len(), 3);
    assert!(refused.iter().all(|refused| {
        refused.error.as_ref().is_some_and(|error| !error.message.contains("secret"))
    }));
    world.signal("go", json!({"ok": true}));
    assert_eq!(world.result(), json!({"ok": true}));
}

#[test]
fn early_signal_that_does_not_fit_is_refused_when_its_turn_comes() {
    let nodes = json!([call("a"), signal("w", json!({"type": "integer"}))]);
    let mut world =
        World::new(&giving(nodes, json!([edge("a", "w")]), json!("{{ nodes.w.output }}")));
    world.signal("go", json!("x"));
    world.signal("go", json!(4));
    assert!(world.of_type(EventType::SignalRefused).is_empty(), "nobody has judged it yet");
    world.answer("a", json!(1));
    assert_eq!(world.steps(EventType::SignalRefused), ["w"]);
    assert_eq!(world.result(), json!(4));
}

#[test]
fn no_more_signals_are_kept_than_there_may_be() {
    let nodes = json!([call("a"), signal("w", json!({}))]);
    let mut world = World::new(&graph(nodes, json!([edge("a", "w")])));
    for n in 0..crate::workflow::run::MAX_SIGNALS {
        world.signal("go", json!(n));
        assert!(world.last.is_empty());
    }
    world.signal("go", json!("one more"));
    assert_eq!(world.of_type(EventType::SignalRefused).len(), 1);
}

#[test]
fn signal_that_nobody_sends_times_out() {
    let mut world = World::new(&wait("signal", json!({"name": "go", "timeout": "2h"})));
    assert_eq!(world.timers["wait/w"], world::BEGINNING.plus(7_200_000));
    world.fire("wait/w");
    assert_eq!(world.failed_with(), "signal_timeout");
}

#[test]
fn signal_goes_past_those_who_gave_up() {
    let timed = with(signal("w1", json!({})), "default", json!("late"));
    let mut timed = timed;
    timed["signal"]["timeout"] = json!("1s");
    let nodes = json!([timed, signal("w2", json!({})), signal("w3", json!({}))]);
    let mut world = World::new(&graph(nodes, json!([])));
    world.fire("wait/w1");
    world.signal("go", json!(1));
    world.signal("go", json!(2));
    assert_eq!(world.steps(EventType::StepSucceeded), ["w1", "w2", "w3"]);
}

#[test]
fn approval_is_asked_for_with_its_form_and_given_once() {
    let form = json!({"type": "object", "properties": {"ok": {"type": "boolean"}}});
    let mut world =
        World::new(&wait("signal", json!({"name": "go", "schema": form, "form": form})));
    let asked = world.of_type(EventType::ApprovalRequested);
    let asked: Value = serde_json::from_str(asked[0].data.as_deref().expect("data")).expect("JSON");
    assert_eq!(asked["form"], form);
    world.signal("go", json!({"ok": 1}));
    assert!(world.of_type(EventType::ApprovalGiven).is_empty());
    world.signal("go", json!({"ok": true}));
    assert_eq!(world.of_type(EventType::ApprovalGiven).len(), 1);
    assert_eq!(world.result(), json!({"ok": true}));
}

#[test]
fn execution_that_is_not_to_begin_yet_keeps_its_signals() {
    let mut admission = world::admission(json!({}));
    admission.not_before = Some(world::BEGINNING.plus(60_000));
    let mut world = World::admitted(&wait("signal", json!({"name": "go"})), admission);
    assert_eq!(world.story(), ["execution.admitted"]);
    world.signal("go", json!("early"));
    world.fire("start");
    assert_eq!(world.result(), json!("early"));
    assert_eq!(world.ended().started, Some(world::BEGINNING.plus(60_000)));
}
