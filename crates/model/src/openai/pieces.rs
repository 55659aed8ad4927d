//! Puts the pieces of a stream together to the body that the same request would have got without
//! streaming, and passes each piece on as it comes. Tolerates every variation that servers of this shape
//! show; knows nothing of the connection.

use std::collections::BTreeMap;

use domain::event::ChunkKind;
use domain::request::Operation;
use serde_json::{Map, Value, json};

use crate::try_once::Listener;

/// The pieces so far.
pub(crate) struct Pieces {
    operation: Operation,
    /// Members of the outermost object that are the same in each piece: id, model, created, ...
    head: Map<String, Value>,
    choices: BTreeMap<i64, Choice>,
    usage: Option<Value>,
}

/// One choice of the answer.
#[derive(Default)]
struct Choice {
    text: Option<String>,
    reasoning: Option<String>,
    refusal: Option<String>,
    tools: Vec<Tool>,
    /// The form of tool calls before there were several.
    function: Option<Tool>,
    /// Members of the delta that we don't know; the last value stands.
    others: Map<String, Value>,
    logprobs: Option<Value>,
    finish_reason: Option<String>,
}

/// One tool call.
#[derive(Default)]
struct Tool {
    index: Option<i64>,
    id: Option<String>,
    name: String,
    arguments: String,
}

/// Why a piece can't be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PieceProblem {
    /// It isn't a JSON object.
    NotJson,
    /// It is an error of the provider.
    Error,
}

/// The whole answer.
pub(crate) struct Whole {
    pub(crate) body: String,
    pub(crate) model: Option<String>,
    pub(crate) finish_reason: Option<String>,
    pub(crate) usage: Option<Value>,
}

impl Pieces {
    pub(crate) fn new(operation: Operation) -> Self {
        Self { operation, head: Map::new(), choices: BTreeMap::new(), usage: None }
    }

    /// Whether every choice that began has said why it ended.
    pub(crate) fn is_finished(&self) -> bool {
        !self.is_empty() && self.choices.values().all(|choice| choice.finish_reason.is_some())
    }

    /// Whether no choice has begun.
    pub(crate) fn is_empty(&self) -> bool {
        self.choices.is_empty()
    }

    /// Takes one event's data.
    pub(crate) fn take(
        &mut self,
        data: &str,
        listener: &mut Listener<'_>,
    ) -> Result<(), PieceProblem> {
        let Ok(Value::Object(piece)) = serde_json::from_str(data) else {
            return Err(PieceProblem::NotJson);
        };
        if piece.get("error").is_some_and(|error| !error.is_null()) || is_bare_error(&piece) {
            return Err(PieceProblem::Error);
        }
        for (name, value) in piece {
            match (name.as_str(), value) {
                // Null or empty in the piece that carries the usage.
                ("choices", Value::Array(choices)) => {
                    for choice in choices {
                        self.take_choice(choice, listener);
                    }
                }
                // In a piece of its own, in the last one, or in each: the last one counts.
                ("usage", value) if !value.is_null() => self.usage = Some(value),
                ("choices" | "usage" | "object" | "error", _) => {}
                (_, value) if value.is_null() => {}
                (_, value) => {
                    self.head.insert(name, value);
                }
            }
        }
        Ok(())
    }

    fn take_choice(&mut self, piece: Value, listener: &mut Listener<'_>) {
        let Value::Object(mut piece) = piece else {
            return;
        };
        let index = piece.get("index").and_then(Value::as_i64).unwrap_or(0);
        let number = i32::try_from(index).unwrap_or(i32::MAX);
        let choice = self.choices.entry(index).or_default();
        if let Some(Value::String(text)) = piece.remove("text") {
            append(&mut choice.text, &text);
            listener.hear(ChunkKind::Text, number, text);
        }
        // Some send a whole `message` in the last piece, beside deltas or instead of them.
        let delta = match (piece.remove("delta"), piece.remove("message")) {
            (Some(Value::Object(delta)), _) => delta,
            (_, Some(Value::Object(message))) if choice.says_nothing() => message,
            _ => Map::new(),
        };
        choice.take_delta(delta, number, listener);
        match piece.remove("logprobs") {
            Some(Value::Null) | None => {}
            Some(logprobs) => choice.take_logprobs(logprobs),
        }
        if let Some(Value::String(reason)) = piece.remove("finish_reason")
            && !reason.is_empty()
        {
            choice.finish_reason = Some(reason);
        }
    }

    /// The answer as it would have come in one piece.
    pub(crate) fn whole(self) -> Whole {
        let Self { operation, mut head, choices, usage } = self;
        let finish_reason = choices.values().find_map(|choice| choice.finish_reason.clone());
        let model = head.get("model").and_then(Value::as_str).map(str::to_owned);
        let choices: Vec<Value> =
            choices.into_iter().map(|(index, choice)| choice.whole(operation, index)).collect();
        let object = match operation {
            Operation::TextCompletion => "text_completion",
            _ => "chat.completion",
        };
        let mut body = Map::new();
        body.insert("id".into(), head.shift_remove("id").unwrap_or_else(|| json!("")));
        body.insert("object".into(), json!(object));
        body.insert("created".into(), head.shift_remove("created").unwrap_or_else(|| json!(0)));
        body.insert("model".into(), head.shift_remove("model").unwrap_or_else(|| json!("")));
        body.insert("choices".into(), Value::Array(choices));
        if let Some(usage) = &usage {
            body.insert("usage".into(), usage.clone());
        }
        body.extend(head);
        Whole { body: Value::Object(body).to_string(), model, finish_reason, usage }
    }

