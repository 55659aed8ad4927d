//! Identifiers. Ids that we derive are UUIDv5, so the same event always yields the same id.

use uuid::Uuid;

/// The namespace of every id that Stepstream derives (UUIDv5 of the DNS name `stepstream.io`).
fn namespace() -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"stepstream.io")
}

/// The id of what `parent` asks for at `step` for the `attempt`-th time (counted from 1).
#[must_use]
pub fn derived(parent: &str, step: &str, attempt: i32) -> String {
    Uuid::new_v5(&namespace(), format!("{parent}\u{0}{step}\u{0}{attempt}").as_bytes()).to_string()
}

/// The longest id that a request may carry, in bytes: it is a record key, a row key and part of a URL.
pub const MAX_ID_BYTES: usize = 256;

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing between the quotes.
    #[error("is empty")]
    Empty,
    /// Longer than [`MAX_ID_BYTES`].
    #[error("is longer than {MAX_ID_BYTES} bytes")]
    TooLong,
    /// A control character, which separates the parts of our own keys.
    #[error("has a control character")]
    Control,
}

/// Checks a text that someone else chose as an id.
///
/// # Errors
/// One of [`IdError`], which completes the sentence "the id …".
pub fn check(id: &str) -> Result<(), IdError> {
    if id.is_empty() {
        return Err(IdError::Empty);
    }
    if id.len() > MAX_ID_BYTES {
        return Err(IdError::TooLong);
    }
    if id.chars().any(char::is_control) {
        return Err(IdError::Control);
    }
    Ok(())
}
