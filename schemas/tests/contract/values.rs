//! Values for a schema, and apache-avro's way between them and bytes.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::{Name, RecordSchema};
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Runs `check` on arbitrary values; a failure prints the smallest one.
pub(crate) fn for_any(
    schema: &Schema,
    cases: u32,
    check: impl Fn(Value) -> Result<(), TestCaseError>,
) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    if let Err(failure) = TestRunner::new(config).run(&any_value(schema), check) {
        panic!("{failure}");
    }
}

/// Every value that a writer of ours could write: `unknown` is none of them.
fn any_value(schema: &Schema) -> BoxedStrategy<Value> {
    let mut names = HashMap::new();
    collect(schema, &mut names);
    strategy(schema, &names)
}

fn strategy(schema: &Schema, names: &HashMap<Name, Schema>) -> BoxedStrategy<Value> {
    match schema {
        Schema::Null => Just(Value::Null).boxed(),
        Schema::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        Schema::Int => any::<i32>().prop_map(Value::Int).boxed(),
        Schema::Long => any::<i64>().prop_map(Value::Long).boxed(),
        Schema::TimestampMillis => any::<i64>().prop_map(Value::TimestampMillis).boxed(),
        Schema::Bytes => any::<Vec<u8>>().prop_map(Value::Bytes).boxed(),
        Schema::String => any::<String>().prop_map(Value::String).boxed(),
        Schema::Enum(schema) => {
            let symbols: Vec<(u32, String)> =
                (0..).zip(schema.symbols.clone()).filter(|(_, s)| s != "unknown").collect();
            prop::sample::select(symbols).prop_map(|(i, s)| Value::Enum(i, s)).boxed()
        }
        Schema::Union(union) => {
            let branches = (0..).zip(union.variants()).map(|(index, variant)| {
                strategy(variant, names)
                    .prop_map(move |value| Value::Union(index, Box::new(value)))
                    .boxed()
            });
            prop::strategy::Union::new(branches).boxed()
        }
        Schema::Array(array) => prop::collection::vec(strategy(&array.items, names), 0..4)
            .prop_map(Value::Array)
            .boxed(),
        Schema::Map(map) => {
            prop::collection::hash_map(any::<String>(), strategy(&map.types, names), 0..4)
                .prop_map(|entries| Value::Map(entries.into_iter().collect()))
                .boxed()
        }
        Schema::Record(record) if record.name.name() == "WorkflowEntry" => one_of(record, names),
        Schema::Record(record) => {
            let fields: Vec<_> = record
                .fields
                .iter()
                .map(|field| {
                    let name = field.name.clone();
                    strategy(&field.schema, names).prop_map(move |value| (name.clone(), value))
                })
                .collect();
            fields.prop_map(Value::Record).boxed()
        }
        Schema::Ref { name } => strategy(&names[name], names),
        other => panic!("the contract has no {other:?}"),
    }
}

/// A record of which exactly one field is set.
fn one_of(record: &RecordSchema, names: &HashMap<Name, Schema>) -> BoxedStrategy<Value> {
    let null = || Value::Union(0, Box::new(Value::Null));
    let choices = record.fields.iter().enumerate().map(|(set, field)| {
        let Schema::Union(union) = &field.schema else { panic!("{} isn't optional", field.name) };
        let fields: Vec<String> = record.fields.iter().map(|field| field.name.clone()).collect();
        strategy(&union.variants()[1], names)
            .prop_map(move |value| {
                let fields = fields.iter().enumerate().map(|(place, name)| {
                    let value = match place == set {
                        true => Value::Union(1, Box::new(value.clone())),
                        false => null(),
                    };
                    (name.clone(), value)
                });
                Value::Record(fields.collect())
            })
            .boxed()
    });
    prop::strategy::Union::new(choices).boxed()
}

pub(crate) fn collect(schema: &Schema, names: &mut HashMap<Name, Schema>) {
    if let Some(name) = schema.name()
        && !matches!(schema, Schema::Ref { .. })
    {
        names.insert(name.clone(), schema.clone());
    }
    match schema {
        Schema::Record(record) => record.fields.iter().for_each(|f| collect(&f.schema, names)),
        Schema::Array(array) => collect(&array.items, names),
        Schema::Map(map) => collect(&map.types, names),
        Schema::Union(union) => union.variants().iter().for_each(|v| collect(v, names)),
        _ => {}
    }
}

pub(crate) fn write(schema: &Schema, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    GenericDatumWriter::builder(schema).build().unwrap().write_value_ref(&mut out, value).unwrap();
    out
}

pub(crate) fn read(schema: &Schema, mut datum: &[u8]) -> Value {
    let value =
        GenericDatumReader::builder(schema).build().unwrap().read_value(&mut datum).unwrap();
    assert!(datum.is_empty(), "apache-avro leaves {} bytes", datum.len());
    value
}

/// Whether the order on the wire is free somewhere in it.
pub(crate) fn has_free_order(value: &Value) -> bool {
    match value {
        Value::Map(entries) => entries.len() > 1 || entries.values().any(has_free_order),
        Value::Record(fields) => fields.iter().any(|(_, value)| has_free_order(value)),
        Value::Array(items) => items.iter().any(has_free_order),
        Value::Union(_, value) => has_free_order(value),
        _ => false,
    }
}

/// The framing of the tests: `id` and the datum.
pub(crate) fn frame(id: u32, datum: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend_from_slice(&id.to_be_bytes());
    frame.extend_from_slice(datum);
    frame
}
