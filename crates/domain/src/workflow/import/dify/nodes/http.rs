//! `http-request` to a function node.
//!
//! The request is put together here, so that everything it says stays visible; what sends it is a
//! function, as workflows themselves call nobody. Credentials belong to the function.

use serde_json::{Map, Value, json};

use super::super::fields::{Fields, name_of};
use super::super::inputs::Secrecy;
use super::super::reference::Desk;
use super::super::source::Node;

/// The function that sends any request.
const HTTP_REQUEST: &str = "http-request";

pub(super) fn make(desk: &mut Desk<'_>, node: &Node<'_>, id: &str) -> Result<Vec<Value>, String> {
    let data = &node.data;
    let method = data.text("method").to_ascii_uppercase();
    if !["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"].contains(&method.as_str()) {
        return Err(format!("the method {method:?} isn't known: write the request by hand"));
    }
    let url = data.text("url");
    if url.trim().is_empty() {
        return Err("it has no url: write the request by hand".to_owned());
    }
    let mut arguments = Map::new();
    arguments.insert("method".to_owned(), json!(method));
    arguments.insert("url".to_owned(), json!(desk.text(url.trim(), &data.at.field("url"))));
    let mut headers = Map::new();
    for (name, value) in lines(desk, data, "headers") {
        headers.insert(name, json!(value));
    }
    let params: Vec<Value> = lines(desk, data, "params")
        .into_iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    let name = authorization(desk, data, id, &mut headers);
    if !headers.is_empty() {
        arguments.insert("headers".to_owned(), Value::Object(headers));
    }
    if !params.is_empty() {
        arguments.insert("params".to_owned(), Value::from(params));
    }
    if let Some(body) = body(desk, data, id)? {
        arguments.insert("body".to_owned(), body);
    }
    timeout(desk, data, id, &mut arguments);
    if data.peek("ssl_verify").and_then(Value::as_bool) == Some(false) {
        arguments.insert("verify_tls".to_owned(), json!(false));
    }
    data.mark("ssl_verify");
    data.mark("variables");
    let message = format!(
        "is sent by a function: register {name:?}, which takes {{method, url, headers: object, params: [{{name, \
         value}}], body: {{type, text | fields}}, timeout_seconds, verify_tls}}, sends that, and gives \
         {{status_code, body: string, headers: object, files}}; let it reach only the hosts that it must"
    );
    desk.differs(&node.at, &name, message);
    Ok(vec![json!({"id": id, "kind": "function", "name": name, "arguments": arguments})])
}

/// Lines of `name: value`.
fn lines(desk: &mut Desk<'_>, data: &Fields<'_>, field: &str) -> Vec<(String, String)> {
    let at = data.at.field(field);
    let mut found = Vec::new();
    for line in data.text(field).lines().filter(|line| !line.trim().is_empty()) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        // A reference may have no colon in it, but stand where the name should.
        if name.contains("{{#") || name.trim().is_empty() {
            let message =
                format!("the line {line:?} has no fixed name: add it to the arguments by hand");
            desk.lacks(&at, field, message);
            continue;
        }
        let value = desk.text(value.trim(), &at);
        found.push((name.trim().to_owned(), value));
    }
    found
}

/// The name of the function; it knows the credentials, unless they are values of the workflow.
fn authorization(
    desk: &mut Desk<'_>,
    data: &Fields<'_>,
    id: &str,
    headers: &mut Map<String, Value>,
) -> String {
    let authorization = data.object("authorization");
    if authorization.text("type") != "api-key" {
        authorization.mark("config");
        desk.report.unread(&authorization, &["type"], Some(id));
        return HTTP_REQUEST.to_owned();
    }
    let config = authorization.object("config");
    let header = match config.text("header").trim() {
        "" => "Authorization",
        header => header,
    };
    let scheme = config.text("type");
    let key = config.text("api_key");
    let at = config.at.field("api_key");
    let prefix = if scheme == "bearer" { "Bearer " } else { "" };
    let is_open = desk.only_values(key) && scheme != "basic";
    if is_open {
        headers.insert(header.to_owned(), json!(desk.text(&format!("{prefix}{key}"), &at)));
        return HTTP_REQUEST.to_owned();
    }
    let name = format!("{HTTP_REQUEST}-{}", id.replace('_', "-"));
    let how = match scheme {
        "bearer" => "\"Bearer \" and the key",
        "basic" => "\"Basic \" and the key in Base64",
        _ => "the key",
    };
    let message = format!(
        "the key is not copied: register the function {name:?} with it, so that it adds the header \
         {header:?} with {how}"
    );
    desk.lacks(&at, "authorization", message);
    name
}

