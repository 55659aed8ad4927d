//! What expressions see: inputs, variables, nodes that were before them, and what the bodies around them
//! are about.

use minijinja::Value as Seen;
use serde_json::Value;

use super::document::Document;
use super::entry::{Entry, NodeState, Step, name};
use super::state::{At, Machine, index};
use super::{Damaged, MAX_VALUE_BYTES, Memory};
use crate::answer::{ErrorClass, Failure};
use crate::workflow::definition::{Case, Kind};
use crate::workflow::run::flow::too_large;
use crate::workflow::template::Template;

impl<M: Memory> Machine<'_, M> {
    /// The value of a node's field.
    pub(super) fn evaluate(&self, at: &At, template: &Template) -> Result<Document, Failure> {
        self.value_of(template, || self.names(&at.frame, &self.program.shape(at.node).reads, None))
    }

    /// The text of a node's field, which may be anything that has one.
    pub(super) fn text(&self, at: &At, template: &Template) -> Result<String, Failure> {
        let value = self.evaluate(at, template)?;
        Ok(match value.to_json() {
            Value::String(text) => text,
            _ => value.text().to_owned(),
        })
    }

    /// Whether a condition at a node holds.
    pub(super) fn holds(&self, at: &At, condition: &Template) -> Result<bool, Failure> {
        self.evaluate(at, condition).map(|value| value.value().is_true())
    }

    /// The first case of a switch that holds.
    pub(super) fn first_case(&self, at: &At, cases: &[Case]) -> Result<Option<usize>, Failure> {
        for (index, case) in cases.iter().enumerate() {
            if self.holds(at, &case.when)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Whether the condition of a loop holds, around the iteration that `run` stands at.
    pub(super) fn loop_holds(
        &self,
        at: &At,
        condition: &Template,
        run: &Step,
    ) -> Result<bool, Failure> {
        let step = self.program.step(&at.frame, at.node);
        let around = Some((run.iteration, self.last_of(&step)));
        let reads = &self.program.shape(at.node).reads;
        let value = self.value_of(condition, || self.names(&at.frame, reads, around))?;
        Ok(value.value().is_true())
    }

    /// The value of the iteration before: of a loop that runs, or of an iteration that is over and kept.
    pub(super) fn last_of(&self, step: &str) -> Document {
        self.value(&name::last(step)).unwrap_or_else(Document::null)
    }

    /// What a scope gives when its nodes are decided.
    pub(super) fn result_of(&mut self, path: &str) -> Result<Result<Document, Failure>, Damaged> {
        let Some(scope) = self.any_frame(path).map(|frame| index(frame.scope)) else {
            return Err(Damaged(format!("no frame {path:?}")));
        };
        let program = self.program;
        Ok(match &program.definition().scopes[scope].result {
            None => Ok(Document::null()),
            Some(template) => {
                let reads = &program.compiled.graph.scopes[scope].reads;
                self.value_of(template, || self.names(path, reads, None))
            }
        })
    }

    /// The key by which executions are counted. It sees inputs and variables.
    pub(super) fn place_key(&self, key: &Template) -> Result<String, Failure> {
        let value = self.value_of(key, || self.names(super::state::MAIN, &[], None))?;
        Ok(match value.to_json() {
            Value::String(text) => text,
            _ => value.text().to_owned(),
        })
    }

    /// Evaluates the variables, which see inputs only.
    pub(super) fn make_variables(&mut self) -> Result<(), Failure> {
        let definition = self.program.definition();
        if definition.variables.is_empty() {
            return Ok(());
        }
        let mut values = serde_json::Map::new();
        for variable in &definition.variables {
            let value =
                self.value_of(&variable.value, || self.names(super::state::MAIN, &[], None));
            let value = value.map_err(|failure| {
                let message = format!("variable {}: {}", variable.name, failure.message);
                Failure { message, ..failure }
            })?;
            values.insert(variable.name.clone(), value.to_json());
        }
        let values = Document::from(&Value::Object(values));
        self.memory.put(name::VARIABLES, Entry::Value(values));
        Ok(())
    }

    fn value_of(
        &self,
        template: &Template,
        names: impl FnOnce() -> Seen,
    ) -> Result<Document, Failure> {
        if let Some(value) = template.as_literal() {
            return Ok(Document::from(value));
        }
        let value = template.evaluate(&self.program.environment, &names()).map_err(|error| {
            let message = format!("an expression can't be evaluated: {error}");
            Failure::new(ErrorClass::Invalid, "expression_failed", message).from_source("workflow")
        })?;
        let document = Document::from(&value);
        match document.text().len() {
            bytes if bytes > MAX_VALUE_BYTES => Err(too_large(bytes)),
            _ => Ok(document),
        }
    }

    /// All names in a frame; of the nodes only those that are read.
    fn names(&self, path: &str, reads: &[usize], around: Option<(i64, Document)>) -> Seen {
        let mut names: Vec<(&str, Seen)> = Vec::new();
        let mut chain = Vec::new();
        let mut path = path.to_owned();
        // From the inside out: the innermost `index` stands.
        if let Some((iteration, last)) = around {
            names.push(("iteration", Seen::from(iteration)));
            names.push(("last", last.value()));
        }
        while let Some((scope, parent)) = self.frame_of(&path) {
            chain.push((scope, path.clone()));
            let Some((parent_frame, node, number)) = parent else { break };
            let mut add = |name, value| {
                if !names.iter().any(|(known, _)| *known == name) {
                    names.push((name, value));
                }
            };
            match &self.program.node(node).kind {
                Kind::Map { item, .. } => {
                    let value = self.value(&name::item(&path));
                    add(item.as_str(), value.map_or(Seen::UNDEFINED, |item| item.value()));
                    add("index", Seen::from(number));
                }
                Kind::Loop { .. } => {
                    let is_over = self.peek(&path).is_some_and(|frame| frame.over);
                    let step = self.program.step(&parent_frame, node);
                    let last = self.last_of(if is_over { &path } else { &step });
                    add("iteration", Seen::from(number));
                    add("last", last.value());
                }
                _ => {}
            }
            path = parent_frame;
        }
        let nodes = reads.iter().filter_map(|node| {
            let scope = self.program.node(*node).scope;
            let (_, path) = chain.iter().find(|(one, _)| *one == scope)?;
            Some((self.program.node(*node).id.clone(), self.seen(path, *node)))
        });
        let nodes = Seen::from_pairs(nodes);
        names.push(("nodes", nodes));
        let inputs = self.value(name::INPUTS).map_or(Seen::UNDEFINED, |inputs| inputs.value());
        names.push(("inputs", inputs));
        if let Some(variables) = self.value(name::VARIABLES) {
            names.push(("variables", variables.value()));
        }
        names.push(("execution", Seen::from_pairs([("id", self.id)])));
        Seen::from_pairs(names)
    }

    /// The scope of a frame, and the parent's frame, node and number, without loading it for change.
    #[expect(clippy::type_complexity, reason = "two callers within this file")]
    fn frame_of(&self, path: &str) -> Option<(usize, Option<(String, usize, i64)>)> {
        let frame = self.peek(path)?;
        let parent = frame.parent.as_ref();
        let parent = parent.map(|it| (it.frame.clone(), index(it.node), it.index));
        Some((index(frame.scope), parent))
    }

    /// What expressions see of a node.
    fn seen(&self, path: &str, node: usize) -> Seen {
        let step = self.program.step(path, node);
        let place = self.program.node_place[node];
        let state = self.peek(path).and_then(|frame| frame.nodes.get(place).copied());
        let state = state.map_or(NodeState::Waiting, NodeState::of);
        let mut fields = vec![("status", Seen::from(state.as_str()))];
        if state == NodeState::Succeeded {
            let output = self.output_of(&step).unwrap_or_else(Document::null);
            fields.push(("output", output.value()));
        }
        if let (NodeState::Failed, Some(Entry::Failure(failure))) =
            (state, self.memory.get(&name::error(&step)))
        {
            let error = Seen::from_pairs([
                ("code", failure.code.as_str()),
                ("message", failure.message.as_str()),
                ("class", failure.class.as_str()),
            ]);
            fields.push(("error", error));
        }
        Seen::from_pairs(fields)
    }

    /// The output of a map, from its pieces.
    pub(super) fn pieces(&self, step: &str, count: i64) -> Document {
        let results: Vec<Document> = (0..count)
            .filter_map(|item| self.value(&name::result(&format!("{step}[{item}]"))))
            .collect();
        Document::list(&results)
    }

    /// Whether the result of an execution is what its definition promises.
    pub(super) fn check_result(&self, result: &Document) -> Result<(), Failure> {
        self.program.check_result(&result.to_json()).map_err(|(place, problem)| {
            let place = if place.is_empty() { "the result".into() } else { place };
            let message =
                format!("the result doesn't fit the schema of outputs: {place}: {problem}");
            Failure::new(ErrorClass::Invalid, "output_mismatch", message).from_source("workflow")
        })
    }
}
