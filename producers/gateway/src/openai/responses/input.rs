//! From the body of a response's request to the body of a chat.
//!
//! Pure. Every provider can chat, so a response is a chat with other names. What chat has no word for
//! (tools that OpenAI runs itself, stored prompts, files by id) is refused at its place instead of left
//! out. Members that nobody here knows pass to the provider as they are.

use serde_json::{Map, Value, json};

use super::memo::Ground;
use crate::fault::Fault;
use crate::shape;

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) model: String,
    pub(crate) ground: Ground,
    pub(crate) delivery: Delivery,
    pub(crate) keep: Keep,
    /// The response to go on from.
    pub(crate) previous: Option<String>,
    pub(crate) instructions: Option<String>,
    /// The input as messages of a chat.
    pub(crate) messages: Vec<Value>,
    /// The members of the chat's body, without messages and length.
    pub(crate) chat: Map<String, Value>,
    pub(crate) max_output_tokens: Option<u64>,
    /// The members of the response that repeat the request.
    pub(crate) echo: Map<String, Value>,
}

/// How the client wants the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Whole,
    Stream,
}

/// Whether the response can be fetched later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Yes,
    No,
}

/// Members with which a response differs so much that leaving them out would be another request.
const REFUSED: [&str; 3] = ["prompt", "conversation", "context_management"];

/// Members that are read here, or say something only to OpenAI's own storage.
const OURS: [&str; 18] = [
    "model",
    "input",
    "instructions",
    "background",
    "stream",
    "stream_options",
    "store",
    "previous_response_id",
    "tools",
    "tool_choice",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "text",
    "reasoning",
    "truncation",
    "include",
    "top_logprobs",
];

/// Reads a request.
pub(crate) fn read(body: &Value) -> Result<Asked, Fault> {
    let body = body.as_object().ok_or_else(|| Fault::invalid("body", "must be an object"))?;
    let model = shape::model(member(body, "model"), "model")?;
    for name in REFUSED {
        if !member(body, name).is_null() {
            return Err(Fault::invalid(name, "is not supported here"));
        }
    }
    let background = flag(body, "background")?.unwrap_or(false);
    let stream = flag(body, "stream")?.unwrap_or(false);
    let store = flag(body, "store")?.unwrap_or(true);
    if background && !store {
        return Err(Fault::invalid("store", "must not be false for a response in the background"));
    }
    let previous = text(body, "previous_response_id")?;
    let instructions = text(body, "instructions")?;
    let messages = messages(member(body, "input"))?;
    let max_output_tokens = count(body, "max_output_tokens")?;
    let mut chat: Map<String, Value> = body
        .iter()
        .filter(|(name, value)| !OURS.contains(&name.as_str()) && !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    number(body, "temperature", 2.0)?;
    number(body, "top_p", 1.0)?;
    metadata(member(body, "metadata"))?;
    let tools = tools(member(body, "tools"))?;
    if tools.is_empty() {
        chat.remove("parallel_tool_calls");
    } else {
        flag(body, "parallel_tool_calls")?;
        chat.insert("tools".into(), tools.into());
        if let Some(choice) = tool_choice(member(body, "tool_choice"))? {
            chat.insert("tool_choice".into(), choice);
        }
    }
    format(member(body, "text"), &mut chat)?;
    reasoning(member(body, "reasoning"), &mut chat)?;
    if let Some(count) = count(body, "top_logprobs")? {
        chat.insert("logprobs".into(), true.into());
        chat.insert("top_logprobs".into(), count.into());
    }
    Ok(Asked {
        model,
        ground: if background { Ground::Back } else { Ground::Fore },
        delivery: if stream { Delivery::Stream } else { Delivery::Whole },
        keep: if store { Keep::Yes } else { Keep::No },
        previous,
        instructions,
        messages,
        chat,
        max_output_tokens,
        echo: echo(body),
    })
}

/// The members of a response that repeat its request, with OpenAI's defaults.
fn echo(body: &Map<String, Value>) -> Map<String, Value> {
    let mut echo = Map::new();
    for (name, default) in [
        ("background", json!(false)),
        ("instructions", Value::Null),
        ("max_output_tokens", Value::Null),
        ("max_tool_calls", Value::Null),
        ("model", Value::Null),
        ("parallel_tool_calls", json!(true)),
        ("previous_response_id", Value::Null),
        ("prompt_cache_key", Value::Null),
        ("reasoning", json!({"effort": null, "summary": null})),
        ("safety_identifier", Value::Null),
        ("service_tier", json!("default")),
        ("store", json!(true)),
        ("temperature", json!(1.0)),
        ("text", json!({"format": {"type": "text"}})),
        ("tool_choice", json!("auto")),
        ("tools", json!([])),
        ("top_logprobs", json!(0)),
        ("top_p", json!(1.0)),
        ("truncation", json!("disabled")),
        ("user", Value::Null),
        ("metadata", json!({})),
    ] {
        let value = body.get(name).filter(|value| !value.is_null()).cloned().unwrap_or(default);
        echo.insert(name.into(), value);
    }
    echo
}

fn member<'a>(body: &'a Map<String, Value>, name: &str) -> &'a Value {
    body.get(name).unwrap_or(&Value::Null)
}

