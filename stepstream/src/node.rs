//! One process of the platform: its roles, put together from the crates and started in the order in which
//! they need each other. `dev` and `serve` differ only in what they hand in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use domain::topic::{Kind, Topic};
use gateway::{Dependency, Gateway, Page};
use inference::{Inference, Models};
use push::Push;
use push::ticket::Tickets;
use runtime::ports::{self, Publish};
use runtime::processor::Processor;
use runtime::worker::{self, Readiness, Worker};
use schemas::Ids;
use service::catalogue::Definitions;
use service::config::{Config, Role, StoreKind};
use service::shutdown::{Shutdown, TaskError};
use service::telemetry::Metrics;
use store::{Claims, Store};
use tokio::net::TcpListener;
use workflow::{Programs, Workflows};

use crate::cluster::blocking;
use crate::error::CommandError;
use crate::stages::Stages;
use crate::{definitions, health, large, program};

/// How long a part may take to stop that only has to leave off reading.
const READER_STOPS: Duration = Duration::from_secs(3);
/// What the last checkpoints may take beyond the drain of running calls.
const LAST_CHECKPOINTS: Duration = Duration::from_secs(8);
/// How long sockets may take to be closed, each with word where to resume.
const PUSH_STOPS: Duration = Duration::from_secs(4);
/// How long the gateway lets running requests go on when the process stops.
const GATEWAY_DRAINS: Duration = Duration::from_secs(10);

/// What a process is made of.
pub(crate) struct Plan {
    /// Its configuration; the roles are in it.
    pub(crate) config: Config,
    /// Its cluster, with the ids of our schemas.
    pub(crate) cluster: kafka::Cluster,
    /// Where the archive begins to read.
    pub(crate) archive_from: archive::Start,
    /// Whether there is a page at `/`.
    pub(crate) page: Page,
    /// The gateway's listener, where it has been opened already.
    pub(crate) listener: Option<TcpListener>,
    /// The metrics of this process.
    pub(crate) metrics: Metrics,
    /// When to stop.
    pub(crate) shutdown: Shutdown,
}

/// A process that runs.
pub(crate) struct Node {
    /// Its parts.
    pub(crate) stages: Stages,
    /// Where the gateway listens.
    pub(crate) address: Option<SocketAddr>,
    /// The catalogue.
    pub(crate) definitions: Definitions,
    /// Writes single records.
    pub(crate) publisher: Arc<dyn Publish>,
    /// The schemas' ids.
    pub(crate) ids: Ids,
}

