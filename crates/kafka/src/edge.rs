//! What the edges need: publishing single records, and reading a whole topic outside any group.
//!
//! A [`Tail`] never skips: a position that is gone ends it with an error. A [`Publisher`] never says that
//! a record stands unless the broker gave its offset.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message, Offset, Statistics, TopicPartitionList};
use runtime::ports::{
    self, ClusterError, Elsewhere, ElsewhereError, Outgoing, Publish, PublishElsewhere,
    RECORDS_PER_BATCH, TailFrom, Tailed,
};
use tokio::sync::{mpsc, oneshot};

use crate::config::{PUBLISH_TIMEOUT, Role, Settings};
use crate::events::Logged;
use crate::reader::stops_reading;
use crate::reading::Watermarks;
use crate::topics::Names;
use crate::{events, failed, records};

/// Batches of a tail that may wait for its reader; then the tail stops fetching.
const BATCHES: usize = 16;

/// How long a tail's thread waits for records before it looks whether it is still wanted.
const POLL: Duration = Duration::from_millis(50);

/// How much longer than librdkafka's own timeout a publisher waits for its verdict.
const MARGIN: Duration = Duration::from_secs(5);

struct Delivery;

type Verdict = oneshot::Sender<Result<(i32, i64), RDKafkaErrorCode>>;

impl ClientContext for Delivery {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        events::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        events::error(&error, reason);
    }

    fn stats(&self, _: Statistics) {}
}

impl ProducerContext for Delivery {
    type DeliveryOpaque = Box<Verdict>;

    fn delivery(&self, result: &DeliveryResult<'_>, verdict: Box<Verdict>) {
        let outcome = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        // Nobody waits any more when the caller went away.
        let _ = verdict.send(outcome);
    }
}

/// Writes single records and waits for each.
pub struct Publisher {
    settings: Settings,
    names: Names,
    producer: Mutex<Arc<ThreadedProducer<Delivery>>>,
}

impl Publisher {
    /// Makes the producer; connects in the background.
    ///
    /// # Errors
    /// The configuration is not accepted.
    pub fn new(settings: &Settings) -> Result<Self, ClusterError> {
        let producer = Mutex::new(Arc::new(Self::make(settings)?));
        Ok(Self { settings: settings.clone(), names: Names::of_settings(settings), producer })
    }

    fn make(settings: &Settings) -> Result<ThreadedProducer<Delivery>, ClusterError> {
        settings
            .client(Role::Publisher)
            .create_with_context(Delivery)
            .map_err(|error| failed("making a publisher", error))
    }

    fn current(&self) -> Arc<ThreadedProducer<Delivery>> {
        Arc::clone(&self.producer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An idempotent producer that met a fatal error takes nothing any more.
    fn renew_after(&self, failed: &Arc<ThreadedProducer<Delivery>>) {
        if failed.client().fatal_error().is_none() {
            return;
        }
        let mut current = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&current, failed) {
            match Self::make(&self.settings) {
                Ok(new) => {
                    let old = std::mem::replace(&mut *current, Arc::new(new));
                    std::thread::spawn(move || drop(old));
                }
                Err(error) => tracing::error!(%error, "the publisher could not be renewed"),
            }
        }
    }
}

/// What an error of a publish means to the one who asked.
fn meaning(code: RDKafkaErrorCode) -> String {
    use RDKafkaErrorCode as Code;
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => {
            "the record is too large for its topic".into()
        }
        Code::QueueFull => "too many records wait for the broker".into(),
        Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::InvalidRecord
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::InvalidTopic => format!("refused: {code}"),
        code => format!(
            "the outcome is unknown, the record may be written again with the same id: {code}"
        ),
    }
}

/// Whether an error says that the record doesn't stand, and wouldn't another time.
fn is_refusal(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::InvalidRecord
            | Code::InvalidArgument
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::UnknownTopicOrPartition
            | Code::InvalidTopic
    )
}

impl Publisher {
    /// Hands one record to the producer and waits for its verdict.
    async fn deliver<'r>(
        &self,
        base: impl FnOnce(Box<Verdict>) -> records::Base<'r, Box<Verdict>>,
    ) -> Result<(i32, i64), RDKafkaErrorCode> {
        let producer = self.current();
        let (verdict, decided) = oneshot::channel();
        if let Err((error, _)) = producer.send(base(Box::new(verdict))) {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::InvalidArgument);
            self.renew_after(&producer);
            return Err(code);
        }
        match tokio::time::timeout(PUBLISH_TIMEOUT + MARGIN, decided).await {
            Ok(Ok(Ok((partition, offset)))) if offset >= 0 => Ok((partition, offset)),
            Ok(Ok(Err(code))) => {
                self.renew_after(&producer);
                Err(code)
            }
            // Acknowledged without an offset, or no verdict at all.
            Ok(Ok(Ok(_)) | Err(_)) | Err(_) => Err(RDKafkaErrorCode::OperationTimedOut),
        }
    }
}

#[async_trait]
impl Publish for Publisher {
    async fn publish(&self, record: Outgoing) -> Result<(i32, i64), ClusterError> {
        let topic = self.names.of(record.topic);
        self.deliver(|verdict| records::base(topic, &record, verdict))
            .await
            .map_err(|code| failed(format!("writing to {topic}"), meaning(code)))
    }
}

