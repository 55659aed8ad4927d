//! Values that are known before anything runs, against the schemas that they must fit: variables,
//! defaults of inputs, the result, and the inputs of child workflows.

use serde_json::{Map, Value};

use crate::workflow::definition::{Kind, Pin, TOP};
use crate::workflow::problem::{Pointer, Problems};
use crate::workflow::read::Draft;
use crate::workflow::schema::{self, About};
use crate::workflow::template::Template;

/// Notes values that can't fit.
pub(super) fn check(
    draft: &Draft,
    inputs_of: &dyn Fn(&str, &Pin) -> Option<Value>,
    problems: &mut Problems,
) {
    let definition = &draft.definition;
    let spec = Pointer::root().field("spec");
    let properties = definition.inputs.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        if let Some(default) = property.get("default") {
            let at = spec.field("inputs").field("properties").field(name).field("default");
            fits(&Template::Literal(default.clone()), property, "the schema of it", &at, problems);
        }
    }
    for variable in &definition.variables {
        if let Some(schema) = &variable.schema {
            let at = variable.at.field("value");
            fits(&variable.value, schema, "the variable's schema", &at, problems);
        }
    }
    if let Some(outputs) = &definition.outputs {
        if let Some(result) = &definition.scopes[TOP].result {
            fits(result, outputs, "the schema of outputs", &spec.field("result"), problems);
        }
        for node in &definition.nodes {
            if let Kind::End { result: Some(result) } = &node.kind
                && node.scope == TOP
            {
                fits(result, outputs, "the schema of outputs", &node.at.field("result"), problems);
            }
        }
    }
    for (index, node) in definition.nodes.iter().enumerate() {
        let Kind::Workflow { name, pin, input, .. } = &node.kind else { continue };
        if draft.broken.contains(&index) {
            continue;
        }
        let Some(schema) = inputs_of(name, pin) else { continue };
        let whose = format!("the inputs of {name:?}");
        match input {
            Some(input) => fits(input, &schema, &whose, &node.at.field("input"), problems),
            None => {
                let nothing = Template::Literal(Value::Object(Map::new()));
                fits(&nothing, &schema, &whose, &node.at, problems);
            }
        }
    }
}

/// Notes what of a template can't fit a schema, whatever its expressions give.
fn fits(template: &Template, schema: &Value, whose: &str, at: &Pointer, problems: &mut Problems) {
    let mut unknown = Vec::new();
    let value = likeness(template, "", &mut unknown);
    for violation in schema::violations(schema, &value) {
        let below = |place: &str| {
            place == violation.pointer || place.starts_with(&format!("{}/", violation.pointer))
        };
        let is_certain = unknown.iter().all(|(place, is)| match (is, violation.about) {
            _ if !below(place) => true,
            // Of a text with expressions the type is known, of an object the names of its fields.
            (Unknown::Content, About::Type) => true,
            (_, About::Fields) => *place != violation.pointer,
            (_, About::Type) => *place != violation.pointer,
            (_, About::Content) => false,
        });
        if is_certain {
            let place = at.below(&violation.pointer);
            let message = format!(
                "doesn't fit {whose}: {}; change the value or the schema",
                violation.message
            );
            problems.error(&place, message);
        }
    }
}

/// What isn't known of a part of a value.
#[derive(Clone, Copy)]
enum Unknown {
    /// Anything.
    All,
    /// It is a text, and which isn't known.
    Content,
}

/// A value of the template's form, and the places where it stands for something unknown.
fn likeness(template: &Template, at: &str, unknown: &mut Vec<(String, Unknown)>) -> Value {
    match template {
        Template::Literal(value) => value.clone(),
        Template::Expression(_) => {
            unknown.push((at.to_owned(), Unknown::All));
            Value::Null
        }
        Template::Text(_) => {
            unknown.push((at.to_owned(), Unknown::Content));
            Value::String(String::new())
        }
        Template::List(items) => Value::Array(
            items
                .iter()
                .enumerate()
                .map(|(i, item)| likeness(item, &format!("{at}/{i}"), unknown))
                .collect(),
        ),
        Template::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, field)| {
                    let at = Pointer::root().below(at).field(name);
                    (name.clone(), likeness(field, at.as_str(), unknown))
                })
                .collect(),
        ),
    }
}
