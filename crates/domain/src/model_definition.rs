//! What a model alias stands for: its deployments, and the policy by which they are called.
//!
//! A definition is JSON in the `definitions` log. It never holds a key, only the name of an environment
//! variable or of a file that does. Parsing refuses what it doesn't know and says where it stands.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::answer::{Cost, Usage};
use crate::json_place;
use crate::request::Operation;
use crate::script::{FaultKind, Script};

/// Why a text is no model definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", if path.is_empty() { "model definition" } else { path })]
pub struct DefinitionError {
    /// Where, e.g. `deployments[1].price.input`; empty: the whole.
    pub path: String,
    /// What is wrong.
    pub problem: String,
}

/// A model alias: what it stands for, and how calls of it are treated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDefinition {
    /// Who can answer; in order of preference.
    pub deployments: Vec<Deployment>,
    /// How calls spread over the deployments.
    #[serde(default)]
    pub balance: Balance,
    /// Tries and waits.
    #[serde(default)]
    pub retry: Retry,
    /// Other aliases to ask when this one can't answer.
    #[serde(default)]
    pub fallbacks: Fallbacks,
    /// How long each part of a call may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// When a failing deployment is left alone.
    #[serde(default)]
    pub cooldown: Cooldown,
    /// What the model can do, for those who choose one.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Whether prompt and answer text go to the execution log. Off: they never leave the call's own topics.
    #[serde(default)]
    pub log_content: bool,
}

/// One place that can answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// Unique within the definition; the name in logs and metrics.
    pub name: String,
    /// Which dialect it speaks, and where it lives by default.
    pub provider: Provider,
    /// Another place than the provider's own. Needed for `openai-compatible`.
    #[serde(default)]
    pub base_url: Option<String>,
    /// The model's name at the provider.
    pub model: String,
    /// Where the key is; absent: none is sent.
    #[serde(default)]
    pub key: Option<KeyReference>,
    /// What it costs; absent: calls have no cost.
    #[serde(default)]
    pub price: Option<Price>,
    /// How many calls it takes at once in each process; more wait in a queue. Absent: no limit.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// Its share of calls under [`Balance::Spread`].
    #[serde(default = "one")]
    pub weight: u32,
    /// Further headers of each request. Not for keys: a definition is readable.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What a scripted deployment plays.
    #[serde(default)]
    pub script: Option<Script>,
}

/// The providers we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// `OpenAI`.
    Openai,
    /// `DeepSeek`.
    Deepseek,
    /// Qwen on Alibaba's `DashScope`.
    Qwen,
    /// Baidu Qianfan, version 2 of its interface.
    Qianfan,
    /// Ollama, by default on this machine.
    Ollama,
    /// vLLM, by default on this machine.
    Vllm,
    /// Anything else that speaks `OpenAI`'s shape at `base_url`.
    OpenaiCompatible,
    /// Anthropic's own interface.
    Anthropic,
    /// Google's own Gemini interface.
    Gemini,
    /// No model at all: answers by rules, in this process. Needs no key.
    Scripted,
}

impl Provider {
    /// The name in records and metrics: `OpenTelemetry`'s `gen_ai.provider.name` where that knows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Deepseek => "deepseek",
            Self::Qwen => "qwen",
            Self::Qianfan => "qianfan",
            Self::Ollama => "ollama",
            Self::Vllm => "vllm",
            Self::OpenaiCompatible => "openai-compatible",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gcp.gemini",
            Self::Scripted => "scripted",
        }
    }
}

/// Where a key is. Definitions are readable; keys are not in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyReference {
    /// In this environment variable of the calling process.
    Env(String),
    /// In this file of the calling process; white space around it is left out.
    File(String),
}

/// How calls spread over the deployments of an alias. A cooling deployment is always passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// The first that has room; when none has, the queue of the first.
    #[default]
    Ordered,
    /// The one with the fewest calls for its weight, so that all share the load.
    Spread,
}

/// What tokens cost, in micro-units of the currency per million tokens: 2.50 USD is 2,500,000.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// ISO 4217 code.
    pub currency: String,
    /// Prompt tokens.
    pub input: u64,
    /// Answer tokens, reasoning included.
    #[serde(default)]
    pub output: u64,
    /// Prompt tokens that the provider had cached; absent: as `input`.
    #[serde(default)]
    pub cached_input: Option<u64>,
}

