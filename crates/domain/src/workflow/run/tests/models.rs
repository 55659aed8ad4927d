//! Every order of events, on small graphs: answers that come well, badly, again and late, timers, pauses, a
//! cancel and a signal. In whatever order they come, one ending at most, every join decided once, nothing
//! begun when it is held, nobody stuck, and an end within reach.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use serde_json::{Value, json};
use stateright::{Checker, Model, Property};

use super::world::{self, BEGINNING, Entries, ID, failure};
use super::{call, calling, edge, graph, with};
use crate::answer::ErrorClass;
use crate::event::EventType;
use crate::fact::Order;
use crate::time::Millis;
use crate::workflow::run::document::Document;
use crate::workflow::run::entry::Entry;
use crate::workflow::run::program::Program;
use crate::workflow::run::{Effect, Event, Request, step};

/// What may happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Action {
    /// The answer to a step and attempt that is awaited.
    Answer(String, i32, Outcome),
    /// An answer that came before comes again.
    Again(String, i32),
    Fire(String),
    Pause,
    Resume,
    Cancel,
    Signal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Outcome {
    Good,
    Bad,
}

/// An execution and what is around it.
#[derive(Clone, Debug)]
struct Place {
    entries: Entries,
    now: Millis,
    timers: BTreeMap<String, Millis>,
    /// Step and attempt of those of whom an answer is awaited.
    asked: BTreeMap<String, i32>,
    /// The answers that were given, and the questions that were called off.
    past: Vec<(String, i32)>,
    /// How often each step came to an outcome.
    outcomes: BTreeMap<String, u8>,
    /// The steps that succeeded and can be undone, and those that undo, in their order.
    done: Vec<String>,
    undone: Vec<String>,
    endings: u8,
    paused: bool,
    cancelled: bool,
    signals: u8,
    pauses: u8,
    /// Something began that mustn't have.
    broken: Option<String>,
}

impl Place {
    /// Two are the same when all of this is.
    fn likeness(&self) -> String {
        format!("{self:?}")
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.likeness() == other.likeness()
    }
}

impl Eq for Place {}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.likeness().hash(state);
    }
}

/// A graph, and what may happen to it.
struct Small {
    program: Program,
    /// How many pauses and signals there may be.
    pauses: u8,
    signals: u8,
}

impl Small {
    fn of(definition: &Value) -> Self {
        let program = Program::new(definition).expect("it compiles");
        Self { program, pauses: 2, signals: 0 }
    }

    fn fold(&self, place: &mut Place, event: Event) {
        let is_alone = place.endings > 0;
        let effects = step(&self.program, ID, &mut place.entries, event, place.now);
        let effects = match effects {
            Ok(effects) => effects,
            Err(damaged) => return place.broken = Some(damaged.to_string()),
        };
        if is_alone && !effects.is_empty() {
            place.broken = Some("it goes on after its end".to_owned());
        }
        for effect in effects {
            self.carry_out(place, effect);
        }
    }

    fn carry_out(&self, place: &mut Place, effect: Effect) {
        match effect {
            Effect::Ask(request) => {
                let (step, attempt, _) = world::whom(&request);
                if place.paused || place.cancelled && !step.starts_with("undo") {
                    place.broken = Some(format!("{step} is asked when all is held"));
                }
                if !matches!(&*request, Request::Function(_)) {
                    place.broken = Some(format!("{step} isn't a call"));
                }
                if step.starts_with("undo") && attempt == 1 {
                    place.undone.push(step.clone());
                }
                place.asked.insert(step, attempt);
            }
            Effect::Tell { id, order: Order::Cancel { .. }, .. } => {
                let whose = place
                    .asked
                    .iter()
                    .find(|(step, attempt)| crate::id::derived(ID, step, **attempt) == id);
                match whose.map(|(step, attempt)| (step.clone(), *attempt)) {
                    Some((step, attempt)) => {
                        place.asked.remove(&step);
                        place.past.push((step, attempt));
                    }
                    None => place.broken = Some("nobody of whom anything is awaited".to_owned()),
                }
            }
            Effect::SetTimer { timer, due } => drop(place.timers.insert(timer, due)),
            Effect::ClearTimer(timer) => drop(place.timers.remove(&timer)),
            Effect::Announce(announcement) => {
                let is_outcome = matches!(
                    announcement.event_type,
                    EventType::StepSucceeded
                        | EventType::StepFailed
                        | EventType::StepSkipped
                        | EventType::StepCancelled
                );
                if let (EventType::StepSucceeded, Some(step)) =
                    (announcement.event_type, &announcement.step)
                {
                    let undone = self
                        .program
                        .definition()
                        .nodes
                        .iter()
                        .any(|node| node.id == *step && node.policy.compensate.is_some());
                    place.done.extend(undone.then(|| step.clone()));
                }
                if let (true, Some(step)) = (is_outcome, announcement.step) {
                    *place.outcomes.entry(step).or_default() += 1;
                }
            }
            Effect::End(_) => {
                place.endings += 1;
                place.entries.clear();
                place.timers.clear();
                place.asked.clear();
                // What is past matters only to whom it may still reach.
                place.outcomes.retain(|_, count| *count > 1);
            }
            Effect::Tell { .. } | Effect::Want { .. } | Effect::Unwant { .. } => {}
        }
    }

