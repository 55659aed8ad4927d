//! The commands. Each has a module of its own with its arguments, whose comments are the help texts.

mod config;
mod dev;
mod doctor;
mod keys;
mod models;
mod proposing;
mod publish;
mod replay;
mod schedule;
mod serve;
pub(crate) mod store;
mod stored;
mod tail;
mod topics;
mod workflow;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use service::config::Config;

use crate::error::CommandError;

/// What can be done. Each command is documented where its arguments are.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Dev(dev::Dev),
    Serve(serve::Serve),
    #[command(subcommand)]
    Topics(topics::Topics),
    Doctor(doctor::Doctor),
    #[command(subcommand)]
    Config(config::ConfigCommand),
    #[command(subcommand)]
    Keys(keys::Keys),
    #[command(subcommand)]
    Models(models::Models),
    Publish(publish::Publish),
    Replay(replay::Replay),
    Tail(tail::Tail),
    #[command(subcommand)]
    Store(store::StoreCommand),
    #[command(subcommand)]
    Workflow(workflow::Workflow),
    #[command(subcommand)]
    Schedule(schedule::Schedule),
}

impl Command {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Dev(dev) => dev.run().await,
            Self::Serve(serve) => serve.run().await,
            Self::Topics(topics) => topics.run().await,
            Self::Doctor(doctor) => doctor.run().await,
            Self::Config(config) => config.run(),
            Self::Keys(keys) => keys.run().await,
            Self::Models(models) => models.run().await,
            Self::Publish(publish) => publish.run().await,
            Self::Replay(replay) => replay.run().await,
            Self::Tail(tail) => tail.run().await,
            Self::Store(store) => store.run().await,
            Self::Workflow(workflow) => workflow.run().await,
            Self::Schedule(schedule) => schedule.run().await,
        }
    }
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// Configuration file (TOML). Environment variables like STEPSTREAM_KAFKA__BROKERS come on top.
    /// `stepstream config show` prints all keys
    #[arg(long, value_name = "FILE", env = "STEPSTREAM_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

impl ConfigFile {
    /// The configuration, checked.
    pub(crate) fn load(&self) -> Result<Config, CommandError> {
        Config::load(self.config.as_deref())
            .map_err(|error| CommandError::new("reading the configuration", error))
    }

    /// As [`ConfigFile::load`], for a command that runs once: with log lines that matter only.
    pub(crate) fn load_quietly(&self) -> Result<Config, CommandError> {
        let mut config = self.load()?;
        config.telemetry.log_filter = "error".into();
        init_logs(&config)?;
        Ok(config)
    }
}

/// Sends spans to the collector, where one is configured.
pub(crate) fn init_traces(config: &Config) -> Result<service::telemetry::Traces, CommandError> {
    service::telemetry::init_traces(&config.telemetry)
        .map_err(|error| CommandError::new("setting up traces", error))
}

/// Sends log lines to standard error.
pub(crate) fn init_logs(config: &Config) -> Result<(), CommandError> {
    service::telemetry::init_logs(&config.telemetry)
        .map_err(|error| CommandError::new("setting up log lines", error))
}
