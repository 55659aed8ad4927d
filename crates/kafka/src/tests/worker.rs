//! Whole workers on the embedded broker, with checkpoints in transactions: what becomes of the work when a
//! worker hangs, and when every coordinator moves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::event::ExecutionEvent;
use domain::request::ModelRequest;
use domain::time::Millis;
use domain::topic::{Kind, Topic};
use rdkafka::mocking::MockCoordinator;
use runtime::partition::genesis_key;
use runtime::ports::{Outgoing, Publish as _, Tail, TailFrom, Topics as _, header};
use runtime::testing::hanging::{Echo, Gate, HANGS};
use runtime::worker::{Options, Readiness, Worker};
use schemas::Ids;
use tokio_util::sync::CancellationToken;

use super::coordinators::{BROKERS, moving};
use super::{Embedded, PATIENCE, embedded_on, runtime, soon};
use crate::{Cluster, Registry};

const KIND: Kind = Kind::Model;
const PARTITIONS: i32 = 4;

/// Whoever is silent for as long loses its partitions; the mock cluster looks once a second.
const SESSION: Duration = Duration::from_secs(2);

/// A worker in threads of its own. Dropping it stops it.
struct Running {
    shutdown: CancellationToken,
    readiness: Readiness,
    gate: Gate,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // A hung one can't stop.
        self.gate.open();
        self.shutdown.cancel();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the worker panicked");
    }
}

/// Requests, workers, and what came of them.
struct Scene {
    embedded: Arc<Embedded>,
    ids: Ids,
    upstream: Cluster,
    results: Box<dyn Tail>,
    /// For each execution, its events by id: value and number of copies.
    seen: BTreeMap<String, BTreeMap<String, (Bytes, usize)>>,
}

impl Scene {
    fn new() -> Self {
        let (embedded, ids) = embedded_on(BROKERS);
        let upstream = cluster(&embedded, &ids);
        for partition in 0..PARTITIONS {
            let state = Topic::State(KIND);
            let value = crate::topics::admin::genesis(state, partition, &ids, Millis(1)).unwrap();
            write(&upstream, state, Some(partition), &genesis_key(), value);
        }
        let results = upstream.tail(Topic::Results, TailFrom::Earliest).unwrap();
        Self { embedded: Arc::new(embedded), ids, upstream, results, seen: BTreeMap::new() }
    }

    fn worker(&self, gate: Gate) -> Running {
        let mut options = Options::default();
        options.partition.session_timeout_ms = SESSION.as_millis().try_into().unwrap();
        options.partition.checkpoint_min_ms = 20;
        options.partition.checkpoint_max_ms = 50;
        let readiness = Readiness::default();
        let worker = Worker {
            processor: Arc::new(Echo(gate.clone())),
            ids: self.ids.clone(),
            cluster: Arc::new(cluster(&self.embedded, &self.ids)),
            options,
            program: "test".into(),
            readiness: readiness.clone(),
        };
        let shutdown = CancellationToken::new();
        let stopped = shutdown.clone();
        let thread = std::thread::spawn(move || runtime().block_on(worker.run(stopped)).unwrap());
        Running { shutdown, readiness, gate, thread: Some(thread) }
    }

    fn publish(&self, ids: impl IntoIterator<Item = String>, body: &str) {
        for id in ids {
            let request = ModelRequest::new(id.clone(), "any", body);
            let value = Bytes::from(self.ids.frame(&request).unwrap());
            write(&self.upstream, Topic::Feed(KIND), None, &id, value);
        }
    }

    /// Waits until exactly these have ended, then makes sure that each ended once.
    fn all_ended_once(&mut self, wanted: &BTreeSet<String>) {
        let began = Instant::now();
        while !wanted.iter().all(|id| self.seen.contains_key(id)) {
            let missing: Vec<_> = wanted.iter().filter(|id| !self.seen.contains_key(*id)).collect();
            assert!(began.elapsed() < PATIENCE, "these have not ended: {missing:?}");
            self.read(Duration::from_millis(100));
        }
        // What comes twice comes late.
        while self.read(Duration::from_millis(500)) {}
        let events = self.seen.iter().filter(|(id, _)| wanted.contains(*id));
        let twice: Vec<_> = events.filter(|(_, events)| events.len() != 1).collect();
        assert!(twice.is_empty(), "{twice:#?}");
    }

