//! What became of each step of an execution, and what it waits for now: folded from its events, which is all
//! that anybody outside of its processor sees.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::answer::{Cost, Failure, Usage};
use crate::event::{EventType, ExecutionEvent};
use crate::time::Millis;
use crate::workflow::admitted::Admitted;
use crate::workflow::limit;

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// It has begun.
    Running,
    /// It waits for time or for a signal.
    Waiting,
    /// An attempt failed, and the next one waits for its time.
    Retrying,
    /// It gave an output.
    Succeeded,
    /// It failed for good.
    Failed,
    /// It was not needed.
    Skipped,
    /// It was called off.
    Cancelled,
}

impl StepState {
    /// The public name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it may still change.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Waiting | Self::Retrying)
    }
}

/// One step of an execution.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its name: the node in its frame, such as `each[3].draft`.
    pub name: String,
    /// The kind of its node; `None` for those that are done at once.
    pub node: Option<String>,
    /// How far it is.
    pub state: StepState,
    /// Its latest attempt; `None` for those that are done at once.
    pub attempt: Option<i32>,
    /// The execution that it asked for last.
    pub execution_id: Option<String>,
    /// What it asked that execution, JSON.
    pub input: Option<String>,
    /// What it gave, JSON.
    pub output: Option<String>,
    /// Why its last attempt failed, or what a default stands in for.
    pub error: Option<Failure>,
    /// What all its attempts used.
    pub usage: Option<Usage>,
    /// What all its attempts cost, in millionths, by currency.
    pub costs: BTreeMap<String, i64>,
    /// When it began.
    pub started: Millis,
    /// When it ended.
    pub ended: Option<Millis>,
    /// The signal that it waits for.
    pub signal: Option<String>,
    /// Until when it waits.
    pub until: Option<Millis>,
    /// Since when it is in its state.
    pub since: Millis,
}

/// An execution, as its events tell it.
#[derive(Clone, Debug, Default)]
pub struct History {
    steps: Vec<Step>,
    places: HashMap<String, usize>,
    /// The version that it runs with.
    pub version: Option<i32>,
    /// Its inputs, JSON.
    pub input: Option<String>,
    /// Not to begin before this.
    pub not_before: Option<Millis>,
    /// When its nodes began.
    pub started: Option<Millis>,
    /// Since when it is paused.
    pub paused: Option<Millis>,
    /// Since when it waits for a place among the executions of its workflow.
    pub queued: Option<Millis>,
    /// Where it stood when it began to wait.
    pub place: Option<Place>,
    /// The time of its newest event.
    pub latest: Option<Millis>,
}

/// What `execution.queued` says: where an execution stood when it began to wait for a place.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Place {
    /// By what executions of the workflow are counted; `None`: all together.
    pub key: Option<String>,
    /// Who runs, and who goes first.
    #[serde(flatten)]
    pub queued: limit::Queued,
}

/// What `step.started` says.
#[derive(Deserialize)]
struct Started {
    node: Option<String>,
    execution_id: Option<String>,
    input: Option<Box<RawValue>>,
}

/// What `step.waiting` and `step.retrying` say.
#[derive(Deserialize)]
struct Waits {
    signal: Option<String>,
    until: Option<i64>,
    due: Option<i64>,
}

impl History {
    /// The steps, in the order in which they began.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The step of this name.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.places.get(name).map(|place| &self.steps[*place])
    }

    /// Takes in the next event.
    pub fn take_in(&mut self, event: ExecutionEvent) {
        let time = event.time;
        self.latest = Some(time);
        match event.event_type {
            EventType::Admitted => {
                let said: Option<Admitted> = read(event.data.as_deref());
                let Some(said) = said else { return };
                self.version = said.version;
                self.input = said.input.map(|input| input.get().to_owned());
                self.not_before = said.not_before;
            }
            EventType::Queued => {
                self.queued = Some(time);
                self.place = read(event.data.as_deref());
            }
            EventType::Started => {
                self.started = Some(time);
                (self.queued, self.place) = (None, None);
            }
            EventType::Paused => self.paused = Some(time),
            EventType::Resumed => self.paused = None,
            _ => self.of_step(event),
        }
    }

    fn of_step(&mut self, event: ExecutionEvent) {
        use EventType as Type;
        let state = match event.event_type {
            Type::StepStarted => StepState::Running,
            Type::StepWaiting => StepState::Waiting,
            Type::StepRetrying => StepState::Retrying,
            Type::StepSucceeded => StepState::Succeeded,
            Type::StepFailed => StepState::Failed,
            Type::StepSkipped => StepState::Skipped,
            Type::StepCancelled => StepState::Cancelled,
            // They say nothing of how far a step is.
            _ => return,
        };
        let ExecutionEvent { step: Some(name), time, attempt, data, error, usage, cost, .. } =
            event
        else {
            return;
        };
        let step = self.at(name, time);
        step.state = state;
        step.since = time;
        step.attempt = attempt.or(step.attempt);
        step.ended = (!state.is_open()).then_some(time);
        (step.signal, step.until) = (None, None);
        if let Some(usage) = usage {
            step.usage.get_or_insert_default().add(usage);
        }
        if let Some(cost) = cost {
            let Cost { micros, currency } = cost;
            *step.costs.entry(currency).or_default() += micros;
        }
        match state {
            StepState::Running => {
                if let Some(said) = read::<Started>(data.as_deref()) {
                    step.node = said.node;
                    step.execution_id = said.execution_id;
                    step.input = said.input.map(|input| input.get().to_owned());
                }
                step.error = None;
            }
            StepState::Waiting | StepState::Retrying => {
                if let Some(said) = read::<Waits>(data.as_deref()) {
                    step.signal = said.signal;
                    step.until = said.until.or(said.due).map(Millis);
                }
                step.error = error;
            }
            StepState::Succeeded => {
                step.output = data;
                step.error = error;
            }
            StepState::Failed | StepState::Skipped | StepState::Cancelled => {
                step.error = error.or(step.error.take());
            }
        }
    }

    fn at(&mut self, name: String, time: Millis) -> &mut Step {
        let place = match self.places.get(&name) {
            Some(place) => *place,
            None => {
                self.places.insert(name.clone(), self.steps.len());
                self.steps.push(Step {
                    name,
                    node: None,
                    state: StepState::Running,
                    attempt: None,
                    execution_id: None,
                    input: None,
                    output: None,
                    error: None,
                    usage: None,
                    costs: BTreeMap::new(),
                    started: time,
                    ended: None,
                    signal: None,
                    until: None,
                    since: time,
                });
                self.steps.len() - 1
            }
        };
        &mut self.steps[place]
    }
}

