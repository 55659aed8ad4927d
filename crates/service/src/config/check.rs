//! Values that have the right type and still can't work.

use std::collections::BTreeSet;
use std::fmt;

use super::Config;
use super::area::{Gateway, Inference, Kafka, Registry, Runtime, Store};
use super::properties;

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

/// All that is wrong with `config`.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Found(Vec::new());
    let roles: BTreeSet<_> = config.roles.iter().map(|role| role.as_str()).collect();
    found.unless(!roles.is_empty(), "roles", "there has to be one at least");
    found.unless(roles.len() == config.roles.len(), "roles", "has one twice");
    kafka(&mut found, &config.kafka);
    registry(&mut found, &config.registry);
    let Gateway { max_body_bytes, max_wait_secs, .. } = config.gateway;
    found.positive(max_body_bytes as u64, "gateway.max-body-bytes");
    found.positive(max_wait_secs, "gateway.max-wait-secs");
    let Inference { window } = config.inference;
    found.positive(window as u64, "inference.window");
    runtime(&mut found, &config.runtime);
    let Store { path, retention_days } = &config.store;
    found.unless(!path.as_os_str().is_empty(), "store.path", "is empty");
    found.positive(u64::from(*retention_days), "store.retention-days");
    if let Err(source) = config.telemetry.filter() {
        found.add("telemetry.log-filter", format!("not a filter: {source}"));
    }
    found.0
}

fn kafka(found: &mut Found, kafka: &Kafka) {
    found.unless(!kafka.brokers.is_empty(), "kafka.brokers", "there has to be one at least");
    for (at, broker) in kafka.brokers.iter().enumerate() {
        let port = broker.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let fine = port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
        found.unless(fine, "kafka.brokers", format!("entry {} is not host:port", at + 1));
    }
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

fn registry(found: &mut Found, registry: &Registry) {
    let rest =
        registry.url.strip_prefix("http://").or_else(|| registry.url.strip_prefix("https://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    found.unless(
        !host.is_empty() && !registry.url.contains(char::is_whitespace),
        "registry.url",
        "is not an http or https address",
    );
    // It would be shown, and stand in errors.
    found.unless(
        !host.contains('@'),
        "registry.url",
        "must not hold a user or password: they have keys of their own",
    );
    found.unless(
        registry.user.is_some() == registry.password.is_some(),
        "registry.password",
        "user and password go together",
    );
    found.positive(registry.timeout_ms, "registry.timeout-ms");
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
