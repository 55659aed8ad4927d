//! Where things are: the repository, the cache, the cargo that called us.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The root of the repository.
///
/// Cargo sets the variable at run time; the value of build time serves when the binary is run by hand.
pub(crate) fn root() -> PathBuf {
    let manifest =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let manifest = PathBuf::from(manifest);
    manifest.parent().map_or_else(|| manifest.clone(), Path::to_path_buf)
}

/// The same directory that `infra/local/up` uses.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(own) = env::var_os("STEPSTREAM_CACHE") {
        return Ok(own.into());
    }
    let base = match env::var_os("XDG_CACHE_HOME") {
        Some(base) => PathBuf::from(base),
        None => PathBuf::from(
            env::var_os("HOME").context("none of STEPSTREAM_CACHE, XDG_CACHE_HOME, HOME is set")?,
        )
        .join(".cache"),
    };
    Ok(base.join("stepstream"))
}

/// The cargo that runs us, with `arguments`; in the caller's directory.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// The same, in the root of the repository, where it works on the whole workspace.
pub(crate) fn cargo_at_root(arguments: &[&str]) -> Command {
    let mut command = cargo(arguments);
    command.current_dir(root());
    command
}
