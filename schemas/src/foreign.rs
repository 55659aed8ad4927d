//! Data of a writer whose schema is not byte for byte ours: an older or newer program, an upstream that
//! left optional fields out.
//!
//! apache-avro parses the schema, resolves and re-encodes; it doesn't get to see the bytes, because its
//! reader takes a truncated datum for nulls and has no bound on depth (0.22.0). So a schema is checked
//! before it is parsed further, and the datum is read by [`Reader`].

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{
    ArraySchema, InnerDecimalSchema, MapSchema, Name, RecordField, RecordSchema, UnionSchema,
    UuidSchema,
};
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;

use crate::wire::{DecodeError, Problem, Reader};

/// The longest schema text that is parsed, in bytes. Ours stay below 16 KiB.
pub const MAX_SCHEMA_BYTES: usize = 256 * 1024;
/// How deep types may nest, references followed.
pub const MAX_SCHEMA_DEPTH: usize = 32;
/// How many types a schema may have with every reference followed: types that name each other twice
/// would double at each level.
pub const MAX_SCHEMA_TYPES: usize = 10_000;
/// The largest `fixed`, in bytes.
pub const MAX_FIXED_BYTES: usize = 64 * 1024;
/// How many values a datum of a foreign schema may have. Items of an array may take no bytes at all, so
/// the datum's length bounds nothing.
pub const MAX_VALUES: usize = 1_000_000;

/// Why a schema is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaRefused {
    /// Longer than [`MAX_SCHEMA_BYTES`].
    #[error("the schema is longer than {MAX_SCHEMA_BYTES} bytes")]
    TooLong,
    /// Not a schema.
    #[error("the schema can't be parsed: {0}")]
    Unparsable(String),
    /// Deeper than [`MAX_SCHEMA_DEPTH`].
    #[error("the schema nests deeper than {MAX_SCHEMA_DEPTH} types")]
    TooDeep,
    /// More than [`MAX_SCHEMA_TYPES`].
    #[error("the schema has more than {MAX_SCHEMA_TYPES} types")]
    TooWide,
    /// A type that contains itself.
    #[error("the type {0} contains itself")]
    Recursive(String),
    /// A `fixed` above [`MAX_FIXED_BYTES`].
    #[error("the fixed type {0} is larger than {MAX_FIXED_BYTES} bytes")]
    FixedTooLarge(String),
    /// Not a record at the top.
    #[error("the schema is not a record")]
    NotARecord,
    /// A record of ours that can't be read as ours.
    #[error("{record} of this schema can't be read as ours: {why}")]
    Incompatible {
        /// Its full name.
        record: String,
        /// The first difference, as apache-avro puts it.
        why: String,
    },
}

/// Parses a schema under the bounds above and puts every reference's definition in its place.
pub(crate) fn parse(text: &str) -> Result<Schema, SchemaRefused> {
    if text.len() > MAX_SCHEMA_BYTES {
        return Err(SchemaRefused::TooLong);
    }
    let parsed =
        Schema::parse_str(text).map_err(|error| SchemaRefused::Unparsable(error.to_string()))?;
    let mut definitions = HashMap::new();
    collect(&parsed, &mut definitions);
    Expansion { definitions: &definitions, open: Vec::new(), types: 0 }.expand(&parsed, 0)
}

/// The full name of a record.
pub(crate) fn record_name(schema: &Schema) -> Result<String, SchemaRefused> {
    match schema {
        Schema::Record(record) => Ok(record.name.fullname(None)),
        _ => Err(SchemaRefused::NotARecord),
    }
}

