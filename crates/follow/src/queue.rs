//! What waits for one follower: bounded, in order, without copies.
//!
//! Pure. A follower that is behind gets its text in fewer, larger pieces, then is told that it lags; the
//! newest event is never dropped, so a slow client still learns how its execution ended.

use std::collections::VecDeque;

use domain::event::{Chunk, ChunkKind, ExecutionEvent, Position, QueuePlace};

use crate::order::{Events, Output, Piece, Try, Verdict};

/// From this many waiting items on, text is joined to the text before it. A client that keeps up has one
/// or two waiting, so its tokens stay as small as they came.
pub const COALESCE_FROM: usize = 16;

/// The most bytes of text that wait for one follower: minutes of any model's output.
pub const QUEUE_BYTES: usize = 1024 * 1024;

/// The most items that wait for one follower. Only events and switches between kinds of text count once
/// text is joined, so a client that reaches this has stopped reading.
pub const QUEUE_ITEMS: usize = 1024;

/// What a follower is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// An event; the next one unless its number says that some are missing (then read the store).
    /// A higher generation replaces everything from its number on.
    Event(Box<ExecutionEvent>),
    /// The next text of the newest try. Joined chunks carry the index of the last of them.
    Chunk(Chunk),
    /// Where the call waits now. Of several that waited for a slow follower only the newest is left.
    Queued(QueuePlace),
    /// A newer try begins: discard the text so far.
    Reset(Try),
    /// Text of this try is missing, and no more of it follows: the terminal event has the whole answer.
    Gap(Try),
    /// The follower, or the reader itself, fell behind: events and text may be missing. Events are in the
    /// store; text comes again only with a newer try or with the answer.
    Lagged,
}

/// The queue of one follower.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    items: VecDeque<Followed>,
    bytes: usize,
    events: Option<Events>,
    output: Output,
}

impl Queue {
    /// Takes the next item out.
    pub(crate) fn pop(&mut self) -> Option<Followed> {
        let item = self.items.pop_front();
        if let Some(Followed::Chunk(chunk)) = &item {
            self.bytes -= chunk.text.len();
        }
        item
    }

    /// Puts an event in, unless it is a copy.
    pub(crate) fn event(&mut self, event: ExecutionEvent) {
        let place = event.position();
        let before = Events::after(Position { number: place.number - 1, ..place });
        let events = self.events.get_or_insert(before);
        match events.offer(place) {
            Verdict::Copy => return,
            Verdict::Gap => *events = Events::after(place),
            Verdict::Next | Verdict::Replaces => {}
        }
        if self.items.len() >= QUEUE_ITEMS {
            self.lag();
        }
        self.items.push_back(Followed::Event(Box::new(event)));
    }

    /// Puts a chunk in, in its order.
    pub(crate) fn chunk(&mut self, chunk: Chunk) {
        let mut pieces = Vec::new();
        self.output.offer(chunk, &mut pieces);
        for piece in pieces {
            match piece {
                Piece::Chunk(chunk) if self.bytes + chunk.text.len() > QUEUE_BYTES => {
                    // What else is in `pieces` comes after this chunk, in the same try.
                    self.drop_chunks();
                    self.output.give_up(&mut Vec::new());
                    self.items.push_back(Followed::Lagged);
                    break;
                }
                Piece::Chunk(chunk) => self.text(chunk),
                Piece::Gap(of) => self.items.push_back(Followed::Gap(of)),
                Piece::Queued(chunk) => self.place(&chunk),
                Piece::Reset(of) => {
                    self.drop_chunks();
                    self.items.push_back(Followed::Reset(of));
                }
            }
        }
        if self.items.len() > QUEUE_ITEMS {
            self.lag();
        }
    }

    /// Drops what waits and says so; text goes on with the next try.
    pub(crate) fn lag(&mut self) {
        self.items.clear();
        self.bytes = 0;
        self.output.give_up(&mut Vec::new());
        self.items.push_back(Followed::Lagged);
    }

    fn text(&mut self, chunk: Chunk) {
        self.bytes += chunk.text.len();
        let behind = self.items.len() >= COALESCE_FROM;
        match self.items.back_mut() {
            Some(Followed::Chunk(last)) if behind && joins(last, &chunk) => {
                last.text.push_str(&chunk.text);
                last.index = chunk.index;
            }
            _ => self.items.push_back(Followed::Chunk(chunk)),
        }
    }

    fn place(&mut self, chunk: &Chunk) {
        let Some(place) = chunk.queue_place() else { return };
        self.items.retain(|item| !matches!(item, Followed::Queued(_)));
        // It is worth nothing beside what a follower who is that far behind would lose.
        if self.items.len() < QUEUE_ITEMS {
            self.items.push_back(Followed::Queued(place));
        }
    }

    fn drop_chunks(&mut self) {
        self.items.retain(|item| !matches!(item, Followed::Chunk(_)));
        self.bytes = 0;
    }
}

/// Whether two consecutive chunks of one try can be one. Pieces of tool calls are JSON of their own.
fn joins(last: &Chunk, next: &Chunk) -> bool {
    matches!(last.kind, ChunkKind::Text | ChunkKind::Reasoning)
        && (last.kind, last.choice) == (next.kind, next.choice)
        && Try::of(last) == Try::of(next)
}

