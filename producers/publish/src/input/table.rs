//! Comma-separated values (RFC 4180). The first row names the fields; an empty cell is a field that isn't
//! given, an empty line no row.
//!
//! Ours, because parsers of this format forgive: a quote that is never closed makes the rest of the file
//! one cell, and line numbers are off by one where lines end in CR LF. Here the first is an error, and the
//! second right.

use std::io::BufRead;

use super::{Cell, MAX_ROW_BYTES, Row, Unread};
use crate::request::Template;

/// Rows of a table.
pub(super) struct Table<R> {
    bytes: R,
    line: u64,
    names: Vec<String>,
    ended: bool,
}

/// Where in a cell the reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before its first byte.
    Start,
    /// In a cell without quotes.
    Plain,
    /// Behind the opening quote.
    Quoted,
    /// Behind a quote that closes the cell, or is the first of two.
    Closed,
}

/// The cells of a row, and the line on which it begins.
struct Cells {
    line: u64,
    cells: Vec<Vec<u8>>,
}

impl<R: BufRead> Table<R> {
    /// Reads the header.
    pub(super) fn new(bytes: R, template: &Template) -> Result<Self, Unread> {
        let mut table = Self { bytes, line: 1, names: Vec::new(), ended: false };
        let Some(Cells { line, cells }) = table.cells()? else {
            return Err(Unread::broken(1, "is empty, where the names of the fields should be"));
        };
        for name in cells {
            let name = std::str::from_utf8(name.trim_ascii())
                .map_err(|_| Unread::broken(line, "is a header that is not UTF-8"))?
                .to_owned();
            template.check_name(&name).map_err(|problem| Unread::Broken { line, problem })?;
            if table.names.contains(&name) {
                return Err(Unread::broken(line, format!("has two columns {name}")));
            }
            table.names.push(name);
        }
        Ok(table)
    }

    fn byte(&mut self) -> Result<Option<u8>, Unread> {
        let byte = loop {
            match self.bytes.fill_buf() {
                Ok([]) => return Ok(None),
                Ok([first, ..]) => break *first,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Unread::Io(error)),
            }
        };
        self.bytes.consume(1);
        if byte == b'\n' {
            self.line += 1;
        }
        Ok(Some(byte))
    }

    /// The next line that isn't empty.
    fn cells(&mut self) -> Result<Option<Cells>, Unread> {
        loop {
            let line = self.line;
            let (cells, ended) = self.record()?;
            if cells.len() > 1 || cells.first().is_some_and(|cell| !cell.is_empty()) {
                return Ok(Some(Cells { line, cells }));
            }
            if ended {
                return Ok(None);
            }
        }
    }

    /// Everything up to the end of a row, and whether that is the end of the table.
    fn record(&mut self) -> Result<(Vec<Vec<u8>>, bool), Unread> {
        let line = self.line;
        let (mut cells, mut cell) = (Vec::new(), Vec::new());
        let mut stage = Stage::Start;
        let mut wrong = None;
        let mut length = 0;
        let ended = loop {
            let byte = self.byte()?;
            length += 1;
            if length > MAX_ROW_BYTES {
                let problem =
                    format!("is longer than {MAX_ROW_BYTES} bytes: is a quote not closed?");
                return Err(Unread::broken(line, problem));
            }
            match (stage, byte) {
                (Stage::Quoted, None) => {
                    let problem = "begins a row with a quote that is never closed";
                    return Err(Unread::broken(line, problem));
                }
                (_, None) => break true,
                (Stage::Quoted, Some(b'"')) => stage = Stage::Closed,
                (Stage::Quoted, Some(byte)) => cell.push(byte),
                (_, Some(b'\n')) => break false,
                (_, Some(b',')) => {
                    cells.push(std::mem::take(&mut cell));
                    stage = Stage::Start;
                }
                (Stage::Start, Some(b'"')) => stage = Stage::Quoted,
                (Stage::Closed, Some(b'"')) => {
                    cell.push(b'"');
                    stage = Stage::Quoted;
                }
                // The first half of the end of a line.
                (Stage::Closed, Some(b'\r')) => {}
                (Stage::Closed, Some(_)) => wrong = Some("has text behind a closing quote"),
                (Stage::Plain, Some(b'"')) => {
                    wrong = Some("has a quote inside of a cell that doesn't begin with one");
                }
                (Stage::Start | Stage::Plain, Some(byte)) => {
                    cell.push(byte);
                    stage = Stage::Plain;
                }
            }
        };
        if stage == Stage::Plain && cell.ends_with(b"\r") {
            cell.pop();
        }
        cells.push(cell);
        match wrong {
            Some(wrong) => Err(Unread::invalid(line, "", wrong)),
            None => Ok((cells, ended)),
        }
    }

    fn row(&mut self) -> Result<Option<Row>, Unread> {
        let Some(Cells { line, cells }) = self.cells()? else { return Ok(None) };
        if cells.len() != self.names.len() {
            let (has, header) = (cells.len(), self.names.len());
            return Err(Unread::invalid(line, "", format!("has {has} cells, the header {header}")));
        }
        let mut given = Vec::with_capacity(self.names.len());
        for (name, cell) in self.names.iter().zip(cells) {
            let cell =
                String::from_utf8(cell).map_err(|_| Unread::invalid(line, name, "is not UTF-8"))?;
            if !cell.is_empty() {
                given.push((name.clone(), Cell::Text(cell)));
            }
        }
        Ok(Some(Row { line, cells: given }))
    }
}

impl<R: BufRead> Iterator for Table<R> {
    type Item = Result<Row, Unread>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = self.row().transpose();
        self.ended = match &row {
            None => true,
            Some(Err(error)) => !error.goes_on(),
            Some(Ok(_)) => false,
        };
        row
    }
}
