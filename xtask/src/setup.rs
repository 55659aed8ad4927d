//! `cargo xtask setup`: what building and testing need of the machine.
//!
//! It looks first and installs only what is missing, with the system's package manager, and only where
//! that needs no question to be answered. Otherwise it says exactly what is missing and how to get it.

mod needs;
mod node;
mod packages;
mod python;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};

use needs::{NEEDS, Need};

/// Written last into what is made in the cache: a directory without it was broken off, and is made again.
const COMPLETE: &str = "complete";

/// What the tests find in their environment.
#[derive(Debug)]
pub(crate) struct Tools {
    /// A Python that has `tests/requirements.txt`.
    pub(crate) python: PathBuf,
    /// A `node_modules` that has `tests/package-lock.json`.
    pub(crate) node_modules: PathBuf,
}

/// `cargo xtask setup`: prints what the tests want in their environment.
pub(crate) fn run() -> Result<()> {
    let Tools { python, node_modules } = ensure()?;
    let lines = format!(
        "export STEPSTREAM_PYTHON={}\nexport STEPSTREAM_NODE_MODULES={}\n",
        python.display(),
        node_modules.display()
    );
    std::io::stdout().write_all(lines.as_bytes())?;
    Ok(())
}

/// Makes sure of all of it.
pub(crate) fn ensure() -> Result<Tools> {
    let missing = look();
    if !missing.is_empty() {
        if let Err(error) = packages::install(&missing) {
            eprintln!("  not installed: {error:#}");
        }
        let missing: Vec<_> = missing.into_iter().filter(|need| !(need.present)()).collect();
        if !missing.is_empty() {
            bail!("{}", needs::explain(&missing));
        }
    }
    Ok(Tools { python: python::environment()?, node_modules: node::packages()? })
}

/// Tells contents apart; a collision or another algorithm in a later toolchain costs one rebuild.
fn key(pins: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    pins.hash(&mut hasher);
    hasher.finish()
}

fn look() -> Vec<&'static Need> {
    let mut missing = Vec::new();
    for need in &NEEDS {
        let found = (need.present)();
        eprintln!("  {:<22} {}", need.name, if found { "found" } else { "missing" });
        if !found {
            missing.push(need);
        }
    }
    missing
}
