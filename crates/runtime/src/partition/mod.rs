//! The machine of one partition: what happened goes in, what is to be done comes out.
//!
//! Call [`Partition::handle`] with each thing that happened and the monotonic time, then take every effect
//! from [`Partition::poll_effect`] and carry it out in order. The machine reads no clock, draws no random
//! number and awaits nothing, so a simulation drives it exactly as the worker does.
//!
//! Life of a machine: a changed program first commits a raised generation; then `TakenOver` is appended, the
//! log is scanned for skipped records, folded from the last checkpoint on, and when the own `TakenOver` is
//! folded the partition is live: admission, calls and timers begin.

mod admission;
mod calls;
mod checkpoint;
mod copies;
pub mod effects;
pub(crate) mod entries;
mod fold;
mod live;
mod outbox;
pub(crate) mod overlay;
mod restore;
pub(crate) mod rules;
mod takeover;
#[cfg(test)]
mod tests;
mod timers;
pub mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use domain::answer::{ErrorClass, Failure};
use domain::fact::{Fact, Source};
use domain::time::Millis;
use domain::topic::Topic;
use domain::trace::{SpanId, TraceContext};
use schemas::{Ids, ReadError};

pub use self::checkpoint::genesis_key;
pub use self::restore::{RestoreError, Restored, Snapshot};

use self::admission::Admission;
use self::calls::{CallKey, Calls, Run};
use self::checkpoint::Stage;
use self::copies::Senders;
use self::effects::{Alarm, Effect, Input, Output};
use self::entries::{Entries, Key, Part, Stored};
use self::fold::{FoldError, Folding, Mode, fold_failure};
use self::outbox::{Outbox, Purpose};
use self::overlay::{Changes, Seen};
use self::rules::{Rule, Rules};
use self::takeover::Phase;
use self::timers::Timers;
use crate::ports::{Headers, Outgoing, Raw, Side};
use crate::processor::{Observed, Processor};

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most requests of one partition whose calls are admitted and not finished; `None`: no bound
    /// (processors without outside calls).
    pub window: Option<usize>,
    /// The largest value that a record may have, in bytes, some room for headers left out.
    pub max_record_bytes: usize,
    /// The shortest time between two checkpoints of a busy partition, in milliseconds.
    pub checkpoint_min_ms: i64,
    /// The longest time that a change waits for a checkpoint, in milliseconds.
    pub checkpoint_max_ms: i64,
    /// From this many changed entries and rows on, a partition counts as busy.
    pub checkpoint_busy: usize,
    /// The most log records folded and not checkpointed; past it folding waits.
    pub max_unchecked: i64,
    /// The most sends without acknowledgement; past it folding waits.
    pub max_outbox: usize,
    /// The group's session timeout, in milliseconds.
    pub session_timeout_ms: i64,
    /// How long a client's request id is known, in milliseconds of state time.
    pub client_ids_ms: i64,
    /// How long a command waits for its entity, in milliseconds of state time: the feed's retention.
    pub early_commands_ms: i64,
    /// How long admission waits for a definition that isn't there yet, in milliseconds.
    pub not_yet_ms: i64,
    /// How often a fold is tried before its record is passed.
    pub fold_tries: u32,
    /// A send without acknowledgement for this long raises an alarm, in milliseconds.
    pub watchdog_ms: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window: Some(1_000),
            max_record_bytes: 900 * 1024,
            checkpoint_min_ms: 100,
            checkpoint_max_ms: 500,
            checkpoint_busy: 500,
            max_unchecked: 50_000,
            max_outbox: 20_000,
            session_timeout_ms: 10_000,
            client_ids_ms: 600_000,
            early_commands_ms: 7 * 24 * 3_600_000,
            not_yet_ms: 2_000,
            fold_tries: 3,
            watchdog_ms: 30_000,
        }
    }
}

/// Who folds, and where.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The partition.
    pub partition: i32,
    /// How many partitions the topics have.
    pub partitions: i32,
    /// Unique for each take-over.
    pub owner: String,
    /// Fingerprint of the program.
    pub program: String,
    /// Unique for each machine of a worker: the upper part of its reading epochs.
    pub incarnation: u64,
}

