//! `stepstream doctor`: looks at everything that a process needs, changes nothing, and says what to do.

mod checks;

use clap::Args;

use super::ConfigFile;
use crate::error::CommandError;
use crate::print;

/// Look at everything that a process needs, and say what is wrong and what to do.
///
/// Prints one line for each thing that was looked at. Fails when anything is wrong.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    file: ConfigFile,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    what: &'static str,
    state: State,
    detail: String,
    /// What to do.
    advice: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Good,
    /// Works, and is worth knowing.
    Note,
    Bad,
    /// Could not be looked at, because something before it is bad.
    Skipped,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Bad => "FAIL",
            Self::Skipped => "-",
        }
    }
}

impl Finding {
    fn new(what: &'static str, state: State, detail: impl Into<String>) -> Self {
        Self { what, state, detail: detail.into(), advice: None }
    }

    fn good(what: &'static str, detail: impl Into<String>) -> Self {
        Self::new(what, State::Good, detail)
    }

    fn bad(what: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..Self::new(what, State::Bad, detail) }
    }

    fn note(what: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..Self::new(what, State::Note, detail) }
    }

    fn skipped(what: &'static str, why: impl Into<String>) -> Self {
        Self::new(what, State::Skipped, why)
    }
}

impl Doctor {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let config = self.file.load_quietly()?;
        let findings = checks::all(&config).await;
        print::line(&table(&findings));
        match findings.iter().filter(|finding| finding.state == State::Bad).count() {
            0 => Ok(()),
            1 => Err(CommandError::plain("one thing is wrong")),
            count => Err(CommandError::plain(format!("{count} things are wrong"))),
        }
    }
}

/// The findings as columns, each advice below its finding.
fn table(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for Finding { what, state, detail, advice } in findings {
        let detail = detail.replace('\n', " ");
        lines.push(format!("{:<4}  {what:<width$}  {detail}", state.word()));
        if let Some(advice) = advice {
            lines.push(format!("{:6}{:width$}  -> {advice}", "", ""));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_advice_stands_below_its_finding() {
        let findings = [
            Finding::good("brokers", "one answers"),
            Finding::bad("store", "not\nwritable", "choose another"),
        ];
        let expected = "ok    brokers  one answers\nFAIL  store    not writable\n               -> choose another";
        assert_eq!(table(&findings), expected);
    }
}
