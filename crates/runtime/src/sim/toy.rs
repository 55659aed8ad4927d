//! The small scenario of this crate's own tests: parents that ask children, who make outside calls; invalid
//! requests, poison, cancels that come before what they cancel.

use std::collections::BTreeSet;

use domain::answer::{ErrorClass, Failure, ModelOutcome};
use domain::event::EventType;
use domain::fact::{Command, Order};
use domain::invariants::{self, History};
use domain::model_call::WantedModelCall;
use domain::request::ModelRequest;
use domain::topic::Kind;

use super::programs::{Child, HUGE, INVALID, PANIC, POISON, Parent, outcome};
use super::{Clients, Past, Process, Program, Replay, Rng, Scenario, Tenure};
use crate::partition::Options;
use crate::processor::Running;

/// Which processor takes the request of this number.
fn kind_of(number: u32) -> Kind {
    if number.is_multiple_of(3) { Kind::Model } else { Kind::Workflow }
}

/// Parents, children and their clients.
pub(super) struct Family {
    /// Half of the seeds forget ids soon, so that a late copy of an admission comes when its id is forgotten;
    /// their clients repeat nothing, for that would rightly run again.
    forgetful: bool,
    /// In some seeds a second program is deployed.
    deploys: bool,
    next_request: u32,
    cancelled_early: BTreeSet<String>,
}

impl Family {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            forgetful: seed.is_multiple_of(2),
            deploys: seed.is_multiple_of(3),
            next_request: 0,
            cancelled_early: BTreeSet::new(),
        }
    }
}

impl Scenario for Family {
    const KINDS: &'static [Kind] = &[Kind::Workflow, Kind::Model];
    const STEPS: usize = 1_200;

    fn options(&self, _: Kind) -> Options {
        Options {
            window: Some(4),
            max_record_bytes: 2_048,
            checkpoint_min_ms: 20,
            checkpoint_max_ms: 100,
            checkpoint_busy: 10,
            max_unchecked: 40,
            max_outbox: 60,
            session_timeout_ms: 2_000,
            client_ids_ms: if self.forgetful { 150 } else { 600_000 },
            early_commands_ms: i64::MAX / 2,
            not_yet_ms: 100,
            fold_tries: 2,
            watchdog_ms: 10_000,
        }
    }

    fn program(&self, step: usize) -> Program {
        if self.deploys && step >= Self::STEPS / 2 { Program::Second } else { Program::First }
    }

    fn seat(&self, tenure: Tenure) -> Process {
        match tenure.kind() {
            Kind::Model => tenure.seat(Child, ended),
            _ => {
                let parent = Parent(tenure.program());
                tenure.seat(parent, ended)
            }
        }
    }

    /// A new request, or one again, sometimes to the wrong partition, sometimes bad.
    fn publish(&mut self, clients: &mut Clients<'_>) {
        let again = self.next_request > 0 && !self.forgetful && clients.rng.percent(8);
        let number = if again {
            1 + clients.rng.below(self.next_request as usize) as u32
        } else {
            self.next_request += 1;
            self.next_request
        };
        let kind = kind_of(number);
        let id = format!("r{number}");
        let body = match number % 13 {
            5 => INVALID,
            7 if kind == Kind::Workflow => POISON,
            11 if kind == Kind::Workflow => PANIC,
            _ => "ok",
        };
        let mut request = ModelRequest::new(&id, "m", body);
        request.priority = (number % 4) as i32;
        // Who publishes it again may have another partitioner.
        let wrong = number % 9 == 4 && !again;
        let partition = wrong.then_some((number % 2) as i32);
        let value = clients.framed(&request);
        if clients.rng.percent(4) {
            // Bytes that are no record: nobody waits for an answer.
            clients.publish(kind, &id, value.slice(..value.len() - 1), None);
        }
        if !again && clients.rng.percent(10) {
            cancel(clients, kind, &id);
            // A parent without children is done in the fold that admits it.
            if kind == Kind::Model || request.priority > 0 {
                self.cancelled_early.insert(id.clone());
            }
        }
        clients.note(&format!("publish {id} {body}"));
        clients.publish(kind, &id, value, partition);
        clients.accept(&id);
    }

    /// Somebody cancels a request.
    fn command(&mut self, clients: &mut Clients<'_>) {
        let number = 1 + clients.rng.below(self.next_request.max(1) as usize) as u32;
        if self.next_request > 0 {
            cancel(clients, kind_of(number), &format!("r{number}"));
        }
    }

    fn complete(&self, past: &Past<'_>, history: &mut History) {
        for row in past.rows().iter().filter(|row| row.event_type == "answered") {
            let child = row.step.clone().unwrap_or_default();
            *history.answers_consumed.entry(child).or_default() += 1;
        }
    }

    fn before_replay(&mut self) -> Replay {
        if self.deploys { Replay::Nothing } else { Replay::Everything }
    }

    fn judge(&mut self, _: &Past<'_>, history: &History) -> Result<(), String> {
        let seen = invariants::as_clients_see(&history.events);
        for id in &self.cancelled_early {
            let ended = seen.get(id).and_then(|events| events.last()).map(|last| last.event_type);
            if ended == Some(EventType::Succeeded) {
                return Err(format!("I7: {id} was cancelled before it came, and succeeded"));
            }
        }
        Ok(())
    }
}

fn cancel(clients: &mut Clients<'_>, kind: Kind, id: &str) {
    clients.note(&format!("cancel {id}"));
    let command = Command {
        id: format!("cancel-{id}-{}", clients.rng.below(2)),
        tenant: domain::request::DEFAULT_TENANT.into(),
        order: Order::Cancel { reason: None },
    };
    clients.command(kind, id, command);
}

/// How an outside call ends.
fn ended(running: &Running, _: &WantedModelCall, rng: &mut Rng) -> Result<ModelOutcome, Failure> {
    match rng.below(20) {
        0 => Err(Failure::new(ErrorClass::Provider, "provider", "bad luck")),
        1 => Ok(outcome(HUGE)),
        _ => Ok(outcome(&running.entity)),
    }
}