/// The most log records kept in memory because they can't be folded yet.
const HELD_RECORDS: usize = 4_096;

/// What survives a restore in the same process: the calls that run.
pub struct Survivors<P: Processor>(Vec<(CallKey, Run<P::Fact>)>);

impl<P: Processor> Default for Survivors<P> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<P: Processor> Survivors<P> {
    /// A call ended while its machine was being replaced.
    pub fn ended(&mut self, number: u64, result: Result<P::Fact, Failure>) {
        if let Some((_, run)) = self.0.iter_mut().find(|(_, run)| run.number == number) {
            run.ended = Some(result);
        }
    }

    /// The numbers of the calls that still run, to be aborted when the partition is released.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.0.iter().filter(|(_, run)| run.ended.is_none()).map(|(_, run)| run.number)
    }
}

/// What an operator watches of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// 1 when the partition is owned and caught up, else 0.
    pub live: i64,
    /// Log records read and not folded.
    pub held: i64,
    /// Log records folded and not checkpointed.
    pub unchecked: i64,
    /// Sends without acknowledgement.
    pub outbox: i64,
    /// Entries in memory.
    pub entries: i64,
    /// Calls wanted.
    pub wanted: i64,
    /// Milliseconds since the oldest unfinished call was wanted, by state time.
    pub oldest_ms: i64,
}

/// An output on its way that its processor wants to be told of.
#[derive(Debug)]
struct Announced {
    entity: String,
    tenant: String,
    topic: Topic,
    context: TraceContext,
    below: SpanId,
    sent_at: i64,
}

/// Since when a record waits for a definition, and whether that was an alarm already.
#[derive(Clone, Copy, Debug)]
struct Missing {
    since: i64,
    rang: bool,
}

/// The machine of one partition.
pub struct Partition<P: Processor> {
    processor: Arc<P>,
    ids: Ids,
    options: Options,
    identity: Identity,
    rules: Rules,

    // The fold: what every owner has alike at the same log offset.
    entries: Entries<P>,
    senders: Senders,
    log_next: i64,
    feed_next: i64,
    state_time: Millis,
    generation: i32,
    client_ids: VecDeque<(Millis, Key)>,
    early: VecDeque<(Millis, Key)>,

    // Owning: what this owner does about it.
    phase: Phase,
    fence: Option<i64>,
    /// Where our last `TakenOver` stands; -1: not yet.
    appended_fence: i64,
    suspect: bool,
    confirmed_at: i64,
    skips: BTreeMap<i64, String>,
    stuck: Option<takeover::Stuck>,
    held: VecDeque<Raw>,
    log_paused: bool,
    log_epoch: u64,
    missing_schema: Option<u32>,
    /// The record at the front waits for a definition.
    missing_definition: Option<Missing>,
    admission: Admission,
    outbox: Outbox,
    /// Outputs in the outbox that are to be told of when they stand, by their place in it.
    announced: BTreeMap<u64, Announced>,
    calls: Calls<P::Fact>,
    next_run: u64,
    timers: Timers,
    /// Monotonic time at which state time last moved, to tell timers that are due; later than that where the
    /// clock behind the log turned out to be behind state time.
    time_moved_at: i64,
    stage: Stage<P>,
    rows: Vec<domain::log_row::ExecutionLogRecord>,
    /// The next log offset after the last committed checkpoint.
    checked: i64,
    checked_at: i64,
    quiesced: bool,
    draining: bool,
    watchdog_rang: bool,
    effects: VecDeque<Effect<P>>,
}

impl<P: Processor> Partition<P> {
    /// A machine that takes a partition over from its last checkpoint.
    ///
    /// `now` is monotonic milliseconds; ownership was confirmed and earlier owners fenced at that time.
    #[must_use]
    pub fn new(
        processor: Arc<P>,
        ids: Ids,
        options: Options,
        identity: Identity,
        restored: Restored<P>,
        survivors: Survivors<P>,
        now: i64,
    ) -> Self {
        Self::under(Rules::default(), processor, ids, options, identity, restored, survivors, now)
    }

