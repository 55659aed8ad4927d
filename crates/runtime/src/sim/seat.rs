//! One tenure of one partition by one process: its machine, its producer, its calls, its jobs. A process
//! that was replaced without knowing it keeps its seat: a zombie.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use domain::answer::Failure;
use domain::topic::{Kind, Topic};
use schemas::Ids;

use super::Program;
use super::broker::{Broker, CommitLuck, PARTITIONS};
use super::rng::Rng;
use super::world::Faults;
use crate::partition::effects::{Alarm, Cut, Effect, Input};
use crate::partition::rules::{Rule, Rules};
use crate::partition::{Identity, Options, Partition, RestoreError, Restored, Survivors};
use crate::ports::{Confirmed, Outgoing, Sent, Side};
use crate::processor::{Processor, Running};

/// A job of the keeper thread.
enum Job<P: Processor> {
    Confirm,
    Fence,
    Restore,
    Commit(Cut<P>),
    Scan(i64, i64),
}

/// Where one side is read.
#[derive(Clone, Copy, Debug)]
struct Reading {
    next: i64,
    epoch: u64,
    paused: bool,
}

/// What a seat tells the world.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Calls that were started: entity/key and fence.
    pub(super) started: Vec<(String, i64)>,
    /// The seat is over: it lost the partition or its state is damaged.
    pub(super) over: Option<Over>,
    /// What an old producer had on its way: it may arrive late, or never.
    pub(super) ghosts: VecDeque<Arc<Outgoing>>,
    /// A rule of the machine was seen broken from outside.
    pub(super) broken: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Lost,
    Damaged(RestoreError),
    Stopped(String),
}

/// How an outside call ends.
type Outcome<P> =
    fn(&Running, &<P as Processor>::Call, &mut Rng) -> Result<<P as Processor>::Fact, Failure>;

/// A process is about to take a partition.
pub struct Tenure {
    pub(super) id: u64,
    pub(super) kind: Kind,
    pub(super) partition: i32,
    pub(super) program: Program,
    pub(super) ids: Ids,
    pub(super) options: Options,
    pub(super) rules: Rules,
}

impl Tenure {
    /// Of which kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Which program the process runs.
    #[must_use]
    pub fn program(&self) -> Program {
        self.program
    }

    /// A number that no other tenure of this run has.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.id
    }

    /// The process runs this processor; its outside calls end as `outcome` says.
    #[must_use]
    pub fn seat<P: Processor>(self, processor: P, outcome: Outcome<P>) -> Process {
        debug_assert_eq!(self.kind, P::KIND, "a processor of another kind");
        Process(Box::new(Seat::new(self, processor, outcome)))
    }
}

/// A process that owns a partition, or thinks so.
pub struct Process(Box<dyn Seated>);

impl Process {
    /// Its number, and what it owns.
    pub(super) fn place(&self) -> (u64, Kind, i32) {
        self.0.place()
    }

    /// What it does next, by chance. Returns a word for the trace.
    pub(super) fn act(
        &mut self,
        broker: &mut Broker,
        rng: &mut Rng,
        owner: bool,
        faults: Faults,
        told: &mut Told,
    ) -> &'static str {
        self.0.act(broker, rng, owner, faults == Faults::Happen, told)
    }

    /// What is still on its way here; `None`: nothing.
    pub(super) fn unrest(&self, broker: &Broker) -> Option<String> {
        self.0.unrest(broker)
    }

    /// Its producer is gone; what that had on its way may still arrive.
    pub(super) fn abandon_sends(&mut self, told: &mut Told) {
        self.0.abandon_sends(told);
    }

    /// Folds the whole log again as an owner that never was before, and returns what it puts out
    /// (invariant I13). `broker` is a copy whose state is empty.
    pub(super) fn fold_again(self, broker: &mut Broker, rng: &mut Rng) -> Vec<Arc<Outgoing>> {
        self.0.fold_again(broker, rng)
    }
}

/// A seat, whatever its processor.
trait Seated {
    fn place(&self) -> (u64, Kind, i32);
    fn act(
        &mut self,
        broker: &mut Broker,
        rng: &mut Rng,
        owner: bool,
        faults: bool,
        told: &mut Told,
    ) -> &'static str;
    fn unrest(&self, broker: &Broker) -> Option<String>;
    fn abandon_sends(&mut self, told: &mut Told);
    fn fold_again(self: Box<Self>, broker: &mut Broker, rng: &mut Rng) -> Vec<Arc<Outgoing>>;
}

