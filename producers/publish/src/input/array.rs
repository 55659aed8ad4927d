//! One JSON array of objects, cut into its elements without holding more than one of them.
//!
//! It counts brackets and knows strings; whether an element is JSON is for whoever parses it.

use std::io::BufRead;

use super::{MAX_ROW_BYTES, Row, Unread, object};

/// Where the reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before `[`.
    Opening,
    /// Behind `[`: an element or the end.
    First,
    /// Behind a comma: an element.
    Next,
    /// Behind `]`: nothing more.
    Closed,
    /// Nothing more is read.
    Ended,
}

/// Rows of a JSON array.
pub(super) struct Elements<R> {
    bytes: R,
    line: u64,
    stage: Stage,
}

/// Why an element ended.
enum Ended {
    Comma,
    Bracket,
}

impl<R: BufRead> Elements<R> {
    pub(super) fn new(bytes: R) -> Self {
        Self { bytes, line: 1, stage: Stage::Opening }
    }

    fn byte(&mut self) -> Result<Option<u8>, Unread> {
        let byte = match self.bytes.fill_buf() {
            Ok([]) => return Ok(None),
            Ok([first, ..]) => *first,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return self.byte(),
            Err(error) => return Err(Unread::Io(error)),
        };
        self.bytes.consume(1);
        if byte == b'\n' {
            self.line += 1;
        }
        Ok(Some(byte))
    }

    fn solid(&mut self) -> Result<Option<u8>, Unread> {
        loop {
            match self.byte()? {
                Some(b' ' | b'\t' | b'\r' | b'\n') => {}
                other => return Ok(other),
            }
        }
    }

    fn read(&mut self) -> Result<Option<Row>, Unread> {
        if self.stage == Stage::Opening {
            match self.solid()? {
                Some(b'[') => self.stage = Stage::First,
                Some(_) => return Err(Unread::broken(self.line, "is not a JSON array")),
                None => return Err(Unread::broken(self.line, "is empty")),
            }
        }
        if self.stage == Stage::Closed {
            return match self.solid()? {
                None => Ok(None),
                Some(_) => Err(Unread::broken(self.line, "comes after the end of the array")),
            };
        }
        let first = match self.solid()? {
            None => return Err(Unread::broken(self.line, "is where the array breaks off")),
            Some(b']') if self.stage == Stage::First => {
                self.stage = Stage::Closed;
                return self.read();
            }
            Some(b']' | b',') => {
                return Err(Unread::broken(self.line, "has a comma without an element"));
            }
            Some(first) => first,
        };
        let line = self.line;
        let (text, ended) = self.element(first)?;
        self.stage = match ended {
            Ended::Comma => Stage::Next,
            Ended::Bracket => Stage::Closed,
        };
        object::row(text.trim_ascii_end(), line).map(Some)
    }

    /// Reads an element to the comma or bracket behind it.
    fn element(&mut self, first: u8) -> Result<(Vec<u8>, Ended), Unread> {
        let begins = self.line;
        let mut text = Vec::new();
        let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
        let mut next = Some(first);
        loop {
            let Some(byte) = next else {
                return Err(Unread::broken(begins, "begins an element that never ends"));
            };
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                _ if in_string => {}
                b',' if depth == 0 => return Ok((text, Ended::Comma)),
                b']' if depth == 0 => return Ok((text, Ended::Bracket)),
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if text.len() == MAX_ROW_BYTES {
                let problem = format!("is longer than {MAX_ROW_BYTES} bytes");
                return Err(Unread::broken(begins, problem));
            }
            text.push(byte);
            next = self.byte()?;
        }
    }
}

impl<R: BufRead> Iterator for Elements<R> {
    type Item = Result<Row, Unread>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.stage == Stage::Ended {
            return None;
        }
        let row = self.read().transpose();
        match &row {
            Some(Err(error)) if !error.goes_on() => self.stage = Stage::Ended,
            None => self.stage = Stage::Ended,
            Some(_) => {}
        }
        row
    }
}