    #[allow(clippy::too_many_arguments, reason = "the one place where a machine is put together")]
    pub(crate) fn under(
        rules: Rules,
        processor: Arc<P>,
        ids: Ids,
        options: Options,
        identity: Identity,
        restored: Restored<P>,
        survivors: Survivors<P>,
        now: i64,
    ) -> Self {
        let Restored { entries, senders, position } = restored;
        let fresh = position.is_none();
        let position = position.unwrap_or_else(|| domain::state::Position {
            log_offset: 0,
            feed_offset: 0,
            state_time: Millis(0),
            generation: 1,
            program: identity.program.clone(),
            entries: 0,
            senders: Vec::new(),
        });
        let mut timers = Timers::default();
        let mut calls = Calls::default();
        let mut client_ids = Vec::new();
        let mut early = Vec::new();
        let mut wanted = Vec::new();
        for (entity, part, name, stored) in entries.iter() {
            let key = || Key::new(entity, part, name);
            match stored {
                Stored::Timer(due) => timers.set(*due, entity, name),
                Stored::Recent(recent) if part == Part::Recent => {
                    client_ids.push((recent.since, key()));
                }
                Stored::Early(command) => early.push((command.since, key())),
                Stored::Wanted(_) => wanted.push((Arc::clone(entity), Box::from(name))),
                _ => {}
            }
        }
        client_ids.sort_unstable();
        early.sort_unstable();
        wanted.sort_unstable();
        let mut next_run = identity.incarnation << 32;
        for (key, run) in survivors.0 {
            next_run = next_run.max(run.number + 1);
            calls.adopt(key, run);
        }
        for key in wanted {
            calls.look_at(key);
        }
        let changed_program = position.program != identity.program;
        let mut machine = Self {
            processor,
            ids,
            options,
            rules,
            entries,
            senders,
            log_next: position.log_offset,
            feed_next: position.feed_offset,
            state_time: position.state_time,
            generation: position.generation + i32::from(changed_program),
            client_ids: client_ids.into(),
            early: early.into(),
            phase: Phase::Raising,
            fence: None,
            appended_fence: -1,
            suspect: false,
            confirmed_at: now,
            skips: BTreeMap::new(),
            stuck: None,
            held: VecDeque::new(),
            log_paused: false,
            log_epoch: 0,
            missing_schema: None,
            missing_definition: None,
            admission: Admission::default(),
            outbox: Outbox::default(),
            announced: BTreeMap::new(),
            calls,
            next_run,
            timers,
            time_moved_at: now,
            stage: Stage::Idle,
            rows: Vec::new(),
            checked: position.log_offset,
            checked_at: now,
            quiesced: false,
            draining: false,
            watchdog_rang: false,
            effects: VecDeque::new(),
            identity,
        };
        machine.begin(
            if changed_program && !fresh {
                takeover::Begin::RaiseGeneration
            } else {
                takeover::Begin::TakeOver
            },
            now,
        );
        machine
    }

    /// Takes in something that happened at `now` (monotonic milliseconds).
    pub fn handle(&mut self, now: i64, input: Input<P>) {
        match input {
            Input::Records { side: Side::Log, epoch, records } if epoch == self.log_epoch => {
                self.held.extend(records);
            }
            Input::Records { side: Side::Feed, epoch, records } => {
                self.handle_feed(now, epoch, records);
            }
            Input::Records { .. } => {}
            Input::Sent { seq, sent } => self.handle_sent(now, seq, sent),
            Input::ProducerReplaced => {
                let again = self.outbox.unacknowledged();
                self.effects.extend(
                    again.map(|(seq, record)| Effect::Send { seq, record: Arc::clone(record) }),
                );
            }
            Input::CallEnded { run, result } => self.handle_call_ended(now, run, result),
            Input::Committed(result) => self.handle_committed(now, result),
            Input::Scanned(records) => self.handle_scanned(&records),
            Input::SchemaResolved(id) => {
                if self.missing_schema == Some(id) {
                    self.missing_schema = None;
                }
                self.admission.schema_resolved(id);
            }
            Input::Confirmed { confirmed, asked_at } => {
                self.handle_confirmed(now, confirmed, asked_at);
            }
            Input::ReadFailed { side, reason } => {
                let reason = format!(
                    "reading the {side:?} of partition {} failed: {reason}",
                    self.identity.partition
                );
                self.stop(reason);
            }
            Input::Quiesce => self.quiesced = true,
            Input::Drain => {
                self.quiesced = true;
                self.draining = true;
            }
            Input::Tick => {}
        }
        self.fold_held(now);
        self.advance(now);
    }

