//! What the program runs on: its own embedded broker and registry, or a real one of each.

use std::process::{Command, Stdio};

use serde_json::Value;
use tokio::sync::OnceCell;

use crate::root;

/// The environment variable with the addresses of a real stack: the line that `infra/local/up --output
/// json` prints.
const REAL: &str = "STEPSTREAM_REAL";

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// In the program's own process.
    Embedded,
    /// Apache Kafka and a registry.
    Real,
}

/// Where a broker and a registry are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Bootstrap servers.
    pub brokers: String,
    /// Base URL.
    pub registry: String,
}

impl Addresses {
    /// Reads them from a line of JSON.
    ///
    /// # Panics
    /// When the line doesn't have them.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        let ready: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        let text = |field: &str| match &ready[field] {
            Value::String(text) => text.clone(),
            other => panic!("{field} is {other} in {line}"),
        };
        Self { brokers: text("brokers"), registry: text("registry") }
    }
}

/// The real stack of this test process: the one that the environment names, else one that is started now
/// and stops by itself when this process ends.
///
/// # Panics
/// When it doesn't start.
pub async fn real() -> &'static Addresses {
    static ADDRESSES: OnceCell<Addresses> = OnceCell::const_new();
    ADDRESSES
        .get_or_init(async || match std::env::var(REAL) {
            Ok(line) => Addresses::parse(&line),
            Err(_) => tokio::task::spawn_blocking(start).await.expect("infra/local/up starts"),
        })
        .await
}

fn start() -> Addresses {
    let id = std::process::id().to_string();
    let mut command = Command::new(root().join("infra/local/up"));
    command
        .args(["--temporary", "--kafka-port", "0", "--registry-port", "0"])
        .args(["--output", "json", "--until-exit-of", &id])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", output.status);
    Addresses::parse(String::from_utf8_lossy(&output.stdout).trim())
}
