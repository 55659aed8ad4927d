//! `stepstream dev`: the whole platform in one process. Without `--brokers` the broker and the registry
//! are in it as well, in memory; what becomes of executions is kept in the data directory.

mod key;
mod models;
mod ready;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use domain::catalogue::{DefinitionKind, DefinitionProposed, Outcome};
use gateway::Page;
use kafka::Embedded;
use kafka::embedded::Options;
use schemas::Ids;
use service::config::{Config, StoreKind};
use service::shutdown::Shutdown;
use service::telemetry::Metrics;
use sha2::{Digest, Sha256};

use self::ready::Ready;
use super::{init_logs, init_traces, store, topics};
use crate::cluster::{self, blocking};
use crate::definitions;
use crate::error::CommandError;
use crate::node::{Node, Plan, listen};
use crate::print;

/// How long everything may take to be ready, on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked whether everything is ready.
const LOOK: Duration = Duration::from_millis(10);

/// What differs here from the defaults of the configuration. The environment still comes on top.
const DEFAULTS: [(&str, &str); 6] = [
    ("STEPSTREAM_CLAIMS__KEEP", "always"),
    ("STEPSTREAM_KAFKA__PARTITIONS", "4"),
    ("STEPSTREAM_KAFKA__REPLICATION_FACTOR", "1"),
    ("STEPSTREAM_RUNTIME__DRAIN_SECS", "5"),
    ("STEPSTREAM_STORE__REPLICATION_FACTOR", "1"),
    ("STEPSTREAM_TELEMETRY__LOG_FILTER", "warn,librdkafka=error"),
];

/// Run everything in one process, to try it and to develop against it.
///
/// Starts a broker and a schema registry inside this process, sets up topics, schemas, an API key and a
/// model named `demo` that needs no provider, and serves. Topics are in memory: they are gone when it
/// stops. Any Kafka client can publish to it.
///
/// A model is set up for each of these environment variables that is set, named after its provider:
/// OPENAI_API_KEY (openai), ANTHROPIC_API_KEY (anthropic), GEMINI_API_KEY (gemini), DEEPSEEK_API_KEY
/// (deepseek), DASHSCOPE_API_KEY (qwen), QIANFAN_API_KEY (qianfan).
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Where the page and the API are, on 127.0.0.1; 0 takes a free port
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Where executions and the API key are kept
    #[arg(long, value_name = "DIR", default_value = ".stepstream/dev")]
    data: PathBuf,
    /// `text` for people; `json` prints one line when all is ready
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
    /// Use this Kafka cluster instead of the embedded broker: `host:port`, more with commas. Topics that
    /// are missing are made
    #[arg(long, value_name = "BROKERS", requires = "registry")]
    brokers: Option<String>,
    /// Use this schema registry instead of the embedded one
    #[arg(long, value_name = "URL", requires = "brokers")]
    registry: Option<String>,
}

/// For whom the ready message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Dev {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let began = Instant::now();
        let mut config = self.config(std::env::vars())?;
        init_logs(&config)?;
        let metrics =
            Metrics::install().map_err(|error| CommandError::new("setting up metrics", error))?;
        let traces = init_traces(&config)?;
        let shutdown = Shutdown::new();
        shutdown
            .listen_to_signals()
            .map_err(|error| CommandError::new("listening to signals", error))?;
        // First, since a port that is taken is the likeliest thing to go wrong.
        let listener = listen(config.gateway.listen, "--port").await?;
        let key = key::load_or_make(&self.data)?;
        let stack = tokio::select! {
            stack = self.stack(&mut config) => stack?,
            () = shutdown.asked() => return Ok(()),
        };
        if config.store.kind == StoreKind::Cql {
            store::set_up(&config).await?;
        }
        let plan = Plan {
            config: config.clone(),
            cluster: stack.cluster.clone(),
            archive_from: stack.archive_from(),
            page: Page::LiveWithKey(key.key.clone()),
            listener: Some(listener),
            metrics,
            shutdown: shutdown.clone(),
        };
        let node = tokio::select! {
            node = Node::start(plan) => node?,
            () = shutdown.asked() => return Ok(()),
        };
        let address = node.address.unwrap_or(config.gateway.listen);
        let proposals = [key::proposal(&key)].into_iter().chain(models::proposals());
        seed(&node, proposals).await?;
        tokio::select! {
            ready = until_ready(address) => ready?,
            () = shutdown.asked() => return node.stages.run().await,
        }
        let ready = Ready {
            address,
            key: &key.key,
            config: &config,
            data: &self.data,
            stack: stack.kind(),
            models: models::aliases(),
            took: began.elapsed(),
        };
        match self.output {
            Output::Text => print::line(&ready.text()),
            Output::Json => print::line(&ready.json()),
        }
        let result = node.stages.run().await;
        traces.flush().await;
        // The process ends, and the embedded broker with it. Its clients would only wait for it in vain.
        std::mem::forget(stack);
        if self.output == Output::Text {
            print::remark("stopped");
        }
        result
    }

    /// The configuration: what `dev` needs, then the environment, then the flags.
    fn config(
        &self,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Config, CommandError> {
        let mut variables: BTreeMap<String, String> =
            DEFAULTS.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        variables.extend(environment);
        let failed = |error| CommandError::new("reading the configuration", error);
        let mut config = Config::load_from(None, variables).map_err(failed)?;
        config.roles = service::config::Role::ALL.to_vec();
        config.gateway.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        if let Some(brokers) = &self.brokers {
            config.kafka.brokers = brokers.split(',').map(|one| one.trim().to_owned()).collect();
        }
        if let Some(registry) = &self.registry {
            config.registry.url.clone_from(registry);
        }
        config.store.path = self.data.join(self.store_name(&config));
        config.check().map_err(failed)?;
        Ok(config)
    }

    /// One file for each cluster, since a file notes how far it has read of its topics.
    fn store_name(&self, config: &Config) -> String {
        if self.brokers.is_none() {
            return "embedded.redb".into();
        }
        let named = format!("{}/{}", config.kafka.bootstrap_servers(), config.kafka.prefix);
        let hash = Sha256::digest(named.as_bytes());
        let digits: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("cluster-{digits}.redb")
    }

    async fn stack(&self, config: &mut Config) -> Result<Stack, CommandError> {
        if self.brokers.is_some() {
            topics::set_up(config).await?;
            let cluster = cluster::connect(config).await?;
            return Ok(Stack { cluster, embedded: None });
        }
        let options = Options {
            prefix: config.kafka.prefix.clone(),
            partitions: config.kafka.partitions,
            ..Options::default()
        };
        let client = config.kafka.client_id.clone();
        let properties = cluster::properties(config);
        let started = blocking(move || {
            let ids = Ids::new();
            let embedded = Embedded::start(options, &ids, cluster::now())?;
            let settings = kafka::Settings { properties, ..embedded.settings(&client) };
            let cluster = embedded.cluster_with(settings, ids)?;
            Ok(Stack { cluster, embedded: Some(Arc::new(embedded)) })
        });
        let stack = started.await.map_err(|error: runtime::ports::ClusterError| {
            CommandError::new("starting the embedded broker", error)
        })?;
        if let Some(embedded) = &stack.embedded {
            config.kafka.brokers = vec![embedded.brokers().to_owned()];
            config.registry.url = embedded.registry_url();
        }
        Ok(stack)
    }
}

