//! What a model request must have before it is worth a record: the few fields that every provider needs.
//!
//! Everything else passes verbatim, vendor fields included; what a provider thinks of them is its own
//! answer. Errors name the path of the field.

use domain::request::Operation;
use serde_json::{Map, Value};

use crate::fault::Fault;

/// The longest alias of a model, in bytes.
pub(crate) const MAX_MODEL_BYTES: usize = 256;

/// The most labels of a request, and the longest key or value of one, in bytes: they become a column.
pub(crate) const MAX_LABELS: usize = 64;
/// See [`MAX_LABELS`].
pub(crate) const MAX_LABEL_BYTES: usize = 1024;

/// What the gateway itself needs to know of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The alias.
    pub(crate) model: String,
    /// Whether the client wants tokens as they come.
    pub(crate) output: Output,
}

/// How a client wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// In one piece.
    Whole,
    /// As it comes; with a last chunk that tells the usage, or without.
    Stream(UsageChunk),
}

/// Whether a stream ends with a chunk that tells the usage (`stream_options.include_usage`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UsageChunk {
    Wanted,
    Unwanted,
}

/// Checks the body of a route whose body names the model.
pub(crate) fn check(operation: Operation, body: &Value) -> Result<Shape, Fault> {
    let body = body.as_object().ok_or_else(|| Fault::invalid("body", "must be an object"))?;
    let model = model(body.get("model").unwrap_or(&Value::Null), "model")?;
    let output = check_operation(operation, body, "")?;
    Ok(Shape { model, output })
}

/// Checks the body inside a request, which names the model itself.
pub(crate) fn check_nested(operation: Operation, body: &Value) -> Result<(), Fault> {
    let body = body.as_object().ok_or_else(|| Fault::invalid("body", "must be an object"))?;
    check_operation(operation, body, "body.").map(|_| ())
}

/// Checks an alias.
pub(crate) fn model(value: &Value, place: &str) -> Result<String, Fault> {
    let name = value.as_str().ok_or_else(|| Fault::invalid(place, "must be a string"))?;
    if name.is_empty() || name.len() > MAX_MODEL_BYTES {
        let problem = format!("must have 1 to {MAX_MODEL_BYTES} bytes");
        return Err(Fault::invalid(place, problem));
    }
    if name.chars().any(char::is_control) {
        return Err(Fault::invalid(place, "has a control character"));
    }
    Ok(name.to_owned())
}

/// Checks labels, which are copied to the execution log, and search attributes, which are parts of keys.
pub(crate) fn labels<'a>(
    place: &str,
    labels: impl ExactSizeIterator<Item = (&'a String, &'a String)>,
) -> Result<(), Fault> {
    if labels.len() > MAX_LABELS {
        return Err(Fault::invalid(place, format!("has more than {MAX_LABELS} entries")));
    }
    for (n, (key, value)) in labels.enumerate() {
        if key.is_empty() || key.len() > MAX_LABEL_BYTES || value.len() > MAX_LABEL_BYTES {
            let problem = format!(
                "must have a key of 1 to {MAX_LABEL_BYTES} bytes, and a value of up to as many"
            );
            return Err(Fault::invalid(format!("{place} (entry {n})"), problem));
        }
    }
    Ok(())
}

fn check_operation(
    operation: Operation,
    body: &Map<String, Value>,
    at: &str,
) -> Result<Output, Fault> {
    match operation {
        Operation::Chat => {
            let messages = filled(body, at, "messages")?;
            for (n, message) in messages.iter().enumerate() {
                let role = message.as_object().and_then(|message| message.get("role"));
                if !role.is_some_and(says_something) {
                    let place = format!("{at}messages[{n}].role");
                    return Err(Fault::invalid(place, "must be a string that is not empty"));
                }
            }
            output(body, at)
        }
        Operation::TextCompletion => {
            text_or_list(body, at, "prompt")?;
            output(body, at)
        }
        Operation::Embeddings => {
            text_or_list(body, at, "input")?;
            match body.get("encoding_format") {
                None | Some(Value::Null) => {}
                Some(Value::String(format)) if format == "float" || format == "base64" => {}
                Some(_) => {
                    let place = format!("{at}encoding_format");
                    return Err(Fault::invalid(place, "must be `float` or `base64`"));
                }
            }
            Ok(Output::Whole)
        }
        Operation::Rerank => {
            if !body.get("query").is_some_and(says_something) {
                let problem = "must be a string that is not empty";
                return Err(Fault::invalid(format!("{at}query"), problem));
            }
            for (n, document) in filled(body, at, "documents")?.iter().enumerate() {
                if !document.is_string() && !document.is_object() {
                    let place = format!("{at}documents[{n}]");
                    return Err(Fault::invalid(place, "must be a string or an object"));
                }
            }
            Ok(Output::Whole)
        }
    }
}

