//! Bodies and answers that are too large for their records: clients never see the difference.

use axum::body::Body;
use domain::claim::ClaimCheck;
use domain::event::{EventType, ExecutionEvent};
use domain::request::{JSON, ModelRequest};
use domain::topic::{Kind, Topic};
use serde_json::{Value, json};
use service::auth::Scope;
use store::{Checked, Store as _};

use super::world::{Served, answer, event, with_key};

const MIB: usize = 1024 * 1024;

fn chat(prompt: &str) -> Value {
    json!({"model": "fast", "messages": [{"role": "user", "content": prompt}]})
}

/// An answer with `length` bytes of text.
fn said(length: usize) -> Value {
    json!({"id": "x", "choices": [{
        "index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": "word ".repeat(length / 5)},
    }]})
}

async fn kept(served: &Served, value: &Value) -> ClaimCheck {
    match served.app.claims.check_in("acme", value.to_string(), JSON).await.unwrap() {
        Checked::Claimed(claim) => claim,
        Checked::Inline(text) => panic!("{} bytes are not large", text.len()),
    }
}

fn succeeded(id: &str, claim: ClaimCheck) -> ExecutionEvent {
    ExecutionEvent { data_claim: Some(claim), ..event(id, 1, EventType::Succeeded) }
}

/// A gateway whose every request is answered with this, by its claim check.
async fn answering(value: &Value) -> Served {
    let served = Served::new().await;
    let claim = kept(&served, value).await;
    served.world.on_request(move |world, request| {
        world.event(&succeeded(&request.id, claim.clone()));
    });
    served
}

fn last_request(served: &Served) -> (usize, ModelRequest) {
    let published = served.world.published();
    let record = published.iter().rfind(|record| record.topic == Topic::Feed(Kind::Model));
    let value = &record.expect("a request").value;
    (value.len(), served.world.0.ids.read(value).unwrap())
}

#[tokio::test]
async fn large_body_is_kept_on_every_route_and_its_record_stays_small() {
    let served = answering(&said(MIB)).await;
    let prompt = "x".repeat(MIB);
    for (path, body) in [
        ("/v1/chat/completions", chat(&prompt)),
        ("/v1/requests?wait=5s", json!({"model": "fast", "body": chat(&prompt)})),
        ("/v1/responses", json!({"model": "fast", "input": prompt})),
    ] {
        let got = served.post(path, &body).await;
        assert_eq!(got.status.as_u16(), 200, "{path}: {}", &got.text[..got.text.len().min(500)]);
        let (length, request) = last_request(&served);
        assert!(length < 1_000, "{path}: {length}");
        let claim = request.body_claim.expect("a claim check");
        assert_eq!(request.body, "");
        let body = served.app.claims.text("acme", &claim).await.unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["messages"][0]["content"].as_str().map(str::len), Some(MIB), "{path}");
    }
    served.post("/v1/chat/completions", &chat("hi")).await;
    let (_, small) = last_request(&served);
    assert_eq!((small.body.is_empty(), small.body_claim), (false, None));
}

#[tokio::test]
async fn body_beyond_the_limit_of_all_is_refused() {
    let served = Served::new().await;
    let got = served.post("/v1/chat/completions", &chat(&"x".repeat(16 * MIB))).await;
    assert_eq!(got.status.as_u16(), 413);
}

#[tokio::test]
async fn client_that_waits_gets_a_large_answer_in_one_piece_or_as_a_stream() {
    let value = said(MIB);
    let served = answering(&value).await;
    let whole = served.post("/v1/chat/completions", &chat("hi")).await;
    assert!(whole.json() == value, "the provider's JSON as it is");
    let mut body = chat("hi");
    body["stream"] = true.into();
    let streamed = served.post("/v1/chat/completions", &body).await;
    let text: String = streamed
        .events()
        .iter()
        .filter_map(|(_, _, data)| serde_json::from_str::<Value>(data).ok())
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert!(value["choices"][0]["message"]["content"] == text.as_str());
    let response = served.post("/v1/responses", &json!({"model": "fast", "input": "hi"})).await;
    let text = response.json()["output"][0]["content"][0]["text"].take();
    assert!(text == value["choices"][0]["message"]["content"]);
}

