//! What is wrong with definitions and where; that nothing that compiles can get stuck; that the published
//! schema says what the reader takes.

mod at_once;
mod bad_expressions;
mod bad_fields;
mod bad_graphs;
mod examples;
mod flowchart;
mod json_schema;
mod large;
mod mutations;
pub(in crate::workflow) mod random_graphs;

use serde_json::{Value, json};

use super::compile::{Compiled, compile};
use super::problem::{Problem, Severity};

/// A definition with this `spec`.
pub(in crate::workflow) fn workflow(spec: Value) -> Value {
    json!({"apiVersion": "stepstream/v1", "kind": "Workflow", "metadata": {"name": "w"}, "spec": spec})
}

/// A definition with these nodes and edges.
pub(in crate::workflow) fn graph(nodes: Value, edges: Value) -> Value {
    workflow(json!({"nodes": nodes, "edges": edges}))
}

/// A node that does no harm.
pub(in crate::workflow) fn step(id: &str) -> Value {
    json!({"id": id, "kind": "transform", "value": 1})
}

/// A node that gives this.
pub(in crate::workflow) fn gives(id: &str, value: Value) -> Value {
    json!({"id": id, "kind": "transform", "value": value})
}

pub(in crate::workflow) fn edge(from: &str, to: &str) -> Value {
    json!({"from": from, "to": to})
}

/// `node` with a further field.
pub(in crate::workflow) fn with(mut node: Value, field: &str, value: Value) -> Value {
    node[field] = value;
    node
}

/// All that is wrong with a definition, warnings of a good one included.
fn problems(definition: &Value) -> Vec<Problem> {
    match compile(definition) {
        Ok(compiled) => compiled.warnings,
        Err(problems) => {
            assert!(
                problems.iter().any(|problem| problem.severity == Severity::Error),
                "refused without an error: {problems:#?}"
            );
            problems
        }
    }
}

/// A definition that must be fine.
#[track_caller]
fn compiles(definition: &Value) -> Compiled {
    match compile(definition) {
        Ok(compiled) => compiled,
        Err(problems) => panic!("{}", listed(&problems)),
    }
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

/// A bad definition: how bad, where, and how the sentence begins.
struct Case {
    definition: Value,
    severity: Severity,
    pointer: &'static str,
    begins: &'static str,
}

fn error(pointer: &'static str, begins: &'static str, definition: Value) -> Case {
    Case { definition, severity: Severity::Error, pointer, begins }
}

fn warning(pointer: &'static str, begins: &'static str, definition: Value) -> Case {
    Case { definition, severity: Severity::Warning, pointer, begins }
}

/// Each case has its problem, and nothing else that is as bad.
#[track_caller]
fn check(cases: Vec<Case>) {
    for case in cases {
        let found = problems(&case.definition);
        let as_bad: Vec<_> = found.iter().filter(|one| one.severity == case.severity).collect();
        let is_it =
            |one: &&Problem| one.pointer == case.pointer && one.message.starts_with(case.begins);
        assert!(
            as_bad.len() == 1 && as_bad.iter().all(is_it),
            "wanted at {}: {}\nfound\n{}in {:#}",
            case.pointer,
            case.begins,
            listed(&found),
            case.definition
        );
        if case.severity == Severity::Warning {
            assert!(compile(&case.definition).is_ok(), "{}", listed(&found));
        }
    }
}
