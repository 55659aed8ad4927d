//! What one fold would change: nothing of it happens unless the whole fold succeeds.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::fact::Source;
use domain::log_row::ExecutionLogRecord;

use crate::partition::copies::SenderKey;
use crate::partition::effects::Output;
use crate::partition::entries::{Entries, Key, Part, Stored};
use crate::processor::Processor;

/// The entries as they were, and what a fold writes over them.
pub(crate) struct Overlay<'a, P: Processor> {
    base: &'a Entries<P>,
    changes: &'a mut Changes<P>,
}

/// What one fold changes.
#[derive(Debug)]
pub(crate) struct Changes<P: Processor> {
    pub(crate) writes: BTreeMap<Key, Option<Stored<P>>>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) rows: Vec<ExecutionLogRecord>,
    /// The next feed offset to admit, where it moves.
    pub(crate) feed_next: Option<i64>,
    /// A sender's output that was seen, and whether it was applied.
    pub(crate) seen: Option<(SenderKey, Source, Seen)>,
    /// An `Admitted` that came from beyond the position that the fold knows.
    pub(crate) gap: bool,
    /// A timer whose firing came before it was due by state time.
    pub(crate) early_timer: Option<(Arc<str>, Box<str>)>,
}

/// Whether a sender's output was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    New,
    Copy,
}

impl<P: Processor> Default for Changes<P> {
    fn default() -> Self {
        Self {
            writes: BTreeMap::new(),
            outputs: Vec::new(),
            rows: Vec::new(),
            feed_next: None,
            seen: None,
            gap: false,
            early_timer: None,
        }
    }
}

impl<'a, P: Processor> Overlay<'a, P> {
    pub(crate) fn new(base: &'a Entries<P>, changes: &'a mut Changes<P>) -> Self {
        Self { base, changes }
    }

    /// The same overlay for a shorter time.
    pub(crate) fn reborrow(&mut self) -> Overlay<'_, P> {
        Overlay { base: self.base, changes: self.changes }
    }

    pub(crate) fn changes(&mut self) -> &mut Changes<P> {
        self.changes
    }

    pub(crate) fn get(&self, entity: &Arc<str>, part: Part, name: &str) -> Option<&Stored<P>> {
        if self.changes.writes.is_empty() {
            return self.base.get(entity, part, name);
        }
        match self.changes.writes.get(&Key::new(entity, part, name)) {
            Some(written) => written.as_ref(),
            None => self.base.get(entity, part, name),
        }
    }

    pub(crate) fn put(&mut self, key: Key, value: Stored<P>) {
        self.changes.writes.insert(key, Some(value));
    }

    pub(crate) fn remove(&mut self, key: Key) {
        self.changes.writes.insert(key, None);
    }

    /// The names of an entity's entries of one part, in order.
    pub(crate) fn names(&self, entity: &Arc<str>, part: Part) -> Vec<Box<str>> {
        let mut names: std::collections::BTreeSet<Box<str>> = self
            .base
            .of_entity(entity)
            .filter(|(have, _, _)| *have == part)
            .map(|(_, name, _)| name.into())
            .collect();
        for (key, value) in &self.changes.writes {
            if key.part == part && *key.entity == **entity {
                if value.is_some() {
                    names.insert(key.name.clone());
                } else {
                    names.remove(&key.name);
                }
            }
        }
        names.into_iter().collect()
    }

    /// Removes everything of an entity but the ids that it took.
    pub(crate) fn finish(&mut self, entity: &Arc<str>) {
        for part in [Part::Entry, Part::Wanted, Part::Timer, Part::Sequence, Part::Command] {
            for name in self.names(entity, part) {
                self.remove(Key { entity: Arc::clone(entity), part, name });
            }
        }
    }
}
