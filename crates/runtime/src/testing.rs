//! One partition of a processor on topics in memory, for the tests of whoever writes a processor.
//!
//! The machine is the real one; what it sends stands at once, what it appends is read back, and time
//! passes when a test says so. There is no fault here but [`Harness::restart`]: how the machine bears
//! crashes, zombies and lost sends is the business of this crate's own simulation.

pub mod hanging;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use domain::answer::Failure;
use domain::event::ExecutionEvent;
use domain::fact::{Command, DeadLetter, Fact, Order};
use domain::invariants;
use domain::log_row::ExecutionLogRecord;
use domain::request::DEFAULT_TENANT;
use domain::state::Genesis;
use domain::time::Millis;
use domain::topic::Topic;
use schemas::{Ids, Record};

use crate::partition::effects::{Alarm, Cut, Effect, Input};
use crate::partition::{Identity, Options, Partition, Restored, Snapshot, Survivors, genesis_key};
use crate::ports::{Confirmed, Headers, Outgoing, Raw, Sent, Side};
use crate::processor::{Processor, Running};

/// The time at which a harness begins, in milliseconds.
const BEGIN: i64 = 1_000;

/// How far time passes in one step: timers and checkpoints are looked at that often.
const STEP: i64 = 10;

/// A call that is under way.
pub struct Started<P: Processor> {
    /// Its number, for [`Harness::end_call`].
    pub run: u64,
    /// What runs.
    pub running: Running,
    /// What to call.
    pub call: P::Call,
}

/// A topic partition in memory, and how far it was read under which epoch.
#[derive(Default)]
struct Records {
    records: Vec<Raw>,
    reading: Option<(u64, usize)>,
}

impl Records {
    fn append(&mut self, now: i64, key: Option<Bytes>, value: Bytes, headers: Headers) -> i64 {
        let offset = offset(self.records.len());
        let time = Millis(now);
        self.records.push(Raw { offset, time, key, value, headers });
        offset
    }

    fn unread(&mut self) -> Option<(u64, Vec<Raw>)> {
        let (epoch, next) = self.reading.as_mut()?;
        let records = self.records[*next..].to_vec();
        *next = self.records.len();
        (!records.is_empty()).then_some((*epoch, records))
    }
}

fn offset(count: usize) -> i64 {
    i64::try_from(count).expect("a topic in memory has few records")
}

/// One partition of a processor, owned and idle.
pub struct Harness<P: Processor> {
    processor: Arc<P>,
    ids: Ids,
    /// Schemas of writers that aren't ours.
    registry: BTreeMap<u32, String>,
    options: Options,
    partition: Partition<P>,
    now: i64,
    tenures: u64,
    feed: Records,
    log: Records,
    state: Snapshot,
    rows: BTreeMap<String, ExecutionLogRecord>,
    outputs: Vec<Arc<Outgoing>>,
    calls: Vec<Started<P>>,
    stopped: Vec<u64>,
    alarms: Vec<Alarm>,
    gone: bool,
}

impl<P: Processor> Harness<P> {
    /// A partition that is owned and idle.
    ///
    /// # Panics
    /// As every method here: when the machine does what can't happen in a world without faults.
    #[must_use]
    pub fn new(processor: P) -> Self {
        Self::with(processor, Options::default())
    }

    /// As [`Harness::new`], with other options.
    #[must_use]
    pub fn with(processor: P, options: Options) -> Self {
        let ids = Ids::for_tests();
        let topic = Topic::State(P::KIND).name().to_owned();
        let genesis = Genesis { topic, partition: 0, created: Millis(BEGIN) };
        let genesis = ids.frame(&genesis).expect("the ids are those of all records");
        let state = Snapshot::from([(genesis_key().into(), genesis.into())]);
        let processor = Arc::new(processor);
        let partition = tenure(&processor, &ids, &options, &state, 1, BEGIN);
        let mut harness = Self {
            processor,
            ids,
            registry: BTreeMap::new(),
            options,
            partition,
            now: BEGIN,
            tenures: 1,
            feed: Records::default(),
            log: Records::default(),
            state,
            rows: BTreeMap::new(),
            outputs: Vec::new(),
            calls: Vec::new(),
            stopped: Vec::new(),
            alarms: Vec::new(),
            gone: false,
        };
        harness.settle();
        harness
    }

    /// Publishes a request, as an upstream does.
    pub fn publish(&mut self, request: &P::Request) {
        let key = self.processor.subject(request).entity;
        let value = self.ids.frame(request).expect("a request is a record of the contract");
        self.publish_bytes(&key, value);
    }

