//! From records of a topic to a batch for the store. A record that can't be read is counted and passed
//! over: it is in the topic for whoever wants to know, and the next one must not wait for it.

use std::collections::{BTreeMap, HashSet};

use domain::topic::Topic;
use runtime::ports::{ClusterError, Tailed};
use schemas::{Ids, ReadError};
use store::{Batch, Progress};

use crate::Parts;

/// The most schemas whose unreadable records are remembered as logged.
const MAX_COMPLAINTS: usize = 1_000;

/// Reads records of one topic.
pub(crate) struct Decoder {
    topic: Topic,
    ids: Ids,
    /// Schemas of which an unreadable record was logged; `None`: no frame at all.
    complained: HashSet<Option<u32>>,
}

/// Why a batch can't be made yet: the schema must be fetched first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unknown(pub(crate) u32);

/// A batch, and how many records of it could not be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) batch: Batch,
    pub(crate) unreadable: u64,
}

impl Decoder {
    pub(crate) fn new(topic: Topic, ids: Ids) -> Self {
        Self { topic, ids, complained: HashSet::new() }
    }

    /// The records as one batch, with the progress that covers them.
    pub(crate) fn decode(&mut self, records: &[Tailed]) -> Result<Decoded, Unknown> {
        let mut decoded = Decoded::default();
        let mut next = BTreeMap::new();
        for Tailed { partition, record } in records {
            let read = match self.topic {
                Topic::Results => {
                    self.ids.read(&record.value).map(|event| decoded.batch.events.push(event))
                }
                _ => self.ids.read(&record.value).map(|row| decoded.batch.rows.push(row)),
            };
            match read {
                Ok(()) => {}
                Err(ReadError::UnknownSchema(id)) => return Err(Unknown(id)),
                Err(error) => {
                    decoded.unreadable += 1;
                    self.complain(*partition, record.offset, &record.value, &error);
                }
            }
            let next = next.entry(*partition).or_insert(0);
            *next = (record.offset + 1).max(*next);
        }
        decoded.batch.progress = next
            .into_iter()
            .map(|(partition, next_offset)| Progress {
                topic: self.topic.name().into(),
                partition,
                next_offset,
            })
            .collect();
        Ok(decoded)
    }

    fn complain(&mut self, partition: i32, offset: i64, value: &[u8], error: &ReadError) {
        if self.complained.len() >= MAX_COMPLAINTS {
            self.complained.clear();
        }
        let schema = schemas::schema_id(value).ok();
        if self.complained.insert(schema) {
            let topic = self.topic.name();
            tracing::warn!(
                topic, partition, offset, schema, %error,
                "a record can't be read and is passed over; more of its schema are only counted"
            );
        }
    }
}

/// Decodes, fetching schemas on the way. Without the registry nothing is passed over: it fails.
pub(crate) async fn resolved(
    decoder: &mut Decoder,
    parts: &Parts,
    records: &[Tailed],
) -> Result<Decoded, ClusterError> {
    loop {
        let Unknown(id) = match decoder.decode(records) {
            Ok(decoded) => return Ok(decoded),
            Err(unknown) => unknown,
        };
        let resolve = parts.resolve.clone();
        match tokio::task::spawn_blocking(move || resolve(id)).await {
            Ok(Ok(true)) if parts.ids.name_of(&frame(id)) != Err(unknown(id)) => {}
            // Known not to exist, or said to exist and still not learned: no use in asking again.
            Ok(Ok(_)) => parts.ids.refuse(id),
            Ok(Err(why)) => return Err(why),
            Err(panic) => {
                return Err(ClusterError {
                    what: format!("fetch schema {id}"),
                    why: panic.to_string(),
                });
            }
        }
    }
}

/// The head of a frame in this schema.
fn frame(id: u32) -> [u8; 5] {
    let [a, b, c, d] = id.to_be_bytes();
    [0, a, b, c, d]
}

fn unknown(id: u32) -> ReadError {
    ReadError::UnknownSchema(id)
}
