//! What expressions see: everything that there is, whether or not it is read.

use serde_json::{Map, Value, json};

use super::{Place, Reference, State};
use crate::answer::{ErrorClass, Failure};
use crate::workflow::definition::Kind;
use crate::workflow::template::Template;

impl Reference<'_> {
    pub(super) fn evaluate(&self, place: &Place, template: &Template) -> Result<Value, Failure> {
        self.value(template, self.names(&place.0, None))
    }

    pub(super) fn holds(&self, place: &Place, condition: &Template) -> Result<bool, Failure> {
        self.evaluate(place, condition).map(|value| is_true(&value))
    }

    pub(super) fn loop_holds(
        &self,
        place: &Place,
        iteration: usize,
        condition: &Template,
    ) -> Result<bool, Failure> {
        let last = self.spot(place).last.clone();
        let names = self.names(&place.0, Some((iteration, last)));
        self.value(condition, names).map(|value| is_true(&value))
    }

    /// What a scope gives when its nodes are decided.
    pub(super) fn result(&self, path: &str) -> Result<Value, Failure> {
        match &self.definition().scopes[self.runs[path].scope].result {
            None => Ok(Value::Null),
            Some(result) => self.value(result, self.names(path, None)),
        }
    }

    fn value(&self, template: &Template, names: Value) -> Result<Value, Failure> {
        let names = minijinja::Value::from(minijinja::value::Serde(names));
        let value = template.evaluate(&self.program.environment, &names);
        value.map_err(|error| {
            let message = format!("an expression can't be evaluated: {error}");
            Failure::new(ErrorClass::Invalid, "expression_failed", message)
        })
    }

    fn names(&self, path: &str, around: Option<(usize, Value)>) -> Value {
        let mut names = Map::new();
        let mut nodes = Map::new();
        if let Some((iteration, last)) = around {
            names.insert("iteration".into(), json!(iteration));
            names.insert("last".into(), last);
        }
        let mut path = path.to_owned();
        loop {
            let run = &self.runs[&path];
            for (node, spot) in &run.spots {
                let mut seen = Map::new();
                let status = match spot.state {
                    State::Waiting | State::Ready => "waiting",
                    State::Running => "running",
                    State::Succeeded => "succeeded",
                    State::Failed => "failed",
                    State::Skipped => "skipped",
                    State::Cancelled => "cancelled",
                };
                seen.insert("status".into(), json!(status));
                if let (State::Succeeded, Some(output)) = (spot.state, &spot.output) {
                    seen.insert("output".into(), output.clone());
                }
                if let (State::Failed, Some(error)) = (spot.state, &spot.error) {
                    let error = json!({"code": error.code, "message": error.message,
                        "class": error.class.as_str()});
                    seen.insert("error".into(), error);
                }
                nodes.insert(self.definition().nodes[*node].id.clone(), Value::Object(seen));
            }
            let Some((owner, number)) = &run.parent else { break };
            let mut add = |name: &str, value: Value| {
                names.entry(name).or_insert(value);
            };
            match &self.node(owner).kind {
                Kind::Map { item, .. } => {
                    add(item, run.given.clone());
                    add("index", json!(number));
                }
                _ => {
                    add("iteration", json!(number));
                    add("last", run.given.clone());
                }
            }
            path.clone_from(&owner.0);
        }
        names.insert("nodes".into(), Value::Object(nodes));
        names.insert("inputs".into(), self.inputs.clone());
        names.insert("execution".into(), json!({"id": self.id}));
        Value::Object(names)
    }
}

fn is_true(value: &Value) -> bool {
    minijinja::Value::from(minijinja::value::Serde(value.clone())).is_true()
}
