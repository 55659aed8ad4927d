//! What identifies a request: its id, its trace; and its line in metrics and log.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

use crate::{metrics as names, text};

/// Comes with every answer.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id of a client that is kept.
const MAX_REQUEST_ID_BYTES: usize = 128;
/// The longest `tracestate` that is passed on, as W3C Trace Context asks at least.
const MAX_TRACE_STATE_BYTES: usize = 512;

/// The identity of one HTTP request; an extension of it.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    /// `traceparent`, as it came or new.
    pub(crate) parent: String,
    /// `tracestate`, where it came with a parent.
    pub(crate) state: Option<String>,
}

impl Trace {
    fn of(headers: &HeaderMap) -> Self {
        let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        match header("traceparent").filter(|parent| text::is_trace_parent(parent)) {
            Some(parent) => Self {
                parent: parent.to_owned(),
                state: header("tracestate")
                    .filter(|state| !state.is_empty() && state.len() <= MAX_TRACE_STATE_BYTES)
                    .map(str::to_owned),
            },
            None => Self { parent: text::new_trace_parent(), state: None },
        }
    }
}

/// Gives a request its identity, and its answer the request id. Around everything else.
pub(crate) async fn identify(mut request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let trace = Trace::of(request.headers());
    let id =
        request.headers().get(&REQUEST_ID).filter(|id| fits(id)).cloned().unwrap_or_else(|| {
            HeaderValue::from_str(&crate::publish::new_id()).expect("an id of ours is ASCII")
        });
    let method = request.method().clone();
    // The pattern, never the path: a path has ids, and whatever a client makes up.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let span = tracing::info_span!(
        "http",
        %method,
        route,
        request_id = id.to_str().unwrap_or_default(),
        trace_parent = trace.parent,
    );
    request.extensions_mut().insert(trace);
    let mut response = next.run(request).instrument(span).await;
    response.headers_mut().insert(REQUEST_ID, id);
    let status = response.status().as_u16().to_string();
    let method =
        if KNOWN_METHODS.contains(&method.as_str()) { method.to_string() } else { "other".into() };
    metrics::counter!(names::REQUESTS, "method" => method, "route" => route.clone(), "status" => status)
        .increment(1);
    metrics::histogram!(names::SECONDS, "route" => route).record(begin.elapsed().as_secs_f64());
    response
}

/// Methods that are a label as they are; a client may send any word.
const KNOWN_METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];

/// Whether a client's request id is fit for logs: short, visible ASCII.
fn fits(id: &HeaderValue) -> bool {
    !id.is_empty()
        && id.len() <= MAX_REQUEST_ID_BYTES
        && id.as_bytes().iter().all(u8::is_ascii_graphic)
}
