//! What became of requests that this process published, as their results come.
//!
//! It begins to read before the first request goes out, so that no result is missed. It drops copies, and
//! ignores executions that aren't ours.

use std::collections::HashMap;

use domain::event::{EventType, ExecutionEvent};
use follow::order::{Events, Verdict};
use runtime::ports::{ClusterError, Tail, Tailed};

use crate::decode::{DecodeError, Decoder};
use crate::view::{self, plain};

/// How executions ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// With an answer.
    pub succeeded: u64,
    /// With a failure.
    pub failed: u64,
    /// Because someone asked for it.
    pub cancelled: u64,
    /// Because their deadlines passed.
    pub timed_out: u64,
    /// Not, as far as was watched.
    pub open: u64,
}

impl Outcomes {
    fn note(&mut self, event: EventType) {
        match event {
            EventType::Succeeded => self.succeeded += 1,
            EventType::Failed => self.failed += 1,
            EventType::Cancelled => self.cancelled += 1,
            EventType::TimedOut => self.timed_out += 1,
            _ => {}
        }
    }

    /// Whether every one has an answer.
    #[must_use]
    pub fn all_succeeded(&self) -> bool {
        self.failed + self.cancelled + self.timed_out + self.open == 0
    }
}

/// Watches for results.
pub struct Results {
    tail: Box<dyn Tail>,
    decoder: Decoder,
    pending: HashMap<String, Events>,
    outcomes: Outcomes,
}

impl Results {
    /// Watches what `tail` reads of `results`, which must have been opened at the end.
    #[must_use]
    pub fn new(tail: Box<dyn Tail>, decoder: Decoder) -> Self {
        Self { tail, decoder, pending: HashMap::new(), outcomes: Outcomes::default() }
    }

    /// A request with this id is about to be published.
    pub(crate) fn expect(&mut self, id: &str) {
        self.pending.insert(id.to_owned(), Events::default());
    }

    /// It was not published after all.
    pub(crate) fn forget(&mut self, id: &str) {
        self.pending.remove(id);
    }

    /// Whether nothing is waited for.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(crate) fn outcomes(&self) -> Outcomes {
        Outcomes { open: self.pending.len() as u64, ..self.outcomes }
    }

    /// The next records. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Result<Vec<Tailed>, ClusterError> {
        self.tail.next().await
    }

    /// The event in a record, if it is news of a request of ours.
    pub(crate) async fn news(
        &mut self,
        record: &Tailed,
    ) -> Result<Option<ExecutionEvent>, DecodeError> {
        let key = record.record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        let Some(key) = key.filter(|key| self.pending.contains_key(*key)) else { return Ok(None) };
        let event: ExecutionEvent = self.decoder.read(&record.record.value).await?;
        let Some(events) = self.pending.get_mut(key).filter(|_| event.execution_id == key) else {
            return Ok(None);
        };
        match events.offer(event.position()) {
            Verdict::Copy => return Ok(None),
            Verdict::Next | Verdict::Replaces => {}
            // What is missing was before our time; from here on it is in order.
            Verdict::Gap => *events = Events::after(event.position()),
        }
        if event.event_type.is_terminal() {
            self.pending.remove(key);
            self.outcomes.note(event.event_type);
        }
        Ok(Some(event))
    }
}

/// A line for people about how an execution ended; `None` for what happened before.
#[must_use]
pub fn text(event: &ExecutionEvent) -> Option<String> {
    if !event.event_type.is_terminal() {
        return None;
    }
    let how = event.event_type.as_str().trim_start_matches("execution.");
    let said = match &event.error {
        Some(error) => plain(&format!("{}: {}", error.code, error.message)),
        None => match &event.data_claim {
            Some(claim) => plain(&format!("{} bytes, kept as {}", claim.length, claim.hash)),
            None => view::answer(event.data.as_deref()),
        },
    };
    Some(format!("{}  {how:<9}  {said}", plain(&event.execution_id)))
}

/// The event as one line of JSON, as sockets and server-sent events have it.
#[must_use]
pub fn json(event: &ExecutionEvent) -> String {
    follow::json::event(event)
}
