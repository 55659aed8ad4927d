//! Whether a request is one that a provider could be asked at all. It looks at the shape only: names the
//! first place that is wrong, quotes no content, and knows neither catalogue nor clock.
//!
//! Vendor fields are nobody's business here. A field is checked when a call without it, or with another
//! shape of it, can't succeed anywhere.

use std::collections::BTreeMap;

use domain::claim::ClaimCheck;
use domain::request::check::{self, Invalid, named};
use domain::request::{JSON, ModelRequest, Operation};
use serde_json::value::RawValue;

/// How deep arrays and objects of a body may nest. Tool schemas nest to about a dozen; providers' own
/// parsers give up near a hundred.
pub const MAX_DEPTH: usize = 64;

/// The longest timeout that a request may ask for: a day. What should wait longer says `not_before`.
pub const MAX_TIMEOUT_MS: i64 = 24 * 60 * 60 * 1_000;

/// Checks a request.
///
/// # Errors
/// [`Invalid`]: the first place that is wrong.
pub fn check(request: &ModelRequest) -> Result<(), Invalid> {
    named("id", &request.id)?;
    named("tenant", &request.tenant)?;
    named("model", &request.model)?;
    if let Some(origin) = &request.origin {
        named("origin.id", &origin.id)?;
    }
    times(request)?;
    if !is_json(&request.body_media_type) {
        return Err(Invalid::new("body_media_type", format!("is not {JSON}")));
    }
    match &request.body_claim {
        Some(claim) => claimed(claim, &request.body),
        None if request.body.is_empty() => {
            Err(Invalid::new("body", "is empty, and there is no body_claim"))
        }
        None => body(request.operation, &request.body),
    }
}

/// A body that lies elsewhere is looked at when it is fetched.
fn claimed(claim: &ClaimCheck, text: &str) -> Result<(), Invalid> {
    if !text.is_empty() {
        return Err(Invalid::new("body", "has to be empty beside a body_claim"));
    }
    if !is_json(&claim.media_type) {
        return Err(Invalid::new("body_claim.media_type", format!("is not {JSON}")));
    }
    claim.check().map_err(|error| Invalid::new("body_claim", format!("can't be one: {error}")))
}

fn times(request: &ModelRequest) -> Result<(), Invalid> {
    if let Some(timeout) = request.timeout_ms
        && !(1..=MAX_TIMEOUT_MS).contains(&timeout)
    {
        return Err(Invalid::new("timeout_ms", format!("is not between 1 and {MAX_TIMEOUT_MS}")));
    }
    check::times(request.not_before, request.deadline)
}

/// Whether a media type is JSON, parameters such as a charset left aside.
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(JSON)
}

/// Checks the JSON that a provider would be asked with.
pub(crate) fn body(operation: Operation, text: &str) -> Result<(), Invalid> {
    if nests_deeper_than(text, MAX_DEPTH) {
        return Err(Invalid::new("body", format!("nests deeper than {MAX_DEPTH} levels")));
    }
    let fields = object("body", text)?;
    match operation {
        Operation::Chat => messages(&fields),
        Operation::TextCompletion => text_or_list(&fields, "prompt"),
        Operation::Embeddings => text_or_list(&fields, "input"),
        Operation::Rerank => {
            let query = required(&fields, "query")?;
            if !matches!(Shape::of(query), Shape::Text | Shape::Object) || is_empty(query) {
                return Err(Invalid::new("body.query", "is neither a text nor an object"));
            }
            list("body.documents", required(&fields, "documents")?).map(|_| ())
        }
    }
}

fn messages(fields: &Fields<'_>) -> Result<(), Invalid> {
    for (index, message) in list("body.messages", required(fields, "messages")?)?.iter().enumerate()
    {
        let path = format!("body.messages[{index}]");
        let message = object(&path, message.get())?;
        match message.get("role") {
            Some(role) if Shape::of(role) == Shape::Text && !is_empty(role) => {}
            Some(_) => return Err(Invalid::new(format!("{path}.role"), "is not a text")),
            None => return Err(Invalid::new(format!("{path}.role"), "is missing")),
        }
    }
    Ok(())
}

fn text_or_list(fields: &Fields<'_>, name: &str) -> Result<(), Invalid> {
    let value = required(fields, name)?;
    let is_fit = matches!(Shape::of(value), Shape::Text | Shape::List) && !is_empty(value);
    if is_fit {
        Ok(())
    } else {
        Err(Invalid::new(format!("body.{name}"), "is not a text or a list with something in it"))
    }
}

/// The fields of an object, their values as they stand in the text. The last of two equal names counts,
/// as it does for most who will read it.
type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// The text's place is all that a message of ours may say: serde's own messages quote the value.
fn unreadable(path: &str, error: &serde_json::Error) -> Invalid {
    Invalid::new(path, format!("is not JSON: see line {} column {}", error.line(), error.column()))
}

fn object<'a>(path: &str, text: &'a str) -> Result<Fields<'a>, Invalid> {
    let starts_as_object = text.trim_start_matches(JSON_SPACE).starts_with('{');
    match serde_json::from_str(text) {
        Ok(fields) => Ok(fields),
        Err(error) if starts_as_object => Err(unreadable(path, &error)),
        Err(_) => Err(Invalid::new(path, "is not a JSON object")),
    }
}

fn list<'a>(path: &str, value: &'a RawValue) -> Result<Vec<&'a RawValue>, Invalid> {
    if Shape::of(value) != Shape::List {
        return Err(Invalid::new(path, "is not a list"));
    }
    let items: Vec<&RawValue> =
        serde_json::from_str(value.get()).map_err(|error| unreadable(path, &error))?;
    if items.is_empty() {
        return Err(Invalid::new(path, "is empty"));
    }
    Ok(items)
}

fn required<'a>(fields: &Fields<'a>, name: &str) -> Result<&'a RawValue, Invalid> {
    match fields.get(name) {
        Some(value) if Shape::of(value) != Shape::Null => Ok(value),
        _ => Err(Invalid::new(format!("body.{name}"), "is missing")),
    }
}

/// What a JSON value is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Object,
    List,
    Text,
    Null,
    Other,
}

impl Shape {
    fn of(value: &RawValue) -> Self {
        match value.get().bytes().next() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::List,
            Some(b'"') => Self::Text,
            Some(b'n') => Self::Null,
            _ => Self::Other,
        }
    }
}

/// White space between the tokens of JSON.
const JSON_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Whether a text, list or object has nothing in it.
fn is_empty(value: &RawValue) -> bool {
    let text = value.get();
    text.len() < 2 || text[1..text.len() - 1].trim_matches(JSON_SPACE).is_empty()
}

/// Whether arrays and objects nest deeper than `limit`. Counts brackets outside of texts, so it is right
/// for JSON and harmless for anything else; it never recurses.
fn nests_deeper_than(text: &str, limit: usize) -> bool {
    let mut depth = 0_usize;
    let mut in_text = false;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_text = !in_text,
            b'\\' if in_text => {
                bytes.next();
            }
            b'{' | b'[' if !in_text => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests;
