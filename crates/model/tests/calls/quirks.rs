//! What servers of OpenAI's shape do to it: each stream as it was seen, and what is made of it.

use domain::answer::Usage;
use domain::event::ChunkKind;
use serde_json::{Value, json};

use crate::support::{Heard, at, caller, one, server, streaming, with};

/// A server that answers with exactly this.
async fn answer(
    content_type: &str,
    body: &str,
) -> (Result<domain::answer::ModelOutcome, domain::answer::Failure>, Heard) {
    let verbatim = json!({ "status": 200, "content_type": content_type, "body": body });
    let server = server(json!([{ "fault": { "kind": { "verbatim": verbatim } } }])).await;
    let definition = with(one(at(&server)), json!({ "retry": { "max_tries": 1 } }));
    let mut heard = Heard::default();
    let result = caller([("m", definition)]).call(&streaming("r", "hi"), None, &mut heard).await;
    (result, heard)
}

fn events(data: &[&str]) -> String {
    data.iter().map(|data| format!("data: {data}\n\n")).collect()
}

const ROLE: &str = r#"{"id":"c","object":"chat.completion.chunk","created":7,"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
const HELLO: &str = r#"{"id":"c","model":"m-1","choices":[{"index":0,"delta":{"content":"Hel"}}]}"#;
const LO: &str = r#"{"id":"c","model":"m-1","choices":[{"index":0,"delta":{"content":"lo"}}]}"#;
const STOP: &str =
    r#"{"id":"c","model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USED: &str = r#""usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}"#;

