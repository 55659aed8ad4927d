//! Why a command failed, and what the person in front of the terminal can do about it.
//!
//! Every cause has an error type of its own in the crate that it comes from; here it only gets its
//! place in the command and an advice.

use std::error::Error;
use std::fmt;

/// A command's failure.
#[derive(Debug)]
pub(crate) struct CommandError {
    what: String,
    advice: Option<String>,
    code: u8,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl CommandError {
    /// `what` was being done when `source` came up.
    pub(crate) fn new(
        what: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { what: what.into(), advice: None, code: 1, source: Some(source.into()) }
    }

    /// A failure that has no deeper cause.
    pub(crate) fn plain(what: impl Into<String>) -> Self {
        Self { what: what.into(), advice: None, code: 1, source: None }
    }

    /// Adds what to do.
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// What to do about it.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }

    /// Ends the program with this code instead of 1.
    pub(crate) fn exit_with(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// What the program ends with.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// The whole chain in one line: what was being done, and each cause.
    pub(crate) fn chain(&self) -> String {
        chain(self)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for CommandError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as &(dyn Error + 'static))
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let cause = source.to_string();
        // Some foreign errors repeat their source in their own text.
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_names_each_cause_once() {
        let cause = std::io::Error::other("the disk is full");
        let error = CommandError::new("opening the store", cause).advise("make room");
        assert_eq!(error.chain(), "opening the store: the disk is full");
        assert_eq!(error.advice(), Some("make room"));
        let repeats = CommandError::new(
            "failed: the disk is full",
            std::io::Error::other("the disk is full"),
        );
        assert_eq!(repeats.chain(), "failed: the disk is full");
    }
}
