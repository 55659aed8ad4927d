//! What one reader of one execution has to hear: its events in order, the whole text once and in order, and
//! then the end. Anything else is a reason why the run doesn't count.
//!
//! Pure: messages and when they came go in, latencies come out.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::Deserialize;

/// How many bytes each piece of text has, so that pieces that were joined on the way come apart again: about
/// a word, its number and its time.
pub(crate) const PIECE_BYTES: usize = 32;

/// One piece of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Its place in the text, from 0.
    pub(crate) index: u64,
    /// When it was meant to be published, since the flight began.
    pub(crate) intended: Duration,
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.intended.as_micros();
        write!(f, "{:08}@{micros:010} nothing yet.", self.index)
    }
}

impl FromStr for Piece {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let read = || {
            let (index, rest) = text.split_once('@')?;
            let micros = rest.strip_suffix(" nothing yet.")?.parse().ok()?;
            Some(Self { index: index.parse().ok()?, intended: Duration::from_micros(micros) })
        };
        read().ok_or_else(|| Wrong::Strange(text.to_owned()))
    }
}

/// Why a reader's run doesn't count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    /// Not the next piece of text.
    #[error("piece {got} of the text came in place of {wanted}")]
    Text {
        /// What should have come.
        wanted: u64,
        /// What came.
        got: u64,
    },
    /// Not the next event.
    #[error("event {got} came in place of {wanted}")]
    Event {
        /// What should have come.
        wanted: i64,
        /// What came.
        got: i64,
    },
    /// The end came too early.
    #[error("it ended after {pieces} pieces of text and {events} events")]
    Short {
        /// Pieces until then.
        pieces: u64,
        /// Events until then.
        events: i64,
    },
    /// Something that belongs in no run.
    #[error("this came: {0}")]
    Strange(String),
}

/// Whether more should come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It should.
    Open,
    /// That was all, and it was right.
    Ended,
}

/// What all readers of a flight know beforehand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    /// When the flight began.
    pub(crate) began: Instant,
    /// Pieces of text that were meant to be published before this count for the gate only.
    pub(crate) warm: Duration,
    /// Pieces of the text.
    pub(crate) pieces: u64,
    /// The number of the event that ends the execution.
    pub(crate) events: i64,
}

/// One reader's account.
#[derive(Debug)]
pub(crate) struct Listener {
    expected: Expected,
    pieces: u64,
    events: i64,
    text_done: bool,
    late: Vec<Duration>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    event: Option<Event<'a>>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    number: Option<i64>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

impl Listener {
    /// Nothing was heard yet.
    pub(crate) fn new(expected: Expected) -> Self {
        Self { expected, pieces: 0, events: 0, text_done: false, late: Vec::new() }
    }

    /// Takes in a message that came at `at`.
    ///
    /// # Errors
    /// [`Wrong`].
    pub(crate) fn hear(&mut self, text: &[u8], at: Instant) -> Result<Standing, Wrong> {
        let strange = || Wrong::Strange(String::from_utf8_lossy(text).into_owned());
        let message: Message<'_> = serde_json::from_slice(text).map_err(|_| strange())?;
        match (&*message.kind, message.event, message.reason.as_deref()) {
            ("event", Some(Event { kind, text: Some(text), .. }), _) if kind == "output.delta" => {
                self.text(&text, at)?;
            }
            ("event", Some(Event { kind, .. }), _) if kind == "output.done" && !self.text_done => {
                self.text_done = true;
            }
            ("event", Some(Event { number: Some(got), .. }), _) => {
                let wanted = self.events + 1;
                if got != wanted {
                    return Err(Wrong::Event { wanted, got });
                }
                self.events = got;
            }
            ("unsubscribed", _, Some("ended")) => return self.end(),
            _ => return Err(strange()),
        }
        Ok(Standing::Open)
    }

    /// How late each piece of text came, warm-up left out.
    pub(crate) fn late(&self) -> &[Duration] {
        &self.late
    }