struct Seat<P: Processor> {
    id: u64,
    partition: i32,
    processor: Arc<P>,
    outcome: Outcome<P>,
    ids: Ids,
    options: Options,
    rules: Rules,
    program: Program,
    incarnation: u64,
    machine: Option<Partition<P>>,
    survivors: Survivors<P>,
    jobs: VecDeque<Job<P>>,
    reading: BTreeMap<Side, Reading>,
    /// Sent and not yet at the broker, in order.
    in_flight: VecDeque<(u64, Arc<Outgoing>)>,
    /// Where this producer lost a record: a broker takes no later one of the same sequence.
    torn: BTreeSet<(Topic, i32)>,
    /// At the broker, the acknowledgement on its way.
    acks: VecDeque<(u64, Sent)>,
    calls: BTreeMap<u64, (Running, P::Call)>,
    epoch: u64,
}

impl<P: Processor> Seated for Seat<P> {
    fn place(&self) -> (u64, Kind, i32) {
        (self.id, P::KIND, self.partition)
    }

    fn act(
        &mut self,
        broker: &mut Broker,
        rng: &mut Rng,
        owner: bool,
        faults: bool,
        told: &mut Told,
    ) -> &'static str {
        match rng.below(10) {
            0 | 1 => self.read(broker, Side::Log, 1 + rng.below(6), told),
            2 => self.read(broker, Side::Feed, 1 + rng.below(4), told),
            3 | 4 => self.deliver(broker, rng, faults, told),
            5 => self.acknowledge(broker, told),
            6 => self.work(broker, rng, owner, faults, told),
            7 => self.end_call(broker, rng, told),
            8 => self.confirm(broker, rng, owner, faults, told),
            _ => {
                self.handle(broker, Input::Tick, told);
                "tick"
            }
        }
    }

    fn unrest(&self, broker: &Broker) -> Option<String> {
        let gauges = self.machine.as_ref().map(|machine| machine.gauges(broker.time));
        let still = gauges.is_some_and(|g| g.outbox + g.wanted + g.unchecked + g.held == 0)
            && self.machine.as_ref().is_some_and(|machine| machine.rests_for(broker.time, 0));
        let left = |side: Side, topic: Topic| {
            self.reading.get(&side).map(|reading| broker.end(topic, self.partition) - reading.next)
        };
        let left = (left(Side::Log, Topic::Log(P::KIND)), left(Side::Feed, Topic::Feed(P::KIND)));
        let sends = self.in_flight.len() + self.acks.len();
        let quiet = still && left == (Some(0), Some(0)) && sends == 0 && self.jobs.is_empty();
        (!quiet).then(|| {
            let Self { id, partition, .. } = self;
            let kind = P::KIND.as_str();
            let jobs = self.jobs.len();
            format!("{id} {kind}/{partition} {gauges:?} unread {left:?} sends {sends} jobs {jobs}")
        })
    }

    fn fold_again(mut self: Box<Self>, broker: &mut Broker, rng: &mut Rng) -> Vec<Arc<Outgoing>> {
        let mut told = Told::default();
        let mut outputs = Vec::new();
        let end = broker.end(Topic::Log(P::KIND), self.partition);
        while self.reading.get(&Side::Log).is_none_or(|reading| reading.next < end) {
            self.work(broker, rng, true, false, &mut told);
            // Its take-over has to stand, for it has to read it; what folds put out goes nowhere.
            while let Some((seq, record)) = self.in_flight.pop_front() {
                let offset = if crate::partition::wire::source(&record.headers).is_some() {
                    outputs.push(Arc::clone(&record));
                    0
                } else {
                    broker.append(&record)
                };
                self.handle(broker, Input::Sent { seq, sent: Sent::At(offset) }, &mut told);
            }
            self.read(broker, Side::Log, 8, &mut told);
        }
        outputs.extend(self.in_flight.drain(..).map(|(_, record)| record));
        outputs
    }

    fn abandon_sends(&mut self, told: &mut Told) {
        let whole = self.in_flight.drain(..).map(|(_, record)| record);
        told.ghosts.extend(whole.filter(|record| !self.torn.contains(&place(record))));
        self.torn.clear();
        self.acks.clear();
    }
}

impl<P: Processor> Seat<P> {
    fn new(tenure: Tenure, processor: P, outcome: Outcome<P>) -> Self {
        let Tenure { id, kind: _, partition, program, ids, options, rules } = tenure;
        Self {
            id,
            partition,
            processor: Arc::new(processor),
            outcome,
            ids,
            options,
            rules,
            program,
            incarnation: id * 1_000,
            machine: None,
            survivors: Survivors::default(),
            jobs: VecDeque::from([Job::Confirm, Job::Fence, Job::Restore]),
            reading: BTreeMap::new(),
            in_flight: VecDeque::new(),
            torn: BTreeSet::new(),
            acks: VecDeque::new(),
            calls: BTreeMap::new(),
            epoch: 0,
        }
    }

