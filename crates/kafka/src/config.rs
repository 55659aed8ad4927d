//! How each client of the broker is set up: one base, one list of settings a role.
//!
//! Properties from outside are passed through verbatim (SASL, TLS, socket buffers). The few on which the
//! guarantees rest are refused there, by name and with the reason, instead of being overruled silently.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::topic::{Kind, Topic};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

/// Which kind of broker is on the other end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stack {
    /// A cluster that speaks the protocol as Apache Kafka does.
    #[default]
    Real,
    /// The in-process broker: its fetches don't wake when data arrives, it keeps no transactional offsets
    /// and shows aborted records.
    Embedded,
}

/// How to reach the brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `bootstrap.servers`.
    pub brokers: String,
    /// Put before each topic, group and transactional id; may be empty.
    pub prefix: String,
    /// `client.id`: appears in the brokers' logs and quotas.
    pub client_id: String,
    /// Properties of librdkafka, passed through verbatim. May hold secrets, so they are never logged.
    pub properties: BTreeMap<String, String>,
    /// Which kind of broker.
    pub stack: Stack,
}

/// Why [`Settings`] can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No address of a broker.
    #[error("brokers: at least one host:port is needed")]
    NoBrokers,
    /// The prefix would not make a legal topic name.
    #[error("prefix '{0}': only letters, digits, '.', '_' and '-' may stand in a topic name")]
    Prefix(String),
    /// One of the settings on which the guarantees rest.
    #[error("properties.{name}: is set by stepstream, because {reason}")]
    Owned {
        /// The property.
        name: String,
        /// What would break.
        reason: &'static str,
    },
    /// librdkafka doesn't know it, or not with this value. The value is not repeated: it may be a secret.
    #[error("properties.{name}: not accepted by librdkafka: {why}")]
    Unknown {
        /// The property.
        name: String,
        /// In librdkafka's words, without the value.
        why: String,
    },
}

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The group member of a feed; reads nothing.
    Membership(Kind),
    /// Reads feeds and logs by manual assignment.
    Reader(Kind),
    /// Writes outputs and appends.
    Sender(Batching),
    /// Writes token deltas.
    Deltas,
    /// Writes one partition's checkpoints in transactions.
    Checkpoints(Kind, i32),
    /// Writes single records, each of which is waited for.
    Publisher,
    /// Reads a range or a whole topic for itself, sees committed records, reports ends of partitions.
    Reading,
    /// Asks for metadata and for high watermarks that count open transactions.
    Metadata,
    /// Creates and alters topics.
    Admin,
}

/// How many records the sender puts into one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Batching {
    /// What is waiting.
    #[default]
    Many,
    /// One: so that a refusal says which record it means.
    Single,
}

/// After this long without a heartbeat the group gives a member's partitions to others: it bounds how long
/// work waits after a crash, and how often a busy machine is taken for dead.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(10);

/// A worker that does nothing for half of this is reported, and after as long again as this its partitions go
/// to others. Also how long a rebalance waits for a member.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(30);

/// `socket.timeout.ms` of the transactional producers. A commit that takes longer may have been sent twice,
/// and the first copy may still be on its way. librdkafka wants it below [`TRANSACTION_TIMEOUT`].
pub(crate) const TRANSACTION_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// After this long the broker aborts an open transaction: bounds how long a dead owner's transaction hides
/// later records from readers.
pub(crate) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a published record may wait for its acknowledgement.
pub(crate) const PUBLISH_TIMEOUT: Duration = Duration::from_secs(15);

/// The most time that a broker may hold a fetch back. A partition that is assigned or resumed joins the next
/// fetch, so this is also what a resume can wait; data that arrives ends the wait at once.
const FETCH_WAIT_REAL: &str = "50";

/// The embedded broker doesn't wake a fetch when data arrives: this is its hop.
const FETCH_WAIT_EMBEDDED: &str = "3";

