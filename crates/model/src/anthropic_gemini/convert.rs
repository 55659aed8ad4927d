//! OpenAI's shape of chat to `genai`'s and back. Pure. What can't be carried and would change the answer is
//! an error that names the place.

use std::collections::HashMap;

use genai::chat::{
    Binary, ChatMessage, ChatOptions, ChatRequest, ChatResponse, ChatResponseFormat, ContentPart,
    JsonSpec, MessageContent, StopReason, StreamEnd, Tool, ToolCall, ToolChoice, ToolResponse,
    Usage,
};
use serde_json::{Map, Value, json};

/// The request, converted.
///
/// # Errors
/// What can't be carried, and where it stands.
pub(crate) fn request(body: &str) -> Result<(ChatRequest, ChatOptions), String> {
    let body: Value = serde_json::from_str(body).map_err(|_| "the body is not JSON".to_owned())?;
    if body["n"].as_u64().is_some_and(|n| n > 1) {
        return Err("n: the provider gives one choice only".into());
    }
    if body["logprobs"] == true {
        return Err("logprobs: the provider gives none".into());
    }
    let Some(messages) = body["messages"].as_array() else {
        return Err("messages: is not a list".into());
    };
    // A tool's answer names its call only; Gemini wants the function's name.
    let mut functions: HashMap<String, String> = HashMap::new();
    let mut converted = Vec::with_capacity(messages.len());
    for (i, message) in messages.iter().enumerate() {
        let at = format!("messages[{i}]");
        let content = &message["content"];
        converted.push(match message["role"].as_str() {
            Some("system" | "developer") => ChatMessage::system(text(content, &at)?),
            Some("user") => ChatMessage::user(parts(content, &at)?),
            Some("assistant") => {
                let mut content = parts(content, &at)?;
                for (j, call) in list(&message["tool_calls"]).iter().enumerate() {
                    let call = tool_call(call, &format!("{at}.tool_calls[{j}]"))?;
                    functions.insert(call.call_id.clone(), call.fn_name.clone());
                    content.push(call);
                }
                ChatMessage::assistant(content)
            }
            Some("tool") => {
                let id = message["tool_call_id"].as_str().unwrap_or_default();
                let mut response = ToolResponse::new(id, text(content, &at)?);
                response.fn_name = functions.get(id).cloned();
                ChatMessage::from(response)
            }
            _ => return Err(format!("{at}.role: is not one that the provider knows")),
        });
    }
    let mut request = ChatRequest::from(converted);
    for (i, tool) in list(&body["tools"]).iter().enumerate() {
        request = request.append_tool(convert_tool(tool, &format!("tools[{i}]"))?);
    }
    Ok((request, options(&body)?))
}

fn options(body: &Value) -> Result<ChatOptions, String> {
    let mut options = ChatOptions {
        temperature: body["temperature"].as_f64(),
        top_p: body["top_p"].as_f64(),
        seed: body["seed"].as_u64(),
        max_tokens: ["max_completion_tokens", "max_tokens"]
            .iter()
            .find_map(|name| body[*name].as_u64())
            .and_then(|n| u32::try_from(n).ok()),
        stop_sequences: match &body["stop"] {
            Value::String(stop) => vec![stop.clone()],
            stop => list(stop).iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        },
        ..ChatOptions::default()
    };
    if let Some(effort) = body["reasoning_effort"].as_str() {
        let effort = effort.parse().map_err(|_| "reasoning_effort: is not known".to_owned())?;
        options.reasoning_effort = Some(effort);
    }
    options.tool_choice = match &body["tool_choice"] {
        Value::Null => None,
        Value::String(choice) => Some(match choice.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Required,
            _ => return Err("tool_choice: is not known".into()),
        }),
        choice => match choice["function"]["name"].as_str() {
            Some(name) => Some(ToolChoice::tool(name)),
            None => return Err("tool_choice: names no function".into()),
        },
    };
    options.response_format = match body["response_format"]["type"].as_str() {
        Some("json_object") => Some(ChatResponseFormat::JsonMode),
        Some("json_schema") => {
            let format = &body["response_format"]["json_schema"];
            let name = format["name"].as_str().unwrap_or("answer");
            Some(JsonSpec::new(name, format["schema"].clone()).into())
        }
        _ => None,
    };
    if body["extra_body"].is_object() {
        options.extra_body = Some(body["extra_body"].clone());
    }
    Ok(options)
}

/// A content that may only be text.
fn text(content: &Value, at: &str) -> Result<String, String> {
    let parts = parts(content, at)?;
    if !parts.is_text_only() {
        return Err(format!("{at}.content: may only be text here"));
    }
    Ok(parts.texts().concat())
}

fn parts(content: &Value, at: &str) -> Result<MessageContent, String> {
    match content {
        Value::Null => Ok(MessageContent::default()),
        Value::String(text) => Ok(MessageContent::from_text(text)),
        Value::Array(parts) => {
            let mut converted = MessageContent::default();
            for (i, content) in parts.iter().enumerate() {
                converted.push(part(content, &format!("{at}.content[{i}]"))?);
            }
            Ok(converted)
        }
        _ => Err(format!("{at}.content: is neither text nor a list of parts")),
    }
}

