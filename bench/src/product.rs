//! The program that people run, started by us; and `memory`: what processes hold that have nothing to do.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::report::{Reach, Report, Row};
use crate::stack::Stack;
use crate::usage;
use crate::worker::{Place, Process};

/// How long a process is left alone before its memory is read: long enough for start-up work to be over
/// and for a few checkpoints' worth of ticks.
const SETTLES: Duration = Duration::from_secs(10);

/// `stepstream dev`, started by us.
pub(crate) struct Dev {
    child: Child,
    ready: Value,
    _data: tempfile::TempDir,
}

impl Dev {
    /// Starts it with a directory and a port of its own, and waits for its ready line. Without a cluster
    /// and a prefix, its broker is the embedded one.
    pub(crate) fn start(on: Option<(&Stack, &str)>) -> anyhow::Result<Self> {
        let data = tempfile::tempdir().context("making a directory for `stepstream dev`")?;
        let mut command = Command::new(program()?);
        command.args(["dev", "--port", "0", "--output", "json", "--data"]).arg(data.path());
        if let Some((stack, prefix)) = on {
            command
                .args(["--brokers", stack.brokers.as_str()])
                .args(["--registry", stack.registry.as_str()])
                .env("STEPSTREAM_KAFKA__PREFIX", prefix);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting `stepstream dev`")?;
        let output = child.stdout.take().context("its output was piped")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).context("waiting for the ready line")?;
        let ready = serde_json::from_str(&line);
        let dev = Self { child, ready: ready.as_ref().cloned().unwrap_or_default(), _data: data };
        // Built first, so that a program that says something else is ended as well.
        ready.with_context(|| format!("reading the ready line '{}'", line.trim_end()))?;
        Ok(dev)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A text of its ready line.
    pub(crate) fn says(&self, name: &str) -> anyhow::Result<&str> {
        self.ready[name].as_str().with_context(|| format!("the ready line has no '{name}'"))
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The product beside our own program.
pub(crate) fn program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("looking for our own program")?;
    let program = own.with_file_name("stepstream");
    if !program.is_file() {
        bail!(
            "there is no {}: build it with `cargo build --release -p stepstream`",
            program.display()
        );
    }
    Ok(program)
}

/// `memory`.
pub(crate) fn memory(stack: &Stack, _: u64) -> anyhow::Result<Report> {
    let mut rows = Vec::new();
    let mut reaches = Vec::new();
    let mut watch = |name: &str, pid: u32, bound: f64| {
        std::thread::sleep(SETTLES);
        let mib = usage::rss_mib(pid).with_context(|| format!("{name} is gone"))?;
        let before = usage::cpu_seconds(pid).unwrap_or_default();
        std::thread::sleep(SETTLES);
        let used = usage::cpu_seconds(pid).unwrap_or_default() - before;
        rows.push(Row {
            name: name.into(),
            more: vec![
                ("resident MiB".into(), mib),
                ("CPU % idle".into(), used * 100.0 / SETTLES.as_secs_f64()),
            ],
            ..Row::default()
        });
        reaches.push(Reach::at_most(name, mib, bound, "MiB"));
        anyhow::Ok(())
    };
    let dev = Dev::start(None)?;
    watch("stepstream dev, idle", dev.pid(), 120.0)?;
    drop(dev);
    let platform = crate::platform::Platform::make(stack, 4)?;
    let place =
        Place { prefix: platform.prefix().to_owned(), model_url: "http://127.0.0.1:9/v1".into() };
    let mut worker = Process::start(stack, &place)?;
    watch("one worker, idle", worker.pid(), 50.0)?;
    worker.stop()?;
    Ok(Report::new("memory", SETTLES.as_secs(), rows, reaches, stack.broker_pid))
}
