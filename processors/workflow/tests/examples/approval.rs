//! A person decides.

use domain::event::EventType;
use serde_json::{Value, json};

use crate::world::World;

const LETTER: &str =
    "Dear Ada Lovelace, we are sorry that your lamp broke, and give you 40 EUR back.";

/// An execution that waits for its decision.
async fn waiting() -> World {
    let mut world = World::of("approval");
    world.start();
    world.run().await;
    assert_eq!(world.steps(EventType::StepWaiting), ["approve"]);
    world
}

#[tokio::test]
async fn letter_goes_out_when_somebody_says_so() {
    let mut world = waiting().await;
    world.signal("decision", &json!({"approved": true, "by": "grace"}));
    assert_eq!(world.output(), json!({"outcome": "approved", "by": "grace", "letter": LETTER}));
    assert_eq!(world.steps(EventType::ApprovalGiven), ["approve"]);
}

#[tokio::test]
async fn letter_stays_when_somebody_refuses() {
    let mut world = waiting().await;
    world.signal("decision", &json!({"approved": false, "by": "grace", "comment": "too much"}));
    assert_eq!(world.output(), json!({"outcome": "refused", "by": "grace", "comment": "too much"}));
    let mut world = waiting().await;
    world.signal("decision", &json!({"approved": false, "by": "grace"}));
    assert_eq!(world.output()["comment"], "");
}

#[tokio::test]
async fn nobody_waits_longer_than_half_an_hour() {
    let mut world = waiting().await;
    world.pass(29 * 60_000);
    assert_eq!(world.last().event_type, EventType::ApprovalRequested);
    world.harness.restart();
    world.pass(60_000);
    assert_eq!(world.output(), json!({"outcome": "unanswered", "because": "signal_timeout"}));
}

#[tokio::test]
async fn decision_that_does_not_fit_is_refused_and_the_next_one_counts() {
    let mut world = waiting().await;
    for wrong in [json!({"approved": "yes"}), json!({"approved": true}), Value::Null] {
        world.signal("decision", &wrong);
        assert_eq!(world.last().event_type, EventType::SignalRefused, "{wrong}");
    }
    world.signal("decision", &json!({"approved": true, "by": "grace"}));
    assert_eq!(world.output()["outcome"], "approved");
}

#[tokio::test]
async fn decision_that_comes_early_is_kept() {
    let mut world = World::of("approval");
    world.start();
    world.signal("decision", &json!({"approved": true, "by": "grace"}));
    world.run().await;
    assert_eq!(world.output()["outcome"], "approved");
}

#[tokio::test]
async fn form_is_told_to_whoever_shows_it() {
    let world = waiting().await;
    let told = world.last();
    assert_eq!(told.event_type, EventType::ApprovalRequested);
    let data: Value = serde_json::from_str(&told.data.expect("a form")).expect("JSON");
    assert_eq!(data["form"]["properties"]["approved"]["title"], "Yes, send it");
    assert_eq!(data["signal"], "decision");
}
