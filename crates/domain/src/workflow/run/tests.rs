//! The machine against what the documentation of [`crate::workflow`] says, one claim a test; against a naive
//! reference on random graphs; and, on small graphs, every order of events.

mod agreement;
mod bodies;
mod ending;
mod entries;
mod failing;
mod flow;
mod joins;
mod models;
mod reference;
mod reuse;
mod undoing;
mod waits;
mod world;

use serde_json::{Value, json};

use crate::workflow::tests::{edge, gives, graph, with, workflow};
use world::World;

/// A node that asks someone.
fn call(id: &str) -> Value {
    json!({"id": id, "kind": "function", "name": "f"})
}

/// A node that asks someone, and gives the value of this text to it.
fn call_with(id: &str, argument: &str) -> Value {
    json!({"id": id, "kind": "function", "name": "f", "arguments": {"it": argument}})
}

/// A definition with these nodes, edges and result.
fn giving(nodes: Value, edges: Value, result: Value) -> Value {
    workflow(json!({"nodes": nodes, "edges": edges, "result": result}))
}

/// A body with one call that gets `argument`, and whose answer is its value.
fn calling(id: &str, argument: &str) -> Value {
    json!({"nodes": [call_with(id, argument)], "result": format!("{{{{ nodes.{id}.output }}}}")})
}

/// A body of one pure node that gives this.
fn giving_body(id: &str, value: &str) -> Value {
    json!({"nodes": [gives(id, json!(value))], "result": format!("{{{{ nodes.{id}.output }}}}")})
}
