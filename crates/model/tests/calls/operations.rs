//! Each operation, over real HTTP and in the process alike.

use domain::answer::Usage;
use domain::event::ChunkKind;
use domain::request::{ModelRequest, Operation};
use serde_json::{Value, json};

use crate::support::{Heard, at, caller, chat, one, scripted, server, streaming, with};

fn rules() -> Value {
    json!([
        { "when": { "contains": "weather" },
          "tool_calls": [{ "name": "weather", "arguments": { "city": "Bern" } }] },
        { "reply": "You said: {{prompt}}", "reasoning": "let me see" },
    ])
}

#[tokio::test]
async fn server_and_process_answer_alike() {
    let server = server(rules()).await;
    let over_http = caller([("m", one(with(at(&server), json!({ "model": "a" }))))]);
    let in_process = caller([("m", one(scripted("a", rules())))]);
    for request in [
        chat("r-1", "hello there"),
        streaming("r-2", "hello there"),
        chat("r-3", "how is the weather"),
        streaming("r-4", "how is the weather"),
        operation(Operation::TextCompletion, json!({ "prompt": "once upon" })),
        ModelRequest {
            stream: true,
            ..operation(Operation::TextCompletion, json!({ "prompt": "once" }))
        },
        operation(Operation::Embeddings, json!({ "input": ["a b", "c"] })),
        operation(Operation::Rerank, json!({ "query": "a b", "documents": ["c", "b a", "a"] })),
    ] {
        let mut heard = [Heard::default(), Heard::default()];
        let http = over_http.call(&request, None, &mut heard[0]).await.expect("an answer");
        let process = in_process.call(&request, None, &mut heard[1]).await.expect("an answer");
        assert_eq!(http.body, process.body, "{request:?}");
        assert_eq!(http.usage, process.usage, "{request:?}");
        assert_eq!(heard[0], heard[1], "{request:?}");
        assert_eq!((http.http_status, process.http_status), (Some(200), Some(200)));
        assert_eq!(
            (http.provider.as_str(), process.provider.as_str()),
            ("openai-compatible", "scripted")
        );
    }
}

fn operation(operation: Operation, body: Value) -> ModelRequest {
    ModelRequest { operation, ..ModelRequest::new("r", "m", body.to_string()) }
}

#[tokio::test]
async fn streamed_answer_equals_the_whole_one() {
    let caller = caller([("m", one(scripted("a", rules())))]);
    for prompt in ["hello there", "how is the weather"] {
        let mut heard = Heard::default();
        let whole = caller.call(&chat("r", prompt), None, &mut heard).await.expect("an answer");
        assert_eq!(heard.deltas, [], "nothing is heard of a whole answer");
        let streamed =
            caller.call(&streaming("r", prompt), None, &mut heard).await.expect("an answer");
        let read = |body: &str| serde_json::from_str::<Value>(body).expect("JSON");
        assert_eq!(read(&whole.body), read(&streamed.body));
        assert_eq!(whole.usage, streamed.usage);
        assert!(
            whole.time_to_first_token_ms.is_none() && streamed.time_to_first_token_ms.is_some()
        );
    }
}

#[tokio::test]
async fn text_completion_streams_its_text() {
    let caller = caller([("m", one(scripted("a", rules())))]);
    let request = operation(Operation::TextCompletion, json!({ "prompt": "once upon" }));
    let mut heard = Heard::default();
    let streaming = ModelRequest { stream: true, ..request };
    let outcome = caller.call(&streaming, None, &mut heard).await.expect("an answer");
    let body: Value = serde_json::from_str(&outcome.body).expect("JSON");
    assert_eq!(body["object"], "text_completion");
    assert_eq!(body["choices"][0]["text"], heard.joined(ChunkKind::Text, 0));
    assert!(heard.joined(ChunkKind::Text, 0).ends_with("You said: once upon"));
}