fn part(part: &Value, at: &str) -> Result<ContentPart, String> {
    let missing = |what: &str| format!("{at}: has no {what}");
    match part["type"].as_str() {
        Some("text") => {
            Ok(ContentPart::from_text(part["text"].as_str().ok_or_else(|| missing("text"))?))
        }
        Some("image_url") => {
            let url = part["image_url"]["url"].as_str().ok_or_else(|| missing("image_url.url"))?;
            match data_url(url) {
                Some((media_type, data)) => Ok(Binary::from_base64(media_type, data, None).into()),
                // The providers look at what they fetch, not at this.
                None => Ok(Binary::from_url("image/jpeg", url, None).into()),
            }
        }
        Some("file") => {
            let file = &part["file"];
            let data = file["file_data"].as_str().ok_or_else(|| missing("file.file_data"))?;
            let name = file["filename"].as_str().map(str::to_owned);
            let (media_type, data) = data_url(data).unwrap_or(("application/pdf", data));
            Ok(Binary::from_base64(media_type, data, name).into())
        }
        Some("input_audio") => {
            let audio = &part["input_audio"];
            let data = audio["data"].as_str().ok_or_else(|| missing("input_audio.data"))?;
            let media_type = format!("audio/{}", audio["format"].as_str().unwrap_or("wav"));
            Ok(Binary::from_base64(media_type, data, None).into())
        }
        _ => Err(format!("{at}.type: is not one that can be carried")),
    }
}

/// Media type and base64 of a `data:` URL.
fn data_url(url: &str) -> Option<(&str, &str)> {
    url.strip_prefix("data:")?.split_once(";base64,")
}

fn tool_call(call: &Value, at: &str) -> Result<ToolCall, String> {
    let function = &call["function"];
    let name =
        function["name"].as_str().ok_or_else(|| format!("{at}.function.name: is missing"))?;
    let arguments = match &function["arguments"] {
        Value::String(text) if text.trim().is_empty() => json!({}),
        Value::String(text) => serde_json::from_str(text)
            .map_err(|_| format!("{at}.function.arguments: is not JSON"))?,
        Value::Null => json!({}),
        arguments => arguments.clone(),
    };
    Ok(ToolCall {
        call_id: call["id"].as_str().unwrap_or_default().to_owned(),
        fn_name: name.to_owned(),
        fn_arguments: arguments,
        thought_signatures: None,
    })
}