/// Settings that only we may choose, with what they protect.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "it is configured as `brokers`"),
    ("metadata.broker.list", "it is configured as `brokers`"),
    ("client.id", "it is configured as `client-id`"),
    ("group.id", "the group of a feed decides who owns its partitions"),
    ("group.protocol", "ownership is confirmed by the classic protocol's generations"),
    ("partition.assignment.strategy", "revoking must leave the other partitions alone"),
    ("enable.auto.commit", "only a confirmed owner commits positions"),
    ("enable.auto.offset.store", "only a confirmed owner commits positions"),
    ("auto.offset.reset", "a position that is gone must stop the partition, never move silently"),
    (
        "topic.auto.offset.reset",
        "a position that is gone must stop the partition, never move silently",
    ),
    ("isolation.level", "records of aborted transactions must stay invisible"),
    ("enable.partition.eof", "ends of partitions end a restore"),
    ("enable.idempotence", "a retried request must not write a record twice"),
    ("enable.gapless.guarantee", "a record must not be passed by later ones"),
    ("acks", "an acknowledged record must survive its leader"),
    ("request.required.acks", "an acknowledged record must survive its leader"),
    ("max.in.flight", "librdkafka can acknowledge an unwritten record with more than one request"),
    (
        "max.in.flight.requests.per.connection",
        "librdkafka can acknowledge an unwritten record with more than one request",
    ),
    ("message.timeout.ms", "a record that gives up leaves a gap behind"),
    ("delivery.timeout.ms", "a record that gives up leaves a gap behind"),
    ("transactional.id", "it names the owner of a partition's checkpoints"),
    ("transaction.timeout.ms", "it bounds how long a dead owner hides records"),
    ("partitioner", "every writer must put a key on the same partition"),
    ("test.mock.num.brokers", "the embedded broker is configured as the stack"),
];

impl Settings {
    /// The name of `topic` on this cluster.
    #[must_use]
    pub fn topic(&self, topic: Topic) -> String {
        format!("{}{}", self.prefix, topic.name())
    }

    /// The group of `kind`'s feed.
    #[must_use]
    pub fn group(&self, kind: Kind) -> String {
        format!("{}stepstream-{}", self.prefix, kind.as_str())
    }

    /// The transactional id of the checkpoints of one partition.
    #[must_use]
    pub fn transactional_id(&self, kind: Kind, partition: i32) -> String {
        format!("{}{}-{partition}", self.prefix, kind.as_str())
    }

    /// After this long without a sign of life, a member's partitions are given to others. A call may start
    /// only while ownership was confirmed within half of it.
    #[must_use]
    pub fn session_timeout(&self) -> Duration {
        self.properties
            .get("session.timeout.ms")
            .and_then(|text| text.parse().ok())
            .map_or(SESSION_TIMEOUT, Duration::from_millis)
    }

    /// After this long without a poll, a member leaves its group. librdkafka wants it no shorter than the
    /// session timeout.
    pub(crate) fn max_poll_interval(&self) -> Duration {
        self.properties
            .get("max.poll.interval.ms")
            .and_then(|text| text.parse().ok())
            .map_or(MAX_POLL_INTERVAL, Duration::from_millis)
            .max(self.session_timeout())
    }

    /// Checks what can be checked without a broker.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.brokers.trim().is_empty() {
            return Err(SettingsError::NoBrokers);
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !self.prefix.chars().all(legal) {
            return Err(SettingsError::Prefix(self.prefix.clone()));
        }
        for (name, value) in &self.properties {
            if let Some((_, reason)) = OWNED.iter().find(|(owned, _)| owned == name) {
                return Err(SettingsError::Owned { name: name.clone(), reason });
            }
            let mut alone = ClientConfig::new();
            alone.set(name, value);
            if let Err(error) = alone.create_native_config() {
                let why = error.to_string().replace(value.as_str(), "***");
                return Err(SettingsError::Unknown { name: name.clone(), why });
            }
        }
        Ok(())
    }

    /// The configuration of a client for `role`.
    pub(crate) fn client(&self, role: Role) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Info);
        for (name, value) in base() {
            config.set(*name, *value);
        }
        for (name, value) in tunable(role, self.stack) {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties {
            if applies(name, role) {
                config.set(name, value);
            }
        }
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", &self.client_id);
        for (name, value) in fixed(role) {
            config.set(*name, *value);
        }
        match role {
            Role::Membership(kind) => {
                config.set("group.id", self.group(kind));
                let interval = self.max_poll_interval().as_millis();
                config.set("max.poll.interval.ms", interval.to_string());
            }
            Role::Reader(kind) => {
                config.set("group.id", self.group(kind));
            }
            // Manual assignment needs a name too. Nothing is ever committed under it.
            Role::Reading => {
                config.set("group.id", format!("{}stepstream-reading", self.prefix));
            }
            Role::Checkpoints(kind, partition) => {
                config.set("transactional.id", self.transactional_id(kind, partition));
            }
            Role::Sender(Batching::Single) => {
                config.set("batch.num.messages", "1");
            }
            Role::Sender(Batching::Many)
            | Role::Deltas
            | Role::Publisher
            | Role::Metadata
            | Role::Admin => {}
        }
        config
    }
}