fn flag(body: &Map<String, Value>, name: &str) -> Result<Option<bool>, Fault> {
    match member(body, name) {
        Value::Null => Ok(None),
        Value::Bool(flag) => Ok(Some(*flag)),
        _ => Err(Fault::invalid(name, "must be true or false")),
    }
}

fn text(body: &Map<String, Value>, name: &str) -> Result<Option<String>, Fault> {
    match member(body, name) {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err(Fault::invalid(name, "must be a string")),
    }
}

fn count(body: &Map<String, Value>, name: &str) -> Result<Option<u64>, Fault> {
    match member(body, name) {
        Value::Null => Ok(None),
        value => match value.as_u64() {
            Some(count) if count > 0 || name == "top_logprobs" => {
                Ok(Some(count).filter(|count| *count > 0))
            }
            _ => Err(Fault::invalid(name, "must be a whole number that is positive")),
        },
    }
}

fn number(body: &Map<String, Value>, name: &str, most: f64) -> Result<(), Fault> {
    match member(body, name) {
        Value::Null => Ok(()),
        value if value.as_f64().is_some_and(|number| (0.0..=most).contains(&number)) => Ok(()),
        _ => Err(Fault::invalid(name, format!("must be a number from 0 to {most}"))),
    }
}

fn metadata(value: &Value) -> Result<(), Fault> {
    match value {
        Value::Null => Ok(()),
        Value::Object(members) if members.values().all(Value::is_string) => Ok(()),
        _ => Err(Fault::invalid("metadata", "must be an object with texts")),
    }
}

fn tools(value: &Value) -> Result<Vec<Value>, Fault> {
    let tools = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(tools) => tools,
        _ => return Err(Fault::invalid("tools", "must be an array")),
    };
    let mut of_chat = Vec::with_capacity(tools.len());
    for (n, tool) in tools.iter().enumerate() {
        let at = format!("tools[{n}]");
        let tool =
            tool.as_object().ok_or_else(|| Fault::invalid(at.as_str(), "must be an object"))?;
        if member(tool, "type") != "function" {
            let problem = "must be `function`: tools that OpenAI runs itself are not here";
            return Err(Fault::invalid(format!("{at}.type"), problem));
        }
        if !member(tool, "name").is_string() {
            return Err(Fault::invalid(format!("{at}.name"), "must be a string"));
        }
        let function: Map<String, Value> = ["name", "description", "parameters", "strict"]
            .into_iter()
            .filter_map(|name| {
                let value = tool.get(name).filter(|value| !value.is_null())?;
                Some((name.to_owned(), value.clone()))
            })
            .collect();
        of_chat.push(json!({"type": "function", "function": function}));
    }
    Ok(of_chat)
}