impl Node {
    /// Starts the roles. The catalogue has caught up when it returns.
    ///
    /// # Errors
    /// A store that can't be opened, a port that is taken, a cluster that lacks our topics.
    pub(crate) async fn start(plan: Plan) -> Result<Self, CommandError> {
        let Plan { config, cluster, archive_from, page, listener, metrics, shutdown } = plan;
        describe_metrics();
        // Reads the whole executable, which needs nobody else.
        let program = tokio::spawn(program::fingerprint());
        let listener = match listener {
            None if config.has(Role::Gateway) => {
                Some(listen(config.gateway.listen, "gateway.listen").await?)
            }
            listener => listener,
        };
        let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        look_for_topics(&cluster).await?;
        let publisher = cluster
            .publisher()
            .map_err(|error| CommandError::new("making the publisher", error))?;
        let parts = Parts {
            config,
            cluster,
            definitions: Definitions::new(),
            publisher: Arc::new(publisher),
            metrics,
        };
        let mut stages = Stages::new(shutdown);
        parts.start_definitions(&mut stages);
        let keeps = [Role::Gateway, Role::Archive, Role::Push];
        let keeps = keeps.into_iter().any(|role| parts.config.has(role));
        let store = match keeps || large::is_kept(&parts.config) {
            true => Some(crate::store::open(&parts.config).await?),
            false => None,
        };
        let claims = store.clone().map(|store| large::claims(&parts.config, store));
        if let Some(store) = store.as_ref().filter(|_| parts.archives()) {
            parts.start_archive(&mut stages, archive_from, Arc::clone(store));
        }
        let pushes = parts.config.has(Role::Push);
        let hub = (listener.is_some() || pushes).then(|| parts.start_hub(&mut stages));
        let mut dependencies = Vec::new();
        let program =
            program.await.map_err(|error| CommandError::new("taking the fingerprint", error))?;
        if parts.config.has(Role::Inference) {
            let processor = parts.inference(claims.clone())?;
            let window = Some(parts.config.inference.window);
            dependencies.push(parts.start_worker(
                &mut stages,
                "inference",
                processor,
                window,
                &program,
            ));
        }
        if parts.config.has(Role::Workflow) {
            parts.start_announcer(&mut stages);
            let programs = Arc::new(Programs::new(parts.definitions.clone()));
            let processor = Workflows::new(programs, parts.publisher.clone());
            // A workflow is admitted at once: a parent must not wait for a child that waits for its place.
            dependencies.push(parts.start_worker(
                &mut stages,
                "workflow",
                processor,
                None,
                &program,
            ));
        }
        let kept = store.zip(claims);
        let push = match (&hub, &kept) {
            (Some(hub), Some(kept)) if pushes => Some(parts.push(hub.clone(), kept.clone())?),
            _ => None,
        };
        match (listener, hub, kept) {
            (Some(listener), Some(hub), Some(kept)) => {
                let sockets = push.as_ref().map_or_else(Router::new, Push::router);
                let edge = (page, listener, sockets);
                parts.start_gateway(&mut stages, edge, hub, kept, dependencies);
                if let Some(push) = push {
                    // Before the gateway, whose port they came by.
                    stages.start("push", PUSH_STOPS, |shutdown| async move {
                        push.run(shutdown.asked()).await;
                        Ok(())
                    });
                }
            }
            _ => {
                parts.start_health(&mut stages, dependencies).await?;
                if let Some(push) = push {
                    let listener = listen(parts.config.push.listen, "push.listen").await?;
                    let origins = &parts.config.gateway.cors_origins;
                    let router = gateway::dress(push.router(), origins);
                    stages.start("push", PUSH_STOPS, |shutdown| async move {
                        push.serve(listener, router, shutdown.asked())
                            .await
                            .map_err(TaskError::from)
                    });
                }
            }
        }
        parts.definitions.wait_caught_up().await;
        let Parts { cluster, definitions, publisher, .. } = parts;
        Ok(Self { stages, address, definitions, publisher, ids: cluster.ids().clone() })
    }
}

/// What the roles share.
struct Parts {
    config: Config,
    cluster: kafka::Cluster,
    definitions: Definitions,
    publisher: Arc<kafka::Publisher>,
    metrics: Metrics,
}

impl Parts {
    fn start_definitions(&self, stages: &mut Stages) {
        let follow = definitions::follow(self.cluster.clone(), self.definitions.clone());
        stages.start("definitions", READER_STOPS, |shutdown| async move {
            tokio::select! {
                () = follow => {}
                () = shutdown.asked() => {}
            }
            Ok(())
        });
    }

    /// Schedules come to their processor by its feed.
    fn start_announcer(&self, stages: &mut Stages) {
        let definitions = self.definitions.clone();
        let (publisher, ids) = (self.publisher.clone(), self.cluster.ids().clone());
        let announcer = workflow::announcer::run(definitions, publisher, ids);
        stages.start("schedules", READER_STOPS, |shutdown| async move {
            tokio::select! {
                () = announcer => {}
                () = shutdown.asked() => {}
            }
            Ok(())
        });
    }

    /// A store that is this process's own has nobody else to fill it.
    fn archives(&self) -> bool {
        self.config.has(Role::Archive) || self.config.store.kind == StoreKind::Embedded
    }

    fn start_archive(&self, stages: &mut Stages, start: archive::Start, store: Arc<dyn Store>) {
        let parts = archive::Parts {
            topics: Arc::new(self.cluster.clone()),
            ids: self.cluster.ids().clone(),
            store,
            resolve: self.resolve(),
        };
        let retention = match self.config.store.kind {
            StoreKind::Embedded => Some(self.config.store.retention()),
            // Rows expire by themselves.
            StoreKind::Cql => None,
        };
        let (archive, _handle) =
            archive::Archive::new(archive::Options { start, retention }, parts);
        stages.start("archive", READER_STOPS, |shutdown| async move {
            archive.run(shutdown.asked()).await;
            Ok(())
        });
    }

