//! The whole platform in one process (`stepstream dev`), shared by the tests of a stack that run at the
//! same time: each uses ids, models and tenants of its own. The last one that ends stops it.

use std::process::Command;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::process::Process;
use crate::stack::{self, Addresses, Stack};
use crate::{fresh, program};

/// How long it may take to be ready: a debug build on a busy machine, with a real broker.
const READY: Duration = Duration::from_secs(90);

/// A running `stepstream dev`.
#[derive(Debug)]
pub struct Platform {
    /// What it runs on.
    pub stack: Stack,
    /// Where the API is.
    pub url: String,
    /// A key that may do everything in [`Platform::tenant`].
    pub key: String,
    /// The tenant of the key.
    pub tenant: String,
    /// Where its broker and registry are.
    pub addresses: Addresses,
    /// What precedes the name of every topic.
    pub prefix: String,
    // Before the folder, so that it is gone when its files are removed.
    process: Process,
    folder: TempDir,
}

impl Platform {
    /// The one that the tests of `stack` share.
    ///
    /// # Panics
    /// When it can't be started.
    pub async fn shared(stack: Stack) -> Arc<Self> {
        static EMBEDDED: Mutex<Weak<Platform>> = Mutex::const_new(Weak::new());
        static REAL: Mutex<Weak<Platform>> = Mutex::const_new(Weak::new());
        let mut shared = match stack {
            Stack::Embedded => &EMBEDDED,
            Stack::Real => &REAL,
        }
        .lock()
        .await;
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(Self::start(stack).await);
        *shared = Arc::downgrade(&started);
        started
    }

    /// One that nobody else uses.
    ///
    /// # Panics
    /// When it can't be started.
    pub async fn start(stack: Stack) -> Self {
        Self::start_with(stack, &[]).await
    }

    /// As [`Platform::start`], with further environment variables.
    ///
    /// # Panics
    /// When it can't be started.
    pub async fn start_with(stack: Stack, variables: &[(&str, &str)]) -> Self {
        let prefix = match stack {
            Stack::Embedded => String::new(),
            Stack::Real => format!("{}-", fresh("t")),
        };
        let folder = tempfile::tempdir().expect("a temporary directory");
        Self::start_in(stack, prefix, folder, variables).await
    }

    /// The same again, after it has stopped: on the same topics, where they outlive it, and the same data.
    ///
    /// # Panics
    /// When it can't be started.
    pub async fn start_again(self) -> Self {
        let Self { stack, prefix, folder, .. } = self;
        Self::start_in(stack, prefix, folder, &[]).await
    }

    async fn start_in(
        stack: Stack,
        prefix: String,
        folder: TempDir,
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new(program());
        command.args(["dev", "--port", "0", "--output", "json", "--data"]).arg(folder.path());
        command.env("STEPSTREAM_TELEMETRY__LOG_FILTER", "info,librdkafka=error");
        command.env("STEPSTREAM_KAFKA__PREFIX", &prefix);
        command.envs(variables.iter().copied());
        if stack == Stack::Real {
            let Addresses { brokers, registry, cassandra } = stack::real().await;
            command.args(["--brokers", brokers, "--registry", registry]);
            let nodes = cassandra.as_ref().expect("the real stack has a store: `--with cassandra`");
            // As the prefix of the topics, but without what CQL doesn't take in a name.
            let keyspace = prefix.replace('-', "_");
            command
                .env("STEPSTREAM_STORE__KIND", "cql")
                .env("STEPSTREAM_STORE__NODES", nodes)
                .env("STEPSTREAM_STORE__KEYSPACE", keyspace.trim_end_matches('_'))
                .env("STEPSTREAM_STORE__REPLICATION_FACTOR", "1")
                // A node that others keep busy.
                .env("STEPSTREAM_STORE__TIMEOUT_MS", "10000");
        }
        let mut process = Process::start("dev", command, folder.path());
        let (process, line) = tokio::task::spawn_blocking(move || {
            let line = process.first_line(READY);
            (process, line)
        })
        .await
        .expect("stepstream dev says when it is ready");
        let ready: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        let text = |field: &str| ready[field].as_str().unwrap_or_default().to_owned();
        Self {
            stack,
            url: text("url"),
            key: text("api_key"),
            tenant: text("tenant"),
            addresses: Addresses::parse(&line),
            prefix,
            process,
            folder,
        }
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The program with the settings of its cluster, for a command that runs beside it.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments);
        let Addresses { brokers, registry, .. } = &self.addresses;
        command
            .env("STEPSTREAM_KAFKA__BROKERS", brokers)
            .env("STEPSTREAM_KAFKA__PREFIX", &self.prefix)
            .env("STEPSTREAM_REGISTRY__URL", registry);
        command
    }
}

/// What a command printed.
///
/// # Panics
/// When it failed.
#[must_use]
pub fn output(mut command: Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let printed = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{printed}\n{said}", output.status);
    printed.trim().to_owned()
}
