//! Checks a definition, and makes of it the graph that a machine runs.
//!
//! All problems come at once. What compiles can't get stuck by its shape: its graph has no cycle, every
//! reference leads somewhere, and every join has the edges that its policy asks for.

mod build;
mod checks;
mod flow;
mod graph;
mod names;
mod values;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use graph::{Edge, Graph, Node, OnFailure, Role, Route, Scope};

use super::definition::{Definition, Pin};
use super::problem::{Problem, Problems};
use super::read;
use super::template;

/// A definition that can be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    /// What its author wrote, typed.
    pub definition: Definition,
    /// Its nodes and edges by index.
    pub graph: Graph,
    /// What each text with expressions reads, in the order of the definition.
    pub expressions: Vec<ExpressionReads>,
    /// What its author should look at.
    pub warnings: Vec<Problem>,
}

/// What one text with expressions reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpressionReads {
    /// Where the text stands.
    pub pointer: String,
    /// The paths, each from its variable on, as far as they are fixed: `nodes.draft.output.text`.
    pub paths: Vec<Vec<String>>,
    /// The nodes among them, by index.
    pub nodes: Vec<usize>,
}

/// Checks a definition on its own: nothing is known of other workflows.
///
/// # Errors
/// Everything that is wrong with it, warnings included; at least one is an error.
pub fn compile(definition: &Value) -> Result<Compiled, Vec<Problem>> {
    compile_with(definition, &|_, _| None)
}

/// Checks a definition; `inputs_of` says what schema the inputs of a child workflow have, where that is
/// known.
///
/// # Errors
/// Everything that is wrong with it, warnings included; at least one is an error.
pub fn compile_with(
    definition: &Value,
    inputs_of: &dyn Fn(&str, &Pin) -> Option<Value>,
) -> Result<Compiled, Vec<Problem>> {
    let mut problems = Problems::default();
    let environment = template::environment();
    let Some(draft) = read::read(definition, &environment, &mut problems) else {
        return Err(problems.into_sorted());
    };
    let mut built = build::build(&draft, &mut problems);
    checks::check(&draft, &built, &mut problems);
    let flows = flow::analyse(&draft, &built);
    let expressions = names::check(&draft, &built, &flows, &mut problems);
    values::check(&draft, inputs_of, &mut problems);
    if problems.has_errors() {
        return Err(problems.into_sorted());
    }
    built.note_reads(&draft, &expressions);
    Ok(Compiled {
        definition: draft.definition,
        graph: built.graph,
        expressions,
        warnings: problems.into_sorted(),
    })
}

/// What the analysis takes for certain, so that tests can hold it against what happens.
#[cfg(test)]
pub(super) struct Certain {
    /// For each node: those that have succeeded when it runs, and those that have failed.
    pub(super) at_start: Vec<(Vec<usize>, Vec<usize>)>,
    /// For each scope: those that have succeeded when it ends.
    pub(super) at_end: Vec<Vec<usize>>,
}

/// See [`Certain`]; of a definition that compiles.
#[cfg(test)]
pub(super) fn certain(definition: &Value) -> Certain {
    let mut problems = Problems::default();
    let environment = template::environment();
    let draft = read::read(definition, &environment, &mut problems).expect("it compiles");
    let built = build::build(&draft, &mut problems);
    let flows = flow::analyse(&draft, &built);
    let listed =
        |set: &flow::NodeSet| (0..flows.nodes.len()).filter(|node| set.has(*node)).collect();
    let at_start = flows.nodes.iter().map(|moment| match moment {
        Some(moment) => (listed(&moment.succeeded), listed(&moment.failed)),
        None => (Vec::new(), Vec::new()),
    });
    let at_end = flows.ends.iter().flatten().map(|moment| listed(&moment.succeeded));
    Certain { at_start: at_start.collect(), at_end: at_end.collect() }
}
