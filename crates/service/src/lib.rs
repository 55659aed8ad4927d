//! What every process of the platform needs besides its work: configuration, logs and metrics, API
//! keys, the catalogue of definitions, and an orderly end.
//!
//! Nothing here knows Kafka or a database, and HTTP only as the way by which spans leave. Nothing is global
//! but what the process itself has only once: its log subscriber, its metrics recorder, its tracer, its
//! signals.

pub mod audit;
pub mod auth;
pub mod catalogue;
pub mod config;
pub mod shutdown;
pub mod telemetry;
