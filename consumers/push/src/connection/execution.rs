//! One subscription to one execution: its history and what is live, spliced without a gap or a double.
//!
//! Pure: records and pages of history in, what to pass on out. It decides what to read and when; it never
//! passes an event on that doesn't follow the one before, unless it has said `reset`.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::event::{Chunk, ChunkKind, EventType, ExecutionEvent, Position};
use follow::Record;
use follow::feed::{DOUBT, Doubt, Published, Remembered};
use follow::json;
use follow::order::{Events, Output, Piece, Try, Verdict};

use super::outbox::joins;
use super::{Limits, Now};
use crate::message::{After, TextPlace};

/// When history is first asked for again; doubled up to [`ASK_AT_MOST`].
const ASK_FIRST: Duration = Duration::from_millis(50);
/// The longest between two questions for history.
const ASK_AT_MOST: Duration = Duration::from_secs(5);
/// The most live events that wait for history. More than that history has by then.
const HELD_EVENTS: usize = 256;

/// Whether a subscription is over when its execution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Ends,
    GoesOn,
}

/// What a subscription passes on.
#[derive(Debug)]
pub(super) enum Out {
    Event(Published<ExecutionEvent>),
    Text(Published<Chunk>),
    /// Where the call waits.
    Place(Published<Chunk>),
    /// An event of the output: JSON.
    TextReset(String),
    /// Forget the events so far.
    Reset(&'static str),
    /// Nothing comes any more.
    Ended,
}

/// What is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Where the execution stands, and its events after this place.
    Events(Position),
    /// Where it stands.
    Standing,
}

/// What was read of an execution's history.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The place of its last event and whether that ended it; `None`: it isn't known, or has no event.
    pub standing: Option<(Position, Stands)>,
    /// The events after the place that was asked for, in order.
    pub events: Vec<ExecutionEvent>,
    /// Whether there may be more of them.
    pub rest: Rest,
}

/// Whether an execution goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// It has ended.
    Ended,
    /// It has not.
    Open,
}

/// Whether a page was the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rest {
    /// That was all so far.
    #[default]
    None,
    /// There is more.
    More,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    /// Nothing is missing.
    Idle,
    /// From this time on.
    Due(Now),
    /// An answer is on its way.
    Asked,
}

/// The subscription.
#[derive(Debug)]
pub(super) struct Execution {
    pub(super) id: String,
    ending: Ending,
    /// `None`: goes on with whatever comes first.
    order: Option<Events>,
    /// What the client says that it has, until history confirms it.
    claim: Option<Position>,
    /// Whether the history at the beginning has been read: until then live events are held.
    settled: bool,
    output: Output<Published<Chunk>>,
    /// The client may have text that comes again.
    owes_text_reset: bool,
    /// Whether text came and its end didn't.
    flowing: bool,
    /// Text that the client brought with it, and whose end may never come.
    brought: Option<TextPlace>,
    held: BTreeMap<(i64, i32), Published<ExecutionEvent>>,
    asking: Asking,
    pause: Duration,
    /// Since when history doesn't lead on.
    stuck: Option<Now>,
    watch_until: Now,
    /// Until when something may have been missed before what is live.
    doubt_until: Now,
    /// The terminal event, held until the text is complete.
    last: Option<(Published<ExecutionEvent>, Now)>,
    over: bool,
    patience: Duration,
    text_patience: Duration,
}

impl Execution {
    pub(super) fn new(id: String, ending: Ending, after: After, limits: &Limits, now: Now) -> Self {
        let mut this = Self {
            id,
            ending,
            order: Some(Events::default()),
            claim: None,
            settled: false,
            output: Output::default(),
            owes_text_reset: false,
            flowing: false,
            brought: None,
            held: BTreeMap::new(),
            asking: Asking::Due(now),
            pause: ASK_FIRST,
            stuck: None,
            watch_until: Now::ZERO,
            doubt_until: now + DOUBT,
            last: None,
            over: false,
            patience: limits.history_patience,
            text_patience: limits.text_patience,
        };
        match after {
            After::Start => {}
            After::Now => this.order = None,
            After::Place { event, text } => {
                this.order = Some(Events::after(event));
                this.claim = Some(event).filter(|event| *event != Position::default());
                match text {
                    Some(TextPlace { of, index }) => this.output = Output::after(of, index),
                    None => this.owes_text_reset = true,
                }
                this.brought = text;
            }
        }
        this
    }

