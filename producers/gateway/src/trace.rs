//! What identifies a request: its id, its trace; and its line in metrics and log, and its span.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use domain::trace::TraceContext;
use service::telemetry::{Span, SpanKind, Tracer};
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
    /// `traceparent` of what follows from the request: the span of the request where spans are made, else
    /// as it came or new.
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

/// What begins the paths of the API. What is beside it (health, metrics, pages) is no part of a trace.
const API: &str = "/v1/";

/// The span of a request of the API, which becomes the parent of what follows from it. It ends with the
/// head of the answer; what streams after that has spans of its own. `None`: no spans are made.
fn server_span(
    tracer: &Tracer,
    headers: &HeaderMap,
    trace: &mut Trace,
    (method, route): (&str, &str),
) -> Option<Span> {
    if !tracer.is_on() || !route.starts_with(API) {
        return None;
    }
    // Where a parent was sent, its sender has decided whether the trace is recorded.
    let sent = headers.get("traceparent").and_then(|parent| parent.to_str().ok());
    let sent = sent.and_then(TraceContext::parse);
    let context = sent.map_or_else(|| tracer.begin(), |sent| tracer.child_of(sent));
    let name = format!("{method} {route}");
    let mut span = tracer.span(context, sent.map(|sent| sent.span), SpanKind::Server, name);
    span.set("http.request.method", method);
    span.set("http.route", route);
    trace.parent = context.to_string();
    Some(span)
}

fn end(span: Option<Span>, status: StatusCode) {
    if let Some(mut span) = span {
        span.set("http.response.status_code", i64::from(status.as_u16()));
        // Whatever else went wrong is the client's, and no error of the server.
        if status.is_server_error() {
            span.fail(status.as_str());
        }
        span.end();
    }
}

/// Gives a request its identity, and its answer the request id. Around everything else.
pub(crate) async fn identify(mut request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let mut trace = Trace::of(request.headers());
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
    let known = if KNOWN_METHODS.contains(&method.as_str()) { method.as_str() } else { "_OTHER" };
    let tracer = Tracer::installed();
    let server = server_span(&tracer, request.headers(), &mut trace, (known, &route));
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
    end(server, response.status());
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

#[cfg(test)]
mod tests {
    use service::config::Telemetry;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    /// A tracer that is on; its collector is nowhere, and nothing of these tests is exported.
    fn tracer() -> Tracer {
        let endpoint = Some("http://127.0.0.1:9".into());
        let config =
            Telemetry { otlp_endpoint: endpoint, trace_ratio: 0.0, ..Telemetry::default() };
        Tracer::start(&config).expect("an exporter").0
    }

    fn headers(parent: Option<&'static str>) -> HeaderMap {
        let parent = parent.map(HeaderValue::from_static);
        parent.map(|parent| (HeaderName::from_static("traceparent"), parent)).into_iter().collect()
    }

    /// The span of a request with this parent, and the parent of what follows from it.
    fn span_of(
        tracer: &Tracer,
        parent: Option<&'static str>,
        route: &str,
    ) -> (Option<Span>, String) {
        let headers = headers(parent);
        let mut trace = Trace::of(&headers);
        (server_span(tracer, &headers, &mut trace, ("POST", route)), trace.parent)
    }

    #[test]
    fn what_follows_is_below_the_span_of_the_request_and_in_the_clients_trace() {
        let (span, parent) = span_of(&tracer(), Some(PARENT), "/v1/requests");
        let sent = TraceContext::parse(PARENT).expect("a trace parent");
        let context = span.expect("a span").context();
        assert_eq!(parent, context.to_string());
        assert_eq!((context.trace, context.sampling()), (sent.trace, sent.sampling()));
        assert_ne!(context.span, sent.span);
    }

    #[test]
    fn trace_begins_here_where_the_client_has_none() {
        let (span, parent) = span_of(&tracer(), None, "/v1/requests");
        assert_eq!(parent, span.expect("a span").context().to_string());
        assert!(parent.ends_with("-00"), "the ratio is 0: {parent}");
    }

    #[test]
    fn without_spans_and_beside_the_api_the_parent_is_passed_on_as_it_came() {
        for (tracer, route) in [(Tracer::off(), "/v1/requests"), (tracer(), "/healthz")] {
            let (span, parent) = span_of(&tracer, Some(PARENT), route);
            assert!(span.is_none());
            assert_eq!(parent, PARENT);
        }
    }
}
