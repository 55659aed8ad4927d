//! A naive interpreter, written from the documentation of [`crate::workflow`] and [`crate::workflow::run`]:
//! everything in one place in memory, nothing counted, nothing dropped, everything found again by looking at
//! all there is. Slow, and hard to get wrong.

mod bodies;
mod flow;
mod joins;
mod names;
mod stopping;
mod waits;

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use crate::answer::{Failure, Terminal};
use crate::event::EventType;
use crate::time::Millis;
use crate::workflow::compile::Graph;
use crate::workflow::definition::{Definition, Kind, Node};
use crate::workflow::run::program::Program;

/// What is put out, as far as it is compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    Execution(EventType),
    Step {
        what: EventType,
        step: String,
        attempt: i32,
        value: Option<Value>,
        error: Option<String>,
    },
    /// Of a step or of nobody, with the code of the failure.
    Refused(Option<String>, String),
    Ask {
        id: String,
        input: Value,
    },
    Want {
        step: String,
        attempt: i32,
        data: Value,
    },
    /// Whoever has this id is told to `cancel`, `pause` or `resume`.
    Tell {
        id: String,
        order: &'static str,
    },
    Unwant {
        step: String,
        attempt: i32,
    },
    End {
        status: Terminal,
        result: Option<Value>,
        code: Option<String>,
    },
}

/// Where a node of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Ready,
    Running,
    Succeeded,
    Failed,
    Skipped,
    Cancelled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    Taken,
    NotTaken,
    Failed,
}

/// A node of a run.
pub(super) type Place = (String, usize);

/// A node in one run of its scope.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) state: State,
    pub(super) attempt: i32,
    /// The id of what it asked for, while it isn't answered. For an `emit` its step.
    pub(super) asked: Option<String>,
    /// Until when it waits: a wait, a retry, a join's deadline.
    pub(super) due: Option<Millis>,
    pub(super) timeout: Option<Millis>,
    pub(super) output: Option<Value>,
    pub(super) error: Option<Failure>,
    /// Of a map.
    items: Vec<Value>,
    /// Of a map: what its items came to; `None`: left out.
    results: BTreeMap<usize, Option<Value>>,
    /// How many items or iterations have begun.
    begun: usize,
    /// Of a loop: the value of the last iteration that ended.
    last: Value,
}

/// One run of a scope.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) scope: usize,
    pub(super) parent: Option<(Place, usize)>,
    pub(super) spots: BTreeMap<usize, Spot>,
    edges: BTreeMap<usize, Arrival>,
    pub(super) is_over: bool,
    /// The item of a map, or the value of the iteration before.
    given: Value,
}

/// What stands in the line.
#[derive(Clone, Debug, PartialEq)]
enum Task {
    Begin(Place),
    /// The next item or iteration.
    Body(Place),
}

#[derive(Clone, Debug)]
struct Stop {
    status: Terminal,
    code: Option<String>,
}

pub(super) struct Reference<'p> {
    id: &'p str,
    program: &'p Program,
    inputs: Value,
    pub(super) now: Millis,
    deadline: Option<Millis>,
    pub(super) runs: BTreeMap<String, Run>,
    line: VecDeque<Task>,
    /// Decided, and what follows from it isn't.
    decided: VecDeque<Place>,
    /// All that succeeded, in order.
    succeeded: Vec<Place>,
    undone: Vec<Place>,
    stop: Option<Stop>,
    pub(super) is_paused: bool,
    /// Signals that nobody took.
    signals: Vec<(String, Value)>,
    /// Those who wait for a signal, the first to come first.
    waiters: Vec<Place>,
    pub(super) is_ended: bool,
    said: Vec<Said>,
}

impl<'p> Reference<'p> {
    pub(super) fn new(
        program: &'p Program,
        id: &'p str,
        inputs: Value,
        deadline: Option<Millis>,
        now: Millis,
    ) -> Self {
        Self {
            id,
            program,
            inputs,
            now,
            deadline,
            runs: BTreeMap::new(),
            line: VecDeque::new(),
            decided: VecDeque::new(),
            succeeded: Vec::new(),
            undone: Vec::new(),
            stop: None,
            is_paused: false,
            signals: Vec::new(),
            waiters: Vec::new(),
            is_ended: false,
            said: Vec::new(),
        }
    }

