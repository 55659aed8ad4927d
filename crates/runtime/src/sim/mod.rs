//! A deterministic simulation of the runtime over topics in memory: seeded crashes, zombies, lost and
//! repeated sends, late ones of dead producers, delayed, aborted and unknown commits, poison, cancels.
//!
//! Everything that happens is chosen by one random number generator whose state is the seed, the machines
//! read no clock, and nothing iterates a hash map on its way to an effect: so a seed replays. To look at a
//! failing one: `SEED=n cargo test -p stepstream-runtime one_seed -- --nocapture`.

mod broker;
pub(crate) mod programs;
mod seat;
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use domain::answer::ModelOutcome;
use domain::event::{EventType, ExecutionEvent};
use domain::fact::{Command, Fact, Order};
use domain::invariants::{self, Copyable, History};
use domain::log_row::ExecutionLogRecord;
use domain::request::ModelRequest;
use domain::state::Genesis;
use domain::time::Millis;
use domain::topic::{Kind, Topic};
use schemas::Ids;

use self::broker::{Broker, PARTITIONS, Rng};
use self::programs::{Child, INVALID, PANIC, POISON, Parent, Program};
use self::seat::{Over, Seat, Told};
use crate::partition::Options;
use crate::partition::rules::{Rule, Rules};
use crate::partition::wire;
use crate::ports::{Outgoing, header};
use crate::processor::Processor;

/// How many things happen before everything heals.
const STEPS: usize = 1_200;

/// How many things may happen until a healed world is quiet (invariant I11).
const HEALING_STEPS: usize = 60_000;

/// Which processor takes the request of this number.
fn kind_of(number: u32) -> Kind {
    if number.is_multiple_of(3) { Kind::Model } else { Kind::Workflow }
}

/// Where outputs of folds go.
const CHAINED: [Topic; 4] = [
    Topic::Results,
    Topic::Feed(Kind::Model),
    Topic::Feed(Kind::Workflow),
    Topic::Log(Kind::Workflow),
];

/// What went wrong under a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Broken(String);

/// How a seed ended: the whole trace as a hash, and its last lines.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ended {
    trace: u64,
    result: Result<(), Broken>,
    take_overs: usize,
}

struct World {
    rng: Rng,
    broker: Broker,
    ids: Ids,
    options: Options,
    rules: Rules,
    genesis: Bytes,
    program: Program,
    /// In some seeds a second program is deployed after this many steps.
    deploy_at: Option<usize>,
    parents: Vec<Seat<Parent>>,
    children: Vec<Seat<Child>>,
    owners: BTreeMap<(Kind, i32), u64>,
    ghosts: Vec<VecDeque<Arc<Outgoing>>>,
    next_seat: u64,
    next_request: u32,
    history: History,
    fences: BTreeMap<(String, i64), u64>,
    cancelled_early: BTreeSet<String>,
    wiped: Option<(Kind, i32)>,
    broken: Option<String>,
    trace: u64,
    lines: Option<String>,
}

/// Runs one seed.
fn run(seed: u64, without: Option<Rule>, lines: bool) -> (Ended, String) {
    let ids = Ids::for_tests();
    let genesis = Genesis { topic: "t".into(), partition: 0, created: Millis(0) };
    let genesis = Bytes::from(ids.frame(&genesis).expect("it is registered"));
    let mut world = World {
        rng: Rng(seed),
        broker: Broker::set_up(&genesis),
        ids,
        options: Options {
            window: Some(4),
            max_record_bytes: 2_048,
            checkpoint_min_ms: 20,
            checkpoint_max_ms: 100,
            checkpoint_busy: 10,
            max_unchecked: 40,
            max_outbox: 60,
            session_timeout_ms: 2_000,
            // Half of the seeds forget ids soon, so that a late copy of an admission comes when its id is
            // forgotten; their clients repeat nothing, for that would rightly run again.
            client_ids_ms: if seed.is_multiple_of(2) { 150 } else { 600_000 },
            early_commands_ms: i64::MAX / 2,
            not_yet_ms: 100,
            fold_tries: 2,
            watchdog_ms: 10_000,
        },
        rules: Rules { without },
        genesis: genesis.clone(),
        program: Program::First,
        deploy_at: seed.is_multiple_of(3).then_some(STEPS / 2),
        parents: Vec::new(),
        children: Vec::new(),
        owners: BTreeMap::new(),
        ghosts: Vec::new(),
        next_seat: 1,
        next_request: 0,
        history: History::default(),
        fences: BTreeMap::new(),
        cancelled_early: BTreeSet::new(),
        wiped: None,
        broken: None,
        trace: seed,
        lines: lines.then(String::new),
    };
    let result = world.live();
    let ended = Ended { trace: world.trace, result, take_overs: world.next_seat as usize };
    (ended, world.lines.unwrap_or_default())
}

