//! The product as an operator uses it: commands of `stepstream`, and a `serve`, on topics and tables of their
//! own. It sees nothing of the program but what it prints and what it serves.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::product::program;
use crate::stack::Stack;

/// Partitions of each topic, as in the other benches.
pub(crate) const PARTITIONS: i32 = 4;

/// How long a process may take until it is ready.
pub(crate) const READY: Duration = Duration::from_secs(300);

/// Someone with the program, a cluster and a prefix.
pub(crate) struct Operator {
    prefix: String,
    variables: Vec<(String, String)>,
    folder: tempfile::TempDir,
}

impl Operator {
    /// On a new prefix; its topics are made and its schemas registered.
    pub(crate) fn new(stack: &Stack) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("making a directory for the product")?;
        let prefix = format!("bench-{}-", uuid::Uuid::now_v7());
        let mut operator = Self { prefix: prefix.clone(), variables: Vec::new(), folder };
        operator.set("STEPSTREAM_KAFKA__BROKERS", &stack.brokers);
        operator.set("STEPSTREAM_KAFKA__PREFIX", &prefix);
        operator.set("STEPSTREAM_KAFKA__PARTITIONS", &PARTITIONS.to_string());
        operator.set("STEPSTREAM_KAFKA__REPLICATION_FACTOR", "1");
        operator.set("STEPSTREAM_REGISTRY__URL", &stack.registry);
        // No line for each request: neither has its peer.
        operator.set("STEPSTREAM_TELEMETRY__LOG_FILTER", "warn,librdkafka=error");
        let file = operator.folder.path().join("store.redb").display().to_string();
        operator.set("STEPSTREAM_STORE__PATH", &file);
        operator.run(&["topics", "apply"])?;
        Ok(operator)
    }

    /// The prefix of its topics.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Sets a variable of every later command; the last one counts.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.into(), value.into()));
    }

    /// A command with its settings.
    pub(crate) fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(program()?);
        command.args(arguments).stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// What a command prints.
    ///
    /// # Errors
    /// It fails: with what it says.
    pub(crate) fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let shown = arguments.join(" ");
        let output = self
            .command(arguments)?
            .output()
            .with_context(|| format!("running `stepstream {shown}`"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`stepstream {shown}`: {}: {}", output.status, said.trim_end());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Makes `definition` known as a model.
    pub(crate) fn put_model(&self, name: &str, definition: &str) -> anyhow::Result<()> {
        let path = self.folder.path().join("model.json");
        std::fs::write(&path, definition).context("writing a model's definition")?;
        self.run(&["models", "put", name, &path.display().to_string()])?;
        Ok(())
    }

    /// `stepstream serve` with these roles. Its port is known; whether it is ready isn't.
    pub(crate) fn serve(&self, roles: &str) -> anyhow::Result<Serving> {
        self.serve_as(roles, |_| {})
    }

    /// The same, and what it says on standard error, of which `filter` is told.
    pub(crate) fn serve_heard(
        &self,
        roles: &str,
        filter: &str,
    ) -> anyhow::Result<(Serving, ChildStderr)> {
        let mut serving = self.serve_as(roles, |command| {
            command.env("STEPSTREAM_TELEMETRY__LOG_FILTER", filter).stderr(Stdio::piped());
        })?;
        let said = serving.child.stderr.take().context("its errors were piped")?;
        Ok((serving, said))
    }

    fn serve_as(&self, roles: &str, change: impl FnOnce(&mut Command)) -> anyhow::Result<Serving> {
        let (address, health) = (free_address()?, free_address()?);
        let mut command = self.command(&["serve", "--roles", roles])?;
        command
            .env("STEPSTREAM_GATEWAY__LISTEN", address.to_string())
            .env("STEPSTREAM_TELEMETRY__METRICS_LISTEN", health.to_string())
            .stdout(Stdio::null());
        change(&mut command);
        let child = command.spawn().context("starting `stepstream serve`")?;
        let (url, health) = (format!("http://{address}"), format!("http://{health}"));
        Ok(Serving { child, url, health })
    }
}

/// A process that serves. Dropping it ends it as `kill -9` does: nothing of it is used any more.
pub(crate) struct Serving {
    child: Child,
    url: String,
    health: String,
}

impl Serving {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its gateway is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Where it says how it is when it has no gateway.
    pub(crate) fn health(&self) -> &str {
        &self.health
    }

    /// An error when it has ended.
    pub(crate) fn still_runs(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait().context("looking at `stepstream serve`")? {
            None => Ok(()),
            Some(status) => bail!("`stepstream serve` ended by itself with {status}"),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address of this machine at which nothing listens.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    listener.local_addr().context("looking for a free port")
}

/// Waits until `url` answers with success.
///
/// # Errors
/// It doesn't within `patience`, or `runs` says that there is nothing to wait for.
pub(crate) async fn until_ready(
    http: &reqwest::Client,
    url: &str,
    patience: Duration,
    mut runs: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let until = Instant::now() + patience;
    loop {
        let why = match http.get(url).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => answer.status().to_string(),
            Err(error) => format!("{:#}", anyhow::Error::new(error)),
        };
        runs()?;
        if Instant::now() >= until {
            bail!("{url} isn't ready after {} s: {why}", patience.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