/// Whether the two write the same bytes for the same values: same fields and symbols in the same order,
/// whatever their docs and defaults. Both without references.
pub(crate) fn same_bytes(a: &Schema, b: &Schema) -> bool {
    match (a, b) {
        (Schema::Record(a), Schema::Record(b)) => {
            a.name == b.name
                && a.fields.len() == b.fields.len()
                && a.fields
                    .iter()
                    .zip(&b.fields)
                    .all(|(a, b)| a.name == b.name && same_bytes(&a.schema, &b.schema))
        }
        (Schema::Enum(a), Schema::Enum(b)) => a.name == b.name && a.symbols == b.symbols,
        (Schema::Array(a), Schema::Array(b)) => same_bytes(&a.items, &b.items),
        (Schema::Map(a), Schema::Map(b)) => same_bytes(&a.types, &b.types),
        (Schema::Union(a), Schema::Union(b)) => {
            a.variants().len() == b.variants().len()
                && a.variants().iter().zip(b.variants()).all(|(a, b)| same_bytes(a, b))
        }
        // Without its logical type the same long; another unit of time is another meaning.
        (Schema::Long, Schema::TimestampMillis) => true,
        (a, b) => a == b,
    }
}

/// Whether data of `writer` can be read as `ours`. Both without references.
pub(crate) fn check_readable(
    record: &str,
    writer: &Schema,
    ours: &Schema,
) -> Result<(), SchemaRefused> {
    SchemaCompatibility::can_read(writer, ours).map(|_| ()).map_err(|error| {
        SchemaRefused::Incompatible { record: record.to_owned(), why: error.to_string() }
    })
}

/// Whether each of two schemas can read the other's data, whatever the data: FULL compatibility, as a
/// registry checks it before it takes a new version.
///
/// # Errors
/// [`SchemaRefused::Incompatible`] with the first difference; the others for a text that isn't a schema
/// of a record within the bounds.
pub fn check_full(a: &str, b: &str) -> Result<(), SchemaRefused> {
    let (a, b) = (parse(a)?, parse(b)?);
    let record = record_name(&a)?;
    let found = record_name(&b)?;
    if record != found {
        let why = format!("the name is {found}");
        return Err(SchemaRefused::Incompatible { record, why });
    }
    match SchemaCompatibility::mutual_read(&a, &b) {
        Ok(Compatibility::Full) => Ok(()),
        Ok(Compatibility::Partial) => Err(SchemaRefused::Incompatible {
            record,
            why: "a union or an enum without a default symbol lost a member".to_owned(),
        }),
        Err(error) => Err(SchemaRefused::Incompatible { record, why: error.to_string() }),
    }
}

/// Reads a datum of `writer` and writes it again as a datum of `ours`. `writer` and `expanded` are
/// without references; `expanded` is `ours`.
pub(crate) fn translate(
    writer: &Schema,
    ours: &Schema,
    expanded: &Schema,
    body: &[u8],
) -> Result<Translated, DecodeError> {
    let mut input = Reader::new(body);
    let value = read(writer, &mut input, &mut { MAX_VALUES })?;
    let trailing = input.remaining();
    // apache-avro's own errors quote values, and a prompt has no place in an error text.
    let resolved = value.resolve(ours).map_err(|_| unresolvable(writer, expanded, body))?;
    let datum = GenericDatumWriter::builder(ours)
        .build()
        .and_then(|writer| writer.write_value_to_vec(resolved))
        .map_err(|_| DecodeError::from(Problem::Unresolvable))?;
    Ok(Translated { datum, trailing })
}

/// A datum in our schema.
pub(crate) struct Translated {
    pub(crate) datum: Vec<u8>,
    /// How many bytes followed the original.
    pub(crate) trailing: usize,
}

/// Finds the field at which resolution fails. Only for the error's sake, so it may read again.
fn unresolvable(writer: &Schema, ours: &Schema, body: &[u8]) -> DecodeError {
    let found = || {
        let value = read(writer, &mut Reader::new(body), &mut { MAX_VALUES }).ok()?;
        let (Value::Record(values), Schema::Record(ours)) = (value, ours) else {
            return None;
        };
        let mut values: HashMap<String, Value> = values.into_iter().collect();
        ours.fields.iter().find_map(|field| {
            let value = values.remove(&field.name)?;
            value.resolve(&field.schema).is_err().then(|| field.name.clone())
        })
    };
    DecodeError { field: found().unwrap_or_default(), problem: Problem::Unresolvable }
}

