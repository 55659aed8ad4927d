//! Two of three.

use domain::answer::{ErrorClass, Failure};
use domain::event::EventType;
use serde_json::json;

use crate::world::World;

fn down() -> Failure {
    Failure::new(ErrorClass::Provider, "server_error", "the server failed")
}

#[tokio::test]
async fn two_equal_votes_decide_and_the_third_is_called_off() {
    let mut world = World::of("vote");
    world.start();
    assert_eq!(world.models.len(), 3, "all are asked at once");
    world.ask_for("second").await;
    assert_eq!(world.called_off, [""; 0]);
    world.ask_for("first").await;
    assert_eq!(world.output(), world.example().promised());
    assert_eq!(world.called_off, ["third"]);
    assert_eq!(world.steps(EventType::StepCancelled), ["third"]);
}

#[tokio::test]
async fn two_votes_that_differ_are_decided_by_the_judge() {
    let mut world = World::of("vote");
    world.start_with(&json!({"claim": "My phone fell into the river."}));
    world.ask_for("third").await;
    world.ask_for("first").await;
    world.ask_for("judge").await;
    assert_eq!(
        world.output(),
        json!({"verdict": "refuse", "votes": ["refuse", "accept"], "unanimous": false})
    );
}

#[tokio::test]
async fn juror_who_fails_is_not_needed() {
    let mut world = World::of("vote");
    world.start();
    let request = world.take("first");
    world.fail(&request, down());
    world.run().await;
    assert_eq!(world.output()["votes"], json!(["accept", "accept"]));
    assert_eq!(world.steps(EventType::StepFailed), ["first"]);
}

#[test]
fn vote_fails_as_soon_as_two_answers_can_not_come_any_more() {
    let mut world = World::of("vote");
    world.start();
    for step in ["first", "third"] {
        let request = world.take(step);
        world.fail(&request, down());
    }
    assert_eq!(world.failure(), "join_failed");
    assert_eq!(world.called_off, ["second"]);
}

#[tokio::test]
async fn jurors_who_are_late_have_failed() {
    let mut world = World::of("vote");
    world.start();
    world.ask_for("first").await;
    world.pass(119_000);
    assert_eq!(world.called_off, [""; 0]);
    world.pass(2_000);
    assert_eq!(world.called_off, ["second", "third"]);
    assert_eq!(world.failure(), "join_failed");
}
