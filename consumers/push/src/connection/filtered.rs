//! One subscription to the events of a tenant: what comes, filtered, each once.
//!
//! Pure. There is no order over executions to resume by, so it has no history: whoever comes back is told
//! so and lists what there is. Text isn't in it.

use std::collections::{HashMap, VecDeque};

use domain::event::{ExecutionEvent, Position};
use follow::feed::Published;
use follow::order::{Events, Verdict};

use crate::message::EventFilter;

/// Of how many executions the place is remembered, so that copies after a crash are dropped. Copies come
/// within seconds of what they copy.
const REMEMBERED: usize = 1024;

/// The subscription.
#[derive(Debug)]
pub(super) struct Filtered {
    filter: EventFilter,
    places: HashMap<String, Events>,
    oldest: VecDeque<String>,
}

impl Filtered {
    pub(super) fn new(filter: EventFilter) -> Self {
        Self { filter, places: HashMap::new(), oldest: VecDeque::new() }
    }

    /// Whether an event is passed on.
    pub(super) fn takes(&mut self, event: &Published<ExecutionEvent>) -> bool {
        let place = event.position();
        match self.places.get_mut(&event.execution_id) {
            Some(order) => match order.offer(place) {
                Verdict::Copy => return false,
                // What lies between was never published here, or is missing: the client saw `reset`.
                Verdict::Gap => *order = Events::after(place),
                Verdict::Next | Verdict::Replaces => {}
            },
            None => self.remember(&event.execution_id, place),
        }
        self.filter.takes(event)
    }

    fn remember(&mut self, execution: &str, place: Position) {
        if self.oldest.len() >= REMEMBERED
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.places.remove(&oldest);
        }
        self.oldest.push_back(execution.to_owned());
        self.places.insert(execution.to_owned(), Events::after(place));
    }
}