fn tool_choice(value: &Value) -> Result<Option<Value>, Fault> {
    match value {
        Value::Null => Ok(None),
        Value::String(word) if matches!(word.as_str(), "none" | "auto" | "required") => {
            Ok(Some(value.clone()))
        }
        Value::Object(choice)
            if member(choice, "type") == "function" && member(choice, "name").is_string() =>
        {
            Ok(Some(json!({"type": "function", "function": {"name": choice["name"]}})))
        }
        _ => {
            let problem = "must be `none`, `auto`, `required`, or name a function";
            Err(Fault::invalid("tool_choice", problem))
        }
    }
}

fn format(value: &Value, chat: &mut Map<String, Value>) -> Result<(), Fault> {
    let text = match value {
        Value::Null => return Ok(()),
        Value::Object(text) => text,
        _ => return Err(Fault::invalid("text", "must be an object")),
    };
    if let Some(verbosity) = text.get("verbosity").filter(|value| !value.is_null()) {
        chat.insert("verbosity".into(), verbosity.clone());
    }
    let format = match member(text, "format") {
        Value::Null => return Ok(()),
        Value::Object(format) => format,
        _ => return Err(Fault::invalid("text.format", "must be an object")),
    };
    match member(format, "type").as_str() {
        Some("text") => {}
        Some("json_object") => {
            chat.insert("response_format".into(), json!({"type": "json_object"}));
        }
        Some("json_schema") => {
            let mut schema = format.clone();
            schema.shift_remove("type");
            let format = json!({"type": "json_schema", "json_schema": schema});
            chat.insert("response_format".into(), format);
        }
        _ => {
            let problem = "must be `text`, `json_object` or `json_schema`";
            return Err(Fault::invalid("text.format.type", problem));
        }
    }
    Ok(())
}

fn reasoning(value: &Value, chat: &mut Map<String, Value>) -> Result<(), Fault> {
    match value {
        Value::Null => Ok(()),
        Value::Object(reasoning) => {
            match member(reasoning, "effort") {
                Value::Null => {}
                effort @ Value::String(_) => {
                    chat.insert("reasoning_effort".into(), effort.clone());
                }
                _ => return Err(Fault::invalid("reasoning.effort", "must be a string")),
            }
            Ok(())
        }
        _ => Err(Fault::invalid("reasoning", "must be an object")),
    }
}

/// The input as messages of a chat.
fn messages(input: &Value) -> Result<Vec<Value>, Fault> {
    let items = match input {
        Value::String(text) => return Ok(vec![json!({"role": "user", "content": text})]),
        Value::Array(items) if !items.is_empty() => items,
        _ => {
            let problem = "must be a string or an array with at least one item";
            return Err(Fault::invalid("input", problem));
        }
    };
    let mut messages = Vec::new();
    for (n, item) in items.iter().enumerate() {
        let at = format!("input[{n}]");
        let item =
            item.as_object().ok_or_else(|| Fault::invalid(at.as_str(), "must be an object"))?;
        let kind = match member(item, "type") {
            Value::Null => Some("message"),
            kind => kind.as_str(),
        };
        match kind {
            Some("message") => messages.push(message(item, &at)?),
            Some("function_call") => function_call(item, &at, &mut messages)?,
            Some("function_call_output") => messages.push(function_output(item, &at)?),
            // What a model thought before is not told to another one.
            Some("reasoning") => {}
            _ => {
                let problem = "must be `message`, `function_call`, `function_call_output` or \
                               `reasoning`";
                return Err(Fault::invalid(format!("{at}.type"), problem));
            }
        }
    }
    if messages.is_empty() {
        return Err(Fault::invalid("input", "has nothing to answer"));
    }
    Ok(messages)
}

