//! Checkpoints (rule K1): a cut of the state at one log offset, held until every output of what it covers
//! is acknowledged, then committed whole.

use std::sync::Arc;

use domain::log_row::ExecutionLogRecord;
use schemas::{Ids, Record};

use crate::partition::effects::Cut;
use crate::partition::entries::{Key, SEPARATOR, Stored};
use crate::ports::Batch;
use crate::processor::Processor;

/// The state key of the position record.
pub(crate) fn position_key() -> String {
    format!("{SEPARATOR}position{SEPARATOR}")
}

/// The state key of the genesis record.
#[must_use]
pub fn genesis_key() -> String {
    format!("{SEPARATOR}genesis{SEPARATOR}")
}

/// Where the checkpoint of a partition stands.
#[derive(Debug)]
pub(crate) enum Stage<P: Processor> {
    /// None is under way.
    Idle,
    /// Taken, waiting for acknowledgements.
    Cut(Cut<P>),
    /// With the broker. What it owes if it is aborted.
    Committing { keys: Vec<Key>, rows: Arc<Vec<ExecutionLogRecord>>, log_offset: i64 },
}

impl<P: Processor> Cut<P> {
    /// The checkpoint as bytes. Runs on the checkpoint's thread, not on the fold's.
    ///
    /// # Errors
    /// When a schema is not registered, which set-up rules out.
    pub fn encode(&self, ids: &Ids) -> Result<Batch, schemas::FrameError> {
        let mut batch = Batch::default();
        batch.entries.reserve(self.entries.len() + 1);
        for (key, value) in &self.entries {
            let value = value.as_ref().map(|stored| encode(stored, ids)).transpose()?;
            batch.entries.push((key.to_text().into(), value.map(Into::into)));
        }
        let position = ids.frame(&self.position)?;
        batch.entries.push((position_key().into(), Some(position.into())));
        for row in &*self.rows {
            batch.rows.push((row.execution_id.clone().into(), ids.frame(row)?.into()));
        }
        Ok(batch)
    }
}

fn encode<P: Processor>(stored: &Stored<P>, ids: &Ids) -> Result<Vec<u8>, schemas::FrameError> {
    fn frame<R: Record>(ids: &Ids, record: &R) -> Result<Vec<u8>, schemas::FrameError> {
        ids.frame(record)
    }
    match stored {
        Stored::Entry(entry) => frame(ids, &**entry),
        Stored::Wanted(wanted) => {
            let request = ids.frame(&wanted.call)?;
            frame(ids, &domain::state::WantedCall { request, since: wanted.since })
        }
        Stored::Timer(due) => frame(ids, &domain::state::SetTimer { due: *due }),
        Stored::Sequence(sequence) => frame(ids, sequence),
        Stored::Applied(applied) => frame(ids, applied),
        Stored::Recent(recent) => frame(ids, recent),
        Stored::Early(early) => frame(ids, early),
    }
}
