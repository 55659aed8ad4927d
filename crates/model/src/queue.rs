//! The queue before a deployment: so many calls at once, the others wait by priority, then in order, and
//! are told where they stand. Nobody is refused. How many may wait is bounded by who admits calls, not here.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::event::QueuePlace;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

/// The least time between two words about a place.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// So many places from the front, a call is told half as often as at the front, and so on: what a queue
/// says in a second grows with the logarithm of its length.
const FAR: u64 = 100;

/// A call's share in the mean of how long a place is held: one in so many.
const WEIGHT: u32 = 8;

/// Higher priority first, then by arrival.
type Place = (Reverse<i32>, u64);

/// The gate of one deployment.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
    /// Somebody came, went in or left.
    moved: watch::Sender<()>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { state: Mutex::default(), moved: watch::Sender::new(()) }
    }
}

#[derive(Debug, Default)]
struct State {
    running: u32,
    limit: u32,
    arrivals: u64,
    waiting: BTreeMap<Place, oneshot::Sender<()>>,
    /// How long a place is held, the newest weighing most; `None` until one was.
    mean: Option<Duration>,
}

impl State {
    /// Lets in as many as there is room for.
    fn admit(&mut self) {
        while self.running < self.limit {
            let Some((_, entry)) = self.waiting.pop_first() else {
                break;
            };
            self.running += 1;
            // Who has gone away in this very moment gives the place back when its `Waiting` is dropped.
            let _ = entry.send(());
        }
    }

    /// A place was held so long.
    fn held(&mut self, time: Duration) {
        self.mean = Some(self.mean.map_or(time, |mean| (mean * (WEIGHT - 1) + time) / WEIGHT));
    }

    /// Where `place` stands; `None` when it waits no more.
    fn look_up(&self, place: &Place) -> Option<QueuePlace> {
        let (last, _) = self.waiting.last_key_value()?;
        let position = if last == place {
            // Most look when they have just come, and most come last.
            self.waiting.len()
        } else if self.waiting.contains_key(place) {
            self.waiting.range(..=place).count()
        } else {
            return None;
        };
        let position = position as u64;
        let estimated_wait_ms = self.mean.map(|mean| {
            let all = mean.as_millis().saturating_mul(u128::from(position));
            u64::try_from(all / u128::from(self.limit.max(1))).unwrap_or(u64::MAX)
        });
        Some(QueuePlace { position, estimated_wait_ms })
    }
}

/// Leave to run one call; the place is free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<Gate>,
    /// When it was given; `None`: it says nothing about how long a call takes.
    since: Option<Instant>,
}

impl Permit {
    /// Gives the place back: nobody was called.
    pub(crate) fn unused(mut self) {
        self.since = None;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.change(|state| {
            if let Some(since) = self.since {
                state.held(since.elapsed());
            }
            state.running -= 1;
            state.admit();
        });
    }
}

/// One who waits; leaves the queue when it is dropped.
struct Waiting<'a> {
    gate: &'a Gate,
    place: Option<Place>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        self.gate.change(|state| {
            if state.waiting.remove(&place).is_none() {
                // It was let in, but nobody came.
                state.running -= 1;
                state.admit();
            }
        });
    }
}

/// Who is told where a call stands.
pub(crate) type Tell<'a> = &'a mut (dyn FnMut(QueuePlace) + Send);

impl Gate {
    /// Waits for a place among `limit`. The limit of the latest caller counts. `tell` learns the place in
    /// the queue at once when there is a wait, and then when the position has changed, now and then.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        limit: u32,
        priority: i32,
        tell: Tell<'_>,
    ) -> Permit {
        let (place, entry) = self.change(|state| {
            state.limit = limit;
            state.arrivals += 1;
            let place = (Reverse(priority), state.arrivals);
            let (sender, entry) = oneshot::channel();
            state.waiting.insert(place, sender);
            state.admit();
            (place, entry)
        });
        let mut waiting = Waiting { gate: self, place: Some(place) };
        tokio::select! {
            biased;
            // The sender is only dropped after a send.
            _ = entry => {}
            never = self.watch(place, tell) => match never {},
        }
        waiting.place = None;
        Permit { gate: Arc::clone(self), since: Some(Instant::now()) }
    }

    /// Tells where `place` stands for as long as it does.
    async fn watch(&self, place: Place, tell: Tell<'_>) -> Infallible {
        let mut moved = self.moved.subscribe();
        let mut told = None;
        loop {
            moved.mark_unchanged();
            let found = self.lock().look_up(&place);
            match found {
                Some(found) if told != Some(found.position) => {
                    told = Some(found.position);
                    tell(found);
                    sleep(pause_after(found.position)).await;
                }
                // The sender is in `self`.
                _ => moved.changed().await.unwrap_or(()),
            }
        }
    }

    /// How many run or wait.
    pub(crate) fn load(&self) -> u64 {
        let state = self.lock();
        u64::from(state.running) + state.waiting.len() as u64
    }

    fn change<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        let result = with(&mut self.lock());
        self.moved.send_replace(());
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long one at this position isn't told of another.
fn pause_after(position: u64) -> Duration {
    let times = (position / FAR).saturating_add(1);
    TELL_EVERY.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
