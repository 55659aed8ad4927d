//! Headers that have nothing to do with any one route: what a browser may do with an answer, which pages
//! may call at all, and how much of its rate a key has left.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer, ExposeHeaders};

use crate::rate::Verdict;

/// Where the look at the key leaves what its rate says, for the answer's headers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowance(pub(crate) Arc<OnceLock<Verdict>>);

/// What an answer that says nothing else allows: nothing may be loaded, framed, guessed or kept.
const STRICT: [(HeaderName, &str); 5] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (CACHE_CONTROL, "no-store"),
];

/// What a page from elsewhere may read of an answer.
const EXPOSED: [HeaderName; 13] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-execution-id"),
    HeaderName::from_static("idempotent-replayed"),
    HeaderName::from_static("location"),
    HeaderName::from_static("etag"),
    HeaderName::from_static("retry-after"),
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
    HeaderName::from_static("x-should-retry"),
];

/// How long a browser may keep the answer to a preflight.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

/// Adds them.
pub(crate) async fn add(mut request: Request, next: Next) -> Response {
    let allowance = Allowance::default();
    request.extensions_mut().insert(allowance.clone());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in STRICT {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if let Some(verdict) = allowance.0.get() {
        // Whole seconds as in the IETF's draft, and OpenAI's names with their unit.
        let reset = seconds(verdict.reset);
        let ms = verdict.reset.as_millis();
        for (name, value) in [
            ("ratelimit-limit", verdict.limit.to_string()),
            ("ratelimit-remaining", verdict.remaining.to_string()),
            ("ratelimit-reset", reset.to_string()),
            ("x-ratelimit-limit-requests", verdict.limit.to_string()),
            ("x-ratelimit-remaining-requests", verdict.remaining.to_string()),
            ("x-ratelimit-reset-requests", format!("{ms}ms")),
        ] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
    response
}

/// Whole seconds, rounded up: who comes back after them is not too early.
pub(crate) fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Which pages may call from a browser; `None`: none from elsewhere.
pub(crate) fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> =
        origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    if origins.is_empty() {
        return None;
    }
    // Keys are sent by the page itself and never by the browser, so no credentials are allowed.
    Some(
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(ExposeHeaders::list(EXPOSED))
            .max_age(PREFLIGHT_AGE),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_back_after_the_seconds_is_not_too_early() {
        for (ms, whole) in [(0, 0), (1, 1), (999, 1), (1_000, 1), (1_001, 2)] {
            assert_eq!(seconds(Duration::from_millis(ms)), whole);
        }
    }
}
