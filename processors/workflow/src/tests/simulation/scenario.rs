//! The real processor, the stand-in for model calls, their clients, and the verdict on what was folded.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use domain::answer::{ErrorClass, Failure};
use domain::catalogue::{DefinitionKind, DefinitionProposed};
use domain::event::EventType;
use domain::invariants::History;
use domain::request::{ModelRequest, WorkflowStart};
use domain::time::Millis;
use domain::topic::{Kind, Topic};
use domain::workflow::run::invariants::{self, Fold};
use domain::workflow::run::{Effect, Event, Publication, Published};
use runtime::partition::Options;
use runtime::processor::Running;
use runtime::sim::{Clients, Past, Process, Program, Replay, Rng, Scenario, Settled, Tenure};
use serde_json::Value;
use service::catalogue::Definitions;

use super::clients::Office;
use super::models::{Models, provider};
use super::{definitions, witness};
use crate::tests::Topics;
use crate::{Programs, Workflows};

/// How often each thing happened, over all seeds that share it.
pub(super) type Seen = Rc<RefCell<BTreeMap<String, u64>>>;

/// Workflows, models, clients.
pub(super) struct Company {
    office: Office,
    /// In some seeds a changed program is deployed, and in half of those taken back.
    deploys: bool,
    takes_back: bool,
    /// In half of the seeds clocks jump by ten minutes.
    jumps: bool,
    /// What a process knows that has read all of the catalogue, and one that is behind.
    programs: [(Definitions, Arc<Programs>); 2],
    seen: Seen,
}

impl Company {
    pub(super) fn new(seed: u64, seen: Seen) -> Self {
        let programs = [(); 2].map(|()| {
            let definitions = Definitions::default();
            for (name, definition) in definitions::all() {
                definitions.apply(proposal(name, 0, &definition));
            }
            (definitions.clone(), Arc::new(Programs::new(definitions)))
        });
        Self {
            office: Office::default(),
            deploys: seed.is_multiple_of(3),
            takes_back: seed.is_multiple_of(6),
            jumps: seed.is_multiple_of(2),
            programs,
            seen,
        }
    }

    /// The second version of `chain` comes to those that know all, and later to those that are behind.
    fn propose(&self, which: usize) {
        let (definitions, _) = &self.programs[which];
        definitions.apply(proposal("chain", 1, &definitions::second_chain()));
    }

    fn note(&self, what: &str) {
        *self.seen.borrow_mut().entry(what.to_owned()).or_default() += 1;
    }
}

fn proposal(name: &str, expects: i32, definition: &Value) -> DefinitionProposed {
    DefinitionProposed {
        id: format!("{name}-{expects}"),
        kind: DefinitionKind::Workflow,
        tenant: "default".into(),
        name: name.into(),
        expects,
        body: Some(definition.to_string()),
        proposed_by: "test".into(),
        time: Millis(0),
    }
}

impl Scenario for Company {
    const KINDS: &'static [Kind] = &[Kind::Workflow, Kind::Model];
    const STEPS: usize = 2_000;

    fn options(&self, kind: Kind) -> Options {
        Options {
            window: (kind == Kind::Model).then_some(8),
            max_record_bytes: 4_096,
            checkpoint_min_ms: 20,
            checkpoint_max_ms: 100,
            checkpoint_busy: 10,
            max_unchecked: 60,
            max_outbox: 80,
            session_timeout_ms: 2_000,
            client_ids_ms: i64::MAX / 2,
            early_commands_ms: i64::MAX / 2,
            not_yet_ms: 100,
            fold_tries: 2,
            watchdog_ms: 10_000,
        }
    }

    fn program(&self, step: usize) -> Program {
        if step == Self::STEPS / 4 {
            self.propose(0);
        } else if step == Self::STEPS / 2 {
            self.propose(1);
        }
        let deployed = step >= Self::STEPS / 3;
        let taken_back = self.takes_back && step >= 2 * Self::STEPS / 3;
        if self.deploys && deployed && !taken_back { Program::Second } else { Program::First }
    }

