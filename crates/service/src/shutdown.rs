//! An orderly end: who is told, how long they may take, and who didn't make it.
//!
//! The first SIGTERM or SIGINT asks everybody to finish; the second one means at once. Nothing here
//! knows what finishing is: each task has a [`Shutdown`] and decides for itself.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// The word that it is time to stop. Cheap to clone; a child hears its parent and can stop alone.
#[derive(Clone, Debug)]
pub struct Shutdown {
    finish: CancellationToken,
    at_once: CancellationToken,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// One that nobody has triggered.
    #[must_use]
    pub fn new() -> Self {
        Self { finish: CancellationToken::new(), at_once: CancellationToken::new() }
    }

    /// One that stops with this one, and can be told to stop alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { finish: self.finish.child_token(), at_once: self.at_once.child_token() }
    }

    /// Asks everybody to finish what they have.
    pub fn finish(&self) {
        self.finish.cancel();
    }

    /// Tells everybody to stop at once.
    pub fn stop_at_once(&self) {
        self.finish.cancel();
        self.at_once.cancel();
    }

    /// Whether somebody asked to finish.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.finish.is_cancelled()
    }

    /// Returns when somebody asked to finish.
    pub async fn asked(&self) {
        self.finish.cancelled().await;
    }

    /// Returns when it has to be at once.
    pub async fn at_once(&self) {
        self.at_once.cancelled().await;
    }

    /// The token that is cancelled when it is time to finish, for libraries that take one.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.finish
    }

    /// Listens for SIGTERM and SIGINT from now on: the first asks to finish, the second means at once.
    ///
    /// # Errors
    /// The system's, when the signals can't be caught.
    pub fn listen_to_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            for again in [false, true] {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if again {
                    tracing::warn!(signal = name, "asked again: stopping at once");
                    shutdown.stop_at_once();
                } else {
                    tracing::info!(signal = name, "asked to stop: finishing");
                    shutdown.finish();
                }
            }
        });
        Ok(())
    }
}

/// What a task may fail with.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// The named tasks of a process. Dropping it aborts those that run.
#[derive(Debug, Default)]
pub struct Tasks {
    running: JoinSet<Result<(), TaskError>>,
    names: HashMap<Id, &'static str>,
}

/// A task that ended.
#[derive(Debug)]
pub struct Ended {
    /// Its name.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Result<(), Ending>,
}

/// How a task ended when it didn't end well.
#[derive(Debug, thiserror::Error)]
pub enum Ending {
    /// It says so itself.
    #[error("failed")]
    Failed(#[source] TaskError),
    /// It panicked.
    #[error("panicked")]
    Panicked(#[source] JoinError),
    /// It was stopped because its time was over.
    #[error("did not stop in time")]
    Late,
}

/// How the tasks of a process stopped.
#[derive(Debug, Default)]
pub struct Drained {
    /// All of them, in the order in which they ended; the late ones last, by name.
    pub ended: Vec<Ended>,
}

impl Drained {
    /// The names of those that had to be stopped.
    pub fn late(&self) -> impl Iterator<Item = &'static str> {
        let late = |ended: &&Ended| matches!(ended.outcome, Err(Ending::Late));
        self.ended.iter().filter(late).map(|ended| ended.name)
    }

    /// Whether all ended well and in time.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.ended.iter().all(|ended| ended.outcome.is_ok())
    }
}

