//! One world: processes that own partitions, a cluster, clients, and what befalls them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use domain::fact::Fact;
use domain::invariants::History;
use domain::state::Genesis;
use domain::time::Millis;
use domain::topic::{Kind, Topic};
use schemas::Ids;

use super::broker::{Broker, PARTITIONS};
use super::clients::Clients;
use super::rng::Rng;
use super::seat::{Over, Process, Tenure, Told};
use super::{Broken, Ended, Program, Rule, Scenario, Settled, Trace};
use crate::partition::rules::Rules;
use crate::ports::Outgoing;

/// How many things may happen until a healed world is quiet (invariant I11), each time that clients have
/// done something.
const HEALING_STEPS: usize = 60_000;

/// What happened, as a hash and perhaps as lines.
pub(super) struct Notes {
    trace: u64,
    lines: Option<String>,
}

impl Notes {
    pub(super) fn note(&mut self, time: i64, what: &str) {
        for byte in what.bytes() {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(lines) = &mut self.lines {
            let _ = writeln!(lines, "{time} {what}");
        }
    }
}

pub(super) struct World<S> {
    pub(super) scenario: S,
    pub(super) rng: Rng,
    pub(super) broker: Broker,
    pub(super) ids: Ids,
    pub(super) rules: Rules,
    pub(super) genesis: Bytes,
    program: Program,
    /// The processes of each kind, zombies among them.
    processes: Vec<(Kind, Vec<Process>)>,
    owners: BTreeMap<(Kind, i32), u64>,
    ghosts: Vec<VecDeque<Arc<Outgoing>>>,
    pub(super) next_process: u64,
    pub(super) history: History,
    /// The calls that were made, by kind: entity and key.
    calls: BTreeSet<(Kind, String)>,
    fences: BTreeMap<(String, i64), u64>,
    wiped: Option<(Kind, i32)>,
    broken: Option<String>,
    notes: Notes,
}

impl<S: Scenario> World<S> {
    pub(super) fn new(scenario: S, seed: u64, without: Option<Rule>, trace: Trace) -> Self {
        let ids = Ids::for_tests();
        let genesis = Genesis { topic: "t".into(), partition: 0, created: Millis(0) };
        let genesis = Bytes::from(ids.frame(&genesis).expect("it is registered"));
        Self {
            program: scenario.program(0),
            scenario,
            rng: Rng(seed),
            broker: Broker::set_up(S::KINDS, &genesis),
            ids,
            rules: Rules { without },
            genesis,
            processes: S::KINDS.iter().map(|kind| (*kind, Vec::new())).collect(),
            owners: BTreeMap::new(),
            ghosts: Vec::new(),
            next_process: 1,
            history: History::default(),
            calls: BTreeSet::new(),
            fences: BTreeMap::new(),
            wiped: None,
            broken: None,
            notes: Notes { trace: seed, lines: (trace == Trace::Lines).then(String::new) },
        }
    }

    pub(super) fn live(&mut self) -> Result<(), Broken> {
        self.seat_empty();
        for step in 0..S::STEPS {
            self.deploy(self.scenario.program(step));
            self.anything();
            if let Some(broken) = self.broken.take() {
                return Err(Broken(broken));
            }
        }
        self.heal()?;
        self.judge()
    }

    pub(super) fn ended(self, result: Result<(), Broken>) -> (Ended, String) {
        let records = self.notes.lines.is_some().then(|| self.records());
        let Notes { trace, lines } = self.notes;
        let take_overs = self.next_process as usize;
        let lines = lines.unwrap_or_default() + &records.unwrap_or_default();
        (Ended { trace, result, take_overs }, lines)
    }

    fn note(&mut self, what: &str) {
        self.notes.note(self.broker.time, what);
    }

    fn clients(&mut self) -> (&mut S, Clients<'_>) {
        let clients = Clients {
            rng: &mut self.rng,
            broker: &mut self.broker,
            ids: &self.ids,
            notes: &mut self.notes,
            accepted: &mut self.history.accepted,
        };
        (&mut self.scenario, clients)
    }

    fn deploy(&mut self, program: Program) {
        if program != self.program {
            self.note(&format!("a {} program is deployed", program.fingerprint()));
            self.program = program;
        }
    }

