//! What waits for one socket: bounded, in order within each subscription, shared where it can be.
//!
//! Pure. While a client keeps up, each piece goes out as it came. From [`COALESCE_FROM`] waiting items on,
//! text is joined to the text before it. What doesn't fit even then is not taken: the connection decides
//! what gives way.

use std::collections::{HashMap, VecDeque};

use domain::event::{Chunk, ChunkKind, ExecutionEvent, Position};
use follow::feed::Published;
use follow::json;
use follow::order::Try;

use crate::message::TextPlace;

/// From this many waiting items on, text is joined.
pub(crate) const COALESCE_FROM: usize = 16;

/// The largest piece of text that pieces are joined to: a client gets it as one message.
const JOINED_BYTES: usize = 64 * 1024;

/// What an item costs beside its text: names, places, its part of the queue.
const OVERHEAD: usize = 256;

/// Something for the client.
#[derive(Debug)]
pub(crate) enum Item {
    /// A whole message.
    Control(String),
    /// An event of a subscription.
    Event(Published<ExecutionEvent>),
    /// A piece of text as it came.
    Text(Published<Chunk>),
    /// Several pieces of text in one.
    Joined(Chunk),
    /// Where the call of a subscription waits.
    Place(Published<Chunk>),
    /// The event of a subscription that says that its text begins anew; JSON.
    TextReset(String),
    /// A whole message about a subscription, in its order.
    About(String),
    /// The last message of a subscription.
    Last(String),
}

/// How far a client is once it has an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It has this event.
    Event(Position),
    /// It has this text.
    Text(TextPlace),
    /// It has no text.
    NoText,
    /// It has nothing new.
    Nothing,
    /// It has everything.
    All,
}

impl Item {
    /// Whether it is an event or text.
    fn is_counted(&self) -> bool {
        !matches!(self, Self::Control(_) | Self::About(_) | Self::Last(_))
    }

    fn bytes(&self) -> usize {
        OVERHEAD
            + match self {
                Self::Control(_) | Self::About(_) | Self::Last(_) => return 0,
                Self::TextReset(text) => text.len(),
                Self::Event(event) => event.data.as_ref().map_or(0, String::len),
                Self::Text(chunk) | Self::Place(chunk) => chunk.text.len(),
                Self::Joined(chunk) => chunk.text.len(),
            }
    }

    /// What the client has with it.
    pub(crate) fn sent(&self) -> Sent {
        let place = |chunk: &Chunk| TextPlace { of: Try::of(chunk), index: chunk.index };
        match self {
            Self::Control(_) | Self::About(_) | Self::Place(_) => Sent::Nothing,
            Self::Event(event) => Sent::Event(event.position()),
            Self::Text(chunk) => Sent::Text(place(chunk)),
            Self::Joined(chunk) => Sent::Text(place(chunk)),
            Self::TextReset(_) => Sent::NoText,
            Self::Last(_) => Sent::All,
        }
    }

    /// The event's JSON, where it is one.
    pub(crate) fn event_json(&self) -> Option<std::borrow::Cow<'_, str>> {
        match self {
            Self::Event(event) => Some(event.json().into()),
            Self::Text(chunk) | Self::Place(chunk) => Some(chunk.json().into()),
            Self::Joined(chunk) => Some(json::chunk(chunk).into()),
            Self::TextReset(json) => Some(json.as_str().into()),
            Self::Control(_) | Self::About(_) | Self::Last(_) => None,
        }
    }
}

/// Whether an item was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Taken,
    /// It was joined to one that waits.
    Joined,
    /// There is no room; it is dropped.
    Full,
}

/// The tag of what belongs to no subscription.
pub(crate) const NOBODY: u64 = 0;

#[derive(Debug)]
struct Waiting {
    tag: u64,
    item: Item,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: VecDeque<Waiting>,
    /// The number of the first that waits: they are numbered as they come.
    first: u64,
    /// The number of the last item of a subscription, where that is text or a place.
    newest: HashMap<u64, u64>,
    /// Of events and text; what is forced in isn't counted.
    items: usize,
    bytes: usize,
    max_items: usize,
    max_bytes: usize,
}