    /// Publishes a request with headers, as an upstream does that has a trace.
    pub fn publish_with(&mut self, request: &P::Request, headers: Headers) {
        let key = Some(Bytes::from(self.processor.subject(request).entity));
        let value = self.ids.frame(request).expect("a request is a record of the contract");
        self.feed.append(self.now, key, value.into(), headers);
        self.settle();
    }

    /// Publishes whatever bytes there are.
    pub fn publish_bytes(&mut self, key: &str, value: Vec<u8>) {
        let key = Some(Bytes::from(key.to_owned()));
        self.feed.append(self.now, key, value.into(), Headers::new());
        self.settle();
    }

    /// Commands an entity of the default tenant, as anybody may. Each command has an id of its own.
    pub fn command(&mut self, entity: &str, order: Order) {
        let id = format!("command-{}", self.log.records.len());
        let tenant = DEFAULT_TENANT.to_owned();
        self.append(entity, &Fact::Command(Command { id, tenant, order }));
    }

    /// Writes a fact into the log, e.g. the answer of another processor.
    pub fn append(&mut self, entity: &str, fact: &Fact) {
        let key = Some(Bytes::from(entity.to_owned()));
        let value = self.ids.frame_fact(fact).expect("every fact is a record of the contract");
        self.log.append(self.now, key, value.into(), Headers::new());
        self.settle();
    }

    /// Writes a fact into the log in a schema of the writer's own, which the registry has under `id`.
    pub fn append_in(&mut self, entity: &str, id: u32, schema: &str, datum: &[u8]) {
        self.registry.insert(id, schema.to_owned());
        let key = Some(Bytes::from(entity.to_owned()));
        let value = [&[0], &id.to_be_bytes()[..], datum].concat();
        self.log.append(self.now, key, value.into(), Headers::new());
        self.settle();
    }

    /// The calls that are under way, in the order in which they were started.
    #[must_use]
    pub fn calls(&self) -> &[Started<P>] {
        &self.calls
    }

    /// The numbers of the calls that the machine stopped before their end, in that order. A restart keeps
    /// them, and stops none.
    #[must_use]
    pub fn stopped(&self) -> &[u64] {
        &self.stopped
    }

    /// A call ends.
    pub fn end_call(&mut self, run: u64, result: Result<P::Fact, Failure>) {
        self.calls.retain(|started| started.run != run);
        self.handle(Input::CallEnded { run, result });
        self.settle();
    }

    /// Lets the processor carry out the calls that are under way, and those that follow from their ends,
    /// one after the other.
    pub async fn run_calls(&mut self) {
        while let Some(Started { run, running, call }) = self.calls.first() {
            let (run, running, call) = (*run, running.clone(), call.clone());
            let result = self.processor.call(call, running).await;
            self.end_call(run, result);
        }
    }

    /// Time passes.
    pub fn pass(&mut self, ms: i64) {
        let until = self.now + ms;
        while self.now < until {
            self.now = (self.now + STEP).min(until);
            self.confirm();
            self.handle(Input::Tick);
            self.settle();
        }
    }

    /// The process dies, and another one takes over from the last checkpoint. Calls under way are lost.
    pub fn restart(&mut self) {
        self.tenures += 1;
        self.calls.clear();
        (self.feed.reading, self.log.reading) = (None, None);
        self.gone = false;
        let Self { processor, ids, options, state, .. } = &*self;
        self.partition = tenure(processor, ids, options, state, self.tenures, self.now);
        self.settle();
    }

    /// The process dies, and one takes over that has met no schema but ours.
    pub fn restart_elsewhere(&mut self) {
        self.ids = Ids::for_tests();
        self.restart();
    }

    /// The process dies, and nobody takes over for so long.
    pub fn restart_after(&mut self, ms: i64) {
        self.now += ms;
        self.restart();
    }

    /// What clients see of an execution: its events in order, copies dropped.
    #[must_use]
    pub fn events(&self, execution: &str) -> Vec<ExecutionEvent> {
        let events: Vec<_> = self.outputs(Topic::Results).collect();
        invariants::as_clients_see(&events).remove(execution).unwrap_or_default()
    }

    /// Every record of this type that was sent to `topic`, copies included.
    pub fn outputs<R: Record>(&self, topic: Topic) -> impl Iterator<Item = R> {
        self.sent(topic)
            .map(|output| self.ids.read(&output.value).expect("a topic of one record type"))
    }

    /// Everything that was sent to `topic`, as bytes, copies included.
    pub fn sent(&self, topic: Topic) -> impl Iterator<Item = &Outgoing> {
        self.outputs.iter().map(|output| &**output).filter(move |output| output.topic == topic)
    }

    /// Every fact of the log, with its key: what was appended to it and what folds put out into it.
    pub fn facts(&self) -> impl Iterator<Item = (String, Fact)> {
        self.log.records.iter().map(|raw| {
            let key = raw.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let fact = self.ids.read_fact(&raw.value).expect("a log has facts only");
            (key.into_owned(), fact)
        })
    }

