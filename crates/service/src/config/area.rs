//! The areas of the configuration, their keys and defaults. These comments are the manual.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::secret::Secret;
use super::{list, properties};

/// What a process can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Serves HTTP.
    Gateway,
    /// Carries out model calls.
    Inference,
    /// Runs workflows.
    Workflow,
    /// Keeps executions for look-ups.
    Archive,
    /// Serves WebSockets.
    Push,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Gateway, Self::Inference, Self::Workflow, Self::Archive, Self::Push];

    /// The name in configuration, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Inference => "inference",
            Self::Workflow => "workflow",
            Self::Archive => "archive",
            Self::Push => "push",
        }
    }
}

/// `[kafka]`: the brokers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Kafka {
    /// `host:port` of one or more brokers; a list, or one text with commas. Default: `127.0.0.1:9092`.
    #[serde(deserialize_with = "list::any")]
    pub brokers: Vec<String>,
    /// Comes before the name of every topic and group, e.g. `staging.`. Default: none.
    pub prefix: String,
    /// How brokers name this process in their logs and quotas. Default: `stepstream`.
    pub client_id: String,
    /// Copies of each topic that `stepstream topics apply` makes; -1: the broker's default. Default: 3.
    pub replication_factor: i32,
    /// Partitions of each topic that `stepstream topics apply` makes. They can't be changed later: an
    /// execution's partition follows from its id and this number. Default: 12.
    pub partitions: i32,
    /// Passed to librdkafka as they are, e.g. `"security.protocol" = "SASL_SSL"`. Names are quoted, since
    /// they have dots. A value may be kept elsewhere, see [`Secret`]. In the environment:
    /// `STEPSTREAM_KAFKA__PROPERTIES__SECURITY_PROTOCOL`. What the platform's promises rest on (acks,
    /// idempotence, isolation, offsets, ids) can't be set here. Default: none.
    #[serde(serialize_with = "properties::show")]
    pub properties: BTreeMap<String, Secret>,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: vec!["127.0.0.1:9092".into()],
            prefix: String::new(),
            client_id: "stepstream".into(),
            replication_factor: 3,
            partitions: 12,
            properties: BTreeMap::new(),
        }
    }
}

impl Kafka {
    /// The brokers as librdkafka's `bootstrap.servers` has them.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        self.brokers.join(",")
    }

    /// The properties with their values laid open: for the client's own configuration, and nothing else.
    pub fn expose_properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties.iter().map(|(name, value)| (name.as_str(), value.expose()))
    }
}

/// `[registry]`: the schema registry.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Registry {
    /// Its address, with the base path if it has one. Default: `http://127.0.0.1:8081`.
    pub url: String,
    /// User of basic authentication. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Password of basic authentication, see [`Secret`]. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Bound on one request, in milliseconds. Default: 10,000.
    pub timeout_ms: u64,
}

impl Default for Registry {
    fn default() -> Self {
        Self { url: "http://127.0.0.1:8081".into(), user: None, password: None, timeout_ms: 10_000 }
    }
}

impl Registry {
    /// Bound on one request.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// `[gateway]`: the HTTP edge.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Gateway {
    /// Where it listens. Default: `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// The largest body of a request, in bytes. Default: 16 MiB. Where large values aren't kept (see
    /// [`Claims::keep`]) never more than 786,432, which with its headers fits into the 1 MiB that brokers
    /// take by default.
    pub max_body_bytes: usize,
    /// How long a client may wait for an answer in one request, in seconds. Default: 600, as the OpenAI
    /// clients do.
    pub max_wait_secs: u64,
    /// Requests a second that one API key may make on average; 0: as many as it likes. Each process
    /// counts for itself. Default: 0.
    pub rate_per_sec: u32,
    /// Requests that a key may make at once after a pause; 0: what it may make in two seconds. Default: 0.
    pub rate_burst: u32,
    /// Rates of single keys, by the key's id, e.g. `rates.1a2b3c4d = { per-sec = 50 }`. Default: none.
    pub rates: BTreeMap<String, KeyRate>,
    /// Origins whose pages may call the API from a browser, e.g. `https://console.example`; a list, or one
    /// text with commas. They hold for push on a port of its own as well. Default: none.
    #[serde(deserialize_with = "list::any")]
    pub cors_origins: Vec<String>,
}

/// The rate of one API key, instead of the one of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct KeyRate {
    /// As `rate-per-sec`.
    pub per_sec: u32,
    /// As `rate-burst`.
    pub burst: u32,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            max_body_bytes: 16 * 1024 * 1024,
            max_wait_secs: 600,
            rate_per_sec: 0,
            rate_burst: 0,
            rates: BTreeMap::new(),
            cors_origins: Vec::new(),
        }
    }
}

