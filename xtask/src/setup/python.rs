//! The tests' Python: a virtual environment in the cache, one for each content of
//! `tests/requirements.txt`. The system's Python stays as it is.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::{COMPLETE, key};
use crate::places;
use crate::report::run;

/// Makes it if need be. Returns its interpreter.
pub(super) fn environment() -> Result<PathBuf> {
    let requirements = places::root().join("tests/requirements.txt");
    let pins = fs::read(&requirements)
        .with_context(|| format!("can't read {}", requirements.display()))?;
    let cache = places::cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("can't make {}", cache.display()))?;

    // Two runs at once must not build the same directory. The lock ends with the file.
    let lock = cache.join("python.lock");
    let lock = File::create(&lock).with_context(|| format!("can't make {}", lock.display()))?;
    lock.lock().context("can't lock the directory of the tests' Python")?;

    let place = cache.join(format!("python-{:016x}", key(&pins)));
    let interpreter = place.join("bin/python");
    if place.join(COMPLETE).is_file() && works(&interpreter) {
        return Ok(interpreter);
    }
    build(&place, &interpreter, &requirements)?;
    Ok(interpreter)
}

fn build(place: &Path, interpreter: &Path, requirements: &Path) -> Result<()> {
    eprintln!("  making the tests' Python in {} (once)", place.display());
    if place.exists() {
        fs::remove_dir_all(place).with_context(|| format!("can't remove {}", place.display()))?;
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(place).stdin(Stdio::null());
    run(&mut make)?;
    let mut install = Command::new(interpreter);
    install.args(["-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--quiet"]);
    install.arg("--requirement").arg(requirements).stdin(Stdio::null());
    run(&mut install)?;
    let complete = place.join(COMPLETE);
    fs::write(&complete, "").with_context(|| format!("can't write {}", complete.display()))
}

/// The system's Python may have been replaced below it.
fn works(interpreter: &Path) -> bool {
    super::needs::runs(interpreter, &["-c", "import confluent_kafka"])
}