    fn start_hub(&self, stages: &mut Stages) -> follow::Handle {
        let parts = follow::Parts {
            topics: Arc::new(self.cluster.clone()),
            ids: self.cluster.ids().clone(),
            resolve: self.resolve(),
        };
        let (hub, handle) = follow::Hub::new(follow::Options::default(), parts);
        stages.start("live events", READER_STOPS, |shutdown| async move {
            hub.run(shutdown.asked()).await;
            Ok(())
        });
        handle
    }

    fn inference(&self, claims: Option<Claims>) -> Result<Inference, CommandError> {
        let deltas = ports::Cluster::deltas(&self.cluster)
            .map_err(|error| CommandError::new("making the producer of tokens", error))?;
        let ids = self.cluster.ids().clone();
        let models = Arc::new(Models::new(self.definitions.clone()));
        let mut processor = Inference::new(models, model::Options::default(), ids.clone(), deltas);
        // What others don't find must not be kept, even where this process has a store.
        if let Some(claims) = claims.filter(|_| large::is_kept(&self.config)) {
            processor = processor.with_claims(claims);
        }
        Ok(processor)
    }

    /// Starts to take partitions of a processor. `window`: how many outside calls of one partition run.
    fn start_worker<P: Processor>(
        &self,
        stages: &mut Stages,
        name: &'static str,
        processor: P,
        window: Option<usize>,
        program: &str,
    ) -> Dependency {
        let worker = Worker {
            processor: Arc::new(processor),
            ids: self.cluster.ids().clone(),
            cluster: Arc::new(self.cluster.clone()),
            options: worker_options(&self.config, window),
            program: program.to_owned(),
            readiness: Readiness::default(),
        };
        let readiness = worker.readiness.clone();
        let limit = worker.options.drain + LAST_CHECKPOINTS;
        stages.start(name, limit, |shutdown| async move {
            worker.run(shutdown.token().clone()).await.map_err(TaskError::from)
        });
        let check = move || match readiness.is_ready() {
            true => Ok(()),
            false => Err("still taking over partitions".into()),
        };
        Dependency { name, check: Arc::new(check) }
    }

    fn definitions_caught_up(&self) -> Dependency {
        let definitions = self.definitions.clone();
        let check = move || match definitions.caught_up() {
            true => Ok(()),
            false => Err("still reading the definitions".into()),
        };
        Dependency { name: "definitions", check: Arc::new(check) }
    }

    fn start_gateway(
        &self,
        stages: &mut Stages,
        (page, listener, more): (Page, TcpListener, Router),
        hub: follow::Handle,
        (store, claims): (Arc<dyn Store>, Claims),
        dependencies: Vec<Dependency>,
    ) {
        let body_bytes = match large::is_kept(&self.config) {
            true => self.config.gateway.max_body_bytes,
            false => self.config.gateway.max_body_bytes.min(gateway::RECORD_BODY_BYTES),
        };
        let options = gateway::Options {
            body_bytes,
            wait: self.config.gateway.max_wait(),
            drain: GATEWAY_DRAINS,
            topic_prefix: self.config.kafka.prefix.clone(),
            brokers: self.config.kafka.bootstrap_servers(),
            page,
            rates: rates(&self.config.gateway),
            cors_origins: self.config.gateway.cors_origins.clone(),
        };
        let metrics = self.metrics.clone();
        let parts = |shutdown| gateway::Parts {
            publish: self.publisher.clone(),
            ids: self.cluster.ids().clone(),
            hub,
            store,
            claims,
            definitions: self.definitions.clone(),
            metrics: Arc::new(move || metrics.render()),
            dependencies,
            shutdown,
        };
        stages.start("gateway", GATEWAY_DRAINS + READER_STOPS, |shutdown| {
            let gateway = Gateway::new(options, parts(shutdown)).with_routes(more);
            async move { gateway.serve(listener).await.map_err(TaskError::from) }
        });
    }

