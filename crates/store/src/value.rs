//! Values too large for a record, as rows: a value is cut into chunks, and put together again only when all
//! of them are there and are what they were.
//!
//! Pure. A value's name is the hash of its bytes, so the same value is the same rows, and nothing that lies
//! under a name can pass for something else.

use std::fmt::Write as _;

use bytes::Bytes;
use domain::claim::{HASH_PREFIX, is_hash};
use sha2::{Digest as _, Sha256};

use crate::StoreError;

/// The bytes of a chunk; the last one has fewer. Databases refuse rows of several MiB.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// The hash of a value's bytes, as it stands in a claim check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ValueHash(String);

impl ValueHash {
    /// The hash of these bytes.
    #[must_use]
    pub fn of(value: &[u8]) -> Self {
        let mut text = HASH_PREFIX.to_owned();
        for byte in Sha256::digest(value) {
            // Writing into a string can't fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The hash that is written so; `None`: it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_hash(text).then(|| Self(text.to_owned()))
    }

    /// As it stands in a claim check.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The chunks of a value, each with its number from 0. An empty value has one, which is empty.
pub(crate) fn cut(value: &Bytes) -> impl Iterator<Item = (i32, Bytes)> + '_ {
    let ends = (CHUNK_BYTES..value.len()).step_by(CHUNK_BYTES).chain([value.len()]);
    (0..).zip(ends).map(|(number, end)| {
        let start = (end - usize::from(end > 0)) / CHUNK_BYTES * CHUNK_BYTES;
        (number, value.slice(start..end))
    })
}

/// The rows of a value while they are read.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    value: Vec<u8>,
    chunks: i32,
    length: Option<i64>,
}

/// Whether more rows are of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    GoesOn,
    /// A row is missing or is of another length than the others: the value isn't there as a whole.
    Broken,
}

impl Joined {
    /// Takes the next row: its number, the length of the whole value, and its bytes.
    pub(crate) fn take(&mut self, number: i32, length: i64, chunk: &[u8]) -> Reading {
        if number != self.chunks || self.length.is_some_and(|known| known != length) {
            return Reading::Broken;
        }
        self.length = Some(length);
        self.chunks += 1;
        self.value.extend_from_slice(chunk);
        Reading::GoesOn
    }

    /// The value when all its rows were taken; `None`: some are missing.
    pub(crate) fn finish(self, hash: &ValueHash) -> Result<Option<Bytes>, StoreError> {
        if self.length != i64::try_from(self.value.len()).ok() {
            return Ok(None);
        }
        if ValueHash::of(&self.value) != *hash {
            return Err(StoreError::Altered { hash: hash.as_str().to_owned() });
        }
        Ok(Some(self.value.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(length: usize) -> Bytes {
        (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect()
    }

    fn joined(rows: &[(i32, i64, Bytes)], hash: &ValueHash) -> Result<Option<Bytes>, StoreError> {
        let mut joined = Joined::default();
        for (number, length, chunk) in rows {
            if joined.take(*number, *length, chunk) == Reading::Broken {
                return Ok(None);
            }
        }
        joined.finish(hash)
    }

    #[test]
    fn hash_is_written_as_in_a_claim_check() {
        let hash = ValueHash::of(b"abc");
        let known = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.as_str(), known);
        assert_eq!(ValueHash::parse(known), Some(hash));
        assert_eq!(ValueHash::parse(&known[7..]), None);
    }

    #[test]
    fn value_is_whole_or_not_there() {
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let value = value(length);
            let hash = ValueHash::of(&value);
            let total = i64::try_from(length).unwrap();
            let rows: Vec<_> = cut(&value).map(|(number, chunk)| (number, total, chunk)).collect();
            assert_eq!(rows.len(), length.div_ceil(CHUNK_BYTES).max(1), "{length}");
            assert!(rows.iter().all(|(_, _, chunk)| chunk.len() <= CHUNK_BYTES));
            assert_eq!(joined(&rows, &hash).unwrap(), Some(value), "{length}");
            for gone in 0..rows.len() {
                let mut some = rows.clone();
                some.remove(gone);
                assert_eq!(joined(&some, &hash).unwrap(), None, "{length} without {gone}");
            }
        }
    }

    #[test]
    fn altered_value_is_an_error_and_never_an_answer() {
        let hash = ValueHash::of(b"abc");
        let rows = [(0, 3, Bytes::from_static(b"abd"))];
        assert!(matches!(joined(&rows, &hash), Err(StoreError::Altered { .. })));
    }
}
