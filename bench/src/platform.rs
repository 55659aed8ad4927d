//! A fresh set of topics under a prefix of its own, and workers of the real runtime on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use domain::time::Millis;
use domain::topic::Topic;
use kafka::topics::Layout;
use kafka::topics::admin::Admin;
use runtime::ports::ClusterError;
use runtime::processor::Processor;
use runtime::worker::{Options, Readiness, Worker};
use schemas::Ids;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::stack::Stack;

/// Topics, schemas and a cluster.
pub(crate) struct Platform {
    /// Where its workers and its calls run.
    pub(crate) runtime: Runtime,
    /// The cluster.
    pub(crate) cluster: kafka::Cluster,
    /// The schemas' ids.
    pub(crate) ids: Ids,
    /// The broker.
    pub(crate) brokers: String,
    /// The broker's process.
    pub(crate) broker_pid: Option<u32>,
}

/// A worker that runs.
pub(crate) struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), ClusterError>>,
}

impl Platform {
    /// Makes topics with so many partitions, under a new prefix.
    pub(crate) fn make(stack: &Stack, partitions: i32) -> anyhow::Result<Self> {
        let platform = Self::join(stack, &format!("bench-{}-", uuid::Uuid::now_v7()))?;
        let layout = Layout { partitions, ..Layout::DEV };
        let applied = platform.runtime.block_on(async {
            Admin::connect(platform.cluster.settings())?.apply(layout, &platform.ids, now()).await
        });
        applied.context("making the topics")?;
        Ok(platform)
    }

    /// Uses the topics that stand under `prefix`.
    pub(crate) fn join(stack: &Stack, prefix: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("making a runtime")?;
        let settings = kafka::Settings {
            brokers: stack.brokers.clone(),
            prefix: prefix.to_owned(),
            client_id: "stepstream-bench".into(),
            properties: BTreeMap::new(),
            stack: kafka::Stack::Real,
        };
        let registry =
            kafka::Registry::connect(kafka::registry::Settings::at(stack.registry.clone()))?;
        let ids = Ids::new();
        // One subject a record is enough: no reader here asks for versions.
        for declared in schemas::ALL {
            let subject = format!("{prefix}{}", declared.name);
            let id =
                registry.register(&subject, declared.schema).context("registering the schemas")?;
            ids.register(declared.name, id)?;
        }
        let cluster = kafka::Cluster::connect(settings, registry, ids.clone())?;
        Ok(Self {
            runtime,
            cluster,
            ids,
            brokers: stack.brokers.clone(),
            broker_pid: stack.broker_pid,
        })
    }

    /// The prefix of its topics.
    pub(crate) fn prefix(&self) -> &str {
        &self.cluster.settings().prefix
    }

    /// The name of a topic here.
    pub(crate) fn topic(&self, topic: Topic) -> String {
        self.cluster.settings().topic(topic)
    }

    /// Starts a worker. It has taken over when what is sent to it comes out.
    pub(crate) fn start<P: Processor>(&self, processor: P, options: Options) -> Running {
        let worker = Worker {
            processor: Arc::new(processor),
            ids: self.ids.clone(),
            cluster: Arc::new(self.cluster.clone()),
            options,
            program: "bench".into(),
            readiness: Readiness::default(),
        };
        let stop = CancellationToken::new();
        let task = self.runtime.spawn(worker.run(stop.clone()));
        Running { stop, task }
    }

    /// Stops a worker as an operator would.
    pub(crate) fn stop(&self, running: Running) -> anyhow::Result<()> {
        running.stop.cancel();
        let limit = Duration::from_secs(60);
        let ended =
            self.runtime.block_on(async { tokio::time::timeout(limit, running.task).await });
        ended
            .context("the worker did not stop")?
            .context("the worker panicked")?
            .context("the worker failed")
    }
}

/// The time of day.
pub(crate) fn now() -> Millis {
    SystemTime::now().into()
}