fn filled<'a>(body: &'a Map<String, Value>, at: &str, field: &str) -> Result<&'a [Value], Fault> {
    match body.get(field) {
        Some(Value::Array(items)) if !items.is_empty() => Ok(items),
        _ => Err(Fault::invalid(format!("{at}{field}"), "must be an array with at least one item")),
    }
}

fn text_or_list(body: &Map<String, Value>, at: &str, field: &str) -> Result<(), Fault> {
    match body.get(field) {
        Some(text) if says_something(text) => Ok(()),
        Some(Value::Array(items)) if !items.is_empty() => Ok(()),
        _ => {
            let problem = "must be a string that is not empty, or an array with at least one item";
            Err(Fault::invalid(format!("{at}{field}"), problem))
        }
    }
}

/// A text that is more than spaces: admission refuses others.
fn says_something(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.chars().any(|c| c != ' '))
}

fn output(body: &Map<String, Value>, at: &str) -> Result<Output, Fault> {
    let streams = flag(body, "stream", &format!("{at}stream"))?;
    let options = match body.get("stream_options") {
        None | Some(Value::Null) => None,
        Some(Value::Object(options)) => Some(options),
        Some(_) => {
            return Err(Fault::invalid(format!("{at}stream_options"), "must be an object"));
        }
    };
    let place = format!("{at}stream_options.include_usage");
    let usage = match options.map(|options| flag(options, "include_usage", &place)).transpose()? {
        Some(true) => UsageChunk::Wanted,
        Some(false) | None => UsageChunk::Unwanted,
    };
    Ok(if streams { Output::Stream(usage) } else { Output::Whole })
}

fn flag(object: &Map<String, Value>, field: &str, place: &str) -> Result<bool, Fault> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Fault::invalid(place, "must be true or false")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn error_names_the_place() {
        use Operation::{Chat, Embeddings, Rerank, TextCompletion};
        let user = json!([{"role": "user", "content": "hi"}]);
        for (operation, body, place) in [
            (Chat, json!([]), "body"),
            (Chat, json!({}), "model"),
            (Chat, json!({"model": 1}), "model"),
            (Chat, json!({"model": ""}), "model"),
            (Chat, json!({"model": "m\u{0}"}), "model"),
            (Chat, json!({"model": "m"}), "messages"),
            (Chat, json!({"model": "m", "messages": []}), "messages"),
            (Chat, json!({"model": "m", "messages": [{"role": "user"}, 1]}), "messages[1].role"),
            (Chat, json!({"model": "m", "messages": user, "stream": 1}), "stream"),
            (Chat, json!({"model": "m", "messages": user, "stream_options": 1}), "stream_options"),
            (
                Chat,
                json!({"model": "m", "messages": user, "stream": true, "stream_options": {"include_usage": 1}}),
                "stream_options.include_usage",
            ),
            (TextCompletion, json!({"model": "m"}), "prompt"),
            (Embeddings, json!({"model": "m", "input": []}), "input"),
            (
                Embeddings,
                json!({"model": "m", "input": "a", "encoding_format": "hex"}),
                "encoding_format",
            ),
            (Rerank, json!({"model": "m", "documents": ["a"]}), "query"),
            (Rerank, json!({"model": "m", "query": "q", "documents": [1]}), "documents[0]"),
        ] {
            match check(operation, &body) {
                Err(Fault::Invalid { place: got, .. }) => assert_eq!(got, place, "{body}"),
                other => panic!("{body}: {other:?}"),
            }
        }
        let nested = check_nested(Chat, &json!({"messages": [{}]}));
        assert!(
            matches!(nested, Err(Fault::Invalid { place, .. }) if place == "body.messages[0].role")
        );
    }

    #[test]
    fn vendor_fields_pass_and_output_is_understood() {
        let messages = json!([{"role": "user", "content": [{"type": "text", "text": "hi"}]}]);
        for (more, output) in [
            (json!({}), Output::Whole),
            (json!({"stream": null, "stream_options": null}), Output::Whole),
            (json!({"stream_options": {"include_usage": true}}), Output::Whole),
            (json!({"stream": true, "enable_search": true}), Output::Stream(UsageChunk::Unwanted)),
            (
                json!({"stream": true, "stream_options": {"include_usage": true}}),
                Output::Stream(UsageChunk::Wanted),
            ),
        ] {
            let mut body = json!({"model": "m", "messages": messages});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let got = check(Operation::Chat, &body).unwrap();
            assert_eq!((got.model.as_str(), got.output), ("m", output), "{body}");
        }
    }
}
