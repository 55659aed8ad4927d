//! From a selector of Dify (`["17546", "text"]`) to an expression.
//!
//! A node that may have been skipped gives none, as an unset variable does there.

use serde_json::{Map, Value};

use super::feedback::{Care, Feedback, Field};
use super::fields::{Fields, name_of};
use super::ids::{Ids, identifier};
use super::inputs::{self, Inputs};
use super::report::Report;
use super::source::{App, Kind};
use crate::workflow::problem::Pointer;

/// What a node is converted with: everything around it, and where to report.
pub(super) struct Desk<'d> {
    /// The source.
    pub(super) app: &'d App<'d>,
    /// What nodes are called.
    pub(super) ids: &'d Ids,
    /// What earlier rounds have taught.
    pub(super) feedback: &'d Feedback,
    /// What the workflow takes.
    pub(super) inputs: &'d Inputs,
    /// Where what becomes of things is noted.
    pub(super) report: &'d mut Report,
    /// Where everything is on the canvas.
    pub(super) layout: Map<String, Value>,
    /// The iterations around what is converted, the outermost first.
    pub(super) around: Vec<usize>,
    /// The id of the node whose texts are written; of the result of a body its owner's.
    pub(super) reader: String,
    /// The node of the source that is converted.
    pub(super) node: Option<usize>,
    /// What `{{#context#}}` stands for.
    pub(super) context: Option<Vec<String>>,
}

/// An expression, and what is known of its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// In brackets where it needs some.
    pub(super) expression: String,
    /// The type of its value.
    pub(super) shape: Shape,
    /// Whether it may give none.
    pub(super) presence: Presence,
    /// The node that must have succeeded for it to be there.
    pub(super) needs: Option<String>,
}

/// Whether a value is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is.
    Always,
    /// It may be none.
    Sometimes,
    /// It is none.
    Never,
}

/// The type of a value, as far as the source tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A text.
    Text,
    /// A number.
    Number,
    /// True, false, a list or an object: what a text must show as JSON.
    Json,
    /// A file, or several.
    File,
    /// Not known.
    Unknown,
}

impl Shape {
    /// By a type name of Dify: `string`, `array[number]`.
    pub(super) fn named(name: &str) -> Self {
        match name {
            "string" | "secret" | "text-input" | "paragraph" | "select" => Self::Text,
            "number" | "integer" | "float" => Self::Number,
            "file" | "file-list" | "array[file]" => Self::File,
            "boolean" | "bool" | "checkbox" | "object" | "json_object" => Self::Json,
            _ if name.starts_with("array") => Self::Json,
            _ => Self::Unknown,
        }
    }
}

impl Reference {
    /// A value that is always there.
    pub(super) fn to(expression: impl Into<String>, shape: Shape) -> Self {
        let expression = expression.into();
        Self { expression, shape, presence: Presence::Always, needs: None }
    }

    /// None.
    pub(super) fn none() -> Self {
        let presence = Presence::Never;
        Self { expression: "none".to_owned(), shape: Shape::Unknown, presence, needs: None }
    }
}

/// A path of names after an expression: `.a`, or `["a-b"]` where that is no name.
pub(super) fn path(names: &[String]) -> String {
    names.iter().map(|name| member(name)).collect()
}

fn member(name: &str) -> String {
    let mut characters = name.chars();
    let begins = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let is_name = begins && characters.all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_name { format!(".{name}") } else { format!("[{}]", literal(&Value::from(name))) }
}

