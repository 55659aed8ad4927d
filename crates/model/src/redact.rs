//! Takes keys and prompts out of what a provider says, before it becomes an error text. It works on any
//! longer run of characters that the text shares with them, because providers echo parts.
//!
//! It refuses to be clever: a word too many may be lost, a secret may not stay.

use std::ops::Range;

use secrecy::{ExposeSecret, SecretString};

/// What stands for a piece that was taken out.
const GONE: &str = "[redacted]";
/// A shorter run may be a coincidence with a key.
const KEY_RUN: usize = 6;
/// A shorter run may be a coincidence with a prompt.
const CONTENT_RUN: usize = 12;
/// Error texts are cut to this many characters.
const MAX_CHARS: usize = 400;

/// What may not be said.
#[derive(Clone, Copy)]
pub(crate) struct Redactor<'a> {
    /// The key that was sent.
    pub(crate) key: Option<&'a SecretString>,
    /// The request as it was sent, and so the prompt.
    pub(crate) content: &'a str,
}

impl Redactor<'_> {
    /// The text on one line, without what may not be said, and not too long.
    pub(crate) fn clean(&self, text: &str) -> String {
        let line: String =
            text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CHARS).collect();
        let line = match self.key {
            Some(key) => without_runs(&line, key.expose_secret(), KEY_RUN),
            None => line,
        };
        without_runs(&line, self.content, CONTENT_RUN)
    }
}

/// `text` without the runs of at least `run` characters that are also in `secret`.
fn without_runs(text: &str, secret: &str, run: usize) -> String {
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let mut gone: Vec<Range<usize>> = Vec::new();
    for window in starts.windows(run + 1) {
        let (from, to) = (window[0], window[run]);
        if !secret.contains(&text[from..to]) {
            continue;
        }
        match gone.last_mut() {
            Some(last) if from <= last.end => last.end = to,
            _ => gone.push(from..to),
        }
    }
    let mut clean = String::with_capacity(text.len());
    let mut at = 0;
    for range in gone {
        clean.push_str(&text[at..range.start]);
        clean.push_str(GONE);
        at = range.end;
    }
    clean.push_str(&text[at..]);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_prompts_are_taken_out_and_the_rest_stays() {
        let key = SecretString::from("sk-canary-0123456789".to_owned());
        let content = r#"{"messages":[{"role":"user","content":"my Straße is a secret street"}]}"#;
        let redactor = Redactor { key: Some(&key), content };
        for (text, clean) in [
            ("rate limit reached", "rate limit reached"),
            ("got Bearer sk-canary-0123456789!", "got Bearer [redacted]!"),
            ("bad key sk-canary*** given", "bad key [redacted]*** given"),
            ("bad key ending in 456789", "bad key ending in [redacted]"),
            ("input 'Straße is a secret' is odd", "input '[redacted]' is odd"),
            ("two\nlines", "two lines"),
            ("", ""),
        ] {
            assert_eq!(redactor.clean(text), clean, "{text}");
        }
        assert_eq!(redactor.clean(&"ä".repeat(1000)).chars().count(), MAX_CHARS);
    }
}
