//! From what a row gives to a whole record: each value in its field's type, defaults for what is left out.
//!
//! Nothing is guessed and nothing is dropped: an unknown field, one that comes twice, or a value of another
//! type is an error that names the field. Values are not judged beyond their type.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::moment;
use crate::shape::{Shape, Type, is_written};

/// A value as a row has it.
#[derive(Clone, Debug)]
pub enum Cell {
    /// JSON, with its spelling.
    Json(Box<RawValue>),
    /// The text of a cell of a table, or of an option.
    Text(String),
}

/// Names and values, in the order of the row. A name may have dots: `labels.team`.
pub type Cells = Vec<(String, Cell)>;

/// What is wrong with a row, and in which field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}{}{problem}", if path.is_empty() { "" } else { " " })]
pub struct Problem {
    /// Dotted path of the field; empty: the row as a whole.
    pub path: String,
    /// Completes the sentence that the path begins.
    pub problem: String,
}

impl Problem {
    pub(crate) fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }

    fn within(mut self, path: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{path}{dot}{}", self.path);
        self
    }
}

/// A whole record. What a row leaves out is taken from `otherwise`, then from the schema; `made` makes what
/// neither has.
pub(crate) fn fill(
    shape: &Shape,
    cells: Cells,
    otherwise: Cells,
    made: &dyn Fn(&str) -> Option<Value>,
) -> Result<Map<String, Value>, Problem> {
    let own = Given::gather(shape, cells)?;
    let other = Given::gather(shape, otherwise)?;
    let mut record = Map::new();
    for ((field, own), other) in shape.fields.iter().zip(own).zip(other) {
        let value = match own.value(other, &field.of) {
            Ok(Some(value)) => value,
            Ok(None) => made(&field.name)
                .or_else(|| field.default.clone())
                .ok_or_else(|| Problem::new(&field.name, "is missing"))?,
            Err(problem) => return Err(problem.within(&field.name)),
        };
        record.insert(field.name.clone(), value);
    }
    Ok(record)
}

/// Whether a row may name this field, or this part of one.
pub(crate) fn check_name(shape: &Shape, name: &str) -> Result<(), Problem> {
    let (head, part) = match name.split_once('.') {
        Some((head, part)) => (head, Some(part)),
        None => (name, None),
    };
    let field = shape.field(head).ok_or_else(|| unknown(shape, name))?;
    match (parts(&field.of), part) {
        (_, None) | (Parts::Any, Some(_)) => Ok(()),
        (Parts::Of(shape), Some(part)) => {
            check_name(shape, part).map_err(|problem| problem.within(head))
        }
        (Parts::None, Some(_)) => Err(unknown(shape, name)),
    }
}

/// What a row gives of one field: the field itself, or parts of it.
#[derive(Default)]
struct Given {
    whole: Option<Cell>,
    parts: Cells,
}

impl Given {
    /// By field, in the shape's order.
    fn gather(shape: &Shape, cells: Cells) -> Result<Vec<Self>, Problem> {
        let mut given: Vec<Self> = shape.fields.iter().map(|_| Self::default()).collect();
        for (name, cell) in cells {
            let (head, part) = match name.split_once('.') {
                Some((head, part)) => (head, Some(part)),
                None => (name.as_str(), None),
            };
            let at = shape.fields.iter().position(|field| field.name == head);
            let Some(at) = at else { return Err(unknown(shape, &name)) };
            match part {
                None if given[at].whole.is_some() => return Err(Problem::new(name, "comes twice")),
                None => given[at].whole = Some(cell),
                Some(part) => {
                    if matches!(parts(&shape.fields[at].of), Parts::None) {
                        return Err(unknown(shape, &name));
                    }
                    if given[at].parts.iter().any(|(have, _)| have == part) {
                        return Err(Problem::new(name, "comes twice"));
                    }
                    given[at].parts.push((part.to_owned(), cell));
                }
            }
        }
        Ok(given)
    }

    /// The value, of `other` where this has none; `None` where neither has. Values with parts are put
    /// together from both.
    fn value(self, other: Self, of: &Type) -> Result<Option<Value>, Problem> {
        if matches!(parts(of), Parts::None) || self.is_null() {
            return match self.whole.or(other.whole) {
                None => Ok(None),
                Some(cell) => of_cell(of, cell).map(Some),
            };
        }
        let (own, other) = (self.parts()?, other.parts()?);
        if own.is_none() && other.is_none() {
            return Ok(None);
        }
        let mut all = own.unwrap_or_default();
        let count = all.len();
        for (name, cell) in other.unwrap_or_default() {
            if all[..count].iter().all(|(have, _)| *have != name) {
                all.push((name, cell));
            }
        }
        assembled(of, all).map(Some)
    }

    fn is_null(&self) -> bool {
        let null = matches!(&self.whole, Some(Cell::Json(raw)) if raw.get() == "null");
        null && self.parts.is_empty()
    }

    /// The members of the whole and the parts beside it; `None` where there is neither.
    fn parts(self) -> Result<Option<Cells>, Problem> {
        let mut cells = match self.whole {
            None if self.parts.is_empty() => return Ok(None),
            None => Vec::new(),
            Some(Cell::Json(raw)) => members(raw.get())?,
            Some(Cell::Text(text)) => members(&text)?,
        };
        cells.extend(self.parts);
        Ok(Some(cells))
    }
}

fn unknown(shape: &Shape, name: &str) -> Problem {
    let known: Vec<&str> = shape.fields.iter().map(|field| field.name.as_str()).collect();
    Problem::new(name, format!("is not a field: there are {}", known.join(", ")))
}

/// Which parts a value can be put together from.
enum Parts<'a> {
    None,
    Any,
    Of(&'a Shape),
}

