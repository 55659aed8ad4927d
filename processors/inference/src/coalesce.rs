//! When token deltas leave, and in what pieces: the first of a try at once, then whatever has come
//! together since the last piece left. Pure: time is an argument, and sending is someone else's.
//!
//! A reader sees text the moment a model speaks, a slow model's tokens each at once, and a fast model's
//! in pieces that grow with the stream, so that a long answer costs tens of records a second and not
//! hundreds.

use domain::event::{ChunkKind, QueuePlace};
use model::Delta;

/// The least time between two pieces at the beginning of a stream, in milliseconds.
pub(crate) const FIRST_GAP_MS: i64 = 20;

/// The least time between two pieces, however long the stream is, in milliseconds: above it, text would
/// be seen to stutter. Each piece makes the gap one millisecond longer.
pub(crate) const LAST_GAP_MS: i64 = 40;

/// As much waiting text as this leaves without waiting for the gap, in bytes.
pub(crate) const FULL_BYTES: usize = 4 * 1024;

/// The longest text of one piece, in bytes: far below what a broker takes. Tool calls aren't cut: half a
/// JSON array is of no use.
pub(crate) const PIECE_BYTES: usize = 64 * 1024;

/// What leaves: one chunk, numbered within its try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) attempt: i32,
    pub(crate) index: i64,
    pub(crate) kind: ChunkKind,
    pub(crate) choice: i32,
    pub(crate) text: String,
}

/// The deltas of one call on their way out.
#[derive(Debug)]
pub(crate) struct Coalescer {
    attempt: i32,
    index: i64,
    waiting: Vec<Delta>,
    bytes: usize,
    last_left: Option<i64>,
    /// The try that is waited for, and how often it was said where.
    places: (i32, i64),
}

impl Coalescer {
    pub(crate) fn new() -> Self {
        Self {
            attempt: 1,
            index: 0,
            waiting: Vec::new(),
            bytes: 0,
            last_left: None,
            places: (0, 0),
        }
    }

    /// Another try begins: what waits of the one before it is worth nothing any more.
    pub(crate) fn begin(&mut self, attempt: i32) {
        *self = Self { attempt, ..Self::new() };
    }

    /// The call waits before this try: what leaves now. It takes no part in the numbering of the text, so
    /// that nobody who counts that meets a hole, and overtakes what waits of a try before.
    pub(crate) fn place(&mut self, attempt: i32, place: QueuePlace) -> Piece {
        let said = match self.places {
            (of, said) if of == attempt => said + 1,
            _ => 1,
        };
        self.places = (attempt, said);
        let (kind, text) = (ChunkKind::Queued, place.to_text());
        Piece { attempt, index: -said, kind, choice: 0, text }
    }

    /// Takes in a delta; returns what leaves now.
    pub(crate) fn push(&mut self, delta: Delta, now: i64) -> Vec<Piece> {
        if delta.text.is_empty() {
            return Vec::new();
        }
        self.bytes += delta.text.len();
        // Within a choice the order of kinds is kept; between choices there is none to keep.
        match self.waiting.iter_mut().rfind(|last| last.choice == delta.choice) {
            Some(last) if last.kind == delta.kind => join(last, &delta.text),
            _ => self.waiting.push(delta),
        }
        if self.bytes >= FULL_BYTES || self.due().is_some_and(|due| due <= now) {
            self.flush(now)
        } else {
            Vec::new()
        }
    }

    /// When what waits is to leave; `None`: nothing waits.
    pub(crate) fn due(&self) -> Option<i64> {
        if self.waiting.is_empty() {
            return None;
        }
        let gap = FIRST_GAP_MS.saturating_add(self.index).min(LAST_GAP_MS);
        Some(self.last_left.map_or(i64::MIN, |left| left.saturating_add(gap)))
    }

    /// Everything that waits leaves now.
    pub(crate) fn flush(&mut self, now: i64) -> Vec<Piece> {
        self.bytes = 0;
        if !self.waiting.is_empty() {
            self.last_left = Some(now);
        }
        let mut pieces = Vec::new();
        for Delta { kind, choice, text } in std::mem::take(&mut self.waiting) {
            if kind == ChunkKind::ToolCalls || text.len() <= PIECE_BYTES {
                pieces.push(self.number(kind, choice, text));
                continue;
            }
            let mut rest = text.as_str();
            while !rest.is_empty() {
                let (head, tail) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
                pieces.push(self.number(kind, choice, head.to_owned()));
                rest = tail;
            }
        }
        pieces
    }

    /// The stream is complete: what waits, and the mark that nothing follows.
    pub(crate) fn complete(&mut self, now: i64) -> Vec<Piece> {
        let mut pieces = self.flush(now);
        pieces.push(self.number(ChunkKind::Done, 0, String::new()));
        pieces
    }

    fn number(&mut self, kind: ChunkKind, choice: i32, text: String) -> Piece {
        let index = self.index;
        self.index += 1;
        Piece { attempt: self.attempt, index, kind, choice, text }
    }
}

/// Appends text of the same kind. Pieces of tool calls are JSON arrays, so the arrays are joined.
fn join(last: &mut Delta, text: &str) {
    if last.kind != ChunkKind::ToolCalls {
        last.text.push_str(text);
        return;
    }
    let inside = |array: &str| -> Option<String> {
        Some(array.trim().strip_prefix('[')?.strip_suffix(']')?.trim().to_owned())
    };
    match (inside(&last.text), inside(text)) {
        (Some(before), Some(after)) if before.is_empty() || after.is_empty() => {
            last.text = format!("[{before}{after}]");
        }
        (Some(before), Some(after)) => last.text = format!("[{before},{after}]"),
        // Not an array: drivers don't do that. Then the two aren't joined, but none is lost.
        _ => last.text.push_str(text),
    }
}

#[cfg(test)]
mod tests;
