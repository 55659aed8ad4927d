//! What providers do wrong: timeouts, errors, broken streams. Over real HTTP.

use std::time::Duration;

use domain::answer::{ErrorClass, Failure, ModelOutcome};
use domain::request::ModelRequest;
use domain::time::Millis;
use serde_json::{Value, json};
use stepstream_model::{ChunkSink, Delta};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;

use crate::support::{Heard, NOW, at, at_url, caller, chat, one, server, streaming, with};

/// A rule with a fault, and a short answer behind it.
fn faulty(kind: Value, more: Value) -> Value {
    let fault = with(json!({ "kind": kind }), more);
    json!([{ "reply": "one two three", "fault": fault }])
}

/// Faults that another try may heal, each with its code and class.
fn passing() -> Vec<(Value, &'static str, ErrorClass)> {
    vec![
        (
            json!({ "status": { "status": 429, "retry_after": "0" } }),
            "rate_limited",
            ErrorClass::RateLimited,
        ),
        (json!({ "status": { "status": 500 } }), "provider_error", ErrorClass::Provider),
        (json!({ "status": { "status": 503 } }), "overloaded", ErrorClass::Provider),
        (json!({ "status": { "status": 408 } }), "provider_timeout", ErrorClass::Timeout),
        (json!({ "hang": { "after_tokens": 0 } }), "first_token_timeout", ErrorClass::Timeout),
        (json!({ "hang": { "after_tokens": 2 } }), "between_tokens_timeout", ErrorClass::Timeout),
        (json!({ "drop": { "after_tokens": 0 } }), "connection_broke", ErrorClass::Network),
        (json!({ "drop": { "after_tokens": 2 } }), "connection_broke", ErrorClass::Network),
        (
            json!({ "malformed_sse": { "after_tokens": 1 } }),
            "malformed_answer",
            ErrorClass::Provider,
        ),
        (
            json!({ "error_event": { "after_tokens": 1, "code": "overloaded_error" } }),
            "overloaded",
            ErrorClass::Provider,
        ),
    ]
}

/// A definition that waits `patience_ms` for a provider that hangs, and long for all others, so that a
/// busy machine isn't taken for a broken provider.
fn patient(deployment: Value, kind: &Value, patience_ms: u64) -> Value {
    let hangs_after = kind["hang"]["after_tokens"].as_u64();
    let bound = |tokens| if hangs_after == Some(tokens) { patience_ms } else { 30_000 };
    with(
        one(deployment),
        json!({ "timeouts": { "first_token_ms": bound(0), "between_tokens_ms": bound(2) },
                "cooldown": { "for_ms": 0 } }),
    )
}

#[tokio::test]
async fn passing_fault_is_healed_by_another_try_with_the_same_idempotency_key() {
    for (kind, ..) in passing() {
        let server = server(faulty(kind.clone(), json!({ "first_tries": 1 }))).await;
        let caller = caller([("m", patient(at(&server), &kind, 2_000))]);
        let mut heard = Heard::default();
        let outcome = caller.call(&streaming("r-1", "hi"), None, &mut heard).await;
        let outcome = outcome.unwrap_or_else(|failure| panic!("{kind}: {failure:?}"));
        assert_eq!(outcome.tries, 2, "{kind}");
        assert_eq!(heard.tries, [1, 2], "{kind}");
        assert_eq!(heard.joined(domain::event::ChunkKind::Text, 0), "one two three", "{kind}");
        assert_eq!(server.seen().keys, ["r-1", "r-1"], "{kind}");
    }
}

#[tokio::test]
async fn lasting_fault_ends_the_call_after_the_allowed_tries() {
    for (kind, code, class) in passing() {
        let server = server(faulty(kind.clone(), json!({}))).await;
        let definition =
            with(patient(at(&server), &kind, 100), json!({ "retry": { "max_tries": 2 } }));
        let caller = caller([("m", definition)]);
        let mut heard = Heard::default();
        let result = caller.call(&streaming("r-1", "hi"), None, &mut heard).await;
        let failure = result.expect_err("it lasts");
        assert_eq!((failure.code.as_str(), failure.class), (code, class), "{kind}: {failure:?}");
        assert!(failure.retryable, "{kind}");
        assert_eq!(failure.source_name, "a", "{kind}");
        assert_eq!(heard.tries, [1, 2], "{kind}");
    }
}

