//! The example processor: the documentation shows the file that is compiled, and it does what it says.

// The name that every other crate of the workspace knows it by.
extern crate stepstream_runtime as runtime;

#[path = "../examples/lookup/processor.rs"]
mod processor;

use domain::answer::{ErrorClass, Failure};
use domain::event::EventType::{self, Cancelled, Failed, Started, Succeeded, TimedOut};
use domain::fact::Order;
use domain::request::ModelRequest;
use domain::topic::Topic;
use runtime::testing::Harness;

use self::processor::Lookup;

/// The most lines that the example may have: it is there to show how little it takes.
const LINES: usize = 60;

fn asked(host: &str) -> Harness<Lookup> {
    let mut harness = Harness::new(Lookup);
    harness.publish(&ModelRequest::new("one", "any", host));
    harness
}

fn told(harness: &Harness<Lookup>) -> Vec<EventType> {
    harness.events("one").into_iter().map(|event| event.event_type).collect()
}

#[test]
fn documentation_shows_the_example_as_it_is() {
    let document = include_str!("../../../docs/processor.md");
    let example = include_str!("../examples/lookup/processor.rs");
    assert!(document.contains(&format!("```rust\n{example}```\n")));
    assert!(example.lines().count() <= LINES);
}

#[tokio::test]
async fn request_is_answered_by_its_call() {
    let mut harness = asked("localhost");
    assert_eq!(harness.calls().len(), 1);
    harness.run_calls().await;
    assert_eq!(told(&harness), [Started, Succeeded]);
    let data = harness.events("one")[1].data.clone().unwrap();
    assert!(data.contains("127.0.0.1") || data.contains("::1"), "{data}");
}

#[test]
fn failed_call_fails_its_request() {
    let mut harness = asked("localhost");
    let failure = Failure::new(ErrorClass::Network, "lookup", "no such host");
    harness.end_call(harness.calls()[0].run, Err(failure.clone()));
    assert_eq!(told(&harness), [Started, Failed]);
    assert_eq!(harness.events("one")[1].error, Some(failure));
}

#[test]
fn patience_ends_and_the_call_is_stopped() {
    let mut harness = asked("localhost");
    harness.pass(4_900);
    assert_eq!(told(&harness), [Started]);
    harness.pass(200);
    assert_eq!(told(&harness), [Started, TimedOut]);
    assert!(harness.calls().is_empty());
}

#[test]
fn cancel_ends_it_and_a_second_one_changes_nothing() {
    let mut harness = asked("localhost");
    harness.command("one", Order::Cancel { reason: None });
    harness.command("one", Order::Cancel { reason: None });
    assert_eq!(told(&harness), [Started, Cancelled]);
    assert!(harness.calls().is_empty());
}

#[test]
fn request_without_a_host_is_a_dead_letter_and_its_client_is_told() {
    let harness = asked("");
    let codes: Vec<_> = harness.dead_letters().into_iter().map(|letter| letter.code).collect();
    assert_eq!(codes, ["no_host"]);
    assert_eq!(told(&harness), [Failed]);
    assert!(harness.calls().is_empty());
}

#[test]
fn bytes_that_are_no_record_are_a_dead_letter_and_the_next_request_is_taken() {
    let mut harness = Harness::new(Lookup);
    harness.publish_bytes("zero", b"not a frame".to_vec());
    harness.publish(&ModelRequest::new("one", "any", "localhost"));
    assert_eq!(harness.dead_letters()[0].code, "bad_framing");
    assert_eq!(told(&harness), [Started]);
}

#[test]
fn same_request_again_is_the_same_request() {
    let mut harness = asked("localhost");
    harness.publish(&ModelRequest::new("one", "any", "localhost"));
    assert_eq!(harness.calls().len(), 1);
    assert_eq!(told(&harness), [Started]);
}

#[tokio::test]
async fn crash_before_the_end_repeats_the_call_and_tells_clients_once() {
    let mut harness = asked("localhost");
    harness.restart();
    assert_eq!(harness.calls().len(), 1, "the call is wanted still, and no longer runs");
    harness.run_calls().await;
    assert_eq!(told(&harness), [Started, Succeeded]);
    assert_eq!(harness.sent(Topic::Results).count(), 3, "the first event was sent again");
}

#[tokio::test]
async fn crash_after_the_end_repeats_nothing() {
    let mut harness = asked("localhost");
    harness.run_calls().await;
    harness.restart();
    assert!(harness.calls().is_empty());
    harness.pass(2_000);
    harness.restart();
    assert!(harness.calls().is_empty());
    assert_eq!(told(&harness), [Started, Succeeded]);
    assert_eq!(harness.sent(Topic::Results).count(), 4, "a checkpoint covers the copies");
    assert_eq!(harness.alarms(), []);
}
