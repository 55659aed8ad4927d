//! The chain.

use domain::event::EventType;
use serde_json::json;

use crate::world::World;

const NAME: &str = "summarise-and-classify";

#[tokio::test]
async fn message_is_made_short_and_labelled() {
    let mut world = World::of(NAME);
    world.start();
    world.run().await;
    assert_eq!(world.output(), world.example().promised());
    assert_eq!(world.steps(EventType::StepSucceeded), ["summarise", "classify", "label"]);
}

#[tokio::test]
async fn execution_costs_what_its_calls_cost() {
    let mut world = World::of(NAME);
    world.start();
    world.run().await;
    let events = world.events();
    let (last, before) = events.split_last().expect("an event");
    let costs: Vec<i64> = before.iter().filter_map(|it| Some(it.cost.as_ref()?.micros)).collect();
    let (cost, usage) = (last.cost.clone().expect("a cost"), last.usage.expect("a usage"));
    assert_eq!((costs.len(), costs.iter().sum()), (2, cost.micros));
    assert_eq!(cost.micros, usage.input_tokens + 4 * usage.output_tokens);
    assert!(cost.micros > 0);
}

#[tokio::test]
async fn answer_in_prose_is_labelled_other() {
    let mut world = World::of(NAME);
    world.start_with(&json!({"text": "Good day!"}));
    world.run().await;
    assert_eq!(
        world.output(),
        json!({"summary": "The customer says: Good day!", "label": "other", "confidence": 0})
    );
}

#[test]
fn empty_text_is_refused_before_anything_runs() {
    let mut world = World::of(NAME);
    world.start_with(&json!({"text": ""}));
    let letters = world.harness.dead_letters();
    assert!(letters[0].message.starts_with("input/text doesn't fit"), "{}", letters[0].message);
    assert!(world.models.is_empty());
}
