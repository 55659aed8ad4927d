//! The catalogue of definitions as this process knows it: fed by whoever reads their log, read by
//! everybody.
//!
//! Nothing here reads a topic, and nothing decides: what a proposal leads to is the domain's fold.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::catalogue::{Catalogue, DefinitionProposed, Outcome};
use tokio::sync::watch;
use tokio::time::timeout;

/// The outcomes that are remembered for those who ask after their proposal. A proposer asks within
/// seconds, and people don't change definitions by the thousand in that time; one that isn't found any
/// more looks the same as one that wasn't folded in time.
const OUTCOMES: usize = 4_096;

/// A handle on the catalogue. Cheap to clone; all clones see the same.
#[derive(Clone, Debug)]
pub struct Definitions {
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    catalogue: Arc<Catalogue>,
    caught_up: bool,
    outcomes: Outcomes,
}

/// The latest outcomes by proposal.
#[derive(Debug, Default)]
struct Outcomes {
    by_proposal: HashMap<String, Outcome>,
    in_order: VecDeque<String>,
}

impl Default for Definitions {
    fn default() -> Self {
        Self::new()
    }
}

impl Definitions {
    /// An empty catalogue that hasn't caught up.
    #[must_use]
    pub fn new() -> Self {
        Self { state: watch::Sender::new(State::default()) }
    }

    /// The catalogue as it stands. It doesn't change under the reader.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Catalogue> {
        Arc::clone(&self.state.borrow().catalogue)
    }

    /// Folds the next proposal of the log. For the one reader of the log only.
    ///
    /// A copy of a proposal leaves the catalogue as it is, since the first one raised the version that it
    /// expects; its outcome stays that of the first.
    pub fn apply(&self, proposal: DefinitionProposed) -> Outcome {
        let mut outcome = Outcome::Conflict(0);
        self.state.send_modify(|state| {
            let id = proposal.id.clone();
            // Copies the catalogue only while someone holds a snapshot of it.
            outcome = Arc::make_mut(&mut state.catalogue).apply(proposal);
            outcome = state.outcomes.keep(id, outcome);
        });
        outcome
    }

    /// Says that all that was in the log when this process started is folded. For the reader of the log.
    pub fn set_caught_up(&self) {
        self.state.send_modify(|state| state.caught_up = true);
    }

    /// Whether all that was in the log when this process started is folded.
    #[must_use]
    pub fn caught_up(&self) -> bool {
        self.state.borrow().caught_up
    }

    /// Returns when all that was in the log when this process started is folded.
    pub async fn wait_caught_up(&self) {
        self.wait(|state| state.caught_up.then_some(())).await;
    }

    /// What became of a proposal, as soon as it is folded; `None` when that takes longer than `limit`.
    pub async fn wait_for(&self, proposal: &str, limit: Duration) -> Option<Outcome> {
        let outcome = |state: &State| state.outcomes.by_proposal.get(proposal).copied();
        timeout(limit, self.wait(outcome)).await.ok()
    }

    /// The catalogue, as soon as `wanted` holds of it; `None` when that takes longer than `limit`.
    pub async fn wait_until(
        &self,
        wanted: impl Fn(&Catalogue) -> bool,
        limit: Duration,
    ) -> Option<Arc<Catalogue>> {
        let found = |state: &State| wanted(&state.catalogue).then(|| Arc::clone(&state.catalogue));
        timeout(limit, self.wait(found)).await.ok()
    }

    /// Wakes its holder at every change.
    #[must_use]
    pub fn changes(&self) -> Changes {
        let mut state = self.state.subscribe();
        state.mark_changed();
        Changes { state }
    }

    /// The first thing that `found` finds, now or after a change.
    async fn wait<T>(&self, found: impl Fn(&State) -> Option<T>) -> T {
        let mut state = self.state.subscribe();
        loop {
            if let Some(found) = found(&state.borrow_and_update()) {
                return found;
            }
            // `self` is a sender, so there is one for as long as this waits.
            let _ = state.changed().await;
        }
    }
}

