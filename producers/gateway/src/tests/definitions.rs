//! Definitions: what is alike for all kinds, workflows, their aliases, what can be asked of them, schedules.

mod aliases;
mod looking;
mod schedules;
mod storing;

use axum::body::Body;
use serde_json::{Value, json};

use super::world::{Answer, Served, answer};

/// Makes what isn't there yet.
const NEW: (&str, &str) = ("if-none-match", "*");

/// A workflow whose one node gives this.
fn workflow(name: &str, value: Value) -> Value {
    json!({
        "apiVersion": "stepstream/v1",
        "kind": "Workflow",
        "metadata": {"name": name},
        "spec": {"nodes": [{"id": "n", "kind": "transform", "value": value}]},
    })
}

fn at(path: &str) -> String {
    format!("/v1/definitions/workflows/{path}")
}

async fn send(
    served: &Served,
    method: &str,
    path: &str,
    headers: &[(&'static str, &str)],
    body: impl Into<Body>,
) -> Answer {
    let mut request = served.request(method, path, body);
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    answer(served.send(request).await).await
}

/// Puts a workflow; it must be taken.
async fn put(served: &Served, condition: (&'static str, &str), body: &Value) -> Answer {
    let name = body["metadata"]["name"].as_str().unwrap();
    let got = send(served, "PUT", &at(name), &[condition], body.to_string()).await;
    assert!(got.status.is_success(), "{}", got.text);
    got
}

/// Three versions of the workflow `w`.
async fn with_versions() -> Served {
    let served = Served::new().await;
    put(&served, NEW, &workflow("w", json!(1))).await;
    put(&served, ("if-match", "\"1\""), &workflow("w", json!(2))).await;
    put(&served, ("if-match", "\"2\""), &workflow("w", json!(3))).await;
    served
}

fn pairs(list: &Value, one: &str, other: &str) -> Vec<(Value, Value)> {
    let items = list["data"].as_array().unwrap().iter();
    items.map(|item| (item[one].clone(), item[other].clone())).collect()
}
