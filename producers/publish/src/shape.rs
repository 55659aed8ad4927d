//! What a request looks like, read from its `.avsc`: so a new kind of request needs nothing here.
//!
//! It knows the types that requests are made of and no others; a schema with another type is refused, and
//! a test holds all that are declared to that. It judges no values.

use std::collections::HashMap;

use serde_json::Value;

/// The end of the name of a field that says what is in another: `body_media_type` beside `body`. That other
/// one then holds JSON as text.
const MEDIA_TYPE: &str = "_media_type";

/// The symbol that no writer writes: what an older reader sees.
const NEVER_WRITTEN: &str = "unknown";

/// The type of a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Type {
    /// Text.
    Text,
    /// Text that holds JSON.
    Json,
    /// True or false.
    Flag,
    /// 32 bits, signed.
    Int,
    /// 64 bits, signed.
    Long,
    /// A floating-point number.
    Double,
    /// Milliseconds since 1970.
    Time,
    /// One of these.
    Symbol(Vec<String>),
    /// Values by name.
    Map(Box<Type>),
    /// Values in order.
    List(Box<Type>),
    /// A record.
    Record(Shape),
    /// A value or none; `null_at` is the branch of none, 0 or 1.
    Nullable {
        /// The value's type.
        of: Box<Type>,
        /// Which branch of the union is null.
        null_at: u8,
    },
}

/// A record's fields, in schema order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) fields: Vec<FieldShape>,
}

/// One field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FieldShape {
    pub(crate) name: String,
    pub(crate) of: Type,
    /// What it is when it isn't given; `None`: it must be given.
    pub(crate) default: Option<Value>,
}

/// A schema that requests can't be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub(crate) struct Unfit {
    place: String,
    problem: &'static str,
}

impl Unfit {
    fn new(place: &str, problem: &'static str) -> Self {
        Self { place: place.to_owned(), problem }
    }
}

impl Shape {
    /// The shape that a record's schema describes.
    pub(crate) fn parse(schema: &str) -> Result<Self, Unfit> {
        let schema: Value =
            serde_json::from_str(schema).map_err(|_| Unfit::new("the schema", "is not JSON"))?;
        match parse(&schema, "the record", &mut HashMap::new())? {
            Type::Record(shape) => Ok(shape),
            _ => Err(Unfit::new("the schema", "is not a record")),
        }
    }

    /// The field of that name.
    pub(crate) fn field(&self, name: &str) -> Option<&FieldShape> {
        self.fields.iter().find(|field| field.name == name)
    }
}

fn parse(schema: &Value, place: &str, names: &mut HashMap<String, Type>) -> Result<Type, Unfit> {
    match schema {
        Value::String(name) => named(name, place, names),
        Value::Array(branches) => union(branches, place, names),
        Value::Object(members) => {
            let logical = members.get("logicalType").and_then(Value::as_str);
            let of = members.get("type").unwrap_or(&Value::Null);
            match (of.as_str(), logical) {
                (Some("long"), Some("timestamp-millis")) => Ok(Type::Time),
                (Some("map"), _) => {
                    let values = members.get("values").unwrap_or(&Value::Null);
                    Ok(Type::Map(Box::new(parse(values, place, names)?)))
                }
                (Some("array"), _) => {
                    let items = members.get("items").unwrap_or(&Value::Null);
                    Ok(Type::List(Box::new(parse(items, place, names)?)))
                }
                (Some("enum"), _) => {
                    let symbols = members.get("symbols").and_then(Value::as_array);
                    let symbols = symbols.into_iter().flatten().filter_map(Value::as_str);
                    let of = Type::Symbol(symbols.map(str::to_owned).collect());
                    Ok(remember(members.get("name"), of, names))
                }
                (Some("record"), _) => {
                    let of = Type::Record(record(members.get("fields"), place, names)?);
                    Ok(remember(members.get("name"), of, names))
                }
                (Some(name), _) => named(name, place, names),
                (None, _) => parse(of, place, names),
            }
        }
        _ => Err(Unfit::new(place, "has no type")),
    }
}

fn remember(name: Option<&Value>, of: Type, names: &mut HashMap<String, Type>) -> Type {
    if let Some(name) = name.and_then(Value::as_str) {
        names.insert(name.to_owned(), of.clone());
    }
    of
}

fn named(name: &str, place: &str, names: &HashMap<String, Type>) -> Result<Type, Unfit> {
    Ok(match name {
        "string" => Type::Text,
        "boolean" => Type::Flag,
        "int" => Type::Int,
        "long" => Type::Long,
        "double" => Type::Double,
        other => {
            // References may be written with the namespace.
            let short = other.rsplit('.').next().unwrap_or(other);
            return names
                .get(short)
                .cloned()
                .ok_or_else(|| Unfit::new(place, "has a type that requests are not made of"));
        }
    })
}

fn union(
    branches: &[Value],
    place: &str,
    names: &mut HashMap<String, Type>,
) -> Result<Type, Unfit> {
    let is_null = |branch: &Value| branch == "null";
    let (null_at, of) = match branches {
        [null, of] if is_null(null) => (0, of),
        [of, null] if is_null(null) => (1, of),
        _ => return Err(Unfit::new(place, "is a union of more than null and one type")),
    };
    Ok(Type::Nullable { of: Box::new(parse(of, place, names)?), null_at })
}

