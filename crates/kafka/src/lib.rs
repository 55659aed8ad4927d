//! Everything that names rdkafka or the schema registry's client: the adapter between the runtime's
//! ports and a Kafka cluster, real or embedded.
//!
//! It moves bytes and reports what happened. It decides nothing about entities, never creates a topic
//! except when asked to through [`topics`], and never resets a position silently.

pub mod checkpoints;
mod cluster;
pub mod config;
mod deltas;
pub mod edge;
pub mod embedded;
mod events;
mod membership;
mod reader;
mod reading;
mod records;
pub mod registry;
mod sender;
#[cfg(test)]
mod tests;
pub mod topics;

pub use cluster::Cluster;
pub use config::{Settings, SettingsError, Stack};
pub use edge::Publisher;
pub use embedded::Embedded;
pub use registry::Registry;

use runtime::ports::ClusterError;

/// What was being done, and why it failed, in the client's words.
pub(crate) fn failed(what: impl Into<String>, why: impl std::fmt::Display) -> ClusterError {
    ClusterError { what: what.into(), why: why.to_string() }
}
