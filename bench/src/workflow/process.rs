//! A program of a peer: started with a log of its own, ended as an operator ends it, and by its handle when
//! that takes too long.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// How long a program may take to stop when asked.
const STOPS: Duration = Duration::from_secs(15);
/// What would lead a peer elsewhere.
const PROXIES: [&str; 6] =
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
/// Bytes of the end of a log that are shown.
const SHOWN: usize = 2_000;

/// A program that runs.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it in `folder`, with what it says in a file there.
    ///
    /// # Errors
    /// There is no such program.
    pub(crate) fn start(
        name: &'static str,
        command: &mut Command,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("making the log of {name}"))?;
        let shared = file.try_clone().with_context(|| format!("sharing the log of {name}"))?;
        for proxy in PROXIES {
            command.env_remove(proxy);
        }
        let child = command
            .current_dir(folder)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(shared)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self { name, child, log })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said until now.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// An error with the end of its log when it has ended.
    pub(crate) fn still_runs(&mut self) -> anyhow::Result<()> {
        let name = self.name;
        let status = self.child.try_wait().with_context(|| format!("looking at {name}"))?;
        match status {
            None => Ok(()),
            Some(status) => {
                let said = self.said();
                let from = said.char_indices().rev().nth(SHOWN).map_or(0, |(at, _)| at);
                bail!("{name} ended by itself with {status}: {}", &said[from..])
            }
        }
    }
}

impl Drop for Process {
    /// Asks first: a program that has processes of its own ends them then.
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).stderr(Stdio::null()).status();
        let until = Instant::now() + STOPS;
        while asked.as_ref().is_ok_and(|status| status.success()) && Instant::now() < until {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_that_ends_is_told_with_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no port; exit 3"]);
        let mut process = Process::start("peer", &mut command, folder.path()).unwrap();
        process.child.wait().unwrap();
        let error = process.still_runs().unwrap_err().to_string();
        assert!(error.contains("no port") && error.contains('3'), "{error}");
    }

    #[test]
    fn program_is_gone_when_its_handle_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        let mut process = Process::start("peer", command.arg("600"), folder.path()).unwrap();
        process.still_runs().unwrap();
        let place = format!("/proc/{}", process.pid());
        drop(process);
        assert!(!Path::new(&place).exists());
    }
}
