//! The definitions' log: the one reader that folds it into this process's catalogue, and how a proposal
//! is written to it.
//!
//! A record that can't be read is passed, with an error in the log: every process passes the same one,
//! so all catalogues stay equal.

use std::time::Duration;

use bytes::Bytes;
use domain::catalogue::{DefinitionProposed, Outcome};
use domain::topic::Topic;
use runtime::ports::{
    self, ClusterError, Outgoing, Publish, Raw, Tail, TailFrom, Tailed, Topics as _,
};
use schemas::{Ids, ReadError, Record as _};
use service::audit;
use service::catalogue::Definitions;

use crate::cluster::blocking;

/// How often the reader looks whether it has caught up, until it has.
const LOOK: Duration = Duration::from_millis(5);
/// The first wait before something that failed is tried again; doubled up to [`AGAIN_AT_MOST`].
const AGAIN_FIRST: Duration = Duration::from_millis(100);
/// The longest wait before something that failed is tried again.
const AGAIN_AT_MOST: Duration = Duration::from_secs(5);
/// How long a proposal may take from the broker to our own catalogue.
const FOLDED_WITHIN: Duration = Duration::from_secs(15);

/// Folds the definitions into `definitions`, for ever; dropped when it is time to stop.
pub(crate) async fn follow(cluster: kafka::Cluster, definitions: Definitions) {
    let mut next = TailFrom::Earliest;
    let mut wait = AGAIN_FIRST;
    loop {
        let error = match open(&cluster, next.clone()).await {
            Ok(mut tail) => {
                wait = AGAIN_FIRST;
                fold(&cluster, &definitions, tail.as_mut(), &mut next).await
            }
            Err(error) => error,
        };
        tracing::error!(%error, "the definitions can't be read; trying again");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(AGAIN_AT_MOST);
    }
}

async fn open(cluster: &kafka::Cluster, from: TailFrom) -> Result<Box<dyn Tail>, ClusterError> {
    let cluster = cluster.clone();
    blocking(move || cluster.tail(Topic::Definitions, from)).await
}

/// Folds what comes, until reading breaks.
async fn fold(
    cluster: &kafka::Cluster,
    definitions: &Definitions,
    tail: &mut dyn Tail,
    next: &mut TailFrom,
) -> ClusterError {
    loop {
        if !definitions.caught_up() && tail.caught_up() {
            definitions.set_caught_up();
        }
        // An empty log is caught up with without a record to say so.
        let records = match definitions.caught_up() {
            true => tail.next().await,
            false => match tokio::time::timeout(LOOK, tail.next()).await {
                Ok(records) => records,
                Err(_) => continue,
            },
        };
        let records = match records {
            Ok(records) => records,
            Err(error) => return error,
        };
        for Tailed { partition, record } in records {
            if let Some(proposal) = read(cluster, &record).await {
                let key = proposal.key();
                // What stood there before this process is no news.
                let watched = definitions.caught_up().then(|| proposal.clone());
                match definitions.apply(proposal) {
                    Outcome::Accepted(version) => {
                        tracing::debug!(key, version, "definition");
                        if let Some(proposal) = watched {
                            audit::accepted(&proposal, version);
                        }
                    }
                    Outcome::Conflict(stands) => {
                        tracing::debug!(key, stands, "a proposal came too late");
                    }
                }
            }
            *next = TailFrom::Offsets([(partition, record.offset + 1)].into());
        }
    }
}

async fn read(cluster: &kafka::Cluster, record: &Raw) -> Option<DefinitionProposed> {
    let mut wait = AGAIN_FIRST;
    loop {
        match cluster.ids().read::<DefinitionProposed>(&record.value) {
            Ok(proposal) => return Some(proposal),
            Err(ReadError::UnknownSchema(id)) => {
                let asked = cluster.clone();
                match blocking(move || ports::Cluster::resolve_schema(&asked, id)).await {
                    Ok(true) => {}
                    Ok(false) => cluster.ids().refuse(id),
                    // To pass it now would give this process another catalogue than the others have.
                    Err(error) => {
                        tracing::warn!(schema = id, %error, "a definition waits for its schema");
                        tokio::time::sleep(wait).await;
                        wait = (wait * 2).min(AGAIN_AT_MOST);
                    }
                }
            }
            Err(error) => {
                tracing::error!(offset = record.offset, %error, "a definition can't be read; passed");
                return None;
            }
        }
    }
}

/// Why a proposal did not become a definition.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProposeError {
    /// The registry hasn't told us the id of its schema.
    #[error("the proposal can't be framed")]
    Frame(#[source] schemas::FrameError),
    /// The broker didn't take it.
    #[error("the proposal can't be published")]
    Publish(#[source] ClusterError),
    /// It stands in the log, and our own catalogue didn't get there.
    #[error("the proposal was published, but didn't come back within {} s", FOLDED_WITHIN.as_secs())]
    Late,
}

/// Publishes a proposal; returns when it stands in the log.
pub(crate) async fn publish(
    publisher: &dyn Publish,
    ids: &Ids,
    proposal: &DefinitionProposed,
) -> Result<(), ProposeError> {
    let key = proposal.key();
    let value = ids.frame(proposal).map_err(ProposeError::Frame)?;
    let text =
        |name: &str, value: &str| (name.to_owned(), Bytes::copy_from_slice(value.as_bytes()));
    let record = Outgoing {
        topic: Topic::Definitions,
        partition: Some(0),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: value.into(),
        headers: vec![
            text("content-type", "application/avro"),
            text("ce_specversion", "1.0"),
            text("ce_id", &proposal.id),
            text("ce_type", DefinitionProposed::NAME),
            text("ce_source", "stepstream/cli"),
            text("ce_subject", &key),
            text("ce_tenant", &proposal.tenant),
        ],
    };
    publisher.publish(record).await.map_err(ProposeError::Publish)?;
    Ok(())
}

/// Publishes a proposal and returns what became of it, as `definitions` folds it.
pub(crate) async fn propose(
    publisher: &dyn Publish,
    ids: &Ids,
    definitions: &Definitions,
    proposal: &DefinitionProposed,
) -> Result<Outcome, ProposeError> {
    publish(publisher, ids, proposal).await?;
    definitions.wait_for(&proposal.id, FOLDED_WITHIN).await.ok_or(ProposeError::Late)
}
