//! What a node does when it fails: `retry_config` and `error_strategy` to `retry`, `onError` and
//! `default`.

use serde_json::{Map, Value, json};

use super::fields::{Fields, name_of};
use super::nodes;
use super::reference::Desk;
use super::source::{Kind, Node};
use super::text::escape_value;

/// As many tries as a node may have.
const MAX_TRIES: u64 = 100;
/// As long as a wait may be, in milliseconds: a day.
const MAX_WAIT_MS: u64 = 24 * 60 * 60 * 1000;

/// Adds what is to happen when a node fails to what stands for it.
pub(super) fn apply(
    desk: &mut Desk<'_>,
    node: &Node<'_>,
    made: &mut [Value],
    on_error: Option<&str>,
) {
    retry(desk, node, made);
    let strategy = node.data.text("error_strategy").to_owned();
    let at = node.data.at.field("error_strategy");
    match strategy.as_str() {
        "default-value" => default(desk, node, made),
        "fail-branch" => {
            for one in made.iter_mut() {
                let on_error = on_error.filter(|_| one.get("default").is_none());
                if let Some(target) = on_error {
                    one["onError"] = json!(target);
                }
            }
        }
        "" | "none" => {}
        other => {
            let message =
                format!("the strategy {other:?} isn't known: say by hand what happens on failure");
            desk.lacks(&at, "error_strategy", message);
        }
    }
    if strategy != "default-value" {
        node.data.mark("default_value");
    }
}

fn retry(desk: &mut Desk<'_>, node: &Node<'_>, made: &mut [Value]) {
    let retry = node.data.object("retry_config");
    let is_on = retry.is_true("retry_enabled") || retry.is_true("enabled");
    let tries = retry.count("max_retries").unwrap_or(0);
    let wait = retry.count("retry_interval").unwrap_or(0).clamp(1, MAX_WAIT_MS);
    if !is_on || tries == 0 {
        return;
    }
    let mut is_kept = false;
    for one in made.iter_mut().filter(|one| one["kind"] == "model" || one["kind"] == "function") {
        let wait = format!("{wait}ms");
        one["retry"] = json!({
            "maxTries": tries.saturating_add(1).min(MAX_TRIES),
            "backoff": {"initial": wait, "max": wait, "factor": 1},
        });
        is_kept = true;
    }
    if !is_kept {
        let message = "what stands for this node can't be tried again";
        desk.lacks(&retry.at, "retry_config", message);
    } else if tries >= MAX_TRIES {
        desk.differs(&retry.at, "retry_config", format!("is tried at most {MAX_TRIES} times"));
    } else {
        let message = "is tried again only after errors that another try may mend; Dify tries after every error";
        desk.differs(&retry.at, "retry_config", message);
    }
    let backoff = retry.object("exponential_backoff");
    if backoff.is_true("enabled") {
        let message = "the waits stay the same: write backoff.factor and backoff.max by hand";
        desk.lacks(&backoff.at, "exponential_backoff", message);
    }
    let id = desk.node.map(|node| desk.ids.own(node).to_owned());
    desk.report.unread(&retry, &[], id.as_deref());
}

/// The values that a node gives when it fails.
fn default(desk: &mut Desk<'_>, node: &Node<'_>, made: &mut [Value]) {
    let mut values = Map::new();
    for value in node.data.objects("default_value") {
        let Some(key) = value.get("key").and_then(name_of) else {
            desk.lacks(&value.at, "default_value", "has no key: it is left out");
            continue;
        };
        let given = typed(&value);
        values.insert(key, escape_value(&given));
    }
    let text = values.get("text").cloned().unwrap_or_else(|| json!(""));
    let answer = if nodes::llm::is_completion(node) && node.kind == Kind::Llm {
        json!({"choices": [{"index": 0, "text": text, "finish_reason": "stop"}]})
    } else {
        let message = json!({"role": "assistant", "content": text});
        json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    };
    let message =
        "when it fails, its default counts as its answer, so that it has no error to read then";
    desk.differs(&node.data.at.field("error_strategy"), "error_strategy", message);
    match (node.kind, made) {
        (Kind::Llm, [model]) => model["default"] = answer,
        (Kind::Llm | Kind::Extractor, [model, data]) => {
            model["default"] = answer;
            if node.kind == Kind::Llm {
                data["default"] =
                    values.get("structured_output").cloned().unwrap_or_else(|| json!({}));
            } else if let Some(Value::Object(defaults)) = data.get_mut("default") {
                defaults.extend(values);
            }
        }
        (Kind::Http, [one]) => {
            let mut given = Map::from_iter([
                ("status_code".to_owned(), json!(0)),
                ("body".to_owned(), json!("")),
                ("headers".to_owned(), json!({})),
                ("files".to_owned(), json!([])),
            ]);
            given.extend(values);
            one["default"] = Value::Object(given);
        }
        (Kind::Template | Kind::Iteration, [one]) => {
            one["default"] = values.get("output").cloned().unwrap_or_else(|| json!(""));
        }
        (_, made) => {
            if let Some(one) = made.first_mut() {
                one["default"] = Value::Object(values);
            }
        }
    }
}

/// A default value of its own type; Dify keeps lists and objects as texts.
fn typed(value: &Fields<'_>) -> Value {
    let kind = value.text("type");
    match value.get("value") {
        Some(Value::String(text)) if kind != "string" => {
            serde_json::from_str(text).unwrap_or_else(|_| json!(text))
        }
        Some(given) => given.clone(),
        None => Value::Null,
    }
}