impl World {
    fn live(&mut self) -> Result<(), Broken> {
        for kind in [Kind::Workflow, Kind::Model] {
            for partition in 0..PARTITIONS {
                self.seat(kind, partition);
            }
        }
        for step in 0..STEPS {
            if self.deploy_at == Some(step) {
                self.note("a second program is deployed");
                self.program = Program::Second;
            }
            self.anything();
            if let Some(broken) = self.broken.take() {
                return Err(Broken(broken));
            }
        }
        self.heal()?;
        self.judge()
    }

    fn note(&mut self, what: &str) {
        for byte in what.bytes() {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let time = self.broker.time;
        if let Some(lines) = &mut self.lines {
            let _ = writeln!(lines, "{time} {what}");
        }
    }

    /// One thing happens.
    fn anything(&mut self) {
        match self.rng.below(1_000) {
            0..=49 => self.publish(),
            50..=59 => self.command(),
            60..=139 => self.pass_time(),
            140..=145 => self.crash(),
            146..=151 => self.replace(),
            152..=165 => self.ghost(),
            166..=168 => self.broker.behind = self.rng.below(400) as i64,
            169 => self.wipe(),
            _ => self.act(true),
        }
        self.seat_empty();
    }

    fn pass_time(&mut self) {
        let by = 1 + self.rng.below(40) as i64;
        self.broker.time += by;
    }

    /// A client publishes: a new request, or one again, sometimes to the wrong partition, sometimes bad.
    fn publish(&mut self) {
        let forgetful = self.options.client_ids_ms < 10_000;
        let again = self.next_request > 0 && !forgetful && self.rng.percent(8);
        let number = if again {
            1 + self.rng.below(self.next_request as usize) as u32
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
        let wrong = number % 9 == 4;
        let partition = wrong.then_some((number % 2) as i32);
        let value = Bytes::from(self.ids.frame(&request).expect("it is registered"));
        let headers = Vec::new();
        let key = Some(Bytes::from(id.clone()));
        let topic = Topic::Feed(kind);
        if self.rng.percent(4) {
            // Bytes that are no record: nobody waits for an answer.
            let value = value.slice(..value.len() - 1);
            let key = key.clone();
            let headers = Vec::new();
            self.broker.append(&Outgoing { topic, partition: None, key, value, headers });
        }
        if !again && self.rng.percent(10) {
            self.cancel(kind, &id);
            // A parent without children is done in the fold that admits it.
            if kind == Kind::Model || request.priority > 0 {
                self.cancelled_early.insert(id.clone());
            }
        }
        self.note(&format!("publish {id} {body}"));
        self.broker.append(&Outgoing { topic, partition, key, value, headers });
        self.history.accepted.insert(id);
    }

    /// Somebody cancels a request.
    fn command(&mut self) {
        let number = 1 + self.rng.below(self.next_request.max(1) as usize) as u32;
        let kind = kind_of(number);
        if self.next_request > 0 {
            self.cancel(kind, &format!("r{number}"));
        }
    }

    fn cancel(&mut self, kind: Kind, id: &str) {
        self.note(&format!("cancel {id}"));
        let command = Command {
            id: format!("cancel-{id}-{}", self.rng.below(2)),
            tenant: domain::request::DEFAULT_TENANT.into(),
            order: Order::Cancel { reason: None },
        };
        let value = self.ids.frame_fact(&Fact::Command(command)).expect("it is registered");
        self.broker.append(&Outgoing {
            topic: Topic::Log(kind),
            partition: None,
            key: Some(Bytes::from(id.to_owned())),
            value: value.into(),
            headers: Vec::new(),
        });
    }

    /// Some seat does its next thing.
    fn act(&mut self, faults: bool) {
        let count = self.parents.len() + self.children.len();
        let nth = self.rng.below(count);
        if nth < self.parents.len() {
            let mut seat = self.parents.swap_remove(nth);
            if self.act_in(&mut seat, faults) {
                self.parents.push(seat);
            }
        } else if nth < count {
            let mut seat = self.children.swap_remove(nth - self.parents.len());
            if self.act_in(&mut seat, faults) {
                self.children.push(seat);
            }
        }
    }

    /// Whether the seat goes on.
    fn act_in<P: Processor<Fact = ModelOutcome>>(
        &mut self,
        seat: &mut Seat<P>,
        faults: bool,
    ) -> bool {
        let owner = self.owners.get(&(P::KIND, seat.partition)) == Some(&seat.id);
        let mut told = Told::default();
        let did = seat.act(&mut self.broker, &mut self.rng, owner, faults, &mut told);
        if did != "-" {
            let line = format!("{} {}/{} {did}", seat.id, P::KIND.as_str(), seat.partition);
            self.note(&line);
        }
        self.hear(told, P::KIND, seat.partition, seat.id, owner)
    }

    fn hear(&mut self, told: Told, kind: Kind, partition: i32, seat: u64, owner: bool) -> bool {
        let Told { started, over, ghosts, broken } = told;
        for (call, fence) in started {
            self.note(&format!("{seat} calls {call} under {fence}"));
            if !owner {
                *self.history.repeats_allowed.entry(call.clone()).or_default() += 1;
            }
            let by = *self.fences.entry((call.clone(), fence)).or_insert(seat);
            if by != seat {
                self.broken = Some(format!("F6: two owners run {call} under the fence {fence}"));
            }
            *self.history.calls.entry(call).or_default() += 1;
        }
        if !ghosts.is_empty() {
            self.ghosts.push(ghosts);
        }
        self.broken = self.broken.take().or(broken);
        match over {
            None => true,
            Some(Over::Lost) => {
                self.note(&format!("{seat} is over"));
                self.owners.retain(|_, owner| *owner != seat);
                false
            }
            Some(Over::Damaged(error)) => {
                if self.wiped == Some((kind, partition)) {
                    // It stopped, as it should; somebody repairs the topic.
                    self.note(&format!("{seat} stops: {error}"));
                    self.broker.repair(kind, partition);
                    self.wiped = None;
                    self.owners.retain(|_, owner| *owner != seat);
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
        let count = self.parents.len() + self.children.len();
        let nth = self.rng.below(count);
        if nth < self.parents.len() {
            let seat = self.parents.swap_remove(nth);
            self.bury(seat);
        } else if nth < count {
            let seat = self.children.swap_remove(nth - self.parents.len());
            self.bury(seat);
        }
    }

    fn bury<P: Processor<Fact = ModelOutcome>>(&mut self, mut seat: Seat<P>) {
        self.note(&format!("{} crashes", seat.id));
        let mut told = Told::default();
        seat.abandon_sends(&mut told);
        self.allow_repeats::<P>(seat.partition);
        self.hear(told, P::KIND, seat.partition, seat.id, false);
        self.owners.retain(|_, owner| *owner != seat.id);
    }

    /// Calls of this partition whose end doesn't stand in the log may be made once more.
    fn allow_repeats<P: Processor>(&mut self, partition: i32) {
        let mut finished = BTreeSet::new();
        for raw in self.broker.read(Topic::Log(P::KIND), partition, 0, usize::MAX) {
            if let (Some(key), Ok(Fact::Finished(_) | Fact::Failed(_))) =
                (&raw.key, self.ids.read_fact(&raw.value))
            {
                finished.insert(String::from_utf8_lossy(key).into_owned());
            }
        }
        for call in self.history.calls.keys() {
            let entity = call.split('/').next().unwrap_or_default();
            let here = domain::partition::of_key(entity.as_bytes(), PARTITIONS) == partition;
            if here && P::KIND == Kind::Model && !finished.contains(entity) {
                *self.history.repeats_allowed.entry(call.clone()).or_default() += 1;
            }
        }
    }

    /// The group gives a partition to another process; the old one doesn't know.
    fn replace(&mut self) {
        let kind = if self.rng.percent(50) { Kind::Workflow } else { Kind::Model };
        let partition = self.rng.below(PARTITIONS as usize) as i32;
        self.note(&format!("{kind:?}/{partition} is given away"));
        match kind {
            Kind::Model => self.allow_repeats::<Child>(partition),
            _ => self.allow_repeats::<Parent>(partition),
        }
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
        let kind = if self.rng.percent(50) { Kind::Workflow } else { Kind::Model };
        let partition = self.rng.below(PARTITIONS as usize) as i32;
        self.note(&format!("{kind:?}/{partition} is emptied"));
        // While nobody is seated: an owner's next checkpoint would stand beside what is missing.
        let parents: Vec<_> = std::mem::take(&mut self.parents);
        for seat in parents {
            if kind == Kind::Workflow && seat.partition == partition {
                self.bury(seat);
            } else {
                self.parents.push(seat);
            }
        }
        let children: Vec<_> = std::mem::take(&mut self.children);
        for seat in children {
            if kind == Kind::Model && seat.partition == partition {
                self.bury(seat);
            } else {
                self.children.push(seat);
            }
        }
        self.broker.wipe(kind, partition);
        self.wiped = Some((kind, partition));
    }

    /// The group gives what nobody owns to a new process.
    fn seat_empty(&mut self) {
        for kind in [Kind::Workflow, Kind::Model] {
            for partition in 0..PARTITIONS {
                if !self.owners.contains_key(&(kind, partition)) {
                    self.seat(kind, partition);
                }
            }
        }
    }

    fn seat(&mut self, kind: Kind, partition: i32) {
        let id = self.next_seat;
        self.next_seat += 1;
        self.owners.insert((kind, partition), id);
        match kind {
            Kind::Model => {
                let seat = self.seat_of(id, partition, Child, self.options.clone());
                self.children.push(seat);
            }
            _ => {
                let parent = Parent(self.program);
                let seat = self.seat_of(id, partition, parent, self.options.clone());
                self.parents.push(seat);
            }
        }
    }

    fn seat_of<P: Processor<Fact = ModelOutcome>>(
        &self,
        id: u64,
        partition: i32,
        processor: P,
        options: Options,
    ) -> Seat<P> {
        let ids = self.ids.clone();
        Seat::new(id, partition, Arc::new(processor), ids, options, self.rules, self.program)
    }

    /// Folding a whole log again, by an owner that never was before, puts out the same (invariant I13).
    fn fold_again(&mut self) -> Result<(), Broken> {
        let patient = Options {
            max_unchecked: i64::MAX,
            max_outbox: usize::MAX,
            checkpoint_max_ms: i64::MAX,
            checkpoint_min_ms: i64::MAX,
            ..self.options.clone()
        };
        for partition in 0..PARTITIONS {
            let mut broker = self.broker.anew(&self.genesis);
            let id = self.next_seat;
            let child = self.seat_of(id, partition, Child, patient.clone());
            let of_child = child.fold_again(&mut broker, &mut self.rng);
            let parent = self.seat_of(id, partition, Parent(self.program), patient.clone());
            let of_parent = parent.fold_again(&mut broker, &mut self.rng);
            self.compare(Topic::Log(Kind::Model), partition, &of_child)?;
            self.compare(Topic::Log(Kind::Workflow), partition, &of_parent)?;
        }
        Ok(())
    }

    /// What the folds of one log partition put out, then and now.
    fn compare(&self, log: Topic, partition: i32, again: &[Arc<Outgoing>]) -> Result<(), Broken> {
        let mut then = BTreeMap::new();
        for topic in CHAINED {
            for raw in self.broker.all(topic) {
                let here = |source: &domain::fact::Source| {
                    source.topic == log.name() && source.partition == partition
                };
                if let Some(source) = wire::source(&raw.headers).filter(here) {
                    then.insert((topic, source.id), raw.value.clone());
                }
            }
        }
        let mut now = BTreeMap::new();
        for record in again.iter().filter(|record| CHAINED.contains(&record.topic)) {
            if let Some(source) = wire::source(&record.headers) {
                now.insert((record.topic, source.id), record.value.clone());
            }
        }
        let differs = then
            .iter()
            .find(|(id, value)| now.get(*id) != Some(value))
            .map(|(id, _)| id)
            .or_else(|| now.keys().find(|id| !then.contains_key(*id)));
        match differs {
            None => Ok(()),
            Some((topic, id)) => Err(Broken(format!("I13: {id} on {topic:?} is another now"))),
        }
    }

    /// No more faults: the world has to become quiet (invariant I11).
    fn heal(&mut self) -> Result<(), Broken> {
        self.note("healing");
        self.broker.behind = 0;
        for step in 0..HEALING_STEPS {
            self.ghost();
            if step % 7 == 0 {
                self.broker.time += 5;
            }
            self.act(false);
            self.seat_empty();
            if let Some(broken) = self.broken.take() {
                return Err(Broken(broken));
            }
            if step % 50 == 0 && self.is_quiet() {
                return Ok(());
            }
        }
        let parents = self.parents.iter().map(|seat| seat.unrest(&self.broker));
        let children = self.children.iter().map(|seat| seat.unrest(&self.broker));
        let unrest: Vec<String> = parents.chain(children).flatten().collect();
        Err(Broken(format!("I11: no quiet after healing: {}", unrest.join("; "))))
    }

    fn is_quiet(&self) -> bool {
        self.parents.iter().all(|seat| seat.unrest(&self.broker).is_none())
            && self.children.iter().all(|seat| seat.unrest(&self.broker).is_none())
            && self.ghosts.is_empty()
    }

    /// The named invariants, over what an outsider can read.
    fn judge(&mut self) -> Result<(), Broken> {
        let ids = &self.ids;
        for raw in self.broker.all(Topic::Results) {
            let event = ids.read::<ExecutionEvent>(&raw.value).expect("our own event");
            self.history.events.push(event);
        }
        let mut lateness = Vec::new();
        for value in &self.broker.rows {
            let row = ids.read::<ExecutionLogRecord>(value).expect("our own row");
            if row.event_type == "answered" {
                let child = row.step.clone().unwrap_or_default();
                *self.history.answers_consumed.entry(child).or_default() += 1;
            }
            lateness.extend(row.timer_lateness_ms);
            self.history.rows.push((row.event_id, row.execution_id, row.event_type));
        }
        for topic in CHAINED {
            for raw in self.broker.all(topic) {
                if wire::source(&raw.headers).is_some() {
                    let id = header(&raw.headers, wire::ID).unwrap_or_default().to_owned();
                    let value = raw.value.to_vec();
                    self.history.outputs.push(Copyable { topic: topic.name().into(), id, value });
                }
            }
        }
        invariants::check(&self.history).map_err(|violation| Broken(violation.to_string()))?;
        if let Some(early) = lateness.iter().find(|lateness| **lateness < 0) {
            return Err(Broken(format!("I8: a timer fired {early} ms late")));
        }
        let seen = invariants::as_clients_see(&self.history.events);
        for id in &self.cancelled_early {
            let ended = seen.get(id).and_then(|events| events.last()).map(|last| last.event_type);
            if ended == Some(EventType::Succeeded) {
                return Err(Broken(format!(
                    "I7: {id} was cancelled before it came, and succeeded"
                )));
            }
        }
        if self.program == Program::First { self.fold_again() } else { Ok(()) }
    }
}
