//! What a run with crashes left behind, judged by the invariants that the simulation is judged by too
//! ([`domain::invariants`]).

use std::collections::{BTreeMap, BTreeSet};

use domain::event::ExecutionEvent;
use domain::id::derived;
use domain::invariants::{self, History, Violation};
use domain::log_row::ExecutionLogRecord;

use crate::topics::Reading;

/// A run, as outsiders saw it.
pub struct Run<'a> {
    /// The requests that were acknowledged; nothing else is looked at.
    pub accepted: &'a BTreeSet<String>,
    /// Those whose answer was seen before anything was interrupted: never to be called again.
    pub finished: &'a BTreeSet<String>,
    /// How often partitions went from one worker to another while calls ran; each may repeat a call.
    pub handovers: u32,
    /// `results`.
    pub results: &'a Reading<ExecutionEvent>,
    /// `execution-log`.
    pub log: &'a Reading<ExecutionLogRecord>,
    /// The idempotency keys that the provider saw.
    pub calls: &'a [String],
}

impl Run<'_> {
    /// Checks it against every invariant, and that the execution log says once how each one ended.
    ///
    /// # Panics
    /// When one doesn't hold.
    pub fn check(&self) {
        let ids = self.results.copyables().len();
        assert_eq!(ids, self.results.records().count(), "every event has an id, to know a copy by");
        if let Err(violation) = invariants::check(&self.history()) {
            panic!("{violation}");
        }
        if let Err(violation) = self.one_row_for_each_end() {
            panic!("{violation}");
        }
    }

    fn history(&self) -> History {
        let of_run = |id: &str| self.accepted.contains(id);
        let mut calls: BTreeMap<String, u32> = BTreeMap::new();
        for call in self.calls.iter().filter(|call| of_run(call)) {
            *calls.entry(call.clone()).or_default() += 1;
        }
        let interrupted = self.accepted.difference(self.finished);
        let events = self.results.records().filter(|event| of_run(&event.execution_id));
        let rows = self.log.records().filter(|row| of_run(&row.execution_id));
        History {
            accepted: self.accepted.clone(),
            events: events.cloned().collect(),
            rows: rows
                .map(|row| (row.event_id.clone(), row.execution_id.clone(), row.event_type.clone()))
                .collect(),
            outputs: self.results.copyables(),
            calls,
            repeats_allowed: interrupted.map(|id| (id.clone(), self.handovers)).collect(),
            answers_consumed: self.answers_consumed(),
        }
    }

    /// How often whoever asked went on with the answer of each, as clients see it. What nobody of the run
    /// asked for isn't in it.
    fn answers_consumed(&self) -> BTreeMap<String, u32> {
        let of_run = |event: &&ExecutionEvent| self.accepted.contains(&event.execution_id);
        let events: Vec<ExecutionEvent> = self.results.records().filter(of_run).cloned().collect();
        let asked = events.iter().filter(|event| {
            event.parent_id.as_ref().is_some_and(|parent| self.accepted.contains(parent))
        });
        let mut consumed: BTreeMap<String, u32> =
            asked.map(|event| (event.execution_id.clone(), 0)).collect();
        for (origin, events) in invariants::as_clients_see(&events) {
            for event in events.iter().filter(|event| event.event_type.ends_step()) {
                let (Some(step), Some(attempt)) = (&event.step, event.attempt) else { continue };
                if let Some(count) = consumed.get_mut(&derived(&origin, step, attempt)) {
                    *count += 1;
                }
            }
        }
        consumed
    }

    fn one_row_for_each_end(&self) -> Result<(), Violation> {
        let name = "rows";
        let mut ends: BTreeMap<&str, u32> = BTreeMap::new();
        for row in self.log.records().filter(|row| row.status.is_some()) {
            *ends.entry(&row.execution_id).or_default() += 1;
        }
        match self.accepted.iter().find(|id| ends.get(id.as_str()) != Some(&1)) {
            Some(id) => {
                let count = ends.get(id.as_str()).copied().unwrap_or(0);
                Err(Violation { name, what: format!("{count} rows say how {id} ended") })
            }
            None => Ok(()),
        }
    }
}
