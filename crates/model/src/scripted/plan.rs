//! What is played to one request: rules and request in, a timed list of bytes out. Pure; the waiting is
//! done by `player`.

use std::time::Duration;

use domain::request::Operation;
use domain::script::{Fault, FaultKind, Rule, Script};
use serde_json::{Value, json};

use super::content::{self, Answer};

/// A request as the provider sees it.
#[derive(Clone, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) operation: Operation,
    /// The idempotency key.
    pub(crate) id: &'a str,
    /// How often this id has asked, this time included.
    pub(crate) attempt: u32,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Value,
}

/// What is played: the head after `head_at`, then each step at its time; times count from the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) retry_after: Option<String>,
    /// `None`: never.
    pub(crate) head_at: Option<Duration>,
    pub(crate) steps: Vec<(Duration, Step)>,
}

/// A step of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Send(String),
    /// Nothing more, and no end.
    Hang,
    /// The connection breaks.
    Break,
}

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
/// The speed of the friendly answer: fast enough to be pleasant, slow enough to be seen streaming.
const FRIENDLY_TOKENS_PER_SECOND: u32 = 40;
const FRIENDLY_LATENCY_MS: u64 = 120;

/// Decides what is played.
pub(crate) fn plan(script: &Script, request: &Request<'_>) -> Plan {
    let prompt = content::prompt(request.operation, &request.body);
    let friendly = Rule {
        latency_ms: FRIENDLY_LATENCY_MS,
        tokens_per_second: Some(FRIENDLY_TOKENS_PER_SECOND),
        ..Rule::default()
    };
    let rule =
        script.rules.iter().find(|rule| matches(rule, request, &prompt)).unwrap_or(&friendly);
    let hash = hash(request.id);
    let latency = match &rule.slow {
        Some(slow) if hash.is_multiple_of(u64::from(slow.every.max(1))) => slow.latency_ms,
        _ => rule.latency_ms,
    };
    let latency = Duration::from_millis(latency);
    let fault = rule.fault.as_ref().filter(|fault| shows(fault, request, hash)).map(|f| &f.kind);
    match fault {
        Some(FaultKind::Status { status, retry_after, body }) => {
            let body = match body {
                Some(body) => body
                    .replace("{{authorization}}", request.authorization.as_deref().unwrap_or(""))
                    .replace("{{prompt}}", &prompt),
                None => status_body(*status),
            };
            Plan {
                status: *status,
                content_type: JSON.into(),
                retry_after: retry_after.clone(),
                head_at: Some(latency),
                steps: vec![(latency, Step::Send(body))],
            }
        }
        Some(FaultKind::Verbatim { status, content_type, body }) => Plan {
            status: *status,
            content_type: content_type.clone(),
            retry_after: None,
            head_at: Some(latency),
            steps: vec![(latency, Step::Send(body.clone()))],
        },
        fault => answer(rule, request, &prompt, latency, fault),
    }
}

fn matches(rule: &Rule, request: &Request<'_>, prompt: &str) -> bool {
    let when = &rule.when;
    when.operation.is_none_or(|operation| operation == request.operation)
        && when.contains.as_ref().is_none_or(|text| prompt.contains(text.as_str()))
        && when.model.as_ref().is_none_or(|model| request.body["model"] == model.as_str())
}

fn shows(fault: &Fault, request: &Request<'_>, hash: u64) -> bool {
    fault.first_tries.is_none_or(|first| request.attempt <= first)
        && fault.every.is_none_or(|every| hash.is_multiple_of(u64::from(every.max(1))))
}

/// An answer, cut short by a fault where there is one.
fn answer(
    rule: &Rule,
    request: &Request<'_>,
    prompt: &str,
    latency: Duration,
    fault: Option<&FaultKind>,
) -> Plan {
    let answer = Answer::new(rule, request, prompt);
    let between = rule
        .tokens_per_second
        .map_or(Duration::ZERO, |tokens| Duration::from_secs(1) / tokens.max(1));
    let at = |token: usize| latency + between * u32::try_from(token).unwrap_or(u32::MAX);
    let stream = request.body["stream"] == true
        && matches!(request.operation, Operation::Chat | Operation::TextCompletion);
    if !stream {
        return whole(&answer, request, at(answer.tokens.len()), fault);
    }
    let mut events = answer.events(request);
    let mut cut = None;
    if let Some(fault) = fault {
        let (after, step) = match fault {
            FaultKind::Hang { after_tokens } => (*after_tokens, Step::Hang),
            FaultKind::Drop { after_tokens } => (*after_tokens, Step::Break),
            FaultKind::MalformedSse { after_tokens } => {
                (*after_tokens, Step::Send("data: {\"choices\": [{\"delta\n\n".into()))
            }
            FaultKind::ErrorEvent { after_tokens, code } => {
                (*after_tokens, Step::Send(event(&error(code, "the model failed midway"))))
            }
            FaultKind::Status { .. } | FaultKind::Verbatim { .. } => (0, Step::Hang),
        };
        let after = usize::try_from(after).unwrap_or(usize::MAX).min(answer.tokens.len());
        // The role comes before the first token.
        events.truncate(after + 1);
        cut = Some((at(after), step));
    }
    let steps = events.into_iter().enumerate().map(|(i, data)| {
        // The role is sent with the first token, and the end with the last.
        let token = i.saturating_sub(1).min(answer.tokens.len().saturating_sub(1));
        (at(token), Step::Send(event(&data)))
    });
    let mut steps: Vec<(Duration, Step)> = steps.collect();
    match cut {
        Some(cut) => steps.push(cut),
        None => {
            let last = steps.last().map_or(latency, |(at, _)| *at);
            steps.push((last, Step::Send("data: [DONE]\n\n".into())));
        }
    }
    Plan {
        status: 200,
        content_type: EVENTS.into(),
        retry_after: None,
        head_at: Some(Duration::ZERO),
        steps,
    }
}

fn whole(answer: &Answer, request: &Request<'_>, at: Duration, fault: Option<&FaultKind>) -> Plan {
    let step = match fault {
        None => Step::Send(answer.whole(request).to_string()),
        Some(FaultKind::Drop { .. }) => Step::Break,
        Some(FaultKind::MalformedSse { .. }) => Step::Send("{\"choices\": [{\"mess".into()),
        Some(FaultKind::ErrorEvent { code, .. }) => {
            Step::Send(error(code, "the model failed").to_string())
        }
        Some(_) => Step::Hang,
    };
    Plan {
        status: 200,
        content_type: JSON.into(),
        retry_after: None,
        head_at: (step != Step::Hang).then_some(at),
        steps: vec![(at, step)],
    }
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn error(code: &str, message: &str) -> Value {
    json!({ "error": { "message": message, "type": code, "param": null, "code": code } })
}

fn status_body(status: u16) -> String {
    let (code, message) = match status {
        401 => ("invalid_api_key", "the key is wrong"),
        404 => ("model_not_found", "there is no such model"),
        429 => ("rate_limit_exceeded", "too many requests"),
        400..500 => ("invalid_request_error", "the request is wrong"),
        _ => ("server_error", "the server failed"),
    };
    error(code, message).to_string()
}

/// FNV-1a with a final mix, so that ids that differ in their last character only are spread as well.
/// Stable for ever: rules choose by it.
pub(crate) fn hash(id: &str) -> u64 {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests;
