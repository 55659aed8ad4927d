//! The published JSON Schema against the tables that the reader goes by, in both directions.

use std::collections::BTreeSet;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{examples, graph, step, with};
use crate::answer::ErrorClass;
use crate::workflow::SCHEMA;
use crate::workflow::fields::{KINDS, Need, SHAPES, Shape};

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("the schema is JSON")
}

pub(super) fn validator() -> Validator {
    crate::workflow::schema::validator(&schema()).expect("the schema is one")
}

fn check(shape: &Shape, name: &str, published: &Value) {
    let fields: BTreeSet<&str> = shape.fields.iter().map(|field| field.name).collect();
    let properties: BTreeSet<&str> =
        published["properties"].as_object().expect(name).keys().map(String::as_str).collect();
    assert_eq!(properties, fields, "fields of {name}: the schema's, the reader's");
    let needed: BTreeSet<&str> = shape
        .fields
        .iter()
        .filter(|field| field.need == Need::Required)
        .map(|field| field.name)
        .collect();
    let required: BTreeSet<&str> = published["required"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|name| name.as_str().expect("a name"))
        .collect();
    assert_eq!(required, needed, "required fields of {name}: the schema's, the reader's");
    assert_eq!(published["additionalProperties"], json!(false), "{name} takes anything");
}

#[test]
fn schema_and_reader_know_the_same_fields() {
    let schema = schema();
    let mut compared = BTreeSet::new();
    for shape in &SHAPES {
        let published = match shape.name {
            "definition" => &schema,
            name => &schema["$defs"][name],
        };
        check(shape, shape.name, published);
        compared.insert(shape.name.to_owned());
    }
    for shape in &KINDS {
        let name = format!("{}Node", shape.name);
        let published = &schema["$defs"][&name];
        check(shape, &name, published);
        assert_eq!(published["properties"]["kind"]["const"], json!(shape.name));
        compared.insert(name);
    }
    for (name, published) in schema["$defs"].as_object().expect("definitions") {
        assert!(
            published.get("properties").is_none() || compared.contains(name),
            "the reader doesn't know {name}"
        );
    }
    let listed = schema["$defs"]["node"]["oneOf"].as_array().expect("kinds").len();
    assert_eq!(listed, KINDS.len());
}

#[test]
fn every_field_is_described() {
    let schema = schema();
    let places = schema["$defs"].as_object().expect("definitions").iter();
    for (name, place) in places.chain([(&"definition".to_owned(), &schema)]) {
        for (field, property) in place["properties"].as_object().into_iter().flatten() {
            assert!(property["description"].is_string(), "{name}.{field} has no description");
        }
    }
}

#[test]
fn schema_knows_the_classes_of_failure() {
    let published = &schema()["$defs"]["retry"]["properties"]["on"]["items"]["enum"];
    assert_eq!(*published, json!(ErrorClass::ALL.map(ErrorClass::as_str)));
}

#[test]
fn schema_takes_good_definitions_and_no_bad_ones() {
    let validator = validator();
    for example in examples::all() {
        let errors: Vec<_> = validator.iter_errors(&example).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
    let node = |node| graph(json!([node]), json!([]));
    assert!(validator.is_valid(&node(step("a"))));
    for bad in [
        node(with(step("a"), "vlaue", json!(1))),
        node(with(step("a"), "kind", json!("modell"))),
        node(json!({"id": "a", "kind": "transform"})),
        node(step("a-b")),
        node(json!({"id": "a", "kind": "wait"})),
        node(json!({"id": "a", "kind": "wait", "duration": "1 hour"})),
        node(json!({"id": "a", "kind": "workflow", "name": "x", "version": 1, "alias": "y"})),
        graph(json!([step("a")]), json!([{"from": "a"}])),
    ] {
        assert!(!validator.is_valid(&bad), "{bad:#}");
    }
}
