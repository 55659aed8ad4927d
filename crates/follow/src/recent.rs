//! The newest records by execution, so that a follower who comes a moment late misses nothing.
//!
//! A client that is answered 202 and then asks for the events is such a follower. Values are kept as
//! they came; nobody pays for decoding them unless somebody asks. It keeps a number of bytes, not a time.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use runtime::partition::wire;
use runtime::ports::{Headers, header};

use crate::hub::Source;

/// The bytes that are remembered: a few seconds of a busy process, nothing beside the rest of it.
pub(crate) const REMEMBERED_BYTES: usize = 16 * 1024 * 1024;

/// The most bytes of one execution's text that are remembered. A longer text is dropped as a whole: a
/// late follower is then told that some is missing, and finds it in the answer.
pub(crate) const REMEMBERED_TEXT_BYTES: usize = 1024 * 1024;

/// What a remembered record costs beside its value: key, place in the tables.
const OVERHEAD: usize = 96;

/// What a record is to the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// An event.
    Event,
    /// Text, of which there may be much.
    Text,
    /// Where the call waits: in place of the one before.
    Place,
}

impl Kept {
    /// What a record of `source` is, by its headers alone.
    pub(crate) fn of(source: Source, headers: &Headers) -> Self {
        match source {
            Source::Results => Self::Event,
            Source::Stream if header(headers, wire::CHUNK_KIND) == Some(wire::QUEUED) => {
                Self::Place
            }
            Source::Stream => Self::Text,
        }
    }

    fn source(self) -> Source {
        match self {
            Self::Event => Source::Results,
            Self::Text | Self::Place => Source::Stream,
        }
    }
}

#[derive(Debug, Default)]
struct Execution {
    records: Vec<(Kept, Bytes)>,
    used: usize,
    text: usize,
}

/// The memory. Oldest executions are forgotten first, by their first record.
#[derive(Debug)]
pub(crate) struct Recent {
    budget: usize,
    used: usize,
    order: VecDeque<Bytes>,
    executions: HashMap<Bytes, Execution>,
}

impl Recent {
    pub(crate) fn new(budget: usize) -> Self {
        Self { budget, used: 0, order: VecDeque::new(), executions: HashMap::new() }
    }

    /// Remembers a record of the execution that `key` names.
    pub(crate) fn remember(&mut self, kept: Kept, key: &Bytes, value: &Bytes) {
        let cost = value.len() + OVERHEAD;
        if cost > self.budget {
            return;
        }
        if !self.executions.contains_key(key) {
            self.order.push_back(key.clone());
        }
        let execution = self.executions.entry(key.clone()).or_default();
        if kept == Kept::Place
            && let Some(at) = execution.records.iter().rposition(|(kept, _)| *kept == Kept::Place)
        {
            let (_, old) = execution.records.remove(at);
            execution.used -= old.len() + OVERHEAD;
            self.used -= old.len() + OVERHEAD;
        }
        execution.records.push((kept, value.clone()));
        execution.used += cost;
        self.used += cost;
        if kept == Kept::Text {
            execution.text += value.len();
            if execution.text > REMEMBERED_TEXT_BYTES {
                execution.text = 0;
                execution.records.retain(|(kept, _)| *kept != Kept::Text);
                let left = execution.records.iter().map(|(_, value)| value.len() + OVERHEAD).sum();
                self.used -= execution.used - left;
                execution.used = left;
            }
        }
        while self.used > self.budget {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            if let Some(forgotten) = self.executions.remove(&oldest) {
                self.used -= forgotten.used;
            }
        }
    }

    /// What is remembered of an execution, oldest first.
    pub(crate) fn of(&self, key: &[u8]) -> impl Iterator<Item = (Source, &Bytes)> {
        let records = self.executions.get(key).into_iter().flat_map(|execution| &execution.records);
        records.map(|(kept, value)| (kept.source(), value))
    }

    /// Forgets everything: what comes next doesn't follow what was.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.budget);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn oldest_execution_is_forgotten_first() {
        let mut recent = Recent::new(3 * (10 + OVERHEAD));
        let value = Bytes::from_static(b"0123456789");
        for key in ["a", "b", "a", "c"] {
            recent.remember(Kept::Event, &Bytes::from(key), &value);
        }
        let kept = |key: &str| recent.of(key.as_bytes()).count();
        assert_eq!((kept("a"), kept("b"), kept("c")), (0, 1, 1));
    }

    #[test]
    fn text_of_one_long_execution_does_not_push_out_its_events() {
        let mut recent = Recent::new(REMEMBERED_BYTES);
        let key = Bytes::from_static(b"e");
        recent.remember(Kept::Event, &key, &Bytes::from_static(b"admitted"));
        let piece = Bytes::from(vec![0; REMEMBERED_TEXT_BYTES / 8]);
        for _ in 0..9 {
            recent.remember(Kept::Text, &key, &piece);
        }
        let kept: Vec<_> = recent.of(b"e").map(|(source, _)| source).collect();
        assert_eq!(kept, [Source::Results]);
        assert_eq!(recent.used, "admitted".len() + OVERHEAD);
    }

    #[test]
    fn newest_place_in_a_queue_is_remembered_once_and_behind_what_came_before_it() {
        let mut recent = Recent::new(REMEMBERED_BYTES);
        let key = Bytes::from_static(b"e");
        for (kept, value) in [
            (Kept::Place, "third in line"),
            (Kept::Event, "started"),
            (Kept::Place, "next"),
            (Kept::Text, "text"),
        ] {
            recent.remember(kept, &key, &Bytes::from_static(value.as_bytes()));
        }
        let values: Vec<_> = recent.of(b"e").map(|(_, value)| value.clone()).collect();
        assert_eq!(values, ["started", "next", "text"]);
    }

    proptest! {
        #[test]
        fn memory_stays_within_its_budget_and_its_count_is_exact(
            records in prop::collection::vec((0_u8..6, 0_usize..400, 0_usize..3), 0..200)
        ) {
            let mut recent = Recent::new(2_000);
            for (key, length, kept) in records {
                let kept = [Kept::Event, Kept::Text, Kept::Place][kept];
                recent.remember(kept, &Bytes::from(vec![key]), &Bytes::from(vec![0; length]));
                let held: usize = recent
                    .executions
                    .values()
                    .flat_map(|execution| &execution.records)
                    .map(|(_, value)| value.len() + OVERHEAD)
                    .sum();
                prop_assert_eq!(held, recent.used);
                let places = |execution: &Execution| {
                    execution.records.iter().filter(|(kept, _)| *kept == Kept::Place).count()
                };
                let most = recent.executions.values().map(places).max();
                prop_assert!(most.unwrap_or(0) <= 1);
                prop_assert!(recent.used <= 2_000);
                prop_assert_eq!(recent.order.len(), recent.executions.len());
            }
        }
    }
}