#[tokio::test]
async fn large_answer_is_in_its_execution_and_its_events_and_claimed_in_lists() {
    let (served, value) = (Served::new().await, said(MIB));
    let claim = kept(&served, &value).await;
    let ended = succeeded("e", claim.clone());
    served.world.0.store.apply_event(&ended).await.unwrap();
    let execution = served.get("/v1/executions/e").await.json();
    assert!(execution["output"] == value);
    assert_eq!(execution.get("output_claim"), None);
    let mut list = served.request("GET", "/v1/executions/e/events", Body::empty());
    list.headers_mut().insert("accept", JSON.parse().unwrap());
    let list = answer(served.send(list).await).await.json();
    assert!(list["data"][0]["data"] == value);
    let sent = served.get("/v1/executions/e/events").await.events();
    let data: Value = serde_json::from_str(&sent[0].2).unwrap();
    assert!(data["data"] == value);
    assert_eq!(data.get("data_claim"), None);
    let listed = served.get("/v1/executions").await.json()["data"][0].take();
    assert_eq!(listed["output"], Value::Null);
    assert_eq!(listed["output_claim"]["hash"], claim.hash.as_str());
}

#[tokio::test]
async fn answer_that_is_gone_is_said_to_be_gone() {
    let served = Served::new().await;
    let hash = format!("sha256:{}", "0a".repeat(32));
    let gone = ClaimCheck { hash: hash.clone(), length: 300_000, media_type: JSON.into() };
    served.world.0.store.apply_event(&succeeded("e", gone.clone())).await.unwrap();
    let execution = served.get("/v1/executions/e").await.json();
    assert_eq!((&execution["status"], &execution["output"]), (&json!("succeeded"), &Value::Null));
    assert_eq!(execution["output_claim"]["hash"], hash.as_str());
    let sent = served.get("/v1/executions/e/events").await.events();
    assert!(sent[0].2.contains(&hash), "{}", sent[0].2);
    served.world.on_request(move |world, request| {
        world.event(&succeeded(&request.id, gone.clone()));
    });
    let waited = served.post("/v1/chat/completions", &chat("hi")).await;
    assert_eq!(waited.status.as_u16(), 502);
    assert!(waited.text.contains("300000 bytes"), "{}", waited.text);
}

#[tokio::test]
async fn value_is_given_to_its_tenant_and_to_nobody_else() {
    let (served, value) = (Served::new().await, said(MIB));
    let path = format!("/v1/values/{}", kept(&served, &value).await.hash);
    let got = served.get(&path).await;
    assert!(got.status.is_success() && got.json() == value);
    assert_eq!(got.header("content-type"), "application/octet-stream");
    let theirs = served.world.key("other", &Scope::ALL);
    let poor = served.world.key("acme", &[Scope::RequestsWrite]);
    let unknown = format!("/v1/values/sha256:{}", "0a".repeat(32));
    for (path, key, status) in [
        (path.as_str(), theirs.as_str(), 404),
        (&path, &poor, 403),
        (&path, "sk-ss-no", 401),
        (&unknown, &served.key, 404),
        ("/v1/values/md5:00", &served.key, 400),
    ] {
        let got = served.send(with_key("GET", path, key, Body::empty())).await;
        assert_eq!(got.status().as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn response_with_a_long_conversation_is_fetched_and_gone_on_from() {
    let served = Served::new().await;
    served.world.on_request(|world, request| world.succeed(&request.id, &said(100).to_string()));
    let input = "x".repeat(MIB);
    let first = served.post("/v1/responses", &json!({"model": "fast", "input": input})).await;
    let id = first.json()["id"].as_str().unwrap().to_owned();
    let execution = id.strip_prefix("resp_").unwrap();
    let note = served.world.0.store.execution("acme", execution).await.unwrap().unwrap().note;
    assert!(note.unwrap().len() < 1_000, "the row stays small");
    let ended = ExecutionEvent {
        data: Some(said(100).to_string()),
        ..event(execution, 3, EventType::Succeeded)
    };
    served.world.0.store.apply_event(&ended).await.unwrap();
    let again = served.get(&format!("/v1/responses/{id}")).await.json();
    assert_eq!(again["status"], "completed");
    let next = json!({"model": "fast", "input": "and?", "previous_response_id": id});
    assert_eq!(served.post("/v1/responses", &next).await.status.as_u16(), 200);
    let (_, request) = last_request(&served);
    let body = served.app.claims.text("acme", &request.body_claim.unwrap()).await.unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    let lengths: Vec<_> = body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["content"].to_string().len())
        .collect();
    assert_eq!(lengths, [MIB + 2, 102, 6], "the conversation up to here");
}
