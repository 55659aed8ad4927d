//! A real broker and registry for one run: started by `infra/local/up` and stopped afterwards, or named
//! on the command line and left alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;

/// What `infra/local/up --output json` prints.
#[derive(Debug, Deserialize)]
struct Ready {
    brokers: String,
    registry: String,
    data: PathBuf,
    kafka_pid: u32,
}

/// Where broker and registry are.
#[derive(Debug)]
pub(crate) struct Stack {
    /// `host:port` of the broker.
    pub(crate) brokers: String,
    /// Base address of the registry.
    pub(crate) registry: String,
    /// The broker's process, where it is on this machine.
    pub(crate) broker_pid: Option<u32>,
    started: Option<(PathBuf, PathBuf)>,
}

impl Stack {
    /// One that runs already.
    pub(crate) fn at(brokers: String, registry: String, broker_pid: Option<u32>) -> Self {
        Self { brokers, registry, broker_pid, started: None }
    }

    /// Starts one in a directory of its own.
    ///
    /// # Errors
    /// The scripts aren't found from here, or the start fails: the reason is on standard error.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let scripts = scripts()?;
        let own = std::process::id().to_string();
        let up = Command::new(scripts.join("up"))
            .args([
                "--temporary",
                "--kafka-port",
                "0",
                "--registry-port",
                "0",
                "--registry-storage",
                "memory",
                "--output",
                "json",
                "--until-exit-of",
                own.as_str(),
            ])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("running infra/local/up")?;
        if !up.status.success() {
            bail!("infra/local/up failed: {}", up.status);
        }
        let ready: Ready =
            serde_json::from_slice(&up.stdout).context("reading what infra/local/up printed")?;
        Ok(Self {
            brokers: ready.brokers,
            registry: ready.registry,
            broker_pid: Some(ready.kafka_pid),
            started: Some((scripts, ready.data)),
        })
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if let Some((scripts, data)) = &self.started {
            let down = Command::new(scripts.join("down"))
                .arg("--data")
                .arg(data)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            if let Err(error) = down {
                tracing::warn!(%error, "the stack is left to its watcher");
            }
        }
    }
}

/// `infra/local`, from the working directory upwards.
pub(crate) fn scripts() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir().context("looking for infra/local")?;
    here.ancestors()
        .map(|place| place.join(Path::new("infra/local")))
        .find(|place| place.join("up").is_file())
        .context("no infra/local/up here or above: run the bench inside the repository")
}