    /// What was remembered when following began: the newest text in as few pieces as it can be.
    pub(super) fn remembered(&mut self, now: Now, remembered: Remembered, out: &mut Vec<Out>) {
        let Remembered { mut records, doubt } = remembered;
        if doubt == Doubt::Recent {
            self.watch_until = now + DOUBT;
        }
        let is_place = |chunk: &Chunk| chunk.kind == ChunkKind::Queued;
        let attempt = |record: &Record| match record {
            Record::Chunk(chunk) if !is_place(chunk) => Some(Try::of(chunk)),
            Record::Chunk(_) | Record::Event(_) => None,
        };
        let newest = records.iter().filter_map(attempt).max();
        let ended = records
            .iter()
            .any(|record| matches!(record, Record::Event(event) if event.event_type.is_terminal()));
        records.retain(|record| match record {
            // What was waited for is there.
            Record::Chunk(chunk) if is_place(chunk) => !ended && Some(Try::of(chunk)) > newest,
            other => attempt(other).is_none_or(|of| Some(of) == newest),
        });
        let mut pieces = Vec::new();
        self.remembered_records(now, records, &mut pieces);
        for piece in pieces {
            match (out.last_mut(), piece) {
                (Some(Out::Text(last)), Out::Text(next)) if joins(last, &next) => {
                    let text = [last.text.as_str(), next.text.as_str()].concat();
                    *last = Chunk { text, ..(*next).clone() }.into();
                }
                (_, piece) => out.push(piece),
            }
        }
    }

    fn remembered_records(&mut self, now: Now, records: Vec<Record>, out: &mut Vec<Out>) {
        let events_too = self.order.is_some();
        let mut place = None;
        for record in records {
            match record {
                Record::Event(event) if !events_too => {
                    let order = place.get_or_insert(Events::after(event.position()));
                    if order.offer(event.position()) == Verdict::Gap {
                        *order = Events::after(event.position());
                    }
                }
                other => self.record(now, other, out),
            }
        }
        if !events_too {
            self.order = self.order.or(place);
        }
    }

    /// What is live.
    pub(super) fn record(&mut self, now: Now, record: Record, out: &mut Vec<Out>) {
        if self.over {
            return;
        }
        match record {
            Record::Chunk(chunk) => self.chunk(chunk, out),
            Record::Event(event) if self.settled => {
                if let Verdict::Gap = self.offer_live(now, &event, out) {
                    self.hold(event);
                    self.stuck.get_or_insert(now);
                    if self.asking != Asking::Asked {
                        self.pause = ASK_FIRST;
                        self.asking = Asking::Due(now);
                    }
                } else {
                    self.drain_held(now, out);
                }
            }
            Record::Event(event) => self.hold(event),
        }
    }

    /// Following was interrupted: events may be missing, which history has as soon as the archive has
    /// caught up. Text that is missing shows by its index.
    pub(super) fn interrupted(&mut self, now: Now) {
        self.watch_until = now + DOUBT;
        self.doubt_until = self.watch_until;
        self.pause = ASK_FIRST;
        if self.asking != Asking::Asked {
            self.asking = Asking::Due(now);
        }
    }

    /// What is to be read now, if anything; the answer comes by [`Self::history`].
    pub(super) fn wish(&mut self, now: Now) -> Option<Wish> {
        match self.asking {
            Asking::Due(at) if at <= now && !self.over => {
                self.asking = Asking::Asked;
                Some(self.order.map_or(Wish::Standing, |order| Wish::Events(order.last())))
            }
            _ => None,
        }
    }

