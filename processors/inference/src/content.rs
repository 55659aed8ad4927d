//! Prompt and answer as text, for rows of the execution log where the definition allows it.
//!
//! Pure, and never an error: a shape that isn't known has no text. Pictures, sounds and files are named by
//! their kind and left out, and so is what a model thought before it answered.

use domain::request::{ModelRequest, Operation};
use serde_json::Value;

/// The longest text of a row, in bytes. What is longer is cut, and ends in `…`.
pub(crate) const MAX_TEXT_BYTES: usize = 16 * 1024;

/// What stands at the end of a text that was cut.
const CUT: char = '…';

/// The prompt: a line for each message, part or document.
pub(crate) fn input(request: &ModelRequest) -> Option<String> {
    let body: Value = serde_json::from_str(&request.body).ok()?;
    let mut text = Text::default();
    match request.operation {
        Operation::Chat => {
            for message in body["messages"].as_array()? {
                let role = message["role"].as_str().unwrap_or_default();
                text.line(&format!("{role}: {}", said(message)));
            }
        }
        Operation::TextCompletion => text.lines(&body["prompt"]),
        Operation::Embeddings => text.lines(&body["input"]),
        Operation::Rerank => {
            text.lines(&body["query"]);
            text.lines(&body["documents"]);
        }
    }
    text.finish()
}

/// The answer: what each choice says, and the tools it wants called. Vectors and ranks are no text.
pub(crate) fn output(operation: Operation, body: &str) -> Option<String> {
    let body: Value = match operation {
        Operation::Chat | Operation::TextCompletion => serde_json::from_str(body).ok()?,
        Operation::Embeddings | Operation::Rerank => return None,
    };
    let mut text = Text::default();
    for choice in body["choices"].as_array()? {
        match operation {
            Operation::Chat => text.line(&said(&choice["message"])),
            _ => text.lines(&choice["text"]),
        }
    }
    text.finish()
}

/// What a message of a chat says.
fn said(message: &Value) -> String {
    let mut lines = Vec::new();
    match &message["content"] {
        Value::String(content) => lines.push(content.clone()),
        Value::Array(parts) => lines.extend(parts.iter().map(part)),
        _ => {}
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let function = &call["function"];
        let name = function["name"].as_str().unwrap_or_default();
        lines.push(format!("{name}({})", function["arguments"].as_str().unwrap_or_default()));
    }
    lines.join("\n")
}

/// A part of a message: its text, or its kind in brackets.
fn part(part: &Value) -> String {
    match part["text"].as_str() {
        Some(text) => text.to_owned(),
        None => format!("[{}]", part["type"].as_str().unwrap_or("part")),
    }
}

/// Lines, up to the bound.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: &str) {
        // What is beyond the bound will be cut anyway.
        if self.0.len() > MAX_TEXT_BYTES {
            return;
        }
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(line);
    }

    /// A text, or the texts of a list. Tokens given as numbers are no text.
    fn lines(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.line(text),
            Value::Array(items) => items.iter().for_each(|item| self.lines(item)),
            Value::Object(_) => {
                if let Some(text) = value["text"].as_str() {
                    self.line(text);
                }
            }
            _ => {}
        }
    }

    fn finish(self) -> Option<String> {
        let Self(mut text) = self;
        if text.len() > MAX_TEXT_BYTES {
            text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES - CUT.len_utf8()));
            text.push(CUT);
        }
        Some(text).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(operation: Operation, body: &str) -> Option<String> {
        input(&ModelRequest { operation, ..ModelRequest::new("call-1", "fast", body) })
    }

    #[test]
    fn prompt_is_the_text_of_each_operation() {
        use Operation::{Chat, Embeddings, Rerank, TextCompletion};
        for (operation, body, expected) in [
            (
                Chat,
                r#"{"messages":[{"role":"system","content":"be brief"},{"role":"user","content":
                    [{"type":"text","text":"what is it"},{"type":"image_url","image_url":{}}]}]}"#,
                Some("system: be brief\nuser: what is it\n[image_url]"),
            ),
            (TextCompletion, r#"{"prompt":"once"}"#, Some("once")),
            (TextCompletion, r#"{"prompt":["once","twice"]}"#, Some("once\ntwice")),
            (Embeddings, r#"{"input":[[1,2],[3]]}"#, None),
            (Embeddings, r#"{"input":["a","b"]}"#, Some("a\nb")),
            (Rerank, r#"{"query":"q","documents":["a",{"text":"b"}]}"#, Some("q\na\nb")),
            (Chat, r#"{"messages":"no list"}"#, None),
            (Chat, "no JSON", None),
        ] {
            assert_eq!(read(operation, body).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn answer_is_what_the_choices_say_and_call() {
        use Operation::{Chat, Embeddings, TextCompletion};
        for (operation, body, expected) in [
            (Chat, r#"{"choices":[{"message":{"content":"yes"}}]}"#, Some("yes")),
            (
                Chat,
                r#"{"choices":[{"message":{"content":null,"reasoning_content":"hm","tool_calls":
                    [{"function":{"name":"look","arguments":"{\"at\":1}"}}]}}]}"#,
                Some(r#"look({"at":1})"#),
            ),
            (TextCompletion, r#"{"choices":[{"text":"a"},{"text":"b"}]}"#, Some("a\nb")),
            (Embeddings, r#"{"data":[{"embedding":[1]}]}"#, None),
            (Chat, r#"{"choices":[]}"#, None),
        ] {
            assert_eq!(output(operation, body).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn long_text_is_cut_at_a_character_and_says_so() {
        for (unit, count) in
            [("x", MAX_TEXT_BYTES + 1), ("é", MAX_TEXT_BYTES), ("x", MAX_TEXT_BYTES)]
        {
            let prompt = unit.repeat(count);
            let text = read(Operation::TextCompletion, &format!(r#"{{"prompt":"{prompt}"}}"#));
            let text = text.expect("a text");
            assert!(text.len() <= MAX_TEXT_BYTES, "{}", text.len());
            assert_eq!(text.ends_with(CUT), prompt.len() > MAX_TEXT_BYTES);
            assert!(prompt.starts_with(text.trim_end_matches(CUT)));
        }
    }
}
