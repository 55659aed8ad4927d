//! What the scripted provider says: texts, tool calls, vectors and scores, in OpenAI's shapes.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::request::Operation;
use domain::script::{Rule, ScriptedToolCall};
use serde_json::{Value, json};

use super::plan::{Request, hash};

/// The length of vectors that nobody asked for.
const DIMENSIONS: u64 = 8;
/// The longest vectors.
const MAX_DIMENSIONS: u64 = 16_384;
/// Of a prompt no more is repeated by the friendly answer.
const MAX_ECHO_CHARS: usize = 400;

/// An answer, before it has a shape.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Reasoning first, then text.
    pub(crate) tokens: Vec<Token>,
    tool_calls: Vec<ScriptedToolCall>,
    finish_reason: String,
    prompt_tokens: usize,
    dimensions: Option<u16>,
}

/// A word of the answer, with the white space behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Reasoning(String),
    Text(String),
}

impl Answer {
    pub(crate) fn new(rule: &Rule, request: &Request<'_>, prompt: &str) -> Self {
        let fill = |template: &str| {
            template
                .replace("{{model}}", request.body["model"].as_str().unwrap_or(""))
                .replace("{{request_id}}", request.id)
                .replace("{{prompt}}", prompt)
        };
        let mut tokens: Vec<Token> = Vec::new();
        let generates = matches!(request.operation, Operation::Chat | Operation::TextCompletion);
        let mut finish_reason = if rule.tool_calls.is_empty() { "stop" } else { "tool_calls" };
        if generates {
            let reasoning = rule.reasoning.as_deref().map(fill).unwrap_or_default();
            tokens.extend(words(&reasoning).map(Token::Reasoning));
            let text = match &rule.reply {
                Some(reply) => fill(reply),
                None if rule.tool_calls.is_empty() => friendly(prompt),
                None => String::new(),
            };
            tokens.extend(words(&text).map(Token::Text));
            let limit = ["max_completion_tokens", "max_tokens"]
                .iter()
                .find_map(|name| request.body[*name].as_u64())
                .and_then(|limit| usize::try_from(limit).ok());
            if let Some(limit) = limit.filter(|limit| *limit < tokens.len()) {
                tokens.truncate(limit);
                finish_reason = "length";
            }
        }
        Self {
            tokens,
            tool_calls: rule.tool_calls.clone(),
            finish_reason: rule.finish_reason.clone().unwrap_or_else(|| finish_reason.to_owned()),
            prompt_tokens: all_text(&request.body).split_whitespace().count(),
            dimensions: rule.dimensions,
        }
    }

    /// The answer in one piece.
    pub(crate) fn whole(&self, request: &Request<'_>) -> Value {
        match request.operation {
            Operation::Embeddings => return self.embeddings(request),
            Operation::Rerank => return self.rerank(request),
            Operation::Chat | Operation::TextCompletion => {}
        }
        let mut choice = json!({ "index": 0 });
        if request.operation == Operation::TextCompletion {
            choice["text"] = json!(self.text());
        } else {
            let content = if self.text().is_empty() && !self.tool_calls.is_empty() {
                Value::Null
            } else {
                json!(self.text())
            };
            let mut message = json!({ "role": "assistant", "content": content });
            let reasoning = self.reasoning();
            if !reasoning.is_empty() {
                message["reasoning_content"] = json!(reasoning);
            }
            if !self.tool_calls.is_empty() {
                message["tool_calls"] = (0..self.tool_calls.len())
                    .map(|i| {
                        let call = &self.tool_calls[i];
                        let arguments = call.arguments.to_string();
                        json!({ "id": tool_id(request.id, i), "type": "function",
                            "function": { "name": call.name, "arguments": arguments } })
                    })
                    .collect();
            }
            choice["message"] = message;
        }
        choice["logprobs"] = Value::Null;
        choice["finish_reason"] = json!(self.finish_reason);
        let mut body = head(request, "");
        body["choices"] = json!([choice]);
        body["usage"] = self.usage();
        body
    }

