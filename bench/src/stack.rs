//! A real broker and registry for one run: started by `infra/local/up` and stopped afterwards, or named
//! on the command line and left alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

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
    /// Where it keeps what it has, when we started it.
    started: Option<PathBuf>,
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
        let kafka = ["--kafka-port", "0"];
        let registry = ["--registry-port", "0", "--registry-storage", "memory"];
        let ready: Ready = up(&[&kafka[..], &registry[..]].concat())?;
        Ok(Self {
            brokers: ready.brokers,
            registry: ready.registry,
            broker_pid: Some(ready.kafka_pid),
            started: Some(ready.data),
        })
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if let Some(data) = &self.started
            && let Err(error) = down(data)
        {
            tracing::warn!(%error, "the stack is left to its watcher");
        }
    }
}

/// Starts parts of a stack in a directory of their own, which end with this process at the latest; returns
/// what `infra/local/up` says of them.
pub(crate) fn up<R: DeserializeOwned>(parts: &[&str]) -> anyhow::Result<R> {
    let own = std::process::id().to_string();
    let up = Command::new(scripts()?.join("up"))
        .arg("--temporary")
        .args(parts)
        .args(["--output", "json", "--until-exit-of", &own])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("running infra/local/up")?;
    if !up.status.success() {
        bail!("infra/local/up failed: {}", up.status);
    }
    serde_json::from_slice(&up.stdout).context("reading what infra/local/up printed")
}

/// Stops what was started there.
pub(crate) fn down(data: &Path) -> anyhow::Result<()> {
    let mut down = Command::new(scripts()?.join("down"));
    down.arg("--data").arg(data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    down.status().context("running infra/local/down")?;
    Ok(())
}

/// `infra/local`, from the working directory upwards.
fn scripts() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir().context("looking for infra/local")?;
    here.ancestors()
        .map(|place| place.join(Path::new("infra/local")))
        .find(|place| place.join("up").is_file())
        .context("no infra/local/up here or above: run the bench inside the repository")
}
