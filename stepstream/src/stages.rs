//! The parts of a process in the order in which they depend on each other: what started last stops first,
//! so that nothing loses what it still needs.
//!
//! A part that ends before anybody asked is a reason to stop, and the process says so by its exit code.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use service::shutdown::{Ended, Shutdown, TaskError, Tasks};
use tokio::time::Instant;

use crate::error::CommandError;

/// The running parts of a process.
pub(crate) struct Stages {
    root: Shutdown,
    tasks: Tasks,
    stages: Vec<Stage>,
}

struct Stage {
    name: &'static str,
    shutdown: Shutdown,
    limit: Duration,
}

impl Stages {
    /// No parts yet; all of them stop when `root` asks for it.
    pub(crate) fn new(root: Shutdown) -> Self {
        Self { root, tasks: Tasks::new(), stages: Vec::new() }
    }

    /// Starts a part, which may use all those that were started before it. It is asked to stop by the
    /// shutdown that it is given, and then has `limit` to do so.
    pub(crate) fn start<F>(
        &mut self,
        name: &'static str,
        limit: Duration,
        part: impl FnOnce(Shutdown) -> F,
    ) where
        F: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        let shutdown = Shutdown::new();
        self.tasks.spawn(name, part(shutdown.clone()));
        self.stages.push(Stage { name, shutdown, limit });
    }

    /// Waits until somebody asks to stop or a part ends by itself, then stops the parts, the last one
    /// first.
    ///
    /// # Errors
    /// A part that ended by itself, failed, or didn't stop in time.
    pub(crate) async fn run(mut self) -> Result<(), CommandError> {
        let mut gone = BTreeSet::new();
        let mut problem = None;
        tokio::select! {
            () = self.root.asked() => {}
            Some(ended) = self.tasks.next_ended() => {
                gone.insert(ended.name);
                problem = Some(ended_early(ended));
            }
        }
        while let Some(stage) = self.stages.pop() {
            stage.shutdown.finish();
            let deadline = Instant::now() + stage.limit;
            while !gone.contains(stage.name) {
                let ended = tokio::select! {
                    biased;
                    () = self.root.at_once() => {
                        stage.shutdown.stop_at_once();
                        break;
                    }
                    ended = self.tasks.next_ended() => ended,
                    () = tokio::time::sleep_until(deadline) => {
                        tracing::warn!(part = stage.name, "did not stop in time");
                        problem.get_or_insert_with(|| {
                            CommandError::plain(format!("{} did not stop in time", stage.name))
                        });
                        break;
                    }
                };
                let Some(ended) = ended else { break };
                gone.insert(ended.name);
                match ended.outcome {
                    Ok(()) => tracing::debug!(part = ended.name, "stopped"),
                    Err(ending) => {
                        problem.get_or_insert(CommandError::new(
                            format!("stopping {}", ended.name),
                            ending,
                        ));
                    }
                }
            }
        }
        // Aborts what is left: it had its time, or has to go at once.
        self.tasks.drain(&self.root, Duration::ZERO).await;
        problem.map_or(Ok(()), Err)
    }
}

fn ended_early(ended: Ended) -> CommandError {
    let what = format!("{} ended by itself, so the process stops", ended.name);
    match ended.outcome {
        Ok(()) => CommandError::plain(what),
        Err(ending) => CommandError::new(what, ending),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn what_started_last_stops_first() {
        let root = Shutdown::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut stages = Stages::new(root.clone());
        for name in ["first", "second", "third"] {
            let order = Arc::clone(&order);
            stages.start(name, SOON, |shutdown| async move {
                shutdown.asked().await;
                tokio::task::yield_now().await;
                order.lock().unwrap().push(name);
                Ok(())
            });
        }
        root.finish();
        stages.run().await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["third", "second", "first"]);
    }

    #[tokio::test(start_paused = true)]
    async fn part_that_ends_by_itself_stops_the_others_and_is_named() {
        let mut stages = Stages::new(Shutdown::new());
        let (told, asked) = tokio::sync::oneshot::channel();
        stages.start("patient", SOON, |shutdown| async move {
            shutdown.asked().await;
            told.send(()).map_err(|()| "nobody listens")?;
            Ok(())
        });
        stages.start("broken", SOON, |_| async { Err("no disk".into()) });
        let error = stages.run().await.unwrap_err();
        assert_eq!(error.chain(), "broken ended by itself, so the process stops: failed: no disk");
        assert!(asked.await.is_ok(), "the other part was asked to stop");
    }

    #[tokio::test(start_paused = true)]
    async fn part_that_does_not_stop_is_left_after_its_time() {
        let root = Shutdown::new();
        let mut stages = Stages::new(root.clone());
        stages.start("stuck", SOON, |_| std::future::pending());
        root.finish();
        let error = stages.run().await.unwrap_err();
        assert_eq!(error.chain(), "stuck did not stop in time");
    }

    #[tokio::test(start_paused = true)]
    async fn asked_again_nobody_is_waited_for() {
        let root = Shutdown::new();
        let mut stages = Stages::new(root.clone());
        stages.start("stuck", SOON, |_| std::future::pending());
        root.stop_at_once();
        let began = Instant::now();
        stages.run().await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