impl Tasks {
    /// No tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task.
    pub fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), TaskError>> + Send + 'static,
    ) {
        let id = self.running.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// The next one that ends; `None` when none is left. Safe to drop and call again.
    ///
    /// A process waits here while it works: a task that ends before anybody asked is a reason to stop.
    pub async fn next_ended(&mut self) -> Option<Ended> {
        let (id, outcome) = match self.running.join_next_with_id().await? {
            Ok((id, outcome)) => (id, outcome.map_err(Ending::Failed)),
            Err(source) if source.is_cancelled() => (source.id(), Err(Ending::Late)),
            Err(source) => (source.id(), Err(Ending::Panicked(source))),
        };
        let name = self.names.remove(&id).unwrap_or("unnamed");
        Some(Ended { name, outcome })
    }

    /// Asks all to finish, waits at most `limit`, and stops those that are left. Stops them earlier when
    /// `shutdown` says at once.
    pub async fn drain(mut self, shutdown: &Shutdown, limit: Duration) -> Drained {
        shutdown.finish();
        let deadline = Instant::now() + limit;
        let mut drained = Drained::default();
        loop {
            let next = tokio::select! {
                biased;
                next = timeout_at(deadline, self.next_ended()) => next,
                () = shutdown.at_once() => break,
            };
            match next {
                Ok(Some(ended)) => drained.ended.push(ended),
                Ok(None) => return drained,
                Err(_) => break,
            }
        }
        // Not waited for: a task that blocks its thread would never end.
        self.running.abort_all();
        let mut late: Vec<_> = self.names.into_values().collect();
        late.sort_unstable();
        let late = late.into_iter().map(|name| Ended { name, outcome: Err(Ending::Late) });
        drained.ended.extend(late);
        drained
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn drain_tells_who_ended_how_and_who_was_late() {
        let (shutdown, mut tasks) = (Shutdown::new(), Tasks::new());
        let asked = shutdown.child();
        tasks.spawn("good", async move {
            asked.asked().await;
            Ok(())
        });
        tasks.spawn("failing", async { Err("no disk".into()) });
        tasks.spawn("panicking", async { panic!("a bug") });
        tasks.spawn("stuck", std::future::pending());
        tasks.spawn("asleep", std::future::pending());
        let started = Instant::now();
        let drained = tasks.drain(&shutdown, LIMIT).await;
        assert_eq!(started.elapsed(), LIMIT);
        assert_eq!(drained.late().collect::<Vec<_>>(), ["asleep", "stuck"]);
        assert!(!drained.is_clean());
        let outcome = |name| &drained.ended.iter().find(|e| e.name == name).unwrap().outcome;
        assert!(outcome("good").is_ok());
        assert!(matches!(outcome("failing"), Err(Ending::Failed(e)) if e.to_string() == "no disk"));
        assert!(matches!(outcome("panicking"), Err(Ending::Panicked(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn at_once_does_not_wait_for_the_deadline() {
        let (shutdown, mut tasks) = (Shutdown::new(), Tasks::new());
        tasks.spawn("stuck", std::future::pending());
        shutdown.stop_at_once();
        let started = Instant::now();
        assert_eq!(tasks.drain(&shutdown, LIMIT).await.late().collect::<Vec<_>>(), ["stuck"]);
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn all_that_stop_in_time_are_a_clean_end() {
        let (shutdown, mut tasks) = (Shutdown::new(), Tasks::new());
        for name in ["a", "b"] {
            let shutdown = shutdown.clone();
            tasks.spawn(name, async move {
                shutdown.asked().await;
                Ok(())
            });
        }
        assert!(tasks.drain(&shutdown, LIMIT).await.is_clean());
    }

    #[test]
    fn child_hears_its_parent_and_stops_alone() {
        let parent = Shutdown::new();
        let (one, other) = (parent.child(), parent.child());
        one.finish();
        assert!(one.is_asked() && !other.is_asked() && !parent.is_asked());
        parent.finish();
        assert!(other.is_asked());
    }

    #[tokio::test]
    async fn first_signal_asks_and_second_means_at_once() {
        let shutdown = Shutdown::new();
        shutdown.listen_to_signals().unwrap();
        let raise = |signal: &str| {
            let status = Command::new("kill")
                .args([signal, &std::process::id().to_string()])
                .status()
                .unwrap();
            assert!(status.success());
        };
        raise("-TERM");
        shutdown.asked().await;
        assert!(!shutdown.at_once.is_cancelled());
        raise("-INT");
        shutdown.at_once().await;
    }
}