impl Desk<'_> {
    /// Whether a text is made of values that the workflow may know, and of at least one.
    fn only_values(&self, text: &str) -> bool {
        let mut names = text.split("{{#").skip(1).peekable();
        names.peek().is_some()
            && names.all(|rest| {
                let name = rest.strip_prefix("env.").and_then(|rest| rest.split("#}}").next());
                let variable = name.and_then(|name| self.inputs.environment(name));
                variable.is_none_or(|variable| variable.is_secret == Secrecy::Open)
            })
    }
}

fn body(desk: &mut Desk<'_>, data: &Fields<'_>, id: &str) -> Result<Option<Value>, String> {
    let body = data.object("body");
    let kind = body.text("type");
    let at = body.at.field("data");
    let made = match kind {
        "" | "none" => {
            body.mark("data");
            None
        }
        "json" | "raw-text" => {
            let text = match body.get("data") {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Array(items)) => {
                    let texts = items.iter().filter_map(|item| item.get("value")?.as_str());
                    texts.collect::<Vec<_>>().join("")
                }
                _ => String::new(),
            };
            Some(json!({"type": kind, "text": desk.text(&text, &at)}))
        }
        "form-data" | "x-www-form-urlencoded" => {
            let mut fields = Vec::new();
            if let Some(Value::String(text)) = body.peek("data") {
                body.mark("data");
                for line in text.lines().filter(|line| !line.trim().is_empty()) {
                    let (name, value) = line.split_once(':').unwrap_or((line, ""));
                    fields.push(json!({"name": desk.text(name.trim(), &at),
                        "value": desk.text(value.trim(), &at)}));
                }
            }
            for item in body.objects("data") {
                let name = item.get("key").and_then(name_of).unwrap_or_default();
                if item.text("type") == "file" {
                    item.mark("file");
                    let message =
                        format!("the file {name:?} is not sent: let the function fetch it");
                    desk.lacks(&item.at, &name, message);
                    continue;
                }
                if name.is_empty() && item.text("value").is_empty() {
                    continue;
                }
                let name = desk.text(&name, &item.at);
                let value = desk.text(item.text("value"), &item.at);
                fields.push(json!({"name": name, "value": value}));
            }
            Some(json!({"type": kind, "fields": fields}))
        }
        "binary" => {
            body.mark("data");
            desk.lacks(&at, "body", "a file is not sent: let the function fetch it");
            None
        }
        other => return Err(format!("the type of body {other:?} isn't known: write it by hand")),
    };
    desk.report.unread(&body, &["type"], Some(id));
    Ok(made)
}

/// Dify's limits hold for the parts of one try, a node's timeout for all tries together.
fn timeout(desk: &mut Desk<'_>, data: &Fields<'_>, id: &str, arguments: &mut Map<String, Value>) {
    let timeout = data.object("timeout");
    let mut limits = Map::new();
    for (theirs, ours) in [
        ("connect", "connect"),
        ("read", "read"),
        ("write", "write"),
        ("max_connect_timeout", "connect"),
        ("max_read_timeout", "read"),
        ("max_write_timeout", "write"),
    ] {
        let seconds = timeout.count(theirs).filter(|seconds| *seconds > 0);
        if let Some(seconds) = seconds.filter(|_| !limits.contains_key(ours)) {
            limits.insert(ours.to_owned(), json!(seconds));
        }
        if timeout.peek(theirs) == Some(&json!(0)) {
            timeout.mark(theirs);
        }
    }
    if !limits.is_empty() {
        arguments.insert("timeout_seconds".to_owned(), Value::Object(limits));
    }
    desk.report.unread(&timeout, &[], Some(id));
}
