//! `parameter-extractor` to a model node that answers by a JSON Schema, and a function node that reads
//! the answer. As in Dify it succeeds, with empty values, when the model's answer is of no use.

use serde_json::{Map, Value, json};

use super::super::fields::name_of;
use super::super::reference::Desk;
use super::super::source::Node;
use super::llm;

/// What a parameter is when the model didn't find it.
pub(in super::super) fn empty(kind: &str) -> Value {
    match kind {
        "number" => json!(0),
        "bool" | "boolean" => json!(false),
        _ if kind.starts_with("array") => json!([]),
        _ => json!(""),
    }
}

pub(super) fn make(desk: &mut Desk<'_>, node: &Node<'_>, id: &str) -> Result<Vec<Value>, String> {
    let data = &node.data;
    let (model, mut request) = llm::model(desk, node)?;
    let (mut properties, mut required) = (Map::new(), Vec::new());
    let mut defaults = Map::new();
    for parameter in data.objects("parameters") {
        let name = parameter.get("name").and_then(name_of);
        let name = name.ok_or("a parameter has no name: write the schema by hand")?;
        let kind = parameter.text("type");
        let mut schema = match kind {
            "string" | "select" => json!({"type": "string"}),
            "number" => json!({"type": "number"}),
            "bool" | "boolean" => json!({"type": "boolean"}),
            "array" => json!({"type": "array"}),
            _ => match kind.strip_prefix("array[").and_then(|rest| rest.strip_suffix(']')) {
                Some(of @ ("string" | "number" | "object" | "boolean")) => {
                    json!({"type": "array", "items": {"type": of}})
                }
                _ => {
                    let message = format!(
                        "the parameter is of the type {kind:?}, which isn't known: it may be anything"
                    );
                    desk.differs(&parameter.at.field("type"), &name, message);
                    json!({})
                }
            },
        };
        if !parameter.text("description").is_empty() {
            schema["description"] = json!(parameter.text("description"));
        }
        let options = parameter.list("options");
        if !options.is_empty() {
            schema["enum"] = Value::from(options);
        }
        if parameter.is_true("required") {
            required.push(name.clone());
        }
        parameter.mark("required");
        defaults.insert(name.clone(), empty(kind));
        desk.report.unread(&parameter, &["label"], Some(id));
        properties.insert(name, schema);
    }
    if properties.is_empty() {
        return Err("it has no parameters: write the schema by hand".to_owned());
    }
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if data.text("reasoning_mode") == "function_call" {
        let message = "asks for JSON by a schema (response_format) instead of a function call: the model \
                       must know that";
        desk.differs(&data.at.field("reasoning_mode"), "reasoning_mode", message);
    }
    if llm::is_completion(node) {
        let message = "was a completion: it is a chat here, so the alias must lead to a chat model";
        desk.differs(&data.at.field("model"), "mode", message);
    }
    let mut system =
        "Extract the parameters that the JSON Schema describes from the text of the user. \
                      Answer with the JSON alone; leave out what the text does not say."
            .to_owned();
    let instruction = data.text("instruction");
    if !instruction.trim().is_empty() {
        let instruction = desk.text(instruction, &data.at.field("instruction"));
        system = format!("{system}\n\n{instruction}");
    }
    let query = desk.selected(data, "query").ok_or("it has no query: write what text is read")?;
    let memory = data.object("memory");
    if memory.is_there() {
        let message =
            "earlier messages of the conversation are not sent: add what is needed to the messages";
        desk.lacks(&memory.at, "memory", message);
    }
    llm::vision(desk, data, id);
    data.mark("variables");
    let query = super::super::text::as_text(&query);
    request.insert(
        "messages".to_owned(),
        json!([
            {"role": "system", "content": system},
            {"role": "user", "content": format!("{{{{ {query} }}}}")},
        ]),
    );
    let schema = json!({"name": id, "schema": super::super::text::escape_value(&schema)});
    let format = json!({"type": "json_schema", "json_schema": schema});
    request.insert("response_format".to_owned(), format);
    let made = json!({"id": id, "kind": "model", "model": model, "request": request});
    let mut parse = llm::parse(desk, node, id, "message.content");
    defaults.insert("__is_success".to_owned(), json!(0));
    defaults.insert("__reason".to_owned(), json!("the answer of the model is no JSON"));
    parse["default"] = Value::Object(defaults);
    Ok(vec![made, parse])
}
