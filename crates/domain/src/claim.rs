//! The claim check of a large value: its record carries this in its place, and the value lies in the store.
//!
//! A value is named by its content, so the same content is one value, however often it is kept. Nothing
//! here keeps a value or reads one.

use serde::{Deserialize, Serialize};

/// Above so many bytes a value leaves its record, unless configured otherwise: small enough that a record
/// with headers and a second value stays far below the 1 MiB that brokers take by default.
pub const LIMIT_BYTES: usize = 256 * 1024;

/// The longest value that can be kept, in bytes: the longest answer that is taken of a provider.
pub const MAX_VALUE_BYTES: usize = 32 * 1024 * 1024;

/// What a hash begins with: the function it was made by.
pub const HASH_PREFIX: &str = "sha256:";

/// Hex digits of a hash.
const HASH_DIGITS: usize = 64;

/// Stands for a value that is too large for its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimCheck {
    /// `sha256:` and the hash of the value's bytes, in 64 lower-case hex digits.
    pub hash: String,
    /// The value's length in bytes.
    pub length: i64,
    /// What the value is.
    pub media_type: String,
}

/// Why a claim check can stand for no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The hash is written otherwise, or is of another function.
    #[error("hash is not `{HASH_PREFIX}` and {HASH_DIGITS} lower-case hex digits")]
    Hash,
    /// The length is none.
    #[error("length is not between 1 and {MAX_VALUE_BYTES}")]
    Length,
}

impl ClaimCheck {
    /// The length, where it can be one.
    #[must_use]
    pub fn bytes(&self) -> Option<usize> {
        usize::try_from(self.length).ok().filter(|length| (1..=MAX_VALUE_BYTES).contains(length))
    }

    /// Whether it can stand for a value.
    ///
    /// # Errors
    /// [`ClaimError`], which begins with the field.
    pub fn check(&self) -> Result<(), ClaimError> {
        if !is_hash(&self.hash) {
            return Err(ClaimError::Hash);
        }
        self.bytes().map(drop).ok_or(ClaimError::Length)
    }
}

/// Whether a text is a hash as it stands in a claim check.
#[must_use]
pub fn is_hash(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix(HASH_PREFIX)
        .is_some_and(|digits| digits.len() == HASH_DIGITS && digits.bytes().all(hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claim_names_what_is_wrong_with_it() {
        let good = format!("{HASH_PREFIX}{}", "0f".repeat(32));
        for (hash, length, expected) in [
            (good.as_str(), 1, Ok(())),
            (&good, MAX_VALUE_BYTES as i64, Ok(())),
            (&good, 0, Err(ClaimError::Length)),
            (&good, -1, Err(ClaimError::Length)),
            (&good, MAX_VALUE_BYTES as i64 + 1, Err(ClaimError::Length)),
            (&good.to_uppercase(), 1, Err(ClaimError::Hash)),
            (&good[7..], 1, Err(ClaimError::Hash)),
            (&good[..70], 1, Err(ClaimError::Hash)),
            ("", 1, Err(ClaimError::Hash)),
        ] {
            let claim = ClaimCheck { hash: hash.into(), length, media_type: String::new() };
            assert_eq!(claim.check(), expected, "{claim:?}");
        }
    }
}