/// What every client has.
fn base() -> &'static [(&'static str, &'static str)] {
    &[
        // Small requests must leave at once.
        ("socket.nagle.disable", "true"),
        ("socket.keepalive.enable", "true"),
        // A broker that restarts is back within seconds.
        ("reconnect.backoff.ms", "50"),
        ("reconnect.backoff.max.ms", "2000"),
        // A connection that died without a word (a cut cable, a forgotten entry in a firewall) is known by a
        // request that nobody answers, and everything that waits behind it waits as long.
        ("socket.timeout.ms", "10000"),
        // A topic that was refused once (a missing permission), or that a broker didn't know yet when it had
        // just started, is looked at again this often; a group that misses its topic stands still until then.
        ("topic.metadata.refresh.interval.ms", "5000"),
        // An idle connection that the broker closes is no news.
        ("log.connection.close", "false"),
    ]
}

/// What may be tuned from outside.
fn tunable(role: Role, stack: Stack) -> &'static [(&'static str, &'static str)] {
    match (role, stack) {
        (Role::Membership(_), _) => &[
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "1000"),
            // It must never hold records: its partitions are paused.
            ("queued.min.messages", "1"),
            ("queued.max.messages.kbytes", "1"),
            ("fetch.message.max.bytes", "1024"),
        ],
        (Role::Reader(_), Stack::Real) => &[
            // For the lag metric.
            ("statistics.interval.ms", "5000"),
            ("fetch.wait.max.ms", FETCH_WAIT_REAL),
            // How long a full queue, and an error, keep a partition out of the next fetch.
            ("fetch.queue.backoff.ms", "5"),
            ("fetch.error.backoff.ms", "50"),
            // Read ahead for milliseconds of work, not for seconds.
            ("queued.min.messages", "5000"),
            ("queued.max.messages.kbytes", "16384"),
        ],
        (Role::Reader(_), Stack::Embedded) => &[
            ("statistics.interval.ms", "5000"),
            ("fetch.wait.max.ms", FETCH_WAIT_EMBEDDED),
            ("fetch.queue.backoff.ms", "2"),
            ("fetch.error.backoff.ms", "20"),
            ("queued.min.messages", "5000"),
            ("queued.max.messages.kbytes", "16384"),
        ],
        (Role::Reading, Stack::Real) => &[
            ("fetch.wait.max.ms", "20"),
            ("fetch.queue.backoff.ms", "5"),
            ("fetch.error.backoff.ms", "50"),
            ("queued.max.messages.kbytes", "8192"),
        ],
        (Role::Reading, Stack::Embedded) => &[
            ("fetch.wait.max.ms", FETCH_WAIT_EMBEDDED),
            ("fetch.queue.backoff.ms", "2"),
            ("fetch.error.backoff.ms", "20"),
            ("queued.max.messages.kbytes", "8192"),
        ],
        (Role::Sender(_), _) => &[
            ("linger.ms", "0"),
            ("retry.backoff.ms", "10"),
            ("retry.backoff.max.ms", "500"),
            // Above every machine's bound of sends in flight, so "full" means that the broker is stuck.
            ("queue.buffering.max.messages", "100000"),
            ("queue.buffering.max.kbytes", "131072"),
        ],
        (Role::Publisher, _) => &[
            ("linger.ms", "0"),
            ("retry.backoff.ms", "10"),
            ("retry.backoff.max.ms", "500"),
            ("queue.buffering.max.messages", "50000"),
            ("queue.buffering.max.kbytes", "65536"),
        ],
        (Role::Deltas, _) => &[
            // The first token must not wait for company.
            ("linger.ms", "1"),
            ("retry.backoff.ms", "10"),
            ("retry.backoff.max.ms", "200"),
            ("queue.buffering.max.messages", "20000"),
            ("queue.buffering.max.kbytes", "16384"),
        ],
        (Role::Checkpoints(..), _) => &[
            ("linger.ms", "0"),
            // The first request of a transaction often meets the end of the one before.
            ("retry.backoff.ms", "1"),
            ("retry.backoff.max.ms", "20"),
            ("queue.buffering.max.messages", "100000"),
            ("queue.buffering.max.kbytes", "131072"),
        ],
        (Role::Metadata | Role::Admin, _) => &[],
    }
}

