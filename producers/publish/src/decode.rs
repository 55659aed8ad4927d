//! Records of topics as what they are; schemas that aren't known yet are asked for.
//!
//! A record that can't be read is an error for its reader to show; a registry that doesn't answer is
//! waited for a few times and no longer.

use std::sync::Arc;
use std::time::Duration;

use runtime::ports::{Cluster, ClusterError};
use schemas::{Ids, ReadError, Record};

/// How often the registry is asked for a schema.
const TRIES: u32 = 3;

/// The wait before it is asked again.
const AGAIN: Duration = Duration::from_millis(500);

/// Why a record can't be shown.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It isn't what belongs there.
    #[error("it can't be read")]
    Read(#[source] ReadError),
    /// Its schema can't be had.
    #[error("its schema can't be had")]
    Registry(#[source] ClusterError),
}

/// Reads records, in any schema that resolves to ours. Clones share what they have learned.
#[derive(Clone)]
pub struct Decoder {
    ids: Ids,
    cluster: Arc<dyn Cluster>,
}

impl Decoder {
    /// A decoder that asks `cluster` for schemas that `ids` doesn't know.
    #[must_use]
    pub fn new(ids: Ids, cluster: Arc<dyn Cluster>) -> Self {
        Self { ids, cluster }
    }

    /// The record in a frame.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub async fn read<R: Record>(&self, frame: &[u8]) -> Result<R, DecodeError> {
        let mut tries = 0;
        loop {
            match self.ids.read::<R>(frame) {
                Ok(record) => return Ok(record),
                Err(ReadError::UnknownSchema(id)) => {
                    tries += 1;
                    let cluster = Arc::clone(&self.cluster);
                    let asked = tokio::task::spawn_blocking(move || cluster.resolve_schema(id));
                    match asked.await.expect("asking doesn't panic, and nobody cancels it") {
                        Ok(true) => {}
                        Ok(false) => self.ids.refuse(id),
                        Err(error) if tries >= TRIES => return Err(DecodeError::Registry(error)),
                        Err(_) => tokio::time::sleep(AGAIN).await,
                    }
                }
                Err(error) => return Err(DecodeError::Read(error)),
            }
        }
    }
}