#[tokio::test]
async fn embeddings_come_as_numbers_or_base64() {
    let caller = caller([("m", one(scripted("a", rules())))]);
    let call = async |body: Value| {
        let request = operation(Operation::Embeddings, body);
        let outcome = caller.call(&request, None, &mut Heard::default()).await.expect("an answer");
        (serde_json::from_str::<Value>(&outcome.body).expect("JSON"), outcome.usage)
    };
    let (numbers, usage) = call(json!({ "input": ["a b", "c"], "dimensions": 4 })).await;
    assert_eq!(numbers["data"].as_array().map(Vec::len), Some(2));
    let vector = numbers["data"][0]["embedding"].as_array().expect("numbers");
    let length: f64 = vector.iter().filter_map(Value::as_f64).map(|x| x * x).sum();
    assert_eq!(vector.len(), 4);
    assert!((length - 1.0).abs() < 1e-5, "{length}");
    assert_eq!(usage, Some(Usage { input_tokens: 3, ..Usage::default() }));
    let (base64, _) =
        call(json!({ "input": "a b", "dimensions": 4, "encoding_format": "base64" })).await;
    assert_eq!(base64["data"][0]["embedding"].as_str().map(str::len), Some(24));
}

#[tokio::test]
async fn rerank_puts_the_best_document_first() {
    let caller = caller([("m", one(scripted("a", rules())))]);
    let body = json!({ "query": "red cat", "documents": ["blue dog", "a red cat", { "text": "red" }], "top_n": 2 });
    let outcome =
        caller.call(&operation(Operation::Rerank, body), None, &mut Heard::default()).await;
    let body: Value = serde_json::from_str(&outcome.expect("an answer").body).expect("JSON");
    let order: Vec<&Value> =
        body["results"].as_array().expect("a list").iter().map(|r| &r["index"]).collect();
    assert_eq!(order, [1, 2]);
}

#[tokio::test]
async fn request_reaches_the_provider_as_it_came() {
    let server = server(rules()).await;
    let headers = json!({ "headers": { "x-team": "search" } });
    let caller = caller([("m", one(with(at(&server), headers)))]);
    let body = r#"{"messages": [{"role":"user","content":"é"}], "vendor":{"big":12345678901234567890123,"x":1.0}}"#;
    let outcome =
        caller.call(&ModelRequest::new("r", "m", body), None, &mut Heard::default()).await;
    outcome.expect("an answer");
    let sent = r#"{"messages":[{"role":"user","content":"é"}],"vendor":{"big":12345678901234567890123,"x":1.0},"model":"m"}"#;
    assert_eq!(server.seen().last_body, sent);
}

#[tokio::test]
async fn call_is_priced_by_the_deployment_that_answered() {
    let price = json!({ "price": { "currency": "EUR", "input": 1_000_000, "output": 2_000_000 } });
    let caller = caller([("m", one(with(scripted("a", json!([{ "reply": "b c" }])), price)))]);
    let outcome =
        caller.call(&chat("r", "x y z"), None, &mut Heard::default()).await.expect("an answer");
    let cost = outcome.cost.expect("priced");
    assert_eq!((cost.micros, cost.currency.as_str()), (3 + 4, "EUR"));
}

#[tokio::test]
async fn without_rules_and_key_there_is_a_helpful_streamed_answer() {
    let deployment = json!({ "name": "a", "provider": "scripted", "model": "demo" });
    let caller = caller([("m", one(deployment))]);
    let mut heard = Heard::default();
    let outcome =
        caller.call(&streaming("r", "what is this?"), None, &mut heard).await.expect("an answer");
    let text = heard.joined(ChunkKind::Text, 0);
    assert!(text.starts_with("You said: “what is this?”"), "{text}");
    assert!(text.contains("a word counts as a token"), "{text}");
    assert!(heard.deltas.len() > 50);
    let usage = outcome.usage.expect("counted");
    assert_eq!(usage.input_tokens, 3);
    assert_eq!(usage.output_tokens, i64::try_from(heard.deltas.len()).expect("few"));
}
