//! What must hold of the folds of one execution, whatever happens to it: a name, a sentence and a predicate
//! each. Judged from events and effects alone, so that tests, models and simulations ask the same.

use std::collections::{BTreeMap, BTreeSet};

use super::program::Program;
use super::{Announcement, Effect, Event, Request, step};
use crate::event::EventType;
use crate::fact::Order;
use crate::invariants::Violation;
use crate::time::Millis;
use crate::workflow::definition::Kind;

/// One fold: when, of what, and what followed.
#[derive(Clone, Debug, PartialEq)]
pub struct Fold {
    /// State time.
    pub now: Millis,
    /// What was folded.
    pub event: Event,
    /// What was put out.
    pub effects: Vec<Effect>,
}

/// A named invariant over the folds of one execution, in order.
#[derive(Clone, Copy)]
pub struct Invariant {
    /// Its name, as in the fault table.
    pub name: &'static str,
    /// One sentence.
    pub sentence: &'static str,
    /// The predicate.
    pub check: fn(&Program, &[Fold]) -> Result<(), String>,
}

/// All of them.
pub const ALL: &[Invariant] = &[
    Invariant {
        name: "I1",
        sentence: "an execution ends at most once, and nothing follows",
        check: one_ending,
    },
    Invariant {
        name: "I2",
        sentence: "the answer to an attempt is taken at most once",
        check: answers_count_once,
    },
    Invariant {
        name: "I6",
        sentence: "a join, as any step, comes to one outcome, and only once",
        check: one_outcome,
    },
    Invariant {
        name: "I7",
        sentence: "nothing begins while it is paused, and after a stop only what undoes",
        check: nothing_begins_when_held,
    },
    Invariant {
        name: "I8",
        sentence: "a timer that isn't set, or is early, or fired before, changes nothing",
        check: timers_count_once,
    },
];

/// Checks folds against every invariant.
///
/// # Errors
/// The first one that doesn't hold.
pub fn check(program: &Program, folds: &[Fold]) -> Result<(), Violation> {
    for invariant in ALL {
        (invariant.check)(program, folds)
            .map_err(|what| Violation { name: invariant.name, what })?;
    }
    Ok(())
}

/// I13: the same log, folded again from its beginning, gives the same effects. Costs as much as the folds
/// did, so it isn't among [`ALL`].
///
/// # Errors
/// The first fold that gives something else.
pub fn folds_again(program: &Program, id: &str, folds: &[Fold]) -> Result<(), Violation> {
    let mut entries = BTreeMap::new();
    for (number, fold) in folds.iter().enumerate() {
        let again = step(program, id, &mut entries, fold.event.clone(), fold.now);
        if again.as_ref() != Ok(&fold.effects) {
            let what = format!("fold {number} gave {:?}, and now {again:?}", fold.effects);
            return Err(Violation { name: "I13", what });
        }
        if fold.effects.iter().any(|effect| matches!(effect, Effect::End(_))) {
            entries.clear();
        }
    }
    Ok(())
}

fn one_ending(_: &Program, folds: &[Fold]) -> Result<(), String> {
    let mut effects = folds.iter().flat_map(|fold| &fold.effects);
    let ended = effects.any(|effect| matches!(effect, Effect::End(_)));
    match effects.next() {
        Some(effect) if ended => Err(format!("{effect:?} after the end")),
        _ => Ok(()),
    }
}

fn answers_count_once(_: &Program, folds: &[Fold]) -> Result<(), String> {
    let mut taken = BTreeSet::new();
    for fold in folds {
        let Event::Answered { step, attempt, .. } = &fold.event else { continue };
        let takes = |(of, announcement): (&str, &Announcement)| {
            of == step
                && matches!(
                    announcement.event_type,
                    EventType::StepSucceeded | EventType::StepFailed | EventType::StepRetrying
                )
        };
        let took = announced(std::slice::from_ref(fold)).any(takes);
        if took && !taken.insert((step, attempt)) {
            return Err(format!("the answer to attempt {attempt} of {step:?} is taken again"));
        }
    }
    Ok(())
}