    fn seat(&self, tenure: Tenure) -> Process {
        match tenure.kind() {
            Kind::Model => tenure.seat(Models, provider),
            _ => {
                let behind = usize::from(tenure.number().is_multiple_of(3));
                let (_, programs) = &self.programs[behind];
                let processor = Workflows::new(Arc::clone(programs), Arc::new(Topics::default()));
                tenure.seat(processor, published)
            }
        }
    }

    fn publish(&mut self, clients: &mut Clients<'_>) {
        if clients.rng.percent(40) {
            self.office.start(clients);
        } else {
            self.office.command(clients);
        }
    }

    fn command(&mut self, clients: &mut Clients<'_>) {
        self.office.command(clients);
    }

    fn clock(&self, rng: &mut Rng) -> i64 {
        match rng.below(10) {
            0 | 1 if self.jumps => 600_000,
            2 | 3 if self.jumps => -600_000,
            _ => rng.below(400) as i64,
        }
    }

    fn settle(&mut self, clients: &mut Clients<'_>) -> Settled {
        self.office.settle(clients)
    }

    /// Whoever is asked by a workflow has to end, too.
    fn complete(&self, past: &Past<'_>, history: &mut History) {
        for raw in past.records(Topic::Feed(Kind::Workflow)) {
            if let Ok(start) = past.ids().read::<WorkflowStart>(&raw.value) {
                history.accepted.insert(start.id);
            }
        }
        for raw in past.records(Topic::Feed(Kind::Model)) {
            if let Ok(request) = past.ids().read::<ModelRequest>(&raw.value) {
                history.accepted.insert(request.id);
            }
        }
    }

    fn before_replay(&mut self) -> Replay {
        witness::watch();
        if self.deploys { Replay::AllButResults } else { Replay::Everything }
    }

    fn judge(&mut self, _: &Past<'_>, history: &History) -> Result<(), String> {
        let witness::Notes { folds, damaged, begun } = witness::noted();
        if let Some((id, why)) = damaged.first() {
            return Err(format!("{id}: {why}"));
        }
        if let Some(id) = begun {
            return Err(format!("a fold of {id} panicked"));
        }
        for (id, folds) in &folds {
            self.judge_one(id, folds).map_err(|why| format!("{id}: {why}"))?;
        }
        let seen = domain::invariants::as_clients_see(&history.events);
        for id in &self.office.cancelled_early {
            let last = seen.get(id).and_then(|events| events.last()).map(|last| last.event_type);
            if last == Some(EventType::Succeeded) {
                return Err(format!("I7: {id} was cancelled before it came, and succeeded"));
            }
        }
        for event in &history.events {
            self.note(event.event_type.as_str());
        }
        let events = history.events.iter().filter_map(|event| event.error.as_ref());
        let codes: BTreeSet<&str> = events.map(|error| error.code.as_str()).collect();
        codes.into_iter().for_each(|code| self.note(code));
        Ok(())
    }
}

impl Company {
    /// The named invariants over the folds of one execution.
    fn judge_one(&self, id: &str, folds: &[Fold]) -> Result<(), String> {
        let Some(Fold { event: Event::Admitted(admission), .. }) = folds.first() else {
            return Err(format!("begins with {:?}", folds.first()));
        };
        let execution = &admission.execution;
        let (_, programs) = &self.programs[0];
        let program = programs.pinned(&execution.tenant, &execution.workflow, execution.version);
        let program = program.ok_or("an unknown version")??;
        invariants::check(&program, folds).map_err(|violation| violation.to_string())?;
        if !witness::is_slipping() {
            let again = invariants::folds_again(&program, id, folds);
            again.map_err(|violation| violation.to_string())?;
        }
        self.note(&format!("runs {}", execution.workflow));
        for effect in folds.iter().flat_map(|fold| &fold.effects) {
            if let Effect::End(ending) = effect {
                self.note(&format!("{} {}", execution.workflow, ending.event_type().as_str()));
            }
        }
        Ok(())
    }
}

/// How the publication of an event ends.
fn published(_: &Running, call: &Publication, rng: &mut Rng) -> Result<Published, Failure> {
    match rng.below(8) {
        0 => Err(Failure::new(ErrorClass::Network, "event_unknown", "bad luck").retryable()),
        1 => Err(Failure::new(ErrorClass::Invalid, "event_refused", "never")),
        _ => Ok(Published { topic: call.topic.clone(), partition: 0, offset: 7 }),
    }
}
