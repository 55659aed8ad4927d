//! Metrics and logs of calls: what is counted, and that neither holds an id, a key or a prompt.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;

use crate::support::{CANARY_KEY, Heard, at, caller, chat, one, scripted, server, streaming, with};

const PROMPT: &str = "the canary sings at midnight";
const ID: &str = "request-id-that-is-no-label";

/// Two calls at a server that echoes into an error, then answers with the prompt.
async fn calls() {
    let echo = json!({ "error": { "message": "{{authorization}} {{prompt}}", "code": "x" } });
    let kind = json!({ "status": { "status": 500, "body": echo.to_string() } });
    let rules = json!([{ "reply": "{{prompt}}", "fault": { "kind": kind, "first_tries": 1 } }]);
    let server = server(rules).await;
    let deployment = with(
        at(&server),
        json!({ "key": { "env": "CANARY_API_KEY" },
                "price": { "currency": "EUR", "input": 1_000_000, "output": 1_000_000 } }),
    );
    let definition = with(one(deployment), json!({ "cooldown": { "failures": 1, "for_ms": 1 } }));
    let caller = caller([("m", definition)]);
    for request in [streaming(ID, PROMPT), chat(ID, PROMPT)] {
        caller.call(&request, None, &mut Heard::default()).await.expect("an answer");
    }
    let unknown = domain::request::ModelRequest::new(ID, "no-such-model", "{}");
    caller.call(&unknown, None, &mut Heard::default()).await.expect_err("unknown");
}

fn run() {
    Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(calls());
}

#[test]
fn metrics_count_calls_tokens_cost_and_failed_tries_and_hold_no_id() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let shown = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        stepstream_model::metrics::describe();
        run();
    });
    let shown = shown.render();
    let labels = r#"gen_ai_provider_name="openai-compatible",gen_ai_request_model="m""#;
    for line in [
        format!(r#"gen_ai_client_operation_duration_seconds_count{{{labels},gen_ai_operation_name="chat",error_type=""}} 2"#),
        r#"gen_ai_client_operation_duration_seconds_count{gen_ai_provider_name="none",gen_ai_request_model="unknown",gen_ai_operation_name="chat",error_type="not_found"} 1"#.to_owned(),
        format!(r#"gen_ai_client_operation_time_to_first_chunk_seconds_count{{{labels},gen_ai_operation_name="chat"}} 1"#),
        format!(r#"gen_ai_client_token_usage_sum{{{labels},gen_ai_operation_name="chat",gen_ai_token_type="input"}} 10"#),
        format!(r#"gen_ai_client_token_usage_sum{{{labels},gen_ai_operation_name="chat",gen_ai_token_type="output"}} 10"#),
        format!(r#"stepstream_model_cost_micros_total{{{labels},gen_ai_operation_name="chat",currency="EUR"}} 20"#),
        format!(r#"stepstream_model_failed_tries_total{{{labels},error_type="provider"}} 1"#),
        format!(r#"stepstream_model_cooldowns_total{{{labels}}} 1"#),
        "stepstream_model_calls_in_flight 0".to_owned(),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "no {line} in\n{shown}");
    }
    for secret in [CANARY_KEY, PROMPT, "canary", ID, "no-such-model"] {
        assert!(!shown.contains(secret), "{secret} in\n{shown}");
    }
}

#[test]
fn calls_that_wait_are_counted_for_as_long_as_they_do() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let shown = recorder.handle();
    let rules = json!([{ "reply": "fine", "latency_ms": 100 }]);
    let narrow = with(scripted("a", rules), json!({ "concurrency": 1 }));
    let caller = caller([("m", one(narrow))]);
    let requests = ["1", "2", "3"].map(|id| chat(id, "hi"));
    let mut heard: [Heard; 3] = Default::default();
    let [a, b, c] = &mut heard;
    let seen = async {
        let mut seen = Vec::new();
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(60)).await;
            seen.push(shown.render());
        }
        seen
    };
    let seen = metrics::with_local_recorder(&recorder, || {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            // The last one gives up while it waits.
            let hurried = Duration::from_millis(150);
            let (_, _, last, seen) = tokio::join!(
                caller.call(&requests[0], None, a),
                caller.call(&requests[1], None, b),
                tokio::time::timeout(hurried, caller.call(&requests[2], None, c)),
                seen,
            );
            assert!(last.is_err(), "it had no time for its turn");
            seen
        })
    });
    let labels = r#"gen_ai_provider_name="scripted",gen_ai_request_model="m",deployment="a""#;
    for (shown, waiting) in seen.iter().zip([2, 1, 0, 0]) {
        let line = format!("stepstream_model_calls_waiting{{{labels}}} {waiting}");
        assert!(shown.lines().any(|shown| shown == line), "no {line} in\n{shown}");
    }
}

/// Where log lines go.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn logs_tell_of_a_failed_try_without_key_or_prompt() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("debug,stepstream_model=trace"))
        .with_writer(move || writer.clone())
        .finish();
    // For the whole process: what the tests beside this one log must be clean as well.
    tracing::subscriber::set_global_default(subscriber).expect("the only one");
    run();
    let lines = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("text");
    assert!(lines.contains("try failed") && lines.contains(ID), "{lines}");
    assert!(lines.contains("deployment cools down"), "{lines}");
    for secret in [CANARY_KEY, PROMPT, "sings at"] {
        assert!(!lines.contains(secret), "{secret} in\n{lines}");
    }
}
