//! Nodes begin, end, and lead to others.

use serde_json::{Value, json};

use super::{Arrival, Place, Reference, Run, Said, Spot, State, Task};
use crate::answer::{ErrorClass, Failure};
use crate::event::EventType;
use crate::workflow::compile::Route;
use crate::workflow::definition::{ChildMode, Kind};
use crate::workflow::run::MAX_VALUE_BYTES;

/// What the failure of a node leads to.
enum Then {
    Branch,
    Arrives,
    FailsScope,
}

impl Reference<'_> {
    pub(super) fn open(
        &mut self,
        path: String,
        scope: usize,
        parent: Option<(Place, usize)>,
        given: Value,
    ) {
        let spot = Spot {
            state: State::Waiting,
            attempt: 0,
            asked: None,
            due: None,
            timeout: None,
            output: None,
            error: None,
            items: Vec::new(),
            results: std::collections::BTreeMap::new(),
            begun: 0,
            last: Value::Null,
        };
        let nodes = &self.definition().scopes[scope].nodes;
        let spots = nodes.iter().map(|node| (*node, spot.clone())).collect();
        let edges = std::collections::BTreeMap::new();
        let run = Run { scope, parent, spots, edges, is_over: false, given };
        self.runs.insert(path.clone(), run);
        for node in nodes {
            let leads_to = |edge: &&crate::workflow::compile::Edge| edge.to == *node;
            if !self.undoes(*node) && !self.graph().edges.iter().any(|edge| leads_to(&edge)) {
                self.ready(&(path.clone(), *node));
            }
        }
    }

    fn ready(&mut self, place: &Place) {
        self.spot_mut(place).state = State::Ready;
        self.line.push_back(Task::Begin(place.clone()));
    }

    /// A node's turn has come.
    pub(super) fn begin(&mut self, place: &Place) {
        if self.state(place) != State::Ready {
            return;
        }
        self.spot_mut(place).state = State::Running;
        self.begin_deadlines(place);
        let node = self.node(place);
        match &node.kind {
            Kind::Transform { value } => match self.evaluate(place, value) {
                Ok(value) => self.succeed(place, value, None),
                Err(failure) => self.failed(place, failure),
            },
            Kind::Switch { .. } | Kind::Fork => self.succeed(place, Value::Null, None),
            Kind::Join { .. } => panic!("a join doesn't begin"),
            Kind::Fail { message, code } => {
                let failure = match self.evaluate(place, message) {
                    Ok(_) => invalid(code.as_deref().unwrap_or("failed")),
                    Err(failure) => failure,
                };
                self.failed(place, failure);
            }
            Kind::End { result } => {
                let value = match result {
                    Some(result) => self.evaluate(place, result),
                    None => self.result(&place.0),
                };
                match value {
                    Err(failure) => self.failed(place, failure),
                    Ok(value) => {
                        self.tell(EventType::StepSucceeded, place, None, None);
                        self.spot_mut(place).state = State::Succeeded;
                        self.end_run(&place.0, Ok(value));
                    }
                }
            }
            _ => {
                let now = self.now;
                let spot = self.spot_mut(place);
                spot.attempt += 1;
                if spot.attempt == 1 {
                    spot.timeout = node.policy.timeout_ms.map(|ms| now.plus(ms as i64));
                }
                match &node.kind {
                    Kind::Map { .. } | Kind::Loop { .. } => self.begin_body(place),
                    Kind::Wait(wait) => self.begin_wait(place, wait),
                    _ => self.ask(place),
                }
            }
        }
    }

    fn ask(&mut self, place: &Place) {
        let node = self.node(place);
        let (name, attempt) = (self.name(place), self.spot(place).attempt);
        let object = || Ok(json!({}));
        let input = match &node.kind {
            Kind::Model { request, .. } => self.evaluate(place, request),
            Kind::Agent { input: Some(input), .. } => self.evaluate(place, input),
            Kind::Function { arguments: Some(input), .. }
            | Kind::Workflow { input: Some(input), .. } => self.evaluate(place, input),
            Kind::Emit { data, .. } => self.evaluate(place, data),
            _ => object(),
        };
        let input = match input {
            Ok(input) => input,
            Err(failure) => return self.failed(place, failure),
        };
        self.tell(EventType::StepStarted, place, None, None);
        if let Kind::Emit { .. } = &node.kind {
            self.said.push(Said::Want { step: name.clone(), attempt, data: input });
            self.spot_mut(place).asked = Some(name);
            return;
        }
        let id = crate::id::derived(self.id, &name, attempt);
        self.said.push(Said::Ask { id: id.clone(), input });
        if let Kind::Workflow { mode: ChildMode::Detached, .. } = &node.kind {
            return self.succeed(place, json!({ "execution_id": id }), None);
        }
        self.spot_mut(place).asked = Some(id);
    }

    /// A step gave an output, or a default stands in for it.
    pub(super) fn succeed(&mut self, place: &Place, output: Value, instead_of: Option<Failure>) {
        // The output of a map may be longer: only its items are bounded.
        let is_map = matches!(self.node(place).kind, Kind::Map { .. });
        if !is_map && output.to_string().len() > MAX_VALUE_BYTES {
            return self.failed(place, invalid("value_too_large"));
        }
        let code = instead_of.map(|failure| failure.code);
        self.tell(EventType::StepSucceeded, place, Some(output.clone()), code);
        let spot = self.spot_mut(place);
        spot.state = State::Succeeded;
        spot.output = Some(output);
        spot.asked = None;
        self.succeeded.push(place.clone());
        self.decided.push_back(place.clone());
    }

    /// An attempt failed. "After its retries": another one follows if the policy has it.
    pub(super) fn attempt_failed(&mut self, place: &Place, failure: Failure) {
        let attempt = self.spot(place).attempt;
        if let Some(retry) = &self.node(place).policy.retry {
            let wanted = match &retry.on {
                Some(classes) => classes.contains(&failure.class),
                None => failure.retryable,
            };
            if wanted && (attempt as u32) < retry.max_tries {
                let mut wait = retry.initial_ms as f64;
                for _ in 1..attempt {
                    wait *= retry.factor;
                }
                let due = self.now.plus(wait.min(retry.max_ms as f64) as i64);
                let next = json!({"attempt": attempt + 1, "due": due.0});
                self.tell(EventType::StepRetrying, place, Some(next), Some(failure.code));
                self.spot_mut(place).due = Some(due);
                return;
            }
        }
        self.failed(place, failure);
    }

    /// The time of a retry has come: it joins the line.
    pub(super) fn try_again(&mut self, place: &Place) {
        self.spot_mut(place).due = None;
        self.ready(place);
    }

    /// "A node that fails after its retries gives its `default` as its output, if it has one, and counts as
    /// succeeded. Else its `onError` edge is taken. Else, when all its edges lead to joins, it arrives there
    /// as a failure. Else its scope fails."
    pub(super) fn failed(&mut self, place: &Place, failure: Failure) {
        self.call_off(place);
        let default = self.node(place).policy.default.as_ref();
        if let Some(default) = default {
            let before = self.spot(place).state;
            let spot = self.spot_mut(place);
            (spot.state, spot.error) = (State::Failed, Some(failure.clone()));
            let value = self.evaluate(place, default);
            self.spot_mut(place).state = before;
            match value {
                Ok(value) => return self.succeed(place, value, Some(failure)),
                Err(failure) => return self.is_failed(place, failure, Then::FailsScope),
            }
        }
        let then = self.then(place);
        self.is_failed(place, failure, then);
    }

    fn is_failed(&mut self, place: &Place, failure: Failure, then: Then) {
        self.tell(EventType::StepFailed, place, None, Some(failure.code.clone()));
        let spot = self.spot_mut(place);
        spot.state = State::Failed;
        spot.error = Some(failure.clone());
        match then {
            Then::FailsScope if !self.undoes(place.1) => self.end_run(&place.0, Err(failure)),
            _ => self.decided.push_back(place.clone()),
        }
    }

    fn then(&self, place: &Place) -> Then {
        if self.node(place).policy.on_error.is_some() {
            return Then::Branch;
        }
        let graph = self.graph();
        let mut targets =
            graph.edges.iter().filter(|edge| edge.from == place.1).map(|edge| edge.to).peekable();
        let is_join = |to: usize| matches!(self.definition().nodes[to].kind, Kind::Join { .. });
        match targets.peek().is_some() && targets.all(is_join) {
            true => Then::Arrives,
            false => Then::FailsScope,
        }
    }

    /// A node is decided: its edges are, and what they lead to.
    pub(super) fn follow(&mut self, place: &Place) {
        if self.undoes(place.1) {
            return self.undo_next();
        }
        if self.runs[&place.0].is_over {
            return;
        }
        let state = self.state(place);
        let mut case = None;
        if let (Kind::Switch { cases, .. }, State::Succeeded) = (&self.node(place).kind, state) {
            for (index, one) in cases.iter().enumerate() {
                match self.holds(place, &one.when) {
                    Ok(true) => {
                        case = Some(index);
                        break;
                    }
                    Ok(false) => {}
                    Err(failure) => return self.end_run(&place.0, Err(failure)),
                }
            }
        }
        let graph = self.graph();
        let edges = graph.edges.iter().enumerate().filter(|(_, edge)| edge.from == place.1);
        for (index, edge) in edges {
            let target = (place.0.clone(), edge.to);
            // What is decided already, or has begun, isn't led to any more.
            let is_known = self.runs[&place.0].edges.contains_key(&index);
            if is_known || self.state(&target) != State::Waiting {
                continue;
            }
            let arrival = match (state, &edge.route) {
                (State::Succeeded, Route::Always) => Arrival::Taken,
                (State::Succeeded, Route::When(number)) => {
                    let scope = self.runs[&place.0].scope;
                    let when = self.definition().scopes[scope].edges[*number].when.as_ref();
                    match when.map_or(Ok(true), |when| self.holds(place, when)) {
                        Ok(true) => Arrival::Taken,
                        Ok(false) => Arrival::NotTaken,
                        Err(failure) => return self.end_run(&place.0, Err(failure)),
                    }
                }
                (State::Succeeded, Route::Cases { cases, otherwise }) => {
                    match case.map_or(*otherwise, |case| cases.contains(&case)) {
                        true => Arrival::Taken,
                        false => Arrival::NotTaken,
                    }
                }
                (State::Failed, Route::Failure) => Arrival::Taken,
                (State::Failed, _) if matches!(self.then(place), Then::Arrives) => Arrival::Failed,
                _ => Arrival::NotTaken,
            };
            self.arrive(&target, index, arrival);
            if self.is_ended || self.runs[&place.0].is_over {
                return;
            }
        }
        // "A scope ends when every node is decided."
        let open = self.runs[&place.0]
            .spots
            .keys()
            .any(|node| !self.undoes(*node) && self.is_open(&(place.0.clone(), *node)));
        if !open {
            let result = self.result(&place.0);
            self.end_run(&place.0, result);
        }
    }

    /// "A node runs when all its incoming edges are decided and at least one is taken."
    fn arrive(&mut self, target: &Place, edge: usize, arrival: Arrival) {
        if let Kind::Join { .. } = &self.node(target).kind {
            return self.arrive_at_join(target, edge, arrival);
        }
        self.note(target, edge, arrival);
        let arrivals = self.arrivals(target);
        if arrivals.iter().all(Option::is_some) {
            match arrivals.contains(&Some(Arrival::Taken)) {
                true => self.ready(target),
                false => self.skip(target),
            }
        }
    }

    pub(super) fn note(&mut self, target: &Place, edge: usize, arrival: Arrival) {
        self.runs.get_mut(&target.0).expect("a run").edges.insert(edge, arrival);
    }

    /// What became of the edges to a node, in their order; `None`: not decided.
    pub(super) fn arrivals(&self, target: &Place) -> Vec<Option<Arrival>> {
        let run = &self.runs[&target.0];
        let edges = self.graph().edges.iter().enumerate();
        let incoming = edges.filter(|(_, edge)| edge.to == target.1);
        incoming.map(|(index, _)| run.edges.get(&index).copied()).collect()
    }

    pub(super) fn skip(&mut self, place: &Place) {
        self.tell(EventType::StepSkipped, place, None, None);
        self.spot_mut(place).state = State::Skipped;
        self.decided.push_back(place.clone());
    }

    /// A scope has its value, or failed: what is open in it is called off, and its owner goes on.
    pub(super) fn end_run(&mut self, path: &str, outcome: Result<Value, Failure>) {
        self.cancel_run(path);
        match self.runs[path].parent.clone() {
            None => self.execution_ends(outcome),
            Some((owner, number)) => self.body_ended(&owner, number, outcome),
        }
    }
}

pub(super) fn invalid(code: &str) -> Failure {
    Failure::new(ErrorClass::Invalid, code, "")
}
