//! The named invariants: one sentence and one predicate each, used by the simulation, by the tests on a
//! mock cluster and by the runs on a real one.
//!
//! A [`History`] is what an outsider can read: requests as they were accepted, records as they stand in
//! the topics, calls as the called side counted them.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{EventType, ExecutionEvent, Position};

/// A record of an output topic, as far as copies are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copyable {
    /// Topic name.
    pub topic: String,
    /// Its `ce_id`.
    pub id: String,
    /// Its value.
    pub value: Vec<u8>,
}

/// What a run left behind.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Ids of requests that were accepted: an acknowledged publish of a valid or invalid request.
    pub accepted: BTreeSet<String>,
    /// `results`, in topic order.
    pub events: Vec<ExecutionEvent>,
    /// `execution-log` as a read_committed reader sees it: `(event_id, execution_id, event_type)`.
    pub rows: Vec<(String, String, String)>,
    /// Every record of `results` and of the chained feeds and logs that carries a source.
    pub outputs: Vec<Copyable>,
    /// How often the outside was asked, by call: entity and key.
    pub calls: BTreeMap<String, u32>,
    /// How many of those may have been repeats: calls that ran at a crash, a handover or a cut-off.
    pub repeats_allowed: BTreeMap<String, u32>,
    /// Events that an origin consumed, by request id.
    pub answers_consumed: BTreeMap<String, u32>,
}

/// A predicate did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {what}")]
pub struct Violation {
    /// Which invariant.
    pub name: &'static str,
    /// What was seen.
    pub what: String,
}

/// A named invariant over a finished run.
#[derive(Clone, Copy)]
pub struct Invariant {
    /// Its name, as in the fault table.
    pub name: &'static str,
    /// One sentence.
    pub sentence: &'static str,
    /// The predicate.
    pub check: fn(&History) -> Result<(), String>,
}

/// All that are judged from a finished run.
pub const ALL: &[Invariant] = &[
    Invariant {
        name: "I1",
        sentence: "every accepted request reaches exactly one terminal state",
        check: one_terminal_state,
    },
    Invariant {
        name: "I2",
        sentence: "an origin consumes each answer exactly once",
        check: one_answer,
    },
    Invariant {
        name: "I3",
        sentence: "sequence numbers of an execution are gapless and rising",
        check: gapless_numbers,
    },
    Invariant {
        name: "I5a",
        sentence: "a read_committed reader of the execution log sees each fact exactly once",
        check: rows_once,
    },
    Invariant {
        name: "I5b",
        sentence: "a copy is identical to the first and has the same id",
        check: identical_copies,
    },
    Invariant {
        name: "I12",
        sentence: "outside calls repeat only where a crash, a handover or a cut-off allows it",
        check: bounded_repeats,
    },
];

/// Checks a history against every invariant.
///
/// # Errors
/// The first one that does not hold.
pub fn check(history: &History) -> Result<(), Violation> {
    for invariant in ALL {
        (invariant.check)(history).map_err(|what| Violation { name: invariant.name, what })?;
    }
    Ok(())
}

/// The events of each execution as a client sees them: copies dropped, a higher generation at number n
/// replacing everything from n on, a lower one after a higher dropped.
#[must_use]
pub fn as_clients_see(events: &[ExecutionEvent]) -> BTreeMap<String, Vec<ExecutionEvent>> {
    let mut seen: BTreeMap<String, Vec<ExecutionEvent>> = BTreeMap::new();
    for event in events {
        let list = seen.entry(event.execution_id.clone()).or_default();
        match list.last().map(ExecutionEvent::position) {
            Some(last) if event.generation < last.generation => {}
            Some(last) if event.generation > last.generation => {
                list.retain(|earlier| earlier.number < event.number);
                list.push(event.clone());
            }
            Some(last) if event.number <= last.number => {}
            _ => list.push(event.clone()),
        }
    }
    seen
}

fn one_terminal_state(history: &History) -> Result<(), String> {
    let seen = as_clients_see(&history.events);
    for id in &history.accepted {
        let terminals: Vec<EventType> = seen
            .get(id)
            .into_iter()
            .flatten()
            .map(|event| event.event_type)
            .filter(|event_type| event_type.is_terminal())
            .collect();
        if terminals.len() != 1 {
            return Err(format!("{id} has the terminal events {terminals:?}"));
        }
    }
    Ok(())
}

fn one_answer(history: &History) -> Result<(), String> {
    match history.answers_consumed.iter().find(|(_, count)| **count != 1) {
        Some((id, count)) => Err(format!("the answer of {id} was consumed {count} times")),
        None => Ok(()),
    }
}

fn gapless_numbers(history: &History) -> Result<(), String> {
    for (id, events) in as_clients_see(&history.events) {
        for (nth, event) in (1..).zip(&events) {
            if event.number != nth {
                let positions: Vec<Position> =
                    events.iter().map(ExecutionEvent::position).collect();
                return Err(format!("{id} has the positions {positions:?}"));
            }
        }
    }
    Ok(())
}

fn rows_once(history: &History) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match history.rows.iter().find(|(event_id, _, _)| !seen.insert(event_id)) {
        Some((event_id, ..)) => Err(format!("the row {event_id} stands twice")),
        None => Ok(()),
    }
}

fn identical_copies(history: &History) -> Result<(), String> {
    let mut first: BTreeMap<(&str, &str), &[u8]> = BTreeMap::new();
    for output in &history.outputs {
        let known = first.entry((&output.topic, &output.id)).or_insert(&output.value);
        if *known != output.value {
            return Err(format!("two values of {} on {}", output.id, output.topic));
        }
    }
    Ok(())
}

fn bounded_repeats(history: &History) -> Result<(), String> {
    for (call, count) in &history.calls {
        let allowed = 1 + history.repeats_allowed.get(call).copied().unwrap_or(0);
        if *count > allowed {
            return Err(format!("{call} was made {count} times, {allowed} allowed"));
        }
    }
    Ok(())
}