/// Tokens that a price is for.
const PER: u128 = 1_000_000;

impl Price {
    /// What a call with this usage costs.
    ///
    /// Cached tokens count at the cached rate and the rest of the prompt at the full one; reasoning is
    /// part of the output and not counted again. The parts are added exactly and rounded once, to the
    /// nearest micro-unit, halves up: a call is at most half a micro-unit off. Counts that make no
    /// sense are bounded (negative: zero; cached: at most the prompt), and the sum stays within `i64`.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Cost {
        let count = |tokens: i64| u128::from(u64::try_from(tokens).unwrap_or(0));
        let input = count(usage.input_tokens);
        let cached = count(usage.cached_tokens).min(input);
        let exact = (input - cached) * u128::from(self.input)
            + cached * u128::from(self.cached_input.unwrap_or(self.input))
            + count(usage.output_tokens) * u128::from(self.output);
        let micros = exact.saturating_add(PER / 2) / PER;
        Cost { micros: i64::try_from(micros).unwrap_or(i64::MAX), currency: self.currency.clone() }
    }
}

/// Tries and the waits between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// How often an alias is tried in one call, over all its deployments, the first try included.
    pub max_tries: u32,
    /// The first wait is at most this long (full jitter).
    pub base_backoff_ms: u64,
    /// No wait is longer, but for one that the provider asks for.
    pub max_backoff_ms: u64,
    /// A longer `retry-after` is cut to this.
    pub max_retry_after_ms: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_tries: 3,
            base_backoff_ms: 500,
            max_backoff_ms: 10_000,
            max_retry_after_ms: 60_000,
        }
    }
}

/// Aliases to ask, in order, when this one can't answer. Only the lists of the alias that was asked
/// count; those of the fallbacks don't, and no alias is asked twice in one call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fallbacks {
    /// After its tries are used up, or its deployments are unreachable, unauthorised or gone.
    pub general: Vec<String>,
    /// When the prompt is too long for it.
    pub context_window: Vec<String>,
    /// When its content policy refuses.
    pub content_policy: Vec<String>,
}

/// How long each part of a call may take, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Reaching the provider.
    pub connect_ms: u64,
    /// From the start of a try to its first token. Only where it streams: else nothing comes before
    /// the whole answer.
    pub first_token_ms: u64,
    /// Between two tokens. Keep-alive comments don't count as tokens.
    pub between_tokens_ms: u64,
    /// The whole call: queueing, all tries, waits and fallbacks.
    pub total_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_ms: 5_000,
            first_token_ms: 60_000,
            between_tokens_ms: 30_000,
            total_ms: 600_000,
        }
    }
}

/// When a failing deployment is left alone for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cooldown {
    /// After so many failures ...
    pub failures: u32,
    /// ... within this time, in milliseconds ...
    pub window_ms: u64,
    /// ... it isn't asked for this long, in milliseconds. 0: never left alone.
    pub for_ms: u64,
}

impl Default for Cooldown {
    fn default() -> Self {
        Self { failures: 5, window_ms: 60_000, for_ms: 10_000 }
    }
}

/// What a model can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capabilities {
    /// Operations that it offers; others are refused. Empty: whatever its provider offers.
    pub operations: Vec<Operation>,
    /// Tokens that prompt and answer may have together. For information.
    pub context_window: Option<u64>,
    /// Tokens that an answer may have. For information.
    pub max_output_tokens: Option<u64>,
    /// Further abilities, e.g. `tools`, `vision`, `json_schema`, `reasoning`. For information.
    pub features: Vec<String>,
}

fn one() -> u32 {
    1
}

/// The longest of all timeouts and waits: a day.
const MAX_MS: u64 = 24 * 60 * 60 * 1000;
/// More deployments than this are a mistake.
const MAX_DEPLOYMENTS: usize = 64;
/// More tries than this are a mistake.
const MAX_TRIES: u32 = 20;
/// The highest price per million tokens: a million units of the currency.
const MAX_PRICE: u64 = 1_000_000_000_000;

