//! A Kafka client as an upstream or a data team would have one: it knows the registry, the topics and the
//! records, and nothing of the processes.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::invariants::Copyable;
use domain::request::ModelRequest;
use domain::topic::{Kind, Topic};
use kafka::{Cluster, Publisher, Registry, Settings};
use runtime::ports::{Headers, Outgoing, Publish as _, Raw, Tail, TailFrom, Topics as _, header};
use schemas::{Ids, Record};

use crate::platform::Platform;
use crate::stack::{Addresses, Stack};
use crate::wait::PATIENCE;

/// Connects with these settings, and learns the ids of all schemas. Blocks.
///
/// # Panics
/// When broker or registry don't answer.
#[must_use]
pub fn cluster(settings: Settings, registry: &str) -> Cluster {
    let registry = kafka::registry::Settings::at(registry);
    let registry = Registry::connect(registry).expect("an address of a registry");
    let ids = Ids::new();
    for (subject, record) in schemas::subjects::all(&settings.prefix) {
        if ids.id_of(record.name).is_none() {
            let id = registry.register(&subject, record.schema).expect("a registry");
            ids.register(record.name, id).expect("a record of ours");
        }
    }
    Cluster::connect(settings, registry, ids).expect("a cluster")
}

/// A client of one cluster.
pub struct Client {
    cluster: Cluster,
    publisher: Publisher,
}

impl Client {
    /// A client of the cluster that the platform runs on.
    pub async fn of(platform: &Platform) -> Self {
        Self::connect(platform.stack, &platform.addresses, &platform.prefix).await
    }

    /// A client of the cluster at `addresses`.
    ///
    /// # Panics
    /// When broker or registry don't answer.
    pub async fn connect(stack: Stack, addresses: &Addresses, prefix: &str) -> Self {
        let settings = Settings {
            brokers: addresses.brokers.clone(),
            prefix: prefix.to_owned(),
            client_id: "upstream".into(),
            properties: [].into(),
            stack: match stack {
                Stack::Embedded => kafka::Stack::Embedded,
                Stack::Real => kafka::Stack::Real,
            },
        };
        let registry = addresses.registry.clone();
        tokio::task::spawn_blocking(move || {
            let cluster = cluster(settings, &registry);
            let publisher = cluster.publisher().expect("a publisher");
            Self { cluster, publisher }
        })
        .await
        .expect("a client")
    }

    /// The value of a record in Confluent framing.
    ///
    /// # Panics
    /// Never: all records are registered.
    pub fn frame<R: Record>(&self, record: &R) -> Vec<u8> {
        self.cluster.ids().frame(record).expect("all records are registered")
    }

    /// How many partitions the feed of model requests has.
    ///
    /// # Panics
    /// When the broker doesn't answer.
    #[must_use]
    pub fn partitions(&self) -> i32 {
        self.cluster.partitions_of(Topic::Feed(Kind::Model)).expect("a broker")
    }

    /// Writes a value; returns its offset.
    ///
    /// # Panics
    /// When the broker doesn't take it.
    pub async fn write(
        &self,
        topic: Topic,
        partition: Option<i32>,
        key: &str,
        value: Vec<u8>,
    ) -> (i32, i64) {
        self.write_with(topic, partition, key, value, Vec::new()).await
    }

    /// As [`Client::write`], with headers.
    ///
    /// # Panics
    /// When the broker doesn't take it.
    pub async fn write_with(
        &self,
        topic: Topic,
        partition: Option<i32>,
        key: &str,
        value: Vec<u8>,
        headers: Headers,
    ) -> (i32, i64) {
        let key = Some(Bytes::copy_from_slice(key.as_bytes()));
        let record = Outgoing { topic, partition, key, value: value.into(), headers };
        self.publisher.publish(record).await.expect("the broker takes a record")
    }

    /// Writes a request to the feed, keyed by its id, as upstreams do.
    pub async fn request(&self, request: &ModelRequest) -> (i32, i64) {
        self.write(Topic::Feed(Kind::Model), None, &request.id, self.frame(request)).await
    }

