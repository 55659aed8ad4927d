//! What the workflow takes and what it holds constant: the variables of `start`, the ones of the system,
//! of the conversation and of the environment.
//!
//! Optional inputs have a default, so that reading them never fails. Secrets are never copied.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::reference::{Presence, Reference, Shape, literal, name_for, path};
use super::report::Report;
use super::source::{App, Kind, Mode};
use super::text::escape_value;
use crate::workflow::schema;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    known: BTreeMap<String, Reference>,
    conversation: BTreeMap<String, Reference>,
    environment: BTreeMap<String, Variable>,
    system: BTreeMap<&'static str, Reference>,
    /// The JSON Schema.
    pub(super) schema: Value,
    /// `spec.variables`.
    pub(super) variables: Map<String, Value>,
}

/// A constant.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    /// What it is called here.
    pub(super) name: String,
    /// Its type.
    pub(super) shape: Shape,
    /// Whether its value was left out.
    pub(super) is_secret: Secrecy,
}

/// Whether a value may be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// It may.
    Open,
    /// It may not.
    Secret,
}

/// What Dify says of an execution on its own, here an input: name there, name here, schema, default.
fn system_inputs() -> [(&'static str, &'static str, Value, Shape); 7] {
    let text = || json!({"type": "string", "default": ""});
    [
        ("query", "query", json!({"type": "string", "description": "The message"}), Shape::Text),
        ("files", "files", json!({"type": "array", "default": []}), Shape::File),
        ("user_id", "user_id", text(), Shape::Text),
        ("conversation_id", "conversation_id", text(), Shape::Text),
        ("app_id", "app_id", text(), Shape::Text),
        ("timestamp", "timestamp", json!({"type": "integer", "default": 0}), Shape::Number),
        (
            "dialogue_count",
            "dialogue_count",
            json!({"type": "integer", "default": 0}),
            Shape::Number,
        ),
    ]
}

impl Inputs {
    /// Makes the inputs of an app.
    pub(super) fn of(app: &App<'_>, report: &mut Report) -> Self {
        let mut made = Self::default();
        let mut properties = Map::new();
        let mut required = Vec::new();
        for node in app.nodes.iter().filter(|node| node.kind == Kind::Start) {
            for variable in node.data.objects("variables") {
                made.variable(&variable, &mut properties, &mut required, report);
            }
        }
        made.of_system(app, &mut properties, &mut required, report);
        made.of_conversation(app, &mut properties, report);
        made.of_environment(app, report);
        let mut schema = Map::from_iter([("type".to_owned(), json!("object"))]);
        if !properties.is_empty() {
            schema.insert("properties".to_owned(), Value::Object(properties));
        }
        if !required.is_empty() {
            schema.insert("required".to_owned(), Value::from(required));
        }
        made.schema = Value::Object(schema);
        made
    }

    /// A variable of `start`.
    pub(super) fn input(&self, names: &[String]) -> Option<Reference> {
        below(self.known.get(names.first()?)?, &names[1..])
    }

    /// A variable of the system.
    pub(super) fn system(&self, names: &[String]) -> Option<Reference> {
        below(self.system.get(names.first()?.as_str())?, &names[1..])
    }

    /// A variable of the conversation.
    pub(super) fn conversation(&self, names: &[String]) -> Option<Reference> {
        below(self.conversation.get(names.first()?)?, &names[1..])
    }

    /// A variable of the environment.
    pub(super) fn environment(&self, name: &str) -> Option<Variable> {
        self.environment.get(name).cloned()
    }

