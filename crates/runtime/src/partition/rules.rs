//! The rules of DESIGN section 3, by name. All of them hold; a build for the simulation can take one out, to
//! show that it sees what then breaks.

/// A rule that stands because a concrete interleaving breaks without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    not(any(test, feature = "simulation")),
    allow(
        dead_code,
        unreachable_pub,
        reason = "outside the simulation a rule is only a name at the place it guards"
    )
)]
pub enum Rule {
    /// A step sees state, event and state time, nothing else.
    F1Determinism,
    /// An acknowledgement without an offset counts as unknown, and is sent again.
    F2UnknownAcks,
    /// A receiver drops what it has applied.
    F3Copies,
    /// Wanted calls are state; a call counts as running until its end is folded.
    F4WantedCalls,
    /// The first `Finished`, and the first due `TimerFired`, counts.
    F5FirstFact,
    /// A take-over is a fact, and its offset the fence.
    F6TakeOver,
    /// A record whose fold fails is passed.
    F7Skip,
    /// An `Admitted` counts only from the position that the fold knows.
    Q1FeedPosition,
    /// A request that can't be taken is a dead letter first and a `Rejected` then.
    Q2Rejected,
    /// The feed waits while the window is full; the log never does.
    Q3Window,
    /// A command that comes before its entity is kept.
    Q4EarlyCommands,
    /// A checkpoint waits until the outputs of what it covers are acknowledged.
    K1Outputs,
    /// A take-over fences earlier owners before it reads the state.
    K2Fence,
    /// After an unknown commit the memory is dropped and restored.
    K3Unknown,
    /// What is folded and not checkpointed is bounded.
    K4Bound,
    /// A restore without genesis, or with entries missing, stops.
    K5Genesis,
}

/// Which rules hold: all of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) without: Option<Rule>,
}

impl Rules {
    /// Whether `rule` holds.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn hold(self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// Whether `rule` holds.
    #[cfg(not(any(test, feature = "simulation")))]
    #[allow(clippy::unused_self, reason = "the simulation answers from a field")]
    pub(crate) const fn hold(self, _rule: Rule) -> bool {
        true
    }
}
