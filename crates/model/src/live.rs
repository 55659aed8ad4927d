//! What a process remembers of deployments between calls: who runs there, who waits, and whether it is
//! to be left alone after failures. Nothing of it is durable; a restart begins with trust.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::model_definition::{Cooldown, Deployment};
use tokio::time::Instant;

use crate::queue::Gate;

/// Above so many deployments, those that nobody uses are forgotten.
const FORGET_ABOVE: usize = 4_096;

/// Whose deployment: tenant, alias, deployment.
type Name = (String, String, String);

/// All deployments that this process has called.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    live: Mutex<HashMap<Name, Arc<Live>>>,
}

impl Pool {
    /// What is known of a deployment.
    pub(crate) fn get(&self, tenant: &str, alias: &str, deployment: &Deployment) -> Arc<Live> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.len() > FORGET_ABOVE {
            live.retain(|_, live| Arc::strong_count(live) > 1);
        }
        let name = (tenant.to_owned(), alias.to_owned(), deployment.name.clone());
        Arc::clone(live.entry(name).or_default())
    }
}

/// One deployment.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// Its places and its queue.
    pub(crate) gate: Arc<Gate>,
    health: Mutex<Health>,
}

impl Live {
    /// Its health, for a moment.
    pub(crate) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The recent failures of a deployment.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failures: VecDeque<Instant>,
    until: Option<Instant>,
}

/// Whether a failure began a cooldown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Began {
    /// It did.
    Cooldown,
    /// It didn't.
    Nothing,
}

impl Health {
    /// It failed. `retry_after`: how long it asked to be left alone, which is granted at once.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        rules: &Cooldown,
        retry_after: Option<Duration>,
    ) -> Began {
        if rules.for_ms == 0 {
            return Began::Nothing;
        }
        let window = Duration::from_millis(rules.window_ms);
        self.failures.push_back(now);
        while self.failures.front().is_some_and(|at| now.duration_since(*at) > window) {
            self.failures.pop_front();
        }
        let mut alone = retry_after;
        if self.failures.len() >= usize::try_from(rules.failures).unwrap_or(usize::MAX) {
            self.failures.clear();
            alone = alone.max(Some(Duration::from_millis(rules.for_ms)));
        }
        let Some(alone) = alone else {
            return Began::Nothing;
        };
        let was_cooling = self.cooling(now).is_some();
        self.until = self.until.max(Some(now + alone));
        if was_cooling || alone.is_zero() { Began::Nothing } else { Began::Cooldown }
    }

    /// It answered: what came before is forgotten.
    pub(crate) fn answered(&mut self) {
        self.failures.clear();
        self.until = None;
    }

    /// How long it is still to be left alone.
    pub(crate) fn cooling(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(failures: u32, window_ms: u64, for_ms: u64) -> Cooldown {
        Cooldown { failures, window_ms, for_ms }
    }

    /// What happened, each at its millisecond, and how long it cools at the end.
    #[test]
    fn deployment_cools_after_failures_within_the_window() {
        enum Event {
            Failed(u64),
            Asked(u64, u64),
            Answered,
        }
        use Event::{Answered, Asked, Failed};
        let start = Instant::now();
        for (case, rules, events, at, cooling) in [
            ("too few", rules(3, 100, 50), vec![Failed(0), Failed(1)], 1, None),
            ("enough", rules(3, 100, 50), vec![Failed(0), Failed(1), Failed(2)], 12, Some(40)),
            ("over again", rules(3, 100, 50), vec![Failed(0), Failed(1), Failed(2)], 52, None),
            (
                "too far apart",
                rules(3, 100, 50),
                vec![Failed(0), Failed(1), Failed(102)],
                102,
                None,
            ),
            ("an answer between", rules(2, 100, 50), vec![Failed(0), Answered, Failed(1)], 1, None),
            ("an answer after", rules(1, 100, 50), vec![Failed(0), Answered], 1, None),
            ("asked to wait", rules(9, 100, 50), vec![Asked(0, 500)], 100, Some(400)),
            ("longer wait wins", rules(1, 100, 50), vec![Asked(0, 500), Failed(1)], 1, Some(499)),
            ("longer cooldown wins", rules(1, 100, 50), vec![Asked(0, 10)], 0, Some(50)),
            ("switched off", rules(1, 100, 0), vec![Asked(0, 500), Failed(1)], 1, None),
        ] {
            let mut health = Health::default();
            for event in events {
                match event {
                    Failed(ms) => {
                        health.failed(start + Duration::from_millis(ms), &rules, None);
                    }
                    Asked(ms, wait) => {
                        let wait = Some(Duration::from_millis(wait));
                        health.failed(start + Duration::from_millis(ms), &rules, wait);
                    }
                    Answered => health.answered(),
                }
            }
            let left = health.cooling(start + Duration::from_millis(at));
            assert_eq!(left, cooling.map(Duration::from_millis), "{case}");
        }
    }
}