/// What it runs on.
struct Stack {
    cluster: kafka::Cluster,
    /// Stops when it is dropped.
    embedded: Option<Arc<Embedded>>,
}

impl Stack {
    fn kind(&self) -> kafka::Stack {
        match self.embedded {
            Some(_) => kafka::Stack::Embedded,
            None => kafka::Stack::Real,
        }
    }

    fn archive_from(&self) -> archive::Start {
        match self.embedded {
            Some(_) => archive::Start::Oldest,
            None => archive::Start::Stored,
        }
    }
}

/// Makes definitions known that aren't. What somebody changed stays as it is.
async fn seed(
    node: &Node,
    proposals: impl Iterator<Item = DefinitionProposed>,
) -> Result<(), CommandError> {
    let catalogue = node.definitions.snapshot();
    for proposal in proposals {
        let DefinitionProposed { kind, tenant, name, .. } = &proposal;
        if !catalogue.history(*kind, tenant, name).is_empty() {
            continue;
        }
        let what = match kind {
            DefinitionKind::Key => "making the API key known".to_owned(),
            _ => format!("making model {name} known"),
        };
        let proposed =
            definitions::propose(node.publisher.as_ref(), &node.ids, &node.definitions, &proposal)
                .await;
        match proposed.map_err(|error| CommandError::new(what, error))? {
            // Another process on the same cluster was faster: the same definition stands.
            Outcome::Accepted(_) | Outcome::Conflict(_) => {}
        }
    }
    Ok(())
}

/// Asks our own gateway, as everybody else will.
async fn until_ready(address: SocketAddr) -> Result<(), CommandError> {
    let url = format!("http://{address}/readyz");
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .map_err(|error| CommandError::new("asking whether all is ready", error))?;
    let began = Instant::now();
    loop {
        let missing = match client.get(&url).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        if began.elapsed() > READY_WITHIN {
            let limit = READY_WITHIN.as_secs();
            return Err(CommandError::plain(format!("not ready within {limit} s: {missing}"))
                .advise("run it again with STEPSTREAM_TELEMETRY__LOG_FILTER=info to see more"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Makes a directory of our own, with what leads to it.
fn make_folder(path: &Path) -> Result<(), CommandError> {
    std::fs::create_dir_all(path).map_err(|error| {
        CommandError::new(format!("making the data directory {}", path.display()), error)
            .advise("choose another place with --data")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dev(brokers: Option<&str>) -> Dev {
        Dev {
            port: 0,
            data: "data".into(),
            output: Output::Json,
            brokers: brokers.map(str::to_owned),
            registry: brokers.map(|_| "http://127.0.0.1:8081".into()),
        }
    }

    fn config(dev: &Dev, environment: &[(&str, &str)]) -> Config {
        let pairs = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        dev.config(pairs).unwrap()
    }

    #[test]
    fn environment_comes_on_top_of_what_dev_changes() {
        let plain = config(&dev(None), &[]);
        assert_eq!((plain.kafka.partitions, plain.kafka.replication_factor), (4, 1));
        let set = config(&dev(None), &[("STEPSTREAM_KAFKA__PARTITIONS", "2")]);
        assert_eq!((set.kafka.partitions, set.kafka.replication_factor), (2, 1));
    }

    #[test]
    fn each_cluster_has_a_store_of_its_own() {
        let name = |dev: &Dev, prefix: &str| {
            let config = config(dev, &[("STEPSTREAM_KAFKA__PREFIX", prefix)]);
            config.store.path.display().to_string()
        };
        assert_eq!(name(&dev(None), ""), "data/embedded.redb");
        let one = name(&dev(Some("127.0.0.1:9092")), "");
        assert!(one.starts_with("data/cluster-"), "{one}");
        assert_eq!(one, name(&dev(Some("127.0.0.1:9092")), ""));
        assert_ne!(one, name(&dev(Some("127.0.0.1:9093")), ""));
        assert_ne!(one, name(&dev(Some("127.0.0.1:9092")), "a-"));
    }
}