    /// What was read; `None`: the store can't be asked.
    pub(super) fn history(&mut self, now: Now, history: Option<History>, out: &mut Vec<Out>) {
        if self.over {
            return;
        }
        self.asking = Asking::Idle;
        let Some(History { standing, events, rest }) = history else {
            self.without_store(now, out);
            return;
        };
        let before = self.order;
        if self.order.is_none() {
            self.order = standing.map(|(position, _)| Events::after(position));
        }
        let mut hole = false;
        for event in events {
            let event = Published::from(event);
            hole |= self.offer(now, &event, out) == Verdict::Gap;
            if hole {
                self.hold(event);
            }
        }
        let moved = before.is_some() && self.order != before;
        if moved {
            self.pause = ASK_FIRST;
            self.stuck = None;
        }
        if rest == Rest::More && !hole && moved {
            self.asking = Asking::Due(now);
            return;
        }
        self.settled = true;
        self.drain_held(now, out);
        self.judge(now, standing, out);
    }

    /// Holds what is left to wait for after history was read.
    fn judge(&mut self, now: Now, standing: Option<(Position, Stands)>, out: &mut Vec<Out>) {
        let had = self.order.map(Events::last);
        if let Some(claim) = self.claim {
            let passed = had.is_some_and(|had| had != claim);
            if passed || standing.is_some_and(|(stands, _)| stands >= claim) {
                self.claim = None;
            } else if let Some((_, Stands::Ended)) = standing {
                // Nothing comes after an ending, so the client's place was never one of these.
                self.start_over(now, out);
                return;
            }
        }
        if self.claim.is_none() && self.held.is_empty() {
            self.stuck = None;
            if let (Some((end, Stands::Ended)), Some(had), None) = (standing, had, &self.last)
                && had == end
                && self.ending == Ending::Ends
            {
                self.end(out);
                return;
            }
            if now < self.watch_until {
                self.ask_later(now);
            }
            return;
        }
        let since = *self.stuck.get_or_insert(now);
        if now < since + self.patience {
            self.ask_later(now);
        } else if self.claim.is_some() {
            self.start_over(now, out);
        } else {
            self.jump(now, "history_gone", out);
        }
    }

    fn without_store(&mut self, now: Now, out: &mut Vec<Out>) {
        let since = *self.stuck.get_or_insert(now);
        self.ask_later(now);
        if now < since + self.patience {
            return;
        }
        if self.settled {
            // What is live goes on by itself; a hole in it can't be filled.
            if !self.held.is_empty() {
                self.jump(now, "history_unavailable", out);
            }
            return;
        }
        self.settled = true;
        if self.claim.is_none() && self.order.is_some() {
            self.jump(now, "history_unavailable", out);
        } else {
            self.drain_held(now, out);
        }
    }

    /// Goes on with what there is, in place of what is missing.
    fn jump(&mut self, now: Now, reason: &'static str, out: &mut Vec<Out>) {
        self.stuck = None;
        out.push(Out::Reset(reason));
        self.order = self.held.values().next().map(|event| {
            let place = event.position();
            Events::after(Position { number: place.number - 1, ..place })
        });
        self.drain_held(now, out);
    }

    /// Everything again, from the beginning.
    fn start_over(&mut self, now: Now, out: &mut Vec<Out>) {
        out.push(Out::Reset("unknown_position"));
        self.claim = None;
        self.stuck = None;
        self.order = Some(Events::default());
        self.settled = false;
        self.pause = ASK_FIRST;
        self.asking = Asking::Due(now);
    }

    fn ask_later(&mut self, now: Now) {
        self.asking = Asking::Due(now + self.pause);
        self.pause = (self.pause * 2).min(ASK_AT_MOST);
    }