    /// One thing happens.
    fn anything(&mut self) {
        match self.rng.below(1_000) {
            0..=49 => {
                let (scenario, mut clients) = self.clients();
                scenario.publish(&mut clients);
            }
            50..=59 => {
                let (scenario, mut clients) = self.clients();
                scenario.command(&mut clients);
            }
            60..=139 => self.pass_time(),
            140..=145 => self.crash(),
            146..=151 => self.replace(),
            152..=165 => self.ghost(),
            166..=168 => self.broker.behind = self.scenario.clock(&mut self.rng),
            169 => self.wipe(),
            _ => self.act(Faults::Happen),
        }
        self.seat_empty();
    }

    fn pass_time(&mut self) {
        let by = 1 + self.rng.below(40) as i64;
        self.broker.time += by;
    }

    /// A process by chance, taken out.
    fn any_process(&mut self) -> Option<(usize, Process)> {
        let count = self.processes.iter().map(|(_, processes)| processes.len()).sum();
        let mut nth = self.rng.below(count);
        for (group, (_, processes)) in self.processes.iter_mut().enumerate() {
            if nth < processes.len() {
                return Some((group, processes.swap_remove(nth)));
            }
            nth -= processes.len();
        }
        None
    }

    /// Some process does its next thing.
    fn act(&mut self, faults: Faults) {
        let Some((group, mut process)) = self.any_process() else { return };
        let (id, kind, partition) = process.place();
        let owner = self.owners.get(&(kind, partition)) == Some(&id);
        let mut told = Told::default();
        let did = process.act(&mut self.broker, &mut self.rng, owner, faults, &mut told);
        if did != "-" {
            self.note(&format!("{id} {}/{partition} {did}", kind.as_str()));
        }
        if self.hear(told, &process, owner) {
            self.processes[group].1.push(process);
        }
    }

    /// Whether the process goes on.
    fn hear(&mut self, told: Told, process: &Process, owner: bool) -> bool {
        let (id, kind, partition) = process.place();
        let Told { started, over, ghosts, broken } = told;
        for (call, fence) in started {
            self.note(&format!("{id} calls {call} under {fence}"));
            if !owner {
                *self.history.repeats_allowed.entry(call.clone()).or_default() += 1;
            }
            let by = *self.fences.entry((call.clone(), fence)).or_insert(id);
            if by != id {
                self.broken = Some(format!("F6: two owners run {call} under the fence {fence}"));
            }
            self.calls.insert((kind, call.clone()));
            *self.history.calls.entry(call).or_default() += 1;
        }
        if !ghosts.is_empty() {
            self.ghosts.push(ghosts);
        }
        self.broken = self.broken.take().or(broken);
        match over {
            None => true,
            Some(Over::Lost) => {
                self.note(&format!("{id} is over"));
                self.owners.retain(|_, owner| *owner != id);
                false
            }
            Some(Over::Damaged(error)) => {
                if self.wiped == Some((kind, partition)) {
                    // It stopped, as it should; somebody repairs the topic.
                    self.note(&format!("{id} stops: {error}"));
                    self.broker.repair(kind, partition);
                    self.wiped = None;
                    self.owners.retain(|_, owner| *owner != id);
                    return false;
                }
                self.broken = Some(format!("{kind:?}/{partition} can't be restored: {error}"));
                false
            }
            Some(Over::Stopped(reason)) => {
                self.broken = Some(format!("{kind:?}/{partition} stopped: {reason}"));
                false
            }
        }
    }

    /// A process dies.
    fn crash(&mut self) {
        if let Some((_, process)) = self.any_process() {
            self.bury(process);
        }
    }

    fn bury(&mut self, mut process: Process) {
        let (id, kind, partition) = process.place();
        self.note(&format!("{id} crashes"));
        let mut told = Told::default();
        process.abandon_sends(&mut told);
        self.allow_repeats(kind, partition);
        self.hear(told, &process, false);
        self.owners.retain(|_, owner| *owner != id);
    }

    /// Calls of this partition whose end doesn't stand in the log may be made once more.
    fn allow_repeats(&mut self, kind: Kind, partition: i32) {
        let mut finished = BTreeSet::new();
        for raw in self.broker.read(Topic::Log(kind), partition, 0, usize::MAX) {
            let call = match self.ids.read_fact(&raw.value) {
                Ok(Fact::Finished(finished)) => finished.call,
                Ok(Fact::Failed(failed)) => failed.call,
                _ => continue,
            };
            let entity = raw.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            finished.insert(format!("{entity}/{call}"));
        }
        for (_, call) in self.calls.iter().filter(|(of, _)| *of == kind) {
            let entity = call.split('/').next().unwrap_or_default();
            let here = domain::partition::of_key(entity.as_bytes(), PARTITIONS) == partition;
            if here && !finished.contains(call) {
                *self.history.repeats_allowed.entry(call.clone()).or_default() += 1;
            }
        }
    }