    fn definition(&self) -> &'p Definition {
        self.program.definition()
    }

    fn graph(&self) -> &'p Graph {
        &self.program.compiled.graph
    }

    fn node(&self, place: &Place) -> &'p Node {
        &self.definition().nodes[place.1]
    }

    fn spot(&self, place: &Place) -> &Spot {
        &self.runs[&place.0].spots[&place.1]
    }

    fn spot_mut(&mut self, place: &Place) -> &mut Spot {
        let run = self.runs.get_mut(&place.0).expect("a run");
        run.spots.get_mut(&place.1).expect("a node of it")
    }

    fn state(&self, place: &Place) -> State {
        self.spot(place).state
    }

    fn is_open(&self, place: &Place) -> bool {
        matches!(self.state(place), State::Waiting | State::Ready | State::Running)
    }

    /// Whether a node is only there to undo another.
    fn undoes(&self, node: usize) -> bool {
        let id = &self.definition().nodes[node].id;
        let mut nodes = self.definition().nodes.iter();
        nodes.any(|other| other.policy.compensate.as_ref() == Some(id))
    }

    pub(super) fn name(&self, place: &Place) -> String {
        let id = &self.node(place).id;
        if place.0.is_empty() { id.clone() } else { format!("{}.{id}", place.0) }
    }

    /// The step of this name, in a run that there is.
    fn find(&self, step: &str) -> Option<Place> {
        self.places().find(|place| self.name(place) == step)
    }

    fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.runs
            .iter()
            .flat_map(|(path, run)| run.spots.keys().map(move |node| (path.clone(), *node)))
    }

    fn tell(
        &mut self,
        what: EventType,
        place: &Place,
        value: Option<Value>,
        error: Option<String>,
    ) {
        let attempt = match what {
            EventType::StepStarted | EventType::StepRetrying => self.spot(place).attempt,
            _ => 0,
        };
        let step = self.name(place);
        self.said.push(Said::Step { what, step, attempt, value, error });
    }

    /// It is admitted, and begins.
    pub(super) fn admit(&mut self) -> Vec<Said> {
        self.said.push(Said::Execution(EventType::Admitted));
        self.said.push(Said::Execution(EventType::Started));
        self.open(String::new(), crate::workflow::definition::TOP, None, Value::Null);
        self.work()
    }

    /// An answer for an attempt of a step.
    pub(super) fn answered(
        &mut self,
        step: &str,
        attempt: i32,
        result: Result<Value, Failure>,
    ) -> Vec<Said> {
        let awaited = self.find(step).filter(|place| {
            let spot = self.spot(place);
            spot.state == State::Running && spot.attempt == attempt && spot.asked.is_some()
        });
        if let Some(place) = awaited {
            self.spot_mut(&place).asked = None;
            match result {
                Ok(output) => self.succeed(&place, output, None),
                Err(failure) => self.attempt_failed(&place, failure),
            }
        }
        self.work()
    }

    /// Everything that follows, until nothing does.
    fn work(&mut self) -> Vec<Said> {
        loop {
            while !self.is_ended
                && let Some(place) = self.decided.pop_front()
            {
                self.follow(&place);
            }
            if self.is_ended || self.is_paused {
                break;
            }
            match self.line.pop_front() {
                None => break,
                Some(Task::Begin(place)) => self.begin(&place),
                Some(Task::Body(place)) => self.next_body(&place),
            }
        }
        std::mem::take(&mut self.said)
    }

    /// Who is asked: step and attempt.
    pub(super) fn outstanding(&self) -> Vec<(String, i32)> {
        let asked = self.places().filter(|place| self.spot(place).asked.is_some());
        asked.map(|place| (self.name(&place), self.spot(&place).attempt)).collect()
    }

    /// Whether a step has its next attempt before it, and waits for its turn.
    pub(super) fn is_held(&self, step: &str) -> bool {
        self.find(step).is_some_and(|place| self.state(&place) == State::Ready)
    }

    /// The timers that are set.
    pub(super) fn timers(&self) -> BTreeMap<String, Millis> {
        let mut timers = BTreeMap::new();
        if self.is_ended {
            return timers;
        }
        for place in self.places() {
            let (spot, name) = (self.spot(&place), self.name(&place));
            let kind = match self.node(&place).kind {
                Kind::Join { .. } => "join",
                Kind::Wait(_) => "wait",
                _ => "retry",
            };
            if self.is_open(&place) {
                timers.extend(spot.due.map(|due| (format!("{kind}/{name}"), due)));
                timers.extend(spot.timeout.map(|due| (format!("timeout/{name}"), due)));
            }
        }
        if self.stop.is_none() {
            timers.extend(self.deadline.map(|due| ("deadline".to_owned(), due)));
        }
        timers
    }
}