    /// The answer as the data of events: the role, a piece for each token, the tool calls in pieces, the
    /// finish reason, and the usage if it was asked for.
    pub(crate) fn events(&self, request: &Request<'_>) -> Vec<Value> {
        let text_completion = request.operation == Operation::TextCompletion;
        let piece = |delta: Value, finish_reason: Option<&str>| {
            let mut event = head(request, ".chunk");
            let mut choice = json!({ "index": 0, "finish_reason": finish_reason });
            if text_completion {
                choice["text"] = delta.get("content").cloned().unwrap_or_else(|| json!(""));
            } else {
                choice["delta"] = delta;
            }
            event["choices"] = json!([choice]);
            event
        };
        let mut events = vec![piece(json!({ "role": "assistant", "content": "" }), None)];
        for token in &self.tokens {
            let delta = match token {
                Token::Reasoning(text) => json!({ "reasoning_content": text }),
                Token::Text(text) => json!({ "content": text }),
            };
            events.push(piece(delta, None));
        }
        for (i, call) in self.tool_calls.iter().enumerate() {
            let id = tool_id(request.id, i);
            let begin = json!({ "index": i, "id": id, "type": "function",
                "function": { "name": call.name, "arguments": "" } });
            events.push(piece(json!({ "tool_calls": [begin] }), None));
            let arguments = call.arguments.to_string();
            let middle = arguments.char_indices().nth(arguments.chars().count() / 2);
            let (left, right) = arguments.split_at(middle.map_or(0, |(at, _)| at));
            for part in [left, right] {
                let part = json!({ "index": i, "function": { "arguments": part } });
                events.push(piece(json!({ "tool_calls": [part] }), None));
            }
        }
        events.push(piece(json!({}), Some(&self.finish_reason)));
        if request.body["stream_options"]["include_usage"] == true {
            let mut last = head(request, ".chunk");
            last["choices"] = json!([]);
            last["usage"] = self.usage();
            events.push(last);
        }
        events
    }

    fn text(&self) -> String {
        self.tokens
            .iter()
            .filter_map(|token| match token {
                Token::Text(text) => Some(text.as_str()),
                Token::Reasoning(_) => None,
            })
            .collect()
    }

    fn reasoning(&self) -> String {
        self.tokens
            .iter()
            .filter_map(|token| match token {
                Token::Reasoning(text) => Some(text.as_str()),
                Token::Text(_) => None,
            })
            .collect()
    }

    fn usage(&self) -> Value {
        let reasoning = self.tokens.iter().filter(|t| matches!(t, Token::Reasoning(_))).count();
        let calls: usize =
            self.tool_calls.iter().map(|c| 1 + words(&c.arguments.to_string()).count()).sum();
        let completion = self.tokens.len() + calls;
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "prompt_tokens_details": { "cached_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": reasoning },
        })
    }

    /// Unit vectors that depend on nothing but the text.
    fn embeddings(&self, request: &Request<'_>) -> Value {
        let dimensions = request.body["dimensions"]
            .as_u64()
            .or(self.dimensions.map(u64::from))
            .unwrap_or(DIMENSIONS)
            .clamp(1, MAX_DIMENSIONS);
        let base64_wanted = request.body["encoding_format"] == "base64";
        let inputs = match &request.body["input"] {
            // A list of numbers is one text in tokens.
            Value::Array(list) if !list.iter().all(Value::is_number) => list.clone(),
            input => vec![input.clone()],
        };
        let data: Vec<Value> = inputs
            .iter()
            .enumerate()
            .map(|(index, input)| {
                let vector = vector(&input.to_string(), dimensions);
                let embedding = if base64_wanted {
                    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                    json!(STANDARD.encode(&bytes))
                } else {
                    json!(vector)
                };
                json!({ "object": "embedding", "index": index, "embedding": embedding })
            })
            .collect();
        json!({
            "object": "list",
            "data": data,
            "model": request.body["model"],
            "usage": { "prompt_tokens": self.prompt_tokens, "total_tokens": self.prompt_tokens },
        })
    }

    /// Scores by the share of the query's words that a document has.
    fn rerank(&self, request: &Request<'_>) -> Value {
        let word_set = |text: &str| -> BTreeSet<String> {
            text.split_whitespace().map(str::to_lowercase).collect()
        };
        let query = word_set(request.body["query"].as_str().unwrap_or(""));
        let documents = request.body["documents"].as_array().cloned().unwrap_or_default();
        let mut scored: Vec<(usize, usize)> = documents
            .iter()
            .enumerate()
            .map(|(i, document)| {
                let text = document.as_str().or(document["text"].as_str()).unwrap_or("");
                (query.intersection(&word_set(text)).count(), i)
            })
            .collect();
        scored.sort_by_key(|(score, i)| (std::cmp::Reverse(*score), *i));
        let top = request.body["top_n"].as_u64().and_then(|n| usize::try_from(n).ok());
        scored.truncate(top.unwrap_or(usize::MAX));
        let results: Vec<Value> = scored
            .into_iter()
            .map(|(shared, i)| {
                let score = shared as f64 / query.len().max(1) as f64;
                let mut result = json!({ "index": i, "relevance_score": score });
                if request.body["return_documents"] == true {
                    result["document"] = documents[i].clone();
                }
                result
            })
            .collect();
        json!({
            "id": format!("rerank-{}", request.id),
            "model": request.body["model"],
            "results": results,
            "usage": { "total_tokens": self.prompt_tokens },
        })
    }
}

