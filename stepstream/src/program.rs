//! The fingerprint of this program: an owner that folds with another program than the last one raises the
//! generation of what it puts out, so two builds must never look the same.
//!
//! The linker has hashed all that is in the executable and noted the result in it (the GNU build id).
//! Reading that note takes no time; the whole file is hashed here only where there is none.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use sha2::{Digest, Sha256};

use crate::cluster::blocking;

/// How many digits are kept: enough to tell any two builds apart.
const DIGITS: usize = 16;
/// More notes than this are no notes.
const MAX_NOTES_BYTES: u64 = 64 * 1024;

/// The start of the executable's build id, else of its SHA-256, else the version.
pub(crate) async fn fingerprint() -> String {
    blocking(|| File::open("/proc/self/exe").and_then(of)).await.unwrap_or_else(|error| {
        let version = env!("CARGO_PKG_VERSION");
        tracing::warn!(
            %error,
            version,
            "the executable can't be read; builds of one version will look the same"
        );
        format!("version-{version}")
    })
}

fn of(mut file: impl Read + Seek) -> io::Result<String> {
    let mut text = match build_id(&mut file) {
        Some(id) => hex(&id),
        None => {
            file.seek(SeekFrom::Start(0))?;
            hex(&hash(file)?)
        }
    };
    text.truncate(DIGITS);
    Ok(text)
}

fn hash(mut file: impl Read) -> io::Result<Vec<u8>> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().to_vec()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The build id in an ELF file of 64 bits and little-endian order (`man 5 elf`, `NT_GNU_BUILD_ID`); `None`
/// for everything else.
fn build_id(file: &mut (impl Read + Seek)) -> Option<Vec<u8>> {
    const PT_NOTE: u32 = 4;
    let header: [u8; 64] = read_at(file, 0)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let first = u64::from_le_bytes(header[32..40].try_into().ok()?);
    let size = u64::from(u16::from_le_bytes(header[54..56].try_into().ok()?));
    let count = u64::from(u16::from_le_bytes(header[56..58].try_into().ok()?));
    (0..count).find_map(|number| {
        let segment: [u8; 56] = read_at(file, first.checked_add(number * size)?)?;
        if u32::from_le_bytes(segment[..4].try_into().ok()?) != PT_NOTE {
            return None;
        }
        let offset = u64::from_le_bytes(segment[8..16].try_into().ok()?);
        let length = u64::from_le_bytes(segment[32..40].try_into().ok()?);
        let mut notes = Vec::new();
        file.seek(SeekFrom::Start(offset)).ok()?;
        file.take(length.min(MAX_NOTES_BYTES)).read_to_end(&mut notes).ok()?;
        find_note(&notes)
    })
}

/// Notes are a header (lengths of name and value, type), the name and the value, each padded to 4 bytes.
fn find_note(mut notes: &[u8]) -> Option<Vec<u8>> {
    const NT_GNU_BUILD_ID: u32 = 3;
    loop {
        let number = |at: usize| Some(u32::from_le_bytes(notes.get(at..at + 4)?.try_into().ok()?));
        let (name, value, kind) = (number(0)? as usize, number(4)? as usize, number(8)?);
        let begin = 12 + name.next_multiple_of(4);
        let found = notes.get(begin..begin.checked_add(value)?)?;
        if kind == NT_GNU_BUILD_ID && notes.get(12..12 + name)? == b"GNU\0" && !found.is_empty() {
            return Some(found.to_vec());
        }
        notes = notes.get(begin + value.next_multiple_of(4)..)?;
    }
}

fn read_at<const N: usize>(file: &mut (impl Read + Seek), at: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.seek(SeekFrom::Start(at)).ok()?;
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn file_without_a_build_id_is_hashed() {
        // The test vector of FIPS 180-2 for "abc".
        assert_eq!(of(Cursor::new(b"abc")).unwrap(), "ba7816bf8f01cfea");
        assert_ne!(of(Cursor::new(b"abd")).unwrap(), "ba7816bf8f01cfea");
    }

    #[test]
    fn build_id_is_found_behind_other_notes() {
        let note = |kind: u32, name: &[u8], value: &[u8]| {
            let mut note = Vec::new();
            note.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
            note.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
            note.extend(kind.to_le_bytes());
            for part in [name, value] {
                note.extend(part);
                note.resize(note.len().next_multiple_of(4), 0);
            }
            note
        };
        let notes =
            [note(1, b"GNU\0", &[9; 7]), note(3, b"Go\0", &[8]), note(3, b"GNU\0", &[1, 2, 3])];
        assert_eq!(find_note(&notes.concat()), Some(vec![1, 2, 3]));
        assert_eq!(find_note(&notes[..2].concat()), None);
        // The last byte is padding: without it nothing is missing.
        for end in 0..notes.concat().len() - 1 {
            let cut = &notes.concat()[..end];
            assert_eq!(find_note(cut), None, "cut at {end}");
        }
    }

    #[tokio::test]
    async fn this_program_has_one_fingerprint() {
        let first = fingerprint().await;
        assert_eq!(first.len(), DIGITS);
        assert_eq!(first, fingerprint().await);
    }
}
