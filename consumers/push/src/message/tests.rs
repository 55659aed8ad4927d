//! What is read of a client's message, and what is said of a bad one.

use proptest::prelude::*;

use super::*;

fn subscribed(text: &str) -> (Target, After) {
    match read(text).unwrap() {
        Said::Subscribe { target, after, .. } => (target, after),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_message_is_read() {
    let said = read(r#"{"type":"authenticate","key":"k","client":"tab-1"}"#).unwrap();
    let credential = Credential::Key("k".into());
    assert_eq!(said, Said::Authenticate { credential, client: Some("tab-1".into()) });
    let said = read(r#"{"type":"authenticate","ticket":"t"}"#).unwrap();
    let credential = Credential::Ticket("t".into());
    assert_eq!(said, Said::Authenticate { credential, client: None });
    let whole = (Target::Execution("e".into()), After::Start);
    assert_eq!(subscribed(r#"{"type":"subscribe","id":"1","execution":"e"}"#), whole);
    let text = r#"{"type":"subscribe","id":"1","session":"s","after":
        {"generation":1,"number":2,"output":{"fence":3,"try":4,"index":5}}}"#;
    let place = TextPlace { of: Try { fence: 3, attempt: 4 }, index: 5 };
    let event = Position { generation: 1, number: 2 };
    let after = After::Place { event, text: Some(place) };
    assert_eq!(subscribed(text), (Target::Session("s".into()), after));
    let text = r#"{"type":"subscribe","id":"1","filter":
        {"kind":"model","status":"failed","type":"execution.failed"}}"#;
    let filter = EventFilter {
        kind: Some(Kind::Model),
        status: Some(Status::Failed),
        event_type: Some(EventType::Failed),
    };
    assert_eq!(subscribed(text), (Target::Filter(filter), After::Now));
    assert_eq!(read(r#"{"type":"ping"}"#), Ok(Said::Ping { id: None }));
    let gone = Said::Unsubscribe { id: "1".into() };
    assert_eq!(read(r#"{"type":"unsubscribe","id":"1"}"#), Ok(gone));
}

#[test]
fn bad_message_is_refused_with_its_place() {
    for (text, said) in [
        ("", "is not JSON: line 1"),
        ("[]", "is not a JSON object"),
        ("{}", "`type` is missing"),
        (r#"{"type":"go"}"#, "`type` must be one of"),
        (r#"{"type":"authenticate"}"#, "`key` or `ticket`"),
        (r#"{"type":"authenticate","key":"a","ticket":"b"}"#, "`key` or `ticket`"),
        (r#"{"type":"subscribe","execution":"e"}"#, "`id` is missing"),
        (r#"{"type":"subscribe","id":"1"}"#, "`execution` or `session`"),
        (r#"{"type":"subscribe","id":"1","execution":""}"#, "`execution` is empty"),
        (r#"{"type":"subscribe","id":"1","execution":7}"#, "`execution` must be text"),
        (r#"{"type":"subscribe","id":"1","execution":"e","after":"then"}"#, "`after` must be"),
        (
            r#"{"type":"subscribe","id":"1","execution":"e","after":{"generation":0,"number":-1}}"#,
            "`after.number` must be a whole number",
        ),
        (r#"{"type":"subscribe","id":"1","filter":{"kind":"x"}}"#, "`filter.kind` must be one of"),
        (r#"{"type":"subscribe","id":"1","filter":{"tenant":"x"}}"#, "`filter.tenant` is not a"),
        (r#"{"type":"ping","x":1}"#, "`x` is not a field"),
    ] {
        let refused = read(text).unwrap_err();
        assert!(refused.message.starts_with(said), "{text}: {}", refused.message);
    }
    let refused = read(r#"{"type":"subscribe","id":"mine"}"#).unwrap_err();
    assert_eq!(refused.subscription.as_deref(), Some("mine"));
}

#[test]
fn credential_is_never_shown() {
    let said = read(r#"{"type":"authenticate","key":"canary"}"#).unwrap();
    assert!(!format!("{said:?}").contains("canary"));
    for text in [
        r#"{"type":"authenticate","key":"canary","x":1}"#,
        r#"{"type":"authenticate","key":"canary""#,
    ] {
        assert!(!read(text).unwrap_err().message.contains("canary"));
    }
}

#[test]
fn event_is_wrapped_as_json() {
    let text = write::event(&write::quoted("a\"b"), r#"{"x":1}"#);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value, json!({"type": "event", "subscription": "a\"b", "event": {"x": 1}}));
}

proptest! {
    #[test]
    fn no_text_is_too_strange_to_be_refused(text in "\\PC{0,200}") {
        let _ = read(&text);
    }
}