/// What nobody may tune.
fn fixed(role: Role) -> &'static [(&'static str, &'static str)] {
    match role {
        Role::Membership(_) => &[
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
        ],
        Role::Reader(_) => &[
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("isolation.level", "read_committed"),
            ("enable.partition.eof", "false"),
        ],
        Role::Reading => &[
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("isolation.level", "read_committed"),
            ("enable.partition.eof", "true"),
        ],
        Role::Metadata => &[("isolation.level", "read_uncommitted")],
        Role::Sender(_) => &[
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("enable.gapless.guarantee", "true"),
            ("max.in.flight.requests.per.connection", "1"),
            // Endless: giving up on one record would let later ones pass it. The worker watches instead.
            ("message.timeout.ms", "0"),
            ("partitioner", "murmur2_random"),
        ],
        Role::Publisher => &[
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("max.in.flight.requests.per.connection", "1"),
            ("message.timeout.ms", "15000"),
            ("partitioner", "murmur2_random"),
        ],
        Role::Deltas => &[
            ("acks", "1"),
            ("max.in.flight.requests.per.connection", "1"),
            // An old token helps nobody.
            ("message.timeout.ms", "5000"),
            ("partitioner", "murmur2_random"),
        ],
        Role::Checkpoints(..) => &[
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("max.in.flight.requests.per.connection", "1"),
            ("transaction.timeout.ms", "10000"),
            ("socket.timeout.ms", "5000"),
            // A connection that breaks while a transaction ends makes its outcome doubtful: we must hear.
            ("log.connection.close", "true"),
            ("partitioner", "murmur2_random"),
        ],
        Role::Admin => &[],
    }
}

