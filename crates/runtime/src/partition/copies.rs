//! Copy detection (rule F3): what is known of each sender, a log partition whose outputs arrive here.
//!
//! A sender's outputs from offsets up to `stable` were all acknowledged, so anything more from there is a
//! copy; above it, ids that were applied are remembered.

use std::collections::{BTreeMap, HashMap};

use domain::fact::Source;
use domain::state::{AppliedId, Sender};

/// Which sender, on which of our topics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SenderKey {
    pub(crate) receiving: String,
    pub(crate) topic: String,
    pub(crate) partition: i32,
}

impl SenderKey {
    pub(crate) fn new(receiving: &str, source: &Source) -> Self {
        Self {
            receiving: receiving.into(),
            topic: source.topic.clone(),
            partition: source.partition,
        }
    }
}

#[derive(Debug)]
struct Known {
    stable: i64,
    applied: BTreeMap<i64, Vec<String>>,
}

impl Default for Known {
    fn default() -> Self {
        Self { stable: -1, applied: BTreeMap::new() }
    }
}

/// What is known of every sender.
#[derive(Debug, Default)]
pub(crate) struct Senders {
    known: HashMap<SenderKey, Known>,
}

impl Senders {
    /// Whether this output was applied before.
    pub(crate) fn is_copy(&self, key: &SenderKey, source: &Source) -> bool {
        self.known.get(key).is_some_and(|known| {
            source.offset <= known.stable
                || known.applied.get(&source.offset).is_some_and(|ids| ids.contains(&source.id))
        })
    }

    /// Takes note of an output: its id, unless it was a copy, and the sender's `stable`. Returns the ids that
    /// may now be forgotten.
    pub(crate) fn note(&mut self, key: &SenderKey, source: &Source, applied: bool) -> Vec<String> {
        let known = self.known.entry(key.clone()).or_default();
        if applied {
            known.applied.entry(source.offset).or_default().push(source.id.clone());
        }
        if source.stable <= known.stable {
            return Vec::new();
        }
        known.stable = source.stable;
        let above = known.applied.split_off(&(source.stable + 1));
        std::mem::replace(&mut known.applied, above).into_values().flatten().collect()
    }

    /// Takes in what a position record says.
    pub(crate) fn restore(&mut self, senders: Vec<Sender>) {
        for Sender { receiving, topic, partition, stable } in senders {
            self.known.entry(SenderKey { receiving, topic, partition }).or_default().stable =
                stable;
        }
    }

    /// Takes in an applied id that a restore read.
    pub(crate) fn restore_applied(&mut self, id: &str, applied: &AppliedId) {
        let AppliedId { receiving, topic, partition, offset } = applied.clone();
        let known = self.known.entry(SenderKey { receiving, topic, partition }).or_default();
        known.applied.entry(offset).or_default().push(id.to_owned());
    }

    /// For the position record, in key order.
    pub(crate) fn snapshot(&self) -> Vec<Sender> {
        let mut senders: Vec<Sender> = self
            .known
            .iter()
            .map(|(key, known)| Sender {
                receiving: key.receiving.clone(),
                topic: key.topic.clone(),
                partition: key.partition,
                stable: known.stable,
            })
            .collect();
        senders.sort_unstable_by(|a, b| {
            (&a.receiving, &a.topic, a.partition).cmp(&(&b.receiving, &b.topic, b.partition))
        });
        senders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(id: &str, offset: i64, stable: i64) -> Source {
        Source { id: id.into(), topic: "workflow-events".into(), partition: 1, offset, stable }
    }

    #[test]
    fn output_is_applied_once_and_forgotten_when_stable() {
        let mut senders = Senders::default();
        let key = SenderKey::new("model-requests", &source("a", 5, -1));
        assert!(!senders.is_copy(&key, &source("a", 5, -1)));
        assert!(senders.note(&key, &source("a", 5, -1), true).is_empty());
        assert!(senders.is_copy(&key, &source("a", 5, 2)));
        assert!(!senders.is_copy(&key, &source("b", 5, 2)), "one fold may put out several");
        assert_eq!(senders.note(&key, &source("c", 9, 6), true), ["a"]);
        assert!(senders.is_copy(&key, &source("b", 5, 6)), "nothing at or below stable is new");
        assert!(!senders.is_copy(&key, &source("d", 7, 6)));
    }
}
