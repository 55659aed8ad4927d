//! A real Cassandra of one test's own, which may be stopped, killed and started again with its data.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::process::Signal;
use crate::root;

/// One node. Dropping it ends it.
#[derive(Debug)]
pub struct Cassandra {
    folder: tempfile::TempDir,
    node: String,
    pid: u64,
}

impl Cassandra {
    /// Starts one.
    ///
    /// # Panics
    /// When it doesn't start.
    pub async fn start() -> Self {
        let started = tokio::task::spawn_blocking(|| {
            let folder = tempfile::tempdir().expect("a folder for a node");
            let (node, pid) = up(folder.path(), "0");
            Self { folder, node, pid }
        });
        started.await.expect("infra/local/up starts")
    }

    /// `host:port` for CQL.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Lets it stand still, or go on.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Terminate => "-TERM",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        };
        self.send(name);
    }

    /// Kills it (SIGKILL).
    ///
    /// # Panics
    /// When it is gone already.
    pub fn kill(&self) {
        self.send("-KILL");
    }

    /// Starts it again after a kill, where it was, with the data that it had.
    ///
    /// # Panics
    /// When it doesn't start.
    pub async fn start_again(&mut self) {
        let folder = self.folder.path().to_owned();
        let port = self.node.rsplit(':').next().unwrap_or_default().to_owned();
        let started = tokio::task::spawn_blocking(move || up(&folder, &port));
        let (node, pid) = started.await.expect("infra/local/up starts again");
        assert_eq!(node, self.node);
        self.pid = pid;
    }

    fn send(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.pid.to_string()]).status();
        assert!(status.expect("the system has `kill`").success(), "{name}");
    }
}

impl Drop for Cassandra {
    fn drop(&mut self) {
        // One that stands still wouldn't hear that it has to end; it may be gone already.
        let _ = Command::new("kill").args(["-CONT", &self.pid.to_string()]).output();
        let mut command = Command::new(root().join("infra/local/down"));
        command.arg("--data").arg(self.folder.path()).stdin(Stdio::null());
        // The folder goes either way, and the node ends with this process at the latest.
        let _ = command.output();
    }
}

fn up(folder: &Path, port: &str) -> (String, u64) {
    let id = std::process::id().to_string();
    let mut command = Command::new(root().join("infra/local/up"));
    command.arg("--data").arg(folder);
    command
        .args(["--only", "cassandra", "--cassandra-port", port])
        .args(["--output", "json", "--until-exit-of", &id])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", output.status);
    let ready: Value = serde_json::from_slice(&output.stdout).expect("a line of JSON");
    let node = ready["cassandra"].as_str().expect("an address").to_owned();
    (node, ready["cassandra_pid"].as_u64().expect("a process id"))
}
