//! The configuration: one struct an area, read once when the process starts and passed down.
//!
//! What is not set has the default that stands here. A TOML file comes next, and environment variables
//! named `STEPSTREAM_<AREA>__<KEY>` last, e.g. `STEPSTREAM_GATEWAY__LISTEN=0.0.0.0:8080`. Variables
//! without the two underscores are not looked at (Kubernetes makes such for its services), but for
//! `STEPSTREAM_ROLES`. A key that is not documented here is an error that names it, and so is a value
//! that can't be right. No error and nothing that is shown ever holds a secret.

mod area;
mod check;
mod list;
mod properties;
mod secret;
mod source;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use area::{
    Claims, Consistency, Gateway, Inference, Kafka, Keep, KeyRate, LogFormat, Push, Registry, Role,
    Runtime, Store, StoreKind, Telemetry,
};
pub use check::Problem;
pub use secret::Secret;

/// The configuration of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// What this process does, any of `gateway`, `inference`, `archive`, `push`; a list, or one text
    /// with commas. Default: all.
    #[serde(deserialize_with = "list::any")]
    pub roles: Vec<Role>,
    /// The brokers.
    pub kafka: Kafka,
    /// The schema registry.
    pub registry: Registry,
    /// The HTTP edge.
    pub gateway: Gateway,
    /// The WebSockets.
    pub push: Push,
    /// The processor of model calls.
    pub inference: Inference,
    /// What all processors have in common.
    pub runtime: Runtime,
    /// Where executions are kept for look-ups.
    pub store: Store,
    /// Values that are too large for a record.
    pub claims: Claims,
    /// Logs and metrics.
    pub telemetry: Telemetry,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            roles: Role::ALL.to_vec(),
            kafka: Kafka::default(),
            registry: Registry::default(),
            gateway: Gateway::default(),
            push: Push::default(),
            inference: Inference::default(),
            runtime: Runtime::default(),
            store: Store::default(),
            claims: Claims::default(),
            telemetry: Telemetry::default(),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("failed to read the configuration file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path}, line {line}, column {column}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What is wrong. Never the line itself: it may hold a secret.
        message: String,
    },
    /// A variable with our prefix names no place.
    #[error("environment variable {name}: {message}")]
    Variable {
        /// The variable.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// A key or the type of its value is wrong.
    #[error("{place}: {key}: {message}")]
    Value {
        /// The file or the variable.
        place: String,
        /// The key, from the area on.
        key: String,
        /// What is wrong with it.
        message: String,
    },
    /// Values that can't be right, or not together.
    #[error("the configuration can't work: {}", Problem::sentence(.0))]
    Check(Vec<Problem>),
}

impl Config {
    /// The configuration from the file at `path`, where there is one, and this process's environment,
    /// checked.
    ///
    /// # Errors
    /// [`ConfigError`], which names the file or variable, and the key.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        // A name or value that is not Unicode can't be meant for us, or is refused by its key.
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        });
        Self::load_from(path, environment)
    }

    /// As [`Config::load`], from a given environment.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_from(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let config = source::read(path, environment)?;
        config.check()?;
        Ok(config)
    }

    /// Whether the values can work, also together. To be asked again after flags changed some.
    ///
    /// # Errors
    /// [`ConfigError::Check`] with all that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let problems = check::problems(self);
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Check(problems)) }
    }

    /// The configuration as TOML, with `***` for each secret. A secret that is kept elsewhere shows
    /// where.
    #[must_use]
    pub fn show(&self) -> String {
        toml::to_string_pretty(self).expect("every value of the configuration is a TOML value")
    }

    /// Whether this process has `role`.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}
