//! The numbers of events, and what a client that resumes gets.

use serde_json::Map;

use super::*;

const EXECUTION: &str = "0190-ab";

fn memo() -> Memo {
    Memo { created: 5, echo: Map::from_iter([("model".into(), "m".into())]), ..Memo::default() }
}

fn assembly(after: Option<u64>) -> Assembly {
    Assembly::new(EXECUTION, memo(), after)
}

fn chunk(kind: ChunkKind, text: &str) -> Chunk {
    Chunk {
        execution_id: EXECUTION.into(),
        tenant: "t".into(),
        fence: 1,
        attempt: 1,
        index: 0,
        kind,
        choice: 0,
        text: text.into(),
    }
}

fn answer() -> Value {
    json!({
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "reasoning_content": "hm é", "content": "Hello you",
            "tool_calls": [
                {"id": "c0", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
                {"id": "c1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        }}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5,
            "completion_tokens_details": {"reasoning_tokens": 1}},
    })
}

/// The whole stream, live, in these pieces of text.
fn live(after: Option<u64>, pieces: &[&str]) -> Vec<Value> {
    let mut assembly = assembly(after);
    let mut events = assembly.begin();
    events.extend(assembly.chunk(&chunk(ChunkKind::Reasoning, "hm é")).unwrap());
    for piece in pieces {
        events.extend(assembly.chunk(&chunk(ChunkKind::Text, piece)).unwrap());
    }
    // When text was missed, nothing of the same try follows it.
    if pieces.concat() == "Hello you" {
        let begins = r#"[{"index":0,"id":"c0","function":{"name":"f","arguments":"{\"a\""}}]"#;
        events.extend(assembly.chunk(&chunk(ChunkKind::ToolCalls, begins)).unwrap());
        let goes_on = r#"[{"index":0,"function":{"arguments":":1}"}}]"#;
        events.extend(assembly.chunk(&chunk(ChunkKind::ToolCalls, goes_on)).unwrap());
    }
    events.extend(assembly.finish(&answer()).unwrap());
    events
}

fn stored(after: Option<u64>) -> Vec<Value> {
    let mut assembly = assembly(after);
    let mut events = assembly.begin();
    events.extend(assembly.finish(&answer()).unwrap());
    events
}

fn number(event: &Value) -> u64 {
    event["sequence_number"].as_u64().unwrap()
}

/// What a client has who puts all pieces together: the text of each item, and each other event.
fn together(events: &[Value]) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    for event in events {
        let text = event["delta"].as_str();
        match (text, all.last_mut()) {
            (Some(text), Some(last))
                if last["type"] == event["type"] && last["item_id"] == event["item_id"] =>
            {
                last["delta"] = format!("{}{text}", last["delta"].as_str().unwrap()).into();
                last["sequence_number"] = event["sequence_number"].clone();
            }
            _ => all.push(event.clone()),
        }
    }
    all
}

#[test]
fn events_come_in_openais_order_and_their_numbers_rise() {
    let events = live(None, &["Hello ", "you"]);
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.reasoning_text.delta",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.delta",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.reasoning_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    assert!(events.windows(2).all(|two| number(&two[0]) < number(&two[1])));
    let response = &events.last().unwrap()["response"];
    assert_eq!(response["status"], "completed");
    assert_eq!(response["output"][1]["content"][0]["text"], "Hello you");
    assert_eq!(response["output"][2]["arguments"], "{\"a\":1}");
    assert_eq!(response["output"][3]["call_id"], "c1");
    assert_eq!(response["usage"]["output_tokens_details"]["reasoning_tokens"], 1);
    assert_eq!((&response["id"], &response["model"]), (&json!("resp_0190-ab"), &json!("m")));
}

#[test]
fn same_answer_has_the_same_numbers_however_it_was_cut() {
    let whole = together(&stored(None));
    for pieces in [vec!["Hello you"], vec!["H", "ello", " ", "you"], vec!["Hello"], vec![]] {
        assert_eq!(together(&live(None, &pieces)), whole, "{pieces:?}");
    }
}

#[test]
fn resumed_at_any_number_nothing_is_missed_or_doubled() {
    let first = live(None, &["Hello ", "you"]);
    let whole = together(&first);
    for had in 0..=first.len() {
        let after = had.checked_sub(1).map(|last| number(&first[last]));
        for rest in [stored(after), live(after, &["Hel", "lo you"])] {
            let got: Vec<Value> = first[..had].iter().cloned().chain(rest).collect();
            assert_eq!(together(&got), whole, "after {after:?}");
        }
    }
    let last = number(first.last().unwrap());
    assert!(stored(Some(last + 1_000)).is_empty());
    for made_up in 0..last {
        assert!(stored(Some(made_up)).iter().all(|event| number(event) > made_up));
    }
}

#[test]
fn try_again_with_other_text_is_no_continuation() {
    let mut assembly = assembly(None);
    assembly.begin();
    assembly.chunk(&chunk(ChunkKind::Text, "Hello")).unwrap();
    assembly.restart();
    assert!(assembly.chunk(&chunk(ChunkKind::Text, "Hel")).unwrap().is_empty());
    assert!(assembly.chunk(&chunk(ChunkKind::Text, "p")).is_err());
    let error = assembly.error("stream_diverged", "no");
    assert!(number(&error) > 1 && error["type"] == "error");
}

#[test]
fn failure_is_told_to_a_client_that_had_more_text_than_is_known() {
    let failure = Failure::new(domain::answer::ErrorClass::Provider, "gone", "it broke");
    let mut assembly = assembly(Some(40));
    assert!(assembly.begin().is_empty());
    let last = assembly.fail(&failure);
    assert_eq!((number(&last), &last["response"]["status"]), (41, &json!("failed")));
    assert_eq!(last["response"]["error"]["code"], "gone");
}

#[test]
fn answer_that_was_cut_short_is_incomplete() {
    let mut cut = answer();
    cut["choices"][0]["finish_reason"] = "length".into();
    let mut assembly = assembly(None);
    assembly.begin();
    let last = assembly.finish(&cut).unwrap().pop().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"]["incomplete_details"]["reason"], "max_output_tokens");
}
