//! 500 documents.

use domain::claim;
use domain::event::EventType;
use serde_json::{Value, json};

use crate::world::World;

/// The map's `concurrency`.
const AT_ONCE: usize = 20;

/// Answers come in another order than the questions, whatever the order is.
const STRIDE: usize = 7;

#[tokio::test]
async fn five_hundred_documents_are_read_twenty_at_once_and_reported() {
    let mut world = World::of("map-reduce");
    let documents = world.example().input["documents"].as_array().expect("a list").clone();
    assert_eq!(documents.len(), 500);
    world.start();
    let (mut asked, mut most, mut longest) = (0, 0, (0, String::new()));
    while !world.models.is_empty() {
        let out = world.models.len();
        assert!(out <= AT_ONCE, "{out} calls are out after {asked}");
        most = most.max(out);
        let request = world.models.remove(asked * STRIDE % out).expect("it is there");
        world.ask(request).await;
        asked += 1;
        match asked % 50 {
            // The next owner goes on from a checkpoint that isn't the newest fact.
            25 => world.harness.restart(),
            0 => world.pass(1_000),
            _ => continue,
        }
        world.look();
        longest = longest.max(world.longest_record());
    }
    world.pass(1_000);
    longest = longest.max(world.longest_record());
    assert_eq!((asked, most), (501, AT_ONCE));
    assert_eq!(world.output(), world.example().promised());
    assert!(longest.0 < claim::LIMIT_BYTES, "{longest:?}");

    let each = world.events().into_iter().find(|event| {
        event.event_type == EventType::StepSucceeded && event.step.as_deref() == Some("each")
    });
    let notes: Vec<Value> =
        serde_json::from_str(&each.and_then(|it| it.data).expect("a list")).expect("JSON");
    for (document, note) in documents.iter().zip(&notes) {
        match note.get("error") {
            Some(error) => assert_eq!(error["code"], "expression_failed", "{document}"),
            None => assert_eq!(note["id"], document["id"], "they are in order"),
        }
    }
    assert_eq!(notes.len(), documents.len());
    assert_eq!(notes[83]["id"], Value::Null, "the page names it as one that can't be read");
}

/// Its page says how to reduce in groups.
#[test]
fn batch_makes_groups_for_a_map() {
    let definition = json!({
        "apiVersion": "stepstream/v1", "kind": "Workflow", "metadata": {"name": "groups"},
        "spec": {
            "inputs": {"type": "object", "required": ["items"],
                "properties": {"items": {"type": "array"}}},
            "nodes": [{"id": "each", "kind": "map", "over": "{{ inputs.items | batch(2) }}",
                "as": "group", "body": {
                    "nodes": [{"id": "add", "kind": "transform", "value": "{{ group | sum }}"}],
                    "result": "{{ nodes.add.output }}"}}],
            "result": "{{ nodes.each.output }}"},
    });
    let mut world = World::running(definition);
    world.start_with(&json!({"items": [1, 2, 3, 4, 5]}));
    assert_eq!(world.output(), json!([3, 7, 5]));
}