#[async_trait]
impl PublishElsewhere for Publisher {
    async fn publish_elsewhere(&self, record: Elsewhere) -> Result<(i32, i64), ElsewhereError> {
        let topic = record.topic.as_str();
        if self.names.is_ours(topic) {
            let why = format!("{topic} is a topic of ours, which nobody else writes to");
            return Err(ElsewhereError::Refused(why));
        }
        self.deliver(|verdict| records::elsewhere(&record, verdict)).await.map_err(|code| {
            let why = format!("writing to {topic}: {}", meaning(code));
            match is_refusal(code) {
                true => ElsewhereError::Refused(why),
                false => ElsewhereError::Unknown(why),
            }
        })
    }
}

/// No number of records: the end is not known yet.
const NOT_YET: u64 = u64::MAX;

/// Reads all partitions of one topic.
pub struct Tail {
    batches: mpsc::Receiver<Result<Vec<Tailed>, ClusterError>>,
    /// How many records lie before the end as it was when the tail was made.
    backlog: Arc<AtomicU64>,
    returned: u64,
    stop: Arc<AtomicBool>,
}

impl Tail {
    /// Begins to read `topic`. Blocks for a few round trips.
    pub(crate) fn open(
        settings: &Settings,
        watermarks: &Watermarks,
        topic: &str,
        from: &TailFrom,
    ) -> Result<Self, ClusterError> {
        let what = || format!("reading {topic}");
        let count = watermarks.partitions(topic).map_err(|error| failed(what(), error))?;
        let mut list = TopicPartitionList::new();
        let mut behind = BTreeMap::new();
        for partition in 0..count {
            let (low, high) =
                watermarks.of(topic, partition).map_err(|error| failed(what(), error))?;
            let start = match from {
                TailFrom::Earliest => low,
                TailFrom::Latest => high,
                TailFrom::Offsets(offsets) => offsets.get(&partition).copied().unwrap_or(low),
            };
            if !(low..=high).contains(&start) {
                return Err(failed(
                    what(),
                    format!("partition {partition} holds offsets {low} to {high}, not {start}"),
                ));
            }
            list.add_partition_offset(topic, partition, Offset::Offset(start))
                .map_err(|error| failed(what(), error))?;
            if start < high {
                behind.insert(partition, high);
            }
        }
        let consumer: BaseConsumer<Logged> = settings
            .client(Role::Reading)
            .create_with_context(Logged)
            .map_err(|error| failed(what(), error))?;
        consumer.assign(&list).map_err(|error| failed(what(), error))?;
        let (sender, batches) = mpsc::channel(BATCHES);
        let backlog = Arc::new(AtomicU64::new(if behind.is_empty() { 0 } else { NOT_YET }));
        let stop = Arc::new(AtomicBool::new(false));
        let tailing = Tailing {
            consumer,
            topic: topic.to_owned(),
            sender,
            backlog: Arc::clone(&backlog),
            behind,
            passed: BTreeSet::new(),
            sent: 0,
        };
        let stopping = Arc::clone(&stop);
        std::thread::Builder::new()
            .name("tail".into())
            .spawn(move || tailing.run(&stopping))
            .map_err(|error| failed(what(), error))?;
        Ok(Self { batches, backlog, returned: 0, stop })
    }
}

#[async_trait]
impl ports::Tail for Tail {
    async fn next(&mut self) -> Result<Vec<Tailed>, ClusterError> {
        let batch = self
            .batches
            .recv()
            .await
            .unwrap_or_else(|| Err(failed("reading a topic", "the reader has ended")))?;
        self.returned += batch.len() as u64;
        Ok(batch)
    }

    fn caught_up(&self) -> bool {
        self.returned >= self.backlog.load(Ordering::Acquire)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// The thread behind a tail.
struct Tailing {
    consumer: BaseConsumer<Logged>,
    topic: String,
    sender: mpsc::Sender<Result<Vec<Tailed>, ClusterError>>,
    backlog: Arc<AtomicU64>,
    /// Where each partition ended, of those that had something to read.
    behind: BTreeMap<i32, i64>,
    /// Partitions of those that have been read to there.
    passed: BTreeSet<i32>,
    sent: u64,
}

impl Tailing {
    fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            let mut batch = Vec::new();
            let mut wait = POLL;
            let mut error = None;
            while batch.len() < RECORDS_PER_BATCH {
                match self.consumer.poll(wait) {
                    Some(Ok(message)) => {
                        let partition = message.partition();
                        let record = records::raw(&message);
                        if self.behind.get(&partition).is_some_and(|end| record.offset + 1 >= *end)
                        {
                            self.passed.insert(partition);
                        }
                        batch.push(Tailed { partition, record });
                    }
                    // Ends of transactions take up offsets: the end is known by the broker's word.
                    Some(Err(KafkaError::PartitionEOF(partition))) => {
                        self.passed.insert(partition);
                    }
                    Some(Err(found)) if stops_reading(&found) => {
                        error = Some(failed(format!("reading {}", self.topic), found));
                        break;
                    }
                    Some(Err(_)) => {}
                    None => break,
                }
                wait = Duration::ZERO;
            }
            self.sent += batch.len() as u64;
            // Before the records: whoever has them all must find the mark set.
            if self.backlog.load(Ordering::Acquire) == NOT_YET
                && self.behind.keys().all(|partition| self.passed.contains(partition))
            {
                self.backlog.store(self.sent, Ordering::Release);
            }
            if !batch.is_empty() && self.sender.blocking_send(Ok(batch)).is_err() {
                return;
            }
            if let Some(error) = error {
                let _ = self.sender.blocking_send(Err(error));
                return;
            }
        }
    }
}
