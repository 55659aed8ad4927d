//! Anthropic and Gemini by their own interfaces, against a server that answers as they do.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use domain::answer::Usage;
use domain::event::ChunkKind;
use domain::request::{ModelRequest, Operation};
use serde_json::{Value, json};

use crate::support::{CANARY_KEY, Heard, caller, chat, one, streaming, with};

/// What is answered next: status, content type, body.
type Answer = (u16, &'static str, String);

#[derive(Default)]
struct Played {
    answers: VecDeque<Answer>,
    seen: Vec<(String, HeaderMap, Value)>,
}

type Shared = Arc<Mutex<Played>>;

async fn play(State(played): State<Shared>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut played = played.lock().expect("no panic");
    let body = serde_json::from_slice(&body).unwrap_or_default();
    played.seen.push((uri.to_string(), headers, body));
    let (status, content_type, body) = played.answers.pop_front().expect("an answer is left");
    let status = StatusCode::from_u16(status).expect("a status");
    (status, [("content-type", content_type), ("retry-after", "0")], body).into_response()
}

/// A model at a server that gives these answers.
async fn provider(name: &str, answers: Vec<Answer>) -> (stepstream_model::Caller, Shared) {
    let played: Shared =
        Arc::new(Mutex::new(Played { answers: answers.into(), ..Played::default() }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let app = Router::new().fallback(play).with_state(Arc::clone(&played));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let deployment = json!({ "name": "a", "provider": name, "model": "the-model",
        "base_url": format!("http://{address}/base"), "key": { "env": "CANARY_API_KEY" },
        "headers": { "x-team": "search" } });
    let definition = with(one(deployment), json!({ "timeouts": { "first_token_ms": 30_000 } }));
    (caller([("m", definition)]), played)
}

const JSON: &str = "application/json";
const SSE: &str = "text/event-stream";

fn anthropic_answer() -> String {
    json!({ "id": "msg", "type": "message", "role": "assistant", "model": "the-model-1",
        "content": [{ "type": "text", "text": "Hello" },
            { "type": "tool_use", "id": "t", "name": "f", "input": { "a": 1 } }],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": { "input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 0 } })
    .to_string()
}

fn anthropic_stream() -> String {
    let events = [
        json!({ "type": "message_start", "message": { "id": "msg", "type": "message", "role": "assistant",
            "model": "the-model-1", "content": [], "stop_reason": null,
            "usage": { "input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 0 } } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "ping" }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "Hel" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "lo" } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "content_block_start", "index": 1,
            "content_block": { "type": "tool_use", "id": "t", "name": "f", "input": {} } }),
        json!({ "type": "content_block_delta", "index": 1,
            "delta": { "type": "input_json_delta", "partial_json": "{\"a\"" } }),
        json!({ "type": "content_block_delta", "index": 1,
            "delta": { "type": "input_json_delta", "partial_json": ":1}" } }),
        json!({ "type": "content_block_stop", "index": 1 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use", "stop_sequence": null },
            "usage": { "output_tokens": 2 } }),
        json!({ "type": "message_stop" }),
    ];
    let event = |event: &Value| {
        format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("typed"))
    };
    events.iter().map(event).collect()
}

fn gemini_answer(parts: Value) -> Value {
    json!({ "candidates": [{ "content": { "role": "model", "parts": parts }, "finishReason": "STOP", "index": 0 }],
        "modelVersion": "the-model-1",
        "usageMetadata": { "promptTokenCount": 7, "candidatesTokenCount": 2, "totalTokenCount": 9,
            "cachedContentTokenCount": 4 } })
}

fn gemini_stream() -> String {
    let call = json!({ "functionCall": { "name": "f", "args": { "a": 1 } } });
    let events = [json!([{ "text": "Hel" }]), json!([{ "text": "lo" }]), json!([call])];
    let last = events.len() - 1;
    let event = |(i, parts): (usize, Value)| {
        let mut answer = gemini_answer(parts);
        if i < last {
            answer["candidates"][0]["finishReason"] = Value::Null;
        }
        format!("data: {answer}\n\n")
    };
    events.into_iter().enumerate().map(event).collect()
}

fn tools(request: ModelRequest) -> ModelRequest {
    let body = json!({
        "model": "ignored", "max_tokens": 50, "temperature": 0.5, "stop": "END",
        "messages": [
            { "role": "system", "content": "be brief" },
            { "role": "user", "content": [{ "type": "text", "text": "hi" },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,aGk=" } }] },
            { "role": "assistant", "content": null, "tool_calls": [
                { "id": "t0", "type": "function", "function": { "name": "f", "arguments": "{\"a\":0}" } }] },
            { "role": "tool", "tool_call_id": "t0", "content": "zero" },
        ],
        "tools": [{ "type": "function", "function": { "name": "f", "description": "does f",
            "parameters": { "type": "object", "properties": { "a": { "type": "integer" } } } } }],
        "extra_body": { "vendor": true },
    });
    ModelRequest { body: body.to_string(), ..request }
}

#[tokio::test]
async fn answers_have_the_openai_shape_streamed_or_not() {
    let gemini_parts =
        json!([{ "text": "Hello" }, { "functionCall": { "name": "f", "args": { "a": 1 } } }]);
    for (name, whole, stream) in [
        ("anthropic", anthropic_answer(), anthropic_stream()),
        ("gemini", gemini_answer(gemini_parts).to_string(), gemini_stream()),
    ] {
        let (caller, played) = provider(name, vec![(200, JSON, whole), (200, SSE, stream)]).await;
        for request in [tools(chat("r-1", "")), tools(streaming("r-1", ""))] {
            let mut heard = Heard::default();
            let outcome = caller.call(&request, None, &mut heard).await;
            let outcome = outcome.unwrap_or_else(|f| panic!("{name} {}: {f:?}", request.stream));
            let body: Value = serde_json::from_str(&outcome.body).expect("JSON");
            let message = &body["choices"][0]["message"];
            assert_eq!(message["content"], "Hello", "{name}");
            let function = &message["tool_calls"][0]["function"];
            assert_eq!(function, &json!({ "name": "f", "arguments": "{\"a\":1}" }), "{name}");
            assert_eq!(outcome.finish_reason.as_deref(), Some("tool_calls"), "{name}");
            let usage =
                Usage { input_tokens: 7, output_tokens: 2, cached_tokens: 4, reasoning_tokens: 0 };
            assert_eq!(outcome.usage, Some(usage), "{name} {}", request.stream);
            if request.stream {
                assert_eq!(heard.joined(ChunkKind::Text, 0), "Hello", "{name}");
                assert!(heard.joined(ChunkKind::ToolCalls, 0).contains("\"name\":\"f\""), "{name}");
                assert!(outcome.time_to_first_token_ms.is_some(), "{name}");
            } else {
                assert_eq!(outcome.model_used, "the-model-1", "{name}");
            }
        }
        for (uri, headers, body) in &played.lock().expect("no panic").seen {
            assert!(uri.starts_with("/base/"), "{uri}");
            assert!(!uri.contains(CANARY_KEY), "{uri}");
            let key = headers.get("x-api-key").or(headers.get("x-goog-api-key"));
            assert_eq!(key.map(|key| key.as_bytes()), Some(CANARY_KEY.as_bytes()), "{name}");
            assert_eq!(headers["idempotency-key"], "r-1", "{name}");
            assert_eq!(headers["x-team"], "search", "{name}");
            assert_eq!(body["vendor"], true, "{name}: {body}");
            let sent = body.to_string();
            for text in ["be brief", "does f", "aGk=", "zero", "END"] {
                assert!(sent.contains(text), "{name}: no {text} in {sent}");
            }
        }
    }
}

#[tokio::test]
async fn errors_have_their_class_and_no_secrets() {
    let echo = |kind: &str| {
        json!({ "type": "error", "error": { "type": kind, "message": format!("no {CANARY_KEY} for you") } })
            .to_string()
    };
    for name in ["anthropic", "gemini"] {
        for (status, kind, code) in [
            (401, "authentication_error", "authentication"),
            (400, "invalid_request_error", "invalid_request"),
            (404, "not_found_error", "model_not_found"),
        ] {
            let answers = vec![(status, JSON, echo(kind)), (status, JSON, echo(kind))];
            let (caller, _) = provider(name, answers).await;
            for request in [chat("r", "hi"), streaming("r", "hi")] {
                let failure = caller.call(&request, None, &mut Heard::default()).await;
                let failure = failure.expect_err("an error");
                assert_eq!(failure.code, code, "{name} {status}: {failure}");
                assert_eq!(failure.http_status, Some(i32::from(status)), "{name}");
                let shown = format!("{failure} {failure:?}");
                assert!(!shown.contains(CANARY_KEY) && shown.contains("[redacted]"), "{shown}");
            }
        }
    }
}

#[tokio::test]
async fn passing_errors_are_tried_again() {
    let overloaded =
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let in_stream = format!("event: error\ndata: {overloaded}\n\n");
    let half: String = anthropic_stream().split_inclusive("\n\n").take(4).collect();
    for (name, broken, stream) in [
        ("anthropic", (529, JSON, overloaded.to_owned()), anthropic_stream()),
        ("anthropic", (200, SSE, in_stream), anthropic_stream()),
        ("anthropic", (200, SSE, half), anthropic_stream()),
        ("anthropic", (200, SSE, "data: nonsense\n\n".to_owned()), anthropic_stream()),
        ("gemini", (503, JSON, "{}".to_owned()), gemini_stream()),
        (
            "gemini",
            (429, JSON, r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}"#.to_owned()),
            gemini_stream(),
        ),
    ] {
        let what = format!("{name} {broken:?}");
        let (caller, _) = provider(name, vec![broken, (200, SSE, stream)]).await;
        let mut heard = Heard::default();
        let outcome = caller.call(&streaming("r", "hi"), None, &mut heard).await;
        assert_eq!(outcome.unwrap_or_else(|f| panic!("{what}: {f:?}")).tries, 2, "{what}");
        assert_eq!(heard.joined(ChunkKind::Text, 0), "Hello", "{what}");
    }
}

#[tokio::test]
async fn what_is_not_carried_is_refused() {
    let (caller, played) = provider("anthropic", vec![]).await;
    let body = r#"{"messages":[{"role":"user","content":"hi"}],"n":2}"#;
    for (request, code) in [
        (ModelRequest::new("r", "m", body), "not_carried"),
        (
            ModelRequest { operation: Operation::Embeddings, ..ModelRequest::new("r", "m", "{}") },
            "operation_not_offered",
        ),
    ] {
        let failure = caller.call(&request, None, &mut Heard::default()).await.expect_err(code);
        assert_eq!(failure.code, code);
    }
    assert!(played.lock().expect("no panic").seen.is_empty());
}
