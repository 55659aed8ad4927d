//! The fields of each kind of node.

use serde_json::{Value, json};

use super::{Object, Place, Reader, Wanted, identifier, text, wrong_type};
use crate::request::Operation;
use crate::workflow::definition::{
    Case, ChildMode, JoinPolicy, Kind, LoopCondition, OnItemError, Pin, Signal, Wait,
};
use crate::workflow::duration;
use crate::workflow::expression;
use crate::workflow::fields;
use crate::workflow::problem::Pointer;
use crate::workflow::schema;
use crate::workflow::template::Template;

/// More cases are a table, not a switch.
const MAX_CASES: usize = 1_000;
/// More bodies at once than this would be a mistake.
const MAX_CONCURRENCY: u32 = 100_000;
/// How many bodies of a map run at once when it doesn't say.
const CONCURRENCY: u32 = 100;
/// More iterations than this would never end.
const MAX_ITERATIONS: u32 = 100_000;

impl Reader<'_> {
    /// Reads what is special to a kind; `None` when something that it can't do without is missing.
    pub(super) fn kind(&mut self, node: &Object<'_>, kind: &str, index: usize) -> Option<Kind> {
        let here = Place::Node(index);
        match kind {
            "model" => {
                let operations = [
                    Operation::Chat,
                    Operation::TextCompletion,
                    Operation::Embeddings,
                    Operation::Rerank,
                ]
                .map(|operation| (operation.as_str(), operation));
                let model = node.text("model", self.problems);
                let request = self.object_template(node, "request", here);
                let operation = node.choice("operation", &operations, self.problems);
                let operation = operation.unwrap_or_default();
                Some(Kind::Model { model: model?, operation, request: request? })
            }
            "agent" => {
                let agent = node.text("agent", self.problems);
                let input = self.template(node, "input", here);
                let session = self.template(node, "session", here);
                Some(Kind::Agent { agent: agent?, input, session })
            }
            "function" => {
                let name = node.text("name", self.problems);
                let arguments = self.object_template(node, "arguments", here);
                Some(Kind::Function { name: name?, arguments })
            }
            "transform" => Some(Kind::Transform { value: self.template(node, "value", here)? }),
            "switch" => self.switch(node, index),
            "fork" => Some(Kind::Fork),
            "join" => {
                let policy = match node.get("policy") {
                    Some((value, at)) => self.join_policy(value, at),
                    None => Some(JoinPolicy::All),
                };
                let deadline_ms = node.duration("deadline", self.problems);
                Some(Kind::Join { policy: policy?, deadline_ms })
            }
            "map" => self.map(node, index),
            "loop" => self.repeat(node, index),
            "wait" => self.wait(node, index),
            "workflow" => self.child(node, index),
            "emit" => {
                let topic = self.text_template(node, "topic", here);
                let event_type = self.text_template(node, "type", here);
                let subject = self.text_template(node, "subject", here);
                let key = self.text_template(node, "key", here);
                let data = self.template(node, "data", here);
                Some(Kind::Emit {
                    topic: topic?,
                    event_type: event_type?,
                    subject,
                    key,
                    data: data?,
                })
            }
            "fail" => {
                let message = self.text_template(node, "message", here);
                let code = node.text("code", self.problems);
                Some(Kind::Fail { message: message?, code })
            }
            "end" => Some(Kind::End { result: self.template(node, "result", here) }),
            _ => None,
        }
    }

    /// A template that gives an object.
    fn object_template(&mut self, node: &Object<'_>, name: &str, place: Place) -> Option<Template> {
        let (value, at) = node.get(name)?;
        let template = self.template_of(value, at.clone(), place, Wanted::Value);
        match template {
            Template::Literal(Value::Object(_)) | Template::Object(_) | Template::Expression(_) => {
                Some(template)
            }
            // Its syntax error is noted already.
            Template::Text(_) if self.sites.last().is_none_or(|site| site.at != at) => None,
            _ => wrong_type(
                value,
                "an object, or exactly one {{ expression }} that gives one",
                &at,
                self.problems,
            ),
        }
    }

    /// A template that gives a text.
    fn text_template(&mut self, node: &Object<'_>, name: &str, place: Place) -> Option<Template> {
        let (value, at) = node.get(name)?;
        text(value, &at, self.problems)?;
        Some(self.template_of(value, at, place, Wanted::Value))
    }

    fn switch(&mut self, node: &Object<'_>, index: usize) -> Option<Kind> {
        let listed = node.list("cases", self.problems);
        let otherwise = node.text("else", self.problems);
        let at = node.at.field("cases");
        if listed.is_empty() && node.get("cases").is_some_and(|(cases, _)| cases.is_array()) {
            self.problems.error(&at, "has no cases: add one, or use an edge");
        }
        if listed.len() > MAX_CASES {
            let message = format!("has more than {MAX_CASES} cases: look the answer up instead");
            self.problems.error(&at, message);
        }
        let mut cases = Vec::new();
        for (value, at) in listed.into_iter().take(MAX_CASES) {
            let Some(case) = Object::open(value, &fields::CASE, at.clone(), self.problems) else {
                continue;
            };
            let when = self.condition(&case, "when", Place::Node(index));
            let to = case.text("to", self.problems);
            case.close();
            if let Some(to) = to {
                // A broken condition must not hide where the case leads.
                let when = when.unwrap_or(Template::Literal(Value::Bool(true)));
                cases.push(Case { when, to, at });
            }
        }
        Some(Kind::Switch { cases, otherwise })
    }

    fn join_policy(&mut self, value: &Value, at: Pointer) -> Option<JoinPolicy> {
        const FORMS: &str = "all, any, {atLeast: n}, {tolerate: k} or {firstValid: schema}";
        match value {
            Value::String(word) if word == "all" => Some(JoinPolicy::All),
            Value::String(word) if word == "any" => Some(JoinPolicy::Any),
            Value::String(word) => {
                self.problems.error(&at, format!("{word:?} isn't known here: write {FORMS}"));
                None
            }
            Value::Object(_) => {
                let policy = Object::open(value, &fields::POLICY, at, self.problems)?;
                let at_least = policy.integer("atLeast", 1..=u32::MAX, self.problems);
                let tolerate = policy.integer("tolerate", 0..=u32::MAX, self.problems);
                let first_valid = self.schema(&policy, "firstValid");
                let given = fields::POLICY.fields.iter().filter(|field| policy.has(field.name));
                if given.count() != 1 {
                    let message = format!("must have exactly one field: write {FORMS}");
                    self.problems.error(&policy.at, message);
                    policy.close();
                    return None;
                }
                policy.close();
                at_least
                    .map(JoinPolicy::AtLeast)
                    .or(tolerate.map(JoinPolicy::Tolerate))
                    .or(first_valid.map(JoinPolicy::FirstValid))
            }
            _ => wrong_type(value, FORMS, &at, self.problems),
        }
    }

    fn map(&mut self, node: &Object<'_>, index: usize) -> Option<Kind> {
        let over = node.get("over").and_then(|(value, at)| {
            let template = self.template_of(value, at.clone(), Place::Node(index), Wanted::List);
            match template {
                Template::Expression(_)
                | Template::List(_)
                | Template::Literal(Value::Array(_)) => Some(template),
                Template::Text(_) if self.sites.last().is_none_or(|site| site.at != at) => None,
                _ => {
                    let wanted = "a list, or exactly one {{ expression }} that gives one";
                    wrong_type(value, wanted, &at, self.problems)
                }
            }
        });
        let item = node.text("as", self.problems).unwrap_or_else(|| "item".to_owned());
        let at = node.at.field("as");
        identifier(&item, &at, self.problems);
        if self.items.contains(&item) {
            let message = format!("{item:?} is the item of the map around it, too: choose another");
            self.problems.error(if node.has("as") { &at } else { &node.at }, message);
        }
        let concurrency = node.integer("concurrency", 1..=MAX_CONCURRENCY, self.problems);
        let on_item_error = node.choice(
            "onItemError",
            &[
                ("fail", OnItemError::Fail),
                ("skip", OnItemError::Skip),
                ("keep", OnItemError::Keep),
            ],
            self.problems,
        );
        self.items.push(item.clone());
        let body = self.body(node, index);
        self.items.pop();
        Some(Kind::Map {
            over: over?,
            item,
            concurrency: concurrency.unwrap_or(CONCURRENCY),
            on_item_error: on_item_error.unwrap_or_default(),
            body: body?,
        })
    }

    fn repeat(&mut self, node: &Object<'_>, index: usize) -> Option<Kind> {
        let place = Place::LoopCondition(index);
        let goes_on = self.condition(node, "while", place);
        let stops = self.condition(node, "until", place);
        if node.has("while") == node.has("until") {
            let message = "must have either while or until: write exactly one of them";
            self.problems.error(&node.at, message);
        }
        let max_iterations = node.integer("maxIterations", 1..=MAX_ITERATIONS, self.problems);
        let body = self.body(node, index);
        let condition =
            goes_on.map(LoopCondition::While).or_else(|| stops.map(LoopCondition::Until));
        Some(Kind::Loop {
            condition: condition?,
            max_iterations: max_iterations.unwrap_or(MAX_ITERATIONS),
            body: body?,
        })
    }

    fn body(&mut self, node: &Object<'_>, index: usize) -> Option<usize> {
        let body = node.object("body", &fields::BODY, self.problems)?;
        let mut depth = 1;
        let mut scope = self.nodes[index].scope;
        while let Some(owner) = self.scopes[scope].owner {
            depth += 1;
            scope = self.nodes[owner].scope;
        }
        if depth > super::MAX_DEPTH {
            let message = format!(
                "is the body of a body more than {} deep: use a child workflow",
                super::MAX_DEPTH
            );
            self.problems.error(&body.at, message);
            return None;
        }
        let scope = self.scope(&body, Some(index));
        body.close();
        Some(scope)
    }

    fn wait(&mut self, node: &Object<'_>, index: usize) -> Option<Kind> {
        let here = Place::Node(index);
        let given = ["duration", "until", "signal"].map(|name| node.has(name));
        if given.iter().filter(|given| **given).count() != 1 {
            let message = "must have exactly one of duration, until and signal: keep one";
            self.problems.error(&node.at, message);
        }
        let time = match node.get("duration") {
            Some((Value::String(text), at)) if expression::has_delimiters(text) => {
                let template = self.expressions(text, at, here, Wanted::Value);
                Some(Wait::DurationOf(template))
            }
            Some((Value::String(text), at)) => duration::parse(text)
                .map(Wait::Duration)
                .map_err(|message| self.problems.error(&at, message))
                .ok(),
            Some((value, at)) => {
                wrong_type(value, "a duration, such as \"30s\"", &at, self.problems)
            }
            None => None,
        };
        let point = node.get("until").and_then(|(value, at)| {
            let template = self.template_of(value, at.clone(), here, Wanted::Value);
            let wanted = json!({"type": ["string", "integer"], "format": "date-time"});
            let is_point = match &template {
                Template::Literal(literal) => schema::violations(&wanted, literal).is_empty(),
                Template::Expression(_) | Template::Text(_) => true,
                Template::List(_) | Template::Object(_) => false,
            };
            if !is_point {
                let message = "is no point in time: write RFC 3339, such as \
                               \"2030-01-31T09:00:00Z\", or milliseconds since 1970";
                self.problems.error(&at, message);
                return None;
            }
            Some(Wait::Until(template))
        });
        let signal = node.object("signal", &fields::SIGNAL, self.problems).and_then(|signal| {
            let name = signal.text("name", self.problems);
            let schema = self.schema(&signal, "schema");
            let timeout_ms = signal.duration("timeout", self.problems);
            let form = self.schema(&signal, "form");
            signal.close();
            Some(Wait::Signal(Signal { name: name?, schema, timeout_ms, form }))
        });
        time.or(point).or(signal).map(Kind::Wait)
    }

    fn child(&mut self, node: &Object<'_>, index: usize) -> Option<Kind> {
        let name = node.text("name", self.problems);
        let version = node.integer("version", 1..=i32::MAX.unsigned_abs(), self.problems);
        let alias = node.text("alias", self.problems);
        if node.has("version") && node.has("alias") {
            let message = "has a version as well: keep one of the two";
            self.problems.error(&node.at.field("alias"), message);
        }
        let pin = match (version.and_then(|version| i32::try_from(version).ok()), alias) {
            (Some(version), _) => Pin::Version(version),
            (None, Some(alias)) => Pin::Alias(alias),
            (None, None) => Pin::Newest,
        };
        let input = self.object_template(node, "input", Place::Node(index));
        let mode = node.choice(
            "mode",
            &[("attached", ChildMode::Attached), ("detached", ChildMode::Detached)],
            self.problems,
        );
        Some(Kind::Workflow { name: name?, pin, input, mode: mode.unwrap_or_default() })
    }
}