/// What the prompt is, for rules and echoes: the last user message, the prompt, the input or the query.
pub(crate) fn prompt(operation: Operation, body: &Value) -> String {
    match operation {
        Operation::Chat => {
            let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
            let last = messages.iter().rev().find(|message| message["role"] == "user");
            last.map(|message| all_text(&message["content"])).unwrap_or_default()
        }
        Operation::TextCompletion => all_text(&body["prompt"]),
        Operation::Embeddings => all_text(&body["input"]),
        Operation::Rerank => all_text(&body["query"]),
    }
}

/// The texts in a content, parts included; of a whole body, those that count as its prompt.
fn all_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(all_text).collect::<Vec<_>>().join(" "),
        Value::Object(object) => {
            let names = ["messages", "content", "text", "prompt", "input", "query", "documents"];
            let texts = names.iter().filter_map(|name| object.get(*name)).map(all_text);
            texts.collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

/// What is said when no rule has anything better.
fn friendly(prompt: &str) -> String {
    let echo: String = prompt.trim().chars().take(MAX_ECHO_CHARS).collect();
    let more = if prompt.trim().chars().count() > MAX_ECHO_CHARS { "…" } else { "" };
    let opening = if echo.is_empty() {
        "You sent me no text.".to_owned()
    } else {
        format!("You said: “{echo}{more}”")
    };
    format!(
        "{opening}\n\nI am the scripted provider: I answer by rules, so that everything here runs \
         without an API key. Tokens, usage (a word counts as a token), retries and cancelling work \
         as they do with a model. To talk to one, add a model definition with a deployment at OpenAI, \
         Anthropic, Gemini, DeepSeek, Qwen, Qianfan, Ollama, vLLM or anything that speaks OpenAI's \
         shape, and name the environment variable that holds its key."
    )
}

/// Words with the white space behind them; together they are the text.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let word = rest.trim_start().find(char::is_whitespace);
        let lead = rest.len() - rest.trim_start().len();
        let end = word.map_or(rest.len(), |at| {
            let behind = &rest[lead + at..];
            rest.len() - behind.trim_start().len()
        });
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word.to_owned())
    })
}

fn head(request: &Request<'_>, suffix: &str) -> Value {
    let (prefix, object) = match request.operation {
        Operation::TextCompletion => ("cmpl", "text_completion".to_owned()),
        _ => ("chatcmpl", format!("chat.completion{suffix}")),
    };
    json!({
        "id": format!("{prefix}-{}", request.id),
        "object": object,
        "created": 0,
        "model": request.body["model"],
    })
}

fn tool_id(id: &str, index: usize) -> String {
    format!("call_{:016x}", hash(&format!("{id}/{index}")))
}

fn vector(text: &str, dimensions: u64) -> Vec<f32> {
    let raw: Vec<f32> = (0..dimensions)
        .map(|i| (hash(&format!("{i}/{text}")) >> 40) as f32 / (1u32 << 23) as f32 - 1.0)
        .collect();
    let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    raw.into_iter().map(|x| x / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_text() {
        for (text, expected) in [
            ("", vec![]),
            ("one", vec!["one"]),
            (" one  two\n\nthree ", vec![" one  ", "two\n\n", "three "]),
            ("  ", vec!["  "]),
            ("ä ö", vec!["ä ", "ö"]),
        ] {
            assert_eq!(words(text).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }
}
