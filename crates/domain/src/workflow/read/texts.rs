//! Fields with expressions in them: each text is parsed once, and kept with the moment at which it is
//! evaluated.

use serde_json::Value;

use super::{Object, Place, Reader, Site, Wanted, wrong_type};
use crate::workflow::expression;
use crate::workflow::problem::Pointer;
use crate::workflow::template::Template;

impl Reader<'_> {
    /// A field that may have expressions in it.
    pub(super) fn template(
        &mut self,
        object: &Object<'_>,
        name: &str,
        place: Place,
    ) -> Option<Template> {
        let (value, at) = object.get(name)?;
        Some(self.template_of(value, at, place, Wanted::Value))
    }

    pub(super) fn template_of(
        &mut self,
        value: &Value,
        at: Pointer,
        place: Place,
        wanted: Wanted,
    ) -> Template {
        match value {
            Value::String(text) if expression::has_delimiters(text) => {
                self.expressions(text, at, place, wanted)
            }
            Value::Array(items) => {
                let parts: Vec<_> = items
                    .iter()
                    .enumerate()
                    .map(|(i, item)| self.template_of(item, at.index(i), place, Wanted::Value))
                    .collect();
                if parts.iter().all(|part| part.as_literal().is_some()) {
                    return Template::Literal(value.clone());
                }
                Template::List(parts)
            }
            Value::Object(fields) => {
                let mut parts = Vec::with_capacity(fields.len());
                for (name, field) in fields {
                    let at = at.field(name);
                    if expression::has_delimiters(name) {
                        let message = "has an expression in its name, where none is evaluated: \
                                       build the object in an expression instead";
                        self.problems.warning(&at, message);
                    }
                    let part = self.template_of(field, at, place, Wanted::Value);
                    parts.push((name.clone(), part));
                }
                if parts.iter().all(|(_, part)| part.as_literal().is_some()) {
                    return Template::Literal(value.clone());
                }
                Template::Object(parts)
            }
            _ => Template::Literal(value.clone()),
        }
    }

    pub(super) fn expressions(
        &mut self,
        text: &str,
        at: Pointer,
        place: Place,
        wanted: Wanted,
    ) -> Template {
        let analysis = match expression::analyse(text, self.environment) {
            Ok(analysis) => analysis,
            Err(message) => {
                self.problems.error(&at, message);
                return Template::Text(text.to_owned());
            }
        };
        for sentence in &analysis.unknown {
            self.problems.error(&at, sentence.clone());
        }
        let template = match &analysis.exact {
            Some(expression) => Template::Expression(expression.clone()),
            None => Template::Text(text.to_owned()),
        };
        self.sites.push(Site { at, place, wanted, analysis });
        template
    }

    /// A field that is true or false: a boolean, or exactly one expression.
    pub(super) fn condition(
        &mut self,
        object: &Object<'_>,
        name: &str,
        place: Place,
    ) -> Option<Template> {
        let (value, at) = object.get(name)?;
        match value {
            Value::Bool(_) => Some(Template::Literal(value.clone())),
            Value::String(text) if expression::has_delimiters(text) => {
                let template = self.expressions(text, at.clone(), place, Wanted::Condition);
                if matches!(&template, Template::Text(_))
                    && self.sites.last().is_some_and(|site| site.at == at)
                {
                    let message = "is a text, which is never false: write exactly one {{ \
                                   expression }}, with nothing around it";
                    self.problems.error(&at, message);
                }
                Some(template)
            }
            Value::String(text) => {
                let message =
                    format!("is a text without an expression: write \"{{{{ {text} }}}}\"");
                self.problems.error(&at, message);
                None
            }
            _ => wrong_type(value, "a condition, such as \"{{ inputs.ok }}\"", &at, self.problems),
        }
    }
}
