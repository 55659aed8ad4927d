//! An execution that goes on from another one: steps give the outputs that they had there.

use super::*;
use crate::workflow::run::Admission;
use crate::workflow::run::document::Document;
use crate::workflow::run::tests::world::admission;

fn going_on(definition: &Value, reuse: &[(&str, Value)]) -> World {
    let reuse = reuse.iter().map(|(step, output)| ((*step).to_owned(), Document::from(output)));
    let admission = Admission { reuse: reuse.collect(), ..admission(json!({})) };
    World::admitted(definition, admission)
}

#[test]
fn steps_that_succeeded_before_are_not_carried_out_again() {
    let definition = giving(
        json!([call("a"), call_with("b", "{{ nodes.a.output.x }}"), call("c")]),
        json!([edge("a", "b"), edge("b", "c")]),
        json!("{{ nodes.c.output }}"),
    );
    let mut world = going_on(&definition, &[("a", json!({"x": 7})), ("b", json!("kept"))]);
    assert_eq!(world.open(), ["c"]);
    assert_eq!(world.requests.len(), 1);
    world.answer("c", json!("done"));
    assert_eq!(world.result(), json!("done"));
    assert_eq!(
        world.story()[2..6],
        ["step.started a", "step.succeeded a", "step.started b", "step.succeeded b"]
    );
}

#[test]
fn items_that_succeeded_before_are_taken_over_one_by_one() {
    let definition = giving(
        json!([{"id": "each", "kind": "map", "over": [1, 2, 3], "body": calling("ask", "{{ item }}")}]),
        json!([]),
        json!("{{ nodes.each.output }}"),
    );
    let mut world =
        going_on(&definition, &[("each[0].ask", json!("A")), ("each[2].ask", json!("C"))]);
    assert_eq!(world.open(), ["each[1].ask"]);
    world.answer("each[1].ask", json!("B"));
    assert_eq!(world.result(), json!(["A", "B", "C"]));
}

#[test]
fn what_does_not_come_to_its_step_is_not_used() {
    let definition = giving(json!([call("a")]), json!([]), json!("{{ nodes.a.output }}"));
    let mut world = going_on(&definition, &[("gone", json!(1))]);
    assert_eq!(world.open(), ["a"]);
    world.answer("a", json!(2));
    assert_eq!(world.result(), json!(2));
}