    fn push(
        &self,
        hub: follow::Handle,
        (store, claims): (Arc<dyn Store>, Claims),
    ) -> Result<Push, CommandError> {
        let config = &self.config.push;
        let limits = push::connection::Limits {
            stall: config.stall(),
            subscriptions: config.subscriptions,
            ..Default::default()
        };
        let options = push::Options {
            limits,
            sockets: config.sockets,
            sockets_per_key: config.sockets_per_key,
        };
        let definitions = self.definitions.clone();
        let parts = push::Parts { hub, store, claims, definitions };
        let tickets = match &config.ticket_secret {
            Some(secret) => Tickets::shared(secret.value()),
            None => Tickets::own().map_err(|error| CommandError::new("starting push", error))?,
        };
        Ok(Push::new(options, parts, tickets))
    }

    async fn start_health(
        &self,
        stages: &mut Stages,
        mut dependencies: Vec<Dependency>,
    ) -> Result<(), CommandError> {
        let Some(address) = self.config.telemetry.metrics_listen else {
            return Ok(());
        };
        let listener = listen(address, "telemetry.metrics-listen").await?;
        dependencies.push(self.definitions_caught_up());
        let metrics = self.metrics.clone();
        stages.start("health", READER_STOPS, |shutdown| async move {
            health::serve(listener, metrics, dependencies, shutdown).await.map_err(TaskError::from)
        });
        Ok(())
    }

    fn resolve(&self) -> follow::Resolve {
        let cluster = self.cluster.clone();
        Arc::new(move |id| ports::Cluster::resolve_schema(&cluster, id))
    }
}

fn rates(config: &service::config::Gateway) -> gateway::Rates {
    let rate = |per_second, burst| gateway::Rate { per_second, burst };
    let keys = config.rates.iter().map(|(id, of)| (id.clone(), rate(of.per_sec, of.burst)));
    gateway::Rates { every: rate(config.rate_per_sec, config.rate_burst), keys: keys.collect() }
}

fn worker_options(config: &Config, window: Option<usize>) -> worker::Options {
    let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    let mut options = worker::Options { drain: config.runtime.drain(), ..Default::default() };
    let partition = &mut options.partition;
    partition.window = window;
    partition.checkpoint_min_ms = ms(config.runtime.checkpoint_min_ms);
    partition.checkpoint_max_ms = ms(config.runtime.checkpoint_max_ms);
    partition.max_unchecked =
        i64::try_from(config.runtime.max_unchecked_records).unwrap_or(i64::MAX);
    partition.session_timeout_ms = ms(config.runtime.session_timeout_ms);
    partition.client_ids_ms = ms(config.runtime.client_id_retention_secs.saturating_mul(1000));
    options
}

/// A process that is started before its topics exist says so, instead of waiting for them.
async fn look_for_topics(cluster: &kafka::Cluster) -> Result<(), CommandError> {
    let (cluster, brokers) = (cluster.clone(), cluster.settings().brokers.clone());
    let found = blocking(move || {
        cluster.partitions_of(Topic::Definitions)?;
        ports::Cluster::partitions(&cluster, Kind::Model)
    })
    .await;
    match found {
        Ok(_) => Ok(()),
        Err(error) => Err(CommandError::new(format!("looking for our topics at {brokers}"), error)
            .advise(
                "`stepstream topics apply` makes the topics; `stepstream doctor` looks closer",
            )),
    }
}

/// Listens, or says which setting to change.
pub(crate) async fn listen(
    address: SocketAddr,
    setting: &str,
) -> Result<TcpListener, CommandError> {
    TcpListener::bind(address).await.map_err(|error| {
        CommandError::new(format!("listening at {address}"), error)
            .advise(format!("choose another address with {setting}; port 0 is any free one"))
    })
}

fn describe_metrics() {
    gateway::metrics::describe();
    follow::metrics::describe();
    inference::describe();
    workflow::describe();
    archive::metrics::describe();
    push::metrics::describe();
    model::metrics::describe();
}
