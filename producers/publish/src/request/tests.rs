//! Rows into requests: the same bytes as the platform's own codec, and what is said of what is wrong.

use std::collections::BTreeMap;

use domain::request::{JSON, ModelRequest, Operation, Origin, OriginKind};
use domain::time::Millis;
use proptest::option;
use proptest::prelude::*;
use schemas::Record as _;
use serde_json::json;

use super::*;
use crate::input::{Format, rows};

fn template(otherwise: &[(&str, &str)]) -> Template {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Template::new(Kind::Model, otherwise.iter().map(owned).collect()).unwrap()
}

fn from(template: &Template, text: &str, format: Format) -> Result<Request, Problem> {
    let bytes = std::io::Cursor::new(text.as_bytes().to_vec());
    let mut rows = rows(Box::new(bytes), Some(format), template).expect("a header that fits");
    template.read(rows.next().expect("a row").expect("a row that can be read"))
}

fn decoded(request: &Request) -> ModelRequest {
    let outgoing = request.outgoing(&Ids::for_tests()).unwrap();
    Ids::for_tests().read(&outgoing.value).unwrap()
}

fn minimal() -> Value {
    json!({"model": "demo", "body": {"messages": [{"role": "user", "content": "hi"}]}})
}

fn with(field: &str, value: Value) -> String {
    let mut request = minimal();
    request[field] = value;
    request.to_string()
}

#[test]
fn schema_of_every_request_can_be_read() {
    assert!(kinds().contains(&Kind::Model));
    for kind in kinds() {
        let declared = declared(kind).unwrap();
        Shape::parse(declared.schema).unwrap_or_else(|error| panic!("{}: {error}", declared.name));
        let shape = Shape::parse(declared.schema).unwrap();
        assert!(shape.field(key_field(kind)).is_some(), "{}", declared.name);
    }
}

#[test]
fn kind_without_a_record_is_refused() {
    for kind in Kind::ALL.into_iter().filter(|kind| !kinds().contains(kind)) {
        assert_eq!(Template::new(kind, Vec::new()).err(), Some(TemplateError::NoSuchRequest(kind)));
    }
}

#[test]
fn what_is_left_out_has_its_default_and_an_id_is_made() {
    let text = r#"{"model":"demo","body":{"messages":[{"role":"user"}], "x": 1.50}}"#;
    let request = from(&template(&[]), text, Format::Lines).unwrap();
    let body = r#"{"messages":[{"role":"user"}], "x": 1.50}"#;
    assert_eq!(decoded(&request), ModelRequest::new(&request.id, "demo", body));
    assert_eq!(Uuid::parse_str(&request.id).unwrap().get_version_num(), 7);
    let other = from(&template(&[]), text, Format::Lines).unwrap();
    assert_ne!(request.id, other.id);
}

#[test]
fn record_is_keyed_and_marked_as_upstreams_do() {
    let request = from(&template(&[]), &with("id", json!("r-1")), Format::Lines).unwrap();
    let outgoing = request.outgoing(&Ids::for_tests()).unwrap();
    assert_eq!(outgoing.topic, Topic::Feed(Kind::Model));
    assert_eq!((outgoing.partition, outgoing.key.as_deref()), (None, Some(&b"r-1"[..])));
    let header = |name: &str| runtime::ports::header(&outgoing.headers, name);
    assert_eq!(header("ce_id"), Some("r-1"));
    assert_eq!(header("ce_type"), Some("io.stepstream.v1.ModelRequest"));
    assert_eq!(header("ce_tenant"), Some("default"));
    assert!(matches!(request.outgoing(&Ids::new()), Err(FrameError::NotRegistered(_))));
}

