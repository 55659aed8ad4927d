//! The cluster of the simulation: topics in memory, transactions that are atomic, fencing by epoch.

use std::collections::BTreeMap;

use bytes::Bytes;
use domain::time::Millis;
use domain::topic::{Kind, Topic};

use crate::partition::genesis_key;
use crate::ports::{Batch, CommitError, Outgoing, Raw};

/// How many partitions each feed, log and state of a simulation has.
pub const PARTITIONS: i32 = 2;

/// How a commit goes, where nothing fences it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitLuck {
    Good,
    Aborted,
    UnknownStands,
    UnknownLost,
}

/// A state topic: every write, a tombstone without a value.
type Entries = Vec<(Bytes, Option<Bytes>)>;

#[derive(Debug, Default)]
pub(super) struct Broker {
    pub(super) time: i64,
    /// Clocks of brokers differ: what is subtracted from append times.
    pub(super) behind: i64,
    topics: BTreeMap<(Topic, i32), Vec<Raw>>,
    state: BTreeMap<(Kind, i32), Entries>,
    wiped: BTreeMap<(Kind, i32), Entries>,
    epochs: BTreeMap<(Kind, i32), u64>,
    pub(super) rows: Vec<Bytes>,
}

impl Broker {
    pub(super) fn set_up(kinds: &[Kind], genesis: &Bytes) -> Self {
        let mut broker = Self { time: 1_000_000, ..Self::default() };
        for kind in kinds {
            for partition in 0..PARTITIONS {
                let entry = (Bytes::from(genesis_key()), Some(genesis.clone()));
                broker.state.insert((*kind, partition), vec![entry]);
            }
        }
        broker
    }

    /// What the brokers' clock shows.
    pub(super) fn now(&self) -> Millis {
        Millis(self.time - self.behind)
    }

    /// Writes a record; returns its offset.
    pub(super) fn append(&mut self, outgoing: &Outgoing) -> i64 {
        let partition = partition_of(outgoing);
        let time = self.now();
        let log = self.topics.entry((outgoing.topic, partition)).or_default();
        let offset = log.len() as i64;
        log.push(Raw {
            offset,
            time,
            key: outgoing.key.clone(),
            value: outgoing.value.clone(),
            headers: outgoing.headers.clone(),
        });
        offset
    }

    pub(super) fn read(&self, topic: Topic, partition: i32, from: i64, most: usize) -> Vec<Raw> {
        let log = self.topics.get(&(topic, partition)).map_or(&[][..], Vec::as_slice);
        log.iter().skip(from.max(0) as usize).take(most).cloned().collect()
    }

    pub(super) fn all(&self, topic: Topic) -> impl Iterator<Item = &Raw> {
        self.topics
            .iter()
            .filter(move |((have, _), _)| *have == topic)
            .flat_map(|(_, records)| records)
    }

    pub(super) fn end(&self, topic: Topic, partition: i32) -> i64 {
        self.topics.get(&(topic, partition)).map_or(0, |log| log.len() as i64)
    }

    /// A copy of the topics, with the state as it was in the beginning.
    pub(super) fn anew(&self, kinds: &[Kind], genesis: &Bytes) -> Self {
        let fresh = Self::set_up(kinds, genesis);
        Self { time: self.time, topics: self.topics.clone(), ..fresh }
    }

    /// `init_transactions`: whoever did it before is fenced.
    pub(super) fn fence(&mut self, kind: Kind, partition: i32) -> u64 {
        let epoch = self.epochs.entry((kind, partition)).or_default();
        *epoch += 1;
        *epoch
    }

    pub(super) fn epoch(&self, kind: Kind, partition: i32) -> u64 {
        self.epochs.get(&(kind, partition)).copied().unwrap_or(0)
    }

    pub(super) fn commit(
        &mut self,
        kind: Kind,
        partition: i32,
        epoch: u64,
        batch: Batch,
        luck: CommitLuck,
    ) -> Result<(), CommitError> {
        if epoch != self.epoch(kind, partition) {
            return Err(CommitError::Fenced("a newer epoch".into()));
        }
        if matches!(luck, CommitLuck::Good | CommitLuck::UnknownStands) {
            self.state.entry((kind, partition)).or_default().extend(batch.entries);
            self.rows.extend(batch.rows.into_iter().map(|(_, value)| value));
        }
        match luck {
            CommitLuck::Good => Ok(()),
            CommitLuck::Aborted => Err(CommitError::Aborted("bad luck".into())),
            CommitLuck::UnknownStands | CommitLuck::UnknownLost => {
                Err(CommitError::Unknown("bad luck".into()))
            }
        }
    }

    pub(super) fn snapshot(&self, kind: Kind, partition: i32) -> crate::partition::Snapshot {
        let mut snapshot = crate::partition::Snapshot::new();
        for (key, value) in self.state.get(&(kind, partition)).into_iter().flatten() {
            match value {
                Some(value) => snapshot.insert(key.clone(), value.clone()),
                None => snapshot.remove(key),
            };
        }
        snapshot
    }

    /// Somebody empties a state partition.
    pub(super) fn wipe(&mut self, kind: Kind, partition: i32) {
        if let Some(state) = self.state.insert((kind, partition), Vec::new()) {
            self.wiped.entry((kind, partition)).or_default().extend(state);
        }
    }

    /// Somebody brings it back from a backup.
    pub(super) fn repair(&mut self, kind: Kind, partition: i32) {
        if let Some(mut state) = self.wiped.remove(&(kind, partition)) {
            state.extend(self.state.remove(&(kind, partition)).unwrap_or_default());
            self.state.insert((kind, partition), state);
        }
    }
}

/// Where a record goes.
pub(super) fn partition_of(outgoing: &Outgoing) -> i32 {
    outgoing.partition.unwrap_or_else(|| {
        let key = outgoing.key.as_deref().unwrap_or_default();
        domain::partition::of_key(key, PARTITIONS)
    })
}