/// Reads one value of a schema without references. `left` counts down over the whole datum.
fn read(schema: &Schema, input: &mut Reader<'_>, left: &mut usize) -> Result<Value, DecodeError> {
    *left = left.checked_sub(1).ok_or(Problem::TooMany(MAX_VALUES))?;
    Ok(match schema {
        Schema::Null => Value::Null,
        Schema::Boolean => Value::Boolean(input.boolean()?),
        Schema::Int => Value::Int(input.int()?),
        Schema::Date => Value::Date(input.int()?),
        Schema::TimeMillis => Value::TimeMillis(input.int()?),
        Schema::Long => Value::Long(input.long()?),
        Schema::TimeMicros => Value::TimeMicros(input.long()?),
        Schema::TimestampMillis => Value::TimestampMillis(input.long()?),
        Schema::TimestampMicros => Value::TimestampMicros(input.long()?),
        Schema::TimestampNanos => Value::TimestampNanos(input.long()?),
        Schema::LocalTimestampMillis => Value::LocalTimestampMillis(input.long()?),
        Schema::LocalTimestampMicros => Value::LocalTimestampMicros(input.long()?),
        Schema::LocalTimestampNanos => Value::LocalTimestampNanos(input.long()?),
        Schema::Float => {
            let bytes = input.exactly(4)?;
            Value::Float(f32::from_le_bytes(bytes.try_into().expect("four bytes were taken")))
        }
        Schema::Double => {
            let bytes = input.exactly(8)?;
            Value::Double(f64::from_le_bytes(bytes.try_into().expect("eight bytes were taken")))
        }
        Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => {
            Value::Bytes(input.bytes()?.to_vec())
        }
        Schema::String | Schema::Uuid(UuidSchema::String) => {
            Value::String(input.string()?.to_owned())
        }
        Schema::Decimal(decimal) => match &decimal.inner {
            InnerDecimalSchema::Bytes => Value::Bytes(input.bytes()?.to_vec()),
            InnerDecimalSchema::Fixed(fixed) => read_fixed(fixed.size, input)?,
        },
        Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
            read_fixed(fixed.size, input)?
        }
        Schema::Enum(schema) => {
            let index = input.int()?;
            let symbol = u32::try_from(index).ok().and_then(|place| {
                schema.symbols.get(place as usize).map(|symbol| (place, symbol.clone()))
            });
            let (place, symbol) = symbol.ok_or_else(|| Problem::Symbol {
                name: schema.name.name().to_owned(),
                index: i64::from(index),
            })?;
            Value::Enum(place, symbol)
        }
        Schema::Union(union) => {
            let branch = input.branch(union.variants().len())?;
            let value = read(&union.variants()[branch], input, left)?;
            Value::Union(u32::try_from(branch).unwrap_or(u32::MAX), Box::new(value))
        }
        Schema::Array(array) => {
            let mut items = Vec::new();
            input.blocks(|input| {
                let item = read(&array.items, input, left)
                    .map_err(|error| error.within(&items.len().to_string()))?;
                items.push(item);
                Ok(())
            })?;
            Value::Array(items)
        }
        Schema::Map(map) => {
            let mut entries = HashMap::new();
            input.blocks(|input| {
                let key = input.string()?.to_owned();
                entries.insert(key, read(&map.types, input, left)?);
                Ok(())
            })?;
            Value::Map(entries)
        }
        Schema::Record(record) => {
            let mut fields = Vec::with_capacity(record.fields.len());
            for field in &record.fields {
                let value =
                    read(&field.schema, input, left).map_err(|error| error.within(&field.name))?;
                fields.push((field.name.clone(), value));
            }
            Value::Record(fields)
        }
        // `parse` left none.
        Schema::Ref { .. } => return Err(Problem::Unresolvable.into()),
    })
}

