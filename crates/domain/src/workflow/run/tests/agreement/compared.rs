//! What is compared of the machine and the reference.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::event::EventType;
use crate::fact::Order;
use crate::time::Millis;
use crate::workflow::definition::Kind;
use crate::workflow::run::entry::{Entry, NodeState};
use crate::workflow::run::program::Program;
use crate::workflow::run::tests::reference::{Reference, Said, State};
use crate::workflow::run::tests::world::{Entries, whom};
use crate::workflow::run::{Announcement, Effect, Request};

/// What the machine put out, in the words of the reference.
pub(super) fn said(effects: &[Effect]) -> Vec<Said> {
    effects.iter().filter_map(said_by).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("the machine puts JSON out")
}

fn said_by(effect: &Effect) -> Option<Said> {
    Some(match effect {
        Effect::Announce(announcement) => announced(announcement),
        Effect::Ask(request) => {
            let input = match &**request {
                Request::Model(it) => json(&it.body),
                Request::Workflow(it) => json(&it.input),
                Request::Function(it) => json(&it.arguments),
                Request::Agent(it) => Value::from(it.content.as_str()),
            };
            let (_, _, asked) = whom(request);
            Said::Ask { id: asked.id, input }
        }
        Effect::Tell { id, order, .. } => {
            let order = match order {
                Order::Pause => "pause",
                Order::Resume => "resume",
                _ => "cancel",
            };
            Said::Tell { id: id.clone(), order }
        }
        Effect::Want { step, attempt, call } => {
            Said::Want { step: step.clone(), attempt: *attempt, data: json(&call.data) }
        }
        Effect::Unwant { step, attempt } => Said::Unwant { step: step.clone(), attempt: *attempt },
        Effect::End(ending) => Said::End {
            status: ending.status,
            result: ending.result.as_ref().map(|result| result.to_json()),
            code: ending.failure.as_ref().map(|failure| failure.code.clone()),
        },
        // Compared as what is set after the fold.
        Effect::SetTimer { .. } | Effect::ClearTimer(_) => return None,
    })
}

fn announced(announcement: &Announcement) -> Said {
    let error = announcement.error.as_ref().map(|error| error.code.clone());
    let what = announcement.event_type;
    match (&announcement.step, what) {
        (step, EventType::SignalRefused) => Said::Refused(step.clone(), error.unwrap_or_default()),
        (None, _) => Said::Execution(what),
        (Some(step), _) => {
            let begins = [EventType::StepStarted, EventType::StepRetrying].contains(&what);
            let attempt = announcement.attempt.filter(|_| begins).unwrap_or_default();
            let data = announcement.data.as_deref().map(json);
            let value = data.filter(|_| what != EventType::StepStarted);
            Said::Step { what, step: step.clone(), attempt, value, error }
        }
    }
}

/// Whether both said the same: in the same order, but for what is called off or told, of which the order is
/// nobody's business.
pub(super) fn agree(machine: Vec<Said>, reference: Vec<Said>) -> Result<(), String> {
    let told = |said: &Said| {
        matches!(
            said,
            Said::Tell { .. }
                | Said::Unwant { .. }
                | Said::Step { what: EventType::StepCancelled, .. }
        )
    };
    let parts = |mut said: Vec<Said>| {
        said.iter_mut().for_each(forget_sentences);
        let (told, rest): (Vec<Said>, Vec<Said>) = said.into_iter().partition(told);
        let mut told: Vec<String> = told.iter().map(|said| format!("{said:?}")).collect();
        told.sort();
        (rest, told)
    };
    let (machine, reference) = (parts(machine), parts(reference));
    if machine == reference {
        return Ok(());
    }
    Err(format!("the machine says\n{}the reference\n{}", listed(&machine), listed(&reference)))
}

/// Sentences for people aren't compared, wherever a failure ends up.
fn forget_sentences(said: &mut Said) {
    match said {
        Said::Step { value: Some(value), .. }
        | Said::Ask { input: value, .. }
        | Said::Want { data: value, .. }
        | Said::End { result: Some(value), .. } => forget_messages(value),
        _ => {}
    }
}

