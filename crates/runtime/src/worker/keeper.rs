//! The thread of one partition for what blocks: taking over, checkpoints, reading ahead.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::topic::Kind;
use schemas::Ids;
use tokio::sync::mpsc::UnboundedSender;

use crate::partition::effects::Cut;
use crate::partition::{RestoreError, Restored, Snapshot};
use crate::ports::{
    Checkpoints, Cluster, ClusterError, CommitError, Confirmed, Membership, Raw, STANDING, Scanned,
};
use crate::processor::Processor;

/// What a keeper is asked to do.
pub(super) enum Job<P: Processor> {
    /// Confirm ownership, fence earlier owners, read the state.
    TakeOver { incarnation: u64 },
    /// Commit a checkpoint.
    Commit { incarnation: u64, cut: Cut<P> },
    /// Read ahead in the log.
    Scan { incarnation: u64, from: i64, to: i64 },
    /// Fetch a schema.
    Resolve { incarnation: u64, id: u32 },
}

/// What a keeper has to say.
pub(super) struct Kept<P: Processor> {
    pub(super) partition: i32,
    pub(super) incarnation: u64,
    pub(super) news: News<P>,
}

/// How a job ended.
pub(super) enum News<P: Processor> {
    /// The partition is ours, and this was its state.
    Restored(Box<Restored<P>>),
    /// The partition isn't ours any more.
    NotOwner,
    /// The state can't be read; a person is needed.
    Damaged(RestoreError),
    Committed {
        result: Result<(), CommitError>,
        took: Duration,
    },
    Scanned(Vec<Raw>),
    /// What was to be read ahead is gone for good.
    Gone(String),
    Resolved(u32),
}

/// A machine has at most one job of each kind under way.
const JOBS: usize = 8;

/// How long a keeper waits before it tries again what failed for a reason that may pass.
const AGAIN: Duration = Duration::from_millis(250);

/// Asks a keeper to work. Dropping it ends the thread after its current job.
pub(super) struct Keeper<P: Processor>(SyncSender<Job<P>>);

impl<P: Processor> Keeper<P> {
    pub(super) fn start(
        partition: i32,
        cluster: Arc<dyn Cluster>,
        membership: Arc<dyn Membership>,
        ids: Ids,
        news: UnboundedSender<Kept<P>>,
    ) -> std::io::Result<Self> {
        let (jobs, inbox) = sync_channel(JOBS);
        let thread = Thread { partition, cluster, membership, ids, news, store: None };
        let name = format!("{}-keeper-{partition}", P::KIND.as_str());
        thread::Builder::new().name(name).spawn(move || thread.run(&inbox))?;
        Ok(Self(jobs))
    }

    /// Hands over a job. The bound is never met: see [`JOBS`].
    pub(super) fn ask(&self, job: Job<P>) {
        if self.0.try_send(job).is_err() {
            tracing::error!(
                "a checkpoint thread has ended or is overrun; its partition stands still"
            );
        }
    }
}

struct Thread<P: Processor> {
    partition: i32,
    cluster: Arc<dyn Cluster>,
    membership: Arc<dyn Membership>,
    ids: Ids,
    news: UnboundedSender<Kept<P>>,
    store: Option<Box<dyn Checkpoints>>,
}

impl<P: Processor> Thread<P> {
    fn run(mut self, jobs: &Receiver<Job<P>>) {
        while let Ok(job) = jobs.recv() {
            let (incarnation, news) = match job {
                Job::TakeOver { incarnation } => (incarnation, self.take_over()),
                Job::Commit { incarnation, cut } => (incarnation, self.commit(&cut)),
                Job::Scan { incarnation, from, to } => (incarnation, self.scan(from, to)),
                Job::Resolve { incarnation, id } => (incarnation, self.resolve(id)),
            };
            // Nobody listens any more: the worker has ended.
            if self.tell(incarnation, news).is_none() {
                return;
            }
        }
    }

    fn tell(&self, incarnation: u64, news: News<P>) -> Option<()> {
        self.news.send(Kept { partition: self.partition, incarnation, news }).ok()
    }

    fn take_over(&mut self) -> News<P> {
        loop {
            match self.membership.confirm(&[(self.partition, STANDING)]) {
                Confirmed::NotOwner => return News::NotOwner,
                Confirmed::Unknown => {
                    if self.news.is_closed() {
                        return News::NotOwner;
                    }
                    thread::sleep(AGAIN);
                    continue;
                }
                Confirmed::Owner => {}
            }
            match self.try_take_over() {
                Ok(Ok(restored)) => return News::Restored(Box::new(restored)),
                Ok(Err(damage)) => return News::Damaged(damage),
                Err(error) => {
                    tracing::warn!(
                        kind = P::KIND.as_str(),
                        partition = self.partition,
                        %error,
                        "taking over failed, trying again"
                    );
                    self.store = None;
                    if self.news.is_closed() {
                        return News::NotOwner;
                    }
                    thread::sleep(AGAIN);
                }
            }
        }
    }

    fn try_take_over(&mut self) -> Result<Result<Restored<P>, RestoreError>, ClusterError> {
        let mut store = self.cluster.checkpoints(P::KIND, self.partition)?;
        store.take_over().map_err(|error| ClusterError {
            what: format!("taking over partition {} of {}", self.partition, state(P::KIND)),
            why: error.to_string(),
        })?;
        let mut snapshot: Snapshot = HashMap::new();
        store.restore(&mut |key: Bytes, value: Option<Bytes>| {
            match value {
                Some(value) => snapshot.insert(key, value),
                None => snapshot.remove(&key),
            };
        })?;
        self.store = Some(store);
        loop {
            match Restored::read(&snapshot, &self.ids) {
                Err(RestoreError::UnknownSchema(id)) => {
                    if !self.cluster.resolve_schema(id)? {
                        self.ids.refuse(id);
                    }
                }
                result => return Ok(result),
            }
        }
    }

    fn commit(&mut self, cut: &Cut<P>) -> News<P> {
        let began = Instant::now();
        let result = match (cut.encode(&self.ids), &mut self.store) {
            (Ok(batch), Some(store)) => store.commit(batch),
            (Err(error), _) => Err(CommitError::Unknown(error.to_string())),
            (_, None) => Err(CommitError::Unknown("the partition was not taken over".into())),
        };
        News::Committed { result, took: began.elapsed() }
    }

    fn scan(&self, from: i64, to: i64) -> News<P> {
        loop {
            match self.cluster.scan(P::KIND, self.partition, from, to) {
                Ok(Scanned::Records(records)) => return News::Scanned(records),
                Ok(Scanned::Gone(reason)) => return News::Gone(reason),
                Err(error) if !self.news.is_closed() => {
                    tracing::warn!(partition = self.partition, %error, "reading ahead failed, trying again");
                    thread::sleep(AGAIN);
                }
                Err(_) => return News::NotOwner,
            }
        }
    }

    fn resolve(&self, id: u32) -> News<P> {
        loop {
            match self.cluster.resolve_schema(id) {
                Ok(true) => return News::Resolved(id),
                Ok(false) => {
                    self.ids.refuse(id);
                    return News::Resolved(id);
                }
                Err(error) if !self.news.is_closed() => {
                    tracing::warn!(id, %error, "the schema can't be fetched, trying again");
                    thread::sleep(AGAIN);
                }
                Err(_) => return News::NotOwner,
            }
        }
    }
}

fn state(kind: Kind) -> &'static str {
    domain::topic::Topic::State(kind).name()
}
