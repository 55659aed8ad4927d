//! What the program writes for the person or script that called it: answers to standard output, failures
//! to standard error. Log lines are not written here.

use std::io::{self, Write};

use crate::error::CommandError;

/// Writes a line to standard output. A reader that went away (`| head`) is no failure of the command.
pub(crate) fn line(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Says why a command failed, and what to do about it.
pub(crate) fn error(error: &CommandError) {
    let mut err = io::stderr().lock();
    let _ = writeln!(err, "error: {}", error.chain());
    if let Some(advice) = error.advice() {
        let _ = writeln!(err, "  help: {advice}");
    }
}

/// Says something beside the answer: not for scripts.
pub(crate) fn remark(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
