//! What an OpenAI client sees.

use proptest::prelude::*;

use super::*;

fn assembly(usage: UsageChunk) -> Assembly {
    let head = Head { id: "chatcmpl-e".into(), model: "fast".into(), created: 7 };
    Assembly::new(head, usage)
}

fn chunk(kind: ChunkKind, choice: i32, text: &str) -> Chunk {
    Chunk {
        execution_id: "e".into(),
        tenant: "t".into(),
        fence: 1,
        attempt: 1,
        index: 0,
        kind,
        choice,
        text: text.into(),
    }
}

fn answer(content: &str) -> Value {
    json!({
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    })
}

/// What the openai package would have put together, by choice.
#[derive(Debug, Default, PartialEq)]
struct Client {
    content: BTreeMap<i64, String>,
    reasoning: BTreeMap<i64, String>,
    tools: BTreeMap<(i64, i64), (String, String, String)>,
    reasons: BTreeMap<i64, String>,
    usage: Option<Value>,
}

impl Client {
    fn take(&mut self, frames: &[Value]) {
        for frame in frames {
            assert_eq!(frame["object"], "chat.completion.chunk");
            assert_eq!((&frame["id"], &frame["model"]), (&json!("chatcmpl-e"), &json!("fast")));
            if frame["choices"].as_array().unwrap().is_empty() {
                self.usage = Some(frame["usage"].clone());
            }
            for of in frame["choices"].as_array().unwrap() {
                let index = of["index"].as_i64().unwrap();
                let delta = of["delta"].as_object().unwrap();
                if delta.get("role").is_some() {
                    assert!(!self.content.contains_key(&index), "the role comes once, and first");
                    self.content.entry(index).or_default();
                }
                let text = |name: &str| delta.get(name).and_then(Value::as_str).unwrap_or_default();
                self.content.get_mut(&index).expect("role first").push_str(text("content"));
                self.reasoning.entry(index).or_default().push_str(text("reasoning_content"));
                for call in delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten()
                {
                    let at = (index, call["index"].as_i64().expect("pieces have an index"));
                    let tool = self.tools.entry(at).or_default();
                    tool.0.push_str(call["id"].as_str().unwrap_or_default());
                    tool.1.push_str(call["function"]["name"].as_str().unwrap_or_default());
                    tool.2.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
                }
                if let Some(reason) = of["finish_reason"].as_str() {
                    self.reasons.insert(index, reason.into());
                }
            }
        }
    }
}

#[test]
fn chunks_have_the_exact_shape_of_openai() {
    let mut assembly = assembly(UsageChunk::Wanted);
    let mut frames = assembly.chunk(&chunk(ChunkKind::Text, 0, "Hi")).unwrap();
    frames.extend(assembly.finish(&answer("Hi")).unwrap());
    let frame = |choices: Value, usage: Value| {
        json!({
            "id": "chatcmpl-e", "object": "chat.completion.chunk", "created": 7, "model": "fast",
            "choices": choices, "usage": usage,
        })
    };
    let delta = |delta: Value, reason: Value| {
        let choice =
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]);
        frame(choice, Value::Null)
    };
    assert_eq!(
        frames,
        [
            delta(json!({"role": "assistant", "content": ""}), Value::Null),
            delta(json!({"content": "Hi"}), Value::Null),
            delta(json!({}), json!("stop")),
            frame(
                json!([]),
                json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})
            ),
        ]
    );
}

#[test]
fn usage_comes_only_when_it_is_asked_for() {
    let frames = assembly(UsageChunk::Unwanted).finish(&answer("x")).unwrap();
    assert!(frames.iter().all(|frame| frame.get("usage").is_none()));
    assert_eq!(frames.last().unwrap()["choices"][0]["finish_reason"], "stop");
}

#[test]
fn answer_fills_what_the_deltas_left_out() {
    let mut assembly = assembly(UsageChunk::Unwanted);
    let mut client = Client::default();
    client.take(&assembly.chunk(&chunk(ChunkKind::Text, 0, "one ")).unwrap());
    client.take(&assembly.finish(&answer("one two three")).unwrap());
    assert_eq!(client.content[&0], "one two three");
}

