//! What exports of Dify become: that it compiles, that it means the same, and that nothing is left out in
//! silence.

mod chat;
mod conditions;
mod failures;
mod fixtures;
mod gaps;
mod mutations;
mod requests;
mod steps;

use serde_json::{Value, json};

use super::{Finding, Imported, NOT_CONVERTED, NotDify, Outcome, dify};
use crate::workflow::compile::{Compiled, compile};
use crate::workflow::template::{Template, environment};

/// An export of this mode and graph.
fn app(mode: &str, nodes: Vec<Value>, edges: Vec<Value>) -> Value {
    json!({
        "kind": "app",
        "version": "0.3.1",
        "app": {"name": "Order desk", "mode": mode, "description": "Takes orders", "icon": "x"},
        "dependencies": [],
        "workflow": {
            "environment_variables": [],
            "conversation_variables": [],
            "features": {"file_upload": {"enabled": false}, "retriever_resource": {"enabled": true}},
            "graph": {"nodes": nodes, "edges": edges, "viewport": {"x": 0, "y": 0, "zoom": 1}},
        },
    })
}

/// A node; `data` has what is special to it.
fn node(id: &str, kind: &str, title: &str, data: Value) -> Value {
    let mut whole = json!({"type": kind, "title": title, "desc": "", "selected": false});
    for (name, value) in data.as_object().expect("data is an object") {
        whole[name] = value.clone();
    }
    json!({"id": id, "type": "custom", "data": whole, "position": {"x": 80, "y": 282}, "width": 244})
}

/// A node in the body of another.
fn inside(parent: &str, mut node: Value) -> Value {
    node["parentId"] = json!(parent);
    node["data"]["isInIteration"] = json!(true);
    node["data"]["iteration_id"] = json!(parent);
    node
}

fn edge(from: &str, handle: &str, to: &str) -> Value {
    json!({"id": format!("{from}-{handle}-{to}"), "source": from, "sourceHandle": handle, "target": to,
        "targetHandle": "target", "type": "custom"})
}

fn start(variables: Value) -> Value {
    node("100", "start", "Start", json!({"variables": variables}))
}

fn text_input(name: &str) -> Value {
    json!({"variable": name, "label": name, "type": "text-input", "required": true, "max_length": 48,
        "options": []})
}

fn template(id: &str, title: &str, template: &str, variables: Value) -> Value {
    node(id, "template-transform", title, json!({"template": template, "variables": variables}))
}

fn end(id: &str, outputs: &[(&str, &[&str])]) -> Value {
    let outputs: Vec<Value> = outputs
        .iter()
        .map(|(name, from)| json!({"variable": name, "value_selector": from, "value_type": "string"}))
        .collect();
    node(id, "end", "End", json!({"outputs": outputs}))
}

fn llm(id: &str, title: &str, prompt: &str) -> Value {
    node(
        id,
        "llm",
        title,
        json!({
            "model": {"provider": "langgenius/openai/openai", "name": "gpt-4o", "mode": "chat",
                "completion_params": {"temperature": 0.7}},
            "prompt_template": [{"role": "user", "text": prompt, "id": "p1"}],
            "context": {"enabled": false, "variable_selector": []},
            "vision": {"enabled": false},
            "variables": [],
        }),
    )
}

/// What an export becomes; it must compile.
#[track_caller]
fn imported(source: &Value) -> (Imported, Compiled) {
    let imported = dify(source).expect("it is an export");
    match compile(&imported.definition) {
        Ok(compiled) => (imported, compiled),
        Err(problems) => panic!("{problems:#?}\nin {:#}", imported.definition),
    }
}

/// What is wrong with a conversion, as one text.
fn told(report: &[Finding], outcome: Outcome) -> String {
    let told = report.iter().filter(|finding| finding.outcome == outcome);
    told.map(|one| format!("{} {}: {}\n", one.pointer, one.subject, one.message)).collect()
}

/// Whether something was said of what stands at or below a place.
fn finding<'r>(report: &'r [Finding], outcome: Outcome, pointer: &str) -> Option<&'r Finding> {
    report.iter().find(|one| one.outcome == outcome && one.pointer.starts_with(pointer))
}

/// The node with this id, wherever it is.
#[track_caller]
fn made<'d>(definition: &'d Value, id: &str) -> &'d Value {
    fn search<'d>(value: &'d Value, id: &str) -> Option<&'d Value> {
        match value {
            Value::Object(fields) if fields.get("id").and_then(Value::as_str) == Some(id) => {
                Some(value)
            }
            Value::Object(fields) => fields.values().find_map(|field| search(field, id)),
            Value::Array(items) => items.iter().find_map(|item| search(item, id)),
            _ => None,
        }
    }
    search(definition, id).unwrap_or_else(|| panic!("no node {id} in {definition:#}"))
}

/// The value of a field with expressions in it.
#[track_caller]
fn evaluated(field: &Value, context: &Value) -> Value {
    fn template(value: &Value) -> Template {
        match value {
            Value::String(text) => {
                let inner = text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
                match inner.filter(|inner| !inner.contains("}}")) {
                    Some(inner) => Template::Expression(inner.trim().to_owned()),
                    None => Template::Text(text.clone()),
                }
            }
            Value::Array(items) => Template::List(items.iter().map(template).collect()),
            Value::Object(fields) => Template::Object(
                fields.iter().map(|(name, field)| (name.clone(), template(field))).collect(),
            ),
            other => Template::Literal(other.clone()),
        }
    }
    let context = minijinja::Value::from(minijinja::value::Serde(context.clone()));
    template(field)
        .evaluate(&environment(), &context)
        .unwrap_or_else(|error| panic!("{field}: {error:?}"))
}

#[test]
fn what_is_no_workflow_of_dify_is_refused_with_the_reason() {
    for (source, wanted) in [
        (json!([]), NotDify::NoObject),
        (json!({}), NotDify::OtherKind { found: "missing".into() }),
        (json!({"kind": "rag_pipeline"}), NotDify::OtherKind { found: "\"rag_pipeline\"".into() }),
        (json!({"kind": "app", "app": {"mode": "chat"}}), NotDify::NoGraph { mode: "chat".into() }),
        (app("workflow", vec![], vec![]), NotDify::NoNodes),
        (app("workflow", vec![json!(1)], vec![]), NotDify::NoNodes),
    ] {
        assert_eq!(dify(&source), Err(wanted));
    }
}
