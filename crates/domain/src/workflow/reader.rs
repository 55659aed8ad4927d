//! Reads JSON by hand, so that one wrong field doesn't hide the next: each step notes what is wrong and
//! goes on with what is left.
//!
//! It knows the fields of an object from [`super::fields`] only; whoever asks for one that isn't in the
//! table, or forgets one that is, fails in debug builds.

use std::cell::Cell;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::duration;
use super::fields::{Need, Shape};
use super::problem::{Pointer, Problems};

/// An object of a known shape.
pub(crate) struct Object<'a> {
    map: &'a Map<String, Value>,
    shape: &'static Shape,
    pub(crate) at: Pointer,
    asked: Cell<u32>,
}

impl<'a> Object<'a> {
    /// Takes `value` for an object of `shape`, and notes what it has too much and too little.
    pub(crate) fn open(
        value: &'a Value,
        shape: &'static Shape,
        at: Pointer,
        problems: &mut Problems,
    ) -> Option<Self> {
        let Value::Object(map) = value else {
            return wrong_type(value, "an object", &at, problems);
        };
        for name in map.keys() {
            if shape.field(name).is_none() {
                let known = shape.fields.iter().map(|field| field.name);
                let known: Vec<_> = known.collect();
                let what = match problems.hint(name, known.iter().copied()) {
                    hint if hint.is_empty() => {
                        format!(": remove it; the fields are {}", known.join(", "))
                    }
                    hint => hint,
                };
                let message = format!("unknown field {name:?} of {}{what}", shape.name);
                problems.error(&at.field(name), message);
            }
        }
        for field in shape.fields {
            if field.need == Need::Required && !map.contains_key(field.name) {
                let message = format!("the field {:?} of {} is missing", field.name, shape.name);
                problems.error(&at, format!("{message}: add it"));
            }
        }
        Some(Self { map, shape, at, asked: Cell::new(0) })
    }

    /// The field's value and place.
    pub(crate) fn get(&self, name: &str) -> Option<(&'a Value, Pointer)> {
        let index = self.shape.fields.iter().position(|field| field.name == name);
        debug_assert!(index.is_some(), "{name} is no field of a {}", self.shape.name);
        self.asked.set(self.asked.get() | 1 << index.unwrap_or_default());
        Some((self.map.get(name)?, self.at.field(name)))
    }

    /// Whether the shape has such a field.
    pub(crate) fn takes(&self, name: &str) -> bool {
        self.shape.field(name).is_some()
    }

    /// Whether the field is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// Ends the reading: every field has been asked for.
    pub(crate) fn close(self) {
        debug_assert_eq!(
            self.asked.get().count_ones() as usize,
            self.shape.fields.len(),
            "not all fields of a {} are read",
            self.shape.name
        );
    }

    /// A text that isn't empty.
    pub(crate) fn text(&self, name: &str, problems: &mut Problems) -> Option<String> {
        let (value, at) = self.get(name)?;
        text(value, &at, problems)
    }