#[test]
fn options_fill_in_what_a_row_leaves_out() {
    let template = template(&[
        ("model", "other"),
        ("tenant", "acme"),
        ("labels.team", "search"),
        ("labels.run", "1"),
        ("stream", "true"),
    ]);
    let text = with("labels", json!({"team": "ads"}));
    let request = decoded(&from(&template, &text, Format::Lines).unwrap());
    assert_eq!((request.model.as_str(), request.tenant.as_str()), ("demo", "acme"));
    let labels = [("run", "1"), ("team", "ads")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(request.labels, BTreeMap::from(labels));
    assert!(request.stream);
}

#[test]
fn option_that_does_not_fit_is_refused_by_name() {
    let refused = |name: &str, value: &str| {
        let error = Template::new(Kind::Model, vec![(name.into(), value.into())]).unwrap_err();
        let problem = std::error::Error::source(&error).unwrap().to_string();
        format!("{error}: {problem}")
    };
    assert_eq!(
        refused("stream", "perhaps"),
        "the option for stream: stream is neither true nor false"
    );
    assert!(refused("modell", "x").contains("modell is not a field"));
    let twice = vec![("model".to_owned(), "a".to_owned()); 2];
    assert!(Template::new(Kind::Model, twice).is_err());
}

#[test]
fn table_has_maps_records_and_times() {
    let text = "id,model,body,labels.a,labels.b,origin.kind,origin.id,deadline,operation,priority\n\
        r,demo,\"{\"\"input\"\":\"\"x\"\"}\",1,,workflow,w,2025-06-15T15:06:40Z,embeddings,-3\n";
    let request = decoded(&from(&template(&[]), text, Format::Table).unwrap());
    assert_eq!(request.labels, BTreeMap::from([("a".to_owned(), "1".to_owned())]));
    let origin =
        Origin { kind: OriginKind::Workflow, id: "w".into(), step: String::new(), attempt: 1 };
    assert_eq!(request.origin, Some(origin));
    assert_eq!(request.deadline, Some(Millis(1_750_000_000_000)));
    assert_eq!((request.operation, request.priority), (Operation::Embeddings, -3));
    assert_eq!(request.body, r#"{"input":"x"}"#);
}

#[test]
fn wrong_field_is_refused_at_its_place() {
    let deep = format!("{}1{}", "[".repeat(64), "]".repeat(64));
    for (text, expected) in [
        (with("id", json!("")), "id is empty"),
        (with("id", json!(7)), "id is not a text"),
        (with("id", json!("a\u{1f}b")), "id has a control character"),
        (with("tenant", json!(null)), "tenant is null and must have a value"),
        (with("model", json!("")), "model is empty"),
        (with("modell", json!("")), "modell is not a field: there are id, tenant"),
        (with("priority", json!(2_147_483_648_i64)), "priority is not an integer of 32 bits"),
        (with("priority", json!(1.5)), "priority is not an integer"),
        (with("stream", json!("true")), "stream is neither true nor false"),
        (with("labels", json!({"a": 1})), "labels.a is not a text"),
        (with("labels", json!([])), "labels is not an object"),
        (with("labels.a.b", json!(1)), "labels.a.b is not a text"),
        (with("origin", json!({"kind": "client"})), "origin.id is missing"),
        (
            with("origin", json!({"kind": "unknown", "id": "x"})),
            "origin.kind is none of client, workflow",
        ),
        (with("operation", json!("chat ")), "operation is none of chat, text_completion"),
        (with("deadline", json!("tomorrow")), "deadline is not a time like"),
        (with("deadline", json!(-1)), "deadline is before 1970"),
        (with("timeout_ms", json!(0)), "timeout_ms is not between 1 and"),
        (with("body", json!("not json")), "body holds no JSON"),
        (with("body", json!([])), "body is not a JSON object"),
        (with("body", json!({})), "body.messages is missing"),
        (with("body", json!({"messages": []})), "body.messages is not a list with something in it"),
        (
            with("body", json!({"messages": [{"role": "user"}, {}]})),
            "body.messages[1].role is missing",
        ),
        (
            with("body", json!({"x": serde_json::from_str::<Value>(&deep).unwrap()})),
            "body nests deeper than 64",
        ),
        (with("body_media_type", json!("text/plain")), "body_media_type is not application/json"),
        (with("operation", json!("rerank")), "body.query is missing"),
        (r#"{"model":"a","model":"b","body":{}}"#.into(), "model comes twice"),
        (r#"{"model":"a"}"#.into(), "body is missing"),
        (r#"{"body":{"messages":[{"role":"user"}]}}"#.into(), "model is missing"),
        (r#"{"model":"a","labels":{"a":"1","a":"2"},"body":{}}"#.into(), "labels.a comes twice"),
    ] {
        let said = from(&template(&[]), &text, Format::Lines).unwrap_err().to_string();
        assert!(said.starts_with(expected), "{text}: {said}");
    }
    let both = r#"{"model":"a","not_before":6,"deadline":6,"body":{"messages":[{"role":"u"}]}}"#;
    let said = from(&template(&[]), both, Format::Lines).unwrap_err().to_string();
    assert_eq!(said, "not_before is not before the deadline");
}

fn text() -> impl Strategy<Value = String> {
    "[^\\p{Cc}]{1,20}"
}

prop_compose! {
    fn any_request()(
        (id, tenant, model, content) in (text(), text(), text(), any::<String>()),
        origin in option::of((text(), any::<String>(), any::<i32>())),
        key in option::of(text()),
        priority: i32,
        times in option::of((0..1_000_000_000_000i64, 1..1_000_000_000i64)),
        labels in proptest::collection::btree_map(any::<String>(), any::<String>(), 0..4),
        stream: bool,
        timeout_ms in option::of(1..=86_400_000i64),
    ) -> ModelRequest {
        let body = json!({"messages": [{"role": "user", "content": content}]}).to_string();
        let kind = OriginKind::Agent;
        ModelRequest {
            tenant,
            origin: origin.map(|(id, step, attempt)| Origin { kind, id, step, attempt }),
            idempotency_key: key,
            priority,
            not_before: times.map(|(start, _)| Millis(start)),
            deadline: times.map(|(start, more)| Millis(start + more)),
            labels,
            stream,
            timeout_ms,
            ..ModelRequest::new(id, model, body)
        }
    }
}

proptest! {
    #[test]
    fn bytes_are_those_of_the_platforms_codec(request in any_request()) {
        let text = serde_json::to_string(&request).unwrap();
        let made = from(&template(&[]), &text, Format::Lines).unwrap();
        let mut datum = Vec::new();
        request.encode(&mut datum);
        prop_assert_eq!(&made.datum, &datum);
        // What a dry run prints is the same request.
        let again = from(&template(&[]), &made.json(), Format::Lines).unwrap();
        prop_assert_eq!(again.datum, datum);
    }

    #[test]
    fn same_request_from_a_table_has_the_same_bytes(request in any_request()) {
        prop_assume!(request.origin.is_none());
        prop_assume!(request.labels.iter().all(|(name, value)| {
            !value.is_empty() && name.trim() == name && !name.is_empty()
        }));
        let mut columns = vec![
            ("id".to_owned(), request.id.clone()),
            ("tenant".into(), request.tenant.clone()),
            ("model".into(), request.model.clone()),
            ("body".into(), request.body.clone()),
            ("priority".into(), request.priority.to_string()),
            ("stream".into(), request.stream.to_string()),
            ("body_media_type".into(), JSON.into()),
        ];
        let optional = [
            ("idempotency_key", request.idempotency_key.clone()),
            ("deadline", request.deadline.map(crate::moment::text)),
            ("not_before", request.not_before.map(|time| time.0.to_string())),
            ("timeout_ms", request.timeout_ms.map(|ms| ms.to_string())),
        ];
        columns.extend(optional.map(|(name, value)| (name.to_owned(), value.unwrap_or_default())));
        let labels = request.labels.iter();
        columns.extend(labels.map(|(name, value)| (format!("labels.{name}"), value.clone())));
        let quoted = |text: &String| format!("\"{}\"", text.replace('"', "\"\""));
        let header: Vec<_> = columns.iter().map(|(name, _)| quoted(name)).collect();
        let row: Vec<_> = columns.iter().map(|(_, value)| quoted(value)).collect();
        let table = format!("{}\n{}\n", header.join(","), row.join(","));
        let made = from(&template(&[]), &table, Format::Table).unwrap();
        let mut datum = Vec::new();
        request.encode(&mut datum);
        prop_assert_eq!(made.datum, datum);
    }
}
