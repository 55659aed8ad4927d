//! The real broker, registry and store, through `infra/local`. Nothing here knows how they are started.

use std::path::PathBuf;
use std::process::{self, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::places;
use crate::report::{run, shown};

/// What `infra/local/up --output json` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// The line itself, for those who take it as a whole.
    pub(crate) line: String,
    /// Bootstrap servers.
    pub(crate) brokers: String,
    /// Base URL of the registry.
    pub(crate) registry: String,
    /// The directory by which it is stopped.
    data: PathBuf,
}

impl Addresses {
    fn parse(line: &str) -> Result<Self> {
        let ready: Value = serde_json::from_str(line)
            .with_context(|| format!("infra/local/up printed no JSON: {line:?}"))?;
        let text = |field: &str| {
            let value = ready.get(field).and_then(Value::as_str);
            value.map(str::to_owned).with_context(|| format!("{line}: no text in {field:?}"))
        };
        Ok(Self {
            line: line.to_owned(),
            brokers: text("brokers")?,
            registry: text("registry")?,
            data: text("data")?.into(),
        })
    }
}

/// A stack of our own on free ports, with nothing in it; stopped and removed when dropped.
///
/// When this process ends without dropping it (Ctrl-C, a kill), `infra/local` notices by itself.
#[derive(Debug)]
pub(crate) struct Temporary {
    /// Where it listens.
    pub(crate) addresses: Addresses,
}

impl Temporary {
    /// Waits until it is ready.
    pub(crate) fn start() -> Result<Self> {
        let store = ["--with", "cassandra", "--cassandra-port", "0"];
        let free = ["--temporary", "--kafka-port", "0", "--registry-port", "0"];
        Ok(Self { addresses: up(&[&free[..], &store[..]].concat(), process::id())? })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut command = Command::new(places::root().join("infra/local/down"));
        command.arg("--data").arg(&self.addresses.data);
        if let Err(error) = run(&mut command) {
            eprintln!("the real stack may still be running: {error:#}");
        }
    }
}

/// The stack in its usual place, with the data that it had; stopped when the process `pid` ends, unless
/// it was running before.
pub(crate) fn up_until_exit_of(pid: u32) -> Result<Addresses> {
    up(&[], pid)
}

fn up(arguments: &[&str], pid: u32) -> Result<Addresses> {
    let mut command = Command::new(places::root().join("infra/local/up"));
    command.args(["--output", "json", "--until-exit-of", &pid.to_string()]).args(arguments);
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let line = shown(&command);
    let output = command.output().with_context(|| format!("can't start {line}"))?;
    if !output.status.success() {
        bail!("{line}: {}", output.status);
    }
    Addresses::parse(String::from_utf8_lossy(&output.stdout).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_gives_addresses_and_stays_whole() {
        let line = r#"{"brokers":"127.0.0.1:1","registry":"http://127.0.0.1:2","data":"/d"}"#;
        let addresses = Addresses::parse(line).unwrap();
        assert_eq!(addresses.brokers, "127.0.0.1:1");
        assert_eq!(addresses.registry, "http://127.0.0.1:2");
        assert_eq!(addresses.line, line);
    }

    #[test]
    fn a_ready_line_that_lacks_a_field_is_an_error_that_names_it() {
        let error = Addresses::parse(r#"{"brokers":"x","data":"y"}"#).unwrap_err().to_string();
        assert!(error.ends_with("no text in \"registry\""), "{error}");
        let error = Addresses::parse("export A=1").unwrap_err().to_string();
        assert!(error.contains("no JSON"), "{error}");
    }
}