impl Outbox {
    pub(crate) fn new(max_items: usize, max_bytes: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            first: 0,
            newest: HashMap::new(),
            items: 0,
            bytes: 0,
            max_items,
            max_bytes,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The next item and whose it is.
    pub(crate) fn pop(&mut self) -> Option<(u64, Item)> {
        let Waiting { tag, item } = self.waiting.pop_front()?;
        if self.newest.get(&tag) == Some(&self.first) {
            self.newest.remove(&tag);
        }
        self.first += 1;
        self.items -= usize::from(item.is_counted());
        self.bytes -= item.bytes();
        if self.waiting.is_empty() {
            // An idle socket must not keep the room of its busiest moment.
            self.waiting = VecDeque::new();
            self.newest = HashMap::new();
        }
        Some((tag, item))
    }

    /// Puts in what has to get through: it is small, and whoever causes it is bounded elsewhere.
    pub(crate) fn force(&mut self, tag: u64, item: Item) {
        self.newest.remove(&tag);
        self.items += usize::from(item.is_counted());
        self.bytes += item.bytes();
        self.waiting.push_back(Waiting { tag, item });
    }

    /// Puts in an event or text, if there is room. A single one always finds room.
    pub(crate) fn put(&mut self, tag: u64, item: Item) -> Put {
        if let Item::Text(chunk) = &item
            && self.waiting.len() >= COALESCE_FROM
            && self.bytes + chunk.text.len() <= self.max_bytes
            && self.join(tag, chunk)
        {
            return Put::Joined;
        }
        let room = self.items < self.max_items && self.bytes + item.bytes() <= self.max_bytes;
        if !room && self.items > 0 {
            return Put::Full;
        }
        let is_text = matches!(item, Item::Text(_));
        self.force(tag, item);
        if is_text {
            self.newest.insert(tag, self.first + self.waiting.len() as u64 - 1);
        }
        Put::Taken
    }

    /// Puts in where the call of a subscription waits: in place of the word before, where nothing was said
    /// since. Without room it is dropped; that is no reason to lag, for another one comes.
    pub(crate) fn put_place(&mut self, tag: u64, chunk: Published<Chunk>) -> Put {
        let at = self.newest.get(&tag).and_then(|number| usize::try_from(number - self.first).ok());
        if let Some(Item::Place(old)) = at.and_then(|at| Some(&mut self.waiting.get_mut(at)?.item))
        {
            self.bytes = self.bytes - old.text.len() + chunk.text.len();
            *old = chunk;
            return Put::Joined;
        }
        let item = Item::Place(chunk);
        if self.items >= self.max_items || self.bytes + item.bytes() > self.max_bytes {
            return Put::Full;
        }
        self.force(tag, item);
        self.newest.insert(tag, self.first + self.waiting.len() as u64 - 1);
        Put::Taken
    }

    /// Drops what waits for a subscription.
    pub(crate) fn drop_of(&mut self, tag: u64) {
        self.newest.clear();
        self.waiting.retain(|waiting| waiting.tag != tag);
        let items = || self.waiting.iter().map(|waiting| &waiting.item);
        self.items = items().filter(|item| item.is_counted()).count();
        self.bytes = items().map(Item::bytes).sum();
    }

    fn join(&mut self, tag: u64, next: &Published<Chunk>) -> bool {
        let Some(number) = self.newest.get(&tag) else { return false };
        let at = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        let Some(waiting) = self.waiting.get_mut(at) else { return false };
        let last: &Chunk = match &waiting.item {
            Item::Text(chunk) => chunk,
            Item::Joined(chunk) => chunk,
            _ => return false,
        };
        if !joins(last, next) {
            return false;
        }
        if let Item::Text(chunk) = &waiting.item {
            waiting.item = Item::Joined((**chunk).clone());
        }
        if let Item::Joined(joined) = &mut waiting.item {
            joined.text.push_str(&next.text);
            joined.index = next.index;
            self.bytes += next.text.len();
        }
        true
    }
}

/// Whether two consecutive chunks of one try can be one. Pieces of tool calls are JSON of their own.
pub(super) fn joins(last: &Chunk, next: &Chunk) -> bool {
    matches!(last.kind, ChunkKind::Text | ChunkKind::Reasoning)
        && (last.kind, last.choice) == (next.kind, next.choice)
        && Try::of(last) == Try::of(next)
        && last.text.len() + next.text.len() <= JOINED_BYTES
}
