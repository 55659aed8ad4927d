//! A workflow as a Mermaid flowchart, for documents and pull requests.
//!
//! Nodes are named by their index, as an id such as `end` would be a word of Mermaid's own.

use std::fmt::Write as _;

use super::compile::{Compiled, Role, Route};
use super::definition::{JoinPolicy, Kind, LoopCondition, TOP, Wait};
use super::template::Template;

/// The longest part of a label that comes from an expression, in characters.
const LONGEST: usize = 60;

/// The flowchart.
#[must_use]
pub fn flowchart(compiled: &Compiled) -> String {
    let mut chart = String::from("flowchart TD\n");
    scope(compiled, TOP, 1, &mut chart);
    chart
}

fn scope(compiled: &Compiled, index: usize, depth: usize, chart: &mut String) {
    let indent = "  ".repeat(depth);
    let members = &compiled.definition.scopes[index].nodes;
    for node in members {
        let (open, close) = brackets(&compiled.definition.nodes[*node].kind);
        line(chart, &indent, &format!("n{node}{open}\"{}\"{close}", label(compiled, *node)));
    }
    for node in members {
        for edge in &compiled.graph.nodes[*node].outgoing {
            let edge = &compiled.graph.edges[*edge];
            let arrow = match (&edge.route, reason(compiled, index, *node, &edge.route)) {
                (Route::Failure, _) => "-. \"on error\" .->".to_owned(),
                (_, Some(reason)) => format!("-->|\"{reason}\"|"),
                (_, None) => "-->".to_owned(),
            };
            line(chart, &indent, &format!("n{node} {arrow} n{}", edge.to));
        }
        if let Role::Compensation(of) = compiled.graph.nodes[*node].role {
            line(chart, &indent, &format!("n{of} -. \"undone by\" .-> n{node}"));
        }
    }
    for node in members {
        let Some(body) = compiled.graph.nodes[*node].body else { continue };
        let id = escape(&compiled.definition.nodes[*node].id);
        line(chart, &indent, &format!("subgraph s{body}[\"body of {id}\"]"));
        scope(compiled, body, depth + 1, chart);
        line(chart, &indent, "end");
        line(chart, &indent, &format!("n{node} -.- s{body}"));
    }
}

fn line(chart: &mut String, indent: &str, text: &str) {
    writeln!(chart, "{indent}{text}").expect("a String takes everything");
}

fn brackets(kind: &Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Switch { .. } => ("{", "}"),
        Kind::Fork | Kind::Join { .. } => ("{{", "}}"),
        Kind::Wait(_) | Kind::Fail { .. } | Kind::End { .. } => ("([", "])"),
        Kind::Map { .. } | Kind::Loop { .. } | Kind::Workflow { .. } => ("[[", "]]"),
        _ => ("[", "]"),
    }
}

fn label(compiled: &Compiled, node: usize) -> String {
    let node = &compiled.definition.nodes[node];
    let detail = match &node.kind {
        Kind::Model { model, .. } => model.clone(),
        Kind::Agent { agent, .. } => agent.clone(),
        Kind::Function { name, .. } | Kind::Workflow { name, .. } => name.clone(),
        Kind::Join { policy, .. } => match policy {
            JoinPolicy::All => "all".to_owned(),
            JoinPolicy::Any => "any".to_owned(),
            JoinPolicy::AtLeast(n) => format!("at least {n}"),
            JoinPolicy::Tolerate(k) => format!("tolerate {k}"),
            JoinPolicy::FirstValid(_) => "first valid".to_owned(),
        },
        Kind::Map { over, item, .. } => format!("{item} of {}", source(over)),
        Kind::Loop { condition: LoopCondition::While(condition), .. } => {
            format!("while {}", source(condition))
        }
        Kind::Loop { condition: LoopCondition::Until(condition), .. } => {
            format!("until {}", source(condition))
        }
        Kind::Wait(Wait::Signal(signal)) => format!("signal {}", signal.name),
        Kind::Wait(Wait::Duration(ms)) => format!("{ms} ms"),
        Kind::Wait(Wait::DurationOf(template) | Wait::Until(template)) => source(template),
        Kind::Emit { event_type, .. } => source(event_type),
        Kind::Fail { message, .. } => source(message),
        Kind::Transform { .. } | Kind::Switch { .. } | Kind::Fork | Kind::End { .. } => {
            String::new()
        }
    };
    let kind = node.kind.as_str();
    match detail.as_str() {
        "" => format!("{}<br/>{kind}", escape(&node.id)),
        detail => format!("{}<br/>{kind}: {}", escape(&node.id), escape(&shorten(detail))),
    }
}

/// Why an edge is taken, where that is more than that its source succeeded.
fn reason(compiled: &Compiled, scope: usize, from: usize, route: &Route) -> Option<String> {
    let conditions = match route {
        Route::Always | Route::Failure => return None,
        Route::When(index) => {
            vec![source(compiled.definition.scopes[scope].edges[*index].when.as_ref()?)]
        }
        Route::Cases { cases, otherwise } => {
            let Kind::Switch { cases: all, .. } = &compiled.definition.nodes[from].kind else {
                return None;
            };
            let cases = cases.iter().map(|case| source(&all[*case].when));
            cases.chain(otherwise.then(|| "else".to_owned())).collect()
        }
    };
    Some(escape(&shorten(&conditions.join(" or "))))
}

fn source(template: &Template) -> String {
    match template {
        Template::Expression(source) | Template::Text(source) => source.clone(),
        Template::Literal(serde_json::Value::String(text)) => text.clone(),
        Template::Literal(value) => value.to_string(),
        Template::List(_) => "list".to_owned(),
        Template::Object(_) => "object".to_owned(),
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}

/// Mermaid's entity codes for what would end a quoted label, or be taken for markup.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '#' | '<' | '>' | '&' | '`' | '\\' | '[' | ']' | '{' | '}' | '(' | ')' | '|'
            | ';' => {
                write!(escaped, "#{};", u32::from(character)).expect("a String takes everything");
            }
            character if character.is_control() => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    escaped
}