    /// The next thing to be done.
    pub fn poll_effect(&mut self) -> Option<Effect<P>> {
        self.effects.pop_front()
    }

    /// The calls that run, for the machine that a restore makes.
    #[must_use]
    pub fn into_survivors(self) -> Survivors<P> {
        Survivors(self.calls.hand_over())
    }

    /// Folds what is held, as far as it can be folded now.
    fn fold_held(&mut self, now: i64) {
        while self.may_fold()
            && let Some(raw) = self.held.pop_front()
        {
            if raw.offset >= self.log_next {
                self.fold_one(now, raw);
            }
            if self.missing_definition.is_some() {
                break;
            }
        }
        if !self.log_paused && self.held.len() > HELD_RECORDS {
            self.log_paused = true;
            self.effects.push_back(Effect::Pause(Side::Log));
        } else if self.log_paused && self.held.len() < HELD_RECORDS / 2 {
            self.log_paused = false;
            self.effects.push_back(Effect::Resume(Side::Log));
        }
    }

    fn may_fold(&self) -> bool {
        let bounded = self.rules.hold(Rule::K4Bound)
            && (self.log_next - self.checked >= self.options.max_unchecked
                || self.outbox.len() >= self.options.max_outbox);
        matches!(self.phase, Phase::CatchingUp | Phase::Live)
            && self.stuck.is_none()
            && self.missing_schema.is_none()
            && !bounded
            && !self.draining
    }

    fn fold_one(&mut self, now: i64, raw: Raw) {
        let missing = self.missing_definition.take();
        let time = self.state_time.max(raw.time);
        let fact = self.ids.read_fact(&raw.value);
        match &fact {
            Ok(Fact::TakenOver(taken)) => {
                let owner = taken.owner.clone();
                self.apply(now, &raw, time, Changes::default());
                self.fold_taken_over(now, raw.offset, &owner);
                return;
            }
            Err(ReadError::UnknownSchema(id)) if !self.skips.contains_key(&raw.offset) => {
                self.wait_for_schema(raw, *id);
                return;
            }
            _ => {}
        }
        if let Err(error) = &fact {
            let reason = error.to_string();
            self.effects.push_back(Effect::Alarm(Alarm::Unreadable { offset: raw.offset, reason }));
        }
        let folding = self.folding(time, now);
        let result = match self.skips.get(&raw.offset) {
            Some(reason) => Ok(folding.fold_failed(&raw, &fold_failure(reason))),
            None => folding.fold_tried(&raw, fact, self.options.fold_tries),
        };
        match result {
            Ok(changes) => {
                let changes = match self.oversized(&changes) {
                    Some(failure) => self.folding(time, now).fold_failed(&raw, &failure),
                    None => changes,
                };
                let early = changes.early_timer.clone();
                self.apply(now, &raw, time, changes);
                if let Some((entity, timer)) = early {
                    self.refire(&entity, &timer);
                    // The clock behind the log is that far back: until it gets there, each try is in vain.
                    self.time_moved_at = now.saturating_add(self.state_time.since(raw.time));
                }
            }
            Err(FoldError::UnknownSchema(id)) => self.wait_for_schema(raw, id),
            Err(FoldError::Step(reason)) => self.become_stuck(now, raw, reason),
            Err(FoldError::NotYet(what)) => self.hold_for_definition(now, raw, what, missing),
        }
    }

    /// Holds a record until the next input, when it is tried again.
    fn hold_for_definition(&mut self, now: i64, raw: Raw, what: String, missing: Option<Missing>) {
        let mut missing = missing.unwrap_or(Missing { since: now, rang: false });
        if !missing.rang && now - missing.since >= self.options.watchdog_ms {
            missing.rang = true;
            let offset = raw.offset;
            self.effects.push_back(Effect::Alarm(Alarm::DefinitionLate { offset, what }));
        }
        self.missing_definition = Some(missing);
        self.held.push_front(raw);
    }

    fn wait_for_schema(&mut self, raw: Raw, id: u32) {
        self.held.push_front(raw);
        self.missing_schema = Some(id);
        self.effects.push_back(Effect::ResolveSchema(id));
    }

