//! A deterministic simulation of the runtime over topics in memory: seeded crashes, zombies, lost and
//! repeated sends, late ones of dead producers, delayed, aborted and unknown commits, clocks that differ,
//! programs that change, state topics that are emptied.
//!
//! What is simulated is a [`Scenario`]: which processors there are, what their clients do, how outside calls
//! end, and what has to hold beyond the named invariants. This crate's own tests have a small one; whoever
//! writes a processor can put the real one in (feature `simulation`).
//!
//! Everything that happens is chosen by one random number generator whose state is the seed, the machines
//! read no clock, and nothing iterates a hash map on its way to an effect: so a seed replays. To look at a
//! failing one: `SEED=n cargo test -p stepstream-runtime one_seed -- --nocapture`.

mod broker;
mod clients;
mod judge;
#[cfg(test)]
pub(crate) mod programs;
mod rng;
mod seat;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod toy;
mod world;

use domain::invariants::History;
use domain::topic::Kind;

pub use self::broker::PARTITIONS;
pub use self::clients::Clients;
pub use self::judge::Past;
pub use self::rng::Rng;
pub use self::seat::{Process, Tenure};
pub use crate::partition::rules::Rule;

use self::world::World;
use crate::partition::Options;

/// What is simulated.
pub trait Scenario {
    /// The kinds that have a processor; all they send to each other and to clients is judged.
    const KINDS: &'static [Kind];

    /// How many things happen before everything heals.
    const STEPS: usize;

    /// How the machines of a kind are set.
    fn options(&self, kind: Kind) -> Options;

    /// Which program processes are started with at this step. Those that run keep theirs.
    fn program(&self, step: usize) -> Program;

    /// A process takes a partition.
    fn seat(&self, tenure: Tenure) -> Process;

    /// A client publishes something.
    fn publish(&mut self, clients: &mut Clients<'_>);

    /// Somebody commands an entity.
    fn command(&mut self, clients: &mut Clients<'_>);

    /// How far the clock of the brokers is behind, in milliseconds, when it changes.
    fn clock(&self, rng: &mut Rng) -> i64 {
        rng.below(400) as i64
    }

    /// Nothing fails any more, and everything is quiet: what clients do now.
    fn settle(&mut self, clients: &mut Clients<'_>) -> Settled {
        let _ = clients;
        Settled::Done
    }

    /// Completes what an outsider can read by what only this scenario knows to read.
    fn complete(&self, past: &Past<'_>, history: &mut History);

    /// All logs are about to be folded again, by owners that never were before. Says what of their outputs
    /// has to be what it was.
    fn before_replay(&mut self) -> Replay;

    /// What has to hold beyond the invariants of [`domain::invariants`].
    ///
    /// # Errors
    /// What doesn't, by its name.
    fn judge(&mut self, past: &Past<'_>, history: &History) -> Result<(), String>;
}

/// Which program folds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The one that everything begins with.
    First,
    /// A changed one.
    Second,
}

impl Program {
    pub(super) fn fingerprint(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
        }
    }
}

/// Whether clients have done what they do in a world without faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// What they did has to become quiet first.
    NotYet,
    /// Nothing is left to do.
    Done,
}

/// What a second fold of the same logs has to put out again, byte by byte (invariant I13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Everything.
    Everything,
    /// Everything but `results`: a program that changed raised the generation, which events show.
    AllButResults,
    /// Nothing: the program that changed decides otherwise.
    Nothing,
}

/// What went wrong under a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

/// How a seed ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// All that happened, as a hash.
    pub trace: u64,
    /// Whether everything held.
    pub result: Result<(), Broken>,
    /// How often a process took a partition.
    pub take_overs: usize,
}

/// Whether what happens is kept as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// As a hash alone.
    Hashed,
    /// A line for each thing as well, and for each record that stands in a topic in the end.
    Lines,
}

/// Runs one seed. Returns its lines as well, where they are wanted. A rule is left out to show that the
/// simulation sees what then breaks.
pub fn run<S: Scenario>(
    scenario: S,
    seed: u64,
    without: Option<Rule>,
    trace: Trace,
) -> (Ended, String) {
    let mut world = World::new(scenario, seed, without, trace);
    let result = world.live();
    world.ended(result)
}
