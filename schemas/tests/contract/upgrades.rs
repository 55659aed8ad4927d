//! Programs of two releases on one cluster, in either order of deploying them: a record of one is read by
//! the other, whichever field of whichever of its types the older one doesn't have.

use std::collections::{HashMap, HashSet};

use apache_avro::Schema;
use apache_avro::schema::{Name, RecordField};
use apache_avro::types::Value as Avro;
use domain::workflow::run::entry::Entry;
use proptest::prelude::*;
use schemas::samples::{self, Sample};
use schemas::{Ids, Problem, ReadError, Record, check_full};
use serde_json::{Value, json};

use crate::values::{collect, for_any, frame, read, write};

/// Arbitrary values for each changed schema; there are hundreds of those.
const CASES: u32 = 8;

/// What a newer program adds.
const ADDED: &str = "added_later";

/// What a writer, or a reader, has for a field that the value before it doesn't have.
type Absent = fn(&RecordField, &HashMap<Name, Schema>) -> Avro;

/// A writer's schema beside ours, and the way of a value between them.
struct Writer {
    schema: Schema,
    text: String,
}

impl Writer {
    fn new(schema: &Value) -> Self {
        let text = schema.to_string();
        Self { schema: Schema::parse_str(&text).unwrap(), text }
    }

    /// The value as this one writes it: without the fields that it doesn't have, and with `absent` where
    /// the value has none.
    fn value(&self, value: &Avro, absent: Absent) -> Avro {
        let mut names = HashMap::new();
        collect(&self.schema, &mut names);
        fitted(value, &self.schema, &names, absent)
    }
}

fn fitted(value: &Avro, schema: &Schema, names: &HashMap<Name, Schema>, absent: Absent) -> Avro {
    let inner = |value: &Avro, schema: &Schema| fitted(value, schema, names, absent);
    match (value, schema) {
        (value, Schema::Ref { name }) => inner(value, &names[name]),
        (Avro::Record(fields), Schema::Record(record)) => {
            let given: HashMap<&str, &Avro> =
                fields.iter().map(|(name, value)| (name.as_str(), value)).collect();
            let field = |field: &RecordField| {
                let value = match given.get(field.name.as_str()) {
                    Some(value) => inner(value, &field.schema),
                    None => absent(field, names),
                };
                (field.name.clone(), value)
            };
            Avro::Record(record.fields.iter().map(field).collect())
        }
        (Avro::Union(branch, value), Schema::Union(union)) => {
            let value = inner(value, &union.variants()[*branch as usize]);
            Avro::Union(*branch, Box::new(value))
        }
        (Avro::Array(items), Schema::Array(array)) => {
            Avro::Array(items.iter().map(|item| inner(item, &array.items)).collect())
        }
        (Avro::Map(entries), Schema::Map(map)) => Avro::Map(
            entries.iter().map(|(key, value)| (key.clone(), inner(value, &map.types))).collect(),
        ),
        (value, _) => value.clone(),
    }
}

/// What the contract says that a reader takes for a field that the writer doesn't have.
fn default(field: &RecordField, names: &HashMap<Name, Schema>) -> Avro {
    let schema = match &field.schema {
        Schema::Ref { name } => &names[name],
        schema => schema,
    };
    match (schema, field.default.as_ref().expect("only what has a default is left out")) {
        (Schema::Union(_), Value::Null) => Avro::Union(0, Box::new(Avro::Null)),
        (Schema::Map(_), Value::Object(none)) if none.is_empty() => Avro::Map(HashMap::new()),
        (Schema::Array(_), Value::Array(none)) if none.is_empty() => Avro::Array(Vec::new()),
        (Schema::Boolean, Value::Bool(value)) => Avro::Boolean(*value),
        (Schema::Int, Value::Number(value)) => {
            Avro::Int(i32::try_from(value.as_i64().unwrap()).unwrap())
        }
        (Schema::Long, Value::Number(value)) => Avro::Long(value.as_i64().unwrap()),
        (Schema::TimestampMillis, Value::Number(value)) => {
            Avro::TimestampMillis(value.as_i64().unwrap())
        }
        (Schema::String, Value::String(value)) => Avro::String(value.clone()),
        (Schema::Enum(kind), Value::String(symbol)) => {
            let place = kind.symbols.iter().position(|it| it == symbol).unwrap();
            Avro::Enum(u32::try_from(place).unwrap(), symbol.clone())
        }
        (schema, value) => panic!("{}: {value} for {schema:?}", field.name),
    }
}

