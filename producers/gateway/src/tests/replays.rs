//! The same request again.

use domain::event::EventType;
use domain::topic::{Kind, Topic};
use serde_json::{Value, json};
use store::Store as _;

use super::world::{Answer, Served, answer, event};

const ANSWER: &str =
    r#"{"choices":[{"index":0,"message":{"content":"Hello"},"finish_reason":"stop"}]}"#;

fn chat(text: &str) -> Value {
    json!({"model": "fast", "messages": [{"role": "user", "content": text}]})
}

/// What each way to start takes, and the same with another text.
fn starts() -> [(&'static str, Value, Value); 5] {
    let embed = |text: &str| json!({"model": "fast", "input": text});
    let rerank = |text: &str| json!({"model": "fast", "query": text, "documents": ["d"]});
    let ours = |text: &str| json!({"model": "fast", "body": chat(text)});
    [
        ("/v1/chat/completions", chat("a"), chat("b")),
        ("/v1/embeddings", embed("a"), embed("b")),
        ("/v1/rerank", rerank("a"), rerank("b")),
        ("/v1/responses", embed("a"), embed("b")),
        ("/v1/requests", ours("a"), ours("b")),
    ]
}

async fn post(served: &Served, key: &str, path: &str, body: &Value) -> Answer {
    let mut request = served.request("POST", path, body.to_string());
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    answer(served.send(request).await).await
}

fn on_feed(served: &Served) -> usize {
    served.world.published().iter().filter(|r| r.topic == Topic::Feed(Kind::Model)).count()
}

#[tokio::test]
async fn same_key_and_request_is_answered_again_and_another_request_is_refused() {
    for (path, body, other) in starts() {
        let served = Served::new().await;
        served.world.on_request(|world, request| world.succeed(&request.id, ANSWER));
        let first = post(&served, "k", path, &body).await;
        assert!(first.status.is_success(), "{path}: {}", first.text);
        assert_eq!(first.header("idempotent-replayed"), "", "{path}");
        let again = post(&served, "k", path, &body).await;
        assert_eq!(again.status, first.status, "{path}");
        assert_eq!(again.header("idempotent-replayed"), "true", "{path}");
        assert_eq!(again.header("x-execution-id"), first.header("x-execution-id"), "{path}");
        if path != "/v1/responses" {
            assert_eq!(again.text, first.text, "{path}");
        }
        let refused = post(&served, "k", path, &other).await;
        assert_eq!(refused.status.as_u16(), 422, "{path}: {}", refused.text);
        assert!(refused.text.contains("idempotency_key_reused"), "{}", refused.text);
        let new = post(&served, "l", path, &other).await;
        assert_eq!(new.header("idempotent-replayed"), "", "{path}");
    }
}

#[tokio::test]
async fn one_key_on_two_routes_is_two_requests_and_so_refused() {
    let served = Served::new().await;
    served.world.on_request(|world, request| world.succeed(&request.id, ANSWER));
    let body = json!({"model": "fast", "messages": [{"role": "user"}], "input": "x"});
    assert_eq!(post(&served, "k", "/v1/chat/completions", &body).await.status.as_u16(), 200);
    assert_eq!(post(&served, "k", "/v1/embeddings", &body).await.status.as_u16(), 422);
}

#[tokio::test]
async fn request_that_is_known_to_be_admitted_is_not_published_again() {
    let served = Served::new().await;
    let body = json!({"model": "fast", "body": chat("a")});
    let id = post(&served, "k", "/v1/requests", &body).await.json()["id"].clone();
    assert_eq!(on_feed(&served), 1);
    post(&served, "k", "/v1/requests", &body).await;
    assert_eq!(on_feed(&served), 2, "nobody has said that the first one arrived");
    let admitted = event(id.as_str().unwrap(), 1, EventType::Admitted);
    served.world.0.store.apply_event(&admitted).await.unwrap();
    let again = post(&served, "k", "/v1/requests", &body).await;
    assert_eq!((again.status.as_u16(), on_feed(&served)), (202, 2));
}

#[tokio::test]
async fn request_that_never_reached_the_broker_is_tried_again_under_its_key() {
    let served = Served::new().await;
    let body = json!({"model": "fast", "body": chat("a")});
    served.world.break_broker();
    assert_eq!(post(&served, "k", "/v1/requests", &body).await.status.as_u16(), 503);
    served.world.mend_broker();
    let again = post(&served, "k", "/v1/requests", &body).await;
    assert_eq!((again.status.as_u16(), on_feed(&served)), (202, 1));
}

#[tokio::test]
async fn two_at_once_under_one_key_are_one_execution() {
    let served = Served::new().await;
    let body = |text: &str| json!({"model": "fast", "body": chat(text)});
    let (a, b) = (body("a"), body("b"));
    let (x, y) = tokio::join!(
        post(&served, "same", "/v1/requests", &a),
        post(&served, "same", "/v1/requests", &b)
    );
    let mut statuses = [x.status.as_u16(), y.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 422]);
    assert_eq!(on_feed(&served), 1);
}

#[tokio::test]
async fn chosen_id_is_a_name_as_well() {
    let served = Served::new().await;
    let body = |text: &str| json!({"id": "acme/1", "model": "fast", "body": chat(text)});
    let first = served.post("/v1/requests", &body("a")).await;
    let again = served.post("/v1/requests", &body("a")).await;
    assert_eq!((again.status.as_u16(), &again.text), (202, &first.text));
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(served.post("/v1/requests", &body("b")).await.status.as_u16(), 422);
    for id in ["plain", "other/1", "5e6a9f9e-5d0a-5d0b-8a8e-0d9a7a1c2b3d"] {
        let body = json!({"id": id, "model": "fast", "body": chat("a")});
        let refused = served.post("/v1/requests", &body).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.json()["place"]),
            (400, &json!("id")),
            "{id}"
        );
    }
}

#[tokio::test]
async fn key_that_is_no_key_is_refused() {
    let served = Served::new().await;
    let mut twice = served.request("POST", "/v1/requests", "{}");
    twice.headers_mut().append("idempotency-key", "a".parse().unwrap());
    twice.headers_mut().append("idempotency-key", "b".parse().unwrap());
    let body = json!({"model": "fast", "body": chat("a")});
    *twice.body_mut() = body.to_string().into();
    assert_eq!(served.send(twice).await.status().as_u16(), 400);
    for key in ["", &"x".repeat(257)] {
        let got = post(&served, key, "/v1/requests", &body).await;
        assert_eq!(got.json()["place"], "Idempotency-Key", "{key:?}");
    }
    assert!(served.world.published().is_empty());
}