fn message(item: &Map<String, Value>, at: &str) -> Result<Value, Fault> {
    let role = match member(item, "role").as_str() {
        Some(role @ ("user" | "assistant" | "system")) => role,
        // A word that only OpenAI knows.
        Some("developer") => "system",
        _ => {
            let problem = "must be `user`, `assistant`, `system` or `developer`";
            return Err(Fault::invalid(format!("{at}.role"), problem));
        }
    };
    let content = content(member(item, "content"), &format!("{at}.content"))?;
    Ok(json!({"role": role, "content": content}))
}

fn content(value: &Value, at: &str) -> Result<Value, Fault> {
    let parts = match value {
        Value::String(_) => return Ok(value.clone()),
        Value::Array(parts) => parts,
        _ => return Err(Fault::invalid(at, "must be a string or an array")),
    };
    let mut of_chat = Vec::with_capacity(parts.len());
    for (n, part) in parts.iter().enumerate() {
        of_chat.push(self::part(part, &format!("{at}[{n}]"))?);
    }
    // Text alone is understood by every model, parts are not.
    let only_text = of_chat.iter().all(|part| part["type"] == "text");
    if only_text {
        let texts: String = of_chat.iter().filter_map(|part| part["text"].as_str()).collect();
        return Ok(texts.into());
    }
    Ok(of_chat.into())
}

fn part(value: &Value, at: &str) -> Result<Value, Fault> {
    let part = value.as_object().ok_or_else(|| Fault::invalid(at, "must be an object"))?;
    let text = |name: &str| match member(part, name) {
        Value::String(text) => Ok(text.as_str()),
        _ => Err(Fault::invalid(format!("{at}.{name}"), "must be a string")),
    };
    match member(part, "type").as_str() {
        Some("input_text" | "output_text" | "text") => {
            Ok(json!({"type": "text", "text": text("text")?}))
        }
        Some("refusal") => Ok(json!({"type": "text", "text": text("refusal")?})),
        Some("input_image") => {
            let mut image = json!({"url": text("image_url")?});
            if let Some(detail) = member(part, "detail").as_str() {
                image["detail"] = detail.into();
            }
            Ok(json!({"type": "image_url", "image_url": image}))
        }
        Some("input_file") if member(part, "file_data").is_string() => {
            let mut file = json!({"file_data": part["file_data"]});
            if let Some(name) = member(part, "filename").as_str() {
                file["filename"] = name.into();
            }
            Ok(json!({"type": "file", "file": file}))
        }
        Some("input_audio") => Ok(value.clone()),
        _ => {
            let problem = "must be `input_text`, `output_text`, `refusal`, `input_image`, \
                           `input_audio`, or `input_file` with `file_data`";
            Err(Fault::invalid(format!("{at}.type"), problem))
        }
    }
}

/// Calls of one turn belong to one message of the assistant.
fn function_call(
    item: &Map<String, Value>,
    at: &str,
    messages: &mut Vec<Value>,
) -> Result<(), Fault> {
    let text = |name: &str| match member(item, name) {
        Value::String(text) => Ok(text.as_str()),
        _ => Err(Fault::invalid(format!("{at}.{name}"), "must be a string")),
    };
    let call = json!({
        "id": text("call_id")?,
        "type": "function",
        "function": {"name": text("name")?, "arguments": text("arguments")?},
    });
    match messages.last_mut() {
        Some(last) if last["role"] == "assistant" => match &mut last["tool_calls"] {
            Value::Array(calls) => calls.push(call),
            none => *none = json!([call]),
        },
        _ => messages.push(json!({"role": "assistant", "content": null, "tool_calls": [call]})),
    }
    Ok(())
}

fn function_output(item: &Map<String, Value>, at: &str) -> Result<Value, Fault> {
    let Some(call) = member(item, "call_id").as_str() else {
        return Err(Fault::invalid(format!("{at}.call_id"), "must be a string"));
    };
    let output = content(member(item, "output"), &format!("{at}.output"))?;
    Ok(json!({"role": "tool", "tool_call_id": call, "content": output}))
}

#[cfg(test)]
mod tests;
