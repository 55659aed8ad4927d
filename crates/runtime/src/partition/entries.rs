//! The state of a partition in memory: small entries by entity, and which of them a checkpoint owes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use domain::state::{AppliedId, EarlyCommand, RecentId, Sequence};
use domain::time::Millis;

use crate::processor::Processor;

/// What kind of entry it is; the second part of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    /// The processor's own.
    Entry,
    /// A wanted call.
    Wanted,
    /// A timer that is set.
    Timer,
    /// The last event number.
    Sequence,
    /// A sender's output that was applied. Under the empty entity.
    Applied,
    /// A client's request id that was taken.
    Recent,
    /// A command id that was applied.
    Command,
    /// A command that came before its entity.
    Early,
}

impl Part {
    const ALL: [Self; 8] = [
        Self::Entry,
        Self::Wanted,
        Self::Timer,
        Self::Sequence,
        Self::Applied,
        Self::Recent,
        Self::Command,
        Self::Early,
    ];

    /// Its text in a state key.
    fn as_str(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Wanted => "wanted",
            Self::Timer => "timer",
            Self::Sequence => "sequence",
            Self::Applied => "applied",
            Self::Recent => "recent",
            Self::Command => "command",
            Self::Early => "early",
        }
    }

    /// The part that a state key names.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.as_str() == text)
    }
}

/// Separates the parts of a state key; no id has it.
pub(crate) const SEPARATOR: char = '\u{1f}';

/// The key of an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) entity: Arc<str>,
    pub(crate) part: Part,
    pub(crate) name: Box<str>,
}

impl Key {
    pub(crate) fn new(entity: &Arc<str>, part: Part, name: &str) -> Self {
        Self { entity: Arc::clone(entity), part, name: name.into() }
    }

    /// As the state topic has it.
    pub(crate) fn to_text(&self) -> String {
        format!("{}{SEPARATOR}{}{SEPARATOR}{}", self.entity, self.part.as_str(), self.name)
    }
}

/// A call that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<P: Processor> {
    pub(crate) call: P::Call,
    pub(crate) since: Millis,
}

/// The value of an entry.
#[derive(Debug)]
pub(crate) enum Stored<P: Processor> {
    Entry(Arc<P::Entry>),
    Wanted(Arc<Wanted<P>>),
    Timer(Millis),
    Sequence(Sequence),
    Applied(AppliedId),
    Recent(RecentId),
    Early(EarlyCommand),
}

impl<P: Processor> Clone for Stored<P> {
    fn clone(&self) -> Self {
        match self {
            Self::Entry(entry) => Self::Entry(Arc::clone(entry)),
            Self::Wanted(wanted) => Self::Wanted(Arc::clone(wanted)),
            Self::Timer(due) => Self::Timer(*due),
            Self::Sequence(sequence) => Self::Sequence(sequence.clone()),
            Self::Applied(applied) => Self::Applied(applied.clone()),
            Self::Recent(recent) => Self::Recent(recent.clone()),
            Self::Early(early) => Self::Early(early.clone()),
        }
    }
}

#[derive(Debug)]
struct Slot<P: Processor> {
    value: Stored<P>,
    /// Whether some checkpoint may have written it, so that removing it owes a tombstone.
    written: bool,
}

/// Which way a count goes.
#[derive(Clone, Copy)]
enum Count {
    Up,
    Down,
}

type Names<P> = BTreeMap<(Part, Box<str>), Slot<P>>;

/// The entries of one partition.
#[derive(Debug)]
pub(crate) struct Entries<P: Processor> {
    entities: HashMap<Arc<str>, Names<P>>,
    changed: HashSet<Key>,
    count: i64,
    /// State times at which the wanted calls were wanted, and how many at each.
    wanted: BTreeMap<Millis, usize>,
    wanted_count: usize,
}

impl<P: Processor> Default for Entries<P> {
    fn default() -> Self {
        Self {
            entities: HashMap::new(),
            changed: HashSet::new(),
            count: 0,
            wanted: BTreeMap::new(),
            wanted_count: 0,
        }
    }
}

impl<P: Processor> Entries<P> {
    pub(crate) fn get(&self, entity: &str, part: Part, name: &str) -> Option<&Stored<P>> {
        let names = self.entities.get(entity)?;
        names.get(&(part, name.into())).map(|slot| &slot.value)
    }

