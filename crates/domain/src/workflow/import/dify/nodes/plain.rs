//! `template-transform` and `variable-aggregator` to transforms, `iteration` to a map.

use serde_json::{Map, Value, json};

use super::super::super::NOT_CONVERTED;
use super::super::fields::{name_of, selector};
use super::super::reference::{Desk, Presence, Reference, Shape, item_name};
use super::super::scope;
use super::super::source::Node;
use crate::workflow::problem::Pointer;

/// Bodies may be deeper, by as much as what stands for gaps needs.
const MAX_DEPTH: usize = 6;
/// As many bodies at once as a map takes.
const MAX_CONCURRENCY: u64 = 100_000;

pub(super) fn template(
    desk: &mut Desk<'_>,
    node: &Node<'_>,
    id: &str,
) -> Result<Vec<Value>, String> {
    let data = &node.data;
    let template = data.text("template").to_owned();
    let variables = data.objects("variables");
    let value = desk.jinja(&template, &variables, &data.at.field("template"));
    Ok(vec![json!({"id": id, "kind": "transform", "value": as_is(&value)})])
}

/// A template always gives a text, also when it is nothing but one expression.
fn as_is(template: &str) -> String {
    let is_exact = template.trim_start().starts_with("{{") && template.trim_end().ends_with("}}");
    if is_exact { format!("{{# a text #}}{template}") } else { template.to_owned() }
}

pub(super) fn aggregator(
    desk: &mut Desk<'_>,
    node: &Node<'_>,
    id: &str,
) -> Result<Vec<Value>, String> {
    let data = &node.data;
    let advanced = data.object("advanced_settings");
    let mut value = Map::new();
    if advanced.is_true("group_enabled") {
        data.mark("variables");
        for group in advanced.objects("groups") {
            let name = group.get("group_name").and_then(name_of);
            let name = name.ok_or("a group has no name: write the transform by hand")?;
            let at = group.at.field("variables");
            let first = first(desk, group.list("variables"), &at);
            value.insert(name, json!({"output": format!("{{{{ {first} }}}}")}));
            desk.report.unread(&group, &["groupId", "output_type"], Some(id));
        }
    } else {
        advanced.mark("groups");
        let first = first(desk, data.list("variables"), &data.at.field("variables"));
        value.insert("output".to_owned(), json!(format!("{{{{ {first} }}}}")));
    }
    data.mark("output_type");
    Ok(vec![json!({"id": id, "kind": "transform", "value": value})])
}

/// The first of several values that is there.
fn first(desk: &mut Desk<'_>, variables: &[Value], at: &Pointer) -> String {
    let mut found: Vec<Reference> = Vec::new();
    for (i, variable) in variables.iter().enumerate() {
        match selector(variable) {
            Some(names) => found.push(desk.resolve(&names, &at.index(i))),
            None => {
                desk.lacks(&at.index(i), "variables", "is no reference to a value: it is left out")
            }
        }
    }
    found.iter().rev().fold("none".to_owned(), |rest, reference| {
        let expression = &reference.expression;
        match (reference.presence, &reference.needs) {
            (Presence::Never, _) => rest,
            (Presence::Always, Some(node)) => {
                format!("({expression} if nodes.{node}.status == 'succeeded' else {rest})")
            }
            (Presence::Always, None) => expression.clone(),
            (Presence::Sometimes, _) => {
                format!("({expression} if {expression} is not none else {rest})")
            }
        }
    })
}

pub(super) fn iteration(
    desk: &mut Desk<'_>,
    node: &Node<'_>,
    id: &str,
) -> Result<Vec<Value>, String> {
    let data = &node.data;
    let index = desk.node.unwrap_or_default();
    if desk.around.len() >= MAX_DEPTH {
        return Err(
            "it is an iteration in an iteration, many deep: use a child workflow".to_owned()
        );
    }
    let over = desk.selected(data, "iterator_selector").ok_or("it has no list to go through")?;
    if over.presence == Presence::Never {
        return Err("the list to go through is not there: write another".to_owned());
    }
    let on_item_error = match data.text("error_handle_mode") {
        "" | "terminated" => "fail",
        "remove-abnormal-output" => "skip",
        "continue-on-error" => {
            let message =
                "an item that fails gives {\"error\": ...} in the list, where Dify gives null";
            desk.differs(&data.at.field("error_handle_mode"), "error_handle_mode", message);
            "keep"
        }
        other => return Err(format!("the error_handle_mode {other:?} isn't known")),
    };
    let at_once = data.count("parallel_nums").unwrap_or(10).clamp(1, MAX_CONCURRENCY);
    let mut on_item_error = on_item_error;
    let concurrency = if data.is_true("is_parallel") { at_once } else { 1 };
    for field in
        ["start_node_id", "iterator_input_type", "output_type", "parent_loop_id", "isParallel"]
    {
        data.mark(field);
    }
    desk.around.push(index);
    let mut body = scope::body(desk, index);
    // What is inside has taken its turn; the rest is of the iteration itself again.
    desk.reader = id.to_owned();
    desk.node = Some(index);
    if on_item_error != "fail" && has_gap(&body) {
        let message = format!(
            "fails with the first item that fails as long as steps inside are not converted, as nobody would \
             see that they are missing: then write onItemError: {on_item_error}"
        );
        desk.differs(&data.at.field("error_handle_mode"), "error_handle_mode", message);
        on_item_error = "fail";
    }
    let result = match desk.feedback.no_result(id) {
        Some(_) => None,
        None => desk.selected(data, "output_selector"),
    };
    let depth = desk.around.len();
    desk.around.pop();
    match &result {
        Some(result) => {
            body.insert("result".to_owned(), json!(format!("{{{{ {} }}}}", result.expression)));
        }
        None => {
            let message = "each item gives null: write the result of the body by hand";
            desk.lacks(&data.at.field("output_selector"), "output_selector", message);
        }
    }
    let may_be_list = result.is_some_and(|one| matches!(one.shape, Shape::Json | Shape::Unknown));
    let is_flat = data.peek("flatten_output").and_then(Value::as_bool) != Some(false);
    data.mark("flatten_output");
    if is_flat && may_be_list {
        let message = "when each item gives a list, Dify makes one list of them; here it stays a list of lists";
        desk.differs(&data.at.field("flatten_output"), "flatten_output", message);
    }
    Ok(vec![json!({
        "id": id,
        "kind": "map",
        "over": format!("{{{{ {} }}}}", over.expression),
        "as": item_name(depth),
        "concurrency": concurrency,
        "onItemError": on_item_error,
        "body": body,
    })])
}

/// Whether something in a body stands for what is not converted.
fn has_gap(body: &Map<String, Value>) -> bool {
    body.values().any(|value| match value {
        Value::Array(items) => items.iter().filter_map(Value::as_object).any(|item| {
            item.get("code").and_then(Value::as_str) == Some(NOT_CONVERTED) || has_gap(item)
        }),
        Value::Object(fields) => has_gap(fields),
        _ => false,
    })
}