impl Gateway {
    /// How long a client may wait for an answer in one request.
    #[must_use]
    pub fn max_wait(&self) -> Duration {
        Duration::from_secs(self.max_wait_secs)
    }
}

/// `[push]`: the WebSockets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Push {
    /// Where it listens in a process without a gateway; beside one it is at `gateway.listen`. Default:
    /// `127.0.0.1:8090`.
    pub listen: SocketAddr,
    /// The most sockets that are open at once. Each needs a file descriptor. Default: 50,000.
    pub sockets: usize,
    /// The most sockets of one API key; those that were opened with its tickets count. Default: 20,000.
    pub sockets_per_key: usize,
    /// The most subscriptions of one socket. Default: 100.
    pub subscriptions: usize,
    /// How long a client may take nothing while something waits for it, in seconds. Default: 15.
    pub stall_secs: u64,
    /// Signs the tickets of browsers: servers with the same secret take each other's. At least 32
    /// characters; see [`Secret`]. Default: each server draws one when it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket_secret: Option<Secret>,
}

impl Default for Push {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8090)),
            sockets: 50_000,
            sockets_per_key: 20_000,
            subscriptions: 100,
            stall_secs: 15,
            ticket_secret: None,
        }
    }
}

impl Push {
    /// How long a client may take nothing while something waits for it.
    #[must_use]
    pub fn stall(&self) -> Duration {
        Duration::from_secs(self.stall_secs)
    }
}

/// `[inference]`: the processor of model calls.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Inference {
    /// Calls of one partition that are admitted and not finished; its feed waits while there are as many.
    /// Default: 512.
    pub window: usize,
}

impl Default for Inference {
    fn default() -> Self {
        Self { window: 512 }
    }
}

/// `[runtime]`: what all processors have in common.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Runtime {
    /// The shortest time between two checkpoints of a partition, in milliseconds; a busy partition comes
    /// down to it. Default: 100.
    pub checkpoint_min_ms: u64,
    /// The longest time between two checkpoints of a partition that changes, in milliseconds. Default:
    /// 1,000.
    pub checkpoint_max_ms: u64,
    /// Log records of a partition that may be folded and not covered by a checkpoint; past that folding
    /// waits. Default: 50,000.
    pub max_unchecked_records: usize,
    /// How long a process may be silent before its partitions go to another, in milliseconds. Brokers take
    /// 6,000 to 1,800,000 by default. Default: 10,000.
    pub session_timeout_ms: u64,
    /// How long the id of a client's request is remembered, so that the same id again is the same request,
    /// in seconds. Each id is an entry in memory and in the state topic. Default: 600.
    pub client_id_retention_secs: u64,
    /// How long a process that is told to stop may take for its last checkpoints, in seconds. Default: 20,
    /// which leaves room for the last checkpoints within the 30 that Kubernetes waits.
    pub drain_secs: u64,
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            checkpoint_min_ms: 100,
            checkpoint_max_ms: 1_000,
            max_unchecked_records: 50_000,
            session_timeout_ms: 10_000,
            client_id_retention_secs: 600,
            drain_secs: 20,
        }
    }
}

impl Runtime {
    /// The shortest time between two checkpoints of a partition.
    #[must_use]
    pub fn checkpoint_min(&self) -> Duration {
        Duration::from_millis(self.checkpoint_min_ms)
    }

    /// The longest time between two checkpoints of a partition that changes.
    #[must_use]
    pub fn checkpoint_max(&self) -> Duration {
        Duration::from_millis(self.checkpoint_max_ms)
    }

    /// How long a process may be silent before its partitions go to another.
    #[must_use]
    pub fn session_timeout(&self) -> Duration {
        Duration::from_millis(self.session_timeout_ms)
    }

    /// How long the id of a client's request is remembered.
    #[must_use]
    pub fn client_id_retention(&self) -> Duration {
        Duration::from_secs(self.client_id_retention_secs)
    }

    /// How long a process that is told to stop may take.
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_secs)
    }
}

/// Where values that are too large for a record are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// In a store that all processes share: one of kind `cql`.
    #[default]
    Shared,
    /// Also in an embedded one, whose values no other process finds: where one process does everything.
    Always,
}

/// `[claims]`: values that are too large for a record lie in the store, and a claim check stands for each.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Claims {
    /// The largest body or answer that goes into its record, in bytes. Default: 262,144.
    pub limit_bytes: usize,
    /// Where larger ones are kept, see [`Keep`]. Default: `shared`; in `stepstream dev` `always`.
    pub keep: Keep,
}

