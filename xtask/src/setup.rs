//! `cargo xtask setup`: what building and testing need of the machine.
//!
//! It looks first and installs only what is missing, with the system's package manager, and only where
//! that needs no question to be answered. Otherwise it says exactly what is missing and how to get it.

mod needs;
mod packages;
mod python;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};

use needs::{NEEDS, Need};

/// `cargo xtask setup`: prints what the tests want in their environment.
pub(crate) fn run() -> Result<()> {
    let python = ensure()?;
    let line = format!("export STEPSTREAM_PYTHON={}\n", python.display());
    std::io::stdout().write_all(line.as_bytes())?;
    Ok(())
}

/// Makes sure of all of it. Returns the Python of the tests.
pub(crate) fn ensure() -> Result<PathBuf> {
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
    python::environment()
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