fn forget_messages(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(forget_messages),
        Value::Object(fields) => {
            fields.shift_remove("message");
            fields.values_mut().for_each(forget_messages);
        }
        _ => {}
    }
}

fn listed((said, told): &(Vec<Said>, Vec<String>)) -> String {
    let said = said.iter().map(|said| format!("  {said:?}\n"));
    said.chain(told.iter().map(|told| format!("  {told}\n"))).collect()
}

/// Whether both have the same timers set.
pub(super) fn timers(
    machine: &BTreeMap<String, Millis>,
    reference: &Reference<'_>,
) -> Result<(), String> {
    let reference = reference.timers();
    match *machine == reference {
        true => Ok(()),
        false => Err(format!("the machine has set {machine:?}\nthe reference {reference:?}")),
    }
}

/// What both have of a step that has begun: attempt, whether it asks someone, until when it waits.
type Begun = (i32, bool, Option<Millis>);

/// Whether both have every node in the same place.
pub(super) fn state(
    entries: &Entries,
    program: &Program,
    reference: &Reference<'_>,
) -> Result<(), String> {
    if reference.is_ended {
        return if entries.is_empty() { Ok(()) } else { Err("the machine goes on".to_owned()) };
    }
    let mut frames: BTreeMap<&str, Vec<NodeState>> = BTreeMap::new();
    let mut begun: BTreeMap<String, Begun> = BTreeMap::new();
    for (entry, value) in entries {
        match value {
            Entry::Frame(frame) if !frame.over => {
                let path = entry.strip_prefix("frame/").expect("the name of a frame");
                frames
                    .insert(path, frame.nodes.iter().map(|state| NodeState::of(*state)).collect());
            }
            Entry::Step(step) => {
                let named = entry.strip_prefix("step/").expect("the name of a step").to_owned();
                let node = usize::try_from(step.node).expect("an index");
                let kind = &program.node(node).kind;
                let is_emit = matches!(kind, Kind::Emit { .. });
                // Whether one that is to be tried again is wanted, only its node's state says.
                let wanted = is_emit && step.until.is_none() && !reference.is_held(&named);
                let attempt = if let Kind::Join { .. } = kind { 0 } else { step.attempt };
                begun.insert(named, (attempt, step.asked.is_some() || wanted, step.until));
            }
            _ => {}
        }
    }
    let mut expected_frames = BTreeMap::new();
    let mut expected_begun = BTreeMap::new();
    for (path, run) in &reference.runs {
        let nodes = &program.definition().scopes[run.scope].nodes;
        for node in nodes {
            let (spot, step) = (&run.spots[node], reference.name(&(path.clone(), *node)));
            let is_open = matches!(spot.state, State::Waiting | State::Ready | State::Running);
            let has_deadline = spot.state == State::Waiting && spot.due.is_some();
            if is_open && (spot.attempt > 0 && spot.state != State::Waiting || has_deadline) {
                expected_begun.insert(step.clone(), (spot.attempt, spot.asked.is_some(), spot.due));
            }
        }
        if !run.is_over {
            let states = nodes.iter().map(|node| match run.spots[node].state {
                _ if program.is_compensation(*node) => NodeState::Apart,
                State::Waiting => NodeState::Waiting,
                State::Ready => NodeState::Ready,
                State::Running => NodeState::Running,
                State::Succeeded => NodeState::Succeeded,
                State::Failed => NodeState::Failed,
                State::Skipped => NodeState::Skipped,
                State::Cancelled => NodeState::Cancelled,
            });
            expected_frames.insert(path.as_str(), states.collect::<Vec<_>>());
        }
    }
    if frames != expected_frames {
        return Err(format!(
            "frames of the machine {frames:?}\nof the reference {expected_frames:?}"
        ));
    }
    if begun != expected_begun {
        return Err(format!("steps of the machine {begun:?}\nof the reference {expected_begun:?}"));
    }
    Ok(())
}