    fn folding(&self, time: Millis, now: i64) -> Folding<'_, P> {
        Folding {
            processor: &self.processor,
            ids: &self.ids,
            rules: self.rules,
            entries: &self.entries,
            senders: &self.senders,
            partition: self.identity.partition,
            partitions: self.identity.partitions,
            feed_next: self.feed_next,
            generation: self.generation,
            now: if self.rules.hold(Rule::F1Determinism) { time } else { Millis(now) },
        }
    }

    /// The failure of a fold that puts out more than a record can hold.
    fn oversized(&self, changes: &Changes<P>) -> Option<Failure> {
        let limit = self.options.max_record_bytes;
        let output = changes.outputs.iter().find(|output| {
            // A dead letter holds a record that a topic held, so it may use the room that headers have.
            output.topic != Topic::DeadLetters && output.value.len() > limit
        })?;
        Some(Failure::new(
            ErrorClass::TooLarge,
            "output_too_large",
            format!("{} bytes for {}, at most {limit}", output.value.len(), output.topic.name()),
        ))
    }

    /// Makes the changes of one fold real, and sends what it puts out.
    fn apply(&mut self, now: i64, raw: &Raw, time: Millis, changes: Changes<P>) {
        let Changes { writes, outputs, rows, feed_next, seen, gap, early_timer: _ } = changes;
        if time > self.state_time {
            self.time_moved_at = now;
        }
        self.state_time = time;
        self.log_next = raw.offset + 1;
        for (key, value) in writes {
            self.write(key, value);
        }
        if let Some((sender, source, seen)) = seen {
            let forget = self.senders.note(&sender, &source, seen == Seen::New);
            for id in forget {
                self.entries.remove(&Key::new(&"".into(), Part::Applied, &id));
            }
        }
        if let Some(feed_next) = feed_next {
            self.feed_next = feed_next;
            self.admission.at_least(feed_next);
        }
        if gap {
            self.admission.gap();
        }
        for output in outputs {
            self.send_output(now, raw.offset, output);
        }
        self.rows.extend(rows);
        self.expire();
    }

    fn write(&mut self, key: Key, value: Option<Stored<P>>) {
        match (key.part, &value) {
            (Part::Timer, Some(Stored::Timer(due))) => {
                self.timers.set(*due, &key.entity, &key.name);
            }
            (Part::Timer, _) => {
                if let Some(Stored::Timer(due)) =
                    self.entries.get(&key.entity, Part::Timer, &key.name)
                {
                    self.timers.forget(*due, &key.entity, &key.name);
                }
            }
            (Part::Wanted, Some(_)) => {
                self.calls.look_at((Arc::clone(&key.entity), key.name.clone()));
            }
            (Part::Wanted, None) => {
                let call = (Arc::clone(&key.entity), key.name.clone());
                self.effects.extend(self.calls.release(&call).map(Effect::StopCall));
            }
            (Part::Recent, Some(Stored::Recent(recent))) => {
                self.client_ids.push_back((recent.since, key.clone()));
            }
            (Part::Early, Some(Stored::Early(early))) => {
                self.early.push_back((early.since, key.clone()));
            }
            _ => {}
        }
        match value {
            Some(value) => self.entries.put(key, value),
            None => self.entries.remove(&key),
        }
    }

    /// Forgets ids and early commands that have outlived their time by state time.
    fn expire(&mut self) {
        for (queue, keep) in [
            (&mut self.client_ids, self.options.client_ids_ms),
            (&mut self.early, self.options.early_commands_ms),
        ] {
            while queue.front().is_some_and(|(since, _)| self.state_time.since(*since) > keep) {
                if let Some((_, key)) = queue.pop_front() {
                    self.entries.remove(&key);
                }
            }
        }
    }

    fn send_output(&mut self, now: i64, offset: i64, output: Output) {
        let Output { topic, id, key, record, tenant, trace_parent, below, value } = output;
        let source = Source {
            id,
            topic: Topic::Log(P::KIND).name().to_owned(),
            partition: self.identity.partition,
            offset,
            stable: self.checked - 1,
        };
        let headers = wire::headers(&source, record, tenant.as_deref(), trace_parent.as_deref());
        // What an earlier owner may have put out is no news.
        let below = below.filter(|_| self.phase == Phase::Live);
        let context = || trace_parent.as_deref().and_then(TraceContext::parse);
        let announced = below.and_then(|below| Some((below, context()?)));
        let announced = announced.map(|(below, context)| Announced {
            entity: key.clone(),
            tenant: tenant.unwrap_or_default(),
            topic,
            context,
            below,
            sent_at: now,
        });
        let outgoing = Outgoing {
            topic,
            partition: None,
            key: Some(Bytes::from(key)),
            value: Bytes::from(value),
            headers,
        };
        let seq = self.send(now, outgoing, Purpose::Output(offset));
        if let Some(announced) = announced {
            self.announced.insert(seq, announced);
        }
    }

    /// One send stands; whoever watches is told, where it is to be told.
    fn observe_sent(&mut self, now: i64, seq: u64) {
        if let Some(announced) = self.announced.remove(&seq) {
            let Announced { entity, tenant, topic, context, below, sent_at } = announced;
            self.processor.observe(Observed::Published {
                entity: &entity,
                tenant: &tenant,
                topic,
                context,
                below,
                waited_ms: now - sent_at,
            });
        }
    }

    /// Appends a fact to the own log.
    fn append(&mut self, now: i64, key: Option<&str>, fact: &Fact, purpose: Purpose) {
        let value = match self.ids.frame_fact(fact) {
            Ok(value) => value,
            // Every schema of ours is registered before a worker starts.
            Err(error) => return self.stop(format!("a fact can't be framed: {error}")),
        };
        let name = schemas::fact::name(fact);
        let headers: Headers = vec![(wire::TYPE.to_owned(), Bytes::from_static(name.as_bytes()))];
        let outgoing = Outgoing {
            topic: Topic::Log(P::KIND),
            partition: Some(self.identity.partition),
            key: key.map(|key| Bytes::from(key.to_owned())),
            value: Bytes::from(value),
            headers,
        };
        self.send(now, outgoing, purpose);
    }

    fn send(&mut self, now: i64, outgoing: Outgoing, purpose: Purpose) -> u64 {
        let record = Arc::new(outgoing);
        let seq = self.outbox.push(Arc::clone(&record), purpose, now);
        self.effects.push_back(Effect::Send { seq, record });
        seq
    }

    /// Stands still until a person has looked.
    fn stop(&mut self, reason: String) {
        self.phase = Phase::Stopped;
        self.effects.push_back(Effect::Alarm(Alarm::Stopped(reason)));
    }
}

