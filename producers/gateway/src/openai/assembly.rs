//! From our chunks and the authoritative answer to the chunks of an OpenAI stream.
//!
//! Pure. What was sent over such a stream can't be taken back. So it sends only what continues the text
//! that the client has: when a call is tried again after something was sent, the new text is compared
//! with the old, and the stream goes on where it is the same and ends with an error where it is not. The
//! answer in the terminal event fills whatever the deltas left out.

use std::collections::BTreeMap;

use domain::event::{Chunk, ChunkKind};
use serde_json::{Map, Value, json};

use super::sent::{Diverged, Sent};
use crate::shape::UsageChunk;

/// What identifies the stream in each of its chunks.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// `chatcmpl-…`.
    pub(crate) id: String,
    /// The alias that was asked for.
    pub(crate) model: String,
    /// Seconds since the epoch.
    pub(crate) created: i64,
}

/// One tool call that the client has in part.
#[derive(Debug, Default)]
struct ToolCall {
    announced: Announced,
    arguments: Sent,
}

/// Whether the client knows id and name of a tool call.
#[derive(Debug, Default, PartialEq, Eq)]
enum Announced {
    #[default]
    No,
    Yes,
}

#[derive(Debug, Default)]
struct Choice {
    content: Sent,
    reasoning: Sent,
    tools: BTreeMap<i64, ToolCall>,
}

/// The stream so far.
#[derive(Debug)]
pub(crate) struct Assembly {
    head: Head,
    usage: UsageChunk,
    choices: BTreeMap<i64, Choice>,
}

impl Assembly {
    pub(crate) fn new(head: Head, usage: UsageChunk) -> Self {
        Self { head, usage, choices: BTreeMap::new() }
    }

    /// A newer try begins: its text is compared with what was sent.
    pub(crate) fn restart(&mut self) {
        for choice in self.choices.values_mut() {
            choice.content.again();
            choice.reasoning.again();
            for tool in choice.tools.values_mut() {
                tool.arguments.again();
            }
        }
    }

    /// The chunks to send for one of ours.
    pub(crate) fn chunk(&mut self, chunk: &Chunk) -> Result<Vec<Value>, Diverged> {
        let index = i64::from(chunk.choice);
        let mut out = Vec::new();
        match chunk.kind {
            ChunkKind::Text => {
                let choice = self.open(index, &mut out);
                let new = choice.content.advance(&chunk.text)?.to_owned();
                self.delta(index, "content", &new, &mut out);
            }
            ChunkKind::Reasoning => {
                let choice = self.open(index, &mut out);
                let new = choice.reasoning.advance(&chunk.text)?.to_owned();
                self.delta(index, "reasoning_content", &new, &mut out);
            }
            ChunkKind::ToolCalls => {
                // A piece that isn't what it should be is left to the answer, which has the whole.
                if let Ok(Value::Array(pieces)) = serde_json::from_str(&chunk.text) {
                    let choice = self.open(index, &mut out);
                    let mut sent = Vec::new();
                    for piece in pieces {
                        sent.extend(choice.tool_piece(piece)?);
                    }
                    if !sent.is_empty() {
                        out.push(self.frame(index, json!({ "tool_calls": sent }), None));
                    }
                }
            }
            ChunkKind::Done | ChunkKind::Queued => {}
        }
        Ok(out)
    }