    fn act(&self, place: &mut Place, action: &Action) {
        let answer = |step: &String, attempt: i32, outcome| Event::Answered {
            step: step.clone(),
            attempt,
            result: match outcome {
                Outcome::Good => Ok(Document::trusted("1".to_owned())),
                Outcome::Bad => Err(failure(ErrorClass::Provider)),
            },
            usage: None,
            cost: None,
        };
        let event = match action {
            Action::Answer(step, attempt, outcome) => {
                place.asked.remove(step);
                place.past.push((step.clone(), *attempt));
                place.past.sort();
                answer(step, *attempt, *outcome)
            }
            Action::Again(step, attempt) => {
                // Once each: whatever it changes, it would have changed the first time.
                place.past.retain(|past| past != &(step.clone(), *attempt));
                answer(step, *attempt, Outcome::Good)
            }
            Action::Fire(timer) => {
                let due = place.timers.remove(timer).unwrap_or(place.now);
                place.now = place.now.max(due);
                Event::Due(timer.clone())
            }
            Action::Pause => {
                place.paused = true;
                place.pauses += 1;
                Event::Command(Order::Pause)
            }
            Action::Resume => {
                place.paused = false;
                Event::Command(Order::Resume)
            }
            Action::Cancel => {
                place.cancelled = true;
                place.paused = false;
                Event::Command(Order::Cancel { reason: None })
            }
            Action::Signal => {
                place.signals += 1;
                Event::Command(Order::Signal { name: "go".into(), payload: None })
            }
        };
        self.fold(place, event);
    }

    /// Whether it ends when everyone answers well from here on, and every timer fires.
    fn can_end(&self, place: &Place) -> bool {
        let mut place = place.clone();
        for _ in 0..50 {
            if place.endings > 0 {
                return true;
            }
            let next = if place.paused {
                Action::Resume
            } else if let Some((step, attempt)) = place.asked.iter().next() {
                Action::Answer(step.clone(), *attempt, Outcome::Good)
            } else if let Some(timer) = place.timers.keys().next() {
                Action::Fire(timer.clone())
            } else {
                Action::Signal
            };
            self.act(&mut place, &next);
        }
        false
    }

    fn waits_for_a_signal(place: &Place) -> bool {
        place
            .entries
            .values()
            .any(|entry| matches!(entry, Entry::Step(step) if step.signal.is_some()))
    }
}

impl Model for Small {
    type State = Place;
    type Action = Action;

    fn init_states(&self) -> Vec<Place> {
        let mut place = Place {
            entries: BTreeMap::new(),
            now: BEGINNING,
            timers: BTreeMap::new(),
            asked: BTreeMap::new(),
            past: Vec::new(),
            outcomes: BTreeMap::new(),
            done: Vec::new(),
            undone: Vec::new(),
            endings: 0,
            paused: false,
            cancelled: false,
            signals: 0,
            pauses: 0,
            broken: None,
        };
        self.fold(&mut place, Event::Admitted(Box::new(world::admission(json!({})))));
        vec![place]
    }

    fn actions(&self, place: &Place, actions: &mut Vec<Action>) {
        for (step, attempt) in &place.asked {
            actions.push(Action::Answer(step.clone(), *attempt, Outcome::Good));
            actions.push(Action::Answer(step.clone(), *attempt, Outcome::Bad));
        }
        actions
            .extend(place.past.iter().map(|(step, attempt)| Action::Again(step.clone(), *attempt)));
        actions.extend(place.timers.keys().cloned().map(Action::Fire));
        if place.paused {
            actions.push(Action::Resume);
        } else if place.pauses < self.pauses && place.endings == 0 {
            actions.push(Action::Pause);
        }
        if !place.cancelled && place.endings == 0 {
            actions.push(Action::Cancel);
        }
        if place.signals < self.signals {
            actions.push(Action::Signal);
        }
    }

