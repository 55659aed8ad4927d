//! What a provider's error means: its class, from the status and the body, in the shapes that the
//! providers use. A text that isn't known falls back to the status.
//!
//! Sources: the error pages of OpenAI, DeepSeek, DashScope, Qianfan v2, Anthropic and Gemini, and the
//! servers of vLLM and Ollama.

use domain::answer::{ErrorClass, Failure};
use serde_json::Value;

use crate::redact::Redactor;

/// The failure that an error of a provider stands for. `status`: `None` when it came in a stream or in
/// the body of a success.
pub(crate) fn classify(status: Option<u16>, body: &[u8], redactor: &Redactor<'_>) -> Failure {
    let said = Said::read(body);
    let status_said = status.or(said.status);
    let (class, code) = said
        .class()
        .or_else(|| status_said.and_then(class_of_status))
        .or_else(|| said.class_by_kind())
        .unwrap_or((ErrorClass::Provider, "provider_error"));
    let retryable = code != QUOTA
        && matches!(
            class,
            ErrorClass::RateLimited
                | ErrorClass::Provider
                | ErrorClass::Timeout
                | ErrorClass::Network
        );
    let name = [said.code.as_str(), said.kind.as_str()].into_iter().find(|name| !name.is_empty());
    let text = match (name, said.message.is_empty()) {
        (Some(name), false) => format!("{name}: {}", said.message),
        (Some(name), true) => name.to_owned(),
        (None, false) => said.message.clone(),
        (None, true) => "the provider gives no reason".to_owned(),
    };
    let mut failure = Failure::new(class, code, redactor.clean(&text));
    failure.retryable = retryable;
    match status {
        Some(status) => failure.with_http_status(status),
        None => failure,
    }
}

/// Paid up, or not: no wait within a call helps.
const QUOTA: &str = "quota_exceeded";

/// What an error body says, wherever it says it.
#[derive(Debug, Default)]
struct Said {
    /// Lower case.
    code: String,
    /// `type`, or Gemini's `status`; lower case.
    kind: String,
    message: String,
    /// Where a code is a number, it is an HTTP status.
    status: Option<u16>,
}

impl Said {
    fn read(body: &[u8]) -> Self {
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            // A proxy's page in HTML helps nobody.
            let text = String::from_utf8_lossy(body);
            let message = if text.trim_start().starts_with('<') { "" } else { text.trim() };
            return Self { message: message.to_owned(), ..Self::default() };
        };
        // Gemini's stream wraps its error into a list.
        let value = value.get(0).unwrap_or(&value);
        let error = match value.get("error") {
            Some(Value::String(text)) => {
                return Self { message: text.clone(), ..Self::default() };
            }
            Some(error @ Value::Object(_)) => error,
            _ => value,
        };
        let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or("");
        let number =
            error.get("code").and_then(Value::as_u64).or_else(|| text("code").parse().ok());
        let kind = if text("type").is_empty() { text("status") } else { text("type") };
        Self {
            code: text("code").to_lowercase(),
            kind: kind.to_lowercase(),
            message: ["message", "error_msg", "detail"]
                .into_iter()
                .map(text)
                .find(|text| !text.is_empty())
                .unwrap_or("")
                .to_owned(),
            status: number.and_then(|n| u16::try_from(n).ok()).filter(|n| (400..600).contains(n)),
        }
    }

    /// The class, where code, type or text tell more than the status.
    fn class(&self) -> Option<(ErrorClass, &'static str)> {
        let message = self.message.to_lowercase();
        let named = |names: &[&str]| names.iter().any(|n| self.code == *n || self.kind == *n);
        let says = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
        if named(&CONTENT_POLICY_NAMES)
            || self.code.contains("unsafe")
            || says(&CONTENT_POLICY_TEXTS)
        {
            return Some((ErrorClass::ContentPolicy, "content_policy"));
        }
        if named(&CONTEXT_WINDOW_NAMES) || says(&CONTEXT_WINDOW_TEXTS) {
            return Some((ErrorClass::ContextWindow, "context_window_exceeded"));
        }
        if named(&QUOTA_NAMES) || says(&["insufficient balance"]) {
            return Some((ErrorClass::RateLimited, QUOTA));
        }
        if named(&RATE_LIMIT_NAMES) || self.code.starts_with("throttling") {
            return Some((ErrorClass::RateLimited, "rate_limited"));
        }
        if named(&AUTHENTICATION_NAMES) || says(&["api key not valid"]) {
            return Some((ErrorClass::Authentication, "authentication"));
        }
        if named(&NOT_FOUND_NAMES) {
            return Some((ErrorClass::NotFound, "model_not_found"));
        }
        if named(&OVERLOADED_NAMES) {
            return Some((ErrorClass::Provider, "overloaded"));
        }
        None
    }

    /// In a stream there is no status to go by, only the coarse type.
    fn class_by_kind(&self) -> Option<(ErrorClass, &'static str)> {
        let invalid = ["invalid_request_error", "invalid_argument", "badrequesterror"];
        invalid.contains(&self.kind.as_str()).then_some((ErrorClass::Invalid, "invalid_request"))
    }
}