    /// Every entry of one entity, in key order.
    pub(crate) fn of_entity(&self, entity: &str) -> impl Iterator<Item = (Part, &str, &Stored<P>)> {
        self.entities
            .get(entity)
            .into_iter()
            .flatten()
            .map(|((part, name), slot)| (*part, &**name, &slot.value))
    }

    /// Every entry, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, Part, &str, &Stored<P>)> {
        self.entities.iter().flat_map(|(entity, names)| {
            names.iter().map(move |((part, name), slot)| (entity, *part, &**name, &slot.value))
        })
    }

    /// How many entries there are.
    pub(crate) fn count(&self) -> i64 {
        self.count
    }

    /// How many calls are wanted.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted_count
    }

    /// Since when the oldest wanted call has been wanted.
    pub(crate) fn oldest_wanted(&self) -> Option<Millis> {
        self.wanted.first_key_value().map(|(since, _)| *since)
    }

    fn count_wanted(&mut self, value: &Stored<P>, by: Count) {
        let Stored::Wanted(wanted) = value else {
            return;
        };
        match by {
            Count::Up => {
                self.wanted_count += 1;
                *self.wanted.entry(wanted.since).or_default() += 1;
            }
            Count::Down => {
                self.wanted_count -= 1;
                if let Some(at) = self.wanted.get_mut(&wanted.since) {
                    *at -= 1;
                    if *at == 0 {
                        self.wanted.remove(&wanted.since);
                    }
                }
            }
        }
    }

    /// How many entries a checkpoint owes.
    pub(crate) fn changed(&self) -> usize {
        self.changed.len()
    }

    /// Writes an entry; the next checkpoint owes it.
    pub(crate) fn put(&mut self, key: Key, value: Stored<P>) {
        // A key that is gone but still owed stands in the topic: it owes a tombstone when it goes again.
        self.insert(&key, value, self.changed.contains(&key));
        self.changed.insert(key);
    }

    /// Removes an entry; the next checkpoint owes a tombstone if one may have written it.
    pub(crate) fn remove(&mut self, key: &Key) {
        let Some(names) = self.entities.get_mut(&key.entity) else {
            return;
        };
        let Some(slot) = names.remove(&(key.part, key.name.clone())) else {
            return;
        };
        if names.is_empty() {
            self.entities.remove(&key.entity);
        }
        self.count -= 1;
        self.count_wanted(&slot.value, Count::Down);
        if slot.written {
            self.changed.insert(key.clone());
        } else {
            self.changed.remove(key);
        }
    }

    /// Takes in an entry that a restore read.
    pub(crate) fn restore(&mut self, key: &Key, value: Stored<P>) {
        self.insert(key, value, true);
    }

    fn insert(&mut self, key: &Key, value: Stored<P>, written: bool) {
        self.count_wanted(&value, Count::Up);
        let names = match self.entities.get_mut(&key.entity) {
            Some(names) => names,
            None => self.entities.entry(Arc::clone(&key.entity)).or_default(),
        };
        let old = match names.entry((key.part, key.name.clone())) {
            std::collections::btree_map::Entry::Occupied(mut occupied) => {
                Some(std::mem::replace(&mut occupied.get_mut().value, value))
            }
            std::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert(Slot { value, written });
                self.count += 1;
                None
            }
        };
        if let Some(old) = old {
            self.count_wanted(&old, Count::Down);
        }
    }

    /// What a checkpoint here owes, in key order; nothing is owed afterwards.
    pub(crate) fn cut(&mut self) -> Vec<(Key, Option<Stored<P>>)> {
        let mut keys: Vec<Key> = self.changed.drain().collect();
        keys.sort_unstable();
        keys.into_iter()
            .map(|key| {
                let slot = self
                    .entities
                    .get_mut(&key.entity)
                    .and_then(|names| names.get_mut(&(key.part, key.name.clone())));
                let value = slot.map(|slot| {
                    slot.written = true;
                    slot.value.clone()
                });
                (key, value)
            })
            .collect()
    }

    /// Takes back what an aborted checkpoint owed.
    pub(crate) fn owe(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.changed.extend(keys);
    }
}
