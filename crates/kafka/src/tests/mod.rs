//! The adapter against the embedded broker. Each test has a broker of its own.

mod checkpoints;
mod coordinators;
mod edge;
mod membership;
mod reader;
mod sender;
mod worker;

use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::time::Millis;
use domain::topic::{Kind, Topic};
use runtime::ports::{
    Cluster as _, ClusterError, Inbox, Outgoing, Publish as _, RECORD_BATCHES, Raw, Records,
    Report, Scanned,
};
use schemas::Ids;
use tokio::sync::mpsc;

use crate::embedded::Options;
use crate::{Cluster, Embedded, Registry, Settings};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long a test listens for what must not come.
const QUIET: Duration = Duration::from_millis(300);

pub(crate) fn embedded() -> (Embedded, Cluster) {
    let ids = Ids::new();
    let embedded = Embedded::start(Options::default(), &ids, Millis(1)).unwrap();
    let cluster = embedded.cluster_with(patient(&embedded), ids).unwrap();
    (embedded, cluster)
}

/// Settings for members without a worker, whom nobody attends.
fn patient(embedded: &Embedded) -> Settings {
    let mut settings = embedded.settings("test");
    settings.properties.insert("max.poll.interval.ms".into(), "600000".into());
    settings
}

/// As [`embedded`] with several brokers; and the ids of all schemas.
pub(crate) fn embedded_on(brokers: usize) -> (Embedded, Ids) {
    let ids = Ids::new();
    let embedded = Embedded::start_on(brokers, Options::default(), &ids, Millis(1)).unwrap();
    (embedded, ids)
}

/// The same broker, with checkpoints in topics and transactions.
pub(crate) fn with_transactions(embedded: &Embedded) -> Cluster {
    let registry =
        Registry::connect(crate::registry::Settings::at(embedded.registry_url())).unwrap();
    Cluster::connect(patient(embedded), registry, Ids::new()).unwrap()
}

pub(crate) struct Ends {
    pub(crate) reports: mpsc::UnboundedReceiver<Report>,
    pub(crate) records: mpsc::Receiver<Records>,
}

pub(crate) fn inbox() -> (Inbox, Ends) {
    let (reports, reported) = mpsc::unbounded_channel();
    let (records, recorded) = mpsc::channel(RECORD_BATCHES);
    (Inbox { reports, records }, Ends { reports: reported, records: recorded })
}

impl Ends {
    /// The next report.
    pub(crate) fn report(&mut self) -> Report {
        soon("a report", || self.reports.try_recv().ok())
    }

    /// The partitions of the next report, which must be an assignment. One of nothing says only that the
    /// member has joined.
    pub(crate) fn assigned(&mut self) -> Vec<i32> {
        loop {
            match self.report() {
                Report::Assigned(mut partitions) if !partitions.is_empty() => {
                    partitions.sort_unstable();
                    return partitions;
                }
                Report::Assigned(_) => {}
                other => panic!("expected an assignment, got {other:?}"),
            }
        }
    }

    /// The partitions that were assigned just now, if any were.
    pub(crate) fn assigned_now(&mut self) -> Option<Vec<i32>> {
        match self.reports.try_recv().ok()? {
            Report::Assigned(partitions) => Some(partitions).filter(|given| !given.is_empty()),
            other => panic!("expected an assignment, got {other:?}"),
        }
    }

    /// The next batch of records.
    pub(crate) fn batch(&mut self) -> Records {
        soon("records", || self.records.try_recv().ok())
    }
}

/// Asks again and again until there is an answer.
pub(crate) fn soon<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Makes sure that there is no answer for a while.
pub(crate) fn never<T: std::fmt::Debug>(what: &str, mut ask: impl FnMut() -> Option<T>) {
    let began = Instant::now();
    while began.elapsed() < QUIET {
        if let Some(answer) = ask() {
            panic!("{what} came: {answer:?}");
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

pub(crate) fn outgoing(topic: Topic, partition: Option<i32>, key: &str, value: &str) -> Outgoing {
    Outgoing {
        topic,
        partition,
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Bytes::copy_from_slice(value.as_bytes()),
        headers: vec![
            ("ce_id".into(), Bytes::from(format!("id-{value}"))),
            ("empty".into(), Bytes::new()),
        ],
    }
}

/// Writes `count` records with the values 0, 1, ... to one partition.
pub(crate) fn fill(cluster: &Cluster, topic: Topic, partition: i32, count: usize) {
    let publisher = cluster.publisher().unwrap();
    runtime().block_on(async {
        for n in 0..count {
            let record = outgoing(topic, Some(partition), &format!("k{n}"), &n.to_string());
            publisher.publish(record).await.unwrap();
        }
    });
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn partition_counts_of_a_processor_must_agree() {
    let (embedded, cluster) = embedded();
    assert_eq!(cluster.partitions(Kind::Model).unwrap(), 4);
    embedded.with_mock(|mock| {
        for (name, count) in [("x-model-requests", 4), ("x-model-events", 4), ("x-model-state", 3)]
        {
            mock.create_topic(name, count, 1).unwrap();
        }
    });
    let mut settings = embedded.settings("test");
    settings.prefix = "x-".into();
    let other = embedded.cluster_with(settings, Ids::new()).unwrap();
    let error = other.partitions(Kind::Model).unwrap_err().to_string();
    assert!(error.contains("x-model-state has 3"), "{error}");
}

#[test]
fn a_schema_that_the_registry_has_is_learned_and_one_that_it_lacks_is_refused() {
    let (embedded, cluster) = embedded();
    let known = cluster.ids().id_of(schemas::ALL[0].name).unwrap();
    let fresh = embedded.cluster("other", Ids::new()).unwrap();
    assert!(fresh.resolve_schema(known).unwrap());
    assert!(!fresh.resolve_schema(9_999).unwrap());
    drop(embedded);
    assert!(fresh.resolve_schema(known).is_err(), "no answer is not an answer");
}

/// What a scan found, where nothing is gone.
fn scanned(result: Result<Scanned, ClusterError>) -> Vec<Raw> {
    match result {
        Ok(Scanned::Records(records)) => records,
        other => panic!("{other:?}"),
    }
}