/// Whether a property from outside concerns this role. librdkafka warns about a consumer's property on a
/// producer, and a wrong one on the membership would make it read.
fn applies(name: &str, role: Role) -> bool {
    const CONSUMER: &[&str] = &[
        "fetch.",
        "queued.",
        "session.timeout.ms",
        "heartbeat.",
        "max.poll.",
        "group.",
        "check.crcs",
    ];
    const PRODUCER: &[&str] = &[
        "linger.ms",
        "queue.buffering.",
        "batch.",
        "compression.",
        "message.send.",
        "retries",
        "sticky.",
        "delivery.report.",
        "request.timeout.ms",
    ];
    const MEMBER: &[&str] = &["session.timeout.ms", "heartbeat.", "max.poll.", "group."];
    let starts = |list: &[&str]| list.iter().any(|start| name.starts_with(start));
    match role {
        Role::Membership(_) => {
            !starts(PRODUCER) && !name.starts_with("fetch.") && !name.starts_with("queued.")
        }
        Role::Reader(_) | Role::Reading => !starts(PRODUCER) && !starts(MEMBER),
        Role::Metadata | Role::Admin => !starts(PRODUCER) && !starts(CONSUMER),
        Role::Sender(_) | Role::Deltas | Role::Checkpoints(..) | Role::Publisher => {
            !starts(CONSUMER)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(properties: &[(&str, &str)]) -> Settings {
        Settings {
            brokers: "127.0.0.1:9".into(),
            prefix: "p.".into(),
            client_id: "test".into(),
            properties: properties.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            stack: Stack::Real,
        }
    }

    const ROLES: [Role; 11] = [
        Role::Membership(Kind::Model),
        Role::Reader(Kind::Model),
        Role::Sender(Batching::Many),
        Role::Sender(Batching::Single),
        Role::Deltas,
        Role::Checkpoints(Kind::Model, 3),
        Role::Publisher,
        Role::Reading,
        Role::Metadata,
        Role::Admin,
        Role::Membership(Kind::Agent),
    ];

    #[test]
    fn every_setting_of_every_role_is_known_to_librdkafka() {
        for stack in [Stack::Real, Stack::Embedded] {
            for role in ROLES {
                let settings = Settings { stack, ..settings(&[]) };
                settings.client(role).create_native_config().expect("accepted");
            }
        }
    }

    #[test]
    fn properties_on_which_guarantees_rest_are_refused_by_name() {
        for (name, _) in OWNED {
            let error = settings(&[(name, "1")]).check().unwrap_err();
            assert!(matches!(&error, SettingsError::Owned { name: n, .. } if n == name), "{error}");
        }
        for role in ROLES {
            for (name, _) in fixed(role) {
                let known = OWNED.iter().any(|(owned, _)| owned == name);
                assert!(
                    known || ["socket.timeout.ms", "log.connection.close"].contains(name),
                    "{name} could be overruled"
                );
            }
        }
    }

    #[test]
    fn an_unknown_property_is_named_and_its_value_is_not_shown() {
        let error = settings(&[("sasl.mechanism.typo", "canary-secret")]).check().unwrap_err();
        assert!(error.to_string().contains("properties.sasl.mechanism.typo"), "{error}");
        assert!(!error.to_string().contains("canary-secret"), "{error}");
        let error = settings(&[("security.protocol", "canary-secret")]).check().unwrap_err();
        assert!(!error.to_string().contains("canary-secret"), "{error}");
    }

    #[test]
    fn properties_are_passed_to_the_roles_they_concern() {
        let settings =
            settings(&[("sasl.username", "u"), ("fetch.min.bytes", "2"), ("linger.ms", "7")]);
        settings.check().unwrap();
        let reader = settings.client(Role::Reader(Kind::Model));
        assert_eq!(reader.get("sasl.username"), Some("u"));
        assert_eq!(reader.get("fetch.min.bytes"), Some("2"));
        assert_eq!(reader.get("linger.ms"), None);
        let sender = settings.client(Role::Sender(Batching::Many));
        assert_eq!(sender.get("sasl.username"), Some("u"));
        assert_eq!(sender.get("linger.ms"), Some("7"));
        assert_eq!(sender.get("fetch.min.bytes"), None);
        assert_eq!(settings.client(Role::Membership(Kind::Model)).get("fetch.min.bytes"), None);
    }

    #[test]
    fn names_carry_the_prefix() {
        let settings = settings(&[]);
        assert_eq!(settings.topic(Topic::Feed(Kind::Model)), "p.model-requests");
        assert_eq!(settings.group(Kind::Agent), "p.stepstream-agent");
        assert_eq!(settings.transactional_id(Kind::Model, 3), "p.model-3");
        let bad = Settings { prefix: "a/b".into(), ..settings };
        assert_eq!(bad.check(), Err(SettingsError::Prefix("a/b".into())));
    }

    #[test]
    fn a_session_of_any_length_that_brokers_take_is_accepted_by_every_role() {
        for (session, interval) in [("6000", "30000"), ("30000", "30000"), ("1800000", "1800000")] {
            let settings = settings(&[("session.timeout.ms", session)]);
            for role in ROLES {
                let accepted = settings.client(role).create::<rdkafka::consumer::BaseConsumer>();
                assert!(matches!(role, Role::Checkpoints(..)) || accepted.is_ok(), "{role:?}");
            }
            let member = settings.client(Role::Membership(Kind::Model));
            assert_eq!(member.get("max.poll.interval.ms"), Some(interval));
        }
    }

    #[test]
    fn session_timeout_follows_the_property() {
        assert_eq!(settings(&[]).session_timeout(), SESSION_TIMEOUT);
        let changed = settings(&[("session.timeout.ms", "6000")]);
        assert_eq!(changed.session_timeout(), Duration::from_secs(6));
        assert_eq!(
            changed.client(Role::Membership(Kind::Model)).get("session.timeout.ms"),
            Some("6000")
        );
    }
}