fn parts(of: &Type) -> Parts<'_> {
    match of {
        Type::Map(_) => Parts::Any,
        Type::Record(shape) => Parts::Of(shape),
        Type::Nullable { of, .. } => parts(of),
        _ => Parts::None,
    }
}

/// A map or a record of its parts.
fn assembled(of: &Type, cells: Cells) -> Result<Value, Problem> {
    match of {
        Type::Nullable { of, .. } => assembled(of, cells),
        Type::Record(shape) => fill(shape, cells, Vec::new(), &|_| None).map(Value::Object),
        Type::Map(of) => {
            let mut map = Map::new();
            for (name, cell) in cells {
                let value = of_cell(of, cell).map_err(|problem| problem.within(&name))?;
                if map.insert(name.clone(), value).is_some() {
                    return Err(Problem::new(name, "comes twice"));
                }
            }
            Ok(Value::Object(map))
        }
        _ => Err(Problem::new("", "has no parts")),
    }
}

fn of_cell(of: &Type, cell: Cell) -> Result<Value, Problem> {
    match cell {
        Cell::Json(raw) => of_json(of, &raw),
        Cell::Text(text) => of_text(of, text),
    }
}

/// A value that stands as JSON.
fn of_json(of: &Type, raw: &RawValue) -> Result<Value, Problem> {
    let text = raw.get();
    let wrong = |problem: &str| Err(Problem::new("", problem));
    let first = text.bytes().next().unwrap_or_default();
    match of {
        Type::Nullable { .. } if text == "null" => Ok(Value::Null),
        Type::Nullable { of, .. } => of_json(of, raw),
        _ if text == "null" => wrong("is null and must have a value"),
        // The spelling is kept: 1.50 stays 1.50, and an integer of any size what it is.
        Type::Json if first != b'"' => Ok(Value::String(text.to_owned())),
        Type::Json => holding_json(string(text)?),
        Type::Text => string(text).map(Value::String),
        Type::Flag => match text {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => wrong("is neither true nor false"),
        },
        Type::Time if first == b'"' => time(&string(text)?),
        Type::Int | Type::Long | Type::Time | Type::Double => number(of, text),
        Type::Symbol(symbols) => symbol(symbols, string(text)?),
        Type::Map(_) | Type::Record(_) => assembled(of, members(text)?),
        Type::List(of) => list(of, text),
    }
}

/// A value that stands as the text of a cell or an option.
fn of_text(of: &Type, text: String) -> Result<Value, Problem> {
    match of {
        Type::Nullable { of, .. } => of_text(of, text),
        Type::Text => Ok(Value::String(text)),
        Type::Json => holding_json(text),
        Type::Flag => match text.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(Problem::new("", "is neither true nor false")),
        },
        Type::Time if text.contains(['T', 't', ':']) => time(text.trim()),
        Type::Int | Type::Long | Type::Time | Type::Double => number(of, text.trim()),
        Type::Symbol(symbols) => symbol(symbols, text),
        Type::Map(_) | Type::Record(_) => assembled(of, members(&text)?),
        Type::List(of) => list(of, &text),
    }
}

fn string(text: &str) -> Result<String, Problem> {
    serde_json::from_str(text).map_err(|_| Problem::new("", "is not a text"))
}

fn holding_json(text: String) -> Result<Value, Problem> {
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(_) => Ok(Value::String(text)),
        Err(error) => Err(Problem::new("", format!("holds no JSON: {error}"))),
    }
}

fn number(of: &Type, text: &str) -> Result<Value, Problem> {
    let (parsed, problem) = match of {
        Type::Int => (text.parse::<i32>().map(Value::from).ok(), "is not an integer of 32 bits"),
        Type::Double => {
            let number = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
            (number.map(Value::Number), "is not a number")
        }
        Type::Time => {
            let problem = "is neither milliseconds since 1970 nor a time like 2026-01-31T12:00:00Z";
            (text.parse::<i64>().map(Value::from).ok(), problem)
        }
        _ => (text.parse::<i64>().map(Value::from).ok(), "is not an integer of 64 bits"),
    };
    parsed.ok_or_else(|| Problem::new("", problem))
}

fn time(text: &str) -> Result<Value, Problem> {
    let time = moment::parse(text).map_err(|error| Problem::new("", error.to_string()))?;
    Ok(Value::from(time.0))
}

fn symbol(symbols: &[String], text: String) -> Result<Value, Problem> {
    let mut written = symbols.iter().filter(|symbol| is_written(symbol));
    if written.clone().any(|symbol| *symbol == text) {
        return Ok(Value::String(text));
    }
    let first = written.next().cloned().unwrap_or_default();
    let known = written.fold(first, |known, symbol| format!("{known}, {symbol}"));
    Err(Problem::new("", format!("is none of {known}")))
}

fn list(of: &Type, text: &str) -> Result<Value, Problem> {
    let items: Vec<Box<RawValue>> =
        serde_json::from_str(text).map_err(|_| Problem::new("", "is not a list"))?;
    let items = items
        .iter()
        .enumerate()
        .map(|(at, item)| of_json(of, item).map_err(|problem| problem.within(&format!("[{at}]"))));
    items.collect::<Result<Vec<_>, _>>().map(Value::Array)
}

fn members(text: &str) -> Result<Cells, Problem> {
    let members: Members =
        serde_json::from_str(text).map_err(|_| Problem::new("", "is not an object"))?;
    Ok(members.0)
}

/// The members of a JSON object in their order, each with its spelling; a name may come twice.
pub(crate) struct Members(pub(crate) Cells);

impl<'de> serde::Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Members, A::Error> {
                let mut cells = Cells::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    cells.push((name, Cell::Json(value)));
                }
                Ok(Members(cells))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}
