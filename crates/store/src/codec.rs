//! Stored values: one version byte, then JSON. A version that this program doesn't know is an error
//! that names the row, never a guess.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{StoreError, Version};

/// The version that is written, and the only one so far that is read.
const VERSION: u8 = 1;

/// The bytes of `value`.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, value)
        .expect("our own records have text keys, and a vector takes every byte");
    bytes
}

/// The value of `bytes`, which stand in `table` under `key`.
pub(crate) fn decode<T: DeserializeOwned>(
    table: &'static str,
    key: impl FnOnce() -> String,
    bytes: &[u8],
) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&VERSION, json)) => serde_json::from_slice(json)
            .map_err(|source| StoreError::Damaged { table, key: key(), source }),
        other => Err(StoreError::Version {
            table,
            key: key(),
            found: other.map_or(Version::Missing, |(version, _)| Version::Number(*version)),
            known: VERSION,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(bytes: &[u8]) -> String {
        decode::<i64>("events", || "default/e1/1".into(), bytes).unwrap_err().to_string()
    }

    #[test]
    fn unknown_version_and_damage_name_the_row() {
        assert_eq!(decode::<i64>("events", String::new, &encode(&7_i64)).unwrap(), 7);
        assert_eq!(
            failure(&[2, b'7']),
            "row default/e1/1 of table events has version 2, and this program reads up to 1"
        );
        assert_eq!(
            failure(&[]),
            "row default/e1/1 of table events has version none, and this program reads up to 1"
        );
        assert_eq!(failure(&[1, b'{']), "row default/e1/1 of table events is damaged");
    }
}