    fn variable(
        &mut self,
        variable: &Fields<'_>,
        properties: &mut Map<String, Value>,
        required: &mut Vec<String>,
        report: &mut Report,
    ) {
        let name = variable.text("variable");
        if name.is_empty() || properties.contains_key(name) {
            let message = "is an input without a name, or with the name of another: it is left out";
            report.missing(&variable.at, name, None, message);
            return;
        }
        let kind = variable.text("type");
        let is_required = variable.is_true("required");
        variable.mark("required");
        let (types, empty, shape) = match kind {
            "text-input" | "paragraph" => ("string", json!(""), Shape::Text),
            "select" => ("string", Value::Null, Shape::Text),
            "number" => ("number", Value::Null, Shape::Number),
            "checkbox" => ("boolean", json!(false), Shape::Json),
            "json_object" | "json" => ("object", json!({}), Shape::Json),
            "file" => ("object", Value::Null, Shape::File),
            "file-list" => ("array", json!([]), Shape::File),
            _ => {
                let message =
                    format!("is of the type {kind:?}, which isn't known: it takes any text");
                report.different(&variable.at.field("type"), name, None, message);
                ("string", json!(""), Shape::Text)
            }
        };
        if shape == Shape::File {
            let message = "was a file that Dify uploads and reads: here it is whatever the caller sends, so \
                           send an address or the text";
            report.different(&variable.at, name, None, message);
        }
        let mut property = Map::from_iter([("type".to_owned(), json!(types))]);
        let described =
            [variable.text("label"), variable.text("description"), variable.text("hint")];
        let described = described.into_iter().find(|text| !text.is_empty() && *text != name);
        if let Some(described) = described {
            property.insert("title".to_owned(), json!(described));
        }
        let limit = variable.count("max_length").filter(|limit| *limit > 0);
        match (kind, limit) {
            ("text-input" | "paragraph", Some(limit)) => {
                property.insert("maxLength".to_owned(), json!(limit));
            }
            ("file-list", Some(limit)) => {
                property.insert("maxItems".to_owned(), json!(limit));
            }
            // Dify keeps a length there, and doesn't look at it.
            _ => {}
        }
        let mut options: Vec<Value> = Vec::new();
        for option in variable.list("options").iter().filter(|option| option.is_string()) {
            if !options.contains(option) {
                options.push(option.clone());
            }
        }
        if kind == "select" && !options.is_empty() {
            property.insert("enum".to_owned(), Value::from(options));
        }
        if let Some(schema) = variable.get("json_schema") {
            let message = format!(
                "its JSON Schema is not taken over: merge it into the inputs by hand: {schema}"
            );
            report.missing(&variable.at.field("json_schema"), name, None, message);
        }
        let given = variable.get("default").filter(|value| **value != json!(""));
        let fits =
            |value: &&Value| schema::violations(&Value::Object(property.clone()), value).is_empty();
        let mut default = given.filter(fits).cloned();
        if given.is_some() && default.is_none() {
            let message = "its default doesn't fit its own type and limits: it has none here";
            report.missing(&variable.at.field("default"), name, None, message);
        }
        let mut presence = Presence::Always;
        if !is_required && default.is_none() {
            if empty.is_null() {
                property.insert("type".to_owned(), json!([types, "null"]));
                if let Some(Value::Array(options)) = property.get_mut("enum") {
                    options.push(Value::Null);
                }
                presence = Presence::Sometimes;
            }
            default = Some(empty);
        }
        if let Some(default) = default {
            property.insert("default".to_owned(), default);
        }
        if is_required {
            required.push(name.to_owned());
        }
        properties.insert(name.to_owned(), Value::Object(property));
        let expression = format!("inputs{}", path(&[name.to_owned()]));
        let reference = Reference { presence, ..Reference::to(expression, shape) };
        self.known.insert(name.to_owned(), reference);
        report.converted(&variable.at, name, None, format!("became the input {name:?}"));
        report.unread(
            variable,
            &[
                "hide",
                "placeholder",
                "unit",
                "allowed_file_types",
                "allowed_file_extensions",
                "allowed_file_upload_methods",
            ],
            None,
        );
    }

    fn of_system(
        &mut self,
        app: &App<'_>,
        properties: &mut Map<String, Value>,
        required: &mut Vec<String>,
        report: &mut Report,
    ) {
        let used = used_of_system(app);
        for name in ["workflow_run_id", "workflow_execution_id"] {
            self.system.insert(name, Reference::to("execution.id", Shape::Text));
        }
        let name = literal(&Value::from(app.app.text("name")));
        self.system.insert("workflow_id", Reference::to(name, Shape::Text));
        for (theirs, ours, property, shape) in system_inputs() {
            let is_query = theirs == "query" && app.mode == Mode::Chat;
            if !is_query && !used.contains(theirs) {
                continue;
            }
            let ours = unused(properties, ours, "sys");
            let reference =
                Reference::to(format!("inputs{}", path(std::slice::from_ref(&ours))), shape);
            self.system.insert(theirs, reference);
            if property.get("default").is_none() {
                required.push(ours.clone());
            }
            properties.insert(ours.clone(), property);
            let at = app.workflow.at.clone();
            let subject = format!("sys.{theirs}");
            if is_query {
                let message = format!("the message became the input {ours:?}");
                report.converted(&at, &subject, None, message);
            } else {
                let message =
                    format!("became the input {ours:?}: whoever starts the workflow sends it");
                report.different(&at, &subject, None, message);
            }
        }
    }

