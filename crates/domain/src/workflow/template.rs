//! Fields that may have expressions in them: texts, and lists and objects of such.
//!
//! A text that is exactly `{{ expression }}` keeps the JSON type of its value; every other text with
//! delimiters renders to text. What has none is taken as it is. Keys of objects are never templates.

use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;
use serde_json::{Map, Value};

/// What one expression may cost, in minijinja's instructions: far above any mapping, far below a stall.
const FUEL: u64 = 1_000_000;

/// A field that may have expressions in it.
#[derive(Clone, Debug, PartialEq)]
pub enum Template {
    /// A value without any.
    Literal(Value),
    /// Exactly one: what stands between `{{` and `}}`.
    Expression(String),
    /// A text with at least one in it.
    Text(String),
    /// A list with at least one somewhere.
    List(Vec<Template>),
    /// An object with at least one somewhere; in the order of the definition.
    Object(Vec<(String, Template)>),
}

impl Template {
    /// Whether this is a value without any expression.
    #[must_use]
    pub fn as_literal(&self) -> Option<&Value> {
        match self {
            Self::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// The value in a context.
    ///
    /// # Errors
    /// The first expression that fails.
    pub fn evaluate(
        &self,
        environment: &Environment<'_>,
        context: &minijinja::Value,
    ) -> Result<Value, minijinja::Error> {
        Ok(match self {
            Self::Literal(value) => value.clone(),
            Self::Expression(source) => {
                let value = environment.compile_expression(source)?.eval(context.clone())?;
                to_json(&value)?
            }
            Self::Text(source) => Value::String(environment.render_str(source, context.clone())?),
            Self::List(items) => Value::Array(
                items
                    .iter()
                    .map(|item| item.evaluate(environment, context))
                    .collect::<Result<_, _>>()?,
            ),
            Self::Object(fields) => Value::Object(
                fields
                    .iter()
                    .map(|(name, field)| Ok((name.clone(), field.evaluate(environment, context)?)))
                    .collect::<Result<Map<_, _>, minijinja::Error>>()?,
            ),
        })
    }
}

/// What every expression of a workflow is evaluated in: strict about what is undefined, bounded in what
/// it may cost, without other templates to load, and text as it is (nothing is escaped for HTML).
#[must_use]
pub fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    // Prints all variables: a leak in an answer, and nothing else.
    environment.remove_global("debug");
    environment.add_filter("fromjson", from_json);
    environment
}

/// The value that a JSON text stands for: what `tojson` is the other way round. Models answer in texts.
fn from_json(text: &str) -> Result<minijinja::Value, minijinja::Error> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        // Serde's own message may quote the text.
        let place = format!("not JSON: line {} column {}", error.line(), error.column());
        minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, place)
    })?;
    Ok(minijinja::Value::from(minijinja::value::Serde(value)))
}

/// The JSON of a value; undefined is an error.
fn to_json(value: &minijinja::Value) -> Result<Value, minijinja::Error> {
    if value.is_undefined() {
        let kind = minijinja::ErrorKind::UndefinedError;
        return Err(minijinja::Error::new(kind, "the expression has no value"));
    }
    value.serialize(serde_json::value::Serializer).map_err(|error| {
        let kind = minijinja::ErrorKind::BadSerialization;
        minijinja::Error::new(kind, "the value isn't JSON").with_source(error)
    })
}
