//! A worker process of its own, to be watched while idle or killed: the bench runs itself again as one.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;

use crate::models::start_inference;
use crate::platform::Platform;
use crate::stack::Stack;

/// How long a worker may take to stop when asked.
const STOPS: Duration = Duration::from_secs(60);

/// Where a worker finds what it needs.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The topics' prefix.
    pub(crate) prefix: String,
    /// Base address of a server in OpenAI's shape.
    pub(crate) model_url: String,
}

/// Runs until standard input ends, which it also does when whoever started us is gone.
pub(crate) fn run(stack: &Stack, place: &Place) -> anyhow::Result<()> {
    let platform = Platform::join(stack, &place.prefix)?;
    let definition = json!({ "deployments": [{
        "name": "server", "provider": "openai-compatible", "model": "m",
        "base_url": place.model_url,
    }]});
    let running = start_inference(&platform, &definition)?;
    std::io::stdin().read_to_end(&mut Vec::new()).context("waiting for the end")?;
    platform.stop(running)
}

/// A worker process that we started.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts one.
    pub(crate) fn start(stack: &Stack, place: &Place) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("looking for our own program")?;
        let child = Command::new(own)
            .args(["worker", "--brokers", stack.brokers.as_str()])
            .args(["--registry", stack.registry.as_str()])
            .args(["--prefix", place.prefix.as_str()])
            .args(["--model-url", place.model_url.as_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("starting a worker process")?;
        Ok(Self { child })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().context("killing a worker")?;
        self.child.wait().context("waiting for a killed worker")?;
        Ok(())
    }

    /// Ends it as an operator would.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let until = Instant::now() + STOPS;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().context("waiting for a worker")? {
                if status.success() {
                    return Ok(());
                }
                bail!("a worker ended with {status}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("a worker did not stop within {} s", STOPS.as_secs())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing to be done about one that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
