//! Records of topics as lines: columns for people, JSON for programs.
//!
//! Text from outside is shown without control characters, so that a record can't drive the terminal. The
//! definition of an API key is never shown.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::catalogue::{DefinitionKind, DefinitionProposed};
use domain::event::{Chunk, ExecutionEvent};
use domain::fact::DeadLetter;
use domain::log_row::ExecutionLogRecord;
use domain::time::Millis;
use runtime::ports::Tailed;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::moment;

/// The longest text of a column, in characters.
const SHOWN: usize = 200;

/// A record that has a form for people and one for programs.
pub(crate) trait View {
    /// Whose it is, where it says so.
    fn tenant(&self) -> Option<&str>;
    /// Which execution it is of, where it is of one.
    fn execution(&self) -> Option<&str>;
    /// One line of columns; the time of the record where it has none of its own.
    fn text(&self, at: &Tailed) -> String;
    /// One line of JSON.
    fn json(&self) -> String;
}

/// Text of somebody else on one line, shortened.
pub(crate) fn plain(text: &str) -> String {
    let mut shown = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == SHOWN {
            shown.push('…');
            break;
        }
        if is_harmless(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_default());
        }
    }
    shown
}

/// Control characters move the cursor, and marks of direction turn the text round.
fn is_harmless(c: char) -> bool {
    let turns =
        matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    !c.is_control() && !turns && !matches!(c, '\u{2028}' | '\u{2029}')
}

/// Columns with two spaces between them; empty ones at the end are left out.
fn columns(columns: &[(usize, String)]) -> String {
    let mut line = String::new();
    for (width, text) in columns {
        line.push_str(&format!("{text:<width$}  ", width = *width));
    }
    line.truncate(line.trim_end().len());
    line
}

fn when(time: Millis) -> (usize, String) {
    (24, moment::text(time))
}

impl View for ExecutionEvent {
    fn tenant(&self) -> Option<&str> {
        Some(&self.tenant)
    }

    fn execution(&self) -> Option<&str> {
        Some(&self.execution_id)
    }

    fn text(&self, _: &Tailed) -> String {
        let detail = match (&self.error, &self.usage, &self.cost) {
            (Some(error), ..) => format!("{}: {}", error.code, error.message),
            (None, Some(usage), cost) => {
                let tokens = format!("{} + {} tokens", usage.input_tokens, usage.output_tokens);
                cost.as_ref().map_or(tokens.clone(), |cost| {
                    format!("{tokens}, {} {}", amount(cost.micros), cost.currency)
                })
            }
            (None, None, _) => String::new(),
        };
        columns(&[
            when(self.time),
            (36, plain(&self.execution_id)),
            (20, self.event_type.as_str().to_owned()),
            (10, plain(&self.tenant)),
            (0, plain(&detail)),
        ])
    }

    fn json(&self) -> String {
        follow::json::event(self)
    }
}

