//! What differs between two versions of a definition, place by place.
//!
//! Nodes are matched by their id and edges by their ends, so that one that was put elsewhere in its list is
//! no change; a node that went into another scope was removed there and added here. Everything else is
//! compared as JSON: this doesn't know what a field means, and doesn't judge either version.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use super::problem::Pointer;

/// One difference. Pointers lead into the version that has the value, the later one where both do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum Change {
    /// Only the later version has it.
    Added {
        /// Where it is.
        pointer: String,
        /// The id of the node that it is, or is in.
        #[serde(skip_serializing_if = "Option::is_none")]
        node: Option<String>,
        /// What it is.
        to: Value,
    },
    /// Only the earlier version has it.
    Removed {
        /// Where it was.
        pointer: String,
        /// The id of the node that it was, or was in.
        #[serde(skip_serializing_if = "Option::is_none")]
        node: Option<String>,
        /// What it was.
        from: Value,
    },
    /// Both have it.
    Changed {
        /// Where it is.
        pointer: String,
        /// The id of the node that it is in.
        #[serde(skip_serializing_if = "Option::is_none")]
        node: Option<String>,
        /// What it was.
        from: Value,
        /// What it is.
        to: Value,
    },
}

/// What changed from one version to the other; empty when they say the same.
#[must_use]
pub fn diff(from: &Value, to: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    Place::default().value(Here::Definition, from, to, &mut changes);
    changes
}

/// What an object is, and so what its lists mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Here {
    /// All of it.
    Definition,
    /// The `spec`, or the body of a node.
    Scope,
    /// A node.
    Node,
    /// Anything else.
    Data,
}

/// Where the two values stand, each in its version.
#[derive(Clone, Default)]
struct Place {
    from: Pointer,
    to: Pointer,
    node: Option<String>,
}

impl Place {
    fn field(&self, name: &str) -> Self {
        Self { from: self.from.field(name), to: self.to.field(name), node: self.node.clone() }
    }

    fn index(&self, from: usize, to: usize) -> Self {
        Self { from: self.from.index(from), to: self.to.index(to), node: self.node.clone() }
    }

    fn added(&self, to: &Value, changes: &mut Vec<Change>) {
        let pointer = self.to.as_str().to_owned();
        changes.push(Change::Added { pointer, node: self.node.clone(), to: to.clone() });
    }

    fn removed(&self, from: &Value, changes: &mut Vec<Change>) {
        let pointer = self.from.as_str().to_owned();
        changes.push(Change::Removed { pointer, node: self.node.clone(), from: from.clone() });
    }

    fn changed(&self, from: Value, to: Value, changes: &mut Vec<Change>) {
        let pointer = self.to.as_str().to_owned();
        changes.push(Change::Changed { pointer, node: self.node.clone(), from, to });
    }

    fn value(&self, here: Here, from: &Value, to: &Value, changes: &mut Vec<Change>) {
        match (from, to) {
            _ if from == to => {}
            (Value::Object(from), Value::Object(to)) => self.object(here, from, to, changes),
            (Value::Array(from), Value::Array(to)) => self.list(from, to, changes),
            _ => self.changed(from.clone(), to.clone(), changes),
        }
    }

    fn object(
        &self,
        here: Here,
        from: &Map<String, Value>,
        to: &Map<String, Value>,
        changes: &mut Vec<Change>,
    ) {
        for (name, was) in from {
            let place = self.field(name);
            match to.get(name) {
                None => place.removed(was, changes),
                Some(is) if was == is => {}
                Some(is) => place.inside(here, name, was, is, changes),
            }
        }
        for (name, is) in to.iter().filter(|(name, _)| !from.contains_key(*name)) {
            self.field(name).added(is, changes);
        }
    }

    /// A field that differs, of an object that is `here`.
    fn inside(&self, here: Here, name: &str, from: &Value, to: &Value, changes: &mut Vec<Change>) {
        let keyed = match (here, name, from, to) {
            (Here::Scope, "nodes", Value::Array(from), Value::Array(to)) => {
                by_key(from, id).zip(by_key(to, id)).map(|(was, is)| self.nodes(&was, &is, changes))
            }
            (Here::Scope, "edges", Value::Array(from), Value::Array(to)) => by_key(from, ends)
                .zip(by_key(to, ends))
                .map(|(was, is)| self.edges(&was, &is, changes)),
            _ => None,
        };
        if keyed.is_none() {
            let next = match (here, name) {
                (Here::Definition, "spec") | (Here::Node, "body") => Here::Scope,
                _ => Here::Data,
            };
            self.value(next, from, to, changes);
        }
    }

