//! Requests, executions, definitions.

use axum::body::Body;
use domain::event::EventType;
use domain::fact::{Fact, Order};
use domain::request::ModelRequest;
use domain::topic::{Kind, Topic};
use serde_json::{Value, json};
use service::auth::Scope;
use store::Store as _;

use super::world::{Answer, Served, answer, event, with_key};

fn request() -> Value {
    json!({"model": "fast", "stream": true, "body": {"messages": [{"role": "user", "content": "hi"}]}})
}

#[tokio::test]
async fn execution_is_found_right_after_the_202() {
    let served = Served::new().await;
    let got = served.post("/v1/requests", &request()).await;
    assert_eq!(got.status.as_u16(), 202);
    let body = got.json();
    let id = body["id"].as_str().unwrap();
    assert_eq!(got.header("location"), format!("/v1/executions/{id}"));
    assert_eq!(body["links"]["events"], format!("/v1/executions/{id}/events"));
    let execution = served.get(got.header("location")).await;
    assert_eq!(execution.status.as_u16(), 200);
    let execution = execution.json();
    assert_eq!((&execution["status"], &execution["tenant"]), (&json!("accepted"), &json!("acme")));
    let record = served.world.published_to(Topic::Feed(Kind::Model)).await;
    let published: ModelRequest = served.world.0.ids.read(&record.value).unwrap();
    assert_eq!((published.id.as_str(), published.stream), (id, true));
}

#[tokio::test]
async fn id_with_any_characters_leads_to_itself() {
    let served = Served::new().await;
    for id in ["a/b", "a b?c#d", "é漢", "x:cancel", "%41", "..", "\"quoted\""] {
        let mut body = request();
        let id = format!("acme/{id}");
        body["id"] = id.as_str().into();
        let got = served.post("/v1/requests", &body).await;
        assert_eq!(got.status.as_u16(), 202, "{id}");
        let found = served.get(got.header("location")).await;
        assert_eq!(found.status.as_u16(), 200, "{id}");
        assert_eq!(found.json()["id"], id.as_str());
    }
}

#[tokio::test]
async fn same_idempotency_key_is_the_same_execution() {
    let served = Served::new().await;
    let mut ids = Vec::new();
    for key in ["k", "k", "l"] {
        let mut request = served.request("POST", "/v1/requests", request().to_string());
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        ids.push(answer(served.send(request).await).await.json()["id"].clone());
    }
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
}

#[tokio::test]
async fn another_tenants_execution_does_not_exist() {
    let served = Served::new().await;
    let theirs = served.world.key("other", &Scope::ALL);
    let done = event("mine", 1, EventType::Admitted);
    served.world.0.store.apply_event(&done).await.unwrap();
    served.world.event(&done);
    for (method, path) in [
        ("GET", "/v1/executions/mine"),
        ("GET", "/v1/executions/mine/events"),
        ("POST", "/v1/executions/mine:cancel"),
    ] {
        let request = with_key(method, path, &theirs, Body::empty());
        let got = answer(served.send(request).await).await;
        assert_eq!(got.status.as_u16(), 404, "{path}");
        assert_eq!(got.json()["code"], "not_found");
    }
    let mut body = request();
    body["tenant"] = "acme".into();
    let stolen = with_key("POST", "/v1/requests", &theirs, body.to_string());
    assert_eq!(served.send(stolen).await.status().as_u16(), 403);
    assert!(served.world.published().is_empty());
}

#[tokio::test]
async fn cancel_is_a_command_in_the_log_of_its_execution() {
    let served = Served::new().await;
    served.world.0.store.apply_event(&event("a/b", 1, EventType::Admitted)).await.unwrap();
    let got = served.post("/v1/executions/a%2Fb:cancel", &json!(null)).await;
    assert_eq!((got.status.as_u16(), &got.json()["status"]), (202, &json!("admitted")));
    let record = served.world.published_to(Topic::Log(Kind::Model)).await;
    assert_eq!(record.key.as_deref(), Some(&b"a/b"[..]));
    let fact = served.world.0.ids.read_fact(&record.value).unwrap();
    assert!(
        matches!(&fact, Fact::Command(c) if c.tenant == "acme" && matches!(c.order, Order::Cancel { .. })),
        "{fact:?}"
    );
    served.world.0.store.apply_event(&event("a/b", 2, EventType::Cancelled)).await.unwrap();
    let again = served.post("/v1/executions/a%2Fb:cancel", &json!(null)).await;
    assert_eq!((again.status.as_u16(), &again.json()["code"]), (409, &json!("already_ended")));
    let plain = served.post("/v1/executions/a%2Fb", &json!(null)).await;
    assert_eq!((plain.status.as_u16(), plain.header("allow")), (405, "GET, HEAD"));
}

#[tokio::test]
async fn answer_is_json_inside_json() {
    let served = Served::new().await;
    let done = domain::event::ExecutionEvent {
        data: Some(r#"{"choices":[1.50]}"#.into()),
        ..event("e", 1, EventType::Succeeded)
    };
    served.world.0.store.apply_event(&done).await.unwrap();
    let got = served.get("/v1/executions/e").await;
    assert!(got.text.contains(r#""output":{"choices":[1.50]}"#), "{}", got.text);
    assert_eq!(got.json()["position"], json!({"generation": 0, "number": 1}));
}

fn definition(model: &str) -> Value {
    json!({"deployments": [{"name": "a", "provider": "openai", "model": model}]})
}

async fn put(served: &Served, condition: Option<(&'static str, &str)>, body: &Value) -> Answer {
    let mut request = served.request("PUT", "/v1/definitions/models/new", body.to_string());
    if let Some((name, value)) = condition {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    answer(served.send(request).await).await
}

#[tokio::test]
async fn definition_is_changed_by_whoever_names_the_version_that_stands() {
    let served = Served::new().await;
    let made = put(&served, Some(("if-none-match", "*")), &definition("m1")).await;
    assert_eq!((made.status.as_u16(), made.header("etag")), (201, "\"1\""));
    assert_eq!(put(&served, None, &definition("m2")).await.status.as_u16(), 428);
    let changed = put(&served, Some(("if-match", "\"1\"")), &definition("m2")).await;
    assert_eq!((changed.status.as_u16(), changed.header("etag")), (200, "\"2\""));
    let late = put(&served, Some(("if-match", "\"1\"")), &definition("m3")).await;
    assert_eq!((late.status.as_u16(), &late.json()["version"]), (409, &json!(2)));
    let stands = served.get("/v1/definitions/models/new").await.json();
    assert_eq!(stands["definition"], definition("m2"));
    let list = served.get("/v1/definitions/models").await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn wrong_definition_is_refused_at_its_place_and_not_written() {
    let served = Served::new().await;
    for (body, place) in [
        (json!([]), "body"),
        (json!({"deployments": []}), "deployments"),
        (
            json!({"deployments": [{"name": "a", "provider": "openai", "model": "m", "key": "sk-1"}]}),
            "deployments[0].key",
        ),
    ] {
        let got = put(&served, Some(("if-none-match", "*")), &body).await;
        assert_eq!(got.status.as_u16(), 400, "{body}");
        let found = got.json();
        assert!(found["place"].as_str().unwrap().starts_with(place), "{found}");
    }
    assert!(served.world.published().is_empty());
}
