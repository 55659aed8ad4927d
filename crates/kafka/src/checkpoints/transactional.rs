//! Checkpoints on a real cluster: one transactional producer for each partition, fenced by its
//! transactional id. It never leaves a transaction open across a call, and never guesses an outcome.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::topic::{Kind, Topic};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientContext, Message, Statistics};
use runtime::partition::genesis_key;
use runtime::ports::{Batch, Checkpoints, ClusterError, CommitError};

use super::outcome::{Decision, Facts, Patience, Resent, Sort, Step, decide};
use super::traces::Traces;
use crate::config::{Role, Settings, TRANSACTION_REQUEST_TIMEOUT, TRANSACTION_TIMEOUT};
use crate::reading::{ANSWER, From, Until, Watermarks, hidden, read};
use crate::{events, failed};

/// How long a take-over may wait for an earlier owner's transaction to end: it is aborted after its timeout.
const TAKE_OVER: Duration = TRANSACTION_TIMEOUT.saturating_add(Duration::from_secs(20));

/// How long the records of a transaction may take. Together with its end it stays below the timeout after
/// which the broker aborts it.
const WRITING: Duration = Duration::from_secs(8);

/// How long ending a transaction may take before its outcome counts as unknown.
const ENDING: Duration = Duration::from_secs(15);

/// How often it is looked whether the state partition still holds what it must: two small requests, about a
/// millisecond. A state topic that was emptied under a living owner would otherwise be noticed by the next one.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The key of the record that ends a lost transaction. Nobody reads it: it is aborted.
const LOST: &[u8] = b"end-of-a-lost-transaction";

/// One slice of waiting for acknowledgements. Each adds its length to a checkpoint at most once.
const SLICE: Duration = Duration::from_millis(1);

struct State {
    /// Counts transactions: deliveries of an aborted one may be reported during the next.
    transaction: AtomicUsize,
    /// The first record of the current transaction that was not written.
    failure: Mutex<Option<RDKafkaErrorCode>>,
    /// A connection broke or a request timed out.
    disturbed: AtomicBool,
    state_topic: String,
    /// Where the records of the current transaction stand in the state partition: first and last offset.
    stand: Mutex<Option<(i64, i64)>>,
}

struct Context(Arc<State>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // librdkafka's names for a broken connection and for requests that timed out.
        if matches!(facility, "FAIL" | "REQTMOUT") {
            self.0.disturbed.store(true, Ordering::Release);
        }
        events::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if events::is_connection(&error) {
            self.0.disturbed.store(true, Ordering::Release);
        }
        events::error(&error, reason);
    }

    fn stats(&self, _: Statistics) {}
}

impl ProducerContext for Context {
    /// The number of the transaction.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, transaction: usize) {
        if transaction != self.0.transaction.load(Ordering::Acquire) {
            return;
        }
        let code = match result {
            Ok(message) if message.offset() >= 0 => {
                if message.topic() == self.0.state_topic {
                    self.0.stands_at(message.offset());
                }
                return;
            }
            // Acknowledged without an offset: it may never have been written.
            Ok(_) => RDKafkaErrorCode::Inconsistent,
            Err((error, _)) => error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
        };
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(code);
    }
}

impl State {
    fn of(state_topic: &str) -> Self {
        Self {
            transaction: AtomicUsize::new(0),
            failure: Mutex::default(),
            disturbed: AtomicBool::new(false),
            state_topic: state_topic.to_owned(),
            stand: Mutex::default(),
        }
    }

    /// Begins to watch the next transaction; returns its number.
    fn next(&self) -> usize {
        let number = self.transaction.fetch_add(1, Ordering::AcqRel) + 1;
        *self.stand.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
        number
    }