    fn next_state(&self, place: &Place, action: Action) -> Option<Place> {
        let mut place = place.clone();
        self.act(&mut place, &action);
        Some(place)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("I1: at most one ending", |_, place: &Place| place.endings <= 1),
            Property::always(
                "I6: one outcome for each step, joins included",
                |_, place: &Place| place.outcomes.values().all(|count| *count <= 1),
            ),
            Property::always("I7: nothing begins when it is held", |_, place: &Place| {
                place.broken.is_none()
            }),
            Property::always("an answer is awaited from whom it was asked", |_, place: &Place| {
                let awaited = place.entries.values().filter_map(|entry| match entry {
                    Entry::Step(step) if step.asked.is_some() => Some(step.attempt),
                    _ => None,
                });
                awaited.collect::<Vec<_>>() == place.asked.values().copied().collect::<Vec<_>>()
            }),
            Property::always(
                "a join that is decided has left no loser running",
                |_, place: &Place| {
                    let is_decided = place.outcomes.contains_key("j");
                    !is_decided
                        || place.asked.keys().all(|step| !["a", "b", "c"].contains(&step.as_str()))
                },
            ),
            Property::always("what was done is undone in reverse order", |_, place: &Place| {
                let reversed = place.done.iter().rev().map(|step| format!("undo_{step}"));
                place.undone.iter().cloned().eq(reversed.take(place.undone.len()))
            }),
            Property::always("nobody is stuck", |_, place: &Place| {
                place.endings > 0
                    || place.paused
                    || !place.asked.is_empty()
                    || !place.timers.is_empty()
                    || Self::waits_for_a_signal(place)
            }),
            Property::always("an end is within reach", |small: &Self, place: &Place| {
                small.can_end(place)
            }),
            Property::sometimes("it ends", |_, place: &Place| place.endings == 1),
        ]
    }
}

#[track_caller]
fn check(small: Small) {
    let checker = small.checker().spawn_bfs().join();
    checker.assert_properties();
    let states = checker.unique_state_count();
    assert!(states > 100, "only {states} states: the model sees too little");
    assert!(states < 60_000, "{states} states take too long");
}

fn joined(policy: Value, branches: &[&str]) -> Value {
    let join = json!({"id": "j", "kind": "join", "policy": policy});
    let nodes = branches.iter().map(|id| call(id)).chain([join, call("after")]);
    let edges = branches.iter().map(|id| edge(id, "j")).chain([edge("j", "after")]);
    graph(json!(nodes.collect::<Vec<_>>()), json!(edges.collect::<Vec<_>>()))
}

#[test]
fn join_of_all_in_every_order() {
    check(Small::of(&joined(json!("all"), &["a", "b", "c"])));
}

#[test]
fn join_of_any_in_every_order() {
    check(Small::of(&joined(json!("any"), &["a", "b", "c"])));
}

#[test]
fn join_of_two_of_three_in_every_order() {
    check(Small::of(&joined(json!({"atLeast": 2}), &["a", "b", "c"])));
}

#[test]
fn join_that_tolerates_one_in_every_order() {
    check(Small::of(&joined(json!({"tolerate": 1}), &["a", "b", "c"])));
}

#[test]
fn join_with_a_deadline_in_every_order() {
    for policy in [json!("all"), json!("any"), json!({"tolerate": 1})] {
        let mut definition = joined(policy, &["a", "b"]);
        definition["spec"]["nodes"][2]["deadline"] = json!("10s");
        check(Small::of(&definition));
    }
}

fn retried(id: &str) -> Value {
    let retry = json!({"maxTries": 2, "backoff": {"initial": "1s"}});
    with(with(call(id), "retry", retry), "timeout", json!("5s"))
}

#[test]
fn retry_in_every_order() {
    let nodes = json!([retried("a"), call("b")]);
    check(Small::of(&graph(nodes, json!([edge("a", "b")]))));
}

#[test]
fn retries_that_race_to_a_join_in_every_order() {
    let join = json!({"id": "j", "kind": "join", "policy": "any", "deadline": "3s"});
    let nodes = json!([
        with(retried("a"), "compensate", json!("undo_a")),
        call("undo_a"),
        retried("b"),
        join,
        call("after")
    ]);
    let edges = json!([edge("a", "j"), edge("b", "j"), edge("j", "after")]);
    check(Small { pauses: 1, ..Small::of(&graph(nodes, edges)) });
}

#[test]
fn compensation_in_every_order() {
    let nodes = json!([
        with(call("a"), "compensate", json!("undo_a")),
        call("undo_a"),
        with(call("b"), "compensate", json!("undo_b")),
        call("undo_b"),
        call("c")
    ]);
    let edges = json!([edge("a", "c"), edge("b", "c")]);
    check(Small::of(&graph(nodes, edges)));
}

#[test]
fn map_that_fails_with_its_item_in_every_order() {
    let map = json!({"id": "m", "kind": "map", "over": [1, 2], "body": calling("n", "{{ item }}")});
    let nodes = json!([map, call("after")]);
    check(Small::of(&graph(nodes, json!([edge("m", "after")]))));
}

#[test]
fn map_of_one_at_a_time_in_every_order() {
    let map = json!({"id": "m", "kind": "map", "over": [1, 2, 3], "concurrency": 1,
        "onItemError": "skip", "body": calling("n", "{{ item }}")});
    check(Small::of(&graph(json!([map, call("b")]), json!([]))));
}

#[test]
fn signal_in_every_order() {
    let timed = json!({"id": "w", "kind": "wait", "default": 0,
        "signal": {"name": "go", "timeout": "1h"}});
    let wait = json!({"id": "v", "kind": "wait", "signal": {"name": "go"}});
    let nodes = json!([call("a"), timed, wait, call("after")]);
    let edges = json!([edge("a", "w"), edge("w", "after")]);
    check(Small { signals: 3, ..Small::of(&graph(nodes, edges)) });
}
