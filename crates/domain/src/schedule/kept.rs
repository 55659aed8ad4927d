//! What is kept of a schedule between two steps, beside its definition and what runs.
//!
//! Those two stand apart, the one because it is large and seldom changes, the other because each execution
//! changes alone.

use std::collections::BTreeMap;

use super::definition::Definition;
use super::{Counts, Next, Running, Schedule};
use crate::time::Millis;

/// A schedule, as far as it is kept in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// The version of its definition.
    pub version: i32,
    /// Whether it is over. It is still known for a while, so that nothing late makes it anew.
    pub over: bool,
    /// Whether it starts nothing for now.
    pub paused: bool,
    /// What fires next.
    pub next: Option<Next>,
    /// The due time that waits until nothing runs any more.
    pub queued: Option<Millis>,
    /// The newest time for which something started.
    pub last_fired: Option<Millis>,
    /// What happened so far.
    pub counts: Counts,
}

impl Kept {
    /// What is kept of a schedule that goes on.
    #[must_use]
    pub fn of(schedule: &Schedule, name: &str, version: i32) -> Self {
        Self {
            name: name.to_owned(),
            version,
            over: false,
            paused: schedule.paused,
            next: schedule.next,
            queued: schedule.queued,
            last_fired: schedule.last_fired,
            counts: schedule.counts,
        }
    }

    /// The schedule again.
    #[must_use]
    pub fn schedule(
        &self,
        id: String,
        definition: Definition,
        running: BTreeMap<String, Running>,
    ) -> Schedule {
        Schedule {
            id,
            definition,
            paused: self.paused,
            next: self.next,
            running,
            queued: self.queued,
            last_fired: self.last_fired,
            counts: self.counts,
        }
    }
}