    fn stands_at(&self, offset: i64) {
        let mut stand = self.stand.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, last) = stand.unwrap_or((offset, offset));
        *stand = Some((first.min(offset), last.max(offset)));
    }

    fn stand(&self) -> Option<(i64, i64)> {
        *self.stand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self) -> Option<RDKafkaErrorCode> {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Live {
    producer: BaseProducer<Context>,
    state: Arc<State>,
}

/// The checkpoints of one partition.
pub(crate) struct Transactional {
    settings: Settings,
    watermarks: Arc<Watermarks>,
    kind: Kind,
    partition: i32,
    state_topic: String,
    rows_topic: String,
    live: Option<Live>,
    traces: Traces,
    /// When it was last looked whether the state partition still holds what it must.
    looked: Instant,
    /// See [`LOOK_EVERY`].
    look_every: Duration,
}

impl Transactional {
    pub(crate) fn new(
        settings: &Settings,
        watermarks: Arc<Watermarks>,
        kind: Kind,
        partition: i32,
    ) -> Self {
        Self {
            settings: settings.clone(),
            watermarks,
            kind,
            partition,
            state_topic: settings.topic(Topic::State(kind)),
            rows_topic: settings.topic(Topic::ExecutionLog),
            live: None,
            traces: Traces::default(),
            looked: Instant::now(),
            look_every: LOOK_EVERY,
        }
    }

    /// The same, looking that often whether the state partition still holds what it must.
    #[cfg(test)]
    pub(crate) fn looking_every(mut self, look_every: Duration) -> Self {
        self.look_every = look_every;
        self
    }

    /// Whether what this owner has read and written is still there, as far as can be told without reading
    /// it again. Where it isn't, only a restore can say what is left, and it asks for a person.
    fn look(&mut self) -> Result<(), CommitError> {
        if self.looked.elapsed() < self.look_every {
            return Ok(());
        }
        self.looked = Instant::now();
        let ends = self.watermarks.of(&self.state_topic, self.partition);
        self.traces.check(&ends).map_err(|why| self.emptied(&why))
    }

    fn emptied(&mut self, why: &str) -> CommitError {
        self.retire();
        CommitError::Unknown(format!("{} [{}]: {why}", self.state_topic, self.partition))
    }

    fn connect(&self) -> Result<Live, KafkaError> {
        let state = Arc::new(State::of(&self.state_topic));
        let producer = self
            .settings
            .client(Role::Checkpoints(self.kind, self.partition))
            .create_with_context(Context(Arc::clone(&state)))?;
        Ok(Live { producer, state })
    }

    /// Gives up the producer. Dropping it waits for threads and connections, so another thread does.
    fn retire(&mut self) {
        if let Some(live) = self.live.take() {
            std::thread::spawn(move || drop(live));
        }
    }

    /// Ends a transaction of an earlier owner whose end the broker has lost. After a crash a broker may take
    /// a partition without a leader for a deleted one, and leave out the marker that ends its transaction
    /// (KAFKA-20734). The coordinator knows of no open transaction then, so nobody ends this one, and what it
    /// wrote hides all that follows.
    ///
    /// Our producer is initialised, and nobody else writes transactions to this partition: what is hidden
    /// now, is hidden for ever. It has the producer id of the earlier owner, so the marker that ends a
    /// transaction of ours ends the lost one too. It is aborted, also where the coordinator had committed
    /// it: a checkpoint that never stood is made again from the log.
    fn end_lost(&mut self) -> Result<(), ClusterError> {
        let place = (self.state_topic.as_str(), self.partition);
        let Some((from, until)) = hidden(&self.settings, &self.watermarks, place)? else {
            return Ok(());
        };
        let what = || {
            format!(
                "ending the lost transaction from {from} to {until} of {} [{}]",
                place.0, place.1
            )
        };
        tracing::warn!(
            topic = place.0,
            partition = place.1,
            from,
            until,
            "the broker has lost the end of a transaction: aborting it"
        );
        let rows = self.watermarks.partitions(&self.rows_topic);
        let rows = rows.map_err(|error| failed(what(), error))?;
        let end = self
            .live
            .as_ref()
            .map_or_else(End::no_producer, |live| live.end_lost(place, (&self.rows_topic, rows)));
        match end.decision {
            Decision::Aborted => Ok(()),
            _ => Err(failed(what(), end.why)),
        }
    }

    fn settle(&mut self, end: End) -> Result<(), CommitError> {
        match end.decision {
            Decision::Committed | Decision::Proceed => Ok(()),
            Decision::Aborted => Err(CommitError::Aborted(end.why)),
            Decision::Fenced => {
                self.retire();
                Err(CommitError::Fenced(end.why))
            }
            Decision::Unknown | Decision::Again | Decision::Abort => {
                self.retire();
                Err(CommitError::Unknown(end.why))
            }
        }
    }
}

impl Checkpoints for Transactional {
    fn take_over(&mut self) -> Result<(), CommitError> {
        // An initialised producer can't be initialised again: a take-over is always a new one's.
        self.retire();
        match self.connect() {
            Ok(live) => {
                // Asked before a broker is connected, librdkafka looks for the coordinator in vain and
                // sleeps for half a second. Whether this succeeds doesn't matter.
                let _ = live.producer.client().fetch_metadata(Some(&self.state_topic), ANSWER);
                self.live = Some(live);
            }
            Err(error) => return Err(CommitError::Unknown(error.to_string())),
        }
        let end = self.live.as_ref().map_or_else(End::no_producer, Live::init);
        self.settle(end)
    }

    fn restore(&mut self, each: &mut dyn FnMut(Bytes, Option<Bytes>)) -> Result<(), ClusterError> {
        self.end_lost()?;
        let traces = &mut self.traces;
        *traces = Traces::default();
        let genesis = genesis_key();
        read(
            &self.settings,
            &self.watermarks,
            (&self.state_topic, self.partition),
            (From::Oldest, Until::End),
            &mut |message| {
                let key = Bytes::copy_from_slice(message.key().unwrap_or_default());
                traces.read(message.offset());
                if key == genesis {
                    traces.read_genesis(message.offset());
                }
                each(key, message.payload().map(Bytes::copy_from_slice));
            },
        )
    }

    fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        self.look()?;
        let end = match &self.live {
            Some(live) => {
                live.commit(&batch, (&self.state_topic, self.partition), &self.rows_topic)
            }
            None => End::no_producer(),
        };
        self.settle(end)?;
        let stand = self.live.as_ref().and_then(|live| live.state.stand());
        match stand {
            Some((first, last)) => self.traces.wrote(first, last).map_err(|why| self.emptied(&why)),
            None => Ok(()),
        }
    }
}

