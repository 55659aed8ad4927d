//! From our chunks and the authoritative answer to the events of a response's stream.
//!
//! Pure. Each event has a number, and a client resumes after the last one it had. A token is no good unit
//! for that: how text is cut into pieces differs from one look at it to the next. So the numbers count
//! bytes: a piece of n bytes takes n numbers and bears the last of them. Then the same answer has the same
//! numbers whether it is followed live, in other pieces, or read from the store long after, and a piece
//! that a client has in part is sent in part. This rests on a model that thinks, then speaks, then calls;
//! were texts of two items mixed, a resumed client would get the second one's place wrong.

use domain::answer::Failure;
use domain::event::{Chunk, ChunkKind};
use serde_json::{Value, json};

use super::memo::Memo;
use super::object::{self, Item, ItemKind, Progress, State};
use crate::openai::sent::{Diverged, Sent};

/// The stream so far.
#[derive(Debug)]
pub(crate) struct Assembly {
    execution: String,
    memo: Memo,
    /// The number of the next event that takes one.
    next: u64,
    /// Events up to this number are known to the client.
    after: Option<u64>,
    items: Vec<Open>,
}

/// An item of which the client knows.
#[derive(Debug)]
struct Open {
    kind: ItemKind,
    sent: Sent,
}

impl Assembly {
    pub(crate) fn new(execution: &str, memo: Memo, after: Option<u64>) -> Self {
        Self { execution: execution.to_owned(), memo, next: 0, after, items: Vec::new() }
    }

    /// The number of the last event so far.
    pub(crate) fn last(&self) -> u64 {
        self.next.saturating_sub(1).max(self.after.unwrap_or(0))
    }

    /// The events before any text.
    pub(crate) fn begin(&mut self) -> Vec<Value> {
        let mut out = Vec::new();
        for kind in ["response.created", "response.in_progress"] {
            let response = object::response(&self.execution, &self.memo, &State::InProgress);
            self.emit(json!({"type": kind, "response": response}), &mut out);
        }
        out
    }

    /// A newer try begins: its text is compared with what was sent.
    pub(crate) fn restart(&mut self) {
        self.items.iter_mut().for_each(|item| item.sent.again());
    }

    /// The events to send for one of our chunks.
    pub(crate) fn chunk(&mut self, chunk: &Chunk) -> Result<Vec<Value>, Diverged> {
        let mut out = Vec::new();
        if chunk.choice != 0 {
            return Ok(out);
        }
        match chunk.kind {
            ChunkKind::Text => self.advance(ItemKind::Text, &chunk.text, &mut out)?,
            ChunkKind::Reasoning => self.advance(ItemKind::Reasoning, &chunk.text, &mut out)?,
            ChunkKind::ToolCalls => {
                // A piece that isn't what it should be is left to the answer, which has the whole.
                if let Ok(Value::Array(pieces)) = serde_json::from_str(&chunk.text) {
                    for piece in &pieces {
                        self.tool_piece(piece, &mut out)?;
                    }
                }
            }
            ChunkKind::Done | ChunkKind::Queued => {}
        }
        Ok(out)
    }

    /// The events that complete the stream with the answer.
    pub(crate) fn finish(&mut self, answer: &Value) -> Result<Vec<Value>, Diverged> {
        let mut out = Vec::new();
        let items = object::items(answer);
        for Item { kind, text } in items {
            // What was sent before its name was known keeps its place.
            let at = self.open(kind, &mut out);
            let new = self.items[at].sent.complete(&text)?.to_owned();
            self.delta(at, &new, &mut out);
        }
        for at in 0..self.items.len() {
            self.close(at, &mut out);
        }
        let items = (0..self.items.len()).map(|at| self.item(at)).collect();
        let state = State::Ended { answer, items };
        let response = object::response(&self.execution, &self.memo, &state);
        let (ending, _) = object::ending(answer);
        let last = json!({"type": format!("response.{ending}"), "response": response});
        self.emit(last, &mut out);
        Ok(out)
    }

    /// The last event of a response that ended without an answer. The client gets it whatever it has.
    pub(crate) fn fail(&mut self, failure: &Failure) -> Value {
        let state = State::Failed { failure };
        let response = object::response(&self.execution, &self.memo, &state);
        self.terminal(json!({"type": "response.failed", "response": response}))
    }

    /// The last event of a response that was cancelled.
    pub(crate) fn cancelled(&mut self) -> Value {
        let response = object::response(&self.execution, &self.memo, &State::Cancelled);
        // OpenAI's streams know no other word for an end without an answer.
        self.terminal(json!({"type": "response.failed", "response": response}))
    }

    /// An error that ends this stream, not the response.
    pub(crate) fn error(&mut self, code: &str, message: &str) -> Value {
        self.terminal(json!({"type": "error", "code": code, "message": message, "param": null}))
    }

    fn terminal(&mut self, mut event: Value) -> Value {
        let number = self.next.max(self.after.map_or(0, |after| after + 1));
        self.next = number + 1;
        event["sequence_number"] = number.into();
        event
    }

    fn emit(&mut self, mut event: Value, out: &mut Vec<Value>) {
        let number = self.next;
        self.next += 1;
        if self.after.is_none_or(|after| number > after) {
            event["sequence_number"] = number.into();
            out.push(event);
        }
    }

    fn advance(
        &mut self,
        kind: ItemKind,
        text: &str,
        out: &mut Vec<Value>,
    ) -> Result<(), Diverged> {
        if text.is_empty() {
            return Ok(());
        }
        let at = self.open(kind, out);
        let new = self.items[at].sent.advance(text)?.to_owned();
        self.delta(at, &new, out);
        Ok(())
    }

