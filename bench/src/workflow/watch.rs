//! Reads every event of `results` into something that a bench then looks at. What is worth keeping is the
//! bench's to say.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use domain::event::ExecutionEvent;
use domain::time::Millis;
use domain::topic::Topic;
use rdkafka::Message;

use crate::client;
use crate::platform::{Platform, now};

/// How long the reader waits for records before it looks whether it should stop.
const LOOK: Duration = Duration::from_millis(50);
/// How often what was seen is looked at.
const ASKED: Duration = Duration::from_millis(20);

/// A reader on a thread of its own.
pub(crate) struct Watch<S> {
    seen: Arc<Mutex<S>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<S: Send + 'static> Watch<S> {
    /// Begins at the present end of `results`. `see` is told each event, and when it was read.
    pub(crate) fn start(
        platform: &Platform,
        seen: S,
        mut see: impl FnMut(&mut S, ExecutionEvent, Millis) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let topic = platform.topic(Topic::Results);
        let consumer = client::consumer_from_end(&platform.brokers, &topic, "bench-watch")?;
        let (seen, stop) = (Arc::new(Mutex::new(seen)), Arc::new(AtomicBool::new(false)));
        let (filled, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let ids = platform.ids.clone();
        let read = move || {
            while !stopped.load(Ordering::Acquire) {
                let message = match consumer.poll(LOOK) {
                    None => continue,
                    Some(Ok(message)) => message,
                    Some(Err(error)) => {
                        tracing::warn!(%error, "the watch can't read");
                        continue;
                    }
                };
                let at = now();
                match ids.read::<ExecutionEvent>(message.payload().unwrap_or_default()) {
                    Ok(event) => see(&mut locked(&filled), event, at),
                    Err(error) => tracing::warn!(%error, "an event can't be read"),
                }
            }
        };
        let thread = std::thread::Builder::new().name("watch".into()).spawn(read);
        Ok(Self { seen, stop, thread: Some(thread.context("starting the watch")?) })
    }

    /// Looks at what was seen.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&mut S) -> R) -> R {
        look(&mut locked(&self.seen))
    }

    /// Waits until `done` says so, and says whether it did within `patience`.
    pub(crate) fn until(&self, patience: Duration, done: impl Fn(&S) -> bool) -> bool {
        let until = Instant::now() + patience;
        loop {
            if self.look(|seen| done(seen)) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(ASKED);
        }
    }
}

impl<S> Drop for Watch<S> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn locked<S>(seen: &Mutex<S>) -> MutexGuard<'_, S> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