    /// The chunks that complete the stream with the answer. `[DONE]` comes after them.
    pub(crate) fn finish(&mut self, answer: &Value) -> Result<Vec<Value>, Diverged> {
        let mut out = Vec::new();
        let none = Vec::new();
        for (n, of) in answer["choices"].as_array().unwrap_or(&none).iter().enumerate() {
            let place = i64::try_from(n).unwrap_or(i64::MAX);
            let index = of["index"].as_i64().unwrap_or(place);
            let message = &of["message"];
            let reasoning = ["reasoning_content", "reasoning"]
                .iter()
                .find_map(|name| message[*name].as_str())
                .unwrap_or_default();
            let choice = self.open(index, &mut out);
            let reasoning = choice.reasoning.complete(reasoning)?.to_owned();
            let content = message["content"].as_str().unwrap_or_default();
            let content = choice.content.complete(content)?.to_owned();
            let mut tools = Vec::new();
            for (n, call) in message["tool_calls"].as_array().unwrap_or(&none).iter().enumerate() {
                tools.extend(choice.tool_rest(i64::try_from(n).unwrap_or(i64::MAX), call)?);
            }
            self.delta(index, "reasoning_content", &reasoning, &mut out);
            self.delta(index, "content", &content, &mut out);
            if !tools.is_empty() {
                out.push(self.frame(index, json!({ "tool_calls": tools }), None));
            }
            if let Some(refusal) = message["refusal"].as_str() {
                self.delta(index, "refusal", refusal, &mut out);
            }
            let reason = of["finish_reason"].as_str().unwrap_or("stop");
            out.push(self.frame(index, json!({}), Some(reason)));
        }
        if self.usage == UsageChunk::Wanted {
            let mut last = self.envelope();
            last.insert("choices".into(), json!([]));
            last.insert("usage".into(), answer["usage"].clone());
            out.push(Value::Object(last));
        }
        Ok(out)
    }

    /// The choice; its role is sent when it begins.
    fn open(&mut self, index: i64, out: &mut Vec<Value>) -> &mut Choice {
        if !self.choices.contains_key(&index) {
            out.push(self.frame(index, json!({"role": "assistant", "content": ""}), None));
        }
        self.choices.entry(index).or_default()
    }

    fn delta(&self, index: i64, field: &str, text: &str, out: &mut Vec<Value>) {
        if !text.is_empty() {
            let delta = Map::from_iter([(field.to_owned(), Value::from(text))]);
            out.push(self.frame(index, Value::Object(delta), None));
        }
    }

    fn frame(&self, index: i64, delta: Value, reason: Option<&str>) -> Value {
        let mut frame = self.envelope();
        frame.insert(
            "choices".into(),
            json!([{"index": index, "delta": delta, "logprobs": null, "finish_reason": reason}]),
        );
        if self.usage == UsageChunk::Wanted {
            frame.insert("usage".into(), Value::Null);
        }
        Value::Object(frame)
    }

    fn envelope(&self) -> Map<String, Value> {
        Map::from_iter([
            ("id".into(), Value::from(self.head.id.as_str())),
            ("object".into(), Value::from("chat.completion.chunk")),
            ("created".into(), Value::from(self.head.created)),
            ("model".into(), Value::from(self.head.model.as_str())),
        ])
    }
}

impl Choice {
    /// The part of a streamed piece that the client doesn't have.
    fn tool_piece(&mut self, mut piece: Value) -> Result<Option<Value>, Diverged> {
        let index = piece["index"].as_i64().unwrap_or(0);
        let tool = self.tools.entry(index).or_default();
        let arguments = piece["function"]["arguments"].as_str().unwrap_or_default();
        let new = tool.arguments.advance(arguments)?.to_owned();
        let announces = piece["id"].is_string() || piece["function"]["name"].is_string();
        if announces && tool.announced == Announced::No {
            tool.announced = Announced::Yes;
            piece["index"] = index.into();
            piece["function"]["arguments"] = new.into();
            return Ok(Some(piece));
        }
        Ok((!new.is_empty()).then(|| json!({"index": index, "function": {"arguments": new}})))
    }

    /// The part of a whole tool call that the client doesn't have.
    fn tool_rest(&mut self, place: i64, call: &Value) -> Result<Option<Value>, Diverged> {
        let index = call["index"].as_i64().unwrap_or(place);
        let tool = self.tools.entry(index).or_default();
        let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
        let new = tool.arguments.complete(arguments)?.to_owned();
        if tool.announced == Announced::Yes {
            return Ok(
                (!new.is_empty()).then(|| json!({"index": index, "function": {"arguments": new}}))
            );
        }
        tool.announced = Announced::Yes;
        Ok(Some(json!({
            "index": index,
            "id": call["id"],
            "type": call["type"].as_str().unwrap_or("function"),
            "function": {"name": call["function"]["name"], "arguments": new},
        })))
    }
}

#[cfg(test)]
mod tests;
