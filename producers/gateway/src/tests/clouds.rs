//! CloudEvents in.

use axum::http::Request;
use domain::request::ModelRequest;
use domain::topic::{Kind, Topic};
use serde_json::{Value, json};

use super::world::{Answer, Served, answer};

fn data() -> Value {
    json!({"model": "fast", "priority": 2, "body": {"messages": [{"role": "user", "content": "hi"}]}})
}

fn cloud_event(id: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/shop", "type": "io.stepstream.v1.ModelRequest",
        "time": "2026-01-01T00:00:00Z", "datacontenttype": "application/json", "vendor": 1,
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "data": data(),
    })
}

async fn send(served: &Served, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut request =
        Request::post("/v1/events").header("authorization", format!("Bearer {}", served.key));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(served.send(request.body(body.to_string().into()).unwrap()).await).await
}

const STRUCTURED: [(&str, &str); 1] =
    [("content-type", "application/cloudevents+json; charset=utf-8")];
const BATCH: [(&str, &str); 1] = [("content-type", "application/cloudevents-batch+json")];
const BINARY: [(&str, &str); 5] = [
    ("content-type", "application/json"),
    ("ce-specversion", "1.0"),
    ("ce-id", "1"),
    ("ce-source", "%2Fshop"),
    ("ce-type", "io.stepstream.v1.ModelRequest"),
];

fn requests(served: &Served) -> Vec<ModelRequest> {
    let published = served.world.published();
    let feed = published.iter().filter(|record| record.topic == Topic::Feed(Kind::Model));
    feed.map(|record| served.world.0.ids.read(&record.value).unwrap()).collect()
}

#[tokio::test]
async fn event_is_one_execution_whichever_way_and_however_often_it_comes() {
    let served = Served::new().await;
    let first = send(&served, &STRUCTURED, &cloud_event("1")).await;
    assert_eq!(first.status.as_u16(), 202, "{}", first.text);
    let id = first.json()["id"].clone();
    let again = send(&served, &BINARY, &data()).await;
    assert_eq!((&again.json()["id"], again.header("idempotent-replayed")), (&id, "true"));
    let batch = send(&served, &BATCH, &json!([cloud_event("1"), cloud_event("2")])).await;
    let ids: Vec<Value> =
        batch.json()["data"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert_eq!(ids[0], id);
    assert_ne!(ids[1], id);
    let requests = requests(&served);
    assert_eq!((requests[0].tenant.as_str(), requests[0].priority), ("acme", 2));
    let record = &served.world.published()[0];
    let parent = runtime::ports::header(&record.headers, "traceparent").unwrap();
    assert!(parent.starts_with("00-0af7651916cd43dd8448eb211c80319c"));
    let found = served.get(&format!("/v1/executions/{}", id.as_str().unwrap())).await;
    assert_eq!(found.status.as_u16(), 200);
}

#[tokio::test]
async fn same_event_with_other_data_is_refused() {
    let served = Served::new().await;
    send(&served, &STRUCTURED, &cloud_event("1")).await;
    let mut other = cloud_event("1");
    other["data"]["priority"] = 3.into();
    assert_eq!(send(&served, &STRUCTURED, &other).await.status.as_u16(), 422);
}

#[tokio::test]
async fn batch_with_one_wrong_event_starts_nothing_and_names_it() {
    let served = Served::new().await;
    for (change, place) in [
        (("source", json!("")), "[1].source"),
        (("data", json!({"model": "fast", "body": {}})), "[1].data.body.messages"),
        (("data", json!([])), "[1].data"),
        (("data", json!({"id": "acme/1", "model": "fast"})), "[1].data.id"),
    ] {
        let mut wrong = cloud_event("2");
        wrong[change.0] = change.1;
        let got = send(&served, &BATCH, &json!([cloud_event("1"), wrong])).await;
        assert_eq!(
            (got.status.as_u16(), &got.json()["place"]),
            (400, &json!(place)),
            "{}",
            got.text
        );
    }
    let none = send(&served, &BATCH, &json!([])).await;
    assert_eq!(none.status.as_u16(), 400);
    let many: Vec<Value> = (0..101).map(|n| cloud_event(&n.to_string())).collect();
    assert_eq!(send(&served, &BATCH, &json!(many)).await.status.as_u16(), 400);
    assert!(served.world.published().is_empty());
}

#[tokio::test]
async fn attribute_that_is_missing_is_named_as_it_was_to_come() {
    let served = Served::new().await;
    let got = send(&served, &BINARY[..4], &data()).await;
    assert_eq!(got.json()["place"], "ce-type");
    let mut event = cloud_event("1");
    event.as_object_mut().unwrap().remove("specversion");
    assert_eq!(send(&served, &STRUCTURED, &event).await.json()["place"], "specversion");
    let got = send(&served, &[("content-type", "text/plain")], &data()).await;
    assert_eq!(got.status.as_u16(), 415);
    let mut unknown = cloud_event("1");
    unknown["data"]["model"] = "nobody".into();
    assert_eq!(send(&served, &STRUCTURED, &unknown).await.status.as_u16(), 404);
}