    fn handle(&mut self, broker: &Broker, input: Input<P>, told: &mut Told) {
        let Some(machine) = &mut self.machine else {
            return;
        };
        machine.handle(broker.time, input);
        self.drain(broker, told);
    }

    fn drain(&mut self, broker: &Broker, told: &mut Told) {
        while let Some(effect) = self.machine.as_mut().and_then(Partition::poll_effect) {
            match effect {
                Effect::Send { seq, record } => self.in_flight.push_back((seq, record)),
                Effect::ReplaceProducer => {
                    self.abandon_sends(told);
                    if let Some(machine) = &mut self.machine {
                        machine.handle(broker.time, Input::ProducerReplaced);
                    }
                }
                Effect::Start { side, offset, epoch } => {
                    let next = offset.unwrap_or(0);
                    self.reading.insert(side, Reading { next, epoch, paused: false });
                }
                Effect::Pause(side) => self.pause(side, true),
                Effect::Resume(side) => self.pause(side, false),
                Effect::StartCall { run, running, call } => {
                    let name = format!("{}/{}", running.entity, running.call);
                    told.started.push((name, running.fence));
                    self.calls.insert(run, (running, call));
                    let window = self.options.window.unwrap_or(usize::MAX);
                    if self.calls.len() > window {
                        told.broken = Some(format!("{} calls run", self.calls.len()));
                    }
                }
                Effect::StopCall(run) => {
                    self.calls.remove(&run);
                }
                Effect::Commit(cut) => {
                    let through = cut.position.log_offset - 1;
                    if let Some(offset) = self.unacknowledged_output(through) {
                        told.broken = Some(format!(
                            "I4: a checkpoint through {through} while an output of {offset} is on its way"
                        ));
                    }
                    self.jobs.push_back(Job::Commit(cut));
                }
                Effect::Scan { from, to } => self.jobs.push_back(Job::Scan(from, to)),
                Effect::ResolveSchema(id) => {
                    self.ids.refuse(id);
                    if let Some(machine) = &mut self.machine {
                        machine.handle(broker.time, Input::SchemaResolved(id));
                    }
                }
                Effect::Confirm => self.jobs.push_back(Job::Confirm),
                Effect::Restore(_) => self.restore(told),
                Effect::Alarm(Alarm::Stopped(reason)) => told.over = Some(Over::Stopped(reason)),
                Effect::Alarm(_) | Effect::Drained => {}
            }
        }
        if let Some(machine) = &self.machine {
            let gauges = machine.gauges(broker.time);
            if gauges.unchecked > self.options.max_unchecked {
                told.broken = Some(format!("K4: {} records unchecked", gauges.unchecked));
            }
        }
    }

    /// The source offset of an output up to `through` that the broker doesn't have.
    fn unacknowledged_output(&self, through: i64) -> Option<i64> {
        let log = Topic::Log(P::KIND).name();
        self.in_flight
            .iter()
            .filter_map(|(_, record)| crate::partition::wire::source(&record.headers))
            .filter(|source| source.topic == log && source.offset <= through)
            .map(|source| source.offset)
            .min()
    }

    fn pause(&mut self, side: Side, paused: bool) {
        if let Some(reading) = self.reading.get_mut(&side) {
            reading.paused = paused;
        }
    }

    /// Drops the machine and takes over again, in the same process: calls survive.
    fn restore(&mut self, told: &mut Told) {
        if let Some(machine) = self.machine.take() {
            self.survivors = machine.into_survivors();
        }
        self.abandon_sends(told);
        self.reading.clear();
        self.incarnation += 1;
        self.jobs = VecDeque::from([Job::Confirm, Job::Fence, Job::Restore]);
    }

