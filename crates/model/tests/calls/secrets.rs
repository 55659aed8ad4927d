//! Keys and prompts stay where they belong, whatever a provider echoes.

use std::fs;

use domain::answer::Failure;
use domain::request::ModelRequest;
use serde_json::{Value, json};

use crate::support::{
    CANARY_KEY, Heard, at, caller, caller_with, chat, keys_in, one, scripted, server, streaming,
    with,
};

const CANARY_PROMPT: &str = "the canary sings at midnight";

fn assert_clean(failure: &Failure) {
    let shown = format!("{failure} {failure:?}");
    for canary in [CANARY_KEY, "5f1e0c77", CANARY_PROMPT, "sings at"] {
        assert!(!shown.contains(canary), "{canary} in {shown}");
    }
}

/// Servers that echo what they were sent into each kind of error.
fn echoes() -> Vec<Value> {
    let echo = "got {{authorization}} with '{{prompt}}'";
    let error = json!({ "error": { "message": echo, "type": echo, "code": echo } }).to_string();
    let statuses = [400, 401, 403, 404, 413, 429, 500, 503];
    let bodies = [error, echo.to_owned(), json!({ "message": echo, "code": "x" }).to_string()];
    let each = statuses.iter().flat_map(|status| bodies.iter().map(move |body| (status, body)));
    each.map(|(status, body)| json!({ "status": { "status": status, "body": body } })).collect()
}

#[tokio::test]
async fn echoed_keys_and_prompts_are_not_in_failures() {
    for kind in echoes() {
        let rules = json!([{ "fault": { "kind": kind } }]);
        let server = server(rules.clone()).await;
        let key = json!({ "key": { "env": "CANARY_API_KEY" } });
        let once = json!({ "retry": { "max_tries": 1 } });
        for deployment in [at(&server), scripted("a", rules)] {
            let caller = caller([("m", with(one(with(deployment, key.clone())), once.clone()))]);
            for request in [chat("r", CANARY_PROMPT), streaming("r", CANARY_PROMPT)] {
                let failure = caller.call(&request, None, &mut Heard::default()).await;
                let failure = failure.expect_err("an error");
                assert_clean(&failure);
                assert!(failure.message.contains("[redacted]"), "{kind}: the echo came: {failure}");
            }
        }
    }
}

#[tokio::test]
async fn key_is_sent_as_a_bearer_token() {
    let kind = json!({ "status": { "status": 200, "body": "{\"choices\":[],\"echo\":\"{{authorization}}\"}" } });
    let server = server(json!([{ "fault": { "kind": kind } }])).await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("key");
    fs::write(&path, " sk-from-a-file\n").expect("written");
    let from_file = json!({ "key": { "file": path } });
    let from_env = json!({ "key": { "env": "CANARY_API_KEY" } });
    for (caller, bearer) in [
        (caller([("m", one(with(at(&server), from_env)))]), CANARY_KEY),
        (
            caller_with(keys_in(directory.path()), [("m", one(with(at(&server), from_file)))]),
            "sk-from-a-file",
        ),
        (caller([("m", one(at(&server)))]), ""),
    ] {
        let outcome = caller.call(&chat("r", "hi"), None, &mut Heard::default()).await;
        let body: Value = serde_json::from_str(&outcome.expect("an answer").body).expect("JSON");
        let expected = if bearer.is_empty() { String::new() } else { format!("Bearer {bearer}") };
        assert_eq!(body["echo"], expected);
    }
}

#[tokio::test]
async fn key_from_elsewhere_is_refused_and_nobody_is_asked() {
    let server = server(json!([])).await;
    let allowed = tempfile::tempdir().expect("a directory");
    let outside = tempfile::tempdir().expect("a directory");
    let secret = outside.path().join("secret");
    fs::write(&secret, "sk-outside").expect("written");
    let link = allowed.path().join("link");
    std::os::unix::fs::symlink(&secret, &link).expect("linked");
    let empty = allowed.path().join("empty");
    fs::write(&empty, "\n").expect("written");
    let large = allowed.path().join("large");
    fs::write(&large, "x".repeat(20_000)).expect("written");
    let odd = allowed.path().join("odd");
    fs::write(&odd, "two\nlines").expect("written");
    let around = format!(
        "{}/../{}/secret",
        allowed.path().display(),
        outside.path().file_name().and_then(|name| name.to_str()).expect("a name")
    );
    for (key, code) in [
        (json!({ "env": "HOME" }), "key_not_allowed"),
        (json!({ "env": "OTHER_API_KEY" }), "key_not_allowed"),
        (json!({ "file": secret }), "key_not_allowed"),
        (json!({ "file": link }), "key_not_allowed"),
        (json!({ "file": around }), "key_not_allowed"),
        (json!({ "file": "/does/not/exist" }), "key_missing"),
        (json!({ "file": empty }), "key_missing"),
        (json!({ "file": large }), "key_missing"),
        (json!({ "file": odd }), "key_missing"),
    ] {
        let definition = one(with(at(&server), json!({ "key": key })));
        let caller = caller_with(keys_in(allowed.path()), [("m", definition)]);
        let failure = caller.call(&chat("r", "hi"), None, &mut Heard::default()).await;
        let failure = failure.expect_err("no key");
        assert_eq!(failure.code, code, "{key}: {failure}");
        assert!(!failure.message.contains("sk-outside"), "{failure}");
    }
    assert_eq!(server.seen().requests, 0);
    let missing = one(with(at(&server), json!({ "key": { "env": "OTHER_API_KEY" } })));
    let failure =
        caller([("m", missing)]).call(&chat("r", "hi"), None, &mut Heard::default()).await;
    assert_eq!(failure.expect_err("not set").code, "key_missing");
}

#[tokio::test]
async fn malformed_request_is_not_quoted() {
    let server = server(json!([])).await;
    let caller = caller([("m", one(at(&server)))]);
    for body in [
        CANARY_PROMPT.to_owned(),
        format!("{{\"{CANARY_PROMPT}\":}}"),
        format!("\"{CANARY_PROMPT}\""),
    ] {
        let request = ModelRequest::new("r", "m", body);
        let failure =
            caller.call(&request, None, &mut Heard::default()).await.expect_err("malformed");
        assert_clean(&failure);
    }
}
