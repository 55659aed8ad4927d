//! What the compiler says about a round, as what the next round does otherwise.
//!
//! It goes by the problems' places and by what their sentences say of which node; a sentence that it
//! doesn't know makes the node that it is about a gap.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::workflow::problem::{Problem, Severity};

/// What earlier rounds have taught.
#[derive(Debug, Default)]
pub(super) struct Feedback {
    reads: BTreeMap<(String, String, Field), Care>,
    gaps: BTreeMap<String, String>,
    results: BTreeMap<String, String>,
}

/// What of a node is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    /// What it gave.
    Output,
    /// Why it failed.
    Error,
    /// Whatever it is.
    Any,
}

/// How a read must be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Care {
    /// It may not be there.
    Guarded,
    /// It is never there.
    Absent,
}

impl Feedback {
    /// How the node `reader` (or the result of its body; of the whole: "") must read a field of `node`.
    pub(super) fn care(&self, reader: &str, node: &str, field: Field) -> Option<Care> {
        let known = |field| self.reads.get(&(reader.to_owned(), node.to_owned(), field)).copied();
        known(field).max(known(Field::Any))
    }

    /// Why a node can't be as it would be made.
    pub(super) fn gap(&self, node: &str) -> Option<&str> {
        self.gaps.get(node).map(String::as_str)
    }

    /// Why the result of a body (of the whole: "") can't be as it would be made.
    pub(super) fn no_result(&self, owner: &str) -> Option<&str> {
        self.results.get(owner).map(String::as_str)
    }

    /// Takes in what is wrong with a definition, and says whether that was news.
    pub(super) fn learn(&mut self, definition: &Value, problems: &[Problem]) -> bool {
        let before = (self.reads.clone(), self.gaps.len(), self.results.len());
        let mut open = Vec::new();
        for problem in problems {
            let place = Place::of(definition, &problem.pointer);
            match (about(&problem.message), &place) {
                (Some((node, field, care)), Some(place)) => {
                    let key = (place.node.clone(), node, field);
                    let known = self.reads.entry(key).or_insert(care);
                    *known = (*known).max(care);
                }
                (_, place) if problem.severity == Severity::Error => {
                    open.push((problem, place.clone()))
                }
                _ => {}
            }
        }
        // Many errors follow from others: the reads first, then what is left.
        if self.reads == before.0 {
            for (problem, place) in open {
                let Some(place) = place else { continue };
                let into = if place.is_result { &mut self.results } else { &mut self.gaps };
                into.entry(place.node).or_insert_with(|| problem.message.clone());
            }
        }
        self.reads != before.0 || self.gaps.len() != before.1 || self.results.len() != before.2
    }
}

/// Which read a sentence is about, and what to do about it.
fn about(message: &str) -> Option<(String, Field, Care)> {
    let (node, rest) = message.strip_prefix('"')?.split_once('"')?;
    let (field, care) = if rest.starts_with(" may be skipped or fail before this runs") {
        (Field::Output, Care::Guarded)
    } else if rest.starts_with(" has an error only when it fails") {
        (Field::Error, Care::Guarded)
    } else if rest.starts_with(" has failed when this runs") {
        (Field::Output, Care::Absent)
    } else if rest.starts_with(" has succeeded when this runs") {
        (Field::Error, Care::Absent)
    } else if [" isn't before this", " runs after this", " reads itself", " is inside of the body"]
        .iter()
        .any(|begins| rest.starts_with(begins))
    {
        (Field::Any, Care::Absent)
    } else {
        return None;
    };
    Some((node.to_owned(), field, care))
}

/// Whose text a pointer leads to.
#[derive(Clone, Debug)]
struct Place {
    /// The id of the innermost node on the way; "" when there is none.
    node: String,
    /// Whether it is the result of that node's body, or of the whole.
    is_result: bool,
}

impl Place {
    fn of(definition: &Value, pointer: &str) -> Option<Self> {
        let mut here = definition;
        let mut node = String::new();
        let mut inside = "";
        for name in pointer.split('/').skip(1) {
            let name = name.replace("~1", "/").replace("~0", "~");
            here = match here {
                Value::Array(items) => items.get(name.parse::<usize>().ok()?)?,
                Value::Object(fields) => match fields.get(&name) {
                    Some(field) => field,
                    None => break,
                },
                _ => break,
            };
            match name.as_str() {
                "nodes" if matches!(inside, "" | "body" | "spec") => inside = "nodes",
                "body" if inside == "node" => inside = "body",
                "spec" if inside.is_empty() => inside = "spec",
                "result" if matches!(inside, "body" | "spec") => inside = "result",
                _ if inside == "nodes" => {
                    node = here.get("id").and_then(Value::as_str)?.to_owned();
                    inside = "node";
                }
                _ if inside == "node" => inside = "field",
                _ => {}
            }
        }
        let is_result = inside == "result";
        (is_result || !node.is_empty()).then_some(Self { node, is_result })
    }
}
