//! Writers whose schema isn't ours: older, newer, narrower, wrong.

use apache_avro::Schema;
use apache_avro::types::Value;
use domain::answer::ErrorClass;
use domain::fact::{Fact, Failed};
use domain::request::ModelRequest;
use schemas::samples::{self, Sample};
use schemas::{ALL, Ids, Problem, ReadError, Record, SchemaRefused};
use serde_json::json;

use crate::values::{frame, read, write};

/// The schema with a nested field before all others and a simple one after them.
pub(crate) fn with_added_fields(schema: &str) -> String {
    let mut schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let fields = schema["fields"].as_array_mut().unwrap();
    let item = json!({
        "type": "record",
        "name": "Added",
        "fields": [{"name": "score", "type": "double"}, {"name": "note", "type": ["null", "string"]}]
    });
    fields.insert(
        0,
        json!({"name": "added_first", "type": {"type": "array", "items": item}, "default": []}),
    );
    fields.push(json!({"name": "added_last", "type": "string", "default": ""}));
    schema.to_string()
}

/// The sample as a writer of [`with_added_fields`] writes it.
pub(crate) fn frame_with_added_fields(id: u32, schema: &Schema, sample: &Sample) -> Vec<u8> {
    let ours = Schema::parse_str(sample.record.schema).unwrap();
    let Value::Record(mut fields) = read(&ours, &sample.datum) else { panic!("a record") };
    let note = Value::Union(1, Box::new(Value::String("n".into())));
    let item = Value::Record(vec![("score".into(), Value::Double(0.5)), ("note".into(), note)]);
    fields.insert(0, ("added_first".into(), Value::Array(vec![item])));
    fields.push(("added_last".into(), Value::String("z".into())));
    frame(id, &write(schema, &Value::Record(fields)))
}

#[test]
fn newer_writers_added_fields_are_passed_over() {
    let ids = Ids::for_tests();
    for sample in samples::all() {
        let added = with_added_fields(sample.record.schema);
        ids.learn(900, &added).unwrap();
        let schema = Schema::parse_str(&added).unwrap();
        let frame = frame_with_added_fields(900, &schema, &sample);
        assert_eq!((sample.read)(&ids, &frame).unwrap(), sample.datum, "{}", sample.record.name);
        assert_eq!(*ids.name_of(&frame).unwrap(), *sample.record.name);
    }
}

#[test]
fn schema_with_other_docs_and_defaults_is_ours() {
    let mut schema: serde_json::Value = serde_json::from_str(ModelRequest::SCHEMA).unwrap();
    schema.as_object_mut().unwrap().remove("doc");
    for field in schema["fields"].as_array_mut().unwrap() {
        field.as_object_mut().unwrap().remove("doc");
        field.as_object_mut().unwrap().remove("default");
    }
    let ids = Ids::for_tests();
    ids.learn(900, &schema.to_string()).unwrap();
    let request = samples::model_request();
    let mut datum = Vec::new();
    request.encode(&mut datum);
    assert_eq!(ids.read::<ModelRequest>(&frame(900, &datum)), Ok(request));
}

/// What an upstream writes that fills in the three required fields, in its own order.
fn narrow() -> serde_json::Value {
    json!({
        "type": "record",
        "name": "ModelRequest",
        "namespace": "io.stepstream.v1",
        "fields": [
            {"name": "model", "type": "string"},
            {"name": "body", "type": "string"},
            {"name": "id", "type": "string"}
        ]
    })
}

/// A narrow schema with one more field, and a frame of it.
fn narrow_with(kind: serde_json::Value, name: &str, value: Value) -> (String, Vec<u8>) {
    let mut schema = narrow();
    schema["fields"].as_array_mut().unwrap().push(json!({"name": name, "type": kind}));
    let text = schema.to_string();
    let fields = vec![
        ("model".into(), Value::String("fast".into())),
        ("body".into(), Value::String("{}".into())),
        ("id".into(), Value::String("canary-4711".into())),
        (name.into(), value),
    ];
    let datum = write(&Schema::parse_str(&text).unwrap(), &Value::Record(fields));
    (text, frame(900, &datum))
}