fn read_fixed(size: usize, input: &mut Reader<'_>) -> Result<Value, Problem> {
    Ok(Value::Fixed(size, input.exactly(size)?.to_vec()))
}

/// Notes where each named type is defined. The parser has bounded the depth of the text already.
fn collect<'a>(schema: &'a Schema, definitions: &mut HashMap<&'a Name, &'a Schema>) {
    match schema {
        Schema::Record(record) => {
            definitions.insert(&record.name, schema);
            for field in &record.fields {
                collect(&field.schema, definitions);
            }
        }
        Schema::Array(array) => collect(&array.items, definitions),
        Schema::Map(map) => collect(&map.types, definitions),
        Schema::Union(union) => {
            for variant in union.variants() {
                collect(variant, definitions);
            }
        }
        Schema::Ref { .. } => {}
        other => {
            if let Some(name) = other.name() {
                definitions.insert(name, other);
            }
        }
    }
}

/// Puts definitions in the place of references, within the bounds.
struct Expansion<'a> {
    definitions: &'a HashMap<&'a Name, &'a Schema>,
    /// The records that are being expanded.
    open: Vec<&'a Name>,
    types: usize,
}

impl<'a> Expansion<'a> {
    fn expand(&mut self, schema: &'a Schema, depth: usize) -> Result<Schema, SchemaRefused> {
        if depth > MAX_SCHEMA_DEPTH {
            return Err(SchemaRefused::TooDeep);
        }
        self.types += 1;
        if self.types > MAX_SCHEMA_TYPES {
            return Err(SchemaRefused::TooWide);
        }
        Ok(match schema {
            Schema::Ref { name } => {
                let definition = *self.definitions.get(name).ok_or_else(|| {
                    SchemaRefused::Unparsable(format!("nothing defines {}", name.fullname(None)))
                })?;
                self.expand(definition, depth)?
            }
            Schema::Record(record) => {
                if self.open.contains(&&record.name) {
                    return Err(SchemaRefused::Recursive(record.name.fullname(None)));
                }
                self.open.push(&record.name);
                let fields = record
                    .fields
                    .iter()
                    .map(|field| {
                        let schema = self.expand(&field.schema, depth + 1)?;
                        Ok(RecordField { schema, ..field.clone() })
                    })
                    .collect::<Result<_, SchemaRefused>>()?;
                self.open.pop();
                Schema::Record(RecordSchema { fields, ..record.clone() })
            }
            Schema::Array(array) => {
                let items = Box::new(self.expand(&array.items, depth + 1)?);
                Schema::Array(ArraySchema { items, attributes: array.attributes.clone() })
            }
            Schema::Map(map) => {
                let types = Box::new(self.expand(&map.types, depth + 1)?);
                Schema::Map(MapSchema { types, attributes: map.attributes.clone() })
            }
            Schema::Union(union) => {
                let variants = union
                    .variants()
                    .iter()
                    .map(|variant| self.expand(variant, depth + 1))
                    .collect::<Result<_, _>>()?;
                UnionSchema::new(variants)
                    .map(Schema::Union)
                    .map_err(|error| SchemaRefused::Unparsable(error.to_string()))?
            }
            Schema::Fixed(fixed)
            | Schema::Duration(fixed)
            | Schema::Uuid(UuidSchema::Fixed(fixed))
                if fixed.size > MAX_FIXED_BYTES =>
            {
                return Err(SchemaRefused::FixedTooLarge(fixed.name.fullname(None)));
            }
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Fixed(fixed) if fixed.size > MAX_FIXED_BYTES => {
                    return Err(SchemaRefused::FixedTooLarge(fixed.name.fullname(None)));
                }
                _ => schema.clone(),
            },
            other => other.clone(),
        })
    }
}