impl ModelDefinition {
    /// Reads and checks a definition.
    ///
    /// # Errors
    /// The first thing that is wrong, and its place.
    pub fn parse(json: &str) -> Result<Self, DefinitionError> {
        // Serde would take an array of the fields in order, too.
        ensure(json.trim_start().starts_with('{'), "", "is not a JSON object")?;
        let definition: Self = serde_json::from_str(json).map_err(|error| {
            let text = error.to_string();
            DefinitionError {
                path: json_place::path_at(json, error.line(), error.column()),
                problem: text.split(" at line ").next().unwrap_or(&text).to_owned(),
            }
        })?;
        definition.check()?;
        Ok(definition)
    }

    /// A definition that answers by rules, without a key: what dev, demos and tests begin with.
    #[must_use]
    pub fn scripted(script: Script) -> Self {
        Self {
            deployments: vec![Deployment {
                name: "scripted".into(),
                provider: Provider::Scripted,
                base_url: None,
                model: "scripted".into(),
                key: None,
                price: None,
                concurrency: None,
                weight: 1,
                headers: BTreeMap::new(),
                script: Some(script),
            }],
            balance: Balance::default(),
            retry: Retry::default(),
            fallbacks: Fallbacks::default(),
            timeouts: Timeouts::default(),
            cooldown: Cooldown::default(),
            capabilities: Capabilities::default(),
            log_content: false,
        }
    }

    /// Checks what types can't say.
    ///
    /// # Errors
    /// The first thing that is wrong, and its place.
    pub fn check(&self) -> Result<(), DefinitionError> {
        ensure(!self.deployments.is_empty(), "deployments", "has none")?;
        ensure(self.deployments.len() <= MAX_DEPLOYMENTS, "deployments", "are more than 64")?;
        let mut names = BTreeSet::new();
        for (i, deployment) in self.deployments.iter().enumerate() {
            let at = format!("deployments[{i}]");
            deployment.check(&at)?;
            ensure(names.insert(&deployment.name), &format!("{at}.name"), "is used twice")?;
        }
        let tries = self.retry.max_tries;
        ensure((1..=MAX_TRIES).contains(&tries), "retry.max_tries", "is not from 1 to 20")?;
        for (path, ms) in [
            ("retry.base_backoff_ms", self.retry.base_backoff_ms),
            ("retry.max_backoff_ms", self.retry.max_backoff_ms),
            ("retry.max_retry_after_ms", self.retry.max_retry_after_ms),
            ("cooldown.window_ms", self.cooldown.window_ms),
            ("cooldown.for_ms", self.cooldown.for_ms),
        ] {
            ensure(ms <= MAX_MS, path, "is more than a day")?;
        }
        ensure(self.cooldown.failures <= 1_000, "cooldown.failures", "is more than 1,000")?;
        ensure(
            self.cooldown.failures >= 1,
            "cooldown.failures",
            "is 0; to switch it off, set for_ms to 0",
        )?;
        for (path, ms) in [
            ("timeouts.connect_ms", self.timeouts.connect_ms),
            ("timeouts.first_token_ms", self.timeouts.first_token_ms),
            ("timeouts.between_tokens_ms", self.timeouts.between_tokens_ms),
            ("timeouts.total_ms", self.timeouts.total_ms),
        ] {
            ensure((1..=MAX_MS).contains(&ms), path, "is not from 1 ms to a day")?;
        }
        for (list, aliases) in [
            ("general", &self.fallbacks.general),
            ("context_window", &self.fallbacks.context_window),
            ("content_policy", &self.fallbacks.content_policy),
        ] {
            for (i, alias) in aliases.iter().enumerate() {
                ensure(!alias.is_empty(), &format!("fallbacks.{list}[{i}]"), "is empty")?;
            }
        }
        Ok(())
    }
}