/// The changes of the catalogue, the latest only.
#[derive(Debug)]
pub struct Changes {
    state: watch::Receiver<State>,
}

impl Changes {
    /// The catalogue: at once the first time, then after each change; `None` when no handle is left.
    pub async fn next(&mut self) -> Option<Arc<Catalogue>> {
        self.state.changed().await.ok()?;
        Some(Arc::clone(&self.state.borrow_and_update().catalogue))
    }
}

impl Outcomes {
    /// Keeps the first outcome of a proposal, and returns it.
    fn keep(&mut self, proposal: String, outcome: Outcome) -> Outcome {
        if let Some(first) = self.by_proposal.get(&proposal) {
            return *first;
        }
        if self.in_order.len() == OUTCOMES
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.by_proposal.remove(&oldest);
        }
        self.in_order.push_back(proposal.clone());
        self.by_proposal.insert(proposal, outcome);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use domain::catalogue::DefinitionKind;
    use domain::time::Millis;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn proposal(id: &str, expects: i32) -> DefinitionProposed {
        DefinitionProposed {
            id: id.into(),
            kind: DefinitionKind::Model,
            tenant: "default".into(),
            name: "fast".into(),
            expects,
            body: Some(id.into()),
            proposed_by: "test".into(),
            time: Millis(0),
        }
    }

    #[tokio::test]
    async fn proposer_learns_the_outcome_before_and_after_it_is_folded() {
        let definitions = Definitions::new();
        let waits = tokio::spawn({
            let definitions = definitions.clone();
            async move { definitions.wait_for("b", SOON).await }
        });
        definitions.apply(proposal("a", 0));
        definitions.apply(proposal("b", 0));
        assert_eq!(waits.await.unwrap(), Some(Outcome::Conflict(1)));
        assert_eq!(definitions.wait_for("a", SOON).await, Some(Outcome::Accepted(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_what_never_comes_ends() {
        let definitions = Definitions::new();
        assert_eq!(definitions.wait_for("a", SOON).await, None);
        assert!(definitions.wait_until(|_| false, SOON).await.is_none());
    }

    #[test]
    fn copy_of_a_proposal_keeps_the_first_outcome() {
        let definitions = Definitions::new();
        assert_eq!(definitions.apply(proposal("a", 0)), Outcome::Accepted(1));
        assert_eq!(definitions.apply(proposal("a", 0)), Outcome::Accepted(1));
        let catalogue = definitions.snapshot();
        assert_eq!(catalogue.history(DefinitionKind::Model, "default", "fast").len(), 1);
    }

    #[test]
    fn snapshot_does_not_change_under_its_reader() {
        let definitions = Definitions::new();
        let before = definitions.snapshot();
        definitions.apply(proposal("a", 0));
        assert!(before.newest(DefinitionKind::Model, "default", "fast").is_none());
        let after = definitions.snapshot();
        assert!(after.newest(DefinitionKind::Model, "default", "fast").is_some());
    }

    #[test]
    fn remembered_outcomes_are_bounded() {
        let mut outcomes = Outcomes::default();
        for number in 0..OUTCOMES + 10 {
            outcomes.keep(number.to_string(), Outcome::Accepted(1));
        }
        assert_eq!(outcomes.by_proposal.len(), OUTCOMES);
        assert_eq!(outcomes.in_order.len(), OUTCOMES);
        assert!(!outcomes.by_proposal.contains_key("9"));
        assert!(outcomes.by_proposal.contains_key("10"));
    }

    #[tokio::test]
    async fn changes_begin_with_what_stands() {
        let definitions = Definitions::new();
        let mut changes = definitions.changes();
        assert!(changes.next().await.is_some());
        definitions.apply(proposal("a", 0));
        let catalogue = changes.next().await.unwrap();
        assert!(catalogue.newest(DefinitionKind::Model, "default", "fast").is_some());
        assert!(!definitions.caught_up());
        definitions.set_caught_up();
        definitions.wait_caught_up().await;
        assert!(changes.next().await.is_some());
        drop(definitions);
        assert!(changes.next().await.is_none());
    }
}