    /// A call begins with its name; what comes without one is left to the answer.
    fn tool_piece(&mut self, piece: &Value, out: &mut Vec<Value>) -> Result<(), Diverged> {
        let place = piece["index"].as_i64().unwrap_or(0);
        let known = self.items.iter().position(
            |item| matches!(&item.kind, ItemKind::Call { place: of, .. } if *of == place),
        );
        let at = match (known, piece["function"]["name"].as_str()) {
            (Some(at), _) => at,
            (None, Some(name)) => {
                let call_id = piece["id"].as_str().unwrap_or_default().to_owned();
                let kind = ItemKind::Call { place, call_id, name: name.to_owned() };
                self.open(kind, out)
            }
            (None, None) => return Ok(()),
        };
        let arguments = piece["function"]["arguments"].as_str().unwrap_or_default();
        let new = self.items[at].sent.advance(arguments)?.to_owned();
        self.delta(at, &new, out);
        Ok(())
    }

    /// The place of the item, which is announced when it is new.
    fn open(&mut self, kind: ItemKind, out: &mut Vec<Value>) -> usize {
        let same = |item: &Open| match (&item.kind, &kind) {
            (ItemKind::Call { place: a, .. }, ItemKind::Call { place: b, .. }) => a == b,
            (a, b) => *a == *b,
        };
        if let Some(at) = self.items.iter().position(same) {
            return at;
        }
        let at = self.items.len();
        self.items.push(Open { kind, sent: Sent::default() });
        let item = self.item(at);
        let begun = item.json(&self.execution, Progress::Begun);
        self.emit(
            json!({"type": "response.output_item.added", "output_index": at, "item": begun}),
            out,
        );
        if !matches!(item.kind, ItemKind::Call { .. }) {
            self.emit(
                json!({
                    "type": "response.content_part.added",
                    "item_id": item.kind.id(&self.execution),
                    "output_index": at,
                    "content_index": 0,
                    "part": item.part(),
                }),
                out,
            );
        }
        at
    }

    /// The item as far as it was sent.
    fn item(&self, at: usize) -> Item {
        let open = &self.items[at];
        Item { kind: open.kind.clone(), text: open.sent.text().to_owned() }
    }

    fn delta(&mut self, at: usize, new: &str, out: &mut Vec<Value>) {
        if new.is_empty() {
            return;
        }
        let first = self.next;
        self.next += new.len() as u64;
        let known = self.after.map_or(0, |after| (after + 1).saturating_sub(first));
        let mut known = usize::try_from(known).unwrap_or(usize::MAX).min(new.len());
        // Within a character only when the number was made up.
        while !new.is_char_boundary(known) {
            known += 1;
        }
        let piece = &new[known..];
        if piece.is_empty() {
            return;
        }
        let kind = &self.items[at].kind;
        let mut event = json!({
            "type": name(kind, Half::Delta),
            "sequence_number": self.next - 1,
            "item_id": kind.id(&self.execution),
            "output_index": at,
        });
        if !matches!(kind, ItemKind::Call { .. }) {
            event["content_index"] = 0.into();
        }
        event["delta"] = piece.into();
        if *kind == ItemKind::Text {
            event["logprobs"] = json!([]);
        }
        out.push(event);
    }

    fn close(&mut self, at: usize, out: &mut Vec<Value>) {
        let item = self.item(at);
        let id = item.kind.id(&self.execution);
        let mut done =
            json!({"type": name(&item.kind, Half::Done), "item_id": id, "output_index": at});
        match &item.kind {
            ItemKind::Call { name, .. } => {
                done["name"] = name.as_str().into();
                done["arguments"] = item.text.as_str().into();
            }
            kind => {
                done["content_index"] = 0.into();
                let field = if *kind == ItemKind::Refusal { "refusal" } else { "text" };
                done[field] = item.text.as_str().into();
                if *kind == ItemKind::Text {
                    done["logprobs"] = json!([]);
                }
            }
        }
        self.emit(done, out);
        if !matches!(item.kind, ItemKind::Call { .. }) {
            self.emit(
                json!({
                    "type": "response.content_part.done",
                    "item_id": id,
                    "output_index": at,
                    "content_index": 0,
                    "part": item.part(),
                }),
                out,
            );
        }
        let complete = item.json(&self.execution, Progress::Complete);
        self.emit(
            json!({"type": "response.output_item.done", "output_index": at, "item": complete}),
            out,
        );
    }
}

/// One of the two events that tell an item's text.
#[derive(Clone, Copy)]
enum Half {
    Delta,
    Done,
}

fn name(kind: &ItemKind, half: Half) -> &'static str {
    match (kind, half) {
        (ItemKind::Reasoning, Half::Delta) => "response.reasoning_text.delta",
        (ItemKind::Reasoning, Half::Done) => "response.reasoning_text.done",
        (ItemKind::Text, Half::Delta) => "response.output_text.delta",
        (ItemKind::Text, Half::Done) => "response.output_text.done",
        (ItemKind::Refusal, Half::Delta) => "response.refusal.delta",
        (ItemKind::Refusal, Half::Done) => "response.refusal.done",
        (ItemKind::Call { .. }, Half::Delta) => "response.function_call_arguments.delta",
        (ItemKind::Call { .. }, Half::Done) => "response.function_call_arguments.done",
    }
}

#[cfg(test)]
mod tests;
