//! A worker that hangs in the middle of its work, on a real broker: its process lives and its heartbeats go
//! on, and all the same it may not keep what it doesn't work on (`max.poll.interval.ms`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::JoinHandle;

use kafka::{Settings, Stack};
use runtime::testing::hanging::{Echo, Gate, HANGS};
use runtime::worker::{Options, Readiness, Worker};
use stepstream_tests::fresh;
use stepstream_tests::stack::{self, Addresses};
use stepstream_tests::topics;
use stepstream_tests::wait::{PATIENCE, until};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, SESSION};

/// A worker in a thread and a runtime of its own. Dropping it stops it.
struct Running {
    shutdown: CancellationToken,
    readiness: Readiness,
    gate: Gate,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(cluster: &Cluster, addresses: &Addresses, gate: Gate) -> Self {
        let session = SESSION.as_millis();
        let properties = [("session.timeout.ms", session), ("max.poll.interval.ms", session)];
        let settings = Settings {
            brokers: addresses.brokers.clone(),
            prefix: cluster.prefix().to_owned(),
            client_id: "hanging".into(),
            properties: properties.map(|(name, ms)| (name.to_owned(), ms.to_string())).into(),
            stack: Stack::Real,
        };
        let registry = addresses.registry.clone();
        let mut options = Options::default();
        options.partition.session_timeout_ms = session.try_into().unwrap();
        let (readiness, shutdown) = (Readiness::default(), CancellationToken::new());
        let (ready, stopped, processor) = (readiness.clone(), shutdown.clone(), Echo(gate.clone()));
        let thread = std::thread::spawn(move || {
            let cluster = topics::cluster(settings, &registry);
            let worker = Worker {
                processor: Arc::new(processor),
                ids: cluster.ids().clone(),
                cluster: Arc::new(cluster),
                options,
                program: "test".into(),
                readiness: ready,
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(worker.run(stopped)).unwrap();
        });
        Self { shutdown, readiness, gate, thread: Some(thread) }
    }

    async fn is_ready(&self) {
        until("the worker owns partitions", PATIENCE, async || {
            self.readiness.is_ready().then_some(())
        })
        .await;
    }
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

/// Waits until all have ended; each has one ending then, and what else there is of it is a copy.
async fn all_ended_once(cluster: &mut Cluster, ids: &BTreeSet<String>) {
    cluster.all_ended(ids).await;
    let ends: BTreeSet<_> = cluster.ends(ids).await.into_iter().collect();
    assert_eq!(ends.len(), ids.len(), "{ends:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_that_hangs_loses_its_partitions_and_rejoins_when_it_goes_on() {
    let addresses = stack::real().await;
    let mut cluster = Cluster::on(addresses).await;
    let first = Running::start(&cluster, addresses, Gate::closed());
    first.is_ready().await;
    let mut ids = cluster.publish(20).await;
    all_ended_once(&mut cluster, &ids).await;

    let hung = fresh("hung");
    cluster.publish_body(&hung, HANGS).await;
    ids.insert(hung);
    until("it hangs", PATIENCE, async || first.gate.is_reached().then_some(())).await;
    let second = Running::start(&cluster, addresses, Gate::default());
    ids.extend(cluster.publish(20).await);
    all_ended_once(&mut cluster, &ids).await;
    assert!(first.gate.is_reached(), "the first still hangs");

    first.gate.open();
    ids.extend(cluster.publish(20).await);
    all_ended_once(&mut cluster, &ids).await;
    // The first has a part in the work again, and then all of it.
    drop(second);
    ids.extend(cluster.publish(20).await);
    all_ended_once(&mut cluster, &ids).await;
}
