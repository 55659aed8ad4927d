//! One version of a workflow, ready to run: what is compiled, and what a machine looks up at every step.

use std::collections::HashMap;
use std::fmt;

use minijinja::Environment;
use serde_json::Value;

use crate::workflow::compile::{Compiled, Node, Role};
use crate::workflow::definition::{self, JoinPolicy, Kind, Wait};
use crate::workflow::problem::Problem;
use crate::workflow::schema::validator;
use crate::workflow::template;

/// A workflow that can be run. Made once for each version, and shared.
pub struct Program {
    /// What was compiled.
    pub(super) compiled: Compiled,
    /// What its expressions are evaluated in.
    pub(super) environment: Environment<'static>,
    /// For each node, its place in the states of its scope's frames.
    pub(super) node_place: Vec<usize>,
    /// For each edge, its place in the states of its scope's frames.
    pub(super) edge_place: Vec<usize>,
    /// How many edges each scope has.
    pub(super) edge_count: Vec<usize>,
    /// Whether a node's output is read by someone, a join or whoever undoes it included.
    pub(super) is_read: Vec<bool>,
    /// Schemas by the node that checks something with them.
    pub(super) schemas: HashMap<usize, jsonschema::Validator>,
    inputs: Option<jsonschema::Validator>,
    outputs: Option<jsonschema::Validator>,
}

impl Program {
    /// Makes a program of a definition.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(definition: &Value) -> Result<Self, Vec<Problem>> {
        crate::workflow::compile::compile(definition).map(Self::of)
    }

    /// Makes a program of the body of a stored version. One that was written into the topic by somebody else may
    /// say anything.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(body: &str) -> Result<Self, String> {
        let definition = serde_json::from_str(body).map_err(|error| {
            format!("it isn't JSON: line {} column {}", error.line(), error.column())
        })?;
        Self::new(&definition).map_err(|problems| {
            problems.first().map_or_else(|| "it doesn't compile".to_owned(), Problem::to_string)
        })
    }

    /// Makes a program of what is compiled.
    #[must_use]
    pub fn of(compiled: Compiled) -> Self {
        let (definition, graph) = (&compiled.definition, &compiled.graph);
        let mut node_place = vec![0; definition.nodes.len()];
        for scope in &definition.scopes {
            for (place, node) in scope.nodes.iter().enumerate() {
                node_place[*node] = place;
            }
        }
        let mut edge_count = vec![0; definition.scopes.len()];
        let edge_place = graph
            .edges
            .iter()
            .map(|edge| {
                let count = &mut edge_count[definition.nodes[edge.from].scope];
                *count += 1;
                *count - 1
            })
            .collect();
        let mut is_read = vec![false; definition.nodes.len()];
        let readers = graph.nodes.iter().map(|node| &node.reads);
        for read in readers.chain(graph.scopes.iter().map(|scope| &scope.reads)).flatten() {
            is_read[*read] = true;
        }
        for edge in &graph.edges {
            if matches!(definition.nodes[edge.to].kind, Kind::Join { .. }) {
                is_read[edge.from] = true;
            }
        }
        // A schema was checked when its definition was compiled.
        let schemas = definition.nodes.iter().enumerate().filter_map(|(index, node)| {
            let schema = match &node.kind {
                Kind::Join { policy: JoinPolicy::FirstValid(schema), .. } => Some(schema),
                Kind::Wait(Wait::Signal(signal)) => signal.schema.as_ref(),
                _ => None,
            };
            Some((index, validator(schema?).ok()?))
        });
        Self {
            environment: template::environment(),
            node_place,
            edge_place,
            edge_count,
            is_read,
            schemas: schemas.collect(),
            inputs: validator(&definition.inputs).ok(),
            outputs: definition.outputs.as_ref().and_then(|schema| validator(schema).ok()),
            compiled,
        }
    }

    /// What its author wrote.
    #[must_use]
    pub fn definition(&self) -> &definition::Definition {
        &self.compiled.definition
    }

    /// Inputs with what their schema gives for those that are left out.
    #[must_use]
    pub fn with_defaults(&self, mut inputs: Value) -> Value {
        let properties = self.definition().inputs.get("properties").and_then(Value::as_object);
        if let Value::Object(given) = &mut inputs {
            for (name, property) in properties.into_iter().flatten() {
                if let Some(default) = property.get("default")
                    && !given.contains_key(name)
                {
                    given.insert(name.clone(), default.clone());
                }
            }
        }
        inputs
    }

    /// The first way in which inputs don't fit; the place is a JSON pointer into them.
    ///
    /// # Errors
    /// Place and sentence.
    pub fn check_inputs(&self, inputs: &Value) -> Result<(), (String, String)> {
        first_violation(self.inputs.as_ref(), inputs)
    }

    /// Whether its inputs have a property of this name.
    #[must_use]
    pub fn takes(&self, property: &str) -> bool {
        self.compiled.definition.inputs["properties"].get(property).is_some()
    }

    pub(super) fn check_result(&self, result: &Value) -> Result<(), (String, String)> {
        first_violation(self.outputs.as_ref(), result)
    }

    pub(super) fn node(&self, node: usize) -> &definition::Node {
        &self.compiled.definition.nodes[node]
    }

    pub(super) fn shape(&self, node: usize) -> &Node {
        &self.compiled.graph.nodes[node]
    }

    pub(super) fn is_compensation(&self, node: usize) -> bool {
        matches!(self.shape(node).role, Role::Compensation(_))
    }

    /// The name of a step: the node in its frame.
    pub(super) fn step(&self, frame: &str, node: usize) -> String {
        let id = &self.node(node).id;
        if frame.is_empty() { id.clone() } else { format!("{frame}.{id}") }
    }
}

fn first_violation(
    schema: Option<&jsonschema::Validator>,
    value: &Value,
) -> Result<(), (String, String)> {
    let Some(schema) = schema else { return Ok(()) };
    match schema.iter_errors(value).next() {
        None => Ok(()),
        Some(error) => Err((error.instance_path().as_str().to_owned(), masked(&error))),
    }
}

/// What is wrong, without the value itself.
fn masked(error: &jsonschema::ValidationError<'_>) -> String {
    error.masked_with("it").to_string()
}

/// Says which it is: the rest is the definition.
impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("name", &self.compiled.definition.name).finish()
    }
}
