//! Requests as data, and arbitrary bodies: an error names a place and quotes nothing.

use domain::request::{Origin, OriginKind};
use domain::time::Millis;
use proptest::prelude::*;

use domain::answer::{ErrorClass, Failure};

use super::*;

fn chat(body: &str) -> ModelRequest {
    ModelRequest::new("call-1", "fast", body)
}

const GOOD: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;

fn said(request: &ModelRequest) -> String {
    check(request).err().map(|invalid| invalid.to_string()).unwrap_or_default()
}

#[test]
fn good_request_of_each_operation_is_taken() {
    for (operation, body) in [
        (Operation::Chat, GOOD),
        (
            Operation::Chat,
            " {\"messages\" : [ {\"role\":\"assistant\",\"content\":null,\"tool_calls\":[]} ], \"vendor\": {}}\n",
        ),
        (Operation::Chat, r#"{"messages":"x","messages":[{"role":"user"}]}"#),
        (Operation::TextCompletion, r#"{"prompt":"once"}"#),
        (Operation::TextCompletion, r#"{"prompt":[1,2,3]}"#),
        (Operation::Embeddings, r#"{"input":["a","b"]}"#),
        (Operation::Embeddings, r#"{"input":"a","encoding_format":"base64"}"#),
        (Operation::Rerank, r#"{"query":"q","documents":["a",{"text":"b"}],"top_n":1}"#),
        (Operation::Rerank, r#"{"query":{"text":"q"},"documents":["a"]}"#),
    ] {
        assert_eq!(said(&ModelRequest { operation, ..chat(body) }), "", "{body}");
    }
    for media_type in ["application/json", "Application/JSON; charset=utf-8"] {
        let request = ModelRequest { body_media_type: media_type.into(), ..chat(GOOD) };
        assert_eq!(said(&request), "", "{media_type}");
    }
}

#[test]
fn error_names_the_place_in_the_body() {
    let missing = "body.messages is missing";
    for (operation, body, expected) in [
        (Operation::Chat, "{}", missing),
        (Operation::Chat, r#"{"messages":null}"#, missing),
        (Operation::Chat, r#"{"messages":[]}"#, "body.messages is empty"),
        (Operation::Chat, r#"{"messages":"hi"}"#, "body.messages is not a list"),
        (
            Operation::Chat,
            r#"{"messages":[{"role":"user"},"hi"]}"#,
            "body.messages[1] is not a JSON object",
        ),
        (Operation::Chat, r#"{"messages":[{"content":"hi"}]}"#, "body.messages[0].role is missing"),
        (Operation::Chat, r#"{"messages":[{"role":7}]}"#, "body.messages[0].role is not a text"),
        (Operation::Chat, "", "body is empty, and there is no body_claim"),
        (Operation::Chat, "[]", "body is not a JSON object"),
        (Operation::Chat, "\"secret\"", "body is not a JSON object"),
        (Operation::Chat, "{\"messages\":\n[}", "body is not JSON: see line 2 column 2"),
        (Operation::Chat, "{} x", "body is not JSON: see line 1 column 4"),
        (Operation::TextCompletion, GOOD, "body.prompt is missing"),
        (
            Operation::TextCompletion,
            r#"{"prompt":7}"#,
            "body.prompt is not a text or a list with something in it",
        ),
        (Operation::Embeddings, GOOD, "body.input is missing"),
        (
            Operation::Embeddings,
            r#"{"input":[ ]}"#,
            "body.input is not a text or a list with something in it",
        ),
        (
            Operation::Embeddings,
            r#"{"input":""}"#,
            "body.input is not a text or a list with something in it",
        ),
        (Operation::Rerank, r#"{"documents":["a"]}"#, "body.query is missing"),
        (
            Operation::Rerank,
            r#"{"query":[],"documents":["a"]}"#,
            "body.query is neither a text nor an object",
        ),
        (Operation::Rerank, r#"{"query":"q"}"#, "body.documents is missing"),
        (Operation::Rerank, r#"{"query":"q","documents":[]}"#, "body.documents is empty"),
    ] {
        assert_eq!(said(&ModelRequest { operation, ..chat(body) }), expected, "{body}");
    }
}

#[test]
fn error_names_the_place_beside_the_body() {
    let good = || chat(GOOD);
    let origin = |id: &str| {
        Some(Origin { kind: OriginKind::Workflow, id: id.into(), step: "s".into(), attempt: 1 })
    };
    for (request, expected) in [
        (ModelRequest { id: String::new(), ..good() }, "id is empty"),
        (ModelRequest { id: "a\u{1f}b".into(), ..good() }, "id has a control character"),
        (ModelRequest { tenant: "x".repeat(257), ..good() }, "tenant is longer than 256 bytes"),
        (ModelRequest { model: String::new(), ..good() }, "model is empty"),
        (ModelRequest { origin: origin(""), ..good() }, "origin.id is empty"),
        (ModelRequest { origin: origin("w"), ..good() }, ""),
        (
            ModelRequest { body_media_type: "text/plain".into(), ..good() },
            "body_media_type is not application/json",
        ),
        (
            ModelRequest { timeout_ms: Some(0), ..good() },
            "timeout_ms is not between 1 and 86400000",
        ),
        (
            ModelRequest { timeout_ms: Some(i64::MAX), ..good() },
            "timeout_ms is not between 1 and 86400000",
        ),
        (ModelRequest { deadline: Some(Millis(-1)), ..good() }, "deadline is before 1970"),
        (
            ModelRequest { not_before: Some(Millis(7)), deadline: Some(Millis(7)), ..good() },
            "not_before is not before the deadline",
        ),
        // A deadline that has passed is a fact about time, not about the request.
        (ModelRequest { deadline: Some(Millis(1)), ..good() }, ""),
    ] {
        assert_eq!(said(&request), expected);
    }
}

#[test]
fn depth_is_bounded_and_counted_outside_of_texts() {
    let nested = |levels: usize| {
        let inner = levels - 1;
        format!(
            "{{\"messages\":[{{\"role\":\"user\"}}],\"x\":{}{}}}",
            "[".repeat(inner),
            "]".repeat(inner)
        )
    };
    assert_eq!(said(&chat(&nested(MAX_DEPTH))), "");
    assert_eq!(said(&chat(&nested(MAX_DEPTH + 1))), "body nests deeper than 64 levels");
    assert_eq!(said(&chat(&nested(1_000_000))), "body nests deeper than 64 levels");
    let text =
        format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"\\\"{}\"}}]}}", "[".repeat(200));
    assert_eq!(said(&chat(&text)), "");
}

#[test]
fn refusal_is_not_worth_another_try() {
    let failure: Failure = check(&chat("{}")).expect_err("a chat without messages").into();
    assert_eq!(failure.class, ErrorClass::Invalid);
    assert!(!failure.retryable);
    assert_eq!(failure.source_name, "admission");
}

proptest! {
    #[test]
    fn any_body_is_judged_without_a_panic_and_without_a_quote(
        body in r#"[\{\}\[\]":, \\a-zé0-9\n]{0,60}(CANARY)?[\{\}\[\]":,\\]{0,8}"#,
        operation in prop_oneof![
            Just(Operation::Chat), Just(Operation::TextCompletion),
            Just(Operation::Embeddings), Just(Operation::Rerank),
        ],
    ) {
        let said = said(&ModelRequest { operation, ..chat(&body) });
        prop_assert!(!said.contains("CANARY"), "{said}");
    }

    #[test]
    fn body_that_is_taken_is_json(body in r#"\{"messages":\[\{"role":"user"[\}\]:,"a-z\[\{]{0,12}"#) {
        if check(&chat(&body)).is_ok() {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok(), "{body}");
        }
    }
}

#[test]
fn body_is_in_the_record_or_claimed_and_never_both() {
    let claim = |hash: &str| ClaimCheck {
        hash: format!("sha256:{hash}"),
        length: 300_000,
        media_type: JSON.into(),
    };
    let good = claim(&"0a".repeat(32));
    for (body, claim, expected) in [
        ("", Some(good.clone()), ""),
        (GOOD, Some(good.clone()), "body has to be empty beside a body_claim"),
        ("", None, "body is empty, and there is no body_claim"),
        (
            "",
            Some(claim("0a")),
            "body_claim can't be one: hash is not `sha256:` and 64 lower-case hex digits",
        ),
        (
            "",
            Some(ClaimCheck { length: 0, ..good.clone() }),
            "body_claim can't be one: length is not between 1 and 33554432",
        ),
        (
            "",
            Some(ClaimCheck { media_type: "text/plain".into(), ..good }),
            "body_claim.media_type is not application/json",
        ),
    ] {
        assert_eq!(said(&ModelRequest { body_claim: claim, ..chat(body) }), expected, "{body}");
    }
}
