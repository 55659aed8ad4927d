//! The published JSON Schema against the table that the reader goes by, in both directions.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::SCHEMA;
use super::super::definition::{Definition, SHAPE};
use super::schedule;
use crate::workflow::fields::Need;

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("the schema is JSON")
}

#[test]
fn schema_and_reader_know_the_same_fields() {
    let schema = schema();
    let properties = schema["properties"].as_object().expect("properties");
    let known: BTreeSet<&str> = SHAPE.fields.iter().map(|field| field.name).collect();
    assert_eq!(properties.keys().map(String::as_str).collect::<BTreeSet<_>>(), known);
    let needed = SHAPE.fields.iter().filter(|field| field.need == Need::Required);
    let needed: Vec<_> = needed.map(|field| field.name).collect();
    assert_eq!(schema["required"], json!(needed));
    assert_eq!(schema["additionalProperties"], json!(false));
    for (name, property) in properties {
        assert!(property["description"].is_string(), "{name} has no description");
    }
}

#[test]
fn defaults_of_the_schema_are_those_of_the_reader() {
    let plain = schedule("0 2 * * *", json!({}));
    let read = |value: &Value| Definition::read(value).expect("a good definition").0;
    let mut written = plain.clone();
    for (name, property) in schema()["properties"].as_object().expect("properties") {
        if let Some(default) = property.get("default") {
            written[name] = default.clone();
        }
    }
    assert_eq!(read(&written), read(&plain), "{written:#}");
}

#[test]
fn schema_takes_what_the_reader_takes() {
    let validator = crate::workflow::schema::validator(&schema()).expect("the schema is one");
    for (more, good) in [
        (json!({}), true),
        (json!({"version": 2, "timeZone": "Europe/Berlin", "input": {"a": 1}}), true),
        (json!({"alias": "stable", "overlap": "queue", "catchUp": "none"}), true),
        (json!({"labels": {"team": "a"}, "searchAttributes": {"b": "c"}, "paused": true}), true),
        (json!({"startAt": "2030-01-01T00:00:00Z", "endAt": "2040-01-01T00:00:00+01:00"}), true),
        (json!({"jitter": "90s", "catchUpWindow": "12h"}), true),
        (json!({"version": 0}), false),
        (json!({"version": 2, "alias": "stable"}), false),
        (json!({"overlap": "sometimes"}), false),
        (json!({"catchUp": true}), false),
        (json!({"jitter": "soon"}), false),
        (json!({"input": []}), false),
        (json!({"labels": {"team": 1}}), false),
        (json!({"every": "5m"}), false),
    ] {
        let definition = schedule("0 2 * * *", more);
        assert_eq!(validator.is_valid(&definition), good, "the schema: {definition}");
        assert_eq!(Definition::read(&definition).is_ok(), good, "the reader: {definition}");
    }
}
