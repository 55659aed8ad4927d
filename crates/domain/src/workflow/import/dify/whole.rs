//! The whole definition: what is around the graph, and everything of the export that is in no graph.

use serde_json::{Map, Value, json};

use super::feedback::Feedback;
use super::ids::Ids;
use super::inputs::Inputs;
use super::reference::Desk;
use super::report::Report;
use super::scope;
use super::source::{App, Kind, Mode};
use crate::workflow::definition::{API_VERSION, KIND};

/// How far nodes that the source doesn't have stand from those that they belong to.
const BESIDE: f64 = 120.0;

/// The longest name of a workflow.
const MAX_NAME: usize = 128;

/// Converts an app as well as what was learned so far allows.
pub(super) fn convert(app: &App<'_>, ids: &Ids, feedback: &Feedback, report: &mut Report) -> Value {
    around(app, report);
    let inputs = Inputs::of(app, report);
    let mut desk = Desk {
        app,
        ids,
        feedback,
        inputs: &inputs,
        report,
        layout: Map::new(),
        around: Vec::new(),
        reader: String::new(),
        node: None,
        context: None,
    };
    let mut scope = scope::convert(&mut desk, None);
    if let Some(reason) = feedback.no_result("") {
        scope.remove("result");
        let at = app.workflow.at.field("graph");
        let message = format!("can't be put together, write spec.result by hand: {reason}");
        desk.report.missing(&at, "result", None, message);
    }
    let layout = std::mem::take(&mut desk.layout);
    inner(app, report);
    let mut spec = Map::new();
    spec.insert("inputs".to_owned(), inputs.schema);
    if !inputs.variables.is_empty() {
        spec.insert("variables".to_owned(), Value::Object(inputs.variables));
    }
    spec.extend(scope);
    if !layout.is_empty() {
        spec.insert("layout".to_owned(), Value::Object(layout));
    }
    envelope(app, Value::Object(spec))
}

/// A definition with this `spec`.
pub(super) fn envelope(app: &App<'_>, spec: Value) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(name(app.app.text("name"))));
    let described = app.app.text("description").trim();
    if !described.is_empty() {
        metadata.insert("description".to_owned(), json!(described));
    }
    metadata.insert("labels".to_owned(), json!({"imported-from": "dify"}));
    json!({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec})
}

/// A name that can be part of an address.
fn name(text: &str) -> String {
    let mut made = String::new();
    for c in text.trim().chars() {
        match c {
            c if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') => {
                made.push(c.to_ascii_lowercase())
            }
            _ if made.is_empty() || made.ends_with('-') => {}
            _ => made.push('-'),
        }
    }
    made.truncate(MAX_NAME);
    let made = made.trim_matches(['-', '.']);
    if made.is_empty() { "imported".to_owned() } else { made.to_owned() }
}

impl Desk<'_> {
    /// Keeps the place of a node on the canvas; `beside` tells those apart that stand for the same one.
    pub(super) fn place(&mut self, node: usize, id: &str, beside: usize) {
        let Some((x, y)) = &self.app.nodes[node].position else { return };
        let position = match (beside, x.as_f64(), y.as_f64()) {
            (1.., Some(x), Some(y)) => {
                #[allow(clippy::cast_precision_loss, reason = "there are at most three")]
                let beside = beside as f64;
                json!({"x": x + BESIDE, "y": y + BESIDE * beside})
            }
            _ => json!({"x": x, "y": y}),
        };
        self.layout.insert(id.to_owned(), position);
    }
}

/// Notes what becomes of the app itself.
fn around(app: &App<'_>, report: &mut Report) {
    let named = app.app.text("name");
    let made = name(named);
    let at = app.app.at.field("name");
    if made == named {
        report.converted(&at, "name", None, format!("became the workflow {made:?}"));
    } else {
        let message = format!("is no name here: the workflow is called {made:?}");
        report.different(&at, "name", None, message);
    }
    if app.mode == Mode::Chat {
        let message = "a chatflow became a workflow: a message goes in, an answer comes out, and nothing is \
                       kept from one message to the next; put an agent before it, if it should be";
        report.different(&app.app.at.field("mode"), "mode", None, message);
    }
    app.app.mark("mode");
    app.app.mark("description");
    let plain = ["icon", "icon_type", "icon_background", "use_icon_as_answer_icon", "icon_url"];
    report.unread(&app.app, &plain, None);
    report.unread(&app.root, &["version", "dependencies"], None);
    for dependency in app.root.objects("dependencies") {
        let value = dependency.object("value");
        let called = [
            "marketplace_plugin_unique_identifier",
            "plugin_unique_identifier",
            "github_plugin_unique_identifier",
        ];
        let called = called.iter().map(|name| value.text(name)).find(|text| !text.is_empty());
        let message =
            "is a plugin that the app needs there: what it does is a model or a function here";
        report.missing(&dependency.at, called.unwrap_or("dependencies"), None, message);
    }
    for at in &app.unreadable {
        let message =
            "can't be read, or names what isn't there, or has an id twice: it is left out";
        report.missing(at, "graph", None, message);
    }
    let features = app.workflow.object("features");
    for name in features.names() {
        if features.peek(name).is_some_and(|value| is_on(name, value)) {
            let message = "is a feature of the chat around the workflow: build it into your client";
            report.missing(&features.at.field(name), name, None, message);
        }
        features.mark(name);
    }
}

/// Whether a feature does anything.
fn is_on(name: &str, value: &Value) -> bool {
    match value {
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => !items.is_empty(),
        // It is on in every export, and only shows where retrieved texts come from.
        Value::Object(_) if name == "retriever_resource" => false,
        Value::Object(fields) => fields.get("enabled") == Some(&Value::Bool(true)),
        _ => false,
    }
}

/// Notes what is in the graph and in no scope that was converted, and the notes on the canvas.
fn inner(app: &App<'_>, report: &mut Report) {
    for node in &app.nodes {
        if node.kind == Kind::Note {
            let message = "is a note on the canvas: it is left out";
            report.missing(&node.at, &node.title, None, message);
            continue;
        }
        let Some(parent) = node.parent else { continue };
        if !report.tells_of(&node.at) {
            let message = format!(
                "is inside of {:?}, which isn't converted, so it is left out as well",
                app.nodes[parent].title
            );
            report.missing(&node.at, &node.title, None, message);
        }
    }
    let plain = [
        "graph",
        "conversation_variables",
        "environment_variables",
        "features",
        "rag_pipeline_variables",
        "hash",
        "version",
    ];
    report.unread(&app.workflow, &plain, None);
}