fn convert_tool(tool: &Value, at: &str) -> Result<Tool, String> {
    if tool["type"] != "function" {
        return Err(format!("{at}.type: only functions can be carried"));
    }
    let function = &tool["function"];
    let name =
        function["name"].as_str().ok_or_else(|| format!("{at}.function.name: is missing"))?;
    let mut tool = Tool::new(name);
    tool.description = function["description"].as_str().map(str::to_owned);
    tool.schema = function.get("parameters").filter(|schema| schema.is_object()).cloned();
    tool.strict = function["strict"].as_bool();
    Ok(tool)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Tool calls as they stream: `genai` gives all arguments so far, OpenAI's shape only what is new.
#[derive(Default)]
pub(crate) struct ToolPieces {
    /// Call id and how much of its arguments was passed on, by index.
    sent: Vec<(String, String)>,
}

impl ToolPieces {
    /// The delta for one event; empty when it brings nothing new.
    pub(crate) fn piece(&mut self, call: &ToolCall) -> String {
        let arguments = match &call.fn_arguments {
            Value::String(so_far) => so_far.clone(),
            whole => whole.to_string(),
        };
        let known = self.sent.iter().position(|(id, _)| *id == call.call_id);
        let Some(index) = known else {
            let index = self.sent.len();
            self.sent.push((call.call_id.clone(), arguments.clone()));
            let function = json!({ "name": call.fn_name, "arguments": arguments });
            let piece = json!({ "index": index, "id": call.call_id, "type": "function", "function": function });
            return Value::Array(vec![piece]).to_string();
        };
        let new = arguments.strip_prefix(self.sent[index].1.as_str()).unwrap_or("").to_owned();
        if new.is_empty() {
            return String::new();
        }
        self.sent[index].1 = arguments;
        let piece = json!({ "index": index, "function": { "arguments": new } });
        Value::Array(vec![piece]).to_string()
    }
}

/// An answer of either provider.
pub(crate) struct Answer {
    text: Option<String>,
    reasoning: Option<String>,
    tool_calls: Vec<ToolCall>,
    usage: Option<Usage>,
    /// In OpenAI's words.
    pub(crate) finish_reason: Option<String>,
    /// What the provider says it used; it doesn't while it streams.
    pub(crate) model: Option<String>,
}

impl Answer {
    pub(crate) fn from_response(response: ChatResponse) -> Self {
        let model = Some(response.provider_model_iden.model_name.to_string());
        let (reason, usage) = (response.stop_reason, Some(response.usage));
        Self { model, ..Self::new(response.content, response.reasoning_content, reason, usage) }
    }

    pub(crate) fn from_stream_end(end: StreamEnd) -> Self {
        let content = end.captured_content.unwrap_or_default();
        let (reason, usage) = (end.captured_stop_reason, end.captured_usage);
        Self::new(content, end.captured_reasoning_content, reason, usage)
    }

    fn new(
        content: MessageContent,
        reasoning: Option<String>,
        reason: Option<StopReason>,
        usage: Option<Usage>,
    ) -> Self {
        let texts = content.texts().concat();
        let tool_calls: Vec<ToolCall> = content.tool_calls().into_iter().cloned().collect();
        let finish_reason = match reason {
            // Gemini stops for tools as for anything else.
            Some(StopReason::Completed(_)) if !tool_calls.is_empty() => Some("tool_calls".into()),
            Some(StopReason::Completed(_) | StopReason::StopSequence(_)) => Some("stop".into()),
            Some(StopReason::MaxTokens(_)) => Some("length".into()),
            Some(StopReason::ToolCall(_)) => Some("tool_calls".into()),
            Some(StopReason::ContentFilter(_)) => Some("content_filter".into()),
            Some(StopReason::Other(reason)) => Some(reason),
            None => None,
        };
        Self {
            text: (!texts.is_empty() || tool_calls.is_empty()).then_some(texts),
            reasoning: reasoning.filter(|reasoning| !reasoning.is_empty()),
            tool_calls,
            usage,
            finish_reason,
            model: None,
        }
    }

    /// The answer in OpenAI's shape.
    pub(crate) fn body(&self, request_id: &str, model: &str) -> Value {
        let mut message = Map::new();
        message.insert("role".into(), json!("assistant"));
        message.insert("content".into(), json!(self.text));
        if let Some(reasoning) = &self.reasoning {
            message.insert("reasoning_content".into(), json!(reasoning));
        }
        if !self.tool_calls.is_empty() {
            let calls = self.tool_calls.iter().map(|call| {
                let arguments = match &call.fn_arguments {
                    Value::String(text) => text.clone(),
                    arguments => arguments.to_string(),
                };
                json!({ "id": call.call_id, "type": "function",
                    "function": { "name": call.fn_name, "arguments": arguments } })
            });
            message.insert("tool_calls".into(), calls.collect());
        }
        json!({
            "id": format!("chatcmpl-{request_id}"),
            "object": "chat.completion",
            "created": 0,
            "model": self.model.as_deref().unwrap_or(model),
            "choices": [{ "index": 0, "message": message, "logprobs": null,
                "finish_reason": self.finish_reason }],
            "usage": self.usage,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_carried_is_named() {
        for (body, problem) in [
            (r#"{"messages":[],"n":2}"#, "n: "),
            (r#"{"messages":[],"logprobs":true}"#, "logprobs: "),
            (r#"{}"#, "messages: "),
            (
                r#"{"messages":[{"role":"user","content":"x"},{"role":"wizard","content":"x"}]}"#,
                "messages[1].role: ",
            ),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"video"}]}]}"#,
                "messages[0].content[1].type: ",
            ),
            (r#"{"messages":[{"role":"user","content":7}]}"#, "messages[0].content: "),
            (
                r#"{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{"}}]}]}"#,
                "messages[0].tool_calls[0].function.arguments: ",
            ),
            (r#"{"messages":[],"tools":[{"type":"web_search"}]}"#, "tools[0].type: "),
            (r#"{"messages":[],"tool_choice":"maybe"}"#, "tool_choice: "),
            (r#"{"messages":[],"reasoning_effort":"wild"}"#, "reasoning_effort: "),
        ] {
            let error = request(body).expect_err(body);
            assert!(error.starts_with(problem), "{body}: {error}");
        }
    }

    #[test]
    fn tool_arguments_so_far_become_pieces() {
        let call = |id: &str, arguments: Value| ToolCall {
            call_id: id.into(),
            fn_name: "f".into(),
            fn_arguments: arguments,
            thought_signatures: None,
        };
        let mut pieces = ToolPieces::default();
        let mut arguments = String::new();
        for so_far in ["", "{\"a\"", "{\"a\":1}", "{\"a\":1}"] {
            let piece = pieces.piece(&call("1", json!(so_far)));
            if piece.is_empty() {
                continue;
            }
            let piece: Value = serde_json::from_str(&piece).expect("JSON");
            assert_eq!(piece[0]["index"], 0);
            arguments.push_str(piece[0]["function"]["arguments"].as_str().expect("text"));
        }
        assert_eq!(arguments, "{\"a\":1}");
        let whole = pieces.piece(&call("2", json!({ "b": 2 })));
        let whole: Value = serde_json::from_str(&whole).expect("JSON");
        assert_eq!((&whole[0]["index"], &whole[0]["id"]), (&json!(1), &json!("2")));
        assert_eq!(whole[0]["function"]["arguments"], "{\"b\":2}");
    }
}