#[test]
fn upstream_may_leave_out_everything_that_has_a_default() {
    let ids = Ids::for_tests();
    // A type that widens, and one that isn't a union yet.
    for (kind, name, value, expected) in [
        (
            json!("int"),
            "timeout_ms",
            Value::Int(5),
            ModelRequest { timeout_ms: Some(5), ..ModelRequest::new("canary-4711", "fast", "{}") },
        ),
        (
            json!("string"),
            "idempotency_key",
            Value::String("k".into()),
            ModelRequest {
                idempotency_key: Some("k".into()),
                ..ModelRequest::new("canary-4711", "fast", "{}")
            },
        ),
    ] {
        let (schema, frame) = narrow_with(kind, name, value);
        ids.learn(900, &schema).unwrap();
        assert_eq!(ids.read::<ModelRequest>(&frame), Ok(expected));
    }
}

#[test]
fn symbol_of_a_newer_writer_is_refused_where_misreading_would_do_harm() {
    let kind = json!({
        "type": "enum", "name": "Operation", "symbols": ["unknown", "chat", "images"],
        "default": "unknown"
    });
    let ids = Ids::for_tests();
    let (schema, frame) = narrow_with(kind, "operation", Value::Enum(2, "images".into()));
    ids.learn(900, &schema).unwrap();
    let error = ids.read::<ModelRequest>(&frame).unwrap_err();
    assert_eq!(
        error,
        ReadError::Malformed {
            record: ModelRequest::NAME.into(),
            field: "operation".into(),
            problem: Problem::Symbol { name: "Operation".into(), index: 0 },
        }
    );
    assert_eq!(error.code(), "malformed");
}

#[test]
fn error_class_of_a_newer_writer_reads_as_internal() {
    let failed = Failed { call: "c".into(), attempt: 1, fence: 2, failure: samples::failure() };
    let text = Failed::SCHEMA.replace(r#""rate_limited""#, r#""quota""#);
    assert_ne!(text, Failed::SCHEMA);
    let ids = Ids::for_tests();
    ids.learn(900, &text).unwrap();
    let mut datum = Vec::new();
    failed.encode(&mut datum);
    let Fact::Failed(read) = ids.read_fact(&frame(900, &datum)).unwrap() else { panic!("failed") };
    assert_eq!(read.failure.class, ErrorClass::Internal);
    assert_eq!(read.failure.code, failed.failure.code);
}

#[test]
fn another_unit_of_time_is_refused_and_the_field_is_named() {
    let kind = json!({"type": "long", "logicalType": "timestamp-micros"});
    let ids = Ids::for_tests();
    let (schema, frame) = narrow_with(kind, "deadline", Value::TimestampMicros(1_750_000_000_000));
    ids.learn(900, &schema).unwrap();
    let error = ids.read::<ModelRequest>(&frame).unwrap_err();
    assert_eq!(
        error,
        ReadError::Malformed {
            record: ModelRequest::NAME.into(),
            field: "deadline".into(),
            problem: Problem::Unresolvable,
        }
    );
    assert!(!format!("{error} {error:?}").contains("canary-4711"), "quotes a value: {error}");
}

#[test]
fn schema_that_cannot_be_read_as_ours_is_refused_by_name() {
    for (field, kind) in [("id", json!("long")), ("labels", json!("string"))] {
        let mut schema = narrow();
        let fields = schema["fields"].as_array_mut().unwrap();
        fields.retain(|it| it["name"] != field);
        fields.push(json!({"name": field, "type": kind}));
        let ids = Ids::for_tests();
        let refused = ids.learn(900, &schema.to_string()).unwrap_err();
        let SchemaRefused::Incompatible { record, why } = &refused else { panic!("{refused:?}") };
        assert_eq!(record, ModelRequest::NAME);
        assert!(why.contains(field), "{why}");
        let read = ids.read::<ModelRequest>(&frame(900, &[2, 97]));
        assert_eq!(read, Err(ReadError::RefusedSchema(900, refused.to_string().into())));
    }
}

#[test]
fn bytes_after_a_foreign_datum_are_an_error() {
    let ids = Ids::for_tests();
    let (schema, mut frame) = narrow_with(json!("long"), "timeout_ms", Value::Long(5));
    ids.learn(900, &schema).unwrap();
    frame.extend_from_slice(b"xy");
    let record = ModelRequest::NAME.into();
    let read = ids.read::<ModelRequest>(&frame);
    assert_eq!(read, Err(ReadError::TrailingBytes { record, count: 2 }));
}

#[test]
fn every_schema_of_ours_is_recognised_as_ours() {
    let ids = Ids::new();
    for (id, sample) in (1..).zip(samples::all()) {
        ids.learn(id, sample.record.schema).unwrap();
        assert_eq!((sample.read)(&ids, &frame(id, &sample.datum)), Ok(sample.datum));
    }
    assert_eq!(ids.missing().len(), ALL.len(), "learning an id doesn't make it the one we write");
}
