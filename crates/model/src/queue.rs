//! The queue before a deployment: so many calls at once, the others wait by priority, then in order.
//! Nobody is refused. How many may wait is bounded by who admits calls, not here.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Higher priority first, then by arrival.
type Place = (Reverse<i32>, u64);

/// The gate of one deployment.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: u32,
    limit: u32,
    arrivals: u64,
    waiting: BTreeMap<Place, oneshot::Sender<()>>,
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
}

/// Leave to run one call; the place is free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<Gate>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.running -= 1;
        state.admit();
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
        let mut state = self.gate.lock();
        if state.waiting.remove(&place).is_none() {
            // It was let in, but nobody came.
            state.running -= 1;
            state.admit();
        }
    }
}

impl Gate {
    /// Waits for a place among `limit`. The limit of the latest caller counts.
    pub(crate) async fn enter(self: &Arc<Self>, limit: u32, priority: i32) -> Permit {
        let (place, entry) = {
            let mut state = self.lock();
            state.limit = limit;
            state.arrivals += 1;
            let place = (Reverse(priority), state.arrivals);
            let (sender, entry) = oneshot::channel();
            state.waiting.insert(place, sender);
            state.admit();
            (place, entry)
        };
        let mut waiting = Waiting { gate: self, place: Some(place) };
        // The sender is only dropped after a send.
        let _ = entry.await;
        waiting.place = None;
        Permit { gate: Arc::clone(self) }
    }

    /// How many run or wait.
    pub(crate) fn load(&self) -> u64 {
        let state = self.lock();
        u64::from(state.running) + state.waiting.len() as u64
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Entering<'a> = Pin<Box<dyn Future<Output = Permit> + 'a>>;

    fn poll(entering: &mut Entering<'_>) -> Option<Permit> {
        match entering.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => Some(permit),
            Poll::Pending => None,
        }
    }

    fn enter(gate: &Arc<Gate>, priority: i32) -> (Entering<'_>, Option<Permit>) {
        let mut entering: Entering<'_> = Box::pin(gate.enter(1, priority));
        let permit = poll(&mut entering);
        (entering, permit)
    }

    #[test]
    fn higher_priority_goes_first_and_equals_go_in_order() {
        let gate = Arc::new(Gate::default());
        let (_, mut running) = enter(&gate, 0);
        let mut queue: Vec<_> = [0, 5, 0, 5, -1].map(|p| enter(&gate, p).0).into();
        assert_eq!(gate.load(), 6);
        for expected in [1, 3, 0, 2, 4] {
            drop(running.take());
            let let_in: Vec<usize> = (0..queue.len())
                .filter(|i| {
                    running = poll(&mut queue[*i]).or(running.take());
                    running.is_some()
                })
                .take(1)
                .collect();
            assert_eq!(let_in, [expected]);
            queue[expected] = Box::pin(std::future::pending());
        }
    }

    #[test]
    fn place_of_one_who_left_goes_to_the_next() {
        let gate = Arc::new(Gate::default());
        let (_, running) = enter(&gate, 0);
        let (waits, _) = enter(&gate, 0);
        let (was_let_in, _) = enter(&gate, 0);
        let (mut last, _) = enter(&gate, 0);
        drop(waits);
        drop(running);
        assert!(poll(&mut last).is_none(), "another is before it");
        drop(was_let_in);
        let _running = poll(&mut last).expect("its turn");
        assert_eq!(gate.load(), 1);
    }

    #[test]
    fn raised_limit_lets_those_in_who_wait() {
        let gate = Arc::new(Gate::default());
        let (_, _running) = enter(&gate, 0);
        let (mut waits, _) = enter(&gate, 0);
        let mut third: Entering<'_> = Box::pin(gate.enter(3, 0));
        let _third = poll(&mut third).expect("three may run");
        assert!(poll(&mut waits).is_some());
    }
}
