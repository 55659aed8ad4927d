//! The archive: what folds put out, written into the store.
//!
//! It reads `results` and `execution-log` from the progress that the store itself keeps, and writes rows
//! and progress together; so after any crash, on either side, it goes on without a gap, and what it
//! writes twice stands once. It never reads raw logs, never skips what it could not write, and never
//! starts over silently when the topic no longer has what comes next.

mod decode;
pub mod metrics;
mod reading;
pub mod rebuild;
mod source;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use domain::time::Millis;
use domain::topic::Topic;
use runtime::ports::{ClusterError, Topics};
use schemas::Ids;
use store::Store;
use tokio::sync::watch;

/// How often old executions are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Fetches a schema that was met on the wire; blocks. As `Cluster::resolve_schema`.
pub type Resolve = Arc<dyn Fn(u32) -> Result<bool, ClusterError> + Send + Sync>;

/// How an archive works.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where it begins.
    pub start: Start,
    /// How long executions are kept after the last that was heard of them; `None`: for ever.
    pub retention: Option<Duration>,
}

/// Where an archive begins to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the progress that the store keeps.
    Stored,
    /// At the oldest record. For topics that don't outlive the process (the embedded broker): progress of
    /// an earlier run means nothing to them.
    Oldest,
}

/// What an archive works with.
#[derive(Clone)]
pub struct Parts {
    /// Opens the topics.
    pub topics: Arc<dyn Topics>,
    /// The registry's ids.
    pub ids: Ids,
    /// Where to write.
    pub store: Arc<dyn Store>,
    /// Fetches schemas of newer writers.
    pub resolve: Resolve,
}

/// The archive. Run it once.
pub struct Archive {
    options: Options,
    parts: Parts,
    reading: watch::Sender<usize>,
}

/// Tells how the archive is. Cheap to clone.
#[derive(Clone)]
pub struct Handle(watch::Receiver<usize>);

impl Handle {
    /// Whether both topics are being read.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.0.borrow() == SOURCES.len()
    }
}

/// What it reads.
const SOURCES: [Topic; 2] = [Topic::Results, Topic::ExecutionLog];

impl Archive {
    /// An archive that does nothing until it runs, and its handle.
    #[must_use]
    pub fn new(options: Options, parts: Parts) -> (Self, Handle) {
        let (reading, seen) = watch::channel(0);
        (Self { options, parts, reading }, Handle(seen))
    }

    /// Archives until `shutdown` completes; what was read by then is written, and durable on return
    /// unless the store fails.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let (stop, stopped) = watch::channel(Stop::No);
        let [results, log] = SOURCES;
        let work = async {
            tokio::join!(
                source::run(results, &self.options, &self.parts, &self.reading, stopped.clone()),
                source::run(log, &self.options, &self.parts, &self.reading, stopped.clone()),
                self.sweep(stopped.clone()),
            )
        };
        let asked = async {
            shutdown.await;
            stop.send_replace(Stop::Yes);
        };
        tokio::join!(work, asked);
        if let Err(error) = self.parts.store.flush().await {
            tracing::warn!(%error, "the archive stopped without a flush; it will read a little again");
        }
    }

    async fn sweep(&self, mut stop: watch::Receiver<Stop>) {
        let Some(retention) = self.options.retention else { return };
        let keep = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        loop {
            tokio::select! {
                () = asked(&mut stop) => return,
                () = tokio::time::sleep(SWEEP_EVERY) => {}
            }
            match self.parts.store.expire(Millis(now().0.saturating_sub(keep))).await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "old executions were deleted"),
                Err(error) => tracing::warn!(%error, "old executions can't be deleted"),
            }
        }
    }
}

/// Whether it is time to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    No,
    Yes,
}

/// Returns when it is time to stop.
pub(crate) async fn asked(stop: &mut watch::Receiver<Stop>) {
    // A sender that is gone has nothing more to wait for either.
    let _ = stop.wait_for(|stop| *stop == Stop::Yes).await;
}

/// The time on this machine's clock.
pub(crate) fn now() -> Millis {
    SystemTime::now().into()
}

#[cfg(test)]
mod tests;
