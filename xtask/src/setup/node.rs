//! The tests' Node packages: a directory in the cache, one for each content of `tests/package-lock.json`.
//! Nothing is installed for anybody else.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::{COMPLETE, key};
use crate::places;
use crate::report::run;

/// What npm needs of the repository.
const FILES: [&str; 2] = ["package.json", "package-lock.json"];

/// Makes it if need be. Returns its `node_modules`.
pub(super) fn packages() -> Result<PathBuf> {
    let tests = places::root().join("tests");
    let pins = tests.join("package-lock.json");
    let pins = fs::read(&pins).with_context(|| format!("can't read {}", pins.display()))?;
    let cache = places::cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("can't make {}", cache.display()))?;

    // Two runs at once must not build the same directory. The lock ends with the file.
    let lock = cache.join("node.lock");
    let lock = File::create(&lock).with_context(|| format!("can't make {}", lock.display()))?;
    lock.lock().context("can't lock the directory of the tests' Node packages")?;

    let place = cache.join(format!("node-{:016x}", key(&pins)));
    let modules = place.join("node_modules");
    if !(place.join(COMPLETE).is_file() && modules.join("openai").is_dir()) {
        build(&place, &tests)?;
    }
    Ok(modules)
}

fn build(place: &Path, tests: &Path) -> Result<()> {
    eprintln!("  fetching the tests' Node packages into {} (once)", place.display());
    if place.exists() {
        fs::remove_dir_all(place).with_context(|| format!("can't remove {}", place.display()))?;
    }
    fs::create_dir_all(place).with_context(|| format!("can't make {}", place.display()))?;
    for file in FILES {
        fs::copy(tests.join(file), place.join(file))
            .with_context(|| format!("can't copy {file} to {}", place.display()))?;
    }
    let mut install = Command::new("npm");
    install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    install.current_dir(place).stdin(Stdio::null());
    run(&mut install)?;
    let complete = place.join(COMPLETE);
    fs::write(&complete, "").with_context(|| format!("can't write {}", complete.display()))
}
