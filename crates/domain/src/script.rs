//! The rules of the scripted provider: what it answers, how fast, and which faults it shows.
//!
//! Data only; the provider in `crates/model` plays them. Whatever a rule leaves to chance is chosen by a
//! hash of the request's id, so the same request gets the same answer everywhere.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::request::Operation;

/// What a scripted deployment does. The first rule that matches a request plays; without one, a
/// friendly answer that echoes the prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Tried in order.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// One rule: when it applies, and what is played.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// All of it must hold; empty matches every request.
    #[serde(default)]
    pub when: When,
    /// The answer's text. `{{prompt}}` is the last user message, `{{model}}` the model,
    /// `{{request_id}}` the idempotency key. Absent: the friendly answer.
    #[serde(default)]
    pub reply: Option<String>,
    /// Reasoning text that comes before the answer.
    #[serde(default)]
    pub reasoning: Option<String>,
    /// Tools that the model asks for after its text.
    #[serde(default)]
    pub tool_calls: Vec<ScriptedToolCall>,
    /// Why the model stops; absent: `stop`, or `tool_calls` when it asks for tools.
    #[serde(default)]
    pub finish_reason: Option<String>,
    /// Milliseconds before the first token, or before the whole answer when it doesn't stream.
    #[serde(default)]
    pub latency_ms: u64,
    /// Words a second; absent: all at once.
    #[serde(default)]
    pub tokens_per_second: Option<u32>,
    /// Some requests are slower.
    #[serde(default)]
    pub slow: Option<Slow>,
    /// Some requests, or all, go wrong.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// Length of embedding vectors; absent: 8, or the request's own `dimensions`.
    #[serde(default)]
    pub dimensions: Option<u16>,
}

/// When a [`Rule`] applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The prompt has this text.
    #[serde(default)]
    pub contains: Option<String>,
    /// The model is exactly this.
    #[serde(default)]
    pub model: Option<String>,
    /// The operation is this.
    #[serde(default)]
    pub operation: Option<Operation>,
}

/// A tool that the scripted model asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedToolCall {
    /// The function's name.
    pub name: String,
    /// Its arguments.
    pub arguments: Value,
}

/// One in `every` requests, chosen by its id, takes `latency_ms` instead of the rule's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slow {
    /// 100: one in a hundred.
    pub every: u32,
    /// Their latency.
    pub latency_ms: u64,
}

/// What goes wrong, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Only the first tries of a request; absent: each try.
    #[serde(default)]
    pub first_tries: Option<u32>,
    /// Only one in so many requests, chosen by its id; absent: each request.
    #[serde(default)]
    pub every: Option<u32>,
}

/// The faults that providers show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// An HTTP error.
    Status {
        /// Its status.
        status: u16,
        /// The `retry-after` header, as it is sent.
        #[serde(default)]
        retry_after: Option<String>,
        /// The body; absent: OpenAI's error shape. `{{authorization}}` is the request's header,
        /// `{{prompt}}` its last user message.
        #[serde(default)]
        body: Option<String>,
    },
    /// The connection stays open and says nothing more.
    Hang {
        /// Words sent before.
        #[serde(default)]
        after_tokens: u32,
    },
    /// The connection breaks.
    Drop {
        /// Words sent before.
        #[serde(default)]
        after_tokens: u32,
    },
    /// A chunk that is not JSON.
    MalformedSse {
        /// Words sent before.
        #[serde(default)]
        after_tokens: u32,
    },
    /// An `error` object in the middle of the stream.
    ErrorEvent {
        /// Words sent before.
        #[serde(default)]
        after_tokens: u32,
        /// The error's code.
        code: String,
    },
    /// Exactly these bytes, whatever they are: how a quirk of some provider is played back.
    Verbatim {
        /// The HTTP status.
        status: u16,
        /// The content type.
        content_type: String,
        /// The body.
        body: String,
    },
}
