//! What an OpenAI client meets.

use std::time::Duration;

use axum::body::Body;
use domain::answer::{ErrorClass, Failure};
use domain::event::EventType;
use domain::fact::{Fact, Order};
use domain::request::{ModelRequest, Operation};
use domain::topic::{Kind, Topic};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::Options;
use super::world::{Served, answer, event};

const ANSWER: &str = r#"{"id":"x","object":"chat.completion","model":"gpt","choices":[{"index":0,"message":{"role":"assistant","content":"Hello you"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3},"vendor":[1.50]}"#;

fn chat(more: Value) -> Value {
    let mut body = json!({"model": "fast", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn streamed() -> Value {
    chat(json!({"stream": true, "stream_options": {"include_usage": true}}))
}

fn data(answer: &super::world::Answer) -> Vec<String> {
    answer.events().into_iter().map(|(_, _, data)| data).collect()
}

#[tokio::test]
async fn answer_of_the_provider_comes_back_verbatim() {
    let served = Served::new().await;
    served.world.on_request(|world, request| world.succeed(&request.id, ANSWER));
    let got = served.post("/v1/chat/completions", &chat(json!({"vendor_field": 1}))).await;
    assert_eq!((got.status.as_u16(), got.text.as_str()), (200, ANSWER));
    let record = served.world.published_to(Topic::Feed(Kind::Model)).await;
    let request: ModelRequest = served.world.0.ids.read(&record.value).unwrap();
    assert_eq!(got.header("x-execution-id"), request.id);
    assert_eq!((request.tenant.as_str(), request.stream), ("acme", false));
    assert_eq!(request.body, chat(json!({"vendor_field": 1})).to_string());
    assert_eq!(record.key.as_deref(), Some(request.id.as_bytes()));
    let header = |name: &str| runtime::ports::header(&record.headers, name).unwrap().to_owned();
    assert_eq!(header("ce_type"), "io.stepstream.v1.ModelRequest");
    assert_eq!((header("ce_id"), header("ce_tenant")), (request.id.clone(), "acme".into()));
    assert!(crate::text::is_trace_parent(&header("traceparent")));
    assert_eq!(served.world.published().len(), 1, "an answered call is not cancelled");
}

#[tokio::test]
async fn stream_is_what_the_openai_package_reads() {
    let served = Served::new().await;
    served.world.on_request(|world, request| {
        assert!(request.stream);
        world.chunk(&request.id, 1, 0, "Hello ");
        world.chunk(&request.id, 1, 1, "you");
        world.succeed(&request.id, ANSWER);
    });
    let got = served.post("/v1/chat/completions", &streamed()).await;
    assert_eq!(got.header("content-type"), "text/event-stream");
    let data = data(&got);
    assert_eq!(data.last().map(String::as_str), Some("[DONE]"));
    let chunks: Vec<Value> =
        data[..data.len() - 1].iter().map(|data| serde_json::from_str(data).unwrap()).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "Hello you");
    let id = format!("chatcmpl-{}", got.header("x-execution-id"));
    assert!(chunks.iter().all(|chunk| chunk["id"] == id.as_str() && chunk["model"] == "fast"));
    assert_eq!(chunks.last().unwrap()["usage"]["total_tokens"], 3);
    assert_eq!(chunks.last().unwrap()["choices"], json!([]));
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn failure_has_the_status_of_its_class_in_openais_shape() {
    for (class, code, status, kind) in [
        (ErrorClass::ContextWindow, "context_length_exceeded", 400, "invalid_request_error"),
        (ErrorClass::RateLimited, "said", 429, "rate_limit_error"),
        (ErrorClass::Authentication, "said", 502, "server_error"),
        (ErrorClass::Timeout, "said", 504, "server_error"),
    ] {
        for body in [chat(json!({})), streamed()] {
            let served = Served::new().await;
            served.world.on_request(move |world, request| {
                world.fail(&request.id, Failure::new(class, "said", "no"));
            });
            let got = served.post("/v1/chat/completions", &body).await;
            let error = &got.json()["error"];
            assert_eq!(got.status.as_u16(), status, "{class:?}");
            assert_eq!((&error["code"], &error["type"]), (&json!(code), &json!(kind)), "{class:?}");
            assert_eq!(error["message"], "no");
            assert_eq!(got.header("content-type"), "application/json");
        }
    }
}

#[tokio::test]
async fn failure_after_text_was_sent_ends_the_stream_with_an_error() {
    let served = Served::new().await;
    served.world.on_request(|world, request| {
        world.chunk(&request.id, 1, 0, "Hel");
        let world = world.clone();
        tokio::spawn(async move {
            // The head of the answer goes out with the text; the failure comes later.
            tokio::time::sleep(Duration::from_millis(20)).await;
            world.fail(&request.id, Failure::new(ErrorClass::Provider, "broke_off", "gone"));
        });
    });
    let got = served.post("/v1/chat/completions", &streamed()).await;
    let data = data(&got);
    assert_eq!(got.status.as_u16(), 200);
    let last: Value = serde_json::from_str(data.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "broke_off");
    assert!(!data.iter().any(|data| data == "[DONE]"));
}

#[tokio::test]
async fn retry_with_other_text_ends_the_stream_and_lets_the_work_go_on() {
    let served = Served::new().await;
    served.world.on_request(|world, request| {
        world.chunk(&request.id, 1, 0, "Hello");
        let world = world.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            world.chunk(&request.id, 2, 0, "Good day");
        });
    });
    let got = served.post("/v1/chat/completions", &streamed()).await;
    let data = data(&got);
    let last: Value = serde_json::from_str(data.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "stream_diverged");
    assert!(!got.text.contains("Good day"));
    tokio::task::yield_now().await;
    assert_eq!(served.world.published().len(), 1, "nothing is cancelled");
}

#[tokio::test]
async fn client_that_leaves_cancels_its_execution() {
    for body in [chat(json!({})), streamed()] {
        let served = Served::new().await;
        served.world.on_request(|world, request| world.chunk(&request.id, 1, 0, "Hello"));
        let request = served.request("POST", "/v1/chat/completions", body.to_string());
        if body["stream"] == true {
            let response = served.send(request).await;
            let mut frames = response.into_body().into_data_stream();
            frames.next().await.unwrap().unwrap();
            drop(frames);
        } else {
            tokio::select! {
                response = served.send(request) => panic!("{response:?}"),
                _ = served.world.published_to(Topic::Feed(Kind::Model)) => {}
            }
        }
        let asked = served.world.published_to(Topic::Feed(Kind::Model)).await;
        let command = served.world.published_to(Topic::Log(Kind::Model)).await;
        assert_eq!(command.key, asked.key);
        match served.world.0.ids.read_fact(&command.value).unwrap() {
            Fact::Command(command) => {
                assert_eq!(command.tenant, "acme");
                assert!(matches!(command.order, Order::Cancel { .. }));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn stopping_gateway_cancels_nothing() {
    let served = Served::new().await;
    let request = served.request("POST", "/v1/chat/completions", chat(json!({})).to_string());
    tokio::select! {
        response = served.send(request) => panic!("{response:?}"),
        // Within the branch: the request is dropped when the branch is done.
        () = async {
            served.world.published_to(Topic::Feed(Kind::Model)).await;
            served.app.shutdown.finish();
        } => {}
    }
    tokio::task::yield_now().await;
    assert_eq!(served.world.published().len(), 1);
}

#[tokio::test]
async fn answer_that_takes_too_long_can_be_fetched_later() {
    let wait = Duration::from_millis(30);
    for body in [chat(json!({})), streamed()] {
        let served = Served::with(Options { wait, ..Options::default() }).await;
        let got = served.post("/v1/chat/completions", &body).await;
        assert_eq!(got.status.as_u16(), 504);
        assert_eq!(got.json()["error"]["code"], "answer_timeout");
        assert_eq!(got.header("x-should-retry"), "false");
        let id = got.header("x-execution-id").to_owned();
        let execution = served.get(&format!("/v1/executions/{id}")).await.json();
        assert_eq!(
            (&execution["status"], &execution["definition"]),
            (&json!("accepted"), &json!("fast"))
        );
        assert_eq!(served.world.published().len(), 1, "it goes on");
    }
}

#[tokio::test]
async fn same_idempotency_key_gets_the_same_answer_without_new_work_being_waited_for() {
    let served = Served::new().await;
    let id = crate::ids::of_key("acme", "k1");
    let done = domain::event::ExecutionEvent {
        data: Some(ANSWER.into()),
        ..event(&id, 1, EventType::Succeeded)
    };
    store::Store::apply_event(&*served.world.0.store, &done).await.unwrap();
    let mut request = served.request("POST", "/v1/chat/completions", chat(json!({})).to_string());
    request.headers_mut().insert("idempotency-key", "k1".parse().unwrap());
    let got = answer(served.send(request).await).await;
    assert_eq!((got.status.as_u16(), got.text.as_str()), (200, ANSWER));
    assert_eq!(got.header("x-execution-id"), id);
}

#[tokio::test]
async fn broker_that_is_away_is_a_503_that_tells_no_secret() {
    let served = Served::new().await;
    served.world.break_broker();
    for (path, body) in [
        ("/v1/chat/completions", chat(json!({}))),
        ("/v1/requests", json!({"model": "fast", "body": chat(json!({}))})),
    ] {
        let got = served.post(path, &body).await;
        assert_eq!(got.status.as_u16(), 503, "{path}");
        assert_eq!(got.header("x-should-retry"), "true");
        assert!(!got.text.contains("sk-ss-"), "{}", got.text);
    }
}

#[tokio::test]
async fn embeddings_come_as_numbers_or_as_base64() {
    let vectors = r#"{"object":"list","data":[{"index":0,"embedding":[1.0,-2.5]}]}"#;
    for (format, expected) in [
        (None, json!([1.0, -2.5])),
        (Some("float"), json!([1.0, -2.5])),
        (Some("base64"), json!("AACAPwAAIMA=")),
    ] {
        let served = Served::new().await;
        served.world.on_request(move |world, request| {
            assert_eq!(request.operation, Operation::Embeddings);
            assert!(!request.body.contains("base64"), "providers are asked for numbers");
            world.succeed(&request.id, vectors);
        });
        let mut body = json!({"model": "fast", "input": "a"});
        if let Some(format) = format {
            body["encoding_format"] = format.into();
        }
        let got = served.post("/v1/embeddings", &body).await;
        assert_eq!(got.json()["data"][0]["embedding"], expected, "{format:?}");
    }
}

#[tokio::test]
async fn rerank_passes_through() {
    let served = Served::new().await;
    let results = r#"{"results":[{"index":1,"relevance_score":0.9}]}"#;
    served.world.on_request(move |world, request| {
        assert_eq!(request.operation, Operation::Rerank);
        world.succeed(&request.id, results);
    });
    let body = json!({"model": "fast", "query": "q", "documents": ["a", {"text": "b"}]});
    assert_eq!(served.post("/v1/rerank", &body).await.text, results);
}

#[tokio::test]
async fn models_are_those_of_the_tenant() {
    let served = Served::new().await;
    served.world.define("other", "secret-model", "{}");
    served.world.define("acme", "team/large", "{}");
    let list = served.get("/v1/models").await.json();
    let ids: Vec<&str> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["fast", "team/large"]);
    let model = served.get("/v1/models/team%2Flarge").await.json();
    assert_eq!(
        model,
        json!({"id": "team/large", "object": "model", "created": 5, "owned_by": "stepstream"})
    );
    for name in ["secret-model", "none", "%ff"] {
        let got = served.get(&format!("/v1/models/{name}")).await;
        assert!(
            got.status.is_client_error() && got.json()["error"]["message"].is_string(),
            "{name}"
        );
    }
    let got = served
        .post(
            "/v1/chat/completions",
            &json!({"model": "secret-model", "messages": [{"role": "user"}]}),
        )
        .await;
    assert_eq!(got.json()["error"]["code"], "model_not_found");
    assert!(served.world.published().is_empty());
    let empty = served.send(served.request("GET", "/v1/models", Body::empty())).await;
    assert_eq!(empty.status().as_u16(), 200);
}