impl<P: Processor> Folding<'_, P> {
    /// Folds a record, again if its step fails or panics.
    fn fold_tried(
        &self,
        raw: &Raw,
        fact: Result<Fact, ReadError>,
        tries: u32,
    ) -> Result<Changes<P>, FoldError> {
        let mut fact = Some(fact);
        let mut last = FoldError::Step(String::new());
        for _ in 0..tries.max(1) {
            let fact = fact.take().unwrap_or_else(|| self.ids.read_fact(&raw.value));
            match self.caught(raw, fact, Mode::Step) {
                Ok(changes) => return Ok(changes),
                Err(error @ (FoldError::UnknownSchema(_) | FoldError::NotYet(_))) => {
                    return Err(error);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Folds a record whose step can't be made: the processor ends the entity, else the runtime does.
    fn fold_failed(&self, raw: &Raw, failure: &Failure) -> Changes<P> {
        for mode in [Mode::Fail(failure), Mode::Bury(failure)] {
            if let Ok(changes) = self.caught(raw, self.ids.read_fact(&raw.value), mode) {
                return changes;
            }
        }
        Changes::default()
    }

    fn caught(
        &self,
        raw: &Raw,
        fact: Result<Fact, ReadError>,
        mode: Mode<'_>,
    ) -> Result<Changes<P>, FoldError> {
        // A fold changes nothing but the changes that it returns, so a panic leaves nothing half done.
        catch_unwind(AssertUnwindSafe(|| self.fold(raw, fact, mode))).unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "a panic without text".into());
            Err(FoldError::Step(format!("panicked: {text}")))
        })
    }
}