/// Millionths as a decimal number.
fn amount(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

impl View for Chunk {
    fn tenant(&self) -> Option<&str> {
        Some(&self.tenant)
    }

    fn execution(&self) -> Option<&str> {
        Some(&self.execution_id)
    }

    fn text(&self, at: &Tailed) -> String {
        let kind = serde_json::to_value(self.kind).unwrap_or_default();
        columns(&[
            when(at.record.time),
            (36, plain(&self.execution_id)),
            (12, format!("{}.{}.{}", self.fence, self.attempt, self.index)),
            (10, kind.as_str().unwrap_or_default().to_owned()),
            (0, plain(&format!("{:?}", self.text))),
        ])
    }

    fn json(&self) -> String {
        follow::json::chunk(self)
    }
}

impl View for ExecutionLogRecord {
    fn tenant(&self) -> Option<&str> {
        Some(&self.tenant)
    }

    fn execution(&self) -> Option<&str> {
        Some(&self.execution_id)
    }

    fn text(&self, _: &Tailed) -> String {
        let mut details = Vec::new();
        let mut detail = |text: Option<String>| details.extend(text);
        detail(self.definition.clone());
        detail(self.status.clone());
        detail(self.error_code.clone());
        detail(self.model_used.clone());
        detail(self.duration_ms.map(|ms| format!("{ms} ms")));
        if let (Some(input), Some(output)) = (self.input_tokens, self.output_tokens) {
            detail(Some(format!("{input} + {output} tokens")));
        }
        if let (Some(micros), Some(currency)) = (self.cost_micros, &self.currency) {
            detail(Some(format!("{} {currency}", amount(micros))));
        }
        columns(&[
            when(self.event_time),
            (36, plain(&self.execution_id)),
            (20, plain(&self.event_type)),
            (10, plain(&self.tenant)),
            (0, plain(&details.join(", "))),
        ])
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("a row has text keys and plain values")
    }
}

impl View for DeadLetter {
    fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    fn execution(&self) -> Option<&str> {
        self.key.as_deref().and_then(|key| std::str::from_utf8(key).ok())
    }

    fn text(&self, _: &Tailed) -> String {
        columns(&[
            when(self.time),
            (24, plain(&format!("{}[{}]@{}", self.topic, self.partition, self.offset))),
            (16, plain(&self.code)),
            (10, plain(self.tenant.as_deref().unwrap_or("-"))),
            (36, plain(self.execution().unwrap_or("-"))),
            (0, plain(&self.message)),
        ])
    }

    fn json(&self) -> String {
        let headers = self.headers.iter();
        let headers: Vec<Value> =
            headers.map(|header| json!([header.name, STANDARD.encode(&header.value)])).collect();
        json!({
            "id": self.id,
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "time": self.time,
            "code": self.code,
            "message": self.message,
            "tenant": self.tenant,
            "key": self.execution(),
            "key_base64": self.key.as_deref().map(|key| STANDARD.encode(key)),
            "value_base64": STANDARD.encode(&self.value),
            "headers_base64": headers,
        })
        .to_string()
    }
}

impl View for DefinitionProposed {
    fn tenant(&self) -> Option<&str> {
        Some(&self.tenant)
    }

    fn execution(&self) -> Option<&str> {
        None
    }

    fn text(&self, at: &Tailed) -> String {
        let what = match (&self.body, self.expects) {
            (None, expects) => format!("deletes version {expects}"),
            (Some(_), 0) => "the first".to_owned(),
            (Some(_), expects) => format!("after version {expects}"),
        };
        columns(&[
            when(self.time),
            (6, at.record.offset.to_string()),
            (36, plain(&self.key())),
            (16, what),
            (0, plain(&format!("by {}", self.proposed_by))),
        ])
    }

    fn json(&self) -> String {
        let body = match (self.kind, &self.body) {
            (_, None) => Value::Null,
            (DefinitionKind::Key, Some(_)) => Value::from("***"),
            (_, Some(body)) => serde_json::from_str(body).unwrap_or_else(|_| json!(body)),
        };
        json!({
            "id": self.id,
            "kind": self.kind,
            "tenant": self.tenant,
            "name": self.name,
            "expects": self.expects,
            "body": body,
            "proposed_by": self.proposed_by,
            "time": self.time,
        })
        .to_string()
    }
}

/// The text of an answer: what the model said, where it is a chat or a completion; else its JSON.
pub(crate) fn answer(data: Option<&str>) -> String {
    let data = data.unwrap_or_default();
    let parsed: Value = serde_json::from_str(data).unwrap_or_default();
    let choice = &parsed["choices"][0];
    let said = [&choice["message"]["content"], &choice["text"]];
    match said.into_iter().find_map(Value::as_str) {
        Some(said) => plain(said),
        None => plain(serde_json::from_str::<&RawValue>(data).map_or(data, RawValue::get)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_cannot_drive_the_terminal() {
        let shown = plain("a\u{1b}[2Jb\nc\u{9b}d\u{202e}e ü");
        assert_eq!(shown, "a\\u{1b}[2Jb\\nc\\u{9b}d\\u{202e}e ü");
        let long = plain(&"x".repeat(SHOWN + 1));
        assert_eq!(long.chars().count(), SHOWN + 1);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn definition_of_a_key_is_not_shown() {
        let mut proposal = DefinitionProposed {
            id: "i".into(),
            kind: DefinitionKind::Key,
            tenant: "t".into(),
            name: "n".into(),
            expects: 0,
            body: Some(r#"{"hash":"canary"}"#.into()),
            proposed_by: "p".into(),
            time: Millis(0),
        };
        assert!(!proposal.json().contains("canary"), "{}", proposal.json());
        proposal.kind = DefinitionKind::Model;
        assert!(proposal.json().contains(r#""body":{"hash":"canary"}"#), "{}", proposal.json());
    }

    #[test]
    fn answer_is_what_the_model_said() {
        let chat = r#"{"choices":[{"message":{"content":"hi\nthere"}}]}"#;
        assert_eq!(answer(Some(chat)), "hi\\nthere");
        assert_eq!(answer(Some(r#"{"choices":[{"text":"t"}]}"#)), "t");
        assert_eq!(answer(Some(r#"{"data":[]}"#)), r#"{"data":[]}"#);
        assert_eq!(answer(None), "");
        assert_eq!(amount(-1_500_000), "-1.500000");
    }
}