#[tokio::test]
async fn hello_is_heard_whatever_the_wire_looks_like() {
    let usage_only = format!(r#"{{"id":"c","model":"m-1","choices":[],{USED}}}"#);
    let usage_null_choices = format!(r#"{{"id":"c","model":"m-1","choices":null,{USED}}}"#);
    let usage_with_stop = STOP.replace(r#""model":"m-1","#, &format!(r#""model":"m-1",{USED},"#));
    let usage_running = LO.replace(
        r#""model":"m-1","#,
        r#""model":"m-1","usage":{"prompt_tokens":3,"completion_tokens":1},"#,
    );
    let no_index =
        |text: &str| format!(r#"{{"model":"m-1","choices":[{{"delta":{{"content":"{text}"}}}}]}}"#);
    let stop_in_last = LO.replace(r#""lo"}"#, r#""lo"},"finish_reason":"stop""#);
    for (quirk, body) in [
        ("as documented", events(&[ROLE, HELLO, LO, STOP, &usage_only, "[DONE]"])),
        ("choices null", events(&[ROLE, HELLO, LO, STOP, &usage_null_choices, "[DONE]"])),
        ("usage with the finish reason", events(&[ROLE, HELLO, LO, &usage_with_stop, "[DONE]"])),
        ("usage in each piece", events(&[HELLO, &usage_running, STOP, &usage_only, "[DONE]"])),
        ("no [DONE]", events(&[ROLE, HELLO, LO, STOP, &usage_only])),
        ("no index", events(&[&no_index("Hel"), &no_index("lo"), STOP, &usage_only, "[DONE]"])),
        (
            "finish reason in the last content",
            events(&[HELLO, &stop_in_last, &usage_only, "[DONE]"]),
        ),
        (
            "comments",
            format!(
                ": keep-alive\n\n{}: keep-alive\n\n{}",
                events(&[HELLO]),
                events(&[LO, STOP, &usage_only, "[DONE]"])
            ),
        ),
        (
            "carriage returns",
            events(&[HELLO, LO, STOP, &usage_only, "[DONE]"]).replace('\n', "\r\n"),
        ),
        (
            "no space behind data:",
            events(&[HELLO, LO, STOP, &usage_only, "[DONE]"]).replace("data: ", "data:"),
        ),
        (
            "a whole message at the end",
            events(&[
                HELLO,
                LO,
                r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}"#,
                &usage_only,
            ]),
        ),
    ] {
        let (result, heard) = answer("text/event-stream; charset=utf-8", &body).await;
        let outcome = result.unwrap_or_else(|failure| panic!("{quirk}: {failure:?}"));
        assert_eq!(heard.joined(ChunkKind::Text, 0), "Hello", "{quirk}");
        let whole: Value = serde_json::from_str(&outcome.body).expect("JSON");
        assert_eq!(whole["object"], "chat.completion", "{quirk}");
        assert_eq!(
            whole["choices"][0]["message"],
            json!({ "role": "assistant", "content": "Hello" }),
            "{quirk}"
        );
        assert_eq!(outcome.finish_reason.as_deref(), Some("stop"), "{quirk}");
        assert_eq!(outcome.model_used, "m-1", "{quirk}");
        let usage = Usage { input_tokens: 3, output_tokens: 2, ..Usage::default() };
        assert_eq!(outcome.usage, Some(usage), "{quirk}");
        assert!(outcome.time_to_first_token_ms.is_some(), "{quirk}");
    }
}

#[tokio::test]
async fn stream_without_an_end_is_an_error() {
    for (quirk, body, code) in [
        ("cut off", events(&[ROLE, HELLO]), "incomplete_stream"),
        ("nothing at all", String::new(), "incomplete_stream"),
        ("only the end", events(&["[DONE]"]), "incomplete_stream"),
        (
            "one of two choices ended",
            events(&[
                r#"{"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"b"}}]}"#,
                STOP,
            ]),
            "incomplete_stream",
        ),
        ("not JSON", events(&[ROLE, "{\"choices\""]), "malformed_answer"),
        ("not an object", events(&["[]"]), "malformed_answer"),
        (
            "an error object",
            events(&[
                ROLE,
                HELLO,
                r#"{"error":{"message":"x","type":"server_error","code":null}}"#,
            ]),
            "provider_error",
        ),
        (
            "an error event",
            format!("event: error\ndata: {}\n\n", r#"{"message":"x","code":"Throttling"}"#),
            "rate_limited",
        ),
        (
            "a bare error",
            events(&[r#"{"object":"error","message":"x","code":500}"#]),
            "provider_error",
        ),
        (
            "content policy midway",
            events(&[HELLO, r#"{"error":{"code":"data_inspection_failed","message":"x"}}"#]),
            "content_policy",
        ),
    ] {
        let (result, _) = answer("text/event-stream", &body).await;
        assert_eq!(result.expect_err(quirk).code, code, "{quirk}");
    }
}

#[tokio::test]
async fn answer_that_does_not_stream_though_asked_to_is_taken() {
    let body = r#"{"model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}"#;
    let (result, heard) = answer("application/json", body).await;
    assert_eq!(result.expect("taken").body, body);
    assert_eq!(heard.joined(ChunkKind::Text, 0), "Hello");
}

#[tokio::test]
async fn reasoning_is_heard_by_either_name() {
    for name in ["reasoning_content", "reasoning"] {
        let thinks = |text: &str| {
            json!({ "choices": [{ "index": 0, "delta": { "content": null, name: text } }] })
                .to_string()
        };
        let body = events(&[&thinks("hm"), &thinks("m"), HELLO, STOP, "[DONE]"]);
        let (result, heard) = answer("text/event-stream", &body).await;
        assert_eq!(heard.joined(ChunkKind::Reasoning, 0), "hmm", "{name}");
        let whole: Value = serde_json::from_str(&result.expect("an answer").body).expect("JSON");
        assert_eq!(whole["choices"][0]["message"]["reasoning_content"], "hmm", "{name}");
        assert_eq!(whole["choices"][0]["message"]["content"], "Hel", "{name}");
    }
}

#[tokio::test]
async fn tool_calls_are_put_together_however_they_are_cut() {
    let piece = |calls: Value| {
        json!({ "choices": [{ "index": 0, "delta": { "tool_calls": calls } }] }).to_string()
    };
    let end = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#;
    let expected = json!([
        { "id": "x", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } },
        { "id": "y", "type": "function", "function": { "name": "g", "arguments": "{}" } },
    ]);
    for (quirk, pieces) in [
        (
            "by index, interleaved",
            vec![
                piece(
                    json!([{ "index": 0, "id": "x", "type": "function", "function": { "name": "f", "arguments": "" } }]),
                ),
                piece(
                    json!([{ "index": 1, "id": "y", "type": "function", "function": { "name": "g", "arguments": "{" } }]),
                ),
                piece(json!([{ "index": 0, "function": { "arguments": "{\"a\"" } }])),
                piece(
                    json!([{ "index": 0, "function": { "arguments": ":1}" } }, { "index": 1, "function": { "arguments": "}" } }]),
                ),
            ],
        ),
        (
            "id in each piece",
            vec![
                piece(
                    json!([{ "index": 0, "id": "x", "function": { "name": "f", "arguments": "{\"a\"" } }]),
                ),
                piece(
                    json!([{ "index": 0, "id": "x", "function": { "name": null, "arguments": ":1}" } }]),
                ),
                piece(
                    json!([{ "index": 1, "id": "y", "function": { "name": "g", "arguments": "{}" } }]),
                ),
            ],
        ),
        (
            "empty ids behind the first",
            vec![
                piece(
                    json!([{ "index": 0, "id": "x", "function": { "name": "f", "arguments": "{\"a\"" } }]),
                ),
                piece(json!([{ "index": 0, "id": "", "function": { "arguments": ":1}" } }])),
                piece(
                    json!([{ "index": 1, "id": "y", "function": { "name": "g", "arguments": "{}" } }]),
                ),
            ],
        ),
        (
            "whole, without index",
            vec![
                piece(
                    json!([{ "id": "x", "function": { "name": "f", "arguments": "{\"a\":1}" } }]),
                ),
                piece(json!([{ "id": "y", "function": { "name": "g", "arguments": "{}" } }])),
            ],
        ),
        (
            "pieces without index",
            vec![
                piece(json!([{ "id": "x", "function": { "name": "f", "arguments": "{\"a\"" } }])),
                piece(json!([{ "function": { "arguments": ":1}" } }])),
                piece(json!([{ "id": "y", "function": { "name": "g", "arguments": "{}" } }])),
            ],
        ),
        (
            "arguments as JSON",
            vec![
                piece(
                    json!([{ "index": 0, "id": "x", "function": { "name": "f", "arguments": { "a": 1 } } }]),
                ),
                piece(
                    json!([{ "index": 1, "id": "y", "function": { "name": "g", "arguments": {} } }]),
                ),
            ],
        ),
    ] {
        let mut data: Vec<&str> = pieces.iter().map(String::as_str).collect();
        data.extend([end, "[DONE]"]);
        let (result, heard) = answer("text/event-stream", &events(&data)).await;
        let outcome = result.unwrap_or_else(|failure| panic!("{quirk}: {failure:?}"));
        let whole: Value = serde_json::from_str(&outcome.body).expect("JSON");
        let message = &whole["choices"][0]["message"];
        assert_eq!(message["tool_calls"], expected, "{quirk}");
        assert_eq!(message["content"], Value::Null, "{quirk}");
        assert_eq!(outcome.finish_reason.as_deref(), Some("tool_calls"), "{quirk}");
        let tools = heard.deltas.iter().filter(|delta| delta.kind == ChunkKind::ToolCalls).count();
        assert_eq!(tools, pieces.len(), "{quirk}");
    }
}

#[tokio::test]
async fn several_choices_are_kept_apart() {
    let say = |index: i32, text: &str| {
        json!({ "choices": [{ "index": index, "delta": { "content": text } }] }).to_string()
    };
    let end = |index: i32| {
        json!({ "choices": [{ "index": index, "delta": {}, "finish_reason": "stop" }] }).to_string()
    };
    let body = events(&[&say(1, "B"), &say(0, "a"), &say(1, "b"), &end(1), &say(0, "a"), &end(0)]);
    let (result, heard) = answer("text/event-stream", &body).await;
    assert_eq!(
        (heard.joined(ChunkKind::Text, 0), heard.joined(ChunkKind::Text, 1)),
        ("aa".into(), "Bb".into())
    );
    let whole: Value = serde_json::from_str(&result.expect("an answer").body).expect("JSON");
    assert_eq!(whole["choices"][0]["message"]["content"], "aa");
    assert_eq!(whole["choices"][1]["message"]["content"], "Bb");
}

#[tokio::test]
async fn vendors_own_members_and_logprobs_survive() {
    let body = events(&[
        r#"{"id":"c","created":7,"model":"m-1","system_fingerprint":"fp","service_tier":"x","choices":[{"index":0,"delta":{"content":"a","annotations":[1]},"logprobs":{"content":[1]}}]}"#,
        r#"{"id":"c","choices":[{"index":0,"delta":{"content":"b"},"logprobs":{"content":[2]},"finish_reason":"length"}]}"#,
        "[DONE]",
    ]);
    let (result, _) = answer("text/event-stream", &body).await;
    let whole: Value = serde_json::from_str(&result.expect("an answer").body).expect("JSON");
    assert_eq!(
        whole,
        json!({
            "id": "c", "object": "chat.completion", "created": 7, "model": "m-1",
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": "ab", "annotations": [1] },
                "logprobs": { "content": [1, 2] }, "finish_reason": "length" }],
            "system_fingerprint": "fp", "service_tier": "x",
        })
    );
}
