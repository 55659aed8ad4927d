//! One trace through HTTP, topics and the call of a model, as a collector gets it.

use std::time::Duration;

use bytes::Bytes;
use domain::log_row::ExecutionLogRecord;
use domain::request::ModelRequest;
use domain::topic::{Kind, Topic};
use serde_json::{Value, json};
use stepstream_tests::api::Api;
use stepstream_tests::collector::Collector;
use stepstream_tests::platform::Platform;
use stepstream_tests::process::Signal;
use stepstream_tests::stack::Stack;
use stepstream_tests::topics::Client;
use stepstream_tests::wait::{PATIENCE, until};
use stepstream_tests::{fresh, provider};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";
const CANARY: &str = "canary-9d02";

async fn traced_platform() -> (Platform, Collector) {
    let collector = Collector::start().await;
    // The variable that every OpenTelemetry SDK knows.
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address());
    (Platform::start_with(Stack::Embedded, &[endpoint]).await, collector)
}

/// The spans of a trace, once there are so many.
async fn spans(collector: &Collector, trace: &str, count: usize) -> Vec<Value> {
    until("the spans of the trace", PATIENCE, async || {
        let spans = collector.spans(trace);
        (spans.len() >= count).then_some(spans)
    })
    .await
}

fn named<'a>(spans: &'a [Value], name: &str) -> &'a Value {
    let mut found = spans.iter().filter(|span| span["name"] == name);
    match (found.next(), found.next()) {
        (Some(span), None) => span,
        other => panic!("one span {name}, not {other:?} of {spans:#?}"),
    }
}

async fn rows(upstream: &Client, id: &str) -> Vec<ExecutionLogRecord> {
    let mut log = upstream.read::<ExecutionLogRecord>(Topic::ExecutionLog).await;
    let ended = |rows: &[&ExecutionLogRecord]| rows.iter().any(|row| row.status.is_some());
    let rows = log.until("its rows", |row| row.execution_id == id, ended).await;
    rows.into_iter().cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace_of_an_upstream_goes_through_the_topics_to_the_collector() {
    let (mut platform, collector) = traced_platform().await;
    let upstream = Client::of(&platform).await;
    let id = fresh("traced");
    let body = json!({"messages": [{"role": "user", "content": CANARY}]}).to_string();
    let request = upstream.frame(&ModelRequest::new(&id, "demo", &body));
    let header = ("traceparent".to_owned(), Bytes::from(format!("00-{TRACE}-{SPAN}-01")));
    upstream.write_with(Topic::Feed(Kind::Model), None, &id, request, vec![header]).await;

    let rows = rows(&upstream, &id).await;
    let spans = spans(&collector, TRACE, 4).await;
    let admit = named(&spans, "admit model-requests");
    let chat = named(&spans, "chat demo");
    assert_eq!(admit["parentSpanId"], SPAN);
    assert_eq!(chat["parentSpanId"], admit["spanId"]);
    assert_eq!(named(&spans, "scripted")["parentSpanId"], chat["spanId"]);
    assert_eq!(named(&spans, "publish results")["parentSpanId"], chat["spanId"]);
    assert_eq!(spans.len(), 4, "{spans:#?}");
    assert!(rows.iter().all(|row| row.trace_id.as_deref() == Some(TRACE)), "{rows:#?}");
    let end = rows.iter().find(|row| row.status.is_some()).unwrap();
    assert_eq!(Value::from(end.span_id.clone()), chat["spanId"]);

    let metrics = Api::of(&platform).get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("stepstream_spans_exported_total"), "{metrics}");
    platform.process().signal(Signal::Terminate);
    platform.process().ended(PATIENCE);
    for (place, text) in [
        ("spans", collector.text()),
        ("metrics", metrics),
        ("log", platform.process().log()),
        ("rows", format!("{rows:?}")),
    ] {
        assert!(!text.contains(CANARY), "{place}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_request_is_the_first_span_of_its_trace_and_the_last_leave_at_the_end() {
    let (mut platform, collector) = traced_platform().await;
    let api = Api::of(&platform);
    let chat = json!({"model": "demo", "messages": [{"role": "user", "content": "Ahoy"}]});
    let request = api.request(reqwest::Method::POST, "/v1/chat/completions");
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let answer = request.header("traceparent", parent).json(&chat).send().await.unwrap();
    assert!(answer.status().is_success());
    // Stopped at once: what was not sent yet is sent now.
    platform.process().signal(Signal::Terminate);
    let status = platform.process().ended(PATIENCE);
    assert!(status.success(), "{status}");
    let spans = spans(&collector, TRACE, 5).await;
    let server = named(&spans, "POST /v1/chat/completions");
    assert_eq!(server["parentSpanId"], SPAN);
    assert_eq!(named(&spans, "admit model-requests")["parentSpanId"], server["spanId"]);
    assert_eq!(spans.len(), 5, "{spans:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collector_that_is_away_holds_nothing_up() {
    // Nobody listens at the port of discarding (RFC 863) of this machine.
    let endpoint = ("STEPSTREAM_TELEMETRY__OTLP_ENDPOINT", "http://127.0.0.1:9");
    let mut platform = Platform::start_with(Stack::Embedded, &[endpoint]).await;
    let api = Api::of(&platform);
    let id = fresh("untraced");
    api.start(&id, "demo", "Ahoy").await;
    assert_eq!(api.ended(&id).await["status"], "succeeded");
    platform.process().signal(Signal::Terminate);
    let status = platform.process().ended(Duration::from_secs(30));
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_reach_the_execution_log_where_the_model_says_so() {
    let platform = Platform::shared(Stack::Embedded).await;
    let (api, upstream) = (Api::of(&platform), Client::of(&platform).await);
    let server = provider::start(json!([{ "reply": "it is blue" }])).await;
    let mut definition = provider::model(&server);
    for log_content in [true, false] {
        let (model, id) = (fresh("content"), fresh("content"));
        definition["log_content"] = log_content.into();
        api.put_model(&model, &definition).await;
        api.start(&id, &model, "what colour is it").await;
        let rows = rows(&upstream, &id).await;
        let input: Vec<_> = rows.iter().filter_map(|row| row.input_text.as_deref()).collect();
        let output: Vec<_> = rows.iter().filter_map(|row| row.output_text.as_deref()).collect();
        if log_content {
            assert_eq!((input, output), (vec!["user: what colour is it"], vec!["it is blue"]));
        } else {
            assert!(input.is_empty() && output.is_empty(), "{rows:#?}");
        }
    }
}
