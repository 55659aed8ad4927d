//! The response as a JSON object, at each point of its life.
//!
//! Pure. The items of an answer have ids that follow from the response's, so the same answer is the same
//! object whenever and wherever it is asked for.

use domain::answer::Failure;
use serde_json::{Map, Value, json};

use super::memo::Memo;

/// What comes before an execution's id in the id of a response.
const PREFIX: &str = "resp_";

/// The id of the response that an execution is.
pub(crate) fn id_of(execution: &str) -> String {
    format!("{PREFIX}{execution}")
}

/// The execution that a response's id names.
pub(crate) fn execution_of(id: &str) -> Option<&str> {
    id.strip_prefix(PREFIX).filter(|execution| !execution.is_empty())
}

/// How far a response is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State<'a> {
    Queued,
    InProgress,
    /// With the answer's JSON, in the shape of chat, and its items.
    Ended {
        answer: &'a Value,
        items: Vec<Item>,
    },
    Failed {
        failure: &'a Failure,
    },
    Cancelled,
}

/// One item of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// What it is, with what never changes of it.
    pub(crate) kind: ItemKind,
    /// Its text, or its arguments.
    pub(crate) text: String,
}

/// What an item is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ItemKind {
    Reasoning,
    Text,
    Refusal,
    /// `place` is the one among the answer's tool calls.
    Call {
        place: i64,
        call_id: String,
        name: String,
    },
}

/// Whether an item is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Begun,
    Complete,
}

impl ItemKind {
    /// The id of such an item in the answer of `execution`.
    pub(crate) fn id(&self, execution: &str) -> String {
        let execution = execution.replace('-', "");
        match self {
            Self::Reasoning => format!("rs_{execution}"),
            Self::Text | Self::Refusal => format!("msg_{execution}"),
            Self::Call { place, .. } => format!("fc_{execution}_{place}"),
        }
    }
}

impl Item {
    /// The item as JSON.
    pub(crate) fn json(&self, execution: &str, progress: Progress) -> Value {
        let id = self.kind.id(execution);
        let status = match progress {
            Progress::Begun => "in_progress",
            Progress::Complete => "completed",
        };
        let content = match progress {
            Progress::Begun => json!([]),
            Progress::Complete => json!([self.part()]),
        };
        match &self.kind {
            ItemKind::Reasoning => json!({
                "id": id, "type": "reasoning", "summary": [], "content": content, "status": status,
            }),
            ItemKind::Text | ItemKind::Refusal => json!({
                "id": id, "type": "message", "status": status, "role": "assistant",
                "content": content,
            }),
            ItemKind::Call { call_id, name, .. } => json!({
                "id": id, "type": "function_call", "status": status, "call_id": call_id,
                "name": name,
                "arguments": if progress == Progress::Complete { self.text.as_str() } else { "" },
            }),
        }
    }

    /// Its one part; calls have none.
    pub(crate) fn part(&self) -> Value {
        match self.kind {
            ItemKind::Reasoning => json!({"type": "reasoning_text", "text": self.text}),
            ItemKind::Refusal => json!({"type": "refusal", "refusal": self.text}),
            ItemKind::Text | ItemKind::Call { .. } => json!({
                "type": "output_text", "text": self.text, "annotations": [], "logprobs": [],
            }),
        }
    }
}

/// The items of an answer in the shape of chat: what was thought, said, and asked for.
pub(crate) fn items(answer: &Value) -> Vec<Item> {
    let message = &answer["choices"][0]["message"];
    let text = |name: &str| message[name].as_str().filter(|text| !text.is_empty());
    let mut items = Vec::new();
    let mut add = |kind, text: &str| items.push(Item { kind, text: text.to_owned() });
    if let Some(reasoning) = text("reasoning_content").or_else(|| text("reasoning")) {
        add(ItemKind::Reasoning, reasoning);
    }
    if let Some(content) = text("content") {
        add(ItemKind::Text, content);
    } else if let Some(refusal) = text("refusal") {
        add(ItemKind::Refusal, refusal);
    }
    let none = Vec::new();
    for (n, call) in message["tool_calls"].as_array().unwrap_or(&none).iter().enumerate() {
        let place = call["index"].as_i64().unwrap_or(i64::try_from(n).unwrap_or(i64::MAX));
        let name = call["function"]["name"].as_str().unwrap_or_default().to_owned();
        let call_id = call["id"].as_str().unwrap_or_default().to_owned();
        let kind = ItemKind::Call { place, call_id, name };
        add(kind, call["function"]["arguments"].as_str().unwrap_or_default());
    }
    if items.is_empty() {
        items.push(Item { kind: ItemKind::Text, text: String::new() });
    }
    items
}

/// The last event's type for an answer: a length or a policy may have cut it short.
pub(crate) fn ending(answer: &Value) -> (&'static str, Option<&'static str>) {
    match answer["choices"][0]["finish_reason"].as_str() {
        Some("length") => ("incomplete", Some("max_output_tokens")),
        Some("content_filter") => ("incomplete", Some("content_filter")),
        _ => ("completed", None),
    }
}

/// The response.
pub(crate) fn response(execution: &str, memo: &Memo, state: &State<'_>) -> Value {
    let mut object = Map::from_iter([
        ("id".to_owned(), Value::from(id_of(execution))),
        ("object".to_owned(), "response".into()),
        ("created_at".to_owned(), memo.created.into()),
    ]);
    let (mut error, mut incomplete, mut usage) = (Value::Null, Value::Null, Value::Null);
    let mut output = json!([]);
    let status = match state {
        State::Queued => "queued",
        State::InProgress => "in_progress",
        State::Cancelled => "cancelled",
        State::Failed { failure } => {
            error = json!({"code": failure.code, "message": failure.message});
            "failed"
        }
        State::Ended { answer, items } => {
            let complete = |item: &Item| item.json(execution, Progress::Complete);
            output = items.iter().map(complete).collect();
            usage = self::usage(&answer["usage"]);
            let (status, reason) = ending(answer);
            if let Some(reason) = reason {
                incomplete = json!({"reason": reason});
            }
            status
        }
    };
    object.insert("status".into(), status.into());
    object.insert("error".into(), error);
    object.insert("incomplete_details".into(), incomplete);
    object.extend(memo.echo.clone());
    object.insert("output".into(), output);
    object.insert("usage".into(), usage);
    Value::Object(object)
}

/// A chat's usage under a response's names.
fn usage(usage: &Value) -> Value {
    if !usage.is_object() {
        return Value::Null;
    }
    let count = |value: &Value| value.as_i64().unwrap_or(0);
    let (input, output) = (count(&usage["prompt_tokens"]), count(&usage["completion_tokens"]));
    json!({
        "input_tokens": input,
        "input_tokens_details":
            {"cached_tokens": count(&usage["prompt_tokens_details"]["cached_tokens"])},
        "output_tokens": output,
        "output_tokens_details":
            {"reasoning_tokens": count(&usage["completion_tokens_details"]["reasoning_tokens"])},
        "total_tokens": usage["total_tokens"].as_i64().unwrap_or(input + output),
    })
}

/// The assistant's turn in the conversation that goes on.
pub(crate) fn turn(answer: &Value) -> Value {
    let message = &answer["choices"][0]["message"];
    let mut turn = json!({"role": "assistant", "content": message["content"]});
    if message["tool_calls"].is_array() {
        turn["tool_calls"] = message["tool_calls"].clone();
    }
    turn
}