impl Drop for Transactional {
    fn drop(&mut self) {
        self.retire();
    }
}

/// How a call ended, and why.
struct End {
    decision: Decision,
    why: String,
}

impl End {
    fn no_producer() -> Self {
        Self { decision: Decision::Unknown, why: "there is no producer: take over first".into() }
    }
}

fn sort(error: &KafkaError) -> (RDKafkaErrorCode, Sort) {
    match error {
        KafkaError::Transaction(error) => {
            let sort = if error.is_fatal() {
                Sort::Fatal
            } else if error.txn_requires_abort() {
                Sort::Abortable
            } else if error.is_retriable() {
                Sort::Retriable
            } else {
                Sort::Plain
            };
            (error.code(), sort)
        }
        // The wrapper's own flush before a commit: nothing was asked of the coordinator yet.
        KafkaError::Flush(code) => (*code, Sort::Retriable),
        other => (other.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail), Sort::Plain),
    }
}

impl Live {
    fn init(&self) -> End {
        self.repeat(Step::Init, TAKE_OVER, |left| self.producer.init_transactions(left))
    }

    fn commit(&self, batch: &Batch, state: (&str, i32), rows: &str) -> End {
        let begun = self.repeat(Step::Begin, Duration::ZERO, |_| self.producer.begin_transaction());
        if begun.decision != Decision::Proceed {
            return begun;
        }
        let mut end = match self.write(batch, state, rows) {
            Ok(()) => {
                self.repeat(Step::Commit, ENDING, |left| self.producer.commit_transaction(left))
            }
            Err((code, why)) => {
                // A fatal error has overtaken whatever became of the record.
                let code = self.producer.client().fatal_error().map_or(code, |(fatal, _)| fatal);
                let error = Some((code, self.write_sort()));
                let facts = Facts {
                    step: Step::Write,
                    error,
                    resent: Resent::No,
                    patience: Patience::Spent,
                };
                End { decision: decide(facts), why }
            }
        };
        if end.decision == Decision::Abort {
            let aborted =
                self.repeat(Step::Abort, ENDING, |left| self.producer.abort_transaction(left));
            end = match aborted.decision {
                Decision::Aborted => End { decision: Decision::Aborted, why: end.why },
                decision => End { decision, why: format!("{}; then {}", end.why, aborted.why) },
            };
        }
        end
    }

    fn write_sort(&self) -> Sort {
        if self.producer.client().fatal_error().is_some() { Sort::Fatal } else { Sort::Abortable }
    }

    /// Produces everything and waits until it is acknowledged: a commit with deliveries pending takes
    /// librdkafka a hundred milliseconds.
    fn write(
        &self,
        batch: &Batch,
        (state, partition): (&str, i32),
        rows: &str,
    ) -> Result<(), (RDKafkaErrorCode, String)> {
        let deadline = Instant::now() + WRITING;
        let number = self.state.next();
        for (key, value) in &batch.entries {
            let mut record =
                BaseRecord::with_opaque_to(state, number).partition(partition).key(key.as_ref());
            if let Some(value) = value {
                record = record.payload(value.as_ref());
            }
            self.produce(record, deadline)?;
        }
        for (key, value) in &batch.rows {
            self.produce(
                BaseRecord::with_opaque_to(rows, number).key(key.as_ref()).payload(value.as_ref()),
                deadline,
            )?;
        }
        self.acknowledged(deadline)
    }