    fn read(&mut self, wait: Duration) -> bool {
        let next =
            runtime().block_on(async { tokio::time::timeout(wait, self.results.next()).await });
        let Ok(records) = next else { return false };
        for tailed in records.unwrap() {
            let event: ExecutionEvent = self.ids.read(&tailed.record.value).unwrap();
            let id = header(&tailed.record.headers, "ce_id").unwrap().to_owned();
            let value = tailed.record.value;
            let of_it = self.seen.entry(event.execution_id).or_default();
            let (first, copies) = of_it.entry(id).or_insert_with(|| (value.clone(), 0));
            assert_eq!(*first, value, "a copy is identical to the first");
            *copies += 1;
        }
        true
    }
}

fn cluster(embedded: &Embedded, ids: &Ids) -> Cluster {
    let registry =
        Registry::connect(crate::registry::Settings::at(embedded.registry_url())).unwrap();
    let mut settings = embedded.settings("test");
    for (name, value) in [
        ("session.timeout.ms", SESSION.as_millis().to_string()),
        ("max.poll.interval.ms", SESSION.as_millis().to_string()),
        ("heartbeat.interval.ms", "200".into()),
    ] {
        settings.properties.insert(name.into(), value);
    }
    Cluster::connect(settings, registry, ids.clone()).unwrap()
}

fn write(cluster: &Cluster, topic: Topic, partition: Option<i32>, key: &str, value: Bytes) {
    let key = Some(Bytes::copy_from_slice(key.as_bytes()));
    let record = Outgoing { topic, partition, key, value, headers: Vec::new() };
    let publisher = cluster.publisher().unwrap();
    runtime().block_on(publisher.publish(record)).unwrap();
}

fn names(what: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{what}-{n}")).collect()
}

#[test]
fn a_worker_that_hangs_loses_its_partitions_and_does_no_harm_when_it_goes_on() {
    let mut scene = Scene::new();
    let first = scene.worker(Gate::closed());
    soon("the first worker", || first.readiness.is_ready().then_some(()));
    let mut wanted: BTreeSet<String> = names("before", 8).into_iter().collect();
    scene.publish(wanted.clone(), "");
    scene.all_ended_once(&wanted);

    let hung = names("hung", 1);
    scene.publish(hung.clone(), HANGS);
    soon("the first hangs", || first.gate.is_reached().then_some(()));
    // Its process lives, and its heartbeats go on; all the same it may not keep what it doesn't work on.
    let second = scene.worker(Gate::default());
    let during = names("during", 8);
    scene.publish(during.clone(), "");
    wanted.extend(hung.into_iter().chain(during));
    scene.all_ended_once(&wanted);
    assert!(first.gate.is_reached(), "the first still hangs");

    first.gate.open();
    let after = names("after", 8);
    scene.publish(after.clone(), "");
    wanted.extend(after);
    scene.all_ended_once(&wanted);
    // It has a part in the work again.
    drop(second);
    let alone = names("alone", 8);
    scene.publish(alone.clone(), "");
    wanted.extend(alone);
    scene.all_ended_once(&wanted);
}

#[test]
fn work_goes_on_while_every_coordinator_moves() {
    let mut scene = Scene::new();
    let settings = scene.upstream.settings();
    let mut coordinators: Vec<fn(String) -> MockCoordinator> = vec![MockCoordinator::Group];
    let mut named = vec![settings.group(KIND)];
    for partition in 0..PARTITIONS {
        coordinators.push(MockCoordinator::Transaction);
        named.push(settings.transactional_id(KIND, partition));
    }
    let worker = scene.worker(Gate::default());
    soon("the worker", || worker.readiness.is_ready().then_some(()));
    let embedded = Arc::clone(&scene.embedded);
    let mut wanted = BTreeSet::new();
    moving(&embedded, Duration::from_millis(150), &coordinators, &named, || {
        for round in 0..10 {
            let ids = names(&format!("round-{round}"), 10);
            scene.publish(ids.clone(), "");
            wanted.extend(ids);
            scene.all_ended_once(&wanted);
        }
    });
    drop(worker);
    // What the next owner takes over is whole.
    let next = scene.worker(Gate::default());
    soon("the next worker", || next.readiness.is_ready().then_some(()));
    let last = names("last", 8);
    scene.publish(last.clone(), "");
    wanted.extend(last);
    scene.all_ended_once(&wanted);
}
