//! What every request has to keep to: its names and its times. Knows neither catalogue nor clock.

use crate::answer::{ErrorClass, Failure};
use crate::id;
use crate::time::Millis;

/// What is wrong with a request, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} {problem}")]
pub struct Invalid {
    /// Path in the request, e.g. `body.messages[0].role`.
    pub path: String,
    /// Completes the sentence that the path begins.
    pub problem: String,
}

impl Invalid {
    /// A problem at a place.
    pub fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::new(ErrorClass::Invalid, "invalid_request", invalid.to_string())
            .from_source("admission")
    }
}

/// Checks a text that is an id or a name.
///
/// # Errors
/// [`Invalid`], with this path.
pub fn named(path: &str, text: &str) -> Result<(), Invalid> {
    id::check(text).map_err(|error| Invalid::new(path, error.to_string()))
}

/// Checks the times between which a request is to be worked at.
///
/// # Errors
/// [`Invalid`]: one of them can't be, or nothing lies between them.
pub fn times(not_before: Option<Millis>, deadline: Option<Millis>) -> Result<(), Invalid> {
    for (path, time) in [("deadline", deadline), ("not_before", not_before)] {
        if time.is_some_and(|time| time.0 < 0) {
            return Err(Invalid::new(path, "is before 1970"));
        }
    }
    match (not_before, deadline) {
        (Some(start), Some(end)) if start >= end => {
            Err(Invalid::new("not_before", "is not before the deadline"))
        }
        _ => Ok(()),
    }
}
