//! Every released version stays readable, and stays able to read what we write now.
//!
//! A version is made once by `cargo run -p stepstream-schemas --example release -- vN` and never
//! rewritten: change the schema or the codec until this passes again, not the files.

use std::fs;
use std::path::{Path, PathBuf};

use apache_avro::Schema;
use schemas::{ALL, Ids, check_full, samples};
use serde_json::{Value, json};

use crate::values::{frame, read};

/// `(version, record, its released schema)` of all releases.
fn released() -> Vec<(String, &'static str, String)> {
    let mut found = Vec::new();
    for version in entries(&root().join("released")) {
        for file in entries(&version) {
            let stem = file.file_stem().unwrap().to_str().unwrap().to_owned();
            let declared = ALL
                .iter()
                .find(|declared| declared.name.rsplit('.').next() == Some(&stem))
                .unwrap_or_else(|| panic!("{stem} was released and is gone"));
            let version = version.file_name().unwrap().to_str().unwrap().to_owned();
            found.push((version, declared.name, fs::read_to_string(&file).unwrap()));
        }
    }
    assert!(!found.is_empty());
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn schemas_are_fully_compatible_with_every_release() {
    for (version, name, schema) in released() {
        let ours = schemas::declared(name).unwrap().schema;
        check_full(&schema, ours).unwrap_or_else(|refused| panic!("{version}: {refused}"));
    }
}

/// A symbol's index is on the wire for ever, and compatibility alone would let one go.
#[test]
fn symbols_are_only_added_at_the_end() {
    fn symbols(schema: &Value, found: &mut Vec<(Value, Vec<Value>)>) {
        match schema {
            Value::Object(object) => {
                if let Some(Value::Array(listed)) = object.get("symbols") {
                    found.push((object["name"].clone(), listed.clone()));
                }
                object.values().for_each(|value| symbols(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| symbols(item, found)),
            _ => {}
        }
    }
    for (version, name, released) in released() {
        let (mut then, mut now) = (Vec::new(), Vec::new());
        symbols(&serde_json::from_str(&released).unwrap(), &mut then);
        let ours = schemas::declared(name).unwrap().schema;
        symbols(&serde_json::from_str(ours).unwrap(), &mut now);
        for (kind, then) in then {
            let now = now.iter().find(|(name, _)| *name == kind).map(|(_, symbols)| symbols);
            let kept = now.is_some_and(|now| now.starts_with(&then));
            assert!(kept, "{version} {name}: {kind} is no longer {then:?} and more");
        }
    }
}

#[test]
fn golden_bytes_of_every_release_are_read() {
    let samples = samples::all();
    for (version, name, released) in released() {
        let short = name.rsplit('.').next().unwrap();
        let golden = root().join("golden").join(&version).join(short);
        let datum = fs::read(golden.with_extension("bin")).unwrap();
        let expected: Value =
            serde_json::from_slice(&fs::read(golden.with_extension("json")).unwrap()).unwrap();

        let released_schema = Schema::parse_str(&released).unwrap();
        assert_eq!(to_json(&released_schema, &datum), expected, "{version} {name}");

        let ids = Ids::for_tests();
        ids.learn(900, &released).unwrap();
        let sample = samples.iter().find(|sample| sample.record.name == name).unwrap();
        let ours = (sample.read)(&ids, &frame(900, &datum))
            .unwrap_or_else(|error| panic!("{version} {name}: {error}"));
        let ours = to_json(&Schema::parse_str(sample.record.schema).unwrap(), &ours);
        assert!(holds(&ours, &expected), "{version} {name}: {ours} lacks some of {expected}");
    }
}

#[test]
fn incompatible_changes_are_caught() {
    let ours = schemas::declared("io.stepstream.v1.ModelRequest").unwrap().schema;
    type Change = fn(&mut Vec<Value>);
    let changes: [(&str, Change); 6] = [
        ("a required field is gone", |fields| fields.retain(|field| field["name"] != "body")),
        ("a field without a default", |fields| fields.push(json!({"name": "x", "type": "int"}))),
        ("another type", |fields| fields[0]["type"] = json!("long")),
        ("a wider type, which old readers can't take", |fields| {
            fields.iter_mut().find(|field| field["name"] == "priority").unwrap()["type"] =
                json!("long");
        }),
        ("another name", |fields| fields[0]["name"] = json!("key")),
        ("no longer nullable", |fields| {
            let field = fields.iter_mut().find(|field| field["name"] == "timeout_ms").unwrap();
            *field = json!({"name": "timeout_ms", "type": "long", "default": 0});
        }),
    ];
    for (what, change) in changes {
        let mut schema: Value = serde_json::from_str(ours).unwrap();
        change(schema["fields"].as_array_mut().unwrap());
        assert!(check_full(ours, &schema.to_string()).is_err(), "{what}");
    }
    let mut schema: Value = serde_json::from_str(ours).unwrap();
    let fields = schema["fields"].as_array_mut().unwrap();
    fields.push(json!({"name": "x", "type": ["null", "string"], "default": null}));
    let operation = fields.iter_mut().find(|field| field["name"] == "operation").unwrap();
    operation["type"]["symbols"].as_array_mut().unwrap().push(json!("images"));
    assert_eq!(check_full(ours, &schema.to_string()), Ok(()), "an allowed change is refused");
}

fn to_json(schema: &Schema, datum: &[u8]) -> Value {
    Value::try_from(read(schema, datum)).unwrap()
}

/// Whether `value` has everything that `part` has; fields may have been added since.
fn holds(value: &Value, part: &Value) -> bool {
    match (value, part) {
        (Value::Object(value), Value::Object(part)) => {
            part.iter().all(|(key, part)| value.get(key).is_some_and(|value| holds(value, part)))
        }
        (Value::Array(value), Value::Array(part)) => {
            value.len() == part.len() && value.iter().zip(part).all(|(a, b)| holds(a, b))
        }
        (value, part) => value == part,
    }
}
