//! From Dify's texts, in which `{{#node.name#}}` stands for a value and everything else for itself, to
//! ours, and from its Jinja templates to ours.

use serde_json::{Map, Value};

use super::fields::{Fields, selector};
use super::reference::{Desk, Presence, Reference, Shape, literal};
use crate::workflow::problem::Pointer;

/// What templates call on values in Python, and can't here.
const METHODS: [&str; 14] = [
    "items",
    "keys",
    "values",
    "get",
    "split",
    "strip",
    "replace",
    "join",
    "format",
    "lower",
    "upper",
    "startswith",
    "endswith",
    "append",
];

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Plain(String),
    Value(Vec<String>),
}

/// Cuts a text at its references.
fn pieces(text: &str) -> Vec<Piece> {
    let mut found = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find("{{#") {
        let after = &rest[begin + 3..];
        let inside =
            after.find("#}}").map(|end| &after[..end]).filter(|inside| is_reference(inside));
        plain.push_str(&rest[..begin]);
        match inside {
            Some(inside) => {
                if !plain.is_empty() {
                    found.push(Piece::Plain(std::mem::take(&mut plain)));
                }
                found.push(Piece::Value(inside.split('.').map(str::to_owned).collect()));
                rest = &after[inside.len() + 3..];
            }
            None => {
                plain.push_str("{{#");
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        found.push(Piece::Plain(plain));
    }
    found
}

fn is_reference(inside: &str) -> bool {
    inside.split('.').all(|name| {
        !name.is_empty()
            && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | ' '))
    })
}

/// A text that stands for itself, whatever is in it.
pub(super) fn escape(text: &str) -> String {
    let mut made = text.to_owned();
    if ["{{", "{%", "{#"].iter().any(|delimiter| made.contains(delimiter)) {
        made = escape_part(&made);
        keep_last_line(&mut made);
    }
    made
}

/// Of a text with expressions in it the part without.
fn escape_part(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match (c, characters.peek()) {
            ('{', Some(next @ ('{' | '%' | '#'))) => {
                made.push_str(&format!("{{{{ '{{{next}' }}}}"));
                characters.next();
            }
            _ => made.push(c),
        }
    }
    made
}

/// A template loses the end of its last line, a text doesn't.
fn keep_last_line(text: &mut String) {
    if text.ends_with('\n') {
        text.pop();
        text.push_str("{{ '\\n' }}");
    }
}

/// A value in which nothing is an expression.
pub(super) fn escape_value(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::from(escape(text)),
        Value::Array(items) => items.iter().map(escape_value).collect(),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| (name.clone(), escape_value(value)))
                .collect::<Map<_, _>>(),
        ),
        _ => value.clone(),
    }
}

/// An expression for a text that shows a value.
fn shown(reference: &Reference) -> String {
    let expression = &reference.expression;
    let whole = match reference.shape {
        Shape::Text | Shape::Number => expression.clone(),
        Shape::Json | Shape::File => format!("{expression} | tojson"),
        Shape::Unknown => {
            format!("({expression} if {expression} is string else {expression} | tojson)")
        }
    };
    match reference.presence {
        Presence::Always => whole,
        Presence::Sometimes if reference.shape == Shape::Text => format!("{expression} or ''"),
        Presence::Sometimes => format!("('' if {expression} is none else {whole})"),
        Presence::Never => "''".to_owned(),
    }
}

/// An expression that is always a text.
pub(super) fn as_text(reference: &Reference) -> String {
    let shown = shown(reference);
    match reference.shape {
        Shape::Number => format!("({shown}) | string"),
        _ => shown,
    }
}