    fn text(&mut self, text: &str, at: Instant) -> Result<(), Wrong> {
        let Expected { began, warm, .. } = self.expected;
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, more) = rest.split_at_checked(PIECE_BYTES).unwrap_or((rest, ""));
            let piece: Piece = piece.parse()?;
            if piece.index != self.pieces || self.text_done {
                return Err(Wrong::Text { wanted: self.pieces, got: piece.index });
            }
            self.pieces += 1;
            if piece.intended >= warm {
                self.late.push(at.saturating_duration_since(began + piece.intended));
            }
            rest = more;
        }
        Ok(())
    }

    fn end(&self) -> Result<Standing, Wrong> {
        let Self { pieces, events, expected, .. } = *self;
        let complete = self.text_done && pieces == expected.pieces && events == expected.events;
        match complete {
            true => Ok(Standing::Ended),
            false => Err(Wrong::Short { pieces, events }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn piece(index: u64) -> String {
        Piece { index, intended: MS * u32::try_from(index).unwrap() }.to_string()
    }

    fn delta(text: &str) -> String {
        format!(
            r#"{{"type":"event","subscription":"s","event":{{"type":"output.delta","text":"{text}","index":9}}}}"#
        )
    }

    fn event(number: i64) -> String {
        format!(
            r#"{{"type":"event","subscription":"s","event":{{"number":{number},"type":"execution.x"}}}}"#
        )
    }

    const DONE: &str =
        r#"{"type":"event","subscription":"s","event":{"type":"output.done","index":9}}"#;
    const ENDED: &str = r#"{"type":"unsubscribed","subscription":"s","reason":"ended"}"#;

    /// What becomes of these messages, in a flight of three pieces and two events with a warm-up of one.
    fn check(messages: &[&str], outcome: Result<usize, Wrong>) {
        let began = Instant::now();
        let expected = Expected { began, warm: MS, pieces: 3, events: 2 };
        let mut listener = Listener::new(expected);
        let heard = messages.iter().try_fold(Standing::Open, |_, message| {
            listener.hear(message.as_bytes(), began + MS * 5)
        });
        let ended = heard.map(|standing| {
            assert_eq!(standing, Standing::Ended, "{messages:?}");
            listener.late().len()
        });
        assert_eq!(ended, outcome, "{messages:?}");
        if ended.is_ok() {
            assert_eq!(listener.late(), [MS * 4, MS * 3]);
        }
    }

    #[test]
    fn piece_has_its_length_and_is_read_back() {
        let longest = Piece { index: 99_999_999, intended: Duration::from_micros(9_999_999_999) };
        for piece in [Piece { index: 0, intended: Duration::ZERO }, longest] {
            let text = piece.to_string();
            assert_eq!((text.len(), text.parse()), (PIECE_BYTES, Ok(piece)));
        }
    }

    #[test]
    fn whole_text_and_all_events_are_right_however_they_are_joined() {
        let (one, two, rest) = (delta(&piece(0)), delta(&piece(1)), delta(&piece(2)));
        let joined = delta(&[piece(0), piece(1), piece(2)].concat());
        let (first, last) = (event(1), event(2));
        check(&[&first, &one, &two, &rest, DONE, &last, ENDED], Ok(2));
        check(&[&joined, &first, DONE, &last, ENDED], Ok(2));
    }

    #[test]
    fn whatever_is_lost_or_comes_twice_or_early_is_wrong() {
        let (one, two) = (delta(&piece(0)), delta(&piece(1)));
        let all = delta(&[piece(0), piece(1), piece(2)].concat());
        let (first, last) = (event(1), event(2));
        check(&[&one, &one], Err(Wrong::Text { wanted: 1, got: 0 }));
        check(&[&two], Err(Wrong::Text { wanted: 0, got: 1 }));
        check(&[&first, &first], Err(Wrong::Event { wanted: 2, got: 1 }));
        check(&[&last], Err(Wrong::Event { wanted: 1, got: 2 }));
        check(&[&first, &one, DONE, &last, ENDED], Err(Wrong::Short { pieces: 1, events: 2 }));
        check(&[&first, &all, DONE, ENDED], Err(Wrong::Short { pieces: 3, events: 1 }));
        check(&[&first, &all, &last, ENDED], Err(Wrong::Short { pieces: 3, events: 2 }));
        for strange in [
            r#"{"type":"lagging","subscription":"s"}"#,
            r#"{"type":"reset","subscription":"s","reason":"interrupted"}"#,
            r#"{"type":"event","subscription":"s","event":{"type":"output.reset"}}"#,
            "{",
        ] {
            check(&[strange], Err(Wrong::Strange(strange.into())));
        }
    }
}
