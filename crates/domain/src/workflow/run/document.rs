//! A JSON value as an execution keeps it: its text, and what expressions see of it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use minijinja::value::Serde;
use serde_json::Value;

/// A JSON value. Cheap to clone: all clones share the text, and what was parsed of it.
#[derive(Clone)]
pub struct Document(Arc<Inner>);

struct Inner {
    text: String,
    /// Made when an expression first reads it.
    value: OnceLock<minijinja::Value>,
}

impl Document {
    /// The document of a JSON text.
    ///
    /// # Errors
    /// When it isn't JSON: line and column, and nothing of the text.
    pub fn parse(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        serde_json::from_str::<&serde_json::value::RawValue>(&text)
            .map_err(|error| format!("line {} column {}", error.line(), error.column()))?;
        Ok(Self::trusted(text))
    }

    /// The document of a text that was one before.
    #[must_use]
    pub fn trusted(text: String) -> Self {
        Self(Arc::new(Inner { text, value: OnceLock::new() }))
    }

    /// JSON's null.
    #[must_use]
    pub fn null() -> Self {
        Self::trusted("null".to_owned())
    }

    /// The list of these.
    #[must_use]
    pub fn list<'a>(items: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut text = String::from("[");
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(item.text());
        }
        text.push(']');
        Self::trusted(text)
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// As a tree; null for what isn't JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::from_str(self.text()).unwrap_or_default()
    }

    /// As expressions see it.
    #[must_use]
    pub fn value(&self) -> minijinja::Value {
        let value = self.0.value.get_or_init(|| minijinja::Value::from(Serde(self.to_json())));
        value.clone()
    }
}

impl From<&Value> for Document {
    fn from(value: &Value) -> Self {
        Self::trusted(value.to_string())
    }
}

/// Two are equal when their texts are.
impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Document {}

/// Says how long it is: what is in it is the client's.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if cfg!(test) {
            return f.write_str(self.text());
        }
        write!(f, "Document({} bytes)", self.text().len())
    }
}