/// The class of a status that no text explains.
fn class_of_status(status: u16) -> Option<(ErrorClass, &'static str)> {
    Some(match status {
        401 | 403 => (ErrorClass::Authentication, "authentication"),
        402 => (ErrorClass::RateLimited, QUOTA),
        404 => (ErrorClass::NotFound, "model_not_found"),
        408 => (ErrorClass::Timeout, "provider_timeout"),
        // The provider says that the same request is under way.
        409 => (ErrorClass::Provider, "conflict"),
        413 => (ErrorClass::TooLarge, "request_too_large"),
        425 | 429 => (ErrorClass::RateLimited, "rate_limited"),
        400..500 => (ErrorClass::Invalid, "invalid_request"),
        503 | 529 => (ErrorClass::Provider, "overloaded"),
        504 => (ErrorClass::Timeout, "provider_timeout"),
        500..600 => (ErrorClass::Provider, "provider_error"),
        _ => return None,
    })
}

const CONTENT_POLICY_NAMES: [&str; 9] = [
    "content_policy_violation",
    "content_filter",
    "responsibleaipolicyviolation",
    "moderation_blocked",
    "data_inspection_failed",
    "datainspectionfailed",
    "datainspection",
    "sensitive_words_detected",
    "prompt_blocked",
];
const CONTENT_POLICY_TEXTS: [&str; 5] = [
    "content exists risk",
    "content management policy",
    "inappropriate content",
    "usage policy violation",
    "rejected as a result of our safety system",
];
const CONTEXT_WINDOW_NAMES: [&str; 4] = [
    "context_length_exceeded",
    "characters_too_long",
    "tokens_too_long",
    "exceed_context_size_error",
];
const CONTEXT_WINDOW_TEXTS: [&str; 9] = [
    "maximum context length",
    "context window",
    "context length",
    "prompt is too long",
    "range of input length should be",
    "max input characters",
    "input token count",
    "exceeds the maximum number of tokens",
    "exceeds the available context size",
];
const QUOTA_NAMES: [&str; 5] =
    ["insufficient_quota", "arrearage", "billing_not_active", "billing_error", "account_overdue"];
const RATE_LIMIT_NAMES: [&str; 9] = [
    "rate_limit_exceeded",
    "rate_limit_error",
    "rate_limit_reached",
    "rpm_rate_limit_exceeded",
    "tpm_rate_limit_exceeded",
    "limit_requests",
    "limit_burst_rate",
    "resource_exhausted",
    "too_many_requests",
];
const AUTHENTICATION_NAMES: [&str; 9] = [
    "invalid_api_key",
    "invalidapikey",
    "authentication_error",
    "permission_error",
    "permission_denied",
    "unauthenticated",
    "access_denied",
    "accessdenied",
    "invalid_iam_token",
];
const NOT_FOUND_NAMES: [&str; 5] =
    ["model_not_found", "modelnotfound", "not_found_error", "invalid_model", "model_not_exist"];
const OVERLOADED_NAMES: [&str; 5] = [
    "overloaded_error",
    "server_overloaded",
    "engine_overloaded_error",
    "unavailable",
    "model_overloaded",
];

#[cfg(test)]
mod tests;
