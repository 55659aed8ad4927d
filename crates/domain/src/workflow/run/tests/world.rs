//! One execution and the world around it: who was asked, which timers are set, what was told. Every fold is
//! held against what must always be so.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::answer::{ErrorClass, Failure};
use crate::event::EventType;
use crate::fact::Order;
use crate::time::Millis;
use crate::workflow::run::document::Document;
use crate::workflow::run::entry::{Asked, Entry, Execution};
use crate::workflow::run::invariants::Fold;
use crate::workflow::run::program::Program;
use crate::workflow::run::{
    Admission, Announcement, Effect, Ending, Event, Publication, Request, invariants, step,
};

/// The execution's id.
pub(super) const ID: &str = "execution-1";
/// When it is admitted.
pub(super) const BEGINNING: Millis = Millis(1_000_000);

pub(super) type Entries = BTreeMap<String, Entry>;

/// What a test admits, unless it says otherwise.
pub(super) fn admission(inputs: Value) -> Admission {
    Admission {
        execution: Execution {
            tenant: "acme".into(),
            origin: None,
            workflow: "w".into(),
            version: 1,
            labels: BTreeMap::new(),
            search_attributes: BTreeMap::new(),
            priority: 0,
            admitted: BEGINNING,
            deadline: None,
            trace_parent: None,
            log_content: true,
        },
        inputs: Document::from(&inputs),
        not_before: None,
        reuse: BTreeMap::new(),
    }
}

pub(super) struct World {
    pub(super) program: Program,
    pub(super) entries: Entries,
    pub(super) now: Millis,
    pub(super) timers: BTreeMap<String, Millis>,
    /// Who was asked and neither answered nor was called off, by step.
    pub(super) asked: BTreeMap<String, (i32, Asked)>,
    /// Everything that was asked, in order.
    pub(super) requests: Vec<(String, Request)>,
    /// Outside calls that are wanted, by step.
    pub(super) wanted: BTreeMap<String, (i32, Publication)>,
    /// What others were told, by their step, in order.
    pub(super) told: Vec<(String, Order)>,
    pub(super) said: Vec<Announcement>,
    pub(super) ending: Option<Ending>,
    /// What the last fold put out.
    pub(super) last: Vec<Effect>,
    /// Everything so far.
    pub(super) folds: Vec<Fold>,
    steps: BTreeMap<String, String>,
}

impl World {
    /// Admits an execution of this definition.
    #[track_caller]
    pub(super) fn new(definition: &Value) -> Self {
        Self::of(definition, json!({}))
    }

    #[track_caller]
    pub(super) fn of(definition: &Value, inputs: Value) -> Self {
        Self::admitted(definition, admission(inputs))
    }

    #[track_caller]
    pub(super) fn admitted(definition: &Value, admission: Admission) -> Self {
        let program = match Program::new(definition) {
            Ok(program) => program,
            Err(problems) => panic!("{problems:#?}"),
        };
        let mut world = Self {
            program,
            entries: BTreeMap::new(),
            now: BEGINNING,
            timers: BTreeMap::new(),
            asked: BTreeMap::new(),
            requests: Vec::new(),
            wanted: BTreeMap::new(),
            told: Vec::new(),
            said: Vec::new(),
            ending: None,
            last: Vec::new(),
            folds: Vec::new(),
            steps: BTreeMap::new(),
        };
        world.fold(Event::Admitted(Box::new(admission)));
        world
    }

    /// Folds an event, and does what is put out.
    #[track_caller]
    pub(super) fn fold(&mut self, event: Event) {
        let folded = step(&self.program, ID, &mut self.entries, event.clone(), self.now);
        let effects = folded.unwrap_or_else(|damaged| panic!("{damaged} at {event:?}"));
        self.last.clone_from(&effects);
        self.folds.push(Fold { now: self.now, event, effects: effects.clone() });
        for effect in effects {
            self.carry_out(effect);
        }
        let count = self.folds.len();
        if count < 64 || count.is_multiple_of(256) || self.ending.is_some() {
            self.check();
        }
    }

    #[track_caller]
    fn check(&self) {
        if let Err(violation) = invariants::check(&self.program, &self.folds) {
            panic!("{violation} in {:#?}", self.folds);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Announce(announcement) => self.said.push(*announcement),
            Effect::Ask(request) => {
                let (step, attempt, asked) = whom(&request);
                self.steps.insert(asked.id.clone(), step.clone());
                if !matches!(&*request, Request::Workflow(child) if child.origin.is_none()) {
                    self.asked.insert(step.clone(), (attempt, asked));
                }
                self.requests.push((step, *request));
            }
            Effect::Tell { kind, id, order } => {
                let step = self.steps.get(&id).expect("it was asked").clone();
                let (_, asked) = self.asked.get(&step).expect("it wasn't called off");
                assert_eq!((asked.kind, &asked.id), (kind, &id));
                if let Order::Cancel { .. } = order {
                    self.asked.remove(&step);
                }
                self.told.push((step, order));
            }
            Effect::Want { step, attempt, call } => {
                self.wanted.insert(step, (attempt, *call));
            }
            Effect::Unwant { step, attempt } => {
                let wanted = self.wanted.remove(&step);
                assert_eq!(wanted.map(|(attempt, _)| attempt), Some(attempt), "{step}");
            }
            Effect::SetTimer { timer, due } => {
                self.timers.insert(timer, due);
            }
            Effect::ClearTimer(timer) => {
                self.timers.remove(&timer);
            }
            Effect::End(ending) => {
                self.ending = Some(*ending);
                self.entries.clear();
                self.timers.clear();
                self.asked.clear();
                self.wanted.clear();
            }
        }
    }