/// A value as an expression that gives it.
pub(super) fn literal(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(literal).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{}: {}", Value::from(name.as_str()), literal(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// The name of the item of the innermost of so many maps.
pub(super) fn item_name(depth: usize) -> String {
    if depth <= 1 { "item".to_owned() } else { format!("item_{depth}") }
}

impl Desk<'_> {
    /// The expression for a selector in a field; nothing is noted when the field is missing.
    pub(super) fn selected(&mut self, fields: &Fields<'_>, name: &str) -> Option<Reference> {
        let value = fields.peek(name)?;
        let selector = super::fields::selector(value)?;
        fields.mark(name);
        let at = fields.at.field(name);
        Some(self.resolve(&selector, &at))
    }

    /// The expression for a selector. What can't be resolved is noted, and gives none.
    pub(super) fn resolve(&mut self, selector: &[String], at: &Pointer) -> Reference {
        let written = selector.join(".");
        let Some((head, rest)) = selector.split_first() else { return Reference::none() };
        let found = match head.as_str() {
            "sys" | "userinput" => self.inputs.system(rest),
            "env" => self.environment(rest, at),
            "conversation" => self.inputs.conversation(rest),
            _ => match self.app.find(head) {
                Some(node) => self.of_node(node, rest),
                None => None,
            },
        };
        let Some(mut found) = found else {
            self.lost(
                &written,
                at,
                "there is no such value here: write what is meant in its place",
            );
            return Reference::none();
        };
        if found.presence == Presence::Never {
            let message = "it is never there at this point, so none stands for it";
            self.lost(&written, at, message);
            found.expression = "none".to_owned();
        }
        found
    }

    /// Notes a difference of the node that is converted.
    pub(super) fn differs(&mut self, at: &Pointer, subject: &str, message: impl Into<String>) {
        let node = self.node.map(|node| self.ids.own(node).to_owned());
        self.report.different(at, subject, node.as_deref(), message);
    }

    /// Notes what is missing of the node that is converted.
    pub(super) fn lacks(&mut self, at: &Pointer, subject: &str, message: impl Into<String>) {
        let node = self.node.map(|node| self.ids.own(node).to_owned());
        self.report.missing(at, subject, node.as_deref(), message);
    }

    fn lost(&mut self, written: &str, at: &Pointer, why: &str) {
        self.lacks(at, written, format!("the reference {written:?} is not converted: {why}"));
    }

    fn environment(&mut self, rest: &[String], at: &Pointer) -> Option<Reference> {
        let name = rest.first()?;
        let variable = self.inputs.environment(name)?;
        if variable.is_secret == inputs::Secrecy::Secret {
            let message = format!(
                "uses the secret {name:?}, which is not copied, so the text is empty there: let the \
                 function that is called add it, or fill in variables.{}",
                variable.name
            );
            self.lacks(at, name, message);
        }
        let expression = format!("variables.{}{}", variable.name, path(&rest[1..]));
        let shape = if rest.len() > 1 { Shape::Unknown } else { variable.shape };
        Some(Reference::to(expression, shape))
    }

    fn of_node(&mut self, node: usize, rest: &[String]) -> Option<Reference> {
        let source = &self.app.nodes[node];
        if source.kind.is_start() {
            return match rest.first().map(String::as_str) {
                Some("sys") => self.inputs.system(&rest[1..]),
                Some(_) => self.inputs.input(rest),
                None => None,
            };
        }
        if let Some(depth) = self.around.iter().position(|outer| *outer == node) {
            return match rest.first().map(String::as_str) {
                Some("item") => {
                    let shape = source.data.peek("iterator_input_type").and_then(Value::as_str);
                    let shape = shape.unwrap_or_default().trim_start_matches("array");
                    let shape = Shape::named(shape.trim_matches(['[', ']']));
                    let shape = if rest.len() > 1 { Shape::Unknown } else { shape };
                    let expression = format!("{}{}", item_name(depth + 1), path(&rest[1..]));
                    Some(Reference::to(expression, shape))
                }
                Some("index") if depth + 1 == self.around.len() => {
                    Some(Reference::to("index", Shape::Number))
                }
                _ => None,
            };
        }
        if matches!(rest, [name] if name == "error_message" || name == "error_type") {
            return Some(self.error_of(node, &rest[0]));
        }
        let own = self.ids.own(node).to_owned();
        let data = self.ids.data(node).to_owned();
        let first = rest.first().map_or("", String::as_str);
        let is_gap = self.feedback.gap(&own).is_some() || self.feedback.gap(&data).is_some();
        let (root, steps, shape) = match source.kind {
            _ if is_gap => (own, path(rest), Shape::Unknown),
            Kind::Llm => match (first, super::nodes::llm::is_completion(source)) {
                ("text", true) => (own, ".choices[0].text".to_owned(), Shape::Text),
                ("text", false) => (own, ".choices[0].message.content".to_owned(), Shape::Text),
                ("usage", _) => (own, format!(".usage{}", path(&rest[1..])), Shape::Unknown),
                ("finish_reason", _) => (own, ".choices[0].finish_reason".to_owned(), Shape::Text),
                ("structured_output", _) if super::nodes::llm::is_structured(source) => {
                    let shape = if rest.len() > 1 { Shape::Unknown } else { Shape::Json };
                    (data, path(&rest[1..]), shape)
                }
                _ => return None,
            },
            Kind::Extractor => return self.parameter(node, rest),
            Kind::Template if first == "output" => (own, String::new(), Shape::Text),
            Kind::Answer if first == "answer" => (own, ".answer".to_owned(), Shape::Text),
            Kind::Iteration if first == "output" => (own, path(&rest[1..]), Shape::Json),
            Kind::Http => {
                let shape = match first {
                    "body" => Shape::Text,
                    "status_code" => Shape::Number,
                    "headers" => Shape::Json,
                    "files" => Shape::File,
                    _ => return None,
                };
                let shape = if rest.len() > 1 { Shape::Unknown } else { shape };
                (own, path(rest), shape)
            }
            Kind::Aggregator => {
                let name = source.data.peek("output_type").and_then(Value::as_str);
                let shape = match rest.len() {
                    1 => Shape::named(name.unwrap_or_default()),
                    _ => Shape::Unknown,
                };
                let found = self.output(&own, &path(rest), shape);
                return Some(Reference { presence: found.presence.or_none(), ..found });
            }
            Kind::Other => (own, path(rest), Shape::Unknown),
            _ => return None,
        };
        Some(self.output(&root, &steps, shape))
    }

    /// A part of what a node gives, with the care that it needs.
    fn output(&self, root: &str, steps: &str, shape: Shape) -> Reference {
        let plain = format!("nodes.{root}.output{steps}");
        let needs = Some(root.to_owned());
        match self.feedback.care(&self.reader, root, Field::Output) {
            None => Reference { needs, ..Reference::to(plain, shape) },
            Some(Care::Guarded) => Reference {
                expression: format!("({plain} if nodes.{root}.status == 'succeeded' else none)"),
                shape,
                presence: Presence::Sometimes,
                needs,
            },
            Some(Care::Absent) => Reference::none(),
        }
    }

    fn parameter(&self, node: usize, rest: &[String]) -> Option<Reference> {
        let data = self.ids.data(node);
        let fields = &self.app.nodes[node].data;
        let name = rest.first()?;
        let at = fields.at.field("parameters");
        let parameters = fields.peek("parameters").and_then(Value::as_array);
        let parameter =
            parameters.into_iter().flatten().map(|one| Fields::open(Some(one), at.clone()));
        let mut declared =
            parameter.filter(|one| one.peek("name").and_then(name_of).as_ref() == Some(name));
        let (shape, empty) = match name.as_str() {
            "__is_success" => (Shape::Number, Value::from(1)),
            "__reason" => (Shape::Text, Value::from("")),
            _ => {
                let kind = declared.next()?.text("type").to_owned();
                (Shape::named(&kind), super::nodes::extractor::empty(&kind))
            }
        };
        let mut found = self.output(data, &path(rest), shape);
        if found.presence == Presence::Always {
            found.expression = format!("({} | default({}))", found.expression, literal(&empty));
        } else if found.presence == Presence::Sometimes {
            found.expression = format!(
                "(nodes.{data}.output{} | default({}) if nodes.{data}.status == 'succeeded' else none)",
                path(rest),
                literal(&empty)
            );
        }
        Some(found)
    }

    /// Why a node failed: its message, or the name of its error.
    fn error_of(&self, node: usize, name: &str) -> Reference {
        let part = if name == "error_type" { "code" } else { "message" };
        let source = &self.app.nodes[node];
        let mut parts = vec![self.ids.own(node)];
        let own = self.ids.own(node);
        let data = self.ids.data(node);
        let is_gap = self.feedback.gap(own).is_some() || self.feedback.gap(data).is_some();
        if !is_gap && super::nodes::has_data(source) {
            parts.push(self.ids.data(node));
        }
        let care = |part: &&str| self.feedback.care(&self.reader, part, Field::Error);
        if let [only] = parts.as_slice()
            && care(only).is_none()
        {
            return Reference::to(format!("nodes.{only}.error.{part}"), Shape::Text);
        }
        parts.retain(|part| care(part) != Some(Care::Absent));
        if parts.is_empty() {
            return Reference::none();
        }
        let expression = parts.iter().rev().fold("none".to_owned(), |rest, root| {
            format!("(nodes.{root}.error.{part} if nodes.{root}.status == 'failed' else {rest})")
        });
        let presence = Presence::Sometimes;
        Reference { expression, shape: Shape::Text, presence, needs: None }
    }
}

impl Presence {
    /// The same, of something that may be none even where it is there.
    pub(super) fn or_none(self) -> Self {
        if self == Self::Always { Self::Sometimes } else { self }
    }
}

/// A name for something of the source in `variables` or `inputs`.
pub(super) fn name_for(prefix: &str, name: &str) -> String {
    let made: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' })
        .take(40)
        .collect();
    match (prefix, made.as_str()) {
        ("", "") => identifier("value"),
        ("", _) if !made.starts_with(|c: char| c.is_ascii_digit()) => made,
        ("", _) => format!("_{made}"),
        _ => format!("{prefix}_{made}"),
    }
}
