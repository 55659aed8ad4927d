//! Gives the shapes of [`super::generate`] something to do: kinds that ask others, values that flow, and the
//! times and tries of whatever may fail. What it makes still compiles.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::generate::Chance;

/// Inputs that the conditions and lists of an enriched definition read.
pub(in crate::workflow) fn inputs(chance: &mut Chance) -> Value {
    let items: Vec<usize> = (0..chance.below(4)).collect();
    json!({"a": chance.one_in(2), "b": chance.one_in(2), "c": !chance.one_in(3), "list": items,
        "nested": [[1, 2], [], [1]]})
}

/// Enriches a definition.
pub(in crate::workflow) fn enrich(definition: &mut Value, chance: &mut Chance) {
    scope(&mut definition["spec"], chance, &[]);
}

/// What the other nodes of a scope are to a node.
#[derive(Default)]
struct Around {
    /// The nodes that edges lead from, by the node that they lead to.
    before: BTreeMap<String, Vec<String>>,
    /// The nodes that some edge leads to, those of switches included.
    led_to: BTreeSet<String>,
    /// Whose failure leads to a node.
    mends: BTreeMap<String, String>,
    /// The nodes that only undo others.
    undo: BTreeSet<String>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn scope(scope: &mut Value, chance: &mut Chance, locals: &[String]) {
    let mut around = Around::default();
    for edge in scope["edges"].as_array().into_iter().flatten() {
        around.led_to.insert(text(&edge["to"]));
        around.before.entry(text(&edge["to"])).or_default().push(text(&edge["from"]));
    }
    for node in scope["nodes"].as_array().into_iter().flatten() {
        let id = text(&node["id"]);
        let cases = node["cases"].as_array().into_iter().flatten().map(|case| &case["to"]);
        around.led_to.extend(cases.chain(node.get("else")).map(text));
        if let Some(branch) = node["onError"].as_str() {
            around.mends.insert(branch.to_owned(), id.clone());
        }
        if let Some(undo) = node["compensate"].as_str() {
            around.undo.insert(undo.to_owned());
        }
    }
    for edge in scope["edges"].as_array_mut().into_iter().flatten() {
        if edge.get("when").is_some() {
            let from = text(&edge["from"]);
            edge["when"] = match chance.below(16) {
                1..=6 => json!(format!("{{{{ nodes.{from}.output == 1 }}}}")),
                // Of most outputs this can't be evaluated.
                7 => json!(format!("{{{{ nodes.{from}.output.a }}}}")),
                _ => json!("{{ inputs.c }}"),
            };
        }
    }
    for one in scope["nodes"].as_array_mut().into_iter().flatten() {
        node(one, chance, locals, &around);
    }
    let mut result = Map::new();
    for node in scope["nodes"].as_array().into_iter().flatten() {
        let id = text(&node["id"]);
        if !around.undo.contains(&id) {
            result.insert(format!("{id}_is"), json!(format!("{{{{ nodes.{id}.status }}}}")));
            let output = format!("{{{{ nodes.{id}.output | default('-') }}}}");
            result.insert(id, json!(output));
        }
    }
    if !chance.one_in(6) {
        scope["result"] = Value::Object(result);
    }
}

fn node(node: &mut Value, chance: &mut Chance, locals: &[String], around: &Around) {
    let id = text(&node["id"]);
    let value = reading(&id, chance, locals, around);
    // A scope that ends before anything has begun tells little, and so does one in which nobody is asked.
    let is_early = !around.led_to.contains(&id) && !chance.one_in(8);
    let is_dull = match text(&node["kind"]).as_str() {
        "end" | "fail" => is_early,
        "fork" | "transform" => chance.one_in(2),
        _ => false,
    };
    if is_dull {
        let fields = node.as_object_mut().expect("a node");
        for field in ["value", "message", "code", "result"] {
            fields.remove(field);
        }
        fields.insert("kind".to_owned(), json!("function"));
        fields.insert("name".to_owned(), json!("f"));
    }
    let kind = text(&node["kind"]);
    match kind.as_str() {
        "function" => asking(node, value, chance),
        "transform" => node["value"] = value,
        "end" if chance.one_in(2) => node["result"] = value,
        "wait" => {
            let fields = node.as_object_mut().expect("a node");
            fields.remove("signal");
            let any = json!({"name": "go", "timeout": "4s"});
            let typed = json!({"name": "go", "schema": {"type": "integer"}, "timeout": "1d",
                "form": {"type": "integer"}});
            let (field, value) = match chance.below(5) {
                1 => ("duration", json!("2s")),
                2 => ("until", json!("{{ 1001000 }}")),
                3 => ("signal", typed),
                _ => ("signal", any),
            };
            fields.insert(field.to_owned(), value);
        }
        "map" => {
            node["over"] = match chance.below(5) {
                1 | 2 => json!("{{ inputs.list }}"),
                3 => json!("{{ inputs.nested }}"),
                4 => json!("{{ inputs.a }}"),
                _ => json!([1, 2, 3]),
            };
            node["concurrency"] = json!(1 + chance.below(3));
            let item = text(&node["as"]);
            body(node, chance, locals, &[&item, "index"]);
        }
        "loop" => {
            let fields = node.as_object_mut().expect("a node");
            fields.remove("until");
            let (field, condition, max) = match chance.below(4) {
                1 => ("while", "{{ iteration < 2 }}", 2),
                2 => ("while", "{{ iteration < 2 }}", 1),
                3 => ("until", "{{ last == 1 }}", 2),
                _ => ("until", "{{ iteration > 0 }}", 3),
            };
            fields.insert(field.to_owned(), json!(condition));
            fields.insert("maxIterations".to_owned(), json!(max));
            body(node, chance, locals, &["iteration", "last"]);
        }
        "join" if node.get("deadline").is_some() => {
            node["deadline"] = json!(["1s", "3s", "1h"][chance.below(3)]);
        }
        _ => {}
    }
    if ["map", "loop"].contains(&kind.as_str()) && chance.one_in(5) {
        node["timeout"] = json!("5s");
    }
    if node.get("default").is_some() {
        node["default"] = match chance.below(16) {
            1..=6 => json!(format!("{{{{ nodes.{id}.error.code }}}}")),
            7 => json!("{{ inputs.no.such }}"),
            _ => json!("stands in"),
        };
    }
}

fn body(node: &mut Value, chance: &mut Chance, locals: &[String], more: &[&str]) {
    let mut inner: Vec<String> = more.iter().map(|name| (*name).to_owned()).collect();
    inner.extend(locals.iter().cloned());
    scope(&mut node["body"], chance, &inner);
}

/// A node that asks someone for something.
fn asking(node: &mut Value, value: Value, chance: &mut Chance) {
    let fields = node.as_object_mut().expect("a node");
    let mut become_kind = |kind: &str, with: Value| {
        fields.remove("name");
        fields.insert("kind".to_owned(), json!(kind));
        fields.extend(with.as_object().expect("fields").clone());
    };
    let mut may_time_out = true;
    match chance.below(10) {
        1 => {
            become_kind("emit", json!({"topic": "t", "type": "t", "data": {"v": value}}));
            may_time_out = false;
        }
        2 => become_kind("workflow", json!({"name": "child", "input": {"v": value}})),
        3 => {
            let with = json!({"name": "child", "mode": "detached", "input": {"v": value}});
            become_kind("workflow", with);
        }
        4 => become_kind("model", json!({"model": "fast", "request": {"v": value}})),
        5 => become_kind("agent", json!({"agent": "helper", "input": "it {{ inputs.c }}"})),
        _ => drop(fields.insert("arguments".to_owned(), json!({"v": value}))),
    }
    if chance.below(5) > 2 {
        let mut retry = json!({"maxTries": 2 + chance.below(2), "backoff": {"initial": "1s"}});
        if chance.one_in(3) {
            retry["on"] = json!(["provider"]);
        }
        fields.insert("retry".to_owned(), retry);
    }
    if may_time_out && chance.one_in(4) {
        fields.insert("timeout".to_owned(), json!("3s"));
    }
}

/// A value that a node may read.
fn reading(id: &str, chance: &mut Chance, locals: &[String], around: &Around) -> Value {
    let before = around.before.get(id).map_or(&[][..], Vec::as_slice);
    match chance.below(6) {
        1 | 2 if !before.is_empty() => {
            let from = &before[chance.below(before.len())];
            json!(format!("{{{{ nodes.{from}.output | default('none') }}}}"))
        }
        1..=3 if !locals.is_empty() => {
            let local = &locals[chance.below(locals.len())];
            json!(format!("{{{{ {local} }}}}"))
        }
        4 if around.mends.contains_key(id) => {
            json!(format!("{{{{ nodes.{}.error.code }}}}", around.mends[id]))
        }
        5 => json!("{{ inputs.nested[0] }}"),
        _ => json!(1),
    }
}
