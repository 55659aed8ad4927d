//! The next release of the program, as far as the one before it can tell: the same program, whose build has
//! another id, and whose schemas have other ids in the registry where it counts (those of requests, of the
//! state of executions, and of answers).
//!
//! What a release does otherwise isn't in it: that steps may put out something else after an upgrade is the
//! simulation's to show, that records may have more fields a matter of the contract's tests.

use std::path::{Path, PathBuf};

/// How the linker's note with the id of the build begins: three lengths and types, and a name (`man 5 elf`).
const BUILD_ID: &[u8] = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";

/// A default in the text of schemas: of `attempt` in `Origin`, which every writer of ours writes. Apicurio
/// Registry 3.0.9 takes texts for the same schema whose documentation alone is different.
const DEFAULT: &[u8] = b"\"default\": 1,";

/// Makes it from `program`; it lies in `folder`.
///
/// # Panics
/// When that isn't a program of ours with a build id.
#[must_use]
pub fn release(program: &Path, folder: &Path) -> PathBuf {
    let next = folder.join("stepstream-next");
    // Not written from nothing, for it has to stay executable.
    std::fs::copy(program, &next).expect("the program can be copied");
    let mut bytes = std::fs::read(&next).expect("the copy can be read");
    for id in places(&bytes, BUILD_ID) {
        bytes[id + BUILD_ID.len()] ^= 1;
    }
    for default in places(&bytes, DEFAULT) {
        bytes[default + DEFAULT.len() - 2] = b'2';
    }
    std::fs::write(&next, bytes).expect("the copy can be written");
    next
}

/// Where `text` stands in `bytes`.
fn places(bytes: &[u8], text: &[u8]) -> Vec<usize> {
    let places: Vec<usize> = (0..bytes.len())
        .filter(|place| bytes[*place] == text[0] && bytes[*place..].starts_with(text))
        .collect();
    assert!(!places.is_empty(), "the program has no {:?}", text.escape_ascii().to_string());
    places
}