    fn read(
        &mut self,
        broker: &mut Broker,
        side: Side,
        most: usize,
        told: &mut Told,
    ) -> &'static str {
        let topic = match side {
            Side::Feed => Topic::Feed(P::KIND),
            Side::Log => Topic::Log(P::KIND),
        };
        let Some(reading) = self.reading.get_mut(&side) else {
            return "-";
        };
        if reading.paused {
            return "-";
        }
        let records = broker.read(topic, self.partition, reading.next, most);
        let Some(last) = records.last() else {
            return "-";
        };
        reading.next = last.offset + 1;
        let epoch = reading.epoch;
        self.handle(broker, Input::Records { side, epoch, records }, told);
        "read"
    }

    /// The first send on its way reaches the broker, or doesn't.
    fn deliver(
        &mut self,
        broker: &mut Broker,
        rng: &mut Rng,
        faults: bool,
        told: &mut Told,
    ) -> &'static str {
        let Some((seq, record)) = self.in_flight.pop_front() else {
            return "-";
        };
        let luck = if faults { rng.below(60) } else { 59 };
        let sent = match luck {
            // The connection breaks before or after the broker has it.
            _ if self.torn.contains(&place(&record)) => Sent::Unknown,
            0 => {
                self.torn.insert(place(&record));
                Sent::Unknown
            }
            1 => {
                broker.append(&record);
                Sent::Unknown
            }
            _ => Sent::At(broker.append(&record)),
        };
        if faults && rng.percent(30) {
            self.acks.push_back((seq, sent));
        } else if self.acks.is_empty() {
            self.handle(broker, Input::Sent { seq, sent }, told);
        } else {
            self.acks.push_back((seq, sent));
        }
        "deliver"
    }

    fn acknowledge(&mut self, broker: &mut Broker, told: &mut Told) -> &'static str {
        let Some((seq, sent)) = self.acks.pop_front() else {
            return "-";
        };
        self.handle(broker, Input::Sent { seq, sent }, told);
        "ack"
    }

    fn work(
        &mut self,
        broker: &mut Broker,
        rng: &mut Rng,
        owner: bool,
        faults: bool,
        told: &mut Told,
    ) -> &'static str {
        let Some(job) = self.jobs.pop_front() else {
            return "-";
        };
        let kind = P::KIND;
        match job {
            Job::Confirm if self.machine.is_some() => {
                let confirmed = if owner { Confirmed::Owner } else { Confirmed::NotOwner };
                let asked_at = broker.time;
                self.handle(broker, Input::Confirmed { confirmed, asked_at }, told);
                "confirm"
            }
            Job::Confirm => {
                if !owner {
                    told.over = Some(Over::Lost);
                }
                "confirm"
            }
            Job::Fence => {
                self.epoch = if self.rules.hold(Rule::K2Fence) {
                    broker.fence(kind, self.partition)
                } else {
                    broker.epoch(kind, self.partition)
                };
                "fence"
            }
            Job::Restore => {
                let snapshot = broker.snapshot(kind, self.partition);
                match Restored::read_under(&snapshot, &self.ids, self.rules) {
                    Ok(restored) => {
                        let identity = Identity {
                            partition: self.partition,
                            partitions: PARTITIONS,
                            owner: format!("{}-{}", self.id, self.incarnation),
                            program: self.program.fingerprint().into(),
                            incarnation: self.incarnation,
                        };
                        self.machine = Some(Partition::under(
                            self.rules,
                            Arc::clone(&self.processor),
                            self.ids.clone(),
                            self.options.clone(),
                            identity,
                            restored,
                            std::mem::take(&mut self.survivors),
                            broker.time,
                        ));
                        self.drain(broker, told);
                    }
                    Err(error) => told.over = Some(Over::Damaged(error)),
                }
                "restore"
            }
            Job::Commit(cut) => {
                let luck = match if faults { rng.below(30) } else { 29 } {
                    0 => CommitLuck::Aborted,
                    1 => CommitLuck::UnknownStands,
                    2 => CommitLuck::UnknownLost,
                    _ => CommitLuck::Good,
                };
                let batch = cut.encode(&self.ids).expect("every schema is known here");
                let result = broker.commit(kind, self.partition, self.epoch, batch, luck);
                self.handle(broker, Input::Committed(result), told);
                "commit"
            }
            Job::Scan(from, to) => {
                let most = usize::try_from(to - from + 1).unwrap_or(0);
                let records = broker.read(Topic::Log(kind), self.partition, from, most);
                self.handle(broker, Input::Scanned(records), told);
                "scan"
            }
        }
    }

    fn end_call(&mut self, broker: &mut Broker, rng: &mut Rng, told: &mut Told) -> &'static str {
        let Some((run, _)) = self.calls.iter().nth(rng.below(self.calls.len())) else {
            return "-";
        };
        let run = *run;
        let (running, call) = self.calls.remove(&run).expect("it was just there");
        let result = (self.outcome)(&running, &call, rng);
        if self.machine.is_some() {
            self.handle(broker, Input::CallEnded { run, result }, told);
        } else {
            self.survivors.ended(run, result);
        }
        "call"
    }

    fn confirm(
        &mut self,
        broker: &mut Broker,
        rng: &mut Rng,
        owner: bool,
        faults: bool,
        told: &mut Told,
    ) -> &'static str {
        let confirmed = match owner {
            _ if faults && rng.percent(60) => return "-",
            true => Confirmed::Owner,
            false => Confirmed::NotOwner,
        };
        let asked_at = broker.time;
        self.handle(broker, Input::Confirmed { confirmed, asked_at }, told);
        "confirm"
    }
}

fn place(record: &Outgoing) -> (Topic, i32) {
    (record.topic, super::broker::partition_of(record))
}
