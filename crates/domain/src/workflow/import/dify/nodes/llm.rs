//! `llm` to a model node, and a function node after it where the answer is JSON.

use serde_json::{Map, Value, json};

use super::super::fields::{Fields, selector};
use super::super::reference::Desk;
use super::super::source::{Mode, Node};
use super::super::text::escape_value;
use super::PARSE_JSON;

/// What OpenAI's own interface takes, so that it means the same everywhere.
const KNOWN: [&str; 12] = [
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "presence_penalty",
    "frequency_penalty",
    "stop",
    "seed",
    "n",
    "logit_bias",
    "user",
    "reasoning_effort",
];

/// Whether the model completes a text instead of answering messages.
pub(in super::super) fn is_completion(node: &Node<'_>) -> bool {
    let model = Fields::open(node.data.peek("model"), node.data.at.clone());
    model.text("mode") == "completion"
}

/// Whether the answer is JSON of a schema.
pub(in super::super) fn is_structured(node: &Node<'_>) -> bool {
    node.data.peek("structured_output_enabled").and_then(Value::as_bool) == Some(true)
        && output_schema(node).is_some()
}

fn output_schema<'a>(node: &Node<'a>) -> Option<&'a Value> {
    let given = node.data.peek("structured_output")?;
    let schema = given.get("schema").unwrap_or(given);
    schema.as_object().filter(|fields| !fields.is_empty()).map(|_| schema)
}

pub(super) fn make(desk: &mut Desk<'_>, node: &Node<'_>, id: &str) -> Result<Vec<Value>, String> {
    let data = &node.data;
    let (model, mut request) = model(desk, node)?;
    let context = data.object("context");
    desk.context = match context.is_true("enabled") {
        true => context.get("variable_selector").and_then(selector),
        false => None,
    };
    context.mark("variable_selector");
    desk.report.unread(&context, &["enabled"], Some(id));
    let config = data.object("prompt_config");
    let variables = config.objects("jinja2_variables");
    let is_completion = is_completion(node);
    if is_completion {
        let prompt = data.object("prompt_template");
        let text = prompt_text(desk, &prompt, &variables);
        request.insert("prompt".to_owned(), json!(text));
    } else {
        let mut messages = Vec::new();
        for prompt in data.objects("prompt_template") {
            let role = match prompt.text("role") {
                role @ ("system" | "user" | "assistant") => role,
                other => return Err(format!("a message has the role {other:?}: write it by hand")),
            };
            let content = prompt_text(desk, &prompt, &variables);
            prompt.mark("id");
            desk.report.unread(&prompt, &[], Some(id));
            if !content.is_empty() {
                messages.push(json!({"role": role, "content": content}));
            }
        }
        if let Some(message) = memory(desk, data, id) {
            messages.push(message);
        }
        if messages.is_empty() {
            return Err("it has no messages: write what the model is asked".to_owned());
        }
        request.insert("messages".to_owned(), Value::from(messages));
    }
    desk.context = None;
    vision(desk, data, id);
    let is_structured = is_structured(node);
    if let Some(schema) = output_schema(node).filter(|_| is_structured) {
        data.mark("structured_output");
        data.mark("structured_output_enabled");
        let schema = json!({"name": id, "schema": escape_value(schema)});
        let format = json!({"type": "json_schema", "json_schema": schema});
        request.insert("response_format".to_owned(), format);
    } else {
        data.mark("structured_output");
    }
    data.mark("variables");
    let mut made = json!({"id": id, "kind": "model", "model": model});
    if is_completion {
        made["operation"] = json!("text_completion");
    }
    made["request"] = Value::Object(request);
    let mut chain = vec![made];
    if is_structured {
        let path = if is_completion { "text" } else { "message.content" };
        chain.push(parse(desk, node, id, path));
    }
    Ok(chain)
}

/// The node that reads the JSON in the answer of `id`.
pub(super) fn parse(desk: &mut Desk<'_>, node: &Node<'_>, id: &str, path: &str) -> Value {
    let message = format!(
        "the answer is JSON in a text, which a function reads: register a function {PARSE_JSON:?} that takes \
         {{\"text\": string}} and gives the value that the text says"
    );
    desk.differs(&node.at, PARSE_JSON, message);
    let data = desk.ids.data(desk.node.unwrap_or_default()).to_owned();
    let text = format!("{{{{ nodes.{id}.output.choices[0].{path} }}}}");
    json!({"id": data, "kind": "function", "name": PARSE_JSON, "arguments": {"text": text}})
}

