//! Checkpoints beside the embedded broker, in the process: it caps partitions, forgets transactional
//! offsets and shows aborted records, so a transaction on it would promise what it can't keep.
//!
//! They outlive a worker, not the process, just as the embedded topics do. Rows for the execution log are
//! written after the commit: a worker that ends in between loses them, as a process that ends loses all.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::topic::Kind;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, ThreadedProducer};
use runtime::ports::{Batch, Checkpoints, ClusterError, CommitError};

use crate::config::{Batching, Role, Settings};
use crate::events::Logged;
use crate::failed;

/// How long a row may wait for room in the producer's queue before it is given up.
const ROOM: Duration = Duration::from_secs(5);

/// Which partition's checkpoints.
pub type KeptKey = (Kind, i32);

/// All checkpoints of one embedded broker.
#[derive(Debug, Default)]
pub struct Kept(Mutex<HashMap<KeptKey, Partition>>);

#[derive(Debug, Default)]
struct Partition {
    /// Raised by each take-over; a commit under an older one is fenced.
    epoch: u64,
    entries: BTreeMap<Bytes, Bytes>,
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, HashMap<KeptKey, Partition>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an entry without a transaction: for the genesis records of a new cluster.
    pub(crate) fn put(&self, of: KeptKey, key: Bytes, value: Bytes) {
        self.lock().entry(of).or_default().entries.insert(key, value);
    }

    /// Throws every entry of a partition away: what a topic that was emptied looks like.
    pub fn clear(&self, of: KeptKey) {
        self.lock().entry(of).or_default().entries.clear();
    }
}

/// Writes rows to the execution log.
pub(crate) struct Rows {
    topic: String,
    producer: ThreadedProducer<Logged>,
}

impl Rows {
    pub(crate) fn start(settings: &Settings, topic: String) -> Result<Self, ClusterError> {
        settings
            .client(Role::Sender(Batching::Many))
            .create_with_context(Logged)
            .map(|producer| Self { topic, producer })
            .map_err(|error| failed("making the producer of the execution log", error))
    }

    fn write(&self, key: &[u8], value: &[u8]) -> Result<(), KafkaError> {
        let deadline = Instant::now() + ROOM;
        let mut record = BaseRecord::to(&self.topic).key(key).payload(value);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, _)) if Instant::now() >= deadline => return Err(error),
                Err((_, back)) => {
                    record = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
}

/// The checkpoints of one partition.
pub(crate) struct InProcess {
    pub(crate) kept: Arc<Kept>,
    pub(crate) of: KeptKey,
    pub(crate) rows: Arc<Rows>,
    /// `None` before the first take-over.
    pub(crate) epoch: Option<u64>,
}

impl Checkpoints for InProcess {
    fn take_over(&mut self) -> Result<(), CommitError> {
        let mut all = self.kept.lock();
        let partition = all.entry(self.of).or_default();
        partition.epoch += 1;
        self.epoch = Some(partition.epoch);
        Ok(())
    }

    fn restore(&mut self, each: &mut dyn FnMut(Bytes, Option<Bytes>)) -> Result<(), ClusterError> {
        // Copied out first: `each` may take its time.
        let entries: Vec<(Bytes, Bytes)> =
            self.kept.lock().get(&self.of).map_or_else(Vec::new, |p| {
                p.entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
            });
        for (key, value) in entries {
            each(key, Some(value));
        }
        Ok(())
    }

    fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        let Some(epoch) = self.epoch else {
            return Err(CommitError::Unknown("there is no owner yet: take over first".into()));
        };
        {
            let mut all = self.kept.lock();
            let partition = all.entry(self.of).or_default();
            if partition.epoch != epoch {
                self.epoch = None;
                let why = format!("epoch {epoch} was followed by {}", partition.epoch);
                return Err(CommitError::Fenced(why));
            }
            for (key, value) in batch.entries {
                match value {
                    Some(value) => partition.entries.insert(key, value),
                    None => partition.entries.remove(&key),
                };
            }
        }
        for (key, value) in batch.rows {
            if let Err(error) = self.rows.write(&key, &value) {
                tracing::error!(%error, "a row of the execution log was not written");
            }
        }
        Ok(())
    }
}
