//! Ids that people can read, made of titles; the same source always gives the same ones.

use std::collections::BTreeSet;

use super::source::{App, Kind, Node};

/// Longer ones are cut, so that there is room for a suffix.
const LONGEST: usize = 40;

/// Names with a meaning in expressions, or that this import gives to items of maps.
const TAKEN: [&str; 31] = [
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
    "super",
    "caller",
    "item",
    "item_2",
    "item_3",
    "item_4",
    "item_5",
    "item_6",
    "item_7",
    "item_8",
    "item_9",
    "start",
];

/// What each node of the source is called here; by index.
#[derive(Debug)]
pub(super) struct Ids {
    own: Vec<String>,
    data: Vec<String>,
    used: BTreeSet<String>,
}

impl Ids {
    /// Names all nodes.
    pub(super) fn assign(app: &App<'_>) -> Self {
        let mut ids = Self {
            own: Vec::new(),
            data: Vec::new(),
            used: TAKEN.iter().map(|name| (*name).to_owned()).collect(),
        };
        for node in &app.nodes {
            let own = ids.unique(&wanted(node));
            ids.own.push(own);
        }
        for node in 0..app.nodes.len() {
            let wanted = format!("{}_data", ids.own[node]);
            let data = match app.nodes[node].kind {
                Kind::Llm | Kind::Extractor => ids.unique(&wanted),
                _ => wanted,
            };
            ids.data.push(data);
        }
        ids
    }

    /// The id of what stands for a node.
    pub(super) fn own(&self, node: usize) -> &str {
        &self.own[node]
    }

    /// The id of what reads the JSON that a model node gives.
    pub(super) fn data(&self, node: usize) -> &str {
        &self.data[node]
    }

    /// An id for something that stands for no node, by what it is for: the same for the same purpose.
    pub(super) fn extra(&self, purpose: &str) -> String {
        let purpose: String = purpose.chars().take(60).collect();
        let mut id = purpose.clone();
        let mut number = 2;
        while self.used.contains(&id) {
            id = format!("{purpose}_{number}");
            number += 1;
        }
        id
    }

    fn unique(&mut self, wanted: &str) -> String {
        let id = self.extra(wanted);
        self.used.insert(id.clone());
        id
    }
}

fn wanted(node: &Node<'_>) -> String {
    // Half a title would mislead: one in another script gives way to the type.
    let is_plain =
        node.title.chars().filter(|c| !c.is_ascii()).count() * 2 < node.title.chars().count();
    let made = if is_plain { identifier(&node.title) } else { String::new() };
    match made.as_str() {
        "" => match identifier(node.type_name).as_str() {
            "" => "node".to_owned(),
            type_name => type_name.to_owned(),
        },
        _ => made,
    }
}

/// Lower-case letters, digits and single underscores; empty when nothing of it is left.
pub(super) fn identifier(text: &str) -> String {
    let mut made = String::new();
    for c in text.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => made.push(c),
            _ if made.is_empty() || made.ends_with('_') => {}
            _ => made.push('_'),
        }
        if made.len() >= LONGEST {
            break;
        }
    }
    let made = made.trim_end_matches('_');
    if made.starts_with(|c: char| c.is_ascii_digit()) {
        format!("n_{made}")
    } else {
        made.to_owned()
    }
}