/// The alias, and what of the request comes from the model's settings.
pub(super) fn model(
    desk: &mut Desk<'_>,
    node: &Node<'_>,
) -> Result<(String, Map<String, Value>), String> {
    let model = node.data.object("model");
    let (provider, name) =
        (model.text("provider").to_owned(), model.text("name").trim().to_owned());
    model.mark("mode");
    let at = node.data.at.field("model");
    if name.is_empty() {
        return Err("it names no model: choose one, and make an alias of it".to_owned());
    }
    let message = format!(
        "calls the alias {name:?}: define a model of this name, with a deployment of {provider:?}, or \
         write another alias here"
    );
    desk.differs(&at, &name, message);
    let mut request = Map::new();
    let params = model.object("completion_params");
    for param in params.names() {
        let at = params.at.field(param);
        let Some(value) = params.get(param) else { continue };
        match (param, value) {
            ("response_format", Value::String(format)) if format == "text" => {}
            ("response_format", Value::String(format)) if format == "json_schema" => {
                let schema = params.text("json_schema");
                match serde_json::from_str::<Value>(schema) {
                    Ok(schema @ Value::Object(_)) => {
                        let inner = json!({"name": "answer", "schema": schema});
                        let inner = if schema.get("schema").is_some() { schema } else { inner };
                        let format =
                            json!({"type": "json_schema", "json_schema": escape_value(&inner)});
                        request.insert(param.to_owned(), format);
                    }
                    _ => desk.lacks(
                        &at,
                        param,
                        "has a JSON Schema that can't be read: write it by hand",
                    ),
                }
            }
            ("response_format", Value::String(format)) => {
                request.insert(param.to_owned(), json!({"type": escape_value(&json!(format))}));
            }
            ("json_schema", _) => {}
            ("model" | "messages" | "prompt" | "stream", _) => {
                desk.lacks(&at, param, "is not what a setting may say here: see what was meant");
            }
            _ => {
                if !KNOWN.contains(&param) {
                    let message = format!(
                        "the setting {param:?} goes to the provider as it is: make sure that it knows it"
                    );
                    desk.differs(&at, param, message);
                }
                request.insert(param.to_owned(), escape_value(value));
            }
        }
    }
    let id = desk.node.map(|node| desk.ids.own(node).to_owned());
    desk.report.unread(&model, &[], id.as_deref());
    Ok((name, request))
}

fn prompt_text(desk: &mut Desk<'_>, prompt: &Fields<'_>, variables: &[Fields<'_>]) -> String {
    if prompt.text("edition_type") == "jinja2" {
        prompt.mark("text");
        let at = prompt.at.field("jinja2_text");
        return desk.jinja(prompt.text("jinja2_text"), variables, &at);
    }
    prompt.mark("jinja2_text");
    prompt.mark("jinja2_variables");
    desk.text(prompt.text("text"), &prompt.at.field("text"))
}

/// The message that Dify adds at the end when the memory is on.
fn memory(desk: &mut Desk<'_>, data: &Fields<'_>, id: &str) -> Option<Value> {
    let memory = data.object("memory");
    if !memory.is_there() {
        return None;
    }
    let message = "earlier messages of the conversation are not sent: use an agent, which has sessions, or \
                   pass them as an input";
    desk.lacks(&memory.at, "memory", message);
    let query = memory.text("query_prompt_template");
    memory.mark("role_prefix");
    memory.mark("window");
    desk.report.unread(&memory, &["query_prompt_template"], Some(id));
    let query = match (query.trim(), desk.app.mode) {
        ("", Mode::Workflow) => return None,
        ("", Mode::Chat) => "{{#sys.query#}}",
        (query, _) => query,
    };
    // Files are told of once, with the settings for them.
    let query = query.replace("{{#userinput.files#}}", "").replace("{{#sys.files#}}", "");
    let content = desk.text(query.trim(), &memory.at.field("query_prompt_template"));
    Some(json!({"role": "user", "content": content}))
}

/// Pictures in prompts.
pub(super) fn vision(desk: &mut Desk<'_>, data: &Fields<'_>, id: &str) {
    let vision = data.object("vision");
    if vision.is_true("enabled") {
        let message =
            "pictures are not sent: add parts of the type image_url to the message by hand";
        desk.lacks(&vision.at, "vision", message);
    }
    vision.mark("configs");
    desk.report.unread(&vision, &["enabled"], Some(id));
}