    /// What was refused.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.outputs(Topic::DeadLetters).collect()
    }

    /// The rows of the execution log that checkpoints have written, by event id. Let time pass first.
    #[must_use]
    pub fn rows(&self) -> &BTreeMap<String, ExecutionLogRecord> {
        &self.rows
    }

    /// The state topic: the newest value of each key.
    #[must_use]
    pub fn state(&self) -> &Snapshot {
        &self.state
    }

    /// What an operator would have been told.
    #[must_use]
    pub fn alarms(&self) -> &[Alarm] {
        &self.alarms
    }

    fn handle(&mut self, input: Input<P>) {
        self.partition.handle(self.now, input);
    }

    fn confirm(&mut self) {
        let (confirmed, asked_at) = (Confirmed::Owner, self.now);
        self.handle(Input::Confirmed { confirmed, asked_at });
    }

    /// Carries out effects and delivers records until nothing is left.
    fn settle(&mut self) {
        loop {
            while let Some(effect) = self.partition.poll_effect() {
                self.carry_out(effect);
            }
            if std::mem::take(&mut self.gone) {
                return self.restart();
            }
            let (side, (epoch, records)) = if let Some(unread) = self.log.unread() {
                (Side::Log, unread)
            } else if let Some(unread) = self.feed.unread() {
                (Side::Feed, unread)
            } else {
                return;
            };
            self.handle(Input::Records { side, epoch, records });
        }
    }

    fn carry_out(&mut self, effect: Effect<P>) {
        match effect {
            Effect::Send { seq, record } => {
                let at = if record.topic == Topic::Log(P::KIND) {
                    let Outgoing { key, value, headers, .. } = (*record).clone();
                    self.log.append(self.now, key, value, headers)
                } else {
                    self.outputs.push(record);
                    offset(self.outputs.len())
                };
                self.handle(Input::Sent { seq, sent: Sent::At(at) });
            }
            Effect::Start { side, offset, epoch } => {
                let from = usize::try_from(offset.unwrap_or(0)).expect("offsets are not negative");
                match side {
                    Side::Feed => self.feed.reading = Some((epoch, from)),
                    Side::Log => self.log.reading = Some((epoch, from)),
                }
            }
            // What is on its way may still arrive, and here it does.
            Effect::Pause(_) | Effect::Resume(_) => {}
            Effect::StartCall { run, running, call } => {
                self.calls.push(Started { run, running, call });
            }
            Effect::StopCall(run) => {
                self.calls.retain(|started| started.run != run);
                self.stopped.push(run);
            }
            Effect::Commit(cut) => {
                self.commit(&cut);
                self.handle(Input::Committed(Ok(())));
            }
            Effect::Scan { from, to } => {
                let within = |raw: &&Raw| (from..=to).contains(&raw.offset);
                let records = self.log.records.iter().filter(within).cloned().collect();
                self.handle(Input::Scanned(records));
            }
            Effect::ResolveSchema(id) => {
                let learned = self.registry.get(&id).map(|schema| self.ids.learn(id, schema));
                if learned.is_none_or(|learned| learned.is_err()) {
                    self.ids.refuse(id);
                }
                self.handle(Input::SchemaResolved(id));
            }
            Effect::Confirm => self.confirm(),
            Effect::Restore(_) => self.gone = true,
            Effect::Alarm(alarm) => self.alarms.push(alarm),
            Effect::ReplaceProducer | Effect::Drained => {
                unreachable!("every send is acknowledged, and nobody asked for a drain")
            }
        }
    }

    fn commit(&mut self, cut: &Cut<P>) {
        let batch = cut.encode(&self.ids).expect("the ids are those of all records");
        for (key, value) in batch.entries {
            match value {
                Some(value) => self.state.insert(key, value),
                None => self.state.remove(&key),
            };
        }
        for row in cut.rows.iter() {
            let before = self.rows.insert(row.event_id.clone(), row.clone());
            assert!(before.is_none(), "the row {} stands twice", row.event_id);
        }
    }
}

/// A machine that takes the partition over.
fn tenure<P: Processor>(
    processor: &Arc<P>,
    ids: &Ids,
    options: &Options,
    state: &Snapshot,
    number: u64,
    now: i64,
) -> Partition<P> {
    let identity = Identity {
        partition: 0,
        partitions: 1,
        owner: format!("owner-{number}"),
        program: "program".into(),
        incarnation: number,
    };
    let restored = Restored::read(state, ids).expect("our own checkpoints can be read");
    let (processor, ids, options) = (Arc::clone(processor), ids.clone(), options.clone());
    Partition::new(processor, ids, options, identity, restored, Survivors::default(), now)
}
