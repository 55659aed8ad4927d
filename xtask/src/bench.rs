//! `cargo xtask bench`: builds what is measured and what measures, for release, and becomes the latter.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use crate::places::cargo;
use crate::report::{run as run_command, shown};

/// Doesn't return when it works.
pub(crate) fn run(rest: &[OsString]) -> Result<()> {
    // Some benchmarks measure whole processes, so the product is built beside them.
    run_command(&mut cargo(&[
        "build",
        "--release",
        "--package",
        "stepstream-bench",
        "--package",
        "stepstream",
    ]))?;
    let mut command =
        cargo(&["run", "--quiet", "--release", "--package", "stepstream-bench", "--"]);
    command.args(rest);
    let line = shown(&command);
    Err(command.exec()).with_context(|| format!("can't start {line}"))
}
