//! The routes in OpenAI's shape.

use reqwest::StatusCode;
use serde_json::{Value, json};
use stepstream_tests::api::{Api, Events};
use stepstream_tests::platform::Platform;

super::on_both_stacks!(
    chat_is_answered_in_one_piece,
    chat_streams_tokens_and_then_ends,
    embeddings_are_answered_one_for_each_input,
    unknown_model_is_refused_in_openais_shape,
);

async fn chat_is_answered_in_one_piece(platform: &Platform) {
    let api = Api::of(platform);
    let body =
        json!({ "model": "demo", "messages": [{ "role": "user", "content": "Ahoy there" }] });
    let answer = api.post("/v1/chat/completions", &body).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.headers().contains_key("x-request-id"));
    let answer: Value = answer.json().await.unwrap();
    let choice = &answer["choices"][0];
    let text = choice["message"]["content"].as_str().unwrap();
    assert!(text.contains("Ahoy there"), "{text}");
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(answer["usage"]["prompt_tokens"], 2);
}

async fn chat_streams_tokens_and_then_ends(platform: &Platform) {
    let api = Api::of(platform);
    let body = json!({
        "model": "demo",
        "stream": true,
        "stream_options": { "include_usage": true },
        "messages": [{ "role": "user", "content": "Ahoy there" }]
    });
    let mut events = Events::of(api.post("/v1/chat/completions", &body).await);
    let mut chunks = events.rest().await;
    assert_eq!(chunks.pop().unwrap().data, "[DONE]");
    let chunks: Vec<Value> = chunks.iter().map(|sent| sent.json()).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let deltas: Vec<&str> = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert!(deltas.len() > 5, "tokens come in pieces: {deltas:?}");
    assert!(deltas.concat().contains("Ahoy there"), "{deltas:?}");
    let reasons: Vec<&str> =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str()).collect();
    assert_eq!(reasons, ["stop"]);
    let usage = chunks.iter().find(|chunk| chunk["usage"].is_object()).unwrap();
    assert_eq!(usage["usage"]["prompt_tokens"], 2);
}

async fn embeddings_are_answered_one_for_each_input(platform: &Platform) {
    let api = Api::of(platform);
    let body = json!({ "model": "demo", "input": ["one", "two", "one"] });
    let answer = api.post("/v1/embeddings", &body).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let answer: Value = answer.json().await.unwrap();
    let vectors = answer["data"].as_array().unwrap();
    assert_eq!(vectors.len(), 3);
    assert_eq!(vectors[0]["embedding"], vectors[2]["embedding"]);
    assert_ne!(vectors[0]["embedding"], vectors[1]["embedding"]);
}

async fn unknown_model_is_refused_in_openais_shape(platform: &Platform) {
    let api = Api::of(platform);
    let body = json!({ "model": "nobody", "messages": [{ "role": "user", "content": "hi" }] });
    let answer = api.post("/v1/chat/completions", &body).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let answer: Value = answer.json().await.unwrap();
    assert!(answer["error"]["message"].as_str().unwrap().contains("nobody"), "{answer}");
}