    /// Passes on what waited long enough.
    pub(super) fn time(&mut self, now: Now, out: &mut Vec<Out>) {
        if self.last.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.finish(out);
        }
    }

    /// When [`Self::time`] or [`Self::wish`] is due.
    pub(super) fn deadline(&self) -> Option<Now> {
        let last = self.last.as_ref().map(|(_, until)| *until);
        let ask = match self.asking {
            Asking::Due(at) if !self.over => Some(at),
            _ => None,
        };
        last.into_iter().chain(ask).min()
    }

    fn hold(&mut self, event: Published<ExecutionEvent>) {
        let place = event.position();
        self.held.insert((place.number, place.generation), event);
        if self.held.len() > HELD_EVENTS {
            self.held.pop_last();
        }
    }

    /// Passes on what is held and follows now, lowest number first.
    fn drain_held(&mut self, now: Now, out: &mut Vec<Out>) {
        while let Some((key, event)) = self.held.pop_first() {
            if self.offer_live(now, &event, out) == Verdict::Gap {
                self.held.insert(key, event);
                return;
            }
        }
    }

    /// As [`Self::offer`], for an event that didn't come out of history. Where something may have been
    /// missed, the first that is seen of a higher generation needn't be its first: that generation may have
    /// replaced earlier numbers as well, which history knows.
    fn offer_live(
        &mut self,
        now: Now,
        event: &Published<ExecutionEvent>,
        out: &mut Vec<Out>,
    ) -> Verdict {
        let had = self.order.map(Events::last);
        let newer =
            had.is_some_and(|had| had != Position::default() && event.generation > had.generation);
        if newer && now < self.doubt_until {
            return Verdict::Gap;
        }
        self.offer(now, event, out)
    }

    fn offer(
        &mut self,
        now: Now,
        event: &Published<ExecutionEvent>,
        out: &mut Vec<Out>,
    ) -> Verdict {
        let place = event.position();
        let first = Position { number: place.number - 1, ..place };
        let order = self.order.get_or_insert(Events::after(first));
        let verdict = order.offer(place);
        if matches!(verdict, Verdict::Next | Verdict::Replaces) {
            self.stuck = None;
            // An ending that is replaced is no ending.
            self.last = None;
            if event.event_type.is_terminal() {
                let patience = if self.flowing { self.text_patience } else { Duration::ZERO };
                self.last = Some((event.clone(), now + patience));
                if !self.flowing {
                    self.finish(out);
                }
            } else {
                out.push(Out::Event(event.clone()));
            }
        }
        verdict
    }

    fn finish(&mut self, out: &mut Vec<Out>) {
        if let Some((event, _)) = self.last.take() {
            let unfinished = self.flowing || self.brought.is_some();
            if unfinished && event.event_type == EventType::Succeeded {
                let reason = "text is missing; the answer has the whole";
                out.push(self.text_reset(None, reason));
            }
            self.flowing = false;
            self.brought = None;
            out.push(Out::Event(event));
            if self.ending == Ending::Ends {
                self.end(out);
            }
        }
    }

    fn end(&mut self, out: &mut Vec<Out>) {
        self.over = true;
        self.held.clear();
        self.output = Output::default();
        out.push(Out::Ended);
    }

    fn chunk(&mut self, chunk: Published<Chunk>, out: &mut Vec<Out>) {
        let place = TextPlace { of: Try::of(&chunk), index: chunk.index };
        if chunk.kind == ChunkKind::Done && self.brought == Some(place) {
            // The client has the end as well.
            self.brought = None;
        }
        let mut pieces = Vec::new();
        self.output.offer(chunk, &mut pieces);
        self.pieces(pieces, out);
    }

    fn pieces(&mut self, pieces: Vec<Piece<Published<Chunk>>>, out: &mut Vec<Out>) {
        for piece in pieces {
            if !matches!(piece, Piece::Queued(_)) {
                self.brought = None;
            }
            match piece {
                // An ending that waits for text is one all the same.
                Piece::Queued(_) if self.last.is_some() => {}
                Piece::Queued(chunk) => out.push(Out::Place(chunk)),
                Piece::Chunk(chunk) => {
                    if std::mem::take(&mut self.owes_text_reset) {
                        let of = Some(Try::of(&chunk));
                        out.push(self.text_reset(of, "the text comes again from its beginning"));
                    }
                    self.flowing = chunk.kind != ChunkKind::Done;
                    out.push(Out::Text(chunk));
                }
                Piece::Reset(of) => {
                    self.owes_text_reset = false;
                    self.flowing = true;
                    out.push(self.text_reset(Some(of), "the call was tried again"));
                }
                Piece::Gap(of) => {
                    self.owes_text_reset = false;
                    self.flowing = false;
                    let reason = "text is missing; the answer has the whole";
                    out.push(self.text_reset(Some(of), reason));
                }
            }
        }
        if !self.flowing && self.last.is_some() {
            self.finish(out);
        }
    }

    fn text_reset(&self, of: Option<Try>, reason: &str) -> Out {
        Out::TextReset(json::reset(&self.id, of, reason))
    }
}
