//! An object of the source that remembers what was read of it, so that the rest can be reported.
//!
//! A value of an unexpected type counts as not read.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::workflow::problem::Pointer;

/// See the module.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    whole: Option<&'a Value>,
    map: Option<&'a Map<String, Value>>,
    /// Where it stands.
    pub(super) at: Pointer,
    seen: RefCell<BTreeSet<String>>,
}

impl<'a> Fields<'a> {
    /// What isn't an object has no fields.
    pub(super) fn open(value: Option<&'a Value>, at: Pointer) -> Self {
        Self { whole: value, map: value.and_then(Value::as_object), at, seen: RefCell::default() }
    }

    /// The value that this is of.
    pub(super) fn whole(&self) -> Option<&'a Value> {
        self.whole
    }

    /// A field that is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        let value = self.peek(name)?;
        self.mark(name);
        Some(value)
    }

    /// The same, without counting as read.
    pub(super) fn peek(&self, name: &str) -> Option<&'a Value> {
        self.map?.get(name).filter(|value| !value.is_null())
    }

    /// Counts a field as read.
    pub(super) fn mark(&self, name: &str) {
        self.seen.borrow_mut().insert(name.to_owned());
    }

    /// A text; empty when there is none.
    pub(super) fn text(&self, name: &str) -> &'a str {
        let Some(text) = self.peek(name).and_then(Value::as_str) else { return "" };
        self.mark(name);
        text
    }

    /// Whether a field is plainly true.
    pub(super) fn is_true(&self, name: &str) -> bool {
        let Some(truth) = self.peek(name).and_then(Value::as_bool) else { return false };
        self.mark(name);
        truth
    }

    /// A whole number that isn't negative.
    pub(super) fn count(&self, name: &str) -> Option<u64> {
        let count = self.peek(name)?.as_u64()?;
        self.mark(name);
        Some(count)
    }

    /// A list; empty when there is none.
    pub(super) fn list(&self, name: &str) -> &'a [Value] {
        let Some(list) = self.peek(name).and_then(Value::as_array) else { return &[] };
        self.mark(name);
        list
    }

    /// The objects of a list, each with its place.
    pub(super) fn objects(&self, name: &str) -> Vec<Fields<'a>> {
        let at = self.at.field(name);
        let items = self.list(name).iter().enumerate();
        items.map(|(i, item)| Fields::open(Some(item), at.index(i))).collect()
    }

    /// An object; one without fields when there is none.
    pub(super) fn object(&self, name: &str) -> Fields<'a> {
        let value = self.peek(name).filter(|value| value.is_object());
        if value.is_some() {
            self.mark(name);
        }
        Fields::open(value, self.at.field(name))
    }

    /// Whether it has any fields.
    pub(super) fn is_there(&self) -> bool {
        self.map.is_some_and(|map| !map.is_empty())
    }

    /// The values of all fields; none counts as read.
    pub(super) fn values(&self) -> impl Iterator<Item = &'a Value> {
        self.map.into_iter().flatten().map(|(_, value)| value)
    }

    /// The names of all fields.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.map.into_iter().flatten().map(|(name, _)| name.as_str())
    }

    /// The fields that were read and say something, by name.
    pub(super) fn read(&self) -> Vec<String> {
        let seen = self.seen.borrow();
        let says = |name: &&String| self.peek(name).is_some_and(says_something);
        seen.iter().filter(says).cloned().collect()
    }

    /// The fields that say something and were not read; `plain` are those that only concern the canvas.
    pub(super) fn unread(&self, plain: &[&str]) -> Vec<(&'a str, &'a Value)> {
        let seen = self.seen.borrow();
        self.map
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.as_str(), value))
            .filter(|(name, value)| {
                !seen.contains(*name)
                    && !plain.contains(name)
                    && !name.starts_with('_')
                    && says_something(value)
            })
            .collect()
    }
}

/// Whether a setting is more than its absence would be.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => {
            let is_off = fields.get("enabled") == Some(&Value::Bool(false));
            !is_off && fields.values().any(says_something)
        }
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// An id or a name: texts as they are, and numbers, which YAML makes of unquoted ones.
pub(super) fn name_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The names along a selector, such as `["17546", "text"]`.
pub(super) fn selector(value: &Value) -> Option<Vec<String>> {
    let names: Option<Vec<String>> = value.as_array()?.iter().map(name_of).collect();
    names.filter(|names| !names.is_empty())
}
