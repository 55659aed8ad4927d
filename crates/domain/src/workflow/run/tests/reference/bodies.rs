//! Maps and loops.

use serde_json::{Value, json};

use super::flow::invalid;
use super::{Place, Reference, Run, State, Task};
use crate::answer::Failure;
use crate::event::EventType;
use crate::workflow::definition::{Kind, LoopCondition, OnItemError};

impl Reference<'_> {
    pub(super) fn begin_body(&mut self, place: &Place) {
        self.tell(EventType::StepStarted, place, None, None);
        let Kind::Map { over, .. } = &self.node(place).kind else { return self.next_body(place) };
        match self.evaluate(place, over) {
            Ok(Value::Array(items)) => {
                self.spot_mut(place).items = items;
                self.go_on_with_map(place);
            }
            Ok(_) => self.failed(place, invalid("not_a_list")),
            Err(failure) => self.failed(place, failure),
        }
    }

    fn bodies<'r>(&'r self, place: &'r Place) -> impl Iterator<Item = (&'r String, &'r Run)> {
        self.runs
            .iter()
            .filter(move |(_, run)| run.parent.as_ref().is_some_and(|(owner, _)| owner == place))
    }

    fn body_of(&self, place: &Place, number: usize) -> (String, usize) {
        let scope = self.node(place).kind.body().expect("a body");
        (format!("{}[{number}]", self.name(place)), scope)
    }

    /// The next item joins the line, alone, as soon as the bound allows it to begin; with none left, the map
    /// is done when the last one is.
    fn go_on_with_map(&mut self, place: &Place) {
        let Kind::Map { concurrency, .. } = &self.node(place).kind else { panic!("no map") };
        let running = self.bodies(place).filter(|(_, run)| !run.is_over).count();
        let spot = self.spot(place);
        if spot.begun == spot.items.len() {
            if running == 0 {
                let values = spot.results.values().flatten().cloned().collect();
                self.succeed(place, Value::Array(values), None);
            }
            return;
        }
        let task = Task::Body(place.clone());
        if running < *concurrency as usize && !self.line.contains(&task) {
            self.line.push_back(task);
        }
    }

    /// The turn of the next item or iteration has come.
    pub(super) fn next_body(&mut self, place: &Place) {
        if self.state(place) != State::Running {
            return;
        }
        let number = self.spot(place).begun;
        let (path, scope) = self.body_of(place, number);
        let parent = Some((place.clone(), number));
        match &self.node(place).kind {
            Kind::Map { concurrency, .. } => {
                let item = self.spot(place).items[number].clone();
                self.spot_mut(place).begun += 1;
                let running = 1 + self.bodies(place).filter(|(_, run)| !run.is_over).count();
                let is_last = self.spot(place).begun == self.spot(place).items.len();
                if !is_last && running < *concurrency as usize {
                    self.line.push_back(Task::Body(place.clone()));
                }
                self.open(path, scope, parent, item);
            }
            Kind::Loop { condition, max_iterations, .. } => {
                let goes_on = match condition {
                    LoopCondition::While(condition) => self.loop_holds(place, number, condition),
                    LoopCondition::Until(_) => Ok(true),
                };
                match goes_on {
                    Err(failure) => self.failed(place, failure),
                    Ok(false) => self.end_loop(place),
                    Ok(true) if number >= *max_iterations as usize => {
                        self.failed(place, invalid("max_iterations"));
                    }
                    Ok(true) => {
                        self.spot_mut(place).begun += 1;
                        let last = self.spot(place).last.clone();
                        self.open(path, scope, parent, last);
                    }
                }
            }
            _ => panic!("no body"),
        }
    }

    fn end_loop(&mut self, place: &Place) {
        let last = self.spot(place).last.clone();
        self.succeed(place, last, None);
    }

    pub(super) fn body_ended(
        &mut self,
        place: &Place,
        number: usize,
        outcome: Result<Value, Failure>,
    ) {
        match (&self.node(place).kind, outcome) {
            (
                Kind::Map { on_item_error: OnItemError::Fail, .. } | Kind::Loop { .. },
                Err(failure),
            ) => {
                self.failed(place, failure);
            }
            (Kind::Map { on_item_error, .. }, outcome) => {
                let value = match (outcome, on_item_error) {
                    (Ok(value), _) => Some(value),
                    (Err(_), OnItemError::Skip) => None,
                    (Err(failure), _) => Some(json!({"error": {"code": failure.code,
                        "message": failure.message, "class": failure.class.as_str()}})),
                };
                self.spot_mut(place).results.insert(number, value);
                self.go_on_with_map(place);
            }
            (Kind::Loop { condition, max_iterations, .. }, Ok(value)) => {
                self.spot_mut(place).last = value;
                let LoopCondition::Until(condition) = condition else {
                    return self.line.push_back(Task::Body(place.clone()));
                };
                match self.loop_holds(place, number, condition) {
                    Err(failure) => self.failed(place, failure),
                    Ok(true) => self.end_loop(place),
                    Ok(false) if number + 1 >= *max_iterations as usize => {
                        self.failed(place, invalid("max_iterations"));
                    }
                    Ok(false) => self.line.push_back(Task::Body(place.clone())),
                }
            }
            _ => panic!("no body"),
        }
    }
}
