//! The registry of topics: what each must look like on the cluster. Comparing and creating is done in
//! [`plan`] and [`admin`]; nothing here talks to a broker, and nothing anywhere deletes a topic.

pub mod admin;
pub mod plan;

use std::collections::BTreeMap;

use domain::topic::Topic;

use crate::config::Settings;

/// The largest request that a topic takes: Kafka's own default, said aloud because the producers' limit of
/// 1,000,000 bytes must stay below it.
const MAX_MESSAGE_BYTES: &str = "1048588";

const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// How many partitions and copies topics get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Partitions of each topic but `definitions`, which has one.
    pub partitions: i32,
    /// Copies of each partition.
    pub replication_factor: i32,
    /// Copies that must have a record before it is acknowledged.
    pub min_in_sync: i32,
}

impl Layout {
    /// One broker on one machine.
    pub const DEV: Self = Self { partitions: 4, replication_factor: 1, min_in_sync: 1 };
    /// Three brokers or more: survives the loss of one without losing a record or stopping.
    pub const PRODUCTION: Self = Self { partitions: 12, replication_factor: 3, min_in_sync: 2 };
}

/// What a topic must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Which topic.
    pub topic: Topic,
    /// Its name on the cluster.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// How many copies.
    pub replication_factor: i32,
    /// Its settings, by Kafka's names.
    pub settings: BTreeMap<&'static str, String>,
}

/// What every topic must look like, with names as on this cluster.
#[must_use]
pub fn specs(settings: &Settings, layout: Layout) -> Vec<Spec> {
    Topic::ALL
        .iter()
        .map(|topic| Spec {
            topic: *topic,
            name: settings.topic(*topic),
            partitions: if *topic == Topic::Definitions { 1 } else { layout.partitions },
            replication_factor: layout.replication_factor,
            settings: settings_of(*topic, layout),
        })
        .collect()
}

fn settings_of(topic: Topic, layout: Layout) -> BTreeMap<&'static str, String> {
    let (cleanup, retention) = match topic {
        // A restore reads the newest entry of each key, however old.
        Topic::State(_) => ("compact", -1),
        Topic::Definitions => ("delete", -1),
        Topic::Feed(_) | Topic::Log(_) | Topic::Results => ("delete", 7 * DAY_MS),
        Topic::Stream => ("delete", HOUR_MS),
        Topic::ExecutionLog | Topic::DeadLetters => ("delete", 30 * DAY_MS),
    };
    // State time is the log's own: writers' clocks don't count.
    let time = if matches!(topic, Topic::Log(_)) { "LogAppendTime" } else { "CreateTime" };
    BTreeMap::from([
        ("cleanup.policy", cleanup.to_owned()),
        ("retention.ms", retention.to_string()),
        ("message.timestamp.type", time.to_owned()),
        ("max.message.bytes", MAX_MESSAGE_BYTES.to_owned()),
        ("min.insync.replicas", layout.min_in_sync.to_string()),
        ("unclean.leader.election.enable", "false".to_owned()),
    ])
}

/// The topics' names on one cluster, made once: a send must not format a string.
#[derive(Clone, Debug)]
pub(crate) struct Names(BTreeMap<Topic, String>);

impl Names {
    pub(crate) fn of_settings(settings: &Settings) -> Self {
        Self(Topic::ALL.iter().map(|topic| (*topic, settings.topic(*topic))).collect())
    }

    pub(crate) fn of(&self, topic: Topic) -> &str {
        self.0.get(&topic).map_or(topic.name(), String::as_str)
    }

    /// Whether a topic of that whole name is one of these.
    pub(crate) fn is_ours(&self, name: &str) -> bool {
        self.0.values().any(|ours| ours == name)
    }
}

#[cfg(test)]
mod tests {
    use domain::topic::Kind;

    use super::*;
    use crate::Stack;

    fn settings() -> Settings {
        Settings {
            brokers: "127.0.0.1:9".into(),
            prefix: "p-".into(),
            client_id: "test".into(),
            properties: BTreeMap::new(),
            stack: Stack::Real,
        }
    }

    #[test]
    fn every_topic_of_every_kind_is_listed_once() {
        for kind in Kind::ALL {
            for topic in [Topic::Feed(kind), Topic::Log(kind), Topic::State(kind)] {
                assert_eq!(
                    Topic::ALL.iter().filter(|listed| **listed == topic).count(),
                    1,
                    "{topic:?}"
                );
            }
        }
        let mut names: Vec<&str> = Topic::ALL.iter().map(|topic| topic.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Topic::ALL.len());
    }

    #[test]
    fn retention_and_compaction_follow_the_contract() {
        let specs = specs(&settings(), Layout::PRODUCTION);
        let of = |topic: Topic, key: &str| {
            specs.iter().find(|spec| spec.topic == topic).unwrap().settings[key].clone()
        };
        assert_eq!(of(Topic::State(Kind::Model), "cleanup.policy"), "compact");
        assert_eq!(of(Topic::Definitions, "retention.ms"), "-1");
        assert_eq!(of(Topic::Feed(Kind::Agent), "retention.ms"), "604800000");
        assert_eq!(of(Topic::Stream, "retention.ms"), "3600000");
        assert_eq!(of(Topic::ExecutionLog, "retention.ms"), "2592000000");
        assert_eq!(of(Topic::Log(Kind::Model), "message.timestamp.type"), "LogAppendTime");
        assert_eq!(of(Topic::Feed(Kind::Model), "message.timestamp.type"), "CreateTime");
        assert_eq!(of(Topic::Results, "min.insync.replicas"), "2");
        for spec in &specs {
            let expected = if spec.topic == Topic::Definitions { 1 } else { 12 };
            assert_eq!(spec.partitions, expected, "{}", spec.name);
            assert_eq!(spec.name, format!("p-{}", spec.topic.name()));
        }
    }
}
