//! Values that have the right type and still can't work.

use std::collections::BTreeSet;
use std::fmt;

use domain::claim::MAX_VALUE_BYTES;

use super::Config;
use super::area::{
    Claims, Gateway, Inference, Kafka, Keep, Push, Registry, Role, Runtime, Store, StoreKind,
    Telemetry,
};
use super::properties;
use super::secret::Secret;

/// One thing that can't work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, from the area on.
    pub key: String,
    /// What is wrong with its value.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

impl Problem {
    /// All of them in one line.
    pub(super) fn sentence(problems: &[Self]) -> String {
        problems.iter().map(Self::to_string).collect::<Vec<_>>().join("; ")
    }
}

/// A topic's name has at most 249 characters, and the longest of ours has 17.
const MAX_PREFIX: usize = 200;

/// What every broker takes as a session timeout at most by default (`group.max.session.timeout.ms`).
const MAX_SESSION_MS: u64 = 1_800_000;

/// The most of a value that may go into a record: with all else in there it stays below the 1 MiB that
/// brokers take by default.
const MAX_LIMIT_BYTES: usize = 768 * 1024;

/// All that is wrong with `config`.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Found(Vec::new());
    let roles: BTreeSet<_> = config.roles.iter().map(|role| role.as_str()).collect();
    found.unless(!roles.is_empty(), "roles", "there has to be one at least");
    found.unless(roles.len() == config.roles.len(), "roles", "has one twice");
    kafka(&mut found, &config.kafka);
    registry(&mut found, &config.registry);
    gateway(&mut found, &config.gateway);
    let Inference { window } = config.inference;
    found.positive(window as u64, "inference.window");
    push(&mut found, &config.push);
    runtime(&mut found, &config.runtime);
    store(&mut found, &config.store);
    claims(&mut found, &config.claims);
    let both = config.has(Role::Gateway) && config.has(Role::Inference);
    found.unless(
        config.claims.keep == Keep::Shared || config.store.kind == StoreKind::Cql || both,
        "claims.keep",
        "`always` is for a process that does everything, and this one isn't both gateway and inference",
    );
    telemetry(&mut found, &config.telemetry);
    found.0
}

fn kafka(found: &mut Found, kafka: &Kafka) {
    hosts(found, "kafka.brokers", &kafka.brokers);
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    found.unless(
        kafka.prefix.chars().all(legal) && kafka.prefix.len() <= MAX_PREFIX,
        "kafka.prefix",
        format!("a topic's name takes letters, digits, '.', '_' and '-', at most {MAX_PREFIX}"),
    );
    found.unless(!kafka.client_id.is_empty(), "kafka.client-id", "is empty");
    found.unless(
        kafka.replication_factor == -1 || kafka.replication_factor > 0,
        "kafka.replication-factor",
        "has to be 1 or more, or -1 for the broker's default",
    );
    found.unless(kafka.partitions > 0, "kafka.partitions", "has to be 1 or more");
    for name in kafka.properties.keys() {
        found.unless(
            !properties::is_ours(name),
            format!("kafka.properties.{name:?}"),
            "is set by the platform, whose promises rest on it",
        );
    }
}

fn gateway(found: &mut Found, gateway: &Gateway) {
    found.positive(gateway.max_body_bytes as u64, "gateway.max-body-bytes");
    found.unless(
        gateway.max_body_bytes <= MAX_VALUE_BYTES,
        "gateway.max-body-bytes",
        format!("is more than the {MAX_VALUE_BYTES} bytes that a value may have"),
    );
    found.positive(gateway.max_wait_secs, "gateway.max-wait-secs");
    for (at, origin) in gateway.cors_origins.iter().enumerate() {
        let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        found.unless(
            rest.is_some_and(|host| !host.is_empty() && host.chars().all(plain)),
            "gateway.cors-origins",
            format!("entry {} is not an origin like https://console.example", at + 1),
        );
    }
    let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    for key in gateway.rates.keys() {
        found.unless(
            key.len() == 8 && key.chars().all(hex),
            format!("gateway.rates.{key}"),
            "is not the id of a key: `stepstream keys create` tells it, 8 hex digits",
        );
    }
}

fn claims(found: &mut Found, claims: &Claims) {
    found.unless(
        (1..=MAX_LIMIT_BYTES).contains(&claims.limit_bytes),
        "claims.limit-bytes",
        format!("is not between 1 and {MAX_LIMIT_BYTES}: what is larger fits into no record"),
    );
}

/// Whoever guesses it can follow every execution of a key whose hash they know.
const MIN_TICKET_SECRET: usize = 32;

fn push(found: &mut Found, push: &Push) {
    found.positive(push.sockets as u64, "push.sockets");
    found.positive(push.sockets_per_key as u64, "push.sockets-per-key");
    found.positive(push.subscriptions as u64, "push.subscriptions");
    found.positive(push.stall_secs, "push.stall-secs");
    let long = |secret: &Secret| secret.expose().len() >= MIN_TICKET_SECRET;
    found.unless(
        push.ticket_secret.as_ref().is_none_or(long),
        "push.ticket-secret",
        format!("has to have {MIN_TICKET_SECRET} characters or more: `openssl rand -hex 32`"),
    );
}

