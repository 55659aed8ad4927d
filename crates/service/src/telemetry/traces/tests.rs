//! Spans against a collector in the test.

use std::sync::Mutex;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::Value as Json;

use super::*;

/// What a collector was sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Json>>>);

impl Collector {
    /// Serves at a free port; returns the address.
    async fn serve(&self, status: StatusCode) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let take = move |State(collector): State<Collector>, body: axum::body::Bytes| async move {
            collector.0.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            (status, [("content-type", "application/json")], "{}")
        };
        let router = Router::new().route("/v1/traces", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn spans(&self) -> Vec<Json> {
        let requests = self.0.lock().unwrap();
        let of = |value: &Json, name: &str| value[name].as_array().cloned().unwrap_or_default();
        requests
            .iter()
            .flat_map(|request| of(request, "resourceSpans"))
            .flat_map(|resource| of(&resource, "scopeSpans"))
            .flat_map(|scope| of(&scope, "spans"))
            .collect()
    }
}

fn config(endpoint: String, ratio: f64) -> config::Telemetry {
    config::Telemetry {
        otlp_endpoint: Some(endpoint),
        trace_ratio: ratio,
        service_name: "test-service".into(),
        ..Default::default()
    }
}

fn attribute<'a>(span: &'a Json, name: &str) -> Option<&'a Json> {
    let attributes = span["attributes"].as_array()?;
    attributes.iter().find(|one| one["key"] == name).map(|one| &one["value"])
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_reach_the_collector_as_they_were_made() {
    let collector = Collector::default();
    let endpoint = collector.serve(StatusCode::OK).await;
    let (tracer, traces) = Tracer::start(&config(endpoint, 1.0)).unwrap();
    let root = tracer.begin();
    let context = root.child("call/7");
    let mut span = tracer.span(context, Some(root.span), SpanKind::Client, "chat fast");
    span.set("gen_ai.usage.input_tokens", 5);
    span.set("gen_ai.response.finish_reasons", Value::Texts(vec!["stop".into()]));
    span.end();
    drop(tracer.span(root, None, SpanKind::Server, "POST /v1/requests"));
    traces.flush().await;

    let spans = collector.spans();
    let [call, server] = spans.as_slice() else { panic!("two spans, not {spans:?}") };
    assert_eq!(call["traceId"], root.trace.to_string());
    assert_eq!(call["spanId"], context.span.to_string());
    assert_eq!(call["parentSpanId"], root.span.to_string());
    assert_eq!((&call["name"], &call["kind"]), (&"chat fast".into(), &3.into()));
    let tokens = attribute(call, "gen_ai.usage.input_tokens").unwrap();
    assert_eq!(
        tokens["intValue"]
            .as_str()
            .map(str::to_owned)
            .unwrap_or_else(|| tokens["intValue"].to_string()),
        "5"
    );
    let reasons = attribute(call, "gen_ai.response.finish_reasons").unwrap();
    assert_eq!(reasons["arrayValue"]["values"][0]["stringValue"], "stop");
    assert_eq!(attribute(call, ERROR_TYPE), None);
    assert_eq!(attribute(server, ERROR_TYPE).unwrap()["stringValue"], CANCELLED, "it was dropped");
    assert_eq!(server["status"]["code"], 2);
    let requests = collector.0.lock().unwrap();
    let resource = requests[0]["resourceSpans"][0]["resource"].to_string();
    assert!(resource.contains("service.name") && resource.contains("test-service"), "{resource}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sender_of_a_trace_decides_whether_it_is_recorded() {
    let collector = Collector::default();
    let endpoint = collector.serve(StatusCode::OK).await;
    let (tracer, traces) = Tracer::start(&config(endpoint, 0.0)).unwrap();
    let begun = tracer.begin();
    assert_eq!(begun.sampling(), Sampling::NotSampled, "none of those that begin here are");
    tracer.span(begun, None, SpanKind::Server, "unrecorded").end();
    let wanted = begun.sampled(Sampling::Sampled);
    tracer.span(wanted, None, SpanKind::Consumer, "recorded").end();
    traces.flush().await;
    let names: Vec<_> = collector.spans().iter().map(|span| span["name"].clone()).collect();
    assert_eq!(names, ["recorded"]);
}

#[test]
fn ratio_is_the_share_of_traces_and_each_trace_is_decided_by_its_id() {
    let tracer = |ratio: f64| Tracer(Some(Arc::new(On { queue: Queue::nowhere(), ratio })));
    for (ratio, least, most) in
        [(0.0, 0, 0), (0.25, 400, 600), (0.5, 880, 1_120), (1.0, 2_000, 2_000)]
    {
        let ids: Vec<_> = (0..2_000)
            .map(|n| {
                TraceId::of_execution(domain::topic::Kind::Model, "acme", &format!("call-{n}"))
            })
            .collect();
        let sampled = |tracer: &Tracer| -> Vec<bool> {
            ids.iter().map(|id| tracer.sampling(*id) == Sampling::Sampled).collect()
        };
        let decided = sampled(&tracer(ratio));
        let count = decided.iter().filter(|sampled| **sampled).count();
        assert!((least..=most).contains(&count), "{ratio}: {count} of 2,000");
        assert_eq!(decided, sampled(&tracer(ratio)), "by the id alone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn collector_that_is_away_costs_spans_and_no_time() {
    // A port that was free a moment ago, and that nobody listens at.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (tracer, traces) = Tracer::start(&config(endpoint, 1.0)).unwrap();
    let began = std::time::Instant::now();
    // More than the queue holds.
    for _ in 0..20_000 {
        tracer.span(tracer.begin(), None, SpanKind::Internal, "lost").end();
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    traces.flush().await;
    assert!(tracer.is_on(), "spans made after the end are dropped as well");
    tracer.span(tracer.begin(), None, SpanKind::Internal, "late").end();
}

#[test]
fn tracer_without_an_address_makes_spans_that_go_nowhere() {
    let (tracer, _traces) = Tracer::start(&config::Telemetry::default()).unwrap();
    let root = tracer.begin();
    assert_eq!(root.sampling(), Sampling::Sampled, "those after it decide");
    let span = tracer.span(root, None, SpanKind::Internal, "nothing");
    assert!(!span.is_recorded() && !tracer.is_on());
    assert_eq!(span.context(), root);
}
