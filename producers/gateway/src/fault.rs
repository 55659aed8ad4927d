//! Everything that a request may be refused with, once; and its two forms on the wire.
//!
//! [`Problem`] is RFC 9457 on our own routes, [`OpenAi`] the OpenAI shape on theirs. Text says what is
//! wrong and where; it never quotes a key, and never a prompt.

use std::time::Duration;

use axum::Json;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::answer::{ErrorClass, Failure};
use domain::workflow::problem::{Problem as Found, Severity};
use serde_json::{Map, Value, json};

/// The execution that an answer is about, also where the body is somebody else's shape.
pub(crate) const EXECUTION_ID: HeaderName = HeaderName::from_static("x-execution-id");

/// Names the execution that an answer is about, in its header.
pub(crate) fn name_execution(response: &mut Response, execution: &str) {
    if let Ok(id) = HeaderValue::from_str(execution) {
        response.headers_mut().insert(EXECUTION_ID, id);
    }
}

/// OpenAI's SDKs obey it: without it they would send 408, 409, 429 and 5xx again by themselves.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Seconds to wait when a dependency is away: long enough to restart, short enough to notice.
const AWAY_RETRY_SECONDS: u64 = 2;

/// Why a request got no other answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// No key, or not one of ours.
    Unauthenticated(String),
    /// The key may not do this.
    Forbidden(String),
    /// Something in the request is wrong, at a place like `body.messages[0].role`.
    Invalid { place: String, problem: String },
    /// The body is too large.
    TooLarge { limit: usize },
    /// The body took too long to arrive.
    SlowBody,
    /// The body isn't what is read here, by its own media type.
    MediaType { found: String, wanted: &'static str },
    /// There is no such thing, or it is another tenant's.
    NotFound { what: &'static str, name: String },
    /// No route has this path.
    NoRoute,
    /// The route has no such method.
    Method { allowed: &'static str },
    /// It stands otherwise by now.
    Conflict { code: &'static str, problem: String, version: Option<i32> },
    /// A definition, or what an alias shall stand for, can't be used; one of these is an error.
    Refused { problems: Vec<Found> },
    /// The version that is to be replaced isn't named.
    PreconditionRequired(&'static str),
    /// A dependency is away.
    Away { what: &'static str, execution: Option<String> },
    /// The answer takes longer than the client may wait; the work goes on.
    Waiting { execution: String },
    /// This process stops before there is an answer; the work goes on.
    Restarting { execution: String },
    /// The key asks more often than it may.
    RateLimited { wait: Duration },
    /// The name of an earlier request, for another one.
    Reused { execution: String },
    /// It is not known whether a proposal stands.
    Undecided { proposal: String },
    /// The execution ended without an answer.
    Ended { execution: String, failure: Box<Failure> },
    /// The answer can't be given in the form that was asked for.
    Unusable { execution: String, problem: String },
    /// The answer differs from what was already sent of it.
    Diverged { execution: String, why: String },
}

/// Whether the same request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Yes,
    No,
}

impl Fault {
    pub(crate) fn invalid(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { place: place.into(), problem: problem.into() }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Invalid { .. } => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::MediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotFound { .. } | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict { .. } => StatusCode::CONFLICT,
            Self::PreconditionRequired(_) => StatusCode::PRECONDITION_REQUIRED,
            Self::Away { .. } | Self::Restarting { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Reused { .. } | Self::Refused { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Waiting { .. } | Self::Undecided { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Ended { failure, .. } => status_of(failure),
            Self::Unusable { .. } | Self::Diverged { .. } => StatusCode::BAD_GATEWAY,
        }
    }

    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Unauthenticated(_) => "invalid_api_key",
            Self::Forbidden(_) => "insufficient_scope",
            Self::Invalid { .. } => "invalid_request",
            Self::TooLarge { .. } => "request_too_large",
            Self::SlowBody => "request_timeout",
            Self::MediaType { .. } => "unsupported_media_type",
            Self::NotFound { what: "model", .. } => "model_not_found",
            Self::NotFound { .. } => "not_found",
            Self::NoRoute => "unknown_route",
            Self::Method { .. } => "method_not_allowed",
            Self::Conflict { code, .. } => code,
            Self::Refused { .. } => "invalid_definition",
            Self::PreconditionRequired(_) => "precondition_required",
            Self::Away { .. } => "unavailable",
            Self::Waiting { .. } => "answer_timeout",
            Self::Restarting { .. } => "restarting",
            Self::RateLimited { .. } => "rate_limit_exceeded",
            Self::Reused { .. } => "idempotency_key_reused",
            Self::Undecided { .. } => "outcome_unknown",
            Self::Ended { failure, .. } => match failure.class {
                // The name that OpenAI's clients look for.
                ErrorClass::ContextWindow => "context_length_exceeded",
                _ => &failure.code,
            },
            Self::Unusable { .. } => "unusable_answer",
            Self::Diverged { .. } => "stream_diverged",
        }
    }

    pub(crate) fn message(&self) -> String {
        match self {
            Self::Unauthenticated(why) | Self::Forbidden(why) => why.clone(),
            Self::Invalid { place, problem } => format!("`{place}` {problem}"),
            Self::TooLarge { limit } => format!("the body is larger than {limit} bytes"),
            Self::SlowBody => "the body did not arrive in time".into(),
            Self::MediaType { found, wanted } => {
                format!("the body must be {wanted} by its media type, not `{found}`")
            }
            Self::NotFound { what, name } => format!("there is no {what} `{name}`"),
            Self::NoRoute => "there is no such route; see /openapi.json".into(),
            Self::Method { allowed } => format!("this route takes {allowed} only"),
            Self::Conflict { problem, .. } => problem.clone(),
            Self::Refused { problems } => refused(problems),
            Self::PreconditionRequired(why) => (*why).into(),
            Self::Away { what, .. } => format!("{what} can't be reached; try again shortly"),
            Self::Waiting { execution } => format!(
                "no answer yet; the work goes on, fetch it from /v1/executions/{}",
                crate::text::segment(execution)
            ),
            Self::Restarting { execution } => format!(
                "this server stops; the work goes on, fetch it from /v1/executions/{}",
                crate::text::segment(execution)
            ),
            Self::RateLimited { wait } => format!(
                "this key asks more often than it may; try again in {} s",
                crate::headers::seconds(*wait)
            ),
            Self::Reused { execution } => format!(
                "this idempotency key or id was used for another request, which is \
                 /v1/executions/{}",
                crate::text::segment(execution)
            ),
            Self::Undecided { proposal } => format!(
                "the proposal {proposal} was written, but its outcome isn't known yet; \
                 read the definition again"
            ),
            Self::Ended { failure, .. } => failure.message.clone(),
            Self::Unusable { problem, .. } => problem.clone(),
            Self::Diverged { execution, why } => format!(
                "{why}; the whole answer will be at /v1/executions/{}",
                crate::text::segment(execution)
            ),
        }
    }

    /// The execution that it is about.
    fn execution(&self) -> Option<&str> {
        match self {
            Self::Waiting { execution }
            | Self::Restarting { execution }
            | Self::Reused { execution }
            | Self::Ended { execution, .. }
            | Self::Unusable { execution, .. }
            | Self::Diverged { execution, .. }
            | Self::Away { execution: Some(execution), .. } => Some(execution),
            _ => None,
        }
    }

    fn again(&self) -> Again {
        match self {
            Self::Away { .. } | Self::SlowBody | Self::RateLimited { .. } => Again::Yes,
            Self::Ended { failure, .. } if failure.retryable => Again::Yes,
            _ => Again::No,
        }
    }

    /// The headers that both forms have.
    fn decorate(&self, mut response: Response) -> Response {
        if let Some(execution) = self.execution() {
            name_execution(&mut response, execution);
        }
        let headers = response.headers_mut();
        let again = match self.again() {
            Again::Yes => "true",
            Again::No => "false",
        };
        headers.insert(SHOULD_RETRY, HeaderValue::from_static(again));
        match self {
            Self::Unauthenticated(_) => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Method { allowed } => {
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            Self::Away { .. } | Self::Restarting { .. } => {
                headers.insert(RETRY_AFTER, HeaderValue::from(AWAY_RETRY_SECONDS));
            }
            Self::RateLimited { wait } => {
                headers.insert(RETRY_AFTER, HeaderValue::from(crate::headers::seconds(*wait)));
            }
            _ => {}
        }
        response
    }

    /// The OpenAI shape, for a response or for an event in the middle of a stream.
    pub(crate) fn openai_json(&self) -> Value {
        let status = self.status();
        let kind = match self {
            Self::Unauthenticated(_) => "authentication_error",
            Self::Forbidden(_) => "permission_error",
            Self::RateLimited { .. } => "rate_limit_error",
            Self::Ended { failure, .. } if failure.class == ErrorClass::RateLimited => {
                "rate_limit_error"
            }
            _ if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        };
        let param = match self {
            Self::Invalid { place, .. } => Some(place.as_str()),
            Self::Reused { .. } => Some("Idempotency-Key"),
            Self::NotFound { what: "model", .. } => Some("model"),
            _ => None,
        };
        json!({
            "error": {
                "message": self.message(),
                "type": kind,
                "param": param,
                "code": self.code(),
            }
        })
    }
}

/// The first of the problems, errors before all, and how many there are.
fn refused(problems: &[Found]) -> String {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let first = problems.first().map_or_else(String::new, Found::to_string);
    match errors {
        0 | 1 => first,
        _ => format!("{errors} errors; the first: {first}"),
    }
}

/// The status that a client of an OpenAI route gets. A key that the *provider* refuses isn't the
/// client's: 401 would send people to look at the wrong one.
fn status_of(failure: &Failure) -> StatusCode {
    match failure.code.as_str() {
        "cancelled" => return StatusCode::CONFLICT,
        "timed_out" => return StatusCode::GATEWAY_TIMEOUT,
        _ => {}
    }
    match failure.class {
        ErrorClass::Invalid | ErrorClass::ContextWindow | ErrorClass::ContentPolicy => {
            StatusCode::BAD_REQUEST
        }
        ErrorClass::NotFound => StatusCode::NOT_FOUND,
        ErrorClass::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorClass::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorClass::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorClass::Authentication | ErrorClass::Provider | ErrorClass::Network => {
            StatusCode::BAD_GATEWAY
        }
        ErrorClass::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A fault in the form of RFC 9457.
#[derive(Debug)]
pub(crate) struct Problem(pub(crate) Fault);

/// A fault in OpenAI's form.
#[derive(Debug)]
pub(crate) struct OpenAi(pub(crate) Fault);

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl From<Fault> for OpenAi {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.0.status();
        let mut body = Map::new();
        body.insert("type".into(), "about:blank".into());
        body.insert("title".into(), status.canonical_reason().unwrap_or("Error").into());
        body.insert("status".into(), status.as_u16().into());
        body.insert("detail".into(), self.0.message().into());
        body.insert("code".into(), self.0.code().into());
        if let Fault::Invalid { place, .. } = &self.0 {
            body.insert("place".into(), place.as_str().into());
        }
        if let Some(execution) = self.0.execution() {
            body.insert("execution_id".into(), execution.into());
        }
        if let Fault::Conflict { version: Some(version), .. } = &self.0 {
            body.insert("version".into(), (*version).into());
        }
        if let Fault::Refused { problems } = &self.0 {
            body.insert("problems".into(), json!(problems));
        }
        let mut response = (status, Json(Value::Object(body))).into_response();
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        self.0.decorate(response)
    }
}

impl IntoResponse for OpenAi {
    fn into_response(self) -> Response {
        let response = (self.0.status(), Json(self.0.openai_json())).into_response();
        self.0.decorate(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_failure_has_its_status() {
        let status = |class| {
            let failure = Failure::new(class, "provider_said", "no");
            Fault::Ended { execution: "e".into(), failure: Box::new(failure) }.status().as_u16()
        };
        let got: Vec<_> = ErrorClass::ALL.into_iter().map(status).collect();
        assert_eq!(got, [400, 400, 400, 502, 404, 429, 502, 504, 502, 413, 500]);
    }

    #[test]
    fn sdk_is_told_not_to_repeat_what_goes_on() {
        let header = |fault| {
            let response = OpenAi(fault).into_response();
            response.headers()["x-should-retry"].to_str().unwrap().to_owned()
        };
        let failed = |failure| Fault::Ended { execution: "e".into(), failure: Box::new(failure) };
        let limited = Failure::new(ErrorClass::RateLimited, "rate_limited", "slow down");
        assert_eq!(header(failed(limited.clone())), "false");
        assert_eq!(header(failed(limited.retryable())), "true");
        assert_eq!(header(Fault::Waiting { execution: "e".into() }), "false");
        assert_eq!(header(Fault::Away { what: "the broker", execution: None }), "true");
    }
}
