//! `cargo xtask dev`: builds and becomes `stepstream dev`.
//!
//! The process is replaced, not wrapped: signals reach the server itself, and its id is ours, which
//! `infra/local/up` watches in order to stop the real stack after it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process;

use anyhow::{Context, Result};

use crate::places::cargo;
use crate::report::shown;
use crate::stack;

/// What `stepstream dev` runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broker {
    /// The embedded broker and registry, in its own process.
    Embedded,
    /// Apache Kafka and a registry, started by `infra/local/up`; their data stay.
    Real,
}

/// Takes our own flag out of the arguments, wherever it stands; all others are the server's.
pub(crate) fn arguments(all: Vec<OsString>) -> (Broker, Vec<OsString>) {
    let (ours, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|argument| argument == "--real");
    (if ours.is_empty() { Broker::Embedded } else { Broker::Real }, rest)
}

/// Doesn't return when it works.
pub(crate) fn run(broker: Broker, rest: &[OsString]) -> Result<()> {
    let mut command =
        cargo(&["run", "--package", "stepstream", "--bin", "stepstream", "--", "dev"]);
    if broker == Broker::Real {
        let addresses = stack::up_until_exit_of(process::id())?;
        command.args(["--brokers", &addresses.brokers, "--registry", &addresses.registry]);
    }
    command.args(rest);
    let line = shown(&command);
    Err(command.exec()).with_context(|| format!("can't start {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_flag_is_taken_out_wherever_it_stands() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let (broker, rest) = arguments(words("--port 0 --real --output json"));
        assert_eq!((broker, rest), (Broker::Real, words("--port 0 --output json")));
        let (broker, rest) = arguments(words("--port 0"));
        assert_eq!((broker, rest), (Broker::Embedded, words("--port 0")));
    }
}