fn read<'a, T: Deserialize<'a>>(data: Option<&'a str>) -> Option<T> {
    serde_json::from_str(data?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::answer::ErrorClass;
    use crate::topic::Kind;

    fn event(number: i64, event_type: EventType, step: &str, data: &str) -> ExecutionEvent {
        ExecutionEvent {
            execution_id: "run-1".into(),
            kind: Kind::Workflow,
            tenant: "default".into(),
            parent_id: None,
            generation: 1,
            number,
            event_type,
            time: Millis(number * 10),
            step: Some(step.to_owned()).filter(|step| !step.is_empty()),
            attempt: None,
            data: Some(data.to_owned()).filter(|data| !data.is_empty()),
            error: None,
            usage: None,
            cost: None,
            data_claim: None,
        }
    }

    fn folded(events: impl IntoIterator<Item = ExecutionEvent>) -> History {
        let mut history = History::default();
        events.into_iter().for_each(|event| history.take_in(event));
        history
    }

    #[test]
    fn step_is_what_its_last_event_says_and_its_attempts_add_up() {
        use EventType as Type;
        let started = json!({"node": "model", "execution_id": "c", "input": {"a": 1}}).to_string();
        let spent = |event| ExecutionEvent {
            usage: Some(Usage { input_tokens: 5, ..Usage::default() }),
            cost: Some(Cost { micros: 7, currency: "EUR".into() }),
            ..event
        };
        let failure = Failure::new(ErrorClass::Timeout, "late", "too late");
        let retrying = ExecutionEvent {
            error: Some(failure.clone()),
            ..spent(event(3, Type::StepRetrying, "draft", r#"{"attempt":2,"due":99}"#))
        };
        let begun = vec![
            event(1, Type::Admitted, "", r#"{"version":4,"input":{"x":[1.50]}}"#),
            event(2, Type::StepStarted, "draft", &started),
            retrying,
        ];
        let history = folded(begun.clone());
        assert_eq!((history.version, history.input.as_deref()), (Some(4), Some(r#"{"x":[1.50]}"#)));
        let step = history.step("draft").expect("a step");
        assert_eq!(
            (step.state, step.until, step.since),
            (StepState::Retrying, Some(Millis(99)), Millis(30))
        );
        assert_eq!(step.error.as_ref(), Some(&failure));
        let history = folded(begun.into_iter().chain([
            event(4, Type::StepStarted, "draft", &started),
            spent(event(5, Type::StepSucceeded, "draft", r#"{"ok":true}"#)),
            event(6, Type::StepSkipped, "other", ""),
        ]));
        let names: Vec<_> = history.steps().iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["draft", "other"]);
        let step = history.step("draft").expect("a step");
        assert_eq!(
            (step.state, step.started, step.ended),
            (StepState::Succeeded, Millis(20), Some(Millis(50)))
        );
        assert_eq!((step.output.as_deref(), step.error.as_ref()), (Some(r#"{"ok":true}"#), None));
        assert_eq!(step.usage.map(|usage| usage.input_tokens), Some(10));
        assert_eq!((step.costs["EUR"], step.input.as_deref()), (14, Some(r#"{"a":1}"#)));
    }

    #[test]
    fn place_in_the_queue_is_the_one_it_began_with_until_it_starts() {
        use EventType as Type;
        let said = r#"{"limit":2,"key":"c-7","running":2,"ahead":5}"#;
        let begun = vec![event(1, Type::Queued, "", said)];
        let history = folded(begun.clone());
        let queued = limit::Queued { limit: 2, running: 2, ahead: 5 };
        assert_eq!(history.place, Some(Place { key: Some("c-7".into()), queued }));
        assert_eq!(history.queued, Some(Millis(10)));
        let history = folded(begun.into_iter().chain([event(2, Type::Started, "", "")]));
        assert_eq!((history.queued, history.place), (None, None));
    }

    #[test]
    fn wait_is_over_when_its_step_goes_on() {
        use EventType as Type;
        let waiting = r#"{"for":"signal","signal":"go","until":50}"#;
        let begun =
            vec![event(1, Type::StepWaiting, "ask", waiting), event(2, Type::Paused, "", "")];
        let history = folded(begun.clone());
        let step = history.step("ask").expect("a step");
        assert_eq!((step.signal.as_deref(), step.until), (Some("go"), Some(Millis(50))));
        assert_eq!(history.paused, Some(Millis(20)));
        let history = folded(begun.into_iter().chain([
            event(3, Type::Resumed, "", ""),
            event(4, Type::SignalRefused, "ask", ""),
            event(5, Type::StepSucceeded, "ask", "1"),
        ]));
        let step = history.step("ask").expect("a step");
        assert_eq!(
            (step.state, step.signal.as_deref(), step.until),
            (StepState::Succeeded, None, None)
        );
        assert_eq!((history.paused, history.latest), (None, Some(Millis(50))));
    }
}
