//! Parents and children.

use domain::event::EventType;
use domain::fact::Order;
use serde_json::{Value, json};

use crate::world::{RUN, World};

/// How far the children of a world are: their ids by workflow and language.
fn ids(world: &World) -> Vec<(String, String)> {
    let named = |start: &domain::request::WorkflowStart| {
        let input: Value = serde_json::from_str(&start.input).expect("JSON");
        let name = input["language"].as_str().unwrap_or(&start.workflow).to_owned();
        (name, start.id.clone())
    };
    world.children.iter().map(named).collect()
}

fn last_of(world: &World, execution: &str) -> EventType {
    world.harness.events(execution).last().expect("an event").event_type
}

#[tokio::test]
async fn parent_waits_for_attached_children_and_not_for_the_detached_one() {
    let mut world = World::of("children");
    world.start();
    let children = ids(&world);
    let names: Vec<_> = children.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["file-text", "German", "Klingon"], "two languages at once, and the file");
    world.run().await;
    let mut output = world.output();
    let filed = output["filed_as"].as_str().expect("an id").to_owned();
    assert_eq!(filed, children[0].1);
    output["filed_as"] = json!("...");
    assert_eq!(output, world.example().promised());

    assert_eq!(last_of(&world, &filed), EventType::StepWaiting, "it is still at it");
    world.pass(5_100);
    world.run().await;
    let end = world.harness.events(&filed).pop().expect("an event");
    let result: Value = serde_json::from_str(&end.data.expect("a result")).expect("JSON");
    assert_eq!(result, json!({"shelf": "greeting", "requested_by": RUN}));
    assert_eq!(end.parent_id, None);
    let german = world.harness.events(&children[1].1).pop().expect("an event");
    assert_eq!(german.parent_id.as_deref(), Some(RUN));
}

#[tokio::test]
async fn cancelled_parent_cancels_attached_children_only() {
    let mut world = World::of("children");
    world.start();
    let children = ids(&world);
    while !world.children.is_empty() {
        let start = world.children.pop_front().expect("a child");
        world.harness.publish(&start);
    }
    world.look();
    world.tell(Order::Cancel { reason: None });
    assert_eq!(world.last().event_type, EventType::Cancelled);
    let ends: Vec<_> = children.iter().map(|(_, id)| last_of(&world, id)).collect();
    assert_eq!(ends, [EventType::StepWaiting, EventType::Cancelled, EventType::Cancelled]);
    assert_eq!(world.called_off, ["translate", "translate"], "and what those asked for");
    world.pass(5_100);
    world.run().await;
    assert_eq!(last_of(&world, &children[0].1), EventType::Succeeded);
}

#[tokio::test]
async fn paused_parent_holds_attached_children_only() {
    let mut world = World::of("children");
    world.start();
    let children = ids(&world);
    while let Some(start) = world.children.pop_front() {
        world.harness.publish(&start);
    }
    world.look();
    world.tell(Order::Pause);
    let held: Vec<_> = children.iter().map(|(_, id)| last_of(&world, id)).collect();
    assert_eq!(held, [EventType::StepWaiting, EventType::Paused, EventType::Paused]);
    world.tell(Order::Resume);
    world.run().await;
    assert_eq!(world.output()["translations"][2]["text"], "Bonjour, le monde.");
}