    fn of_conversation(
        &mut self,
        app: &App<'_>,
        properties: &mut Map<String, Value>,
        report: &mut Report,
    ) {
        for variable in app.workflow.objects("conversation_variables") {
            let name = variable.text("name");
            let ours = unused(properties, &name_for("conversation", name), "more");
            let value = variable.get("value").cloned().unwrap_or(Value::Null);
            properties.insert(ours.clone(), json!({"default": value}));
            let shape = Shape::named(variable.text("value_type"));
            let presence = if value.is_null() { Presence::Sometimes } else { Presence::Always };
            let expression = format!("inputs.{ours}");
            let reference = Reference { presence, ..Reference::to(expression, shape) };
            self.conversation.insert(name.to_owned(), reference);
            let message = format!(
                "became the input {ours:?} with its first value as default: a workflow keeps nothing between \
                 executions, so the caller passes what it has kept, or use an agent, which has sessions"
            );
            report.different(&variable.at, name, None, message);
            report.unread(&variable, &["id", "selector", "description"], None);
        }
    }

    fn of_environment(&mut self, app: &App<'_>, report: &mut Report) {
        for variable in app.workflow.objects("environment_variables") {
            let name = variable.text("name");
            let mut ours = name_for("", name);
            while self.variables.contains_key(&ours) || is_reserved(&ours) {
                ours.push('_');
            }
            let kind = variable.text("value_type");
            let value = variable.get("value").cloned().unwrap_or(Value::Null);
            let is_secret = if kind == "secret" { Secrecy::Secret } else { Secrecy::Open };
            let value = match is_secret {
                Secrecy::Secret => {
                    let message = format!(
                        "is a secret, and not copied: variables.{ours} is empty; definitions are no place \
                         for secrets, so give it to the function that needs it, when that is registered"
                    );
                    report.missing(&variable.at, name, None, message);
                    json!("")
                }
                Secrecy::Open => {
                    let message = format!("became the constant variables.{ours}");
                    report.converted(&variable.at, name, None, message);
                    escape_value(&value)
                }
            };
            self.variables.insert(ours.clone(), json!({"value": value}));
            let variable_here = Variable { name: ours, shape: Shape::named(kind), is_secret };
            self.environment.insert(name.to_owned(), variable_here);
            report.unread(&variable, &["id", "selector", "description"], None);
        }
    }
}

/// A part of a value.
fn below(reference: &Reference, names: &[String]) -> Option<Reference> {
    let mut found = reference.clone();
    if !names.is_empty() {
        found.expression.push_str(&path(names));
        found.shape = Shape::Unknown;
    }
    Some(found)
}

fn unused(properties: &Map<String, Value>, name: &str, prefix: &str) -> String {
    let mut name = name.to_owned();
    while properties.contains_key(&name) {
        name = format!("{prefix}_{name}");
    }
    name
}

/// Whether a name means something in expressions.
fn is_reserved(name: &str) -> bool {
    let words = [
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
        "True",
        "False",
        "None",
        "super",
        "caller",
    ];
    words.contains(&name)
}

/// The names of the system's variables that are mentioned anywhere in the nodes.
fn used_of_system(app: &App<'_>) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let mut open: Vec<&Value> = app.nodes.iter().flat_map(|node| node.data.values()).collect();
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) => {
                for mentioned in ["{{#sys.", "{{#userinput."] {
                    let names = text.split(mentioned).skip(1);
                    used.extend(
                        names.filter_map(|rest| rest.split(['#', '.']).next()).map(str::to_owned),
                    );
                }
                if text.contains("{{#query#}}") {
                    used.insert("query".to_owned());
                }
                for (begin, _) in text.match_indices(".sys.") {
                    let rest = &text[begin + 5..];
                    used.extend(rest.split(['#', '.']).next().map(str::to_owned));
                }
            }
            Value::Array(items) => {
                let names: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                for pair in names.windows(2).filter(|pair| matches!(pair[0], "sys" | "userinput")) {
                    used.insert(pair[1].to_owned());
                }
                open.extend(items);
            }
            Value::Object(fields) => open.extend(fields.values()),
            _ => {}
        }
    }
    used
}
