//! `cargo xtask tidy`: what no other tool checks, from `cargo metadata` and `git ls-files` alone.
//!
//! Each rule is a pure function in a file of its own that returns what is wrong; this file reads the
//! facts and prints. It changes nothing.

mod edges;
mod licences;
mod metadata;
mod paths;
mod sources;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::places::{cargo_at_root, root};
use metadata::Metadata;

/// Fails when any rule is broken, after telling all that is wrong.
pub(crate) fn run() -> Result<()> {
    let metadata = Metadata::parse(&read_metadata()?)?;
    // Without the file there is no table in it, and the rule says so.
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap_or_default();
    let mut problems = edges::check(&metadata.edges(), &architecture);
    problems.extend(edges::check_outside(&metadata.outside_edges()));
    problems.extend(licences::check(&metadata.licences()));
    for name in tracked_files()? {
        // Listed, but deleted and not yet committed; or a link to nowhere.
        let Ok(bytes) = fs::read(root().join(&name)) else {
            continue;
        };
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        problems.extend(paths::check(&name, &text));
        if name.ends_with(".rs") {
            problems.extend(sources::check(&name, &text));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    bail!("tidy: {} found", problems.len())
}

fn read_metadata() -> Result<Vec<u8>> {
    // Locked: a manifest that doesn't agree with Cargo.lock is a finding as well.
    let output = cargo_at_root(&["metadata", "--format-version", "1", "--locked"])
        .output()
        .context("can't start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// Tracked files, and new ones that aren't ignored: a mistake should be found before the commit.
fn tracked_files() -> Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("can't start git, which knows the project's files")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let names = String::from_utf8(output.stdout).context("a file name isn't UTF-8")?;
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}