fn one_outcome(program: &Program, folds: &[Fold]) -> Result<(), String> {
    let mut outcomes: BTreeMap<&str, EventType> = BTreeMap::new();
    for (step, announcement) in announced(folds) {
        let is_outcome = matches!(
            announcement.event_type,
            EventType::StepSucceeded
                | EventType::StepFailed
                | EventType::StepSkipped
                | EventType::StepCancelled
        );
        if !is_outcome {
            continue;
        }
        if let Some(first) = outcomes.insert(step, announcement.event_type) {
            let second = announcement.event_type;
            let join = announcement.node.map(|node| &program.node(node).kind);
            let kind = if matches!(join, Some(Kind::Join { .. })) { "join" } else { "step" };
            return Err(format!("the {kind} {step:?}: first {first:?}, then {second:?}"));
        }
    }
    Ok(())
}

fn nothing_begins_when_held(program: &Program, folds: &[Fold]) -> Result<(), String> {
    let mut paused = false;
    let mut stopped = false;
    let mut ids = BTreeSet::new();
    for fold in folds {
        match &fold.event {
            Event::Command(Order::Pause) => paused = true,
            Event::Command(Order::Resume) => paused = false,
            Event::Command(Order::Cancel { .. }) => (stopped, paused) = (true, false),
            _ => {}
        }
        for effect in &fold.effects {
            let (what, step) = match effect {
                Effect::Ask(request) => {
                    let (id, step) = asked(request);
                    if !ids.insert(id) {
                        return Err(format!("{step:?} asks twice under {id}"));
                    }
                    ("asks", step)
                }
                Effect::Want { step, .. } => ("calls", step.as_str()),
                Effect::Announce(announcement)
                    if announcement.event_type == EventType::StepWaiting =>
                {
                    ("waits", announcement.step.as_deref().unwrap_or_default())
                }
                _ => continue,
            };
            if paused {
                return Err(format!("{step:?} {what} while it is paused"));
            }
            if stopped && !undoes(program, step) {
                return Err(format!("{step:?} {what} after a cancel"));
            }
        }
    }
    Ok(())
}

/// Whether a step is there to undo another. A detached child names no step.
fn undoes(program: &Program, step: &str) -> bool {
    let id = step.rsplit('.').next().unwrap_or_default();
    let mut nodes = program.definition().nodes.iter().enumerate();
    step.is_empty() || nodes.any(|(node, it)| it.id == id && program.is_compensation(node))
}

fn asked(request: &Request) -> (&str, &str) {
    let (id, origin) = match request {
        Request::Model(it) => (&it.id, &it.origin),
        Request::Workflow(it) => (&it.id, &it.origin),
        Request::Function(it) => (&it.id, &it.origin),
        Request::Agent(it) => (&it.id, &it.origin),
    };
    (id, origin.as_ref().map_or("", |origin| origin.step.as_str()))
}

fn timers_count_once(_: &Program, folds: &[Fold]) -> Result<(), String> {
    let mut set: BTreeMap<&str, Millis> = BTreeMap::new();
    for fold in folds {
        if let Event::Due(timer) = &fold.event {
            let counts = set.get(timer.as_str()).is_some_and(|due| *due <= fold.now);
            if counts {
                set.remove(timer.as_str());
            // What stands in the line goes on at any event; `start` is judged by whoever keeps the timers.
            } else if !fold.effects.is_empty() && !set.contains_key("go") && timer != "start" {
                return Err(format!("{timer:?} wasn't due, and led to {:?}", fold.effects));
            }
        }
        for effect in &fold.effects {
            match effect {
                Effect::SetTimer { timer, due } => drop(set.insert(timer, *due)),
                Effect::ClearTimer(timer) => drop(set.remove(timer.as_str())),
                _ => {}
            }
        }
    }
    Ok(())
}

/// What was announced of steps, in order.
fn announced(folds: &[Fold]) -> impl Iterator<Item = (&str, &Announcement)> {
    folds.iter().flat_map(|fold| &fold.effects).filter_map(|effect| match effect {
        Effect::Announce(announcement) => Some((announcement.step.as_deref()?, &**announcement)),
        _ => None,
    })
}
