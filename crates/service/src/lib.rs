//! What every process of the platform needs besides its work: configuration, logs and metrics, API
//! keys, the catalogue of definitions, and an orderly end.
//!
//! Nothing here knows Kafka, HTTP or a database, and nothing is global but what the process itself has
//! only once: its log subscriber, its metrics recorder, its signals.

pub mod auth;
pub mod catalogue;
pub mod config;
pub mod shutdown;
pub mod telemetry;