fn registry(found: &mut Found, registry: &Registry) {
    address(found, "registry.url", &registry.url, "they have keys of their own");
    found.unless(
        registry.user.is_some() == registry.password.is_some(),
        "registry.password",
        "user and password go together",
    );
    found.positive(registry.timeout_ms, "registry.timeout-ms");
}

fn telemetry(found: &mut Found, telemetry: &Telemetry) {
    if let Err(source) = telemetry.filter() {
        found.add("telemetry.log-filter", format!("not a filter: {source}"));
    }
    if let Some(endpoint) = &telemetry.otlp_endpoint {
        address(
            found,
            "telemetry.otlp-endpoint",
            endpoint,
            "OTEL_EXPORTER_OTLP_HEADERS is for keys",
        );
    }
    found.unless(
        (0.0..=1.0).contains(&telemetry.trace_ratio),
        "telemetry.trace-ratio",
        "is not from 0 to 1",
    );
    found.unless(!telemetry.service_name.is_empty(), "telemetry.service-name", "is empty");
}

/// An HTTP address without a user or password: it would be shown, and stand in errors.
fn address(found: &mut Found, key: &str, url: &str, instead: &str) {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let fine = !host.is_empty() && !url.contains(char::is_whitespace);
    found.unless(fine, key, "is not an http or https address");
    let secretive = !host.contains('@');
    found.unless(secretive, key, format!("must not hold a user or password: {instead}"));
}

/// Cassandra takes names of tables and keyspaces up to this length.
const MAX_KEYSPACE: usize = 48;

/// No row may live longer than 20 years there.
const MAX_RETENTION_DAYS: u32 = 20 * 365;

fn store(found: &mut Found, store: &Store) {
    found.unless(!store.path.as_os_str().is_empty(), "store.path", "is empty");
    hosts(found, "store.nodes", &store.nodes);
    let letters = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_');
    let name = &store.keyspace;
    found.unless(
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(letters)
            && name.len() <= MAX_KEYSPACE,
        "store.keyspace",
        format!("takes small letters, digits and '_', a letter first, at most {MAX_KEYSPACE}"),
    );
    found.positive(u64::from(store.replication_factor), "store.replication-factor");
    found.positive(store.timeout_ms, "store.timeout-ms");
    found.unless(
        store.user.is_some() == store.password.is_some(),
        "store.password",
        "user and password go together",
    );
    for (key, days) in [
        ("store.retention-days", Some(store.retention_days)),
        ("store.event-retention-days", store.event_retention_days),
        ("store.log-row-retention-days", store.log_row_retention_days),
    ] {
        let Some(days) = days else { continue };
        found.positive(u64::from(days), key);
        found.unless(
            store.kind == StoreKind::Embedded || days <= MAX_RETENTION_DAYS,
            key,
            format!("has to be {MAX_RETENTION_DAYS} or less with `cql`"),
        );
    }
    for (key, days) in [
        ("store.event-retention-days", store.event_retention_days),
        ("store.log-row-retention-days", store.log_row_retention_days),
    ] {
        found.unless(
            store.kind == StoreKind::Cql || days.is_none(),
            key,
            "is for `cql`: the embedded store keeps all of an execution as long",
        );
    }
}

/// One or more `host:port`.
fn hosts(found: &mut Found, key: &str, hosts: &[String]) {
    found.unless(!hosts.is_empty(), key, "there has to be one at least");
    for (at, host) in hosts.iter().enumerate() {
        let port = host.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let fine = port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
        found.unless(fine, key, format!("entry {} is not host:port", at + 1));
    }
}

fn runtime(found: &mut Found, runtime: &Runtime) {
    let Runtime { checkpoint_min_ms, checkpoint_max_ms, session_timeout_ms, .. } = *runtime;
    found.positive(checkpoint_min_ms, "runtime.checkpoint-min-ms");
    found.unless(
        checkpoint_max_ms >= checkpoint_min_ms,
        "runtime.checkpoint-max-ms",
        "is less than checkpoint-min-ms",
    );
    found.positive(runtime.max_unchecked_records as u64, "runtime.max-unchecked-records");
    // The checkpoint that a revoked partition takes has to fit in.
    found.unless(
        checkpoint_max_ms < session_timeout_ms,
        "runtime.session-timeout-ms",
        "has to be more than checkpoint-max-ms",
    );
    found.unless(
        session_timeout_ms <= MAX_SESSION_MS,
        "runtime.session-timeout-ms",
        format!("brokers take at most {MAX_SESSION_MS}"),
    );
    found.positive(runtime.client_id_retention_secs, "runtime.client-id-retention-secs");
    found.positive(runtime.drain_secs, "runtime.drain-secs");
}

struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { key: key.into(), message: message.into() });
    }

    fn unless(&mut self, fine: bool, key: impl Into<String>, message: impl Into<String>) {
        if !fine {
            self.add(key, message);
        }
    }

    fn positive(&mut self, value: u64, key: &str) {
        self.unless(value > 0, key, "has to be 1 or more");
    }
}
