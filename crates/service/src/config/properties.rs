//! The properties that go to librdkafka as they are: which of them may be set, and which may be shown.

use std::collections::BTreeMap;

use serde::Serializer;
use serde::ser::SerializeMap;

use super::Secret;

/// What the platform sets itself: its promises rest on it.
const OURS: [&str; 24] = [
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "client.id",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "request.required.acks",
    "session.timeout.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

/// How the names of harmless properties end. Whatever isn't listed counts as a secret: a new property of
/// librdkafka is hidden until someone says that it may be seen.
const HARMLESS: [&str; 11] = [
    ".algorithm",
    ".bytes",
    ".family",
    ".kbytes",
    ".location",
    ".mechanism",
    ".mechanisms",
    ".messages",
    ".ms",
    ".protocol",
    ".verification",
];

/// Whether the platform sets `name` itself.
pub(super) fn is_ours(name: &str) -> bool {
    OURS.contains(&name)
}

/// Writes the harmless ones as they are, and the others as secrets.
pub(super) fn show<S: Serializer>(
    properties: &BTreeMap<String, Secret>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(properties.len()))?;
    for (name, value) in properties {
        if value.is_literal() && HARMLESS.iter().any(|end| name.ends_with(end)) {
            map.serialize_entry(name, value.expose())?;
        } else {
            map.serialize_entry(name, value)?;
        }
    }
    map.end()
}