#[test]
fn same_text_after_a_retry_goes_on_unseen() {
    let mut assembly = assembly(UsageChunk::Unwanted);
    let mut client = Client::default();
    for text in ["one ", "two "] {
        client.take(&assembly.chunk(&chunk(ChunkKind::Text, 0, text)).unwrap());
    }
    assembly.restart();
    for text in ["on", "e tw", "o thr", "ee"] {
        client.take(&assembly.chunk(&chunk(ChunkKind::Text, 0, text)).unwrap());
    }
    client.take(&assembly.finish(&answer("one two three")).unwrap());
    assert_eq!(client.content[&0], "one two three");
}

#[test]
fn other_text_after_a_retry_is_never_mixed_in() {
    let text = |text| chunk(ChunkKind::Text, 0, text);
    let mut sent = assembly(UsageChunk::Unwanted);
    sent.chunk(&text("one two")).unwrap();
    sent.restart();
    assert_eq!(sent.chunk(&text("one three")), Err(Diverged));
    let mut sent = assembly(UsageChunk::Unwanted);
    sent.chunk(&text("one two")).unwrap();
    assert_eq!(sent.finish(&answer("one")), Err(Diverged));
    let mut unsent = assembly(UsageChunk::Unwanted);
    unsent.restart();
    assert!(unsent.chunk(&text("anything")).is_ok());
}

#[test]
fn tool_calls_arrive_whole_whatever_the_deltas_had() {
    let pieces = [
        json!([{"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}}]),
        json!([{"index": 0, "function": {"arguments": "{\"a\""}}]),
        json!([{"index": 0, "function": {"arguments": ":1}"}}]),
    ];
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let whole = json!({"choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "content": null, "tool_calls": [call("c1", "look", "{\"a\":1}"), call("c2", "run", "{}")],
    }}]});
    for received in 0..=pieces.len() {
        let mut assembly = assembly(UsageChunk::Unwanted);
        let mut client = Client::default();
        for piece in &pieces[..received] {
            let piece = chunk(ChunkKind::ToolCalls, 0, &piece.to_string());
            client.take(&assembly.chunk(&piece).unwrap());
        }
        client.take(&assembly.finish(&whole).unwrap());
        let tool =
            |id: &str, name: &str, arguments: &str| (id.into(), name.into(), arguments.into());
        assert_eq!(client.tools[&(0, 0)], tool("c1", "look", "{\"a\":1}"), "after {received}");
        assert_eq!(client.tools[&(0, 1)], tool("c2", "run", "{}"), "after {received}");
        assert_eq!(client.reasons[&0], "tool_calls");
    }
}

#[test]
fn malformed_piece_is_left_to_the_answer() {
    let mut assembly = assembly(UsageChunk::Unwanted);
    for text in ["", "{", "{}", "null", "7"] {
        assert_eq!(assembly.chunk(&chunk(ChunkKind::ToolCalls, 0, text)), Ok(vec![]), "{text}");
    }
}

proptest! {
    /// Whatever part of the deltas came, in whatever pieces, over however many equal tries: the client has
    /// the answer's text.
    #[test]
    fn client_ends_with_the_text_of_the_answer(
        texts in prop::collection::vec("[a-zé漢 ]{0,12}", 1..4),
        cuts in prop::collection::vec((0_usize..4, 0_usize..8), 0..12),
        restarts in prop::collection::vec(any::<bool>(), 0..12),
    ) {
        let mut assembly = assembly(UsageChunk::Wanted);
        let mut client = Client::default();
        let mut at: Vec<usize> = vec![0; texts.len()];
        for (n, (choice, length)) in cuts.iter().enumerate() {
            let choice = choice % texts.len();
            if restarts.get(n) == Some(&true) {
                assembly.restart();
                at.fill(0);
            }
            let piece: String = texts[choice].chars().skip(at[choice]).take(*length).collect();
            at[choice] += piece.chars().count();
            let choice = i32::try_from(choice).unwrap();
            client.take(&assembly.chunk(&chunk(ChunkKind::Text, choice, &piece)).unwrap());
        }
        let choices: Vec<Value> = texts
            .iter()
            .enumerate()
            .map(|(n, text)| json!({"index": n, "message": {"content": text}, "finish_reason": "stop"}))
            .collect();
        client.take(&assembly.finish(&json!({"choices": choices, "usage": {"total_tokens": 1}})).unwrap());
        let got: Vec<&String> = client.content.values().collect();
        prop_assert_eq!(got, texts.iter().collect::<Vec<_>>());
        prop_assert_eq!(client.usage, Some(json!({"total_tokens": 1})));
        prop_assert_eq!(client.reasons.len(), texts.len());
    }
}
