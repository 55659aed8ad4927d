//! What the runtime is compared with: the same hop (a record is read from one topic and written on to the
//! next) by a plain relay that promises nothing, and by one that makes a transaction of each batch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::OwnedMessage;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::client;

/// How long a relay waits for a record before it looks whether it should stop.
const LOOK: Duration = Duration::from_millis(50);

/// The most records of one transaction.
const BATCH: usize = 500;

/// Producers that take turns, so that none meets the end of its own last transaction: the best that was
/// found for a transaction per batch.
const TURNS: usize = 3;

/// How long a transactional request may take.
const REQUEST: Duration = Duration::from_secs(10);

/// A relay on a thread of its own.
pub(crate) struct Relay {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    fn spawn(
        name: &str,
        work: impl FnOnce(&AtomicBool) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                // What it didn't pass on voids the row.
                if let Err(error) = work(&stopped) {
                    tracing::error!(error = format!("{error:#}"), "a peer ended");
                }
            })
            .context("starting a peer")?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Reads `from`, writes to `to`, promises nothing.
    pub(crate) fn plain(brokers: &str, from: &str, to: &str) -> anyhow::Result<Self> {
        let consumer = client::consumer_from_end(brokers, from, "bench-plain")?;
        let (producer, _) = client::producer(brokers)?;
        let to = to.to_owned();
        Self::spawn("plain-peer", move |stop| {
            while !stop.load(Ordering::Acquire) {
                let Some(message) = consumer.poll(LOOK) else {
                    continue;
                };
                let message = message?;
                let record = BaseRecord::to(&to)
                    .key(message.key().unwrap_or_default())
                    .payload(message.payload().unwrap_or_default());
                producer.send(record).map_err(|(error, _)| error)?;
            }
            Ok(())
        })
    }

    /// As [`Relay::plain`], each record so long after it was read.
    pub(crate) fn later(
        brokers: &str,
        from: &str,
        to: &str,
        wait: Duration,
    ) -> anyhow::Result<Self> {
        let consumer = client::consumer_from_end(brokers, from, "bench-later")?;
        let (producer, _) = client::producer(brokers)?;
        let to = to.to_owned();
        Self::spawn("later-peer", move |stop| {
            let mut waiting: VecDeque<(Instant, OwnedMessage)> = VecDeque::new();
            while !stop.load(Ordering::Acquire) {
                let now = Instant::now();
                while let Some((_, message)) = waiting.pop_front_if(|(due, _)| *due <= now) {
                    let record = BaseRecord::to(&to)
                        .key(message.key().unwrap_or_default())
                        .payload(message.payload().unwrap_or_default());
                    producer.send(record).map_err(|(error, _)| error)?;
                }
                let rest = waiting.front().map_or(LOOK, |(due, _)| due.duration_since(now));
                if let Some(message) = consumer.poll(rest) {
                    waiting.push_back((Instant::now() + wait, message?.detach()));
                }
            }
            Ok(())
        })
    }

    /// Reads `from`, writes to `to`; positions and records of a batch in one transaction.
    pub(crate) fn transactional(
        brokers: &str,
        from: &str,
        to: &str,
        group: &str,
    ) -> anyhow::Result<Self> {
        let consumer = client::consumer_from_end(brokers, from, group)?;
        let mut producers: Vec<BaseProducer> = Vec::new();
        for turn in 0..TURNS {
            let producer: BaseProducer = client::producing(brokers)
                .set("transactional.id", format!("{group}-{turn}"))
                .set("retry.backoff.ms", "1")
                .set("retry.backoff.max.ms", "20")
                .create()
                .context("making a transactional producer")?;
            producer.init_transactions(REQUEST)?;
            producers.push(producer);
        }
        let to = to.to_owned();
        Self::spawn("transactional-peer", move |stop| {
            for producer in producers.iter().cycle() {
                let batch = loop {
                    if stop.load(Ordering::Acquire) {
                        return Ok(());
                    }
                    let batch = next_batch(&consumer)?;
                    if !batch.is_empty() {
                        break batch;
                    }
                };
                pass_on(producer, &consumer, &batch, &to)?;
            }
            Ok(())
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whatever is there, once something is.
fn next_batch(consumer: &BaseConsumer) -> anyhow::Result<Vec<OwnedMessage>> {
    let mut batch = Vec::new();
    let mut wait = LOOK;
    while batch.len() < BATCH {
        let Some(message) = consumer.poll(wait) else {
            break;
        };
        batch.push(message?.detach());
        wait = Duration::ZERO;
    }
    Ok(batch)
}

fn pass_on(
    producer: &BaseProducer,
    consumer: &BaseConsumer,
    batch: &[OwnedMessage],
    to: &str,
) -> anyhow::Result<()> {
    producer.begin_transaction()?;
    let mut positions = TopicPartitionList::new();
    for message in batch {
        let record = BaseRecord::to(to)
            .key(message.key().unwrap_or_default())
            .payload(message.payload().unwrap_or_default());
        producer.send(record).map_err(|(error, _)| error)?;
        let next = Offset::Offset(message.offset() + 1);
        let (topic, partition) = (message.topic(), message.partition());
        match positions.find_partition(topic, partition) {
            Some(mut known) => known.set_offset(next)?,
            None => positions.add_partition_offset(topic, partition, next)?,
        }
    }
    // Committing with reports pending costs 100 ms: librdkafka polls them in slices of that length.
    while producer.in_flight_count() > 0 {
        // A poll of a millisecond would spin: the client rounds what is left of it down.
        std::thread::sleep(Duration::from_millis(1));
        producer.poll(Duration::ZERO);
    }
    let group = consumer.group_metadata().context("a group was configured")?;
    producer.send_offsets_to_transaction(&positions, &group, REQUEST)?;
    producer.commit_transaction(REQUEST)?;
    Ok(())
}
