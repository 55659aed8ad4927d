//! The spans of calls, as a collector gets them.

use std::collections::BTreeSet;
use std::sync::Mutex;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use domain::trace::{TraceContext, TraceId};
use model::scripted::Server;
use model::{Environment, SystemEnvironment};
use runtime::ports::header;
use serde_json::{Value, json};
use service::config::Telemetry;
use service::telemetry::{Tracer, Traces};

use super::scripted::knowing;
use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const CANARY: &str = "canary-c0de";

/// A collector in this process.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Value>>>);

impl Collector {
    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let take = |State(Collector(requests)): State<Collector>, body: Bytes| async move {
            requests.lock().unwrap().push(serde_json::from_slice(&body).expect("JSON"));
            ([("content-type", "application/json")], "{}")
        };
        let router = Router::new().route("/v1/traces", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn text(&self) -> String {
        Value::Array(self.0.lock().unwrap().clone()).to_string()
    }

    fn spans(&self) -> Vec<Value> {
        let requests = self.0.lock().unwrap();
        let of = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
        requests
            .iter()
            .flat_map(|request| of(request, "resourceSpans"))
            .flat_map(|resource| of(&resource, "scopeSpans"))
            .flat_map(|scope| of(&scope, "spans"))
            .collect()
    }
}

/// A partition whose `fast` is `definition`, and the way of its spans.
async fn traced(definition: &Value, ratio: f64) -> (Harness<Inference>, Collector, Traces) {
    let collector = Collector::default();
    let telemetry = Telemetry {
        otlp_endpoint: Some(collector.serve().await),
        trace_ratio: ratio,
        ..Telemetry::default()
    };
    let (tracer, traces) = Tracer::start(&telemetry).expect("an exporter");
    let options = model::Options { environment: Arc::new(Keyed), ..model::Options::default() };
    let inference = knowing(&definition.to_string(), options, &Stream::new());
    (Harness::new(inference.with_tracer(tracer)), collector, traces)
}

/// The real environment, with a key in it.
struct Keyed;

impl Environment for Keyed {
    fn now(&self) -> Millis {
        SystemEnvironment.now()
    }

    fn random(&self) -> u64 {
        0
    }

    fn variable(&self, name: &str) -> Option<String> {
        (name == "CANARY_API_KEY").then(|| format!("sk-{CANARY}-key"))
    }
}

fn with_trace(parent: &str) -> runtime::ports::Headers {
    vec![("traceparent".into(), Bytes::copy_from_slice(parent.as_bytes()))]
}

fn named<'a>(spans: &'a [Value], name: &str) -> Vec<&'a Value> {
    spans.iter().filter(|span| span["name"] == name).collect()
}

fn one<'a>(spans: &'a [Value], name: &str) -> &'a Value {
    let found = named(spans, name);
    let [span] = found.as_slice() else {
        panic!("one span {name}, not {}: {spans:?}", found.len())
    };
    span
}