impl Default for Claims {
    fn default() -> Self {
        Self { limit_bytes: domain::claim::LIMIT_BYTES, keep: Keep::default() }
    }
}

/// What the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// A file of this process.
    #[default]
    Embedded,
    /// ScyllaDB or Apache Cassandra.
    Cql,
}

/// How many copies have to answer a read or a write of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// One.
    One,
    /// One in the data center.
    LocalOne,
    /// More than half of all.
    Quorum,
    /// More than half of those in the data center.
    #[default]
    LocalQuorum,
}

/// `[store]`: where executions are kept for look-ups.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Store {
    /// `embedded`: a file of this process; `cql`: ScyllaDB or Apache Cassandra, which processes share.
    /// Default: `embedded`.
    pub kind: StoreKind,
    /// The file of the embedded store; it is made when there is none. Default:
    /// `stepstream-data/store.redb`.
    pub path: PathBuf,
    /// How long an execution is kept after the last that was heard of it, in days. Default: 30.
    pub retention_days: u32,
    /// How long events are kept, in days (`cql` only). Default: as `retention-days`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_retention_days: Option<u32>,
    /// How long rows of the execution log are kept, in days (`cql` only). Default: as `retention-days`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_row_retention_days: Option<u32>,
    /// `host:port` of one or more nodes; a list, or one text with commas. Default: `127.0.0.1:9042`.
    #[serde(deserialize_with = "list::any")]
    pub nodes: Vec<String>,
    /// The keyspace; `stepstream store apply` makes it. Default: `stepstream`.
    pub keyspace: String,
    /// Copies of each row in a keyspace that `stepstream store apply` makes. Default: 3.
    pub replication_factor: u32,
    /// How many copies have to answer: `local-quorum`, `quorum`, `local-one` or `one`. With less than a
    /// quorum a look-up right after a request may not find it. Default: `local-quorum`.
    pub consistency: Consistency,
    /// The data center whose nodes are asked first. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datacenter: Option<String>,
    /// User. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Password, see [`Secret`]. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Bound on one request, in milliseconds. Default: 10,000.
    pub timeout_ms: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            kind: StoreKind::Embedded,
            path: "stepstream-data/store.redb".into(),
            retention_days: 30,
            event_retention_days: None,
            log_row_retention_days: None,
            nodes: vec!["127.0.0.1:9042".into()],
            keyspace: "stepstream".into(),
            replication_factor: 3,
            consistency: Consistency::LocalQuorum,
            datacenter: None,
            user: None,
            password: None,
            timeout_ms: 10_000,
        }
    }
}

impl Store {
    /// How long an execution is kept after the last that was heard of it.
    #[must_use]
    pub fn retention(&self) -> Duration {
        days(self.retention_days)
    }

    /// How long events are kept.
    #[must_use]
    pub fn event_retention(&self) -> Duration {
        days(self.event_retention_days.unwrap_or(self.retention_days))
    }

    /// How long rows of the execution log are kept.
    #[must_use]
    pub fn log_row_retention(&self) -> Duration {
        days(self.log_row_retention_days.unwrap_or(self.retention_days))
    }

    /// Bound on one request.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

fn days(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * 24 * 60 * 60)
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// A line for people.
    Text,
    /// An object a line.
    Json,
}

/// `[telemetry]`: logs, metrics and traces.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Telemetry {
    /// `auto` (text on a terminal, JSON elsewhere), `text` or `json`. Default: `auto`.
    pub log_format: LogFormat,
    /// Which log lines are written, as tracing's filters say it, e.g. `info,stepstream_kafka=debug`.
    /// Default: `info`.
    pub log_filter: String,
    /// Where `/metrics`, `/healthz` and `/readyz` are served in a process without a gateway. Default:
    /// nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<SocketAddr>,
    /// Where spans are sent, by OTLP over HTTP in JSON, e.g. `http://127.0.0.1:4318`; `/v1/traces` is added.
    /// The standard variable `OTEL_EXPORTER_OTLP_ENDPOINT` counts where this isn't set; its companion
    /// `OTEL_EXPORTER_OTLP_HEADERS` is for keys. Default: no spans are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// The share of traces that are recorded among those that begin here, from 0 to 1; for a request that
    /// comes with a trace, its sender has decided. `OTEL_TRACES_SAMPLER_ARG` counts where this isn't set.
    /// Default: 1.
    pub trace_ratio: f64,
    /// `service.name` of the spans. `OTEL_SERVICE_NAME` counts where this isn't set. Default: `stepstream`.
    pub service_name: String,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Auto,
            log_filter: "info".into(),
            metrics_listen: None,
            otlp_endpoint: None,
            trace_ratio: 1.0,
            service_name: "stepstream".into(),
        }
    }
}
