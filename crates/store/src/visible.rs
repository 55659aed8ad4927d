//! Which events of an execution stand, when a changed program took over and said some of them again.

use domain::event::{ExecutionEvent, Position};

/// Walks the events of an execution by rising number and tells those that stand: an event is hidden
/// when one with a higher generation stands at its number or before.
#[derive(Debug)]
pub(crate) struct Visible {
    generation: i32,
}

impl Visible {
    /// From the first event on.
    pub(crate) fn from_start() -> Self {
        Self { generation: i32::MIN }
    }

    /// From behind an event of the highest generation, so that those before it needn't be walked.
    pub(crate) fn from_newest(generation: i32) -> Self {
        Self { generation }
    }

    /// Whether `event`, the next by number, stands.
    pub(crate) fn shows(&mut self, event: &ExecutionEvent) -> bool {
        let shows = event.generation >= self.generation;
        self.generation = self.generation.max(event.generation);
        shows
    }
}

/// Whether someone who knows all up to `after` has yet to hear `event`.
pub(crate) fn is_news(event: &ExecutionEvent, after: Option<Position>) -> bool {
    after.is_none_or(|after| event.number > after.number || event.generation > after.generation)
}
