//! `cargo xtask test`: the one command that says whether all is well.
//!
//! The real stack is started once, before the tests, which find it by `STEPSTREAM_REAL`; a test that
//! doesn't find it starts its own.

use std::io::{self, BufRead, BufReader, Write};
use std::num::NonZero;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::places::cargo_at_root;
use crate::report::{Report, shown};
use crate::stack::Temporary;
use crate::{check, setup};

/// The tests' environment: the ready line of `infra/local/up --output json`.
const REAL: &str = "STEPSTREAM_REAL";
/// The tests' environment: a Python that has `tests/requirements.txt`.
const PYTHON: &str = "STEPSTREAM_PYTHON";
/// The tests' environment: a `node_modules` that has `tests/package-lock.json`.
const NODE_MODULES: &str = "STEPSTREAM_NODE_MODULES";
/// How many tests of a program run at a time, by the test harness's own variable.
const THREADS: &str = "RUST_TEST_THREADS";
/// Most tests wait, for a broker or for a timer of its protocol.
const THREADS_PER_CORE: usize = 2;

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    Everything,
    /// What needs no set-up: each crate's own tests.
    Fast,
}

/// `cargo xtask test`.
pub(crate) fn run(extent: Extent) -> Result<()> {
    let mut report = Report::default();
    let mut counts = Counts::default();
    match extent {
        Extent::Fast => report.step("cargo test, without the end-to-end tests", || {
            let arguments = ["--workspace", "--exclude", "stepstream-tests"];
            run_tests(&mut tests(&arguments), &mut counts, &mut io::stdout())
        }),
        Extent::Everything => everything(&mut report, &mut counts)?,
    }
    eprintln!("\n{} passed, {} failed, {} ignored", counts.passed, counts.failed, counts.ignored);
    report.finish()
}

fn everything(report: &mut Report, counts: &mut Counts) -> Result<()> {
    let mut tools = None;
    report.step("setup", || {
        tools = Some(setup::ensure()?);
        Ok(())
    });
    let Some(tools) = tools else { bail!("nothing else was run, since setup failed") };
    check::steps(report);
    let mut stack = None;
    report.step("real broker, registry and store", || {
        stack = Some(Temporary::start()?);
        Ok(())
    });
    // Without it the end-to-end tests would each try, and fail, to start their own.
    let Some(stack) = stack else {
        bail!("the tests weren't run, since the real stack didn't start")
    };
    report.step("cargo test", || {
        let mut command = tests(&["--workspace"]);
        command.env(REAL, &stack.addresses.line).env(PYTHON, &tools.python);
        command.env(NODE_MODULES, &tools.node_modules);
        run_tests(&mut command, counts, &mut io::stdout())
    });
    report.step("stop the real broker, registry and store", move || {
        drop(stack);
        Ok(())
    });
    Ok(())
}

fn tests(arguments: &[&str]) -> Command {
    let mut command = cargo_at_root(&["test", "--no-fail-fast"]);
    command.args(arguments);
    if std::env::var_os(THREADS).is_none() {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        command.env(THREADS, (THREADS_PER_CORE * cores).to_string());
    }
    command
}

/// Sums of what the test binaries say at their ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    /// Takes in one line of output; most are of no interest.
    fn note(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let Some((_, numbers)) = result.split_once(". ") else {
            return;
        };
        for part in numbers.split("; ") {
            let Some((number, what)) = part.split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// Passes the output on line by line and counts.
fn run_tests(command: &mut Command, counts: &mut Counts, to: &mut dyn Write) -> Result<()> {
    let line = shown(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("can't start {line}"))?;
    let output = child.stdout.take().context("the tests' output isn't there to be read")?;
    let mut reader = BufReader::new(output);
    let mut bytes = Vec::new();
    // Bytes, since a test may print anything.
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        counts.note(String::from_utf8_lossy(&bytes).trim_end());
        to.write_all(&bytes)?;
        to.flush()?;
        bytes.clear();
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_binaries_are_summed() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.0s",
        ] {
            counts.note(line);
        }
        assert_eq!(counts, Counts { passed: 5, failed: 4, ignored: 1 });
    }

    #[test]
    fn output_that_only_looks_like_a_result_counts_nothing() {
        let mut counts = Counts::default();
        for line in
            ["test result: ", "test result: ok", "test result: ok. many passed", "12 passed"]
        {
            counts.note(line);
        }
        assert_eq!(counts, Counts::default());
    }

    #[test]
    fn a_failing_test_command_fails_but_is_counted() {
        let mut counts = Counts::default();
        let mut seen = Vec::new();
        let script = "echo 'test result: FAILED. 1 passed; 2 failed; 0 ignored'; exit 101";
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        assert!(run_tests(&mut command, &mut counts, &mut seen).is_err());
        assert_eq!(counts, Counts { passed: 1, failed: 2, ignored: 0 });
        assert!(seen.starts_with(b"test result: FAILED"), "the output is passed on");
    }
}
