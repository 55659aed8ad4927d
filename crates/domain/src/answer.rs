//! How a call ended: what it used, what it cost, why it failed, and the answer to who asked.

use serde::{Deserialize, Serialize};

use crate::claim::ClaimCheck;
use crate::request::Origin;

/// Tokens that a call used, as the provider counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub input_tokens: i64,
    /// Tokens of the answer, reasoning included.
    pub output_tokens: i64,
    /// Prompt tokens that the provider served from its cache.
    pub cached_tokens: i64,
    /// Answer tokens that the model spent on reasoning.
    pub reasoning_tokens: i64,
}

impl Usage {
    /// Adds what another call used.
    pub fn add(&mut self, other: Self) {
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cached_tokens += other.cached_tokens;
        self.reasoning_tokens += other.reasoning_tokens;
    }
}

/// Money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Millionths of the currency's unit.
    pub micros: i64,
    /// ISO 4217 code.
    pub currency: String,
}

/// The classes of failure that policy distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The request is wrong, and would be again.
    Invalid,
    /// The prompt is longer than the model's context window.
    ContextWindow,
    /// The provider's content policy refused it.
    ContentPolicy,
    /// The key is missing, wrong or not allowed.
    Authentication,
    /// The model, definition or deployment doesn't exist.
    NotFound,
    /// The provider limits the rate (429).
    RateLimited,
    /// The provider failed (5xx) or sent what can't be read.
    Provider,
    /// Connecting, waiting for a token, or the whole took too long.
    Timeout,
    /// The connection failed or broke.
    Network,
    /// A record or an answer is too large.
    TooLarge,
    /// Our own fault: a step failed or panicked.
    Internal,
}

impl ErrorClass {
    /// All of them, in declaration order: the symbols of the Avro enum.
    pub const ALL: [Self; 11] = [
        Self::Invalid,
        Self::ContextWindow,
        Self::ContentPolicy,
        Self::Authentication,
        Self::NotFound,
        Self::RateLimited,
        Self::Provider,
        Self::Timeout,
        Self::Network,
        Self::TooLarge,
        Self::Internal,
    ];

    /// The name in records, rows and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::ContextWindow => "context_window",
            Self::ContentPolicy => "content_policy",
            Self::Authentication => "authentication",
            Self::NotFound => "not_found",
            Self::RateLimited => "rate_limited",
            Self::Provider => "provider",
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::TooLarge => "too_large",
            Self::Internal => "internal",
        }
    }
}

/// Why something ended without an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// A stable name for programs, e.g. `provider_timeout`.
    pub code: String,
    /// A sentence for people; never a secret, never the prompt.
    pub message: String,
    /// The class that policy acts on.
    pub class: ErrorClass,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Who says so: a deployment, a processor, `admission`.
    pub source_name: String,
    /// The HTTP status of the provider, where there was one.
    pub http_status: Option<i32>,
    /// The provider that was asked last, by OpenTelemetry's `gen_ai.provider.name`; its deployment is
    /// `source_name`. `None`: nobody was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

impl Failure {
    /// A failure that is not worth another try.
    #[must_use]
    pub fn new(class: ErrorClass, code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            class,
            retryable: false,
            source_name: "stepstream".into(),
            http_status: None,
            provider: None,
        }
    }

    /// The same failure, worth another try.
    #[must_use]
    pub fn retryable(self) -> Self {
        Self { retryable: true, ..self }
    }

    /// The same failure, said by `source`.
    #[must_use]
    pub fn from_source(self, source: impl Into<String>) -> Self {
        Self { source_name: source.into(), ..self }
    }

    /// The same failure, of a call that asked this deployment of this provider last.
    #[must_use]
    pub fn asked_last(self, deployment: &str, provider: &str) -> Self {
        Self { source_name: deployment.into(), provider: Some(provider.into()), ..self }
    }

    /// The same failure with the provider's HTTP status.
    #[must_use]
    pub fn with_http_status(self, status: u16) -> Self {
        Self { http_status: Some(i32::from(status)), ..self }
    }
}

/// How an execution ended. Exactly one of these, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Terminal {
    /// With an answer.
    Succeeded,
    /// With a [`Failure`].
    Failed,
    /// Because someone asked for it.
    Cancelled,
    /// Because its deadline passed.
    TimedOut,
}

impl Terminal {
    /// The name in records and rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }
}

/// The answer to a request, in the log of its origin (key: the origin's id).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The request that is answered.
    pub request_id: String,
    /// Who asked.
    pub origin: Origin,
    /// How it ended.
    pub status: Terminal,
    /// The answer's JSON, where there is one and `output_claim` doesn't stand for it.
    pub output: Option<String>,
    /// Media type of `output`.
    pub output_media_type: String,
    /// Why there is none.
    pub failure: Option<Failure>,
    /// What it used.
    pub usage: Option<Usage>,
    /// What it cost.
    pub cost: Option<Cost>,
    /// Stands for an output that is too large for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_claim: Option<ClaimCheck>,
}

/// How a model call ended well: the fact that `Finished` carries for the inference processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelOutcome {
    /// The answer, in the OpenAI shape of the operation; empty when `body_claim` stands for it.
    pub body: String,
    /// Media type of `body`.
    pub body_media_type: String,
    /// The provider, by OpenTelemetry's `gen_ai.provider.name`.
    pub provider: String,
    /// The deployment that answered.
    pub deployment: String,
    /// The model that the provider says it used.
    pub model_used: String,
    /// Why the model stopped, as it says itself.
    pub finish_reason: Option<String>,
    /// What it used; `None` when the provider doesn't say.
    pub usage: Option<Usage>,
    /// What it cost; `None` without a price or a usage.
    pub cost: Option<Cost>,
    /// How many times a provider was asked.
    pub tries: i32,
    /// Milliseconds in the deployment's queue.
    pub queued_ms: i64,
    /// Milliseconds from the start of the call to its end, queueing included.
    pub duration_ms: i64,
    /// Milliseconds from the start of the try that answered to its first token, where it streamed.
    pub time_to_first_token_ms: Option<i64>,
    /// HTTP status of the answer.
    pub http_status: Option<i32>,
    /// Stands for an answer that is too large for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_claim: Option<ClaimCheck>,
}
