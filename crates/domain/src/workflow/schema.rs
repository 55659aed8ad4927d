//! The JSON Schemas (draft 2020-12) in a definition: whether they are schemas, whether a value fits one,
//! and what one says about the value at a path.
//!
//! Nothing is ever fetched: a `$ref` to another document is an error. Patterns run in linear time.

use std::fmt;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Validator, draft202012};
use serde_json::Value;

use super::problem::{Pointer, Problems};

/// What a value of a schema is checked with.
///
/// # Errors
/// A fragment that says why this isn't a schema that we take.
pub fn validator(schema: &Value) -> Result<Validator, String> {
    draft202012::options()
        .offline()
        .should_validate_formats(true)
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
        .map_err(|error| error.to_string())
}

/// Notes everything that keeps `schema` from being one.
pub(super) fn check(schema: &Value, at: &Pointer, problems: &mut Problems) {
    if !schema.is_object() && !schema.is_boolean() {
        problems.error(at, "is no JSON Schema: write an object such as {\"type\": \"string\"}");
        return;
    }
    let meta = draft202012::meta::validator();
    let mut invalid = false;
    for error in meta.iter_errors(schema) {
        invalid = true;
        let place = at.below(error.instance_path().as_str());
        problems
            .error(&place, format!("is no valid JSON Schema (draft 2020-12), correct it: {error}"));
    }
    if !invalid && let Err(error) = validator(schema) {
        problems.error(at, format!("is a JSON Schema that can't be used, change it: {error}"));
    }
}

/// One way in which a value doesn't fit a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where in the value: a JSON pointer.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
    /// How far this depends on what stands at and below the place.
    pub(super) about: About,
}

/// What a [`Violation`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// Which fields an object has.
    Fields,
    /// The type of the value.
    Type,
    /// Anything else.
    Content,
}

/// All ways in which a value doesn't fit a schema; none when the schema isn't one.
#[must_use]
pub fn violations(schema: &Value, value: &Value) -> Vec<Violation> {
    let Ok(validator) = validator(schema) else { return Vec::new() };
    validator
        .iter_errors(value)
        .map(|error| Violation {
            pointer: error.instance_path().as_str().to_owned(),
            message: error.to_string(),
            about: match error.kind() {
                ValidationErrorKind::Required { .. }
                | ValidationErrorKind::AdditionalProperties { .. } => About::Fields,
                ValidationErrorKind::Type { .. } => About::Type,
                _ => About::Content,
            },
        })
        .collect()
}

/// The types of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonType {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

impl JsonType {
    /// The type of a value.
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Boolean,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::String,
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
        }
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "number" | "integer" => Self::Number,
            "string" => Self::String,
            "array" => Self::Array,
            "object" => Self::Object,
            _ => return None,
        })
    }
}

impl fmt::Display for JsonType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a text",
            Self::Array => "a list",
            Self::Object => "an object",
        })
    }
}

/// What a schema says about the value at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing.
    Nothing,
    /// It has one of these types, if it is there.
    Types(Vec<JsonType>),
    /// Nothing has this name, as the schema forbids other fields than its own.
    Forbidden { name: String, declared: Vec<String> },
    /// The schema doesn't speak of this name, though it does of others.
    Undeclared { name: String, declared: Vec<String> },
    /// It may be left out at this depth of the path, and then there is no default for it.
    Optional { depth: usize, name: String },
}

/// The keywords that make a schema say more than `type` and `properties` do.
const COMPOSED: [&str; 11] = [
    "$ref",
    "$dynamicRef",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "patternProperties",
    "dependentSchemas",
    "const",
    "enum",
];

/// What `schema` says about the value at `path` in a value of it.
pub(super) fn known(schema: &Value, path: &[String]) -> Known {
    let mut here = schema;
    let mut optional = None;
    for (depth, name) in path.iter().enumerate() {
        let Some(fields) = here.as_object() else { return Known::Nothing };
        if COMPOSED.iter().any(|keyword| fields.contains_key(*keyword)) {
            return Known::Nothing;
        }
        let Some(properties) = fields.get("properties").and_then(Value::as_object) else {
            return Known::Nothing;
        };
        let Some(next) = properties.get(name) else {
            let name = name.clone();
            let declared = properties.keys().cloned().collect();
            let closed = fields.get("additionalProperties") == Some(&Value::Bool(false));
            return match (closed, fields.contains_key("additionalProperties")) {
                (true, _) => Known::Forbidden { name, declared },
                (false, true) => Known::Nothing,
                (false, false) => Known::Undeclared { name, declared },
            };
        };
        let required = fields
            .get("required")
            .and_then(Value::as_array)
            .is_some_and(|required| required.iter().any(|field| field == name));
        // Only the defaults of an execution's own inputs are filled in, not those further down.
        let filled = depth == 0 && next.get("default").is_some();
        if !required && !filled && optional.is_none() {
            optional = Some(Known::Optional { depth: depth + 1, name: name.clone() });
        }
        here = next;
    }
    optional.unwrap_or_else(|| types(here))
}

/// The types of what stands at `path`, whether or not it may be left out.
pub(super) fn types_at(schema: &Value, path: &[String]) -> Option<Vec<JsonType>> {
    let mut here = schema;
    for name in path {
        here = here.get("properties")?.get(name)?;
    }
    match types(here) {
        Known::Types(types) => Some(types),
        _ => None,
    }
}

fn types(schema: &Value) -> Known {
    let named = match schema.get("type") {
        Some(Value::String(name)) => JsonType::named(name).map(|one| vec![one]),
        Some(Value::Array(names)) => {
            names.iter().map(|name| name.as_str().and_then(JsonType::named)).collect()
        }
        _ => None,
    };
    named.map_or(Known::Nothing, Known::Types)
}
