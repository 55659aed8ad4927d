//! State entries, as a restore reads them, into memory (rule K5). A partition is never silently emptied.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use domain::state::{AppliedId, EarlyCommand, Position, RecentId, Sequence, SetTimer, WantedCall};
use schemas::{Ids, ReadError};

use crate::partition::checkpoint::{genesis_key, position_key};
use crate::partition::copies::Senders;
use crate::partition::entries::{Entries, Key, Part, SEPARATOR, Stored, Wanted};
use crate::partition::rules::{Rule, Rules};
use crate::processor::Processor;

/// Why a partition can't be restored. Each but [`RestoreError::UnknownSchema`] needs a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The partition was never set up, or was emptied.
    #[error(
        "the state partition has no genesis record: it was never set up, or was emptied; \
         see docs/operations/state-repair.md before anything is written to it"
    )]
    NoGenesis,
    /// Entries are missing.
    #[error(
        "the state partition has {found} entries and its position record counts {counted}; \
         see docs/operations/state-repair.md"
    )]
    Missing {
        /// What the position record counts.
        counted: i64,
        /// What was read.
        found: i64,
    },
    /// An entry can't be read.
    #[error("the state entry {key:?} is damaged: {why}; see docs/operations/state-repair.md")]
    Damaged {
        /// Its key.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// An entry was written with a schema that is not known yet: fetch it and try again.
    #[error("schema {0} is not known yet")]
    UnknownSchema(u32),
}

/// The newest value of each key of a state partition.
pub type Snapshot = HashMap<Bytes, Bytes>;

/// The memory of a partition as its last checkpoint left it.
#[derive(Debug)]
pub struct Restored<P: Processor> {
    pub(crate) entries: Entries<P>,
    pub(crate) senders: Senders,
    pub(crate) position: Option<Position>,
}

impl<P: Processor> Restored<P> {
    /// Reads a snapshot.
    ///
    /// # Errors
    /// See [`RestoreError`].
    pub fn read(snapshot: &Snapshot, ids: &Ids) -> Result<Self, RestoreError> {
        Self::read_under(snapshot, ids, Rules::default())
    }

    pub(crate) fn read_under(
        snapshot: &Snapshot,
        ids: &Ids,
        rules: Rules,
    ) -> Result<Self, RestoreError> {
        let mut entries = Entries::default();
        let mut senders = Senders::default();
        let mut position = None;
        let mut genesis = false;
        for (key, value) in snapshot {
            let key = std::str::from_utf8(key)
                .map_err(|_| damaged(&String::from_utf8_lossy(key), "its key is not text"))?;
            if key == genesis_key() {
                genesis = true;
            } else if key == position_key() {
                position = Some(read::<Position>(key, value, ids)?);
            } else {
                let (parsed, stored) = entry::<P>(key, value, ids)?;
                if let Stored::Applied(applied) = &stored {
                    senders.restore_applied(&parsed.name, applied);
                }
                entries.restore(&parsed, stored);
            }
        }
        if rules.hold(Rule::K5Genesis) {
            if !genesis {
                return Err(RestoreError::NoGenesis);
            }
            let counted = position.as_ref().map_or(0, |position| position.entries);
            let found = entries.count();
            if found < counted {
                return Err(RestoreError::Missing { counted, found });
            }
        }
        if let Some(position) = &position {
            senders.restore(position.senders.clone());
        }
        Ok(Self { entries, senders, position })
    }
}

fn entry<P: Processor>(
    key: &str,
    value: &Bytes,
    ids: &Ids,
) -> Result<(Key, Stored<P>), RestoreError> {
    let mut parts = key.splitn(3, SEPARATOR);
    let (Some(entity), Some(part), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(damaged(key, "its key has not three parts"));
    };
    let part = Part::parse(part).ok_or_else(|| damaged(key, "its kind is unknown"))?;
    let stored = match part {
        Part::Entry => Stored::Entry(Arc::new(read(key, value, ids)?)),
        Part::Wanted => {
            let WantedCall { request, since } = read(key, value, ids)?;
            let call = read(key, &request, ids)?;
            Stored::Wanted(Arc::new(Wanted { call, since }))
        }
        Part::Timer => Stored::Timer(read::<SetTimer>(key, value, ids)?.due),
        Part::Sequence => Stored::Sequence(read::<Sequence>(key, value, ids)?),
        Part::Applied => Stored::Applied(read::<AppliedId>(key, value, ids)?),
        Part::Recent | Part::Command => Stored::Recent(read::<RecentId>(key, value, ids)?),
        Part::Early => Stored::Early(read::<EarlyCommand>(key, value, ids)?),
    };
    Ok((Key { entity: entity.into(), part, name: name.into() }, stored))
}

fn read<R: schemas::Record>(key: &str, value: &[u8], ids: &Ids) -> Result<R, RestoreError> {
    ids.read::<R>(value).map_err(|error| match error {
        ReadError::UnknownSchema(id) => RestoreError::UnknownSchema(id),
        other => damaged(key, &other.to_string()),
    })
}

fn damaged(key: &str, why: &str) -> RestoreError {
    RestoreError::Damaged { key: key.replace(SEPARATOR, "/"), why: why.to_owned() }
}
