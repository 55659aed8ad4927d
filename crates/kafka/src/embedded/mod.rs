//! A broker and a registry inside this process, for development and tests. They listen on 127.0.0.1 only
//! and keep nothing: what they hold ends with the process, or with the handle.

pub mod registry;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::time::Millis;
use domain::topic::{Kind, Topic};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{Producer, ThreadedProducer};
use runtime::partition::genesis_key;
use runtime::ports::ClusterError;
use schemas::Ids;

use crate::checkpoints::Kept;
use crate::config::{Settings, Stack};
use crate::events::Logged;
use crate::topics::{self, Layout};
use crate::{Cluster, Registry, failed};

/// The mock cluster's word for each of its brokers.
const ALL_BROKERS: i32 = -1;

/// How to start it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Put before each topic.
    pub prefix: String,
    /// Partitions of each topic but `definitions`.
    pub partitions: i32,
    /// Port of the registry; 0 takes a free one. The broker always takes a free one.
    pub registry_port: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { prefix: String::new(), partitions: Layout::DEV.partitions, registry_port: 0 }
    }
}

/// A running broker and registry. They stop when it is dropped.
pub struct Embedded {
    broker: ThreadedProducer<Logged>,
    brokers: String,
    registry: registry::Server,
    kept: Arc<Kept>,
    options: Options,
}

impl Embedded {
    /// Starts both, makes the topics, registers the schemas and enters their ids into `ids`, and writes the
    /// genesis records, which carry `now`. Blocks for a few milliseconds.
    ///
    /// # Errors
    /// A port that is taken, or a prefix that makes no legal topic name.
    pub fn start(options: Options, ids: &Ids, now: Millis) -> Result<Self, ClusterError> {
        Self::start_on(1, options, ids, now)
    }

    /// The same with several brokers, among which leaders and coordinators can be moved.
    pub(crate) fn start_on(
        brokers: usize,
        options: Options,
        ids: &Ids,
        now: Millis,
    ) -> Result<Self, ClusterError> {
        let what = "starting the embedded broker";
        let mut config = ClientConfig::new();
        config.set("test.mock.num.brokers", brokers.to_string());
        let broker: ThreadedProducer<Logged> =
            config.create_with_context(Logged).map_err(|error| failed(what, error))?;
        hasten_groups(broker.client());
        let brokers = mock(&broker)
            .map(|mock| mock.bootstrap_servers())
            .ok_or_else(|| failed(what, "the client has no mock cluster"))?;
        let registry = registry::Server::start(options.registry_port)
            .map_err(|error| failed("starting the embedded registry", error))?;
        let embedded = Self { broker, brokers, registry, kept: Arc::default(), options };
        let settings = embedded.settings("embedded");
        settings.check().map_err(|error| failed(what, error))?;
        embedded.make_topics(&settings)?;
        Registry::connect(crate::registry::Settings::at(embedded.registry_url()))
            .and_then(|client| client.register_all(ids, &embedded.options.prefix))
            .map_err(|error| failed("registering schemas", error))?;
        embedded.write_genesis(ids, now)?;
        Ok(embedded)
    }

    /// `bootstrap.servers`.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// The registry's base address.
    #[must_use]
    pub fn registry_url(&self) -> String {
        self.registry.url()
    }

    /// The checkpoints, which outlive a worker.
    #[must_use]
    pub fn kept(&self) -> &Arc<Kept> {
        &self.kept
    }

    /// Settings for clients of it.
    #[must_use]
    pub fn settings(&self, client_id: &str) -> Settings {
        Settings {
            brokers: self.brokers.clone(),
            prefix: self.options.prefix.clone(),
            client_id: client_id.to_owned(),
            properties: BTreeMap::new(),
            stack: Stack::Embedded,
        }
    }

    /// A cluster on it, as one process sees it.
    ///
    /// # Errors
    /// A client can't be made.
    pub fn cluster(&self, client_id: &str, ids: Ids) -> Result<Cluster, ClusterError> {
        self.cluster_with(self.settings(client_id), ids)
    }

    /// As [`Embedded::cluster`], with settings of [`Embedded::settings`] that were changed.
    ///
    /// # Errors
    /// A client can't be made.
    pub fn cluster_with(&self, settings: Settings, ids: Ids) -> Result<Cluster, ClusterError> {
        let registry = Registry::connect(crate::registry::Settings::at(self.registry_url()))
            .map_err(|error| failed("reaching the embedded registry", error))?;
        Cluster::new(settings, registry, ids, Some(Arc::clone(&self.kept)))
    }

    /// Cuts every connection and takes no new ones, until [`Embedded::bring_up`].
    ///
    /// # Errors
    /// In the broker's words.
    pub fn take_down(&self) -> Result<(), ClusterError> {
        self.with_mock(|mock| mock.broker_down(ALL_BROKERS))
            .map_err(|error| failed("taking the broker down", error))
    }

    /// Takes connections again.
    ///
    /// # Errors
    /// In the broker's words.
    pub fn bring_up(&self) -> Result<(), ClusterError> {
        self.with_mock(|mock| mock.broker_up(ALL_BROKERS))
            .map_err(|error| failed("bringing the broker up", error))
    }

    /// Answers every request that much later.
    ///
    /// # Errors
    /// In the broker's words.
    pub fn delay(&self, round_trip: Duration) -> Result<(), ClusterError> {
        self.with_mock(|mock| mock.broker_round_trip_time(ALL_BROKERS, round_trip))
            .map_err(|error| failed("delaying the broker", error))
    }

    /// Runs `f` on the mock cluster: to inject errors into requests.
    pub(crate) fn with_mock<R>(&self, f: impl FnOnce(&MockCluster<'_, Logged>) -> R) -> R {
        f(&mock(&self.broker).expect("the client was made with a mock cluster"))
    }

    fn make_topics(&self, settings: &Settings) -> Result<(), ClusterError> {
        let layout = Layout { partitions: self.options.partitions, ..Layout::DEV };
        for spec in topics::specs(settings, layout) {
            self.with_mock(|mock| mock.create_topic(&spec.name, spec.partitions, 1))
                .map_err(|error| failed(format!("making topic {}", spec.name), error))?;
        }
        Ok(())
    }

    fn write_genesis(&self, ids: &Ids, now: Millis) -> Result<(), ClusterError> {
        for kind in Kind::ALL {
            for partition in 0..self.options.partitions {
                let value = topics::admin::genesis(Topic::State(kind), partition, ids, now)?;
                self.kept.put((kind, partition), Bytes::from(genesis_key()), value);
            }
        }
        Ok(())
    }
}

fn mock(broker: &ThreadedProducer<Logged>) -> Option<MockCluster<'_, Logged>> {
    broker.client().mock_cluster()
}

/// A new group on the mock cluster waits three seconds for its first assignment; here nobody else comes.
///
/// The one place with `unsafe`: rdkafka has no wrapper for this call.
#[allow(unsafe_code)]
fn hasten_groups<C: ClientContext>(client: &rdkafka::client::Client<C>) {
    // SAFETY: the pointer comes from a client that lives until the end of this function; librdkafka returns
    // null when it has no mock cluster, which is checked; the second call only sets a number, under the
    // mock cluster's own lock.
    unsafe {
        let cluster = rdkafka::bindings::rd_kafka_handle_mock_cluster(client.native_ptr());
        if !cluster.is_null() {
            rdkafka::bindings::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
        }
    }
}
