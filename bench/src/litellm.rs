//! The LiteLLM proxy, for comparison: installed into the cache when it is first wanted, pinned, and started
//! with one worker, no database, no logs and no telemetry in front of the scripted server. Nothing that it
//! is configured to do reaches beyond this machine.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

use crate::installed;
use crate::operator::free_address;

/// What is installed. The version that is compared is its first line.
const REQUIREMENTS: &str = include_str!("../litellm/requirements.txt");
/// How it is set up.
const CONFIG: &str = include_str!("../litellm/config.yaml");
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
        let program = installed::python("litellm", REQUIREMENTS)?.join("bin/litellm");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_is_pinned_and_the_version_is_told() {
        assert!(installed::is_pinned(REQUIREMENTS));
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
