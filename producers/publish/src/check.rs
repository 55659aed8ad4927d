//! What is asked of a request beyond the types of its fields, so that admission would take it: the same
//! rules, applied before anything is published. It looks at shapes only, and knows no catalogue.

use domain::id;
use domain::request::{JSON, Operation};
use domain::topic::Kind;
use serde_json::{Map, Value};

use crate::fill::Problem;

/// How deep arrays and objects of JSON may nest, as admission has it.
const MAX_DEPTH: usize = 64;

/// The longest timeout, as admission has it: a day.
const MAX_TIMEOUT_MS: i64 = 24 * 60 * 60 * 1_000;

/// Checks a whole record of `kind`.
pub(crate) fn check(kind: Kind, record: &Map<String, Value>) -> Result<(), Problem> {
    for name in ["id", "tenant", "session", "idempotency_key", kind.as_str()] {
        if let Some(Value::String(text)) = record.get(name) {
            id::check(text).map_err(|error| Problem::new(name, error.to_string()))?;
        }
    }
    if let Some(Value::Object(origin)) = record.get("origin")
        && let Some(Value::String(text)) = origin.get("id")
    {
        id::check(text).map_err(|error| Problem::new("origin.id", error.to_string()))?;
    }
    times(record)?;
    json_fields(record)?;
    match kind {
        Kind::Model => model_body(record),
        Kind::Function | Kind::Workflow | Kind::Agent => Ok(()),
    }
}

fn times(record: &Map<String, Value>) -> Result<(), Problem> {
    let number = |name: &str| record.get(name).and_then(Value::as_i64);
    if number("timeout_ms").is_some_and(|timeout| !(1..=MAX_TIMEOUT_MS).contains(&timeout)) {
        let problem = format!("is not between 1 and {MAX_TIMEOUT_MS}");
        return Err(Problem::new("timeout_ms", problem));
    }
    for name in ["deadline", "not_before"] {
        if number(name).is_some_and(|time| time < 0) {
            return Err(Problem::new(name, "is before 1970"));
        }
    }
    match (number("not_before"), number("deadline")) {
        (Some(start), Some(end)) if start >= end => {
            Err(Problem::new("not_before", "is not before the deadline"))
        }
        _ => Ok(()),
    }
}

/// Fields that hold JSON, with their media types beside them.
fn json_fields(record: &Map<String, Value>) -> Result<(), Problem> {
    for (name, value) in record {
        let media_type = record.get(&format!("{name}_media_type")).and_then(Value::as_str);
        let (Some(media_type), Some(text)) = (media_type, value.as_str()) else { continue };
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case(JSON) {
            return Err(Problem::new(format!("{name}_media_type"), format!("is not {JSON}")));
        }
        if nests_deeper_than(text, MAX_DEPTH) {
            return Err(Problem::new(name, format!("nests deeper than {MAX_DEPTH} levels")));
        }
    }
    Ok(())
}

/// Counts brackets outside of strings: a parser that recurses must not meet what is too deep.
fn nests_deeper_than(text: &str, limit: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// What each operation can't do without.
fn model_body(record: &Map<String, Value>) -> Result<(), Problem> {
    let text = record.get("body").and_then(Value::as_str).unwrap_or_default();
    let body: Value = serde_json::from_str(text)
        .map_err(|error| Problem::new("body", format!("holds no JSON: {error}")))?;
    let Value::Object(body) = body else {
        return Err(Problem::new("body", "is not a JSON object"));
    };
    let operation = record.get("operation").cloned().unwrap_or_default();
    let fit = |name: &str, fits: fn(&Value) -> bool, problem: &str| match body.get(name) {
        None | Some(Value::Null) => Err(Problem::new(format!("body.{name}"), "is missing")),
        Some(value) if fits(value) => Ok(()),
        Some(_) => Err(Problem::new(format!("body.{name}"), problem)),
    };
    let something = "is not a text or a list with something in it";
    // An operation that a later version adds isn't judged here.
    let Ok(operation) = serde_json::from_value::<Operation>(operation) else { return Ok(()) };
    match operation {
        Operation::Chat => {
            fit("messages", is_full_list, "is not a list with something in it")?;
            messages(&body["messages"])
        }
        Operation::TextCompletion => fit("prompt", is_text_or_list, something),
        Operation::Embeddings => fit("input", is_text_or_list, something),
        Operation::Rerank => {
            fit("query", is_text_or_object, "is neither a text nor an object")?;
            fit("documents", is_full_list, "is not a list with something in it")
        }
    }
}

fn messages(messages: &Value) -> Result<(), Problem> {
    for (at, message) in messages.as_array().into_iter().flatten().enumerate() {
        let path = format!("body.messages[{at}]");
        if !message.is_object() {
            return Err(Problem::new(path, "is not a JSON object"));
        }
        match message.get("role") {
            Some(Value::String(role)) if !role.trim().is_empty() => {}
            Some(_) => return Err(Problem::new(format!("{path}.role"), "is not a text")),
            None => return Err(Problem::new(format!("{path}.role"), "is missing")),
        }
    }
    Ok(())
}

fn is_full_list(value: &Value) -> bool {
    value.as_array().is_some_and(|items| !items.is_empty())
}

fn is_full_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty())
}

fn is_text_or_list(value: &Value) -> bool {
    is_full_list(value) || is_full_text(value)
}

fn is_text_or_object(value: &Value) -> bool {
    value.as_object().is_some_and(|object| !object.is_empty()) || is_full_text(value)
}
