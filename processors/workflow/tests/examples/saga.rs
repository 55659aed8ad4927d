//! All bookings or none.

use domain::answer::{ErrorClass, Failure};
use domain::event::EventType;
use domain::fact::Order;
use domain::request::FunctionCall;
use domain::topic::{Kind, Topic};
use serde_json::{Value, json};

use crate::world::World;

/// Every system does what it is asked.
fn works(call: &FunctionCall) -> Result<Value, Failure> {
    let arguments: Value = serde_json::from_str(&call.arguments).expect("JSON");
    Ok(match call.function.as_str() {
        "book-flight" => json!({"booking": "F-1"}),
        "book-hotel" => json!({"booking": "H-1"}),
        "charge-card" => json!({"charge": "C-1"}),
        "cancel-flight" => undone(&arguments["booking"], "F-1"),
        "cancel-hotel" => undone(&arguments["booking"], "H-1"),
        "refund-card" => undone(&arguments["charge"], "C-1"),
        other => panic!("there is no function {other}"),
    })
}

fn undone(what: &Value, is: &str) -> Value {
    assert_eq!(what, is, "what is undone is what was done");
    json!({"undone": what})
}

fn declines(call: &FunctionCall) -> Result<Value, Failure> {
    match call.function.as_str() {
        "charge-card" => {
            Err(Failure::new(ErrorClass::Invalid, "card_declined", "the bank says no"))
        }
        _ => works(call),
    }
}

fn keeps_the_hotel(call: &FunctionCall) -> Result<Value, Failure> {
    match call.function.as_str() {
        "cancel-hotel" => Err(Failure::new(ErrorClass::Invalid, "too_late", "it is booked")),
        _ => declines(call),
    }
}

fn has_no_line(call: &FunctionCall) -> Result<Value, Failure> {
    match call.function.as_str() {
        "charge-card" => Err(Failure::new(ErrorClass::Network, "cut_off", "no line")),
        _ => works(call),
    }
}

const DECLINED: [&str; 5] =
    ["book-flight", "book-hotel", "charge-card", "cancel-hotel", "cancel-flight"];

#[tokio::test]
async fn trip_is_booked_when_all_goes_well() {
    let mut world = World::of("saga").with_functions(works);
    world.start();
    world.run().await;
    assert_eq!(world.output(), json!({"flight": "F-1", "hotel": "H-1", "charge": "C-1"}));
    assert_eq!(world.called, ["book-flight", "book-hotel", "charge-card"]);
}

#[tokio::test]
async fn declined_card_undoes_the_bookings_the_last_one_first() {
    let mut world = World::of("saga").with_functions(declines);
    world.start();
    world.run().await;
    assert_eq!(world.called, DECLINED);
    assert_eq!(world.failure(), "card_declined");
    let ends = world.events().iter().filter(|it| it.event_type == EventType::Failed).count();
    assert_eq!(ends, 1);
}

#[tokio::test]
async fn booking_that_can_not_be_undone_keeps_no_other_from_it() {
    let mut world = World::of("saga").with_functions(keeps_the_hotel);
    world.start();
    world.run().await;
    assert_eq!(world.called, DECLINED);
    assert_eq!(world.failure(), "card_declined", "the first reason stands");
    assert_eq!(world.steps(EventType::StepFailed), ["payment", "cancel_hotel"]);
}

#[tokio::test]
async fn cut_line_is_tried_again_and_then_undone() {
    let mut world = World::of("saga").with_functions(has_no_line);
    world.start();
    world.run().await;
    assert_eq!(world.called, DECLINED[..3]);
    for wait in [1_000, 2_000] {
        world.pass(wait - 100);
        assert!(world.functions.is_empty(), "it waits for {wait} ms");
        world.pass(200);
        world.run().await;
    }
    let (tries, undone) = world.called.split_at(5);
    assert_eq!(tries[2..], ["charge-card"; 3]);
    assert_eq!(undone, ["cancel-hotel", "cancel-flight"]);
    assert_eq!(world.failure(), "cut_off");
}

#[tokio::test]
async fn cancelled_trip_undoes_what_was_booked_by_then() {
    let mut world = World::of("saga").with_functions(works);
    world.start();
    assert!(world.run_one().await, "the flight is booked");
    world.tell(Order::Cancel { reason: Some("enough".into()) });
    assert_eq!(world.called_off, ["hotel"]);
    world.run().await;
    assert_eq!(world.called, ["book-flight", "cancel-flight"]);
    let last = world.last();
    assert_eq!(last.event_type, EventType::Cancelled);
    assert_eq!(last.data.as_deref(), Some(r#"{"reason":"enough"}"#));
}

#[tokio::test]
async fn trip_that_takes_more_than_an_hour_is_undone_and_timed_out() {
    let mut world = World::of("saga").with_functions(works);
    world.start();
    assert!(world.run_one().await, "the flight is booked");
    world.pass(59 * 60_000);
    assert_eq!(world.called_off, [""; 0]);
    world.pass(61_000);
    assert_eq!(world.called_off, ["hotel"]);
    world.run().await;
    assert_eq!(world.called, ["book-flight", "cancel-flight"]);
    assert_eq!(world.last().event_type, EventType::TimedOut);
}

#[tokio::test]
async fn copies_of_a_call_have_one_id() {
    let mut world = World::of("saga").with_functions(works);
    world.start();
    world.harness.restart();
    let sent = world.harness.outputs::<FunctionCall>(Topic::Feed(Kind::Function));
    let ids: Vec<_> = sent.map(|call| call.id).collect();
    assert_eq!(ids.len(), 2, "nothing was checkpointed, so the new owner asks as well");
    assert_eq!(ids[0], ids[1]);
}
