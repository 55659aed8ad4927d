//! Rows from what a person gives: JSON lines, a JSON array, or a table of comma-separated values.
//!
//! Each row knows the line on which it begins; what can't be read is an error with its place, and reading
//! goes on behind it where that is possible. It judges no values and keeps no more than a row in memory.

mod array;
mod lines;
mod object;
mod table;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

pub use crate::fill::{Cell, Cells, Problem};
use crate::request::Template;

/// The longest row, in bytes: far above what a topic takes, far below what hurts.
pub const MAX_ROW_BYTES: usize = 16 * 1024 * 1024;

/// What the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object on each line.
    Lines,
    /// One JSON array of objects.
    Array,
    /// Comma-separated values (RFC 4180), the first row names the fields.
    Table,
}

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// What it says.
    pub cells: Cells,
}

/// Why a row, or all that follows, can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// The row is wrong; the next one may be right.
    #[error("{line}: {problem}")]
    Invalid {
        /// The line on which it begins.
        line: u64,
        /// What is wrong, and in which field.
        problem: Problem,
    },
    /// Nothing that follows can be read.
    #[error("{line}: {problem}")]
    Broken {
        /// Where.
        line: u64,
        /// What is wrong.
        problem: Problem,
    },
    /// The bytes can't be had.
    #[error("reading it")]
    Io(#[source] io::Error),
}

impl Unread {
    pub(crate) fn invalid(line: u64, path: &str, problem: impl Into<String>) -> Self {
        Self::Invalid { line, problem: Problem::new(path, problem) }
    }

    pub(crate) fn broken(line: u64, problem: impl Into<String>) -> Self {
        Self::Broken { line, problem: Problem::new("", problem) }
    }

    /// Whether rows may follow.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        matches!(self, Self::Invalid { .. })
    }
}

/// Rows in their order. After an error that doesn't [go on](Unread::goes_on) there is nothing more.
pub type Rows = Box<dyn Iterator<Item = Result<Row, Unread>> + Send>;

/// The rows of `bytes`, in the given format or the one that their beginning tells.
///
/// # Errors
/// [`Unread`]: the bytes can't be had, or the header of a table is wrong.
pub fn rows(
    bytes: Box<dyn Read + Send>,
    format: Option<Format>,
    template: &Template,
) -> Result<Rows, Unread> {
    let mut bytes = BufReader::new(bytes);
    skip_mark(&mut bytes).map_err(Unread::Io)?;
    let format = match format {
        Some(format) => format,
        None => told(&mut bytes).map_err(Unread::Io)?,
    };
    Ok(match format {
        Format::Lines => Box::new(lines::Lines::new(bytes)),
        Format::Array => Box::new(array::Elements::new(bytes)),
        Format::Table => Box::new(table::Table::new(bytes, template)?),
    })
}

/// Spreadsheets put a mark before UTF-8.
fn skip_mark(bytes: &mut impl BufRead) -> io::Result<()> {
    if bytes.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        bytes.consume(3);
    }
    Ok(())
}

fn told(bytes: &mut impl BufRead) -> io::Result<Format> {
    let first = bytes.fill_buf()?.iter().find(|byte| !byte.is_ascii_whitespace());
    Ok(if first == Some(&b'[') { Format::Array } else { Format::Lines })
}

/// Where the bytes come from.
#[derive(Debug)]
pub enum Material {
    /// A file that can be read as often as it takes.
    File(PathBuf),
    /// What can be read once, copied to a temporary file without a name.
    Spooled(File),
    /// Standard input, as it comes.
    Input,
}

impl Material {
    /// What `path` names, `-` being standard input; read ahead where it could be read only once.
    ///
    /// # Errors
    /// It can't be read, or there is no room for a copy.
    pub fn checkable(path: &Path) -> io::Result<Self> {
        let mut once: Box<dyn Read> = if path == Path::new("-") {
            Box::new(io::stdin())
        } else if path.metadata()?.is_file() {
            return Ok(Self::File(path.to_owned()));
        } else {
            Box::new(File::open(path)?)
        };
        let mut copy = tempfile::tempfile()?;
        io::copy(&mut once, &mut copy)?;
        Ok(Self::Spooled(copy))
    }

    /// What `path` names, read once as it comes.
    #[must_use]
    pub fn once(path: &Path) -> Self {
        if path == Path::new("-") { Self::Input } else { Self::File(path.to_owned()) }
    }

    /// Its bytes, from the beginning.
    ///
    /// # Errors
    /// It can't be read.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::File(path) => Box::new(File::open(path)?),
            Self::Spooled(copy) => {
                let mut copy = copy.try_clone()?;
                copy.seek(SeekFrom::Start(0))?;
                Box::new(copy)
            }
            Self::Input => Box::new(io::stdin()),
        })
    }
}

/// The format that a file's name tells, where it does.
#[must_use]
pub fn format_of(path: &Path) -> Option<Format> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    match extension.as_str() {
        "csv" => Some(Format::Table),
        "jsonl" | "ndjson" => Some(Format::Lines),
        _ => None,
    }
}