#[cfg(test)]
mod tests {
    use domain::event::EventType;
    use domain::time::Millis;
    use domain::topic::Kind;

    use super::*;

    fn event(generation: i32, number: i64) -> ExecutionEvent {
        ExecutionEvent {
            execution_id: "e".into(),
            kind: Kind::Model,
            tenant: "t".into(),
            parent_id: None,
            generation,
            number,
            event_type: EventType::Started,
            time: Millis(0),
            step: None,
            attempt: None,
            data: None,
            error: None,
            usage: None,
            cost: None,
            data_claim: None,
        }
    }

    fn chunk(attempt: i32, index: i64, text: &str) -> Chunk {
        Chunk {
            execution_id: "e".into(),
            tenant: "t".into(),
            fence: 1,
            attempt,
            index,
            kind: ChunkKind::Text,
            choice: 0,
            text: text.into(),
        }
    }

    fn drain(queue: &mut Queue) -> Vec<Followed> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn copies_of_events_are_dropped_and_a_late_follower_starts_anywhere() {
        let mut queue = Queue::default();
        for (generation, number) in [(0, 4), (0, 4), (0, 5), (1, 5), (0, 6), (1, 8)] {
            queue.event(event(generation, number));
        }
        let places: Vec<_> = drain(&mut queue)
            .into_iter()
            .map(|item| match item {
                Followed::Event(event) => (event.generation, event.number),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(places, [(0, 4), (0, 5), (1, 5), (1, 8)]);
    }

    #[test]
    fn text_of_a_follower_behind_is_joined_and_stays_the_same() {
        let mut queue = Queue::default();
        let words: Vec<String> = (0..500).map(|n| format!("w{n} ")).collect();
        for (index, word) in words.iter().enumerate() {
            queue.chunk(chunk(1, index as i64, word));
        }
        let items = drain(&mut queue);
        assert_eq!(items.len(), COALESCE_FROM);
        let text: String = items
            .iter()
            .map(|item| match item {
                Followed::Chunk(chunk) => chunk.text.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(text, words.concat());
        assert!(matches!(items.last(), Some(Followed::Chunk(chunk)) if chunk.index == 499));
    }

    #[test]
    fn too_much_text_is_said_and_the_end_still_arrives() {
        let mut queue = Queue::default();
        let big = "x".repeat(QUEUE_BYTES / 4);
        for index in 0..12 {
            queue.chunk(chunk(1, index, &big));
            assert!(queue.bytes <= QUEUE_BYTES);
        }
        queue.event(event(0, 1));
        queue.chunk(chunk(2, 0, "again"));
        let of = Try { fence: 1, attempt: 2 };
        let got = drain(&mut queue);
        assert_eq!(
            got,
            [
                Followed::Lagged,
                Followed::Event(Box::new(event(0, 1))),
                Followed::Reset(of),
                Followed::Chunk(chunk(2, 0, "again")),
            ]
        );
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn reader_that_stopped_gets_the_newest_event_and_a_word_about_the_rest() {
        let mut queue = Queue::default();
        for number in 1..=2 * QUEUE_ITEMS as i64 {
            queue.event(event(0, number));
            assert!(queue.items.len() <= QUEUE_ITEMS);
        }
        let got = drain(&mut queue);
        assert_eq!(got.first(), Some(&Followed::Lagged));
        assert_eq!(got.last(), Some(&Followed::Event(Box::new(event(0, 2 * QUEUE_ITEMS as i64)))));
    }

    fn queued(nth: i64, position: u64) -> Chunk {
        let place = QueuePlace { position, estimated_wait_ms: Some(position * 100) };
        Chunk { kind: ChunkKind::Queued, text: place.to_text(), ..chunk(1, -nth, "") }
    }

    #[test]
    fn only_the_newest_place_in_a_queue_waits_for_a_follower() {
        let mut queue = Queue::default();
        let place = |position| {
            Followed::Queued(QueuePlace { position, estimated_wait_ms: Some(position * 100) })
        };
        queue.chunk(queued(1, 9));
        assert_eq!(drain(&mut queue), [place(9)]);
        queue.chunk(queued(2, 7));
        queue.event(event(0, 1));
        queue.chunk(queued(3, 2));
        queue.chunk(chunk(1, 0, "text"));
        queue.chunk(queued(4, 1));
        let text = Followed::Chunk(chunk(1, 0, "text"));
        assert_eq!(drain(&mut queue), [Followed::Event(Box::new(event(0, 1))), place(2), text]);
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn place_in_a_queue_makes_nobody_lag() {
        let mut queue = Queue::default();
        for number in 1..=QUEUE_ITEMS as i64 {
            queue.event(event(0, number));
        }
        queue.chunk(queued(1, 1));
        let got = drain(&mut queue);
        assert_eq!(got.len(), QUEUE_ITEMS);
        assert!(got.iter().all(|item| matches!(item, Followed::Event(_))));
    }

    #[test]
    fn text_that_waits_is_dropped_when_a_newer_try_begins() {
        let mut queue = Queue::default();
        queue.chunk(chunk(1, 0, "old"));
        queue.chunk(chunk(2, 0, "new"));
        let of = Try { fence: 1, attempt: 2 };
        assert_eq!(drain(&mut queue), [Followed::Reset(of), Followed::Chunk(chunk(2, 0, "new"))]);
    }
}