    /// A partition by chance.
    fn any_partition(&mut self) -> (Kind, i32) {
        let kind = S::KINDS[self.rng.below(100) * S::KINDS.len() / 100];
        (kind, self.rng.below(PARTITIONS as usize) as i32)
    }

    /// The group gives a partition to another process; the old one doesn't know.
    fn replace(&mut self) {
        let (kind, partition) = self.any_partition();
        self.note(&format!("{kind:?}/{partition} is given away"));
        self.allow_repeats(kind, partition);
        self.owners.remove(&(kind, partition));
    }

    /// A send of a dead producer arrives late, or never.
    fn ghost(&mut self) {
        if self.ghosts.is_empty() {
            return;
        }
        let nth = self.rng.below(self.ghosts.len());
        let lost = self.rng.percent(30);
        if let Some(record) = self.ghosts[nth].pop_front()
            && !lost
        {
            self.note("a late send arrives");
            self.broker.append(&record);
        }
        if lost || self.ghosts[nth].is_empty() {
            self.ghosts.swap_remove(nth);
        }
    }

    /// Somebody empties a state partition, and the process that owns it restarts.
    fn wipe(&mut self) {
        if self.wiped.is_some() {
            return;
        }
        let (kind, partition) = self.any_partition();
        self.note(&format!("{kind:?}/{partition} is emptied"));
        // While nobody is seated: an owner's next checkpoint would stand beside what is missing.
        for group in 0..self.processes.len() {
            for process in std::mem::take(&mut self.processes[group].1) {
                if process.place() == (process.place().0, kind, partition) {
                    self.bury(process);
                } else {
                    self.processes[group].1.push(process);
                }
            }
        }
        self.broker.wipe(kind, partition);
        self.wiped = Some((kind, partition));
    }

    /// The group gives what nobody owns to a new process.
    fn seat_empty(&mut self) {
        for (group, kind) in S::KINDS.iter().enumerate() {
            for partition in 0..PARTITIONS {
                if self.owners.contains_key(&(*kind, partition)) {
                    continue;
                }
                let id = self.next_process;
                self.next_process += 1;
                self.owners.insert((*kind, partition), id);
                let process = self.scenario.seat(Tenure {
                    id,
                    kind: *kind,
                    partition,
                    program: self.program,
                    ids: self.ids.clone(),
                    options: self.scenario.options(*kind),
                    rules: self.rules,
                });
                self.processes[group].1.push(process);
            }
        }
    }

    /// No more faults: the world has to become quiet (invariant I11), whatever clients still do.
    fn heal(&mut self) -> Result<(), Broken> {
        self.note("healing");
        self.broker.behind = 0;
        loop {
            self.become_quiet()?;
            let (scenario, mut clients) = self.clients();
            if scenario.settle(&mut clients) == Settled::Done {
                return Ok(());
            }
        }
    }

    fn become_quiet(&mut self) -> Result<(), Broken> {
        for step in 0..HEALING_STEPS {
            self.ghost();
            if step % 7 == 0 {
                self.broker.time += 5;
            }
            self.act(Faults::AreOver);
            self.seat_empty();
            if let Some(broken) = self.broken.take() {
                return Err(Broken(broken));
            }
            if step % 50 == 0 && self.is_quiet() {
                return Ok(());
            }
        }
        let all = self.processes.iter().flat_map(|(_, processes)| processes);
        let unrest: Vec<String> = all.filter_map(|process| process.unrest(&self.broker)).collect();
        Err(Broken(format!("I11: no quiet after healing: {}", unrest.join("; "))))
    }

    fn is_quiet(&self) -> bool {
        let mut all = self.processes.iter().flat_map(|(_, processes)| processes);
        all.all(|process| process.unrest(&self.broker).is_none()) && self.ghosts.is_empty()
    }
}

/// Whether anything goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Faults {
    /// By chance.
    Happen,
    /// No more.
    AreOver,
}
