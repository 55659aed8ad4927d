//! The plain clients of the harness and of the peers: tuned for latency as an engineer would who knows
//! librdkafka, with nothing of ours in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

/// How long the broker may take to answer.
const ANSWER: Duration = Duration::from_secs(15);

/// Counts the records that the producer gave up on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failures(Arc<AtomicU64>);

impl Failures {
    /// How many until now.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// A producer that sends at once.
pub(crate) type Producer = ThreadedProducer<Failures>;

fn base(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("socket.nagle.disable", "true")
        .set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// What every producer here has: acknowledged by all, idempotent, sent at once.
pub(crate) fn producing(brokers: &str) -> ClientConfig {
    let mut config = base(brokers);
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .set("partitioner", "murmur2_random")
        .set("queue.buffering.max.messages", "500000");
    config
}

/// A producer with [`producing`], and its count of failures.
pub(crate) fn producer(brokers: &str) -> anyhow::Result<(Producer, Failures)> {
    let failures = Failures::default();
    let producer =
        producing(brokers).create_with_context(failures.clone()).context("making a producer")?;
    Ok((producer, failures))
}

/// A consumer that begins at the present end of each partition of `topic`. Whatever is written after this
/// has returned is read.
pub(crate) fn consumer_from_end(
    brokers: &str,
    topic: &str,
    group: &str,
) -> anyhow::Result<BaseConsumer> {
    consumer(brokers, topic, group, |_, high| high)
}

/// A consumer that begins at the oldest record of each partition of `topic`.
pub(crate) fn consumer_from_start(
    brokers: &str,
    topic: &str,
    group: &str,
) -> anyhow::Result<BaseConsumer> {
    consumer(brokers, topic, group, |low, _| low)
}

fn consumer(
    brokers: &str,
    topic: &str,
    group: &str,
    begin: impl Fn(i64, i64) -> i64,
) -> anyhow::Result<BaseConsumer> {
    let consumer: BaseConsumer = base(brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.wait.max.ms", "50")
        .create()
        .context("making a consumer")?;
    let metadata = consumer
        .fetch_metadata(Some(topic), ANSWER)
        .with_context(|| format!("looking for {topic}"))?;
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|found| found.partitions()) {
        let (low, high) = ends(&consumer, topic, partition.id())
            .with_context(|| format!("asking for the ends of {topic}"))?;
        let begin = Offset::Offset(begin(low, high));
        list.add_partition_offset(topic, partition.id(), begin)?;
    }
    consumer.assign(&list).context("assigning partitions")?;
    Ok(consumer)
}

/// The ends of a partition; one that was made just now has no leader yet.
fn ends(consumer: &BaseConsumer, topic: &str, partition: i32) -> KafkaResult<(i64, i64)> {
    let until = Instant::now() + ANSWER;
    loop {
        let ends = consumer.fetch_watermarks(topic, partition, ANSWER);
        if ends.is_ok() || Instant::now() >= until {
            return ends;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Makes plain topics for the peers.
pub(crate) async fn make_topics(
    brokers: &str,
    names: &[&str],
    partitions: i32,
) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = base(brokers).create()?;
    let topics =
        names.iter().map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1)));
    let made = admin
        .create_topics(topics.collect::<Vec<_>>().iter(), &AdminOptions::new())
        .await
        .context("making the peers' topics")?;
    for result in made {
        result.map_err(|(name, code)| anyhow::anyhow!("making {name}: {code}"))?;
    }
    Ok(())
}
