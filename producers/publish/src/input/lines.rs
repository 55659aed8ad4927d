//! JSON lines: an object on each line; empty lines are passed over.

use std::io::{BufRead, Read as _};

use super::{MAX_ROW_BYTES, Row, Unread, object};

/// Rows of JSON lines.
pub(super) struct Lines<R> {
    bytes: R,
    line: u64,
    ended: bool,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(bytes: R) -> Self {
        Self { bytes, line: 0, ended: false }
    }

    fn read(&mut self) -> Option<Result<Row, Unread>> {
        loop {
            let mut text = Vec::new();
            let limit = MAX_ROW_BYTES as u64 + 1;
            match self.bytes.by_ref().take(limit).read_until(b'\n', &mut text) {
                Ok(0) => return None,
                Ok(_) => self.line += 1,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(Unread::Io(error)));
                }
            }
            if text.len() > MAX_ROW_BYTES && !text.ends_with(b"\n") {
                self.ended = true;
                let problem = format!("is longer than {MAX_ROW_BYTES} bytes");
                return Some(Err(Unread::broken(self.line, problem)));
            }
            if !text.trim_ascii().is_empty() {
                return Some(object::row(text.trim_ascii_end(), self.line));
            }
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Row, Unread>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended { None } else { self.read() }
    }
}