#[tokio::test]
async fn hopeless_fault_is_tried_once() {
    for (status, class) in [
        (400, ErrorClass::Invalid),
        (401, ErrorClass::Authentication),
        (404, ErrorClass::NotFound),
        (413, ErrorClass::TooLarge),
    ] {
        let server = server(faulty(json!({ "status": { "status": status } }), json!({}))).await;
        let caller = caller([("m", one(at(&server)))]);
        let failure = caller.call(&chat("r", "hi"), None, &mut Heard::default()).await;
        let failure = failure.expect_err("an error");
        assert_eq!((failure.class, failure.http_status), (class, Some(status)));
        assert_eq!(server.seen().requests, 1, "{status}");
    }
}

#[tokio::test]
async fn whole_answer_that_is_broken_is_tried_again() {
    for kind in [
        json!({ "drop": {} }),
        json!({ "malformed_sse": {} }),
        json!({ "error_event": { "code": "server_error" } }),
        json!({ "verbatim": { "status": 200, "content_type": "application/json", "body": "[]" } }),
        json!({ "verbatim": { "status": 200, "content_type": "application/json", "body": "" } }),
        json!({ "verbatim": { "status": 302, "content_type": "text/html", "body": "" } }),
    ] {
        let server = server(faulty(kind.clone(), json!({ "first_tries": 1 }))).await;
        let caller = caller([("m", one(at(&server)))]);
        let outcome = caller.call(&chat("r", "hi"), None, &mut Heard::default()).await;
        // A redirect isn't followed, nor does it go away.
        if kind.to_string().contains("302") {
            assert_eq!(outcome.expect_err("a redirect").code, "unexpected_redirect");
            continue;
        }
        assert_eq!(outcome.unwrap_or_else(|f| panic!("{kind}: {f:?}")).tries, 2, "{kind}");
    }
}

#[tokio::test]
async fn call_ends_with_its_total_its_own_timeout_or_its_deadline() {
    let server = server(faulty(json!({ "hang": {} }), json!({}))).await;
    let short = json!({ "timeouts": { "total_ms": 100 } });
    let long = json!({ "timeouts": { "total_ms": 60_000 } });
    let request = |timeout_ms, deadline: Option<Millis>| ModelRequest {
        timeout_ms,
        deadline,
        ..chat("r", "hi")
    };
    for (definition, request, code) in [
        (&short, request(None, None), "total_timeout"),
        (&long, request(Some(100), None), "total_timeout"),
        (&long, request(None, Some(NOW.plus(100))), "deadline_exceeded"),
        (&long, request(Some(60_000), Some(NOW.plus(100))), "deadline_exceeded"),
        (&short, request(None, Some(NOW.plus(60_000))), "total_timeout"),
    ] {
        let caller = caller([("m", with(one(at(&server)), definition.clone()))]);
        let failure = caller.call(&request, None, &mut Heard::default()).await;
        let failure = failure.expect_err("it hangs");
        assert_eq!((failure.code.as_str(), failure.class), (code, ErrorClass::Timeout));
    }
    // Each gave its connection up.
    let seen = server.until(|seen| seen.open == 0).await;
    assert_eq!(seen.abandoned, seen.requests);
}

#[tokio::test]
async fn call_whose_deadline_has_passed_asks_nobody() {
    let server = server(json!([])).await;
    let caller = caller([("m", one(at(&server)))]);
    let request = ModelRequest { deadline: Some(NOW), ..chat("r", "hi") };
    let failure = caller.call(&request, None, &mut Heard::default()).await.expect_err("too late");
    assert_eq!(failure.code, "deadline_exceeded");
    assert_eq!(server.seen().requests, 0);
}

#[tokio::test]
async fn provider_that_is_not_there_is_a_network_failure() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let definition =
        with(one(at_url(&format!("http://{address}/v1"))), json!({ "retry": { "max_tries": 2 } }));
    let failure =
        caller([("m", definition)]).call(&chat("r", "hi"), None, &mut Heard::default()).await;
    let failure = failure.expect_err("nobody listens");
    assert_eq!((failure.code.as_str(), failure.class), ("connect_failed", ErrorClass::Network));
    assert!(!failure.message.contains(&address.to_string()), "{failure}");
}