/// What a newer program writes into the fields that it has added.
fn news(field: &RecordField, _names: &HashMap<Name, Schema>) -> Avro {
    match field.name.as_str() {
        ADDED => Avro::Union(1, Box::new(Avro::String("news".into()))),
        _ => panic!("{} isn't new", field.name),
    }
}

/// Calls `change` with each record and each enum of a schema.
fn each_type(schema: &mut Value, change: &mut impl FnMut(&mut serde_json::Map<String, Value>)) {
    match schema {
        Value::Object(object) => {
            if object.contains_key("fields") || object.contains_key("symbols") {
                change(object);
            }
            // A type stands in these, and in a field's `type`.
            for (_, inner) in object
                .iter_mut()
                .filter(|(key, _)| matches!(key.as_str(), "type" | "fields" | "items" | "values"))
            {
                each_type(inner, change);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_type(item, change)),
        _ => {}
    }
}

/// The next release: each record has a field more, each enum a symbol.
fn newer(sample: &Sample) -> Writer {
    let mut schema = serde_json::from_str(sample.record.schema).unwrap();
    each_type(&mut schema, &mut |kind| {
        let (list, more) = match kind.contains_key("fields") {
            true => ("fields", json!({"name": ADDED, "type": ["null", "string"], "default": null})),
            false => ("symbols", json!(ADDED)),
        };
        kind[list].as_array_mut().unwrap().push(more);
    });
    Writer::new(&schema)
}

/// Every release before this one that can have been: one for each field with a default of each record,
/// which it doesn't have. With the type and the field.
fn older(sample: &Sample) -> Vec<(String, String, Writer)> {
    let ours: Value = serde_json::from_str(sample.record.schema).unwrap();
    let mut optional = Vec::new();
    each_type(&mut ours.clone(), &mut |kind| {
        let record = kind["name"].as_str().unwrap().to_owned();
        let fields = kind.get("fields").and_then(Value::as_array).into_iter().flatten();
        for field in fields.filter(|field| field.get("default").is_some()) {
            optional.push((record.clone(), field["name"].as_str().unwrap().to_owned()));
        }
    });
    let mut definitions = HashMap::new();
    each_type(&mut ours.clone(), &mut |kind| {
        let name = kind["name"].as_str().unwrap().to_owned();
        definitions.insert(name, Value::Object(kind.clone()));
    });
    let without = |(record, field): (String, String)| {
        let mut schema = ours.clone();
        let drop = &mut |kind: &mut serde_json::Map<String, Value>| {
            if kind["name"] == record.as_str()
                && let Some(Value::Array(fields)) = kind.get_mut("fields")
            {
                fields.retain(|it| it["name"] != field.as_str());
            }
        };
        each_type(&mut schema, drop);
        // What was dropped may have held the definition of a type that others name.
        define(&mut schema, &definitions, &mut HashSet::new());
        each_type(&mut schema, drop);
        (record.clone(), field.clone(), Writer::new(&schema))
    };
    optional.into_iter().map(without).collect()
}

/// Puts the definition of each type where it is first named.
fn define(schema: &mut Value, definitions: &HashMap<String, Value>, seen: &mut HashSet<String>) {
    if let Value::String(name) = schema
        && !seen.contains(name)
        && let Some(definition) = definitions.get(name)
    {
        *schema = definition.clone();
    } else if let Some(name) = schema["name"].as_str().map(str::to_owned)
        && seen.contains(&name)
    {
        *schema = Value::String(name);
    }
    match schema {
        Value::Object(object) => {
            if object.contains_key("fields") || object.contains_key("symbols") {
                seen.insert(object["name"].as_str().unwrap().to_owned());
            }
            for key in ["type", "items", "values"] {
                if let Some(inner) = object.get_mut(key) {
                    define(inner, definitions, seen);
                }
            }
            for field in
                object.get_mut("fields").and_then(Value::as_array_mut).into_iter().flatten()
            {
                define(&mut field["type"], definitions, seen);
            }
        }
        Value::Array(branches) => {
            branches.iter_mut().for_each(|branch| define(branch, definitions, seen));
        }
        _ => {}
    }
}

#[test]
fn records_of_the_next_release_are_read_without_what_is_new() {
    let ids = Ids::for_tests();
    for (id, sample) in (900..).zip(samples::all()) {
        let (name, writer) = (sample.record.name, newer(&sample));
        assert_eq!(check_full(sample.record.schema, &writer.text), Ok(()), "{name}");
        ids.learn(id, &writer.text).unwrap();
        let ours = Schema::parse_str(sample.record.schema).unwrap();
        for_any(&ours, CASES * 8, |value| {
            let datum = write(&writer.schema, &writer.value(&value, news));
            let found = (sample.read)(&ids, &frame(id, &datum))
                .map_err(|error| TestCaseError::fail(format!("{name}: {error}")))?;
            prop_assert_eq!(read(&ours, &found), value, "{}", name);
            Ok(())
        });
    }
}

#[test]
fn records_of_an_earlier_release_are_read_with_defaults_for_what_it_did_not_have() {
    let ids = Ids::for_tests();
    let (mut id, mut of_workflows) = (900, 0);
    for sample in samples::all() {
        let ours = Schema::parse_str(sample.record.schema).unwrap();
        let mut names = HashMap::new();
        collect(&ours, &mut names);
        for (record, field, writer) in older(&sample) {
            let what = format!("{} without {record}.{field}", sample.record.name);
            assert_eq!(check_full(sample.record.schema, &writer.text), Ok(()), "{what}");
            id += 1;
            ids.learn(id, &writer.text).unwrap_or_else(|refused| panic!("{what}: {refused}"));
            of_workflows += usize::from(record.starts_with("Workflow"));
            for_any(&ours, CASES, |value| {
                // An entry of a kind that the writer doesn't have isn't one that it writes.
                if record == "WorkflowEntry" && is_set(&value, &field) {
                    return Ok(());
                }
                let theirs = writer.value(&value, default);
                let datum = write(&writer.schema, &theirs);
                let found = (sample.read)(&ids, &frame(id, &datum))
                    .map_err(|error| TestCaseError::fail(format!("{what}: {error}")))?;
                let expected = fitted(&theirs, &ours, &names, default);
                prop_assert_eq!(read(&ours, &found), expected, "{}", what);
                Ok(())
            });
        }
    }
    assert!(of_workflows > 50, "{of_workflows}");
}

fn is_set(value: &Avro, field: &str) -> bool {
    let Avro::Record(fields) = value else { panic!("an entry is a record") };
    fields.iter().any(|(name, value)| name == field && !matches!(value, Avro::Union(0, _)))
}

/// What would be restored without it would be another execution.
#[test]
fn entry_of_a_kind_that_only_a_newer_program_has_is_refused() {
    let ids = Ids::for_tests();
    let sample = samples::all().into_iter().find(|it| it.record.name == Entry::NAME).unwrap();
    let writer = newer(&sample);
    ids.learn(900, &writer.text).unwrap();
    let ours = Schema::parse_str(sample.record.schema).unwrap();
    let Avro::Record(fields) = read(&ours, &sample.datum) else { panic!("an entry is a record") };
    let null = || Avro::Union(0, Box::new(Avro::Null));
    let none = Avro::Record(fields.into_iter().map(|(name, _)| (name, null())).collect());
    let datum = write(&writer.schema, &writer.value(&none, news));
    let refused = ids.read::<Entry>(&frame(900, &datum));
    let Err(ReadError::Malformed { record, problem, .. }) = &refused else { panic!("{refused:?}") };
    assert_eq!((&**record, problem), (Entry::NAME, &Problem::Unresolvable));
}
