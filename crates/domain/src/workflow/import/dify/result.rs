//! What a workflow gives: `end` and `answer`.
//!
//! Here an `end` stops everything else, there it doesn't. So they become `end` nodes only where nothing
//! else can be at work; else they are transforms, and the whole's result takes what they gave.

use serde_json::{Map, Value, json};

use super::fields::name_of;
use super::ports;
use super::reference::{Desk, path};
use super::scope::Plan;
use super::source::Kind;

/// How a scope ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With `end` nodes.
    Ends,
    /// When everything is done; these have given something, in this order.
    Merged(Vec<usize>),
    /// It is a body, whose result is told elsewhere.
    Body,
}

/// Decides how a scope ends.
pub(super) fn ending(desk: &mut Desk<'_>, plan: &Plan, owner: Option<usize>) -> Ending {
    let app = desk.app;
    if owner.is_some() {
        return Ending::Body;
    }
    let is_end = |node: &usize| {
        matches!(app.nodes[*node].kind, Kind::End | Kind::Answer)
            && !ports::is_gap(desk.ids, desk.feedback, *node)
    };
    let ends: Vec<usize> = plan.order.iter().copied().filter(is_end).collect();
    let are_last = ends.iter().all(|end| !plan.leads_on(*end));
    let last = plan.members.iter().filter(|node| !plan.leads_on(**node)).count();
    let fits = are_last && (ends.len() == 1 && last == 1 || plan.is_single_file());
    if fits {
        return Ending::Ends;
    }
    let answers = ends.iter().filter(|end| app.nodes[**end].kind == Kind::Answer).count();
    if answers > 1 {
        for end in ends.iter().filter(|end| app.nodes[**end].kind == Kind::Answer) {
            let source = &app.nodes[*end];
            let message = "is one of several answers, which Dify streams one after the other: here they are \
                           put together, in the order of the graph, when everything is done";
            desk.report.different(&source.at, &source.title, Some(desk.ids.own(*end)), message);
        }
    } else if ends.len() > 1 {
        for end in &ends {
            let source = &app.nodes[*end];
            let message = "is one of several ends: what they give is put together when everything is done, \
                           with null for what an end that wasn't reached would have given";
            desk.report.different(&source.at, &source.title, Some(desk.ids.own(*end)), message);
        }
    }
    Ending::Merged(ends)
}

/// Converts an `end` or an `answer`.
pub(super) fn end(desk: &mut Desk<'_>, plan: &Plan, node: usize, ending: &Ending) -> Value {
    let source = &desk.app.nodes[node];
    let id = desk.ids.own(node).to_owned();
    let mut value = Map::new();
    if source.kind == Kind::Answer {
        let at = source.data.at.field("answer");
        let text = desk.text(source.data.text("answer"), &at);
        value.insert("answer".to_owned(), json!(text));
        source.data.mark("variables");
        if *ending == Ending::Body {
            let message = "is an answer inside of an iteration, which Dify shows at once: here it is in no \
                           result; collect it in the iteration's output";
            desk.lacks(&source.at, &source.title, message);
        }
    } else {
        for output in source.data.objects("outputs") {
            let Some(name) = output.get("variable").and_then(name_of) else {
                desk.lacks(&output.at, "outputs", "has no name: it is left out");
                continue;
            };
            let given = match desk.selected(&output, "value_selector") {
                Some(reference) => json!(format!("{{{{ {} }}}}", reference.expression)),
                None => {
                    desk.lacks(&output.at, &name, "is no reference to a value: it is null");
                    Value::Null
                }
            };
            desk.report.unread(&output, &["value_type", "label"], Some(&id));
            value.insert(name, given);
        }
    }
    match ending {
        Ending::Ends if !plan.leads_on(node) => json!({"id": id, "kind": "end", "result": value}),
        _ => json!({"id": id, "kind": "transform", "value": value}),
    }
}

/// The result of the whole, where it has no `end` nodes.
pub(super) fn merged(desk: &mut Desk<'_>, ending: &Ending) -> Option<Value> {
    let Ending::Merged(ends) = ending else { return None };
    desk.reader.clear();
    let mut named: Vec<(String, Vec<usize>)> = Vec::new();
    let mut answers = Vec::new();
    for end in ends {
        let source = &desk.app.nodes[*end];
        if source.kind == Kind::Answer {
            answers.push(*end);
            continue;
        }
        for output in source.data.objects("outputs") {
            let Some(name) = output.get("variable").and_then(name_of) else { continue };
            match named.iter_mut().find(|(known, _)| *known == name) {
                Some((_, ends)) => ends.push(*end),
                None => named.push((name, vec![*end])),
            }
        }
    }
    if named.is_empty() && answers.is_empty() {
        return None;
    }
    let mut result = Map::new();
    for (name, ends) in named {
        // Of several that were reached the last in order wins, as later outputs do there.
        let expression = ends.iter().fold("none".to_owned(), |rest, end| {
            let id = desk.ids.own(*end);
            let value = format!("nodes.{id}.output{}", path(std::slice::from_ref(&name)));
            format!("({value} if nodes.{id}.status == 'succeeded' else {rest})")
        });
        result.insert(name, json!(format!("{{{{ {expression} }}}}")));
    }
    if !answers.is_empty() {
        let parts: Vec<String> = answers
            .iter()
            .map(|end| {
                let id = desk.ids.own(*end);
                format!("(nodes.{id}.output.answer if nodes.{id}.status == 'succeeded' else '')")
            })
            .collect();
        result.insert("answer".to_owned(), json!(format!("{{{{ {} }}}}", parts.join(" ~ "))));
    }
    Some(Value::Object(result))
}
