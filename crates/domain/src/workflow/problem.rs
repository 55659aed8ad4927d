//! What is wrong with a definition: where, how bad, and what to do about it.
//!
//! Places are JSON pointers (RFC 6901) into the definition as it was given.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether a definition with this problem can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It can't.
    Error,
    /// It can, but may not do what its author wants.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where: a JSON pointer; empty: the whole definition.
    pub pointer: String,
    /// A sentence for its author: what is wrong, and what to do.
    pub message: String,
}

impl Problem {
    /// Something because of which a definition can't be used.
    #[must_use]
    pub fn error(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        let (pointer, message) = (pointer.into(), message.into());
        Self { severity: Severity::Error, pointer, message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let pointer = if self.pointer.is_empty() { "the definition" } else { &self.pointer };
        write!(f, "{severity} at {pointer}: {}", self.message)
    }
}

/// A place in a definition.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pointer(String);

impl Pointer {
    /// The whole definition.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// A field of the object here.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        Self(format!("{}/{}", self.0, name.replace('~', "~0").replace('/', "~1")))
    }

    /// An item of the list here, from 0.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}/{index}", self.0))
    }

    /// A place below this one, by a pointer that starts here.
    #[must_use]
    pub(super) fn below(&self, pointer: &str) -> Self {
        Self(format!("{}{pointer}", self.0))
    }

    /// As RFC 6901 writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Nobody reads more problems than this at once; a hostile definition could have millions.
const MAX_PROBLEMS: usize = 1_000;

/// Comparing names costs time, which a definition with more errors than this isn't worth.
const MAX_HINTED: usize = 100;

/// The problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Problem>,
    errors: usize,
}

impl Problems {
    /// Notes what makes the definition unusable.
    pub(crate) fn error(&mut self, at: &Pointer, message: impl Into<String>) {
        self.errors += 1;
        self.add(Severity::Error, at, message.into());
    }

    /// Notes what its author should look at.
    pub(crate) fn warning(&mut self, at: &Pointer, message: impl Into<String>) {
        self.add(Severity::Warning, at, message.into());
    }

    /// Whether there is an error among them.
    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// All of them: errors first, each kind in the order in which it was found.
    pub(crate) fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|problem| problem.severity);
        self.found
    }

    /// The name among `known` that `name` was probably meant to be, as a clause for a message; empty when
    /// none is close, and when there are so many errors that nobody would read it.
    pub(crate) fn hint<'a>(&self, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
        if self.errors > MAX_HINTED {
            return String::new();
        }
        let bound = if name.chars().count() <= 3 { 1 } else { 2 };
        known
            .into_iter()
            .map(|candidate| (distance(name, candidate), candidate))
            .filter(|(distance, _)| *distance <= bound)
            .min()
            .map_or_else(String::new, |(_, candidate)| format!("; did you mean {candidate:?}?"))
    }

    fn add(&mut self, severity: Severity, at: &Pointer, message: String) {
        let problem = Problem { severity, pointer: at.as_str().to_owned(), message };
        let room = match severity {
            Severity::Error => self.errors <= MAX_PROBLEMS,
            Severity::Warning => self.found.len() < MAX_PROBLEMS,
        };
        if room && !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }
}

/// Levenshtein's distance of two names, case left aside; long names are never close.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    if a.len() > LONGEST || b.len() > LONGEST {
        return usize::MAX;
    }
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
