//! A text that goes out in pieces and can't be taken back.
//!
//! Pure. When a call is tried again, the new text is compared with what was sent: only what continues it
//! may follow.

/// The new text isn't a continuation of what the client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the call was tried again, and its new text differs from what was already sent")]
pub(crate) struct Diverged;

/// A text that the client has, and how much of the present try's text repeats it.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    text: String,
    repeated: usize,
}

impl Sent {
    /// A newer try begins: its text is compared with what was sent.
    pub(crate) fn again(&mut self) {
        self.repeated = 0;
    }

    /// All that the client has.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What of `more`, the next text of the present try, the client doesn't have yet.
    pub(crate) fn advance<'a>(&mut self, more: &'a str) -> Result<&'a str, Diverged> {
        let known = &self.text[self.repeated..];
        let same = known.len().min(more.len());
        if known.as_bytes()[..same] != more.as_bytes()[..same] {
            return Err(Diverged);
        }
        self.repeated += same;
        let new = more.get(same..).ok_or(Diverged)?;
        self.text.push_str(new);
        self.repeated += new.len();
        Ok(new)
    }

    /// What of the whole text the client doesn't have yet.
    pub(crate) fn complete<'a>(&mut self, whole: &'a str) -> Result<&'a str, Diverged> {
        let new = whole.strip_prefix(self.text.as_str()).ok_or(Diverged)?;
        self.text.push_str(new);
        Ok(new)
    }
}