    /// Gives an answer to the step's current attempt.
    #[track_caller]
    pub(super) fn answer(&mut self, step: &str, value: Value) {
        let attempt = self.outstanding(step);
        self.answered(step, attempt, Ok(Document::from(&value)));
    }

    /// Fails the step's current attempt; another try may help.
    #[track_caller]
    pub(super) fn fail(&mut self, step: &str, class: ErrorClass) {
        let attempt = self.outstanding(step);
        self.answered(step, attempt, Err(failure(class)));
    }

    #[track_caller]
    fn outstanding(&mut self, step: &str) -> i32 {
        let asked = self.asked.remove(step).map(|(attempt, _)| attempt);
        let wanted = self.wanted.remove(step).map(|(attempt, _)| attempt);
        asked.or(wanted).unwrap_or_else(|| panic!("{step:?} asks nobody: {:?}", self.asked))
    }

    /// An answer, whether or not anybody waits for it.
    #[track_caller]
    pub(super) fn answered(&mut self, step: &str, attempt: i32, result: Result<Document, Failure>) {
        let step = step.to_owned();
        self.fold(Event::Answered { step, attempt, result, usage: None, cost: None });
    }

    /// Lets the time come that a timer is set to.
    #[track_caller]
    pub(super) fn fire(&mut self, timer: &str) {
        let Some(due) = self.timers.remove(timer) else {
            panic!("{timer:?} isn't set: {:?}", self.timers)
        };
        self.now = self.now.max(due);
        self.fold(Event::Due(timer.to_owned()));
    }

    #[track_caller]
    pub(super) fn command(&mut self, order: Order) {
        self.fold(Event::Command(order));
    }

    #[track_caller]
    pub(super) fn signal(&mut self, name: &str, payload: Value) {
        let payload = Some(payload.to_string());
        self.command(Order::Signal { name: name.to_owned(), payload });
    }

    #[track_caller]
    pub(super) fn pause(&mut self) {
        self.command(Order::Pause);
    }

    #[track_caller]
    pub(super) fn resume(&mut self) {
        self.command(Order::Resume);
    }

    #[track_caller]
    pub(super) fn cancel(&mut self) {
        self.command(Order::Cancel { reason: Some("enough".into()) });
    }

    /// Fires `go` until nothing is left to begin; returns how often.
    #[track_caller]
    pub(super) fn go_on(&mut self) -> usize {
        let mut folds = 0;
        while self.timers.contains_key("go") {
            self.fire("go");
            folds += 1;
        }
        folds
    }

    /// The steps that wait for an answer.
    pub(super) fn open(&self) -> Vec<&str> {
        self.asked.keys().chain(self.wanted.keys()).map(String::as_str).collect()
    }

    /// The timers that are set.
    pub(super) fn set(&self) -> Vec<&str> {
        self.timers.keys().map(String::as_str).collect()
    }

    /// What was said of steps, in order: type and step.
    pub(super) fn story(&self) -> Vec<String> {
        self.said
            .iter()
            .map(|one| match &one.step {
                Some(step) => format!("{} {step}", one.event_type.as_str()),
                None => one.event_type.as_str().to_owned(),
            })
            .collect()
    }

    /// What was said of this type.
    pub(super) fn of_type(&self, event_type: EventType) -> Vec<&Announcement> {
        self.said.iter().filter(|one| one.event_type == event_type).collect()
    }

    /// The steps of which this was said, in order.
    pub(super) fn steps(&self, event_type: EventType) -> Vec<&str> {
        self.of_type(event_type).iter().filter_map(|one| one.step.as_deref()).collect()
    }

    /// The steps that were told to end, in order.
    pub(super) fn called_off(&self) -> Vec<&str> {
        let cancels = self.told.iter().filter(|(_, order)| matches!(order, Order::Cancel { .. }));
        cancels.map(|(step, _)| step.as_str()).collect()
    }

    #[track_caller]
    pub(super) fn ended(&self) -> &Ending {
        self.ending.as_ref().unwrap_or_else(|| {
            panic!("it goes on: {:?} {:?} {:?}", self.open(), self.timers, self.entry_names())
        })
    }

    /// What it gave.
    #[track_caller]
    pub(super) fn result(&self) -> Value {
        let ending = self.ended();
        let result = ending.result.as_ref();
        result.unwrap_or_else(|| panic!("it didn't succeed: {ending:?}")).to_json()
    }

    /// The code of what it failed with.
    #[track_caller]
    pub(super) fn failed_with(&self) -> &str {
        let ending = self.ended();
        &ending.failure.as_ref().unwrap_or_else(|| panic!("it didn't fail: {ending:?}")).code
    }

    /// The names of its entries, without those that every execution has.
    pub(super) fn entry_names(&self) -> BTreeSet<&str> {
        let always = ["execution", "inputs", "progress", "frame/"];
        self.entries.keys().map(String::as_str).filter(|name| !always.contains(name)).collect()
    }
}

/// The step, the attempt and the id of a request.
pub(super) fn whom(request: &Request) -> (String, i32, Asked) {
    use crate::topic::Kind;
    let (kind, id, origin) = match request {
        Request::Model(it) => (Kind::Model, &it.id, &it.origin),
        Request::Workflow(it) => (Kind::Workflow, &it.id, &it.origin),
        Request::Function(it) => (Kind::Function, &it.id, &it.origin),
        Request::Agent(it) => (Kind::Agent, &it.id, &it.origin),
    };
    let asked = Asked { kind, id: id.clone() };
    match origin {
        Some(origin) => {
            assert_eq!(origin.id, ID);
            (origin.step.clone(), origin.attempt, asked)
        }
        None => ("detached".to_owned(), 1, asked),
    }
}

/// A failure that another try may mend.
pub(super) fn failure(class: ErrorClass) -> Failure {
    Failure::new(class, class.as_str(), "it didn't work").retryable()
}