/// A listener whose queue is full doesn't answer a new connection.
#[tokio::test]
async fn provider_that_does_not_accept_is_a_connect_timeout() {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let listener = socket.listen(1).expect("listens");
    let address = listener.local_addr().expect("bound");
    let mut fill = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        fill.push(stream);
    }
    let definition = with(
        one(at_url(&format!("http://{address}/v1"))),
        json!({ "retry": { "max_tries": 1 }, "timeouts": { "connect_ms": 100 } }),
    );
    let failure =
        caller([("m", definition)]).call(&chat("r", "hi"), None, &mut Heard::default()).await;
    let failure = failure.expect_err("nobody accepts");
    assert_eq!((failure.code.as_str(), failure.class), ("connect_timeout", ErrorClass::Timeout));
}

#[tokio::test]
async fn answer_above_the_bound_is_refused_streamed_or_not() {
    let server = server(json!([{ "reply": "word ".repeat(1_000) }])).await;
    let options = stepstream_model::Options {
        max_answer_bytes: 2_000,
        ..stepstream_model::Options::default()
    };
    let caller = crate::support::caller_with(options, [("m", one(at(&server)))]);
    for request in [chat("r", "hi"), streaming("r", "hi")] {
        let failure =
            caller.call(&request, None, &mut Heard::default()).await.expect_err("too large");
        assert_eq!(
            (failure.code.as_str(), failure.class),
            ("answer_too_large", ErrorClass::TooLarge)
        );
    }
}

/// Tells of the first delta.
struct First(mpsc::Sender<()>);

impl ChunkSink for First {
    fn try_begins(&mut self, _: i32) {}

    fn delta(&mut self, _: Delta) {
        let _ = self.0.try_send(());
    }
}

#[tokio::test]
async fn dropping_a_call_closes_the_connection_of_a_stream() {
    let server = server(faulty(json!({ "hang": { "after_tokens": 2 } }), json!({}))).await;
    let caller = caller([("m", one(at(&server)))]);
    let (sender, mut first) = mpsc::channel(1);
    let mut sink = First(sender);
    let request = streaming("r", "hi");
    tokio::select! {
        result = caller.call(&request, None, &mut sink) => panic!("it hangs: {result:?}"),
        _ = first.recv() => {}
    }
    let seen = server.until(|seen| seen.open == 0).await;
    assert_eq!((seen.requests, seen.abandoned), (1, 1));
}

#[tokio::test]
async fn dropping_a_call_closes_the_connection_of_a_whole_answer() {
    let server = server(faulty(json!({ "hang": {} }), json!({}))).await;
    let caller = caller([("m", one(at(&server)))]);
    let (request, mut heard) = (chat("r", "hi"), Heard::default());
    tokio::select! {
        result = caller.call(&request, None, &mut heard) => panic!("it hangs: {result:?}"),
        _ = server.until(|seen| seen.open == 1) => {}
    }
    let seen = server.until(|seen| seen.open == 0).await;
    assert_eq!((seen.requests, seen.abandoned), (1, 1));
}

#[tokio::test]
async fn bad_requests_are_refused_before_anyone_is_asked() {
    let server = server(json!([])).await;
    let definition = with(one(at(&server)), json!({ "capabilities": { "operations": ["chat"] } }));
    let caller = caller([("m", definition)]);
    let refused = async |request: ModelRequest| -> Result<ModelOutcome, Failure> {
        caller.call(&request, None, &mut Heard::default()).await
    };
    for (request, code, class) in [
        (ModelRequest::new("r", "m", "[1]"), "invalid_body", ErrorClass::Invalid),
        (ModelRequest::new("r", "m", "{"), "invalid_body", ErrorClass::Invalid),
        (ModelRequest::new("r", "other", "{}"), "unknown_model", ErrorClass::NotFound),
        (
            ModelRequest { timeout_ms: Some(0), ..chat("r", "hi") },
            "invalid_timeout",
            ErrorClass::Invalid,
        ),
        (
            ModelRequest { operation: domain::request::Operation::Rerank, ..chat("r", "hi") },
            "operation_not_offered",
            ErrorClass::Invalid,
        ),
        (
            ModelRequest { tenant: "other".into(), ..chat("r", "hi") },
            "unknown_model",
            ErrorClass::NotFound,
        ),
    ] {
        let failure = refused(request).await.expect_err(code);
        assert_eq!((failure.code.as_str(), failure.class), (code, class));
    }
    assert_eq!(server.seen().requests, 0);
}