impl Desk<'_> {
    /// One of Dify's texts as one of ours. It always gives a text.
    pub(super) fn text(&mut self, text: &str, at: &Pointer) -> String {
        let pieces = pieces(text);
        match pieces.as_slice() {
            [] => String::new(),
            [Piece::Plain(plain)] => escape(plain),
            [Piece::Value(selector)] => {
                let reference = self.in_text(selector, at);
                format!("{{{{ {} }}}}", as_text(&reference))
            }
            _ => {
                let mut made = String::new();
                for piece in &pieces {
                    match piece {
                        Piece::Plain(plain) => made.push_str(&escape_part(plain)),
                        Piece::Value(selector) => {
                            let reference = self.in_text(selector, at);
                            // `{` before `{{` would be read as the beginning of an object.
                            if made.ends_with('{') {
                                made.pop();
                                made.push_str("{{ '{' }}");
                            }
                            made.push_str(&format!("{{{{ {} }}}}", shown(&reference)));
                        }
                    }
                }
                keep_last_line(&mut made);
                made
            }
        }
    }

    /// One of Dify's texts as an expression that gives a text.
    pub(super) fn text_expression(&mut self, text: &str, at: &Pointer) -> String {
        let parts: Vec<String> = pieces(text)
            .iter()
            .map(|piece| match piece {
                Piece::Plain(plain) => literal(&Value::from(plain.as_str())),
                Piece::Value(selector) => {
                    let reference = self.in_text(selector, at);
                    format!("({})", as_text(&reference))
                }
            })
            .collect();
        match parts.as_slice() {
            [] => "\"\"".to_owned(),
            [one] => one.clone(),
            _ => format!("({})", parts.join(" ~ ")),
        }
    }

    /// The value that a text stands for when it is nothing but one reference.
    pub(super) fn only_reference(&mut self, text: &str, at: &Pointer) -> Option<Reference> {
        match pieces(text.trim()).as_slice() {
            [Piece::Value(selector)] => Some(self.resolve(selector, at)),
            _ => None,
        }
    }

    fn in_text(&mut self, selector: &[String], at: &Pointer) -> Reference {
        let reference = match selector {
            [name] if name == "context" => match self.context.clone() {
                Some(selector) => self.resolve(&selector, at),
                None => {
                    let message =
                        "stands for no retrieved text, as the node's context is off: it is empty";
                    self.differs(at, "context", message);
                    Reference::none()
                }
            },
            [name] if name == "query" => self.resolve(&["sys".to_owned(), "query".to_owned()], at),
            [name] if name == "histories" => {
                let message = "earlier messages of the conversation are not sent: pass them as an input, or \
                               use an agent, which has sessions";
                self.lacks(at, "histories", message);
                Reference::none()
            }
            _ => self.resolve(selector, at),
        };
        if reference.shape == Shape::File && reference.presence != Presence::Never {
            let message = "a file is not put into a text: pass what it says as a text input";
            self.lacks(at, &selector.join("."), message);
            return Reference::none();
        }
        reference
    }

    /// One of Dify's Jinja templates as one of ours: its variables are set before it.
    pub(super) fn jinja(
        &mut self,
        template: &str,
        variables: &[Fields<'_>],
        at: &Pointer,
    ) -> String {
        let mut made = String::new();
        for variable in variables {
            let name = variable.text("variable");
            let is_used = template.contains(name);
            let value = variable.peek("value_selector").and_then(selector);
            variable.mark("value_selector");
            let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            match value {
                Some(selector) if is_name && is_used => {
                    let reference = self.resolve(&selector, &variable.at);
                    made.push_str(&format!("{{% set {name} = {} %}}", reference.expression));
                }
                Some(_) if is_name => {}
                _ => {
                    let message = "is no variable with a name and a value: set it in the template";
                    self.lacks(&variable.at, name, message);
                }
            }
        }
        let is_method = |one: &&&str| template.contains(&format!(".{one}("));
        if let Some(method) = METHODS.iter().find(is_method) {
            let message = format!(
                "calls the Python method {method:?}, which values don't have here: use the filter for it \
                 (`| items`, `| split`, `| trim`, `| replace`, `| join`, ...)"
            );
            self.differs(at, "template", message);
        }
        made.push_str(template);
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_an_expression_stands_for_itself() {
        let environment = crate::workflow::template::environment();
        for text in ["{{ x }}", "a {% if %} {# b #}\n", "{{{", "{", "\n", "{{#\n\n", "é{{%}}{"] {
            let made = escape(text);
            let template = match made.as_str() {
                plain if plain == text && !plain.contains("{{") => plain.to_owned(),
                made => environment.render_str(made, ()).expect("it is a template"),
            };
            assert_eq!(template, text, "by way of {made:?}");
        }
    }

    #[test]
    fn references_are_told_from_what_looks_like_them() {
        let plain = |text: &str| Piece::Plain(text.to_owned());
        let value =
            |names: &[&str]| Piece::Value(names.iter().map(|name| (*name).to_owned()).collect());
        for (text, wanted) in [
            ("", vec![]),
            ("{{#a.b#}}", vec![value(&["a", "b"])]),
            (
                "x{{#17.b.c#}}{{#sys.query#}}y",
                vec![plain("x"), value(&["17", "b", "c"]), value(&["sys", "query"]), plain("y")],
            ),
            ("{{#a.b", vec![plain("{{#a.b")]),
            ("{{##}}", vec![plain("{{##}}")]),
            ("{{# comment! #}}{{#a.b#}}", vec![plain("{{# comment! #}}"), value(&["a", "b"])]),
        ] {
            assert_eq!(pieces(text), wanted, "{text:?}");
        }
    }
}
