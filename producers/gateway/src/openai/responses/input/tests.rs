//! What becomes of a request, and what is refused where.

use super::*;

fn with(more: Value) -> Value {
    let mut body = json!({"model": "m", "input": "hi"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn text_is_a_message_and_defaults_are_openais() {
    let asked = read(&with(json!({}))).unwrap();
    assert_eq!(asked.messages, [json!({"role": "user", "content": "hi"})]);
    assert_eq!(
        (asked.ground, asked.delivery, asked.keep),
        (Ground::Fore, Delivery::Whole, Keep::Yes)
    );
    assert_eq!(asked.chat, Map::new());
    assert_eq!(asked.echo["tool_choice"], "auto");
    assert_eq!(asked.echo["text"], json!({"format": {"type": "text"}}));
    let asked = read(&with(json!({"background": true, "stream": true, "store": null}))).unwrap();
    assert_eq!((asked.ground, asked.delivery), (Ground::Back, Delivery::Stream));
}

#[test]
fn members_have_other_names_in_a_chat_and_vendors_pass() {
    let asked = read(&with(json!({
        "temperature": 0.5,
        "enable_search": true,
        "max_output_tokens": 7,
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true}],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": false,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        "reasoning": {"effort": "low"},
        "metadata": {"a": "b"},
        "top_logprobs": 2,
    })))
    .unwrap();
    assert_eq!(asked.max_output_tokens, Some(7));
    assert_eq!(
        Value::Object(asked.chat),
        json!({
            "temperature": 0.5,
            "enable_search": true,
            "parallel_tool_calls": false,
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": true}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
            "reasoning_effort": "low",
            "logprobs": true,
            "top_logprobs": 2,
        })
    );
    assert_eq!(asked.echo["metadata"], json!({"a": "b"}));
}

#[test]
fn items_become_turns_of_a_chat() {
    let asked = read(&with(json!({"input": [
        {"role": "developer", "content": "be brief"},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "what is "},
            {"type": "input_text", "text": "this?"},
        ]},
        {"role": "user", "content": [
            {"type": "input_text", "text": "and this?"},
            {"type": "input_image", "image_url": "data:,x", "detail": "low"},
        ]},
        {"type": "reasoning", "summary": []},
        {"type": "message", "role": "assistant", "id": "msg_1", "content": [
            {"type": "output_text", "text": "let me see", "annotations": []},
        ]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "2"}]},
    ]})))
    .unwrap();
    let call = |id: &str, name: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}});
    assert_eq!(
        asked.messages,
        [
            json!({"role": "system", "content": "be brief"}),
            json!({"role": "user", "content": "what is this?"}),
            json!({"role": "user", "content": [
                {"type": "text", "text": "and this?"},
                {"type": "image_url", "image_url": {"url": "data:,x", "detail": "low"}},
            ]}),
            json!({"role": "assistant", "content": "let me see", "tool_calls": [call("c1", "f"), call("c2", "g")]}),
            json!({"role": "tool", "tool_call_id": "c1", "content": "1"}),
            json!({"role": "tool", "tool_call_id": "c2", "content": "2"}),
        ]
    );
}

#[test]
fn what_chat_can_not_say_is_refused_at_its_place() {
    for (more, place) in [
        (json!({"input": []}), "input"),
        (json!({"input": null}), "input"),
        (json!({"input": [{"type": "reasoning"}]}), "input"),
        (json!({"input": [1]}), "input[0]"),
        (json!({"input": [{"type": "item_reference", "id": "x"}]}), "input[0].type"),
        (json!({"input": [{"type": 1, "role": "user", "content": "x"}]}), "input[0].type"),
        (json!({"input": [{"role": "king", "content": "x"}]}), "input[0].role"),
        (json!({"input": [{"role": "user"}]}), "input[0].content"),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}),
            "input[0].content[0].image_url",
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "hologram"}]}]}),
            "input[0].content[0].type",
        ),
        (json!({"input": [{"type": "function_call", "name": "f"}]}), "input[0].call_id"),
        (json!({"input": [{"type": "function_call_output", "output": "x"}]}), "input[0].call_id"),
        (json!({"model": ""}), "model"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].name"),
        (
            json!({"tools": [{"type": "function", "name": "f"}], "tool_choice": "some"}),
            "tool_choice",
        ),
        (json!({"text": {"format": {"type": "xml"}}}), "text.format.type"),
        (json!({"background": true, "store": false}), "store"),
        (json!({"stream": "yes"}), "stream"),
        (json!({"temperature": 3}), "temperature"),
        (json!({"max_output_tokens": 0}), "max_output_tokens"),
        (json!({"metadata": {"a": 1}}), "metadata"),
        (json!({"prompt": {"id": "p"}}), "prompt"),
        (json!({"previous_response_id": 1}), "previous_response_id"),
    ] {
        match read(&with(more.clone())) {
            Err(Fault::Invalid { place: got, .. }) => assert_eq!(got, place, "{more}"),
            other => panic!("{more}: {other:?}"),
        }
    }
}