fn record(
    fields: Option<&Value>,
    place: &str,
    names: &mut HashMap<String, Type>,
) -> Result<Shape, Unfit> {
    let fields = fields
        .and_then(Value::as_array)
        .ok_or_else(|| Unfit::new(place, "has no fields"))?
        .iter()
        .map(|field| {
            let name = field["name"].as_str().unwrap_or_default().to_owned();
            let of = parse(&field["type"], &name, names)?;
            Ok(FieldShape { name, of, default: field.get("default").cloned() })
        })
        .collect::<Result<Vec<_>, Unfit>>()?;
    Ok(Shape { fields: with_json(fields) })
}

/// Marks the fields whose media type stands beside them.
fn with_json(mut fields: Vec<FieldShape>) -> Vec<FieldShape> {
    let described: Vec<String> = fields
        .iter()
        .filter_map(|field| field.name.strip_suffix(MEDIA_TYPE).map(str::to_owned))
        .collect();
    for field in fields.iter_mut().filter(|field| described.contains(&field.name)) {
        match &mut field.of {
            of @ Type::Text => *of = Type::Json,
            Type::Nullable { of, .. } if **of == Type::Text => **of = Type::Json,
            _ => {}
        }
    }
    fields
}

/// Whether a symbol may be written.
pub(crate) fn is_written(symbol: &str) -> bool {
    symbol != NEVER_WRITTEN
}

/// Appends the Avro datum of a value that [`crate::fill`] has made fit its type.
///
/// # Panics
/// When it doesn't fit: our own mistake.
pub(crate) fn encode(of: &Type, value: &Value, out: &mut Vec<u8>) {
    match (of, value) {
        (Type::Text | Type::Json, Value::String(text)) => bytes(text.as_bytes(), out),
        (Type::Flag, Value::Bool(flag)) => out.push(u8::from(*flag)),
        (Type::Int | Type::Long | Type::Time, Value::Number(number)) => {
            long(number.as_i64().expect("it was filled in as an integer"), out);
        }
        (Type::Double, Value::Number(number)) => {
            let number = number.as_f64().expect("every number has a nearest one");
            out.extend_from_slice(&number.to_le_bytes());
        }
        (Type::Symbol(symbols), Value::String(text)) => {
            let at = symbols.iter().position(|symbol| symbol == text);
            long(at.expect("it was filled in as a symbol") as i64, out);
        }
        (Type::Map(of), Value::Object(entries)) => {
            if !entries.is_empty() {
                long(entries.len() as i64, out);
                // As our own codec has it: by name.
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_unstable_by_key(|(name, _)| *name);
                for (name, value) in entries {
                    bytes(name.as_bytes(), out);
                    encode(of, value, out);
                }
            }
            long(0, out);
        }
        (Type::List(of), Value::Array(items)) => {
            if !items.is_empty() {
                long(items.len() as i64, out);
                items.iter().for_each(|item| encode(of, item, out));
            }
            long(0, out);
        }
        (Type::Record(shape), Value::Object(fields)) => {
            for field in &shape.fields {
                let value = fields.get(&field.name).expect("every field was filled in");
                encode(&field.of, value, out);
            }
        }
        (Type::Nullable { null_at, .. }, Value::Null) => long(i64::from(*null_at), out),
        (Type::Nullable { of, null_at }, value) => {
            long(i64::from(1 - *null_at), out);
            encode(of, value, out);
        }
        (of, _) => unreachable!("a value was filled in that isn't {of:?}"),
    }
}

fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
    long(i64::try_from(bytes.len()).expect("a length fits"), out);
    out.extend_from_slice(bytes);
}

/// Zig-zag in groups of seven bits (Avro 1.12, "binary encoding").
fn long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_with_a_media_type_beside_it_is_json() {
        let shape = Shape::parse(
            r#"{"type":"record","name":"R","fields":[
                {"name":"input","type":["null","string"],"default":null},
                {"name":"input_media_type","type":"string","default":"application/json"},
                {"name":"tags","type":{"type":"array","items":"string"},"default":[]},
                {"name":"k","type":{"type":"enum","name":"K","symbols":["unknown","a"]}},
                {"name":"l","type":["null","K"],"default":null}
            ]}"#,
        )
        .unwrap();
        let of = |name: &str| shape.field(name).unwrap().of.clone();
        assert_eq!(of("input"), Type::Nullable { of: Box::new(Type::Json), null_at: 0 });
        assert_eq!(of("tags"), Type::List(Box::new(Type::Text)));
        assert_eq!(of("l"), Type::Nullable { of: Box::new(of("k")), null_at: 0 });
    }

    #[test]
    fn schema_that_requests_are_not_made_of_is_refused_at_its_place() {
        for (fields, place) in [
            (r#"[{"name":"a","type":["null","string","int"]}]"#, "a: is a union"),
            (r#"[{"name":"b","type":"bytes"}]"#, "b: has a type"),
            (r#"[{"name":"c"}]"#, "c: has no type"),
        ] {
            let schema = format!(r#"{{"type":"record","name":"R","fields":{fields}}}"#);
            let error = Shape::parse(&schema).unwrap_err().to_string();
            assert!(error.starts_with(place), "{error}");
        }
    }
}
