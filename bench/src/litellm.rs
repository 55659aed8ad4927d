//! The LiteLLM proxy, for comparison: installed into the cache when it is first wanted, pinned, and started
//! with one worker, no database, no logs and no telemetry in front of the scripted server. Nothing that it
//! is configured to do reaches beyond this machine.

use std::env;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

use crate::operator::free_address;

/// What is installed. The version that is compared is its first line.
const REQUIREMENTS: &str = include_str!("../litellm/requirements.txt");
/// How it is set up.
const CONFIG: &str = include_str!("../litellm/config.yaml");
/// Written last: an environment without it was broken off, and is made again.
const COMPLETE: &str = "complete";
/// What would lead it elsewhere.
const PROXIES: [&str; 6] =
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

/// The proxy, running or about to.
pub(crate) struct LiteLlm {
    child: Child,
    url: String,
    key: String,
    folder: tempfile::TempDir,
}

impl LiteLlm {
    /// Starts it in front of the server at `base`. Installs it first where need be, which takes minutes.
    pub(crate) fn start(base: &str) -> anyhow::Result<Self> {
        let program = environment()?.join("bin/litellm");
        let folder = tempfile::tempdir().context("making a directory for LiteLLM")?;
        let config = folder.path().join("config.yaml");
        fs::write(&config, CONFIG).context("writing LiteLLM's configuration")?;
        let log = File::create(folder.path().join("log")).context("making LiteLLM's log")?;
        let address = free_address()?;
        // It refuses to start with a short key, or without one.
        let [first, second] = [(); 2].map(|()| uuid::Uuid::new_v4().simple());
        let key = format!("sk-{first}{second}");
        let mut command = Command::new(program);
        command
            .current_dir(folder.path())
            .arg("--config")
            .arg(&config)
            .args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()])
            .args(["--num_workers", "1"])
            .env("BENCH_API_BASE", base)
            .env("LITELLM_MASTER_KEY", &key)
            .env("LITELLM_TELEMETRY", "False")
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .env("LITELLM_MODE", "PRODUCTION")
            .env("LITELLM_LOG", "ERROR")
            .env("NO_PROXY", "*")
            .env_remove("PYTHONDONTWRITEBYTECODE")
            .env_remove("DATABASE_URL")
            .env_remove("OPENAI_API_KEY")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("sharing LiteLLM's log")?)
            .stderr(log);
        for name in PROXIES {
            command.env_remove(name);
        }
        let child = command.spawn().context("starting LiteLLM")?;
        Ok(Self { child, url: format!("http://{address}"), key, folder })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The key that it takes.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// An error with the end of its log when it has ended.
    pub(crate) fn still_runs(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait().context("looking at LiteLLM")? else {
            return Ok(());
        };
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let from = log.char_indices().rev().nth(2_000).map_or(0, |(at, _)| at);
        bail!("LiteLLM ended by itself with {status}: {}", &log[from..])
    }
}

impl Drop for LiteLlm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is compared, as its row says it.
pub(crate) fn version() -> &'static str {
    REQUIREMENTS
        .lines()
        .find_map(|line| line.strip_prefix("litellm[proxy]=="))
        .unwrap_or("of an unknown version")
}

/// A virtual environment in the cache, one for each content of the requirements.
fn environment() -> anyhow::Result<PathBuf> {
    let cache = cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    // Two runs at once must not build the same directory. The lock ends with the file.
    let lock = cache.join("litellm.lock");
    let lock = File::create(&lock).with_context(|| format!("making {}", lock.display()))?;
    lock.lock().context("locking the directory of LiteLLM")?;
    let mut hasher = DefaultHasher::new();
    REQUIREMENTS.hash(&mut hasher);
    let place = cache.join(format!("litellm-{:016x}", hasher.finish()));
    if !place.join(COMPLETE).is_file() {
        build(&place)?;
    }
    Ok(place)
}

fn build(place: &Path) -> anyhow::Result<()> {
    tracing::warn!(place = %place.display(), "installing LiteLLM, once; it takes some minutes");
    if place.exists() {
        fs::remove_dir_all(place).with_context(|| format!("removing {}", place.display()))?;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(place))?;
    let requirements = place.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).context("writing the requirements")?;
    run(Command::new(place.join("bin/python"))
        .args(["-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--quiet"])
        .arg("--requirement")
        .arg(&requirements))?;
    fs::write(place.join(COMPLETE), "").context("marking LiteLLM as installed")
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_is_pinned_and_the_version_is_told() {
        let lines = REQUIREMENTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines {
            assert!(line.contains("=="), "{line}");
        }
        assert!(version().starts_with(|c: char| c.is_ascii_digit()), "{}", version());
    }

    #[test]
    fn nothing_is_configured_that_reaches_beyond_the_scripted_server() {
        assert!(CONFIG.contains("api_base: os.environ/BENCH_API_BASE"));
        assert!(CONFIG.contains("telemetry: false"));
        for word in ["callback", "database", "http"] {
            let lines = CONFIG.lines().filter(|line| !line.starts_with('#'));
            assert_eq!(lines.filter(|line| line.contains(word)).count(), 0, "{word}");
        }
    }
}