    /// A transaction that writes something to each partition that a lost one may have written to, and is
    /// aborted.
    fn end_lost(&self, (state, partition): (&str, i32), (rows, count): (&str, i32)) -> End {
        let begun = self.repeat(Step::Begin, Duration::ZERO, |_| self.producer.begin_transaction());
        if begun.decision != Decision::Proceed {
            return begun;
        }
        let deadline = Instant::now() + WRITING;
        let number = self.state.next();
        let touch = |topic, partition| {
            let record = BaseRecord::with_opaque_to(topic, number).partition(partition);
            self.produce(record.key(LOST), deadline)
        };
        let written = touch(state, partition)
            .and_then(|()| (0..count).try_for_each(|partition| touch(rows, partition)))
            .and_then(|()| self.acknowledged(deadline));
        let aborted =
            self.repeat(Step::Abort, ENDING, |left| self.producer.abort_transaction(left));
        match written {
            Ok(()) => aborted,
            Err((_, why)) => {
                let why = format!("{why}; then {}", aborted.why);
                End { decision: Decision::Unknown, why }
            }
        }
    }

    fn acknowledged(&self, deadline: Instant) -> Result<(), (RDKafkaErrorCode, String)> {
        while self.producer.in_flight_count() > 0 {
            if self.state.failure().is_some() {
                break;
            }
            if Instant::now() >= deadline {
                let why = format!("records unacknowledged after {} s", WRITING.as_secs());
                return Err((RDKafkaErrorCode::OperationTimedOut, why));
            }
            self.rest();
        }
        match self.state.failure() {
            Some(code) => Err((code, self.fatal_or(code))),
            None => Ok(()),
        }
    }

    fn fatal_or(&self, code: RDKafkaErrorCode) -> String {
        self.producer.client().fatal_error().map_or_else(
            || format!("a record was not written: {code}"),
            |(code, reason)| format!("{code}: {reason}"),
        )
    }

    fn produce(
        &self,
        mut record: BaseRecord<'_, [u8], [u8], usize>,
        deadline: Instant,
    ) -> Result<(), (RDKafkaErrorCode, String)> {
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, back)) => {
                    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                    if code != RDKafkaErrorCode::QueueFull || Instant::now() >= deadline {
                        return Err((code, self.fatal_or(code)));
                    }
                    record = back;
                    self.rest();
                }
            }
        }
    }

    /// Waits for one slice, then serves what has come. Not by a poll of that length: the client rounds what
    /// is left of it down to whole milliseconds, so that a poll of one millisecond spins for all of it, and
    /// takes the processor from the broker that it waits for.
    fn rest(&self) {
        std::thread::sleep(SLICE);
        self.producer.poll(Duration::ZERO);
    }

    /// Makes one call, again while that may help, and says what it came to.
    fn repeat(
        &self,
        step: Step,
        patience: Duration,
        call: impl Fn(Duration) -> Result<(), KafkaError>,
    ) -> End {
        self.drain();
        self.state.disturbed.store(false, Ordering::Release);
        let began = Instant::now();
        let deadline = began + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let result = call(left.max(SLICE));
            self.drain();
            let disturbed = self.state.disturbed.load(Ordering::Acquire);
            let resent = if disturbed || began.elapsed() >= TRANSACTION_REQUEST_TIMEOUT {
                Resent::Maybe
            } else {
                Resent::No
            };
            let patience = if Instant::now() < deadline { Patience::Left } else { Patience::Spent };
            let error = result.as_ref().err().map(sort);
            let decision = decide(Facts { step, error, resent, patience });
            if decision == Decision::Again {
                self.rest();
                continue;
            }
            let why = match &result {
                Err(error) => format!("{step:?}: {error}"),
                Ok(()) => format!("{step:?}: a request may have been sent twice"),
            };
            return End { decision, why };
        }
    }

    /// Lets the client's events reach the context. A poll handles one.
    fn drain(&self) {
        const EVENTS: usize = 16;
        for _ in 0..EVENTS {
            self.producer.poll(Duration::ZERO);
        }
    }
}
