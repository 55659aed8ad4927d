//! The requests of `http-request`: credentials, bodies, limits.

use serde_json::{Value, json};

use super::{Imported, Outcome, evaluated, fixtures, imported, made, told};

/// The app that fetches, with other settings of its request, and what the request is.
#[track_caller]
fn request(settings: Value) -> (Imported, Value) {
    let mut source = fixtures::fetch();
    let data = &mut source["workflow"]["graph"]["nodes"][1]["data"];
    for (name, value) in settings.as_object().expect("settings") {
        data[name] = value.clone();
    }
    let (imported, _) = imported(&source);
    let context = json!({"inputs": {"customer": "c-1"}, "execution": {"id": "e"}, "variables": {"token": ""}});
    let node = made(&imported.definition, "fetch_customer").clone();
    assert_eq!(node["kind"], "function", "{:#?}", imported.report);
    let arguments = evaluated(&node["arguments"], &context);
    (imported, json!({"name": node["name"], "arguments": arguments}))
}

#[test]
fn key_is_sent_by_whoever_may_know_it() {
    let own = "http-request-fetch-customer";
    for (config, name, header) in [
        (
            json!({"type": "bearer", "api_key": "{{#100.customer#}}"}),
            "http-request",
            json!({"Authorization": "Bearer c-1"}),
        ),
        (
            json!({"type": "custom", "header": "X-Key", "api_key": "{{#100.customer#}}"}),
            "http-request",
            json!({"X-Key": "c-1"}),
        ),
        (json!({"type": "custom", "header": "X-Key", "api_key": "k3y"}), own, Value::Null),
        (json!({"type": "basic", "api_key": "{{#100.customer#}}:x"}), own, Value::Null),
        (
            json!({"type": "bearer", "api_key": "{{#100.customer#}}{{#env.token#}}"}),
            own,
            Value::Null,
        ),
        (json!({"type": "bearer", "api_key": ""}), own, Value::Null),
    ] {
        let authorization = json!({"type": "api-key", "config": config});
        let (imported, made) = request(json!({"authorization": authorization, "headers": ""}));
        assert_eq!(made["name"], name, "{config}");
        assert_eq!(made["arguments"]["headers"], header, "{config}");
        assert!(!imported.definition.to_string().contains("k3y"));
        let told = told(&imported.report, Outcome::NotConverted);
        assert_eq!(told.contains("the key is not copied"), name == own, "{told}");
    }
}

#[test]
fn secret_in_a_request_is_empty_and_told_of() {
    let (imported, made) = request(json!({"url": "https://x.example/?key={{#env.token#}}"}));
    assert_eq!(made["arguments"]["url"], "https://x.example/?key=");
    let told = told(&imported.report, Outcome::NotConverted);
    assert!(told.contains("/data/url token: uses the secret \"token\""), "{told}");
}

#[test]
fn bodies_keep_their_form() {
    let item =
        |key: &str, value: &str| json!({"id": "i", "key": key, "type": "text", "value": value});
    for (body, wanted) in [
        (json!({"type": "none", "data": []}), Value::Null),
        (
            json!({"type": "raw-text", "data": "to {{#100.customer#}}"}),
            json!({"type": "raw-text", "text": "to c-1"}),
        ),
        (
            json!({"type": "raw-text", "data": [item("", "to {{#100.customer#}}")]}),
            json!({"type": "raw-text", "text": "to c-1"}),
        ),
        (
            json!({"type": "form-data", "data": [item("a", "{{#100.customer#}}"), item("", "")]}),
            json!({"type": "form-data", "fields": [{"name": "a", "value": "c-1"}]}),
        ),
        (
            json!({"type": "x-www-form-urlencoded", "data": "a:1\nb:{{#100.customer#}}"}),
            json!({"type": "x-www-form-urlencoded",
                "fields": [{"name": "a", "value": "1"}, {"name": "b", "value": "c-1"}]}),
        ),
    ] {
        let (_, made) = request(json!({"body": body}));
        assert_eq!(made["arguments"]["body"], wanted, "{body}");
    }
}

#[test]
fn files_and_names_that_are_not_fixed_are_told_of() {
    let (imported, made) = request(json!({
        "headers": "{{#100.customer#}}: x\nA: 1",
        "body": {"type": "form-data", "data": [{"key": "doc", "type": "file", "file": ["100", "f"]}]},
        "ssl_verify": false,
    }));
    assert_eq!(made["arguments"]["headers"], json!({"A": "1"}));
    assert_eq!(made["arguments"]["verify_tls"], false);
    let told = told(&imported.report, Outcome::NotConverted);
    assert!(told.contains("has no fixed name"), "{told}");
    assert!(told.contains("the file \"doc\" is not sent"), "{told}");
}