    /// Passes on an answer that came in one piece though a stream was asked for.
    pub(crate) fn hear_whole(body: &str, listener: &mut Listener<'_>) {
        let Ok(body) = serde_json::from_str::<Value>(body) else {
            return;
        };
        let choices = body.get("choices").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut pieces = Self::new(Operation::Chat);
        for choice in choices {
            pieces.take_choice(choice, listener);
        }
    }
}

impl Choice {
    fn says_nothing(&self) -> bool {
        self.text.is_none() && self.reasoning.is_none() && self.tools.is_empty()
    }

    fn take_delta(&mut self, delta: Map<String, Value>, number: i32, listener: &mut Listener<'_>) {
        for (name, value) in delta {
            match (name.as_str(), value) {
                ("content", Value::String(text)) => {
                    append(&mut self.text, &text);
                    listener.hear(ChunkKind::Text, number, text);
                }
                // DeepSeek, Qwen and vLLM by the first name; OpenRouter, Ollama and newer vLLM by the second.
                ("reasoning_content" | "reasoning", Value::String(text)) => {
                    append(&mut self.reasoning, &text);
                    listener.hear(ChunkKind::Reasoning, number, text);
                }
                ("refusal", Value::String(text)) => append(&mut self.refusal, &text),
                ("tool_calls", Value::Array(pieces)) if !pieces.is_empty() => {
                    for piece in &pieces {
                        self.take_tool(piece);
                    }
                    listener.hear(ChunkKind::ToolCalls, number, Value::Array(pieces).to_string());
                }
                ("function_call", piece @ Value::Object(_)) => {
                    self.function.get_or_insert_default().take(&piece);
                }
                ("role" | "tool_calls" | "function_call", _) => {}
                (_, Value::Null) => {}
                (_, value) => {
                    self.others.insert(name, value);
                }
            }
        }
    }

    /// A piece belongs to the call with its index; without one, to the last call, unless it brings
    /// another id, which some servers do for whole calls.
    fn take_tool(&mut self, piece: &Value) {
        let index = piece.get("index").and_then(Value::as_i64);
        let id = piece.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
        let at = match index {
            Some(_) => self.tools.iter().position(|tool| tool.index == index),
            None => match self.tools.last() {
                Some(last) if id.is_none() || last.id.as_deref() == id => {
                    Some(self.tools.len() - 1)
                }
                _ => None,
            },
        };
        let at = at.unwrap_or_else(|| {
            self.tools.push(Tool { index, ..Tool::default() });
            self.tools.len() - 1
        });
        let tool = &mut self.tools[at];
        if let Some(id) = id {
            tool.id = Some(id.to_owned());
        }
        if let Some(function) = piece.get("function") {
            tool.take(function);
        }
    }

    /// Token by token, `content` and `refusal` are lists that go on.
    fn take_logprobs(&mut self, piece: Value) {
        let Some(Value::Object(so_far)) = &mut self.logprobs else {
            self.logprobs = Some(piece);
            return;
        };
        let Value::Object(piece) = piece else { return };
        for (name, value) in piece {
            match (so_far.get_mut(&name), value) {
                (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
                (_, Value::Null) => {}
                (_, value) => {
                    so_far.insert(name, value);
                }
            }
        }
    }

    fn whole(self, operation: Operation, index: i64) -> Value {
        let finish_reason = self.finish_reason;
        let mut choice = json!({ "index": index });
        if operation == Operation::TextCompletion {
            choice["text"] = json!(self.text.unwrap_or_default());
        } else {
            let tools: Vec<Value> = self.tools.into_iter().map(Tool::whole).collect();
            // A role comes with an empty text, which an answer of tool calls alone doesn't have.
            let only_calls = !tools.is_empty() || self.function.is_some();
            let text = self.text.filter(|text| !(only_calls && text.is_empty()));
            let mut message = json!({ "role": "assistant", "content": text });
            if let Some(reasoning) = self.reasoning {
                message["reasoning_content"] = json!(reasoning);
            }
            if let Some(refusal) = self.refusal {
                message["refusal"] = json!(refusal);
            }
            if !tools.is_empty() {
                message["tool_calls"] = Value::Array(tools);
            }
            if let Some(function) = self.function {
                message["function_call"] =
                    json!({ "name": function.name, "arguments": function.arguments });
            }
            for (name, value) in self.others {
                message[name] = value;
            }
            choice["message"] = message;
        }
        choice["logprobs"] = self.logprobs.unwrap_or(Value::Null);
        choice["finish_reason"] = json!(finish_reason);
        choice
    }
}

impl Tool {
    fn take(&mut self, function: &Value) {
        if let Some(name) = function.get("name").and_then(Value::as_str) {
            self.name.push_str(name);
        }
        match function.get("arguments") {
            Some(Value::String(piece)) => self.arguments.push_str(piece),
            // Arguments as JSON, not as a text of JSON.
            Some(whole @ Value::Object(_)) => self.arguments.push_str(&whole.to_string()),
            _ => {}
        }
    }

    fn whole(self) -> Value {
        json!({
            "id": self.id.unwrap_or_default(),
            "type": "function",
            "function": { "name": self.name, "arguments": self.arguments },
        })
    }
}

fn append(text: &mut Option<String>, more: &str) {
    text.get_or_insert_default().push_str(more);
}

/// An error that is not under `error`: vLLM (`object: error`) and DashScope (`code` and `message`).
fn is_bare_error(piece: &Map<String, Value>) -> bool {
    !piece.contains_key("choices")
        && piece.get("message").is_some_and(Value::is_string)
        && (piece.contains_key("code") || piece.get("object") == Some(&json!("error")))
}
