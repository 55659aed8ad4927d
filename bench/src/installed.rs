//! What peers are made of: pinned packages of PyPI and npm, installed into the cache when they are first
//! wanted, one directory for each content of the list. Nothing is installed that isn't on the list.

use std::env;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// Written last: a directory without it was broken off, and is made again.
const COMPLETE: &str = "complete";

/// A virtual environment with what `requirements` lists.
///
/// # Errors
/// No Python with `venv`, a cache that can't be written, a package that isn't to be had.
pub(crate) fn python(name: &str, requirements: &str) -> anyhow::Result<PathBuf> {
    install(name, &[requirements], |place| {
        run(Command::new("python3").args(["-m", "venv"]).arg(place))?;
        let list = place.join("requirements.txt");
        fs::write(&list, requirements).context("writing the requirements")?;
        run(Command::new(place.join("bin/python"))
            .args(["-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--quiet"])
            .arg("--requirement")
            .arg(&list))
    })
}

/// A directory with `node_modules` as `lock` lists them. No script of a package is run.
///
/// # Errors
/// No npm, a cache that can't be written, a package that isn't to be had.
pub(crate) fn node(name: &str, manifest: &str, lock: &str) -> anyhow::Result<PathBuf> {
    install(name, &[manifest, lock], |place| {
        fs::create_dir_all(place).with_context(|| format!("making {}", place.display()))?;
        fs::write(place.join("package.json"), manifest).context("writing package.json")?;
        fs::write(place.join("package-lock.json"), lock).context("writing package-lock.json")?;
        run(Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(place))
    })
}

fn install(
    name: &str,
    lists: &[&str],
    build: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let cache = cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    // Two runs at once must not build the same directory. The lock ends with the file.
    let lock = cache.join(format!("{name}.lock"));
    let lock = File::create(&lock).with_context(|| format!("making {}", lock.display()))?;
    lock.lock().with_context(|| format!("locking the directory of {name}"))?;
    let place = cache.join(format!("{name}-{:016x}", content(lists)));
    if place.join(COMPLETE).is_file() {
        return Ok(place);
    }
    tracing::warn!(place = %place.display(), "installing {name}, once; it may take some minutes");
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("removing {}", place.display()))?;
    }
    build(&place)?;
    fs::write(place.join(COMPLETE), "").with_context(|| format!("marking {name} as installed"))?;
    Ok(place)
}

/// The name that the content of lists has; that of one list is that of its text.
fn content(lists: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for list in lists {
        list.hash(&mut hasher);
    }
    hasher.finish()
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(std::process::Stdio::null()).output();
    let output = output.with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {}", output.status, said.trim_end());
    }
    Ok(())
}

/// The same directory that `infra/local/up` and `cargo xtask setup` use.
fn cache() -> anyhow::Result<PathBuf> {
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

/// Whether every line of a list of requirements names one version.
#[cfg(test)]
pub(crate) fn is_pinned(requirements: &str) -> bool {
    let mut lines = requirements.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.all(|line| line.contains("=="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_content_is_installed_elsewhere() {
        assert_eq!(content(&["a", "b"]), content(&["a", "b"]));
        assert_ne!(content(&["a", "b"]), content(&["ab", ""]));
        assert_ne!(content(&["a"]), content(&["b"]));
    }

    #[test]
    fn list_with_a_free_version_is_not_pinned() {
        assert!(is_pinned("# why\n\na==1\nb[c]==2.0"));
        assert!(!is_pinned("a==1\nb>=2"));
    }
}