impl Deployment {
    fn check(&self, at: &str) -> Result<(), DefinitionError> {
        let place = |field: &str| format!("{at}.{field}");
        ensure(!self.name.is_empty(), &place("name"), "is empty")?;
        ensure(self.name.len() <= 128, &place("name"), "is longer than 128 bytes")?;
        ensure(
            !self.name.chars().any(char::is_control),
            &place("name"),
            "has a control character",
        )?;
        ensure(!self.model.is_empty(), &place("model"), "is empty")?;
        match &self.base_url {
            Some(url) => check_url(url).map_err(|problem| DefinitionError {
                path: place("base_url"),
                problem: problem.into(),
            })?,
            None => ensure(
                self.provider != Provider::OpenaiCompatible,
                at,
                "has no base_url, which provider openai-compatible needs",
            )?,
        }
        match &self.key {
            Some(KeyReference::Env(name)) => ensure(
                !name.is_empty() && !name.contains(['=', '\0']),
                &place("key.env"),
                "is not the name of an environment variable",
            )?,
            Some(KeyReference::File(path)) => {
                ensure(path.starts_with('/'), &place("key.file"), "is not an absolute path")?;
            }
            None => {}
        }
        if let Some(price) = &self.price {
            price.check(&place("price"))?;
        }
        ensure(self.concurrency != Some(0), &place("concurrency"), "is 0")?;
        ensure(self.weight >= 1, &place("weight"), "is 0")?;
        for (name, value) in &self.headers {
            let place = format!("{at}.headers.{name}");
            ensure(is_header_name(name), &place, "is not a header name")?;
            ensure(
                value.bytes().all(|b| b == b'\t' || (0x20..0x7f).contains(&b)),
                &place,
                "has a character that headers can't carry",
            )?;
            ensure(!is_reserved_header(name), &place, "is set by the driver itself")?;
        }
        if let Some(script) = &self.script {
            let scripted = self.provider == Provider::Scripted;
            ensure(scripted, &place("script"), "is only for provider scripted")?;
            check_script(script, &place("script"))?;
        }
        Ok(())
    }
}

impl Price {
    fn check(&self, at: &str) -> Result<(), DefinitionError> {
        ensure(
            self.currency.len() == 3 && self.currency.bytes().all(|b| b.is_ascii_uppercase()),
            &format!("{at}.currency"),
            "is not an ISO 4217 code like USD",
        )?;
        for (field, price) in [
            ("input", self.input),
            ("output", self.output),
            ("cached_input", self.cached_input.unwrap_or(0)),
        ] {
            let place = format!("{at}.{field}");
            ensure(
                price <= MAX_PRICE,
                &place,
                "is more than a million units for a million tokens",
            )?;
        }
        Ok(())
    }
}

fn check_script(script: &Script, at: &str) -> Result<(), DefinitionError> {
    for (i, rule) in script.rules.iter().enumerate() {
        let at = format!("{at}.rules[{i}]");
        ensure(rule.tokens_per_second != Some(0), &format!("{at}.tokens_per_second"), "is 0")?;
        ensure(rule.latency_ms <= MAX_MS, &format!("{at}.latency_ms"), "is more than a day")?;
        if let Some(slow) = &rule.slow {
            ensure(slow.every >= 1, &format!("{at}.slow.every"), "is 0")?;
            ensure(
                slow.latency_ms <= MAX_MS,
                &format!("{at}.slow.latency_ms"),
                "is more than a day",
            )?;
        }
        if let Some(fault) = &rule.fault {
            ensure(fault.every != Some(0), &format!("{at}.fault.every"), "is 0")?;
            let (FaultKind::Status { status, .. } | FaultKind::Verbatim { status, .. }) =
                &fault.kind
            else {
                continue;
            };
            let place = format!("{at}.fault.kind.status");
            ensure((200..=599).contains(status), &place, "is not an HTTP status")?;
        }
    }
    Ok(())
}

/// Checks a base URL: http or https with a host, and nothing in it that could be a secret.
fn check_url(url: &str) -> Result<(), &'static str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .ok_or("begins neither with https:// nor with http://")?;
    let host = rest.split('/').next().unwrap_or("");
    if host.is_empty() {
        return Err("has no host");
    }
    if host.contains('@') {
        return Err("has a user or password; use key");
    }
    if rest.contains(['?', '#']) {
        return Err("has a query or fragment");
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("has white space");
    }
    Ok(())
}

/// RFC 9110: a header name is a token.
fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Headers that the driver sets, or whose value would be a secret in a readable definition.
fn is_reserved_header(name: &str) -> bool {
    const RESERVED: [&str; 10] = [
        "authorization",
        "x-api-key",
        "x-goog-api-key",
        "content-type",
        "content-length",
        "host",
        "transfer-encoding",
        "connection",
        "idempotency-key",
        "accept",
    ];
    RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved))
}

fn ensure(holds: bool, path: &str, problem: &str) -> Result<(), DefinitionError> {
    if holds {
        return Ok(());
    }
    Err(DefinitionError { path: path.to_owned(), problem: problem.to_owned() })
}

#[cfg(test)]
mod tests;