    /// A whole number.
    pub(crate) fn integer(
        &self,
        name: &str,
        range: RangeInclusive<u32>,
        problems: &mut Problems,
    ) -> Option<u32> {
        let (value, at) = self.get(name)?;
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None if value.is_number() => {
                let (from, to) = range.into_inner();
                problems
                    .error(&at, format!("is {value}: write a whole number from {from} to {to}"));
                None
            }
            None => wrong_type(value, "a whole number", &at, problems),
        }
    }

    /// True or false.
    pub(crate) fn boolean(&self, name: &str, problems: &mut Problems) -> Option<bool> {
        let (value, at) = self.get(name)?;
        value.as_bool().or_else(|| wrong_type(value, "true or false", &at, problems))
    }

    /// A duration, in milliseconds.
    pub(crate) fn duration(&self, name: &str, problems: &mut Problems) -> Option<u64> {
        let (value, at) = self.get(name)?;
        let Value::String(text) = value else {
            return wrong_type(value, "a duration, such as \"30s\"", &at, problems);
        };
        duration::parse(text).map_err(|message| problems.error(&at, message)).ok()
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(
        &self,
        name: &str,
        choices: &[(&str, T)],
        problems: &mut Problems,
    ) -> Option<T> {
        let (value, at) = self.get(name)?;
        choice(value, choices, &at, problems)
    }

    /// The items of a list, each with its place.
    pub(crate) fn list(&self, name: &str, problems: &mut Problems) -> Vec<(&'a Value, Pointer)> {
        let Some((value, at)) = self.get(name) else { return Vec::new() };
        let Value::Array(items) = value else {
            wrong_type::<()>(value, "a list", &at, problems);
            return Vec::new();
        };
        items.iter().enumerate().map(|(i, item)| (item, at.index(i))).collect()
    }

    /// The fields of an object with names of the author's own, each with its place.
    pub(crate) fn entries(
        &self,
        name: &str,
        problems: &mut Problems,
    ) -> Vec<(&'a String, &'a Value, Pointer)> {
        let Some((value, at)) = self.get(name) else { return Vec::new() };
        let Value::Object(fields) = value else {
            wrong_type::<()>(value, "an object", &at, problems);
            return Vec::new();
        };
        fields.iter().map(|(name, value)| (name, value, at.field(name))).collect()
    }

    /// An object of a known shape.
    pub(crate) fn object(
        &self,
        name: &str,
        shape: &'static Shape,
        problems: &mut Problems,
    ) -> Option<Object<'a>> {
        let (value, at) = self.get(name)?;
        Object::open(value, shape, at, problems)
    }
}

/// A text that isn't empty.
pub(crate) fn text(value: &Value, at: &Pointer, problems: &mut Problems) -> Option<String> {
    match value {
        Value::String(text) if text.trim().is_empty() => {
            problems.error(at, "is empty: write a text, or leave the field out");
            None
        }
        Value::String(text) => Some(text.clone()),
        _ => wrong_type(value, "a text", at, problems),
    }
}

/// One of a few words.
pub(crate) fn choice<T: Copy>(
    value: &Value,
    choices: &[(&str, T)],
    at: &Pointer,
    problems: &mut Problems,
) -> Option<T> {
    let Value::String(text) = value else { return wrong_type(value, "a text", at, problems) };
    if let Some((_, chosen)) = choices.iter().find(|(word, _)| word == text) {
        return Some(*chosen);
    }
    let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
    let hint = problems.hint(text, words.iter().copied());
    let what = match hint.as_str() {
        "" => format!(": write one of {}", words.join(", ")),
        hint => hint.to_owned(),
    };
    problems.error(at, format!("{text:?} isn't known here{what}"));
    None
}

/// Notes that a value has the wrong type.
pub(crate) fn wrong_type<T>(
    value: &Value,
    wanted: &str,
    at: &Pointer,
    problems: &mut Problems,
) -> Option<T> {
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    problems.error(at, format!("is {is}: write {wanted}"));
    None
}

/// Names that mean something else in expressions, so that nothing may be called so.
const RESERVED: [&str; 24] = [
    "inputs",
    "variables",
    "nodes",
    "execution",
    "index",
    "iteration",
    "last",
    "loop",
    "self",
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "true",
    "false",
    "none",
    "True",
    "False",
    "None",
    "super",
    "caller",
];

/// The longest name.
const MAX_NAME: usize = 64;

/// Checks a name that expressions use: a letter or `_`, then letters, digits or `_`.
pub(crate) fn identifier(name: &str, at: &Pointer, problems: &mut Problems) {
    let mut characters = name.chars();
    let begins = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !begins || !characters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let message = format!(
            "{name:?} is no name that expressions can use: write letters, digits and _, not beginning \
             with a digit"
        );
        problems.error(at, message);
    } else if name.len() > MAX_NAME {
        problems.error(at, format!("is longer than {MAX_NAME} characters: write a shorter name"));
    } else if RESERVED.contains(&name) {
        problems.error(at, format!("{name:?} has a meaning in expressions: choose another name"));
    }
}