/// An attribute's value as text, whatever its type.
fn attribute(span: &Value, name: &str) -> Option<String> {
    let attributes = span["attributes"].as_array()?;
    let value = &attributes.iter().find(|one| one["key"] == name)?["value"];
    let (kind, value) = value.as_object()?.iter().next()?;
    let value = if kind == "arrayValue" { &value["values"][0]["stringValue"] } else { value };
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// A model behind HTTP that fails on the first try, and says in its error what it was told.
async fn http_model(rules: Value) -> (Server, Value) {
    let script = serde_json::from_value(json!({ "rules": rules })).expect("rules");
    let server = Server::start(([127, 0, 0, 1], 0).into(), script).await.expect("a free port");
    let definition = json!({
        "deployments": [{
            "name": "near", "provider": "openai-compatible", "model": "m-1",
            "base_url": server.base_url(), "key": {"env": "CANARY_API_KEY"},
        }],
        "retry": {"max_tries": 2, "base_backoff_ms": 1, "max_backoff_ms": 1},
    });
    (server, definition)
}

#[tokio::test(flavor = "multi_thread")]
async fn call_is_one_trace_from_the_request_to_the_published_answer() {
    let rules = json!([{ "fault": {"kind": {"status": {"status": 500}}, "first_tries": 1} }]);
    let (server, definition) = http_model(rules).await;
    let (mut harness, collector, traces) = traced(&definition, 1.0).await;
    let body = BODY.replace("one two", CANARY);
    harness.publish_with(&ModelRequest { body, ..request() }, with_trace(PARENT));
    harness.run_calls().await;
    assert_eq!(told(&harness).last(), Some(&"execution.succeeded"));
    traces.flush().await;

    let spans = collector.spans();
    let parent = TraceContext::parse(PARENT).expect("a trace parent");
    assert_eq!(spans.len(), 5, "{spans:?}");
    assert!(spans.iter().all(|span| span["traceId"] == parent.trace.to_string()));
    let admit = one(&spans, "admit model-requests");
    let chat = one(&spans, "chat fast");
    let publish = one(&spans, "publish results");
    assert_eq!(admit["parentSpanId"], parent.span.to_string());
    assert_eq!(chat["parentSpanId"], admit["spanId"]);
    assert_eq!(publish["parentSpanId"], chat["spanId"]);
    let tries = named(&spans, "POST");
    assert!(tries.iter().all(|span| span["parentSpanId"] == chat["spanId"]), "{tries:?}");

    let port = server.address().port().to_string();
    let expected = [("500", Some("provider"), None), ("200", None, Some("1"))];
    for (span, (status, error, resent)) in tries.iter().zip(expected) {
        assert_eq!(attribute(span, "server.address").as_deref(), Some("127.0.0.1"));
        assert_eq!(attribute(span, "server.port"), Some(port.clone()));
        assert_eq!(attribute(span, "http.response.status_code").as_deref(), Some(status));
        assert_eq!(attribute(span, "error.type").as_deref(), error);
        assert_eq!(attribute(span, "http.request.resend_count").as_deref(), resent);
    }
    for (name, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai-compatible"),
        ("gen_ai.request.model", "fast"),
        ("gen_ai.response.model", "m-1"),
        ("gen_ai.response.finish_reasons", "stop"),
        ("stepstream.execution.id", "call-1"),
        ("stepstream.deployment", "near"),
        ("stepstream.tries", "2"),
    ] {
        assert_eq!(attribute(chat, name).as_deref(), Some(value), "{name}");
    }
    for name in ["gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"] {
        let tokens: Option<i64> = attribute(chat, name).and_then(|tokens| tokens.parse().ok());
        assert!(tokens.is_some_and(|tokens| tokens > 0), "{name}");
    }
    assert_eq!(attribute(admit, "messaging.kafka.offset").as_deref(), Some("0"));

    // What stands in rows and headers are the spans that were exported.
    let rows = checkpointed_rows(&mut harness);
    let ids: Vec<_> = rows.iter().map(|row| row.span_id.clone().unwrap_or_default()).collect();
    assert_eq!(json!(ids), json!([admit["spanId"], admit["spanId"], chat["spanId"]]));
    assert!(rows.iter().all(|row| row.trace_id == Some(parent.trace.to_string())));
    let last = harness.sent(Topic::Results).last().expect("events");
    let context = header(&last.headers, "traceparent").and_then(TraceContext::parse);
    assert_eq!(publish["spanId"], context.expect("a trace parent").span.to_string());
    assert!(!collector.text().contains(CANARY), "{}", collector.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_exports_nothing_again_and_derives_the_same_ids() {
    let (_server, definition) = http_model(json!([])).await;
    let (mut harness, collector, traces) = traced(&definition, 1.0).await;
    harness.publish_with(&request(), with_trace(PARENT));
    harness.restart();
    harness.run_calls().await;
    for _ in 0..3 {
        harness.restart();
    }
    let ends = told(&harness).iter().filter(|event| **event == "execution.succeeded").count();
    assert_eq!(ends, 4, "the end was put out again by each owner");
    let rows = checkpointed_rows(&mut harness);
    traces.flush().await;
    let spans = collector.spans();
    let names: BTreeSet<_> = spans.iter().map(|span| span["name"].to_string()).collect();
    assert_eq!((spans.len(), names.len()), (4, 4), "{names:?}");
    let exported: BTreeSet<_> =
        spans.iter().filter_map(|span| span["spanId"].as_str().map(str::to_owned)).collect();
    assert!(rows.len() == 3);
    assert!(rows.iter().all(|row| exported.contains(row.span_id.as_deref().unwrap_or_default())));
}

#[tokio::test(flavor = "multi_thread")]
async fn request_without_a_trace_begins_one_that_its_id_tells() {
    let (_server, definition) = http_model(json!([])).await;
    for (ratio, spans) in [(1.0, 4), (0.0, 0)] {
        let (mut harness, collector, traces) = traced(&definition, ratio).await;
        harness.publish(&request());
        harness.run_calls().await;
        let rows = checkpointed_rows(&mut harness);
        traces.flush().await;
        let trace = TraceId::of_execution(Kind::Model, "default", "call-1").to_string();
        assert!(rows.iter().all(|row| row.trace_id.as_ref() == Some(&trace)), "recorded or not");
        let exported = collector.spans();
        assert_eq!(exported.len(), spans, "{ratio}: {exported:?}");
        assert!(exported.iter().all(|span| span["traceId"] == trace));
        let admit = exported.iter().find(|span| span["name"] == "admit model-requests");
        let parent = admit.and_then(|span| span["parentSpanId"].as_str()).unwrap_or_default();
        assert_eq!(parent, "", "it has none above it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sender_that_doesn_t_record_its_trace_is_followed() {
    let (_server, definition) = http_model(json!([])).await;
    let (mut harness, collector, traces) = traced(&definition, 1.0).await;
    harness.publish_with(&request(), with_trace(&PARENT.replace("-01", "-00")));
    harness.run_calls().await;
    traces.flush().await;
    assert!(collector.spans().is_empty(), "{}", collector.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_call_says_why_and_no_more() {
    let body = r#"{"error": {"message": "{{prompt}} with {{authorization}}"}}"#;
    let rules = json!([{ "fault": {"kind": {"status": {"status": 400, "body": body}}} }]);
    let (_server, definition) = http_model(rules).await;
    let (mut harness, collector, traces) = traced(&definition, 1.0).await;
    harness.publish_with(&saying(CANARY), with_trace(PARENT));
    harness.run_calls().await;
    assert_eq!(told(&harness).last(), Some(&"execution.failed"));
    traces.flush().await;
    let spans = collector.spans();
    let chat = one(&spans, "chat fast");
    assert_eq!(attribute(chat, "error.type").as_deref(), Some("invalid"));
    assert_eq!(attribute(chat, "gen_ai.provider.name").as_deref(), Some("openai-compatible"));
    assert_eq!(chat["status"]["code"], 2);
    assert_eq!(attribute(one(&spans, "POST"), "http.response.status_code").as_deref(), Some("400"));
    assert!(!collector.text().contains(CANARY), "{}", collector.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn call_that_is_dropped_says_that_it_was_cancelled() {
    let rules = json!([{ "latency_ms": 60_000 }]);
    let (server, definition) = http_model(rules).await;
    let (mut harness, collector, traces) = traced(&definition, 1.0).await;
    harness.publish_with(&request(), with_trace(PARENT));
    tokio::select! {
        () = harness.run_calls() => panic!("the model is slow"),
        () = async {
            while server.seen().open == 0 {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    traces.flush().await;
    let spans = collector.spans();
    for name in ["chat fast", "POST"] {
        assert_eq!(
            attribute(one(&spans, name), "error.type").as_deref(),
            Some("cancelled"),
            "{name}"
        );
    }
}