    fn nodes(&self, from: &Keyed<'_, String>, to: &Keyed<'_, String>, changes: &mut Vec<Change>) {
        self.matched(from, to, Here::Node, |id| Some(id.clone()), changes);
    }

    fn edges(&self, from: &Keyed<'_, Ends>, to: &Keyed<'_, Ends>, changes: &mut Vec<Change>) {
        self.matched(from, to, Here::Data, |_| self.node.clone(), changes);
        // A join gives its list in the order of its edges, so between edges to one node order matters.
        let targets: BTreeSet<_> = to.items.iter().map(|((_, target), _)| target).collect();
        for target in targets {
            let (was, is) = (common(from, to, target), common(to, from, target));
            let order = |edges: &[&(Ends, &Value)]| {
                edges.iter().map(|(ends, _)| ends.0.clone()).collect::<Vec<_>>()
            };
            if order(&was) != order(&is) {
                let whole = |edges: &[&(Ends, &Value)]| {
                    Value::Array(edges.iter().map(|(_, edge)| (*edge).clone()).collect())
                };
                self.changed(whole(&was), whole(&is), changes);
            }
        }
    }

    /// Items with the same key are the same item.
    fn matched<K: Ord>(
        &self,
        from: &Keyed<'_, K>,
        to: &Keyed<'_, K>,
        here: Here,
        node: impl Fn(&K) -> Option<String>,
        changes: &mut Vec<Change>,
    ) {
        let place =
            |key: &K, was: usize, is: usize| Place { node: node(key), ..self.index(was, is) };
        for (was, (key, item)) in from.items.iter().enumerate() {
            match to.places.get(key) {
                None => place(key, was, was).removed(item, changes),
                Some(is) => place(key, was, *is).value(here, item, to.items[*is].1, changes),
            }
        }
        for (is, (key, item)) in to.items.iter().enumerate() {
            if !from.places.contains_key(key) {
                place(key, is, is).added(item, changes);
            }
        }
    }

    /// Items have no names: what is alike at both ends is the same, and what lies between goes by number.
    fn list(&self, from: &[Value], to: &[Value], changes: &mut Vec<Change>) {
        let shorter = from.len().min(to.len());
        let begin = from.iter().zip(to).take_while(|(was, is)| was == is).count();
        let end = from.iter().rev().zip(to.iter().rev());
        let end = end.take(shorter - begin).take_while(|(was, is)| was == is).count();
        let (was, is) = (&from[begin..from.len() - end], &to[begin..to.len() - end]);
        for at in 0..was.len().max(is.len()) {
            let place = self.index(begin + at, begin + at);
            match (was.get(at), is.get(at)) {
                (Some(was), Some(is)) => place.value(Here::Data, was, is, changes),
                (Some(was), None) => place.removed(was, changes),
                (None, Some(is)) => place.added(is, changes),
                (None, None) => {}
            }
        }
    }
}

/// The two ends of an edge.
type Ends = (String, String);

/// The items of a list, each with what names it.
struct Keyed<'v, K> {
    items: Vec<(K, &'v Value)>,
    places: BTreeMap<K, usize>,
}

/// `None`: an item has no name, or two have the same.
fn by_key<K: Ord + Clone>(list: &[Value], key: fn(&Value) -> Option<K>) -> Option<Keyed<'_, K>> {
    let mut keyed = Keyed { items: Vec::with_capacity(list.len()), places: BTreeMap::new() };
    for (at, item) in list.iter().enumerate() {
        let key = key(item)?;
        if keyed.places.insert(key.clone(), at).is_some() {
            return None;
        }
        keyed.items.push((key, item));
    }
    Some(keyed)
}

fn id(node: &Value) -> Option<String> {
    node.get("id")?.as_str().map(str::to_owned)
}

fn ends(edge: &Value) -> Option<Ends> {
    let end = |name| edge.get(name).and_then(Value::as_str).map(str::to_owned);
    end("from").zip(end("to"))
}

/// The edges to a node that `other` has as well.
fn common<'e, 'v>(
    edges: &'e Keyed<'v, Ends>,
    other: &Keyed<'_, Ends>,
    target: &str,
) -> Vec<&'e (Ends, &'v Value)> {
    let to_it = edges.items.iter().filter(|(ends, _)| ends.1 == target);
    to_it.filter(|(ends, _)| other.places.contains_key(ends)).collect()
}

#[cfg(test)]
mod tests;
