//! The order of what one follower sees: which copies to drop, which text is the newest.
//!
//! Pure: records in, what to pass on out. It refuses to wait, to decode, and to guess at what is missing:
//! a hole in the text is said once, and the answer in the terminal event is what counts.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use domain::event::{Chunk, ChunkKind, Position};

/// The most chunks that are kept while an earlier one is missing. The deltas' producer retries without
/// idempotence, so a batch or two may be swapped; more than that means that a chunk was dropped.
pub const HELD_CHUNKS: usize = 64;

/// What to do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next one.
    Next,
    /// Known, or older than a generation that replaced it: drop it.
    Copy,
    /// The first of a higher generation, in place of everything from its number on.
    Replaces,
    /// At least one before it is missing. Nothing was noted: offer it again when the hole is filled.
    Gap,
}

/// The place in an execution's events, and what follows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    last: Position,
}

impl Events {
    /// Goes on after `last`; the default position is the one before the first event.
    #[must_use]
    pub fn after(last: Position) -> Self {
        Self { last }
    }

    /// The place of the last event that was passed on.
    #[must_use]
    pub fn last(self) -> Position {
        self.last
    }

    /// Judges an event at `place`, and moves there when it is to be passed on.
    pub fn offer(&mut self, place: Position) -> Verdict {
        let verdict = if place.generation < self.last.generation {
            Verdict::Copy
        } else if place.number > self.last.number + 1 {
            Verdict::Gap
        } else if place.number == self.last.number + 1 {
            Verdict::Next
        } else if place.generation > self.last.generation {
            Verdict::Replaces
        } else {
            Verdict::Copy
        };
        if matches!(verdict, Verdict::Next | Verdict::Replaces) {
            self.last = place;
        }
        verdict
    }
}

/// One try of a call under one owner; a higher one discards the text of the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Try {
    /// The owner: the offset of its `TakenOver`.
    pub fence: i64,
    /// The try under that owner, from 1.
    pub attempt: i32,
}

impl Try {
    /// The try that a chunk belongs to.
    #[must_use]
    pub fn of(chunk: &Chunk) -> Self {
        Self { fence: chunk.fence, attempt: chunk.attempt }
    }
}

/// A piece of output in its order. `C` is a chunk, or shares one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<C = Chunk> {
    /// The next chunk of the newest try.
    Chunk(C),
    /// A newer try begins: discard the text so far.
    Reset(Try),
    /// A chunk of this try is missing. No more of its chunks follow.
    Gap(Try),
    /// Where the call waits before a try that has no text yet. It is newer than any before it.
    Queued(C),
}

/// The place in a call's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output<C = Chunk> {
    newest: Option<Try>,
    next: i64,
    broken: bool,
    held: BTreeMap<i64, C>,
    /// The newest word of where the call waits: for which try, and which word of those.
    queued: Option<(Try, i64)>,
}

impl<C> Default for Output<C> {
    fn default() -> Self {
        Self { newest: None, next: 0, broken: false, held: BTreeMap::new(), queued: None }
    }
}

impl<C: Borrow<Chunk>> Output<C> {
    /// Goes on after the chunk `index` of a try: what a follower had before it came back.
    #[must_use]
    pub fn after(of: Try, index: i64) -> Self {
        Self { newest: Some(of), next: index.saturating_add(1), ..Self::default() }
    }

    /// Takes a chunk in; puts what can be passed on into `out`.
    pub fn offer(&mut self, chunk: C, out: &mut Vec<Piece<C>>) {
        if chunk.borrow().kind == ChunkKind::Queued {
            return self.offer_queued(chunk, out);
        }
        let (of, index) = (Try::of(chunk.borrow()), chunk.borrow().index);
        match self.newest {
            Some(newest) if of < newest => return,
            Some(newest) if of == newest => {}
            Some(_) => {
                *self = Self { newest: Some(of), queued: self.queued, ..Self::default() };
                out.push(Piece::Reset(of));
            }
            None => self.newest = Some(of),
        }
        if self.broken || index < self.next {
            return;
        }
        self.held.entry(index).or_insert(chunk);
        while let Some(chunk) = self.held.remove(&self.next) {
            self.next += 1;
            out.push(Piece::Chunk(chunk));
        }
        if self.held.len() > HELD_CHUNKS {
            self.give_up(out);
        }
    }

    /// Where a call waits is no text: it discards none, and has no place among its numbers. It counts until
    /// the first text of the try that is waited for, and what is no place counts never.
    fn offer_queued(&mut self, chunk: C, out: &mut Vec<Piece<C>>) {
        let of = Try::of(chunk.borrow());
        // The index falls with each word.
        let word = (of, chunk.borrow().index.saturating_neg());
        let over = self.newest.is_some_and(|newest| of <= newest);
        let old = self.queued.is_some_and(|queued| word <= queued);
        if !over && !old && chunk.borrow().queue_place().is_some() {
            self.queued = Some(word);
            out.push(Piece::Queued(chunk));
        }
    }

    /// Passes nothing on any more until a newer try begins.
    pub fn give_up(&mut self, out: &mut Vec<Piece<C>>) {
        self.held.clear();
        if let (Some(newest), false) = (self.newest, self.broken) {
            self.broken = true;
            out.push(Piece::Gap(newest));
        }
    }
}

#[cfg(test)]
mod tests;
