//! Everything that can be said about the code without running it. Any warning fails it.

use anyhow::Result;

use crate::places::cargo_at_root;
use crate::report::{Report, run as run_command};
use crate::tidy;

/// `cargo xtask check`.
pub(crate) fn run() -> Result<()> {
    let mut report = Report::default();
    steps(&mut report);
    report.finish()
}

/// The steps, for a report that goes on.
pub(crate) fn steps(report: &mut Report) {
    report.step("fmt", || run_command(&mut cargo_at_root(&["fmt", "--all", "--", "--check"])));
    report.step("tidy", tidy::run);
    report.step("clippy", || {
        let arguments = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        run_command(&mut cargo_at_root(&arguments))
    });
    report.step("doc", || {
        let mut command = cargo_at_root(&["doc", "--workspace", "--no-deps"]);
        run_command(command.env("RUSTDOCFLAGS", "-D warnings"))
    });
}
