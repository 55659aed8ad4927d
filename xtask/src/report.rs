//! Steps with a heading, a duration and an outcome. A failed step doesn't keep the next from running;
//! it makes the whole fail at the end, and the last lines say which it was.

use std::ffi::OsStr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What has been run so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    failed: Vec<String>,
}

impl Report {
    /// Runs one step and notes how it went.
    pub(crate) fn step(&mut self, title: &str, work: impl FnOnce() -> Result<()>) {
        eprintln!("\n== {title}");
        let began = Instant::now();
        let outcome = work();
        let took = seconds(began.elapsed());
        match outcome {
            Ok(()) => eprintln!("== {title}: ok, {took}"),
            Err(error) => {
                eprintln!("{error:#}");
                eprintln!("== {title}: FAILED, {took}");
                self.failed.push(title.to_owned());
            }
        }
    }

    /// Fails when a step did.
    pub(crate) fn finish(self) -> Result<()> {
        if self.failed.is_empty() {
            return Ok(());
        }
        bail!("failed: {}", self.failed.join(", "))
    }
}

/// Runs a command to its end, with our input and outputs.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    let status = command.status().with_context(|| format!("can't start {line}"))?;
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(())
}

/// The command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program()];
    words.extend(command.get_args());
    words.into_iter().map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// A duration with as many digits as matter to a waiting person.
pub(crate) fn seconds(took: Duration) -> String {
    if took < Duration::from_secs(60) {
        format!("{:.1} s", took.as_secs_f64())
    } else {
        format!("{} min {} s", took.as_secs() / 60, took.as_secs() % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_lets_the_next_run_and_fails_the_whole() {
        let mut report = Report::default();
        let mut ran = false;
        report.step("first", || bail!("broken"));
        report.step("second", || {
            ran = true;
            Ok(())
        });
        assert!(ran);
        assert_eq!(report.finish().unwrap_err().to_string(), "failed: first");
    }

    #[test]
    fn a_command_that_exits_with_a_code_is_an_error_that_shows_it() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert!(error.starts_with("sh -c exit 3: ") && error.contains('3'), "{error}");
    }

    #[test]
    fn long_durations_are_told_in_minutes() {
        assert_eq!(seconds(Duration::from_millis(1_234)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(61)), "1 min 1 s");
    }
}
