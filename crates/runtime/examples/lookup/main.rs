//! Runs the example processor on a partition in memory, with its real call.
//!
//! `cargo run -p stepstream-runtime --example lookup`: it ends well when the request was answered.

// The name that every other crate of the workspace knows it by.
extern crate stepstream_runtime as runtime;

mod processor;

use domain::event::EventType;
use domain::request::ModelRequest;
use runtime::testing::Harness;

#[tokio::main]
async fn main() {
    let mut harness = Harness::new(processor::Lookup);
    harness.publish(&ModelRequest::new("one", "any", "localhost"));
    harness.run_calls().await;
    let told: Vec<EventType> =
        harness.events("one").into_iter().map(|event| event.event_type).collect();
    assert_eq!(told, [EventType::Started, EventType::Succeeded]);
}