    /// The length of the longest value that a topic has under keys that begin so.
    ///
    /// # Panics
    /// When it doesn't exist.
    pub async fn longest(&self, topic: Topic, key: &str) -> usize {
        let cluster = self.cluster.clone();
        let tail = tokio::task::spawn_blocking(move || cluster.tail(topic, TailFrom::Earliest));
        let mut tail = tail.await.expect("a reader").expect("a topic");
        let mut longest = 0;
        loop {
            // Only who reads on learns that there is no more.
            let Ok(records) = tokio::time::timeout(Duration::from_secs(1), tail.next()).await
            else {
                match tail.caught_up() {
                    true => break,
                    false => continue,
                }
            };
            let records = records.expect("the topic can be read").into_iter();
            let ours = records.map(|tailed| tailed.record).filter(|record| {
                record.key.as_ref().is_some_and(|found| found.starts_with(key.as_bytes()))
            });
            longest = ours.map(|record| record.value.len()).chain([longest]).max().unwrap_or(0);
        }
        longest
    }

    /// Reads a topic from its beginning.
    ///
    /// # Panics
    /// When it doesn't exist.
    pub async fn read<R: Record>(&self, topic: Topic) -> Reading<R> {
        let (cluster, ids) = (self.cluster.clone(), self.cluster.ids().clone());
        let tail = tokio::task::spawn_blocking(move || cluster.tail(topic, TailFrom::Earliest));
        let tail = tail.await.expect("a reader").expect("a topic");
        Reading { tail, ids, topic, seen: Vec::new() }
    }
}

/// What was read of a topic so far.
pub struct Reading<R> {
    tail: Box<dyn Tail>,
    ids: Ids,
    topic: Topic,
    seen: Vec<Seen<R>>,
}

struct Seen<R> {
    record: R,
    /// Its `ce_id`.
    id: Option<String>,
    value: Bytes,
}

impl<R: Record + Debug> Reading<R> {
    /// Reads on until `fits` holds of all that was read and `keep` chose; returns it.
    ///
    /// # Panics
    /// When that takes too long, or a record can't be read.
    pub async fn until(
        &mut self,
        what: &str,
        keep: impl Fn(&R) -> bool,
        mut fits: impl FnMut(&[&R]) -> bool,
    ) -> Vec<&R> {
        let began = Instant::now();
        loop {
            let kept: Vec<&R> = self.records().filter(|record| keep(record)).collect();
            if fits(&kept) {
                break;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "waited in vain: {what}; there are {}, at last {:?}",
                kept.len(),
                kept.last(),
            );
            self.more(Duration::from_millis(100)).await;
        }
        self.records().filter(|record| keep(record)).collect()
    }

    /// Reads on until nothing comes for `quiet`.
    pub async fn settle(&mut self, quiet: Duration) {
        while self.more(quiet).await || !self.tail.caught_up() {}
    }

    /// What was read so far, in the order of each partition.
    pub fn records(&self) -> impl Iterator<Item = &R> {
        self.seen.iter().map(|seen| &seen.record)
    }

    /// The same as bytes, where they have an id by which a copy is known.
    #[must_use]
    pub fn copyables(&self) -> Vec<Copyable> {
        let topic = self.topic.name();
        let copyable = |seen: &Seen<R>| {
            let id = seen.id.clone()?;
            Some(Copyable { topic: topic.to_owned(), id, value: seen.value.to_vec() })
        };
        self.seen.iter().filter_map(copyable).collect()
    }

    async fn more(&mut self, wait: Duration) -> bool {
        let Ok(records) = tokio::time::timeout(wait, self.tail.next()).await else {
            return false;
        };
        for tailed in records.expect("the topic can be read") {
            let Raw { value, offset, headers, .. } = tailed.record;
            let read = self.ids.read(&value);
            self.seen.push(Seen {
                record: read.unwrap_or_else(|error| panic!("offset {offset}: {error}")),
                id: header(&headers, "ce_id").map(str::to_owned),
                value,
            });
        }
        true
    }
}

/// An id that nobody else uses, whose key belongs to `partition` of `count`.
#[must_use]
pub fn fresh_on(what: &str, partition: i32, count: i32) -> String {
    std::iter::repeat_with(|| crate::fresh(what))
        .find(|id| domain::partition::of_key(id.as_bytes(), count) == partition)
        .expect("the hash reaches every partition")
}
