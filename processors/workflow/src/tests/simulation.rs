//! Real workflows in the simulation of the runtime: crashes, zombies, lost, late and repeated sends, aborted and
//! unknown commits, clocks that jump by ten minutes, changed programs, and clients who start, cancel, pause, resume
//! and signal at random. Judged by the named predicates of the domain.
//!
//! To look at a failing seed: `SEED=n cargo test -p stepstream-workflow one_seed_of -- --nocapture`. More seeds than
//! usual: `SEEDS=from..to cargo test -p stepstream-workflow every_seed_of_workflows -- --nocapture`.

mod clients;
mod definitions;
mod models;
mod scenario;
pub(crate) mod witness;

use std::ops::Range;

use runtime::sim::{Ended, Rule, Trace, run};

use self::scenario::{Company, Seen};
use self::witness::Slip;

/// How many seeds a test run tries.
const SEEDS: u64 = 100;

fn seed(seed: u64, without: Option<Rule>, trace: Trace, seen: &Seen) -> (Ended, String) {
    run(Company::new(seed, Seen::clone(seen)), seed, without, trace)
}

/// The seeds that `SEEDS` names, else the usual ones.
fn seeds() -> Range<u64> {
    let named = std::env::var("SEEDS").ok();
    let range = named.as_deref().and_then(|named| named.split_once(".."));
    let bounds = range.and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    bounds.map_or(0..SEEDS, |(from, to)| from..to)
}

#[test]
fn every_seed_of_workflows_keeps_the_invariants() {
    let seen = Seen::default();
    for number in seeds() {
        let (Ended { result, .. }, _) = seed(number, None, Trace::Hashed, &seen);
        assert_eq!(result, Ok(()), "SEED={number}");
    }
    let seen = seen.borrow();
    for (what, count) in &*seen {
        println!("{count:>8} {what}");
    }
    for what in EXPECTED {
        assert!(seen.contains_key(*what), "no seed sees {what}");
    }
}

/// What happens somewhere in the usual seeds: the simulation is about nothing that it never reaches.
const EXPECTED: &[&str] = &[
    "execution.admitted",
    "execution.queued",
    "execution.started",
    "execution.paused",
    "execution.resumed",
    "execution.succeeded",
    "execution.failed",
    "execution.cancelled",
    "execution.timed_out",
    "step.started",
    "step.waiting",
    "step.retrying",
    "step.succeeded",
    "step.failed",
    "step.skipped",
    "step.cancelled",
    "approval.requested",
    "approval.given",
    "signal.refused",
];

#[test]
fn same_seed_of_workflows_gives_the_same_trace() {
    let seen = Seen::default();
    let once = |number| seed(number, None, Trace::Hashed, &seen).0;
    for number in [1, 18, 4_711] {
        assert_eq!(once(number), once(number));
    }
}

/// Replays one seed with every line of its trace, without `SEED` seed 0.
#[test]
fn one_seed_of_workflows_replays_with_its_trace() {
    let number = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let (ended, lines) = seed(number, None, Trace::Lines, &Seen::default());
    println!("{lines}");
    assert_eq!(ended.result, Ok(()), "SEED={number}");
}

/// Without this rule of the runtime some seed fails.
fn is_seen(rule: Rule) {
    let seen = Seen::default();
    let fails = |number| seed(number, Some(rule), Trace::Hashed, &seen).0.result.err();
    let found = (0..SEEDS).find_map(|number| fails(number).map(|broken| (number, broken)));
    let (number, broken) = found.unwrap_or_else(|| panic!("{rule:?} can be left out unseen"));
    println!("{rule:?}: seed {number}: {}", broken.0);
}

/// With this mistake some seed fails, and says so by this name.
fn is_noticed(slip: Slip, name: &str) {
    let seen = Seen::default();
    witness::slips(Some(slip));
    let fails = |number| seed(number, None, Trace::Hashed, &seen).0.result.err();
    let found = (0..SEEDS).find_map(|number| fails(number).map(|broken| (number, broken)));
    witness::slips(None);
    let (number, broken) = found.unwrap_or_else(|| panic!("nobody notices {slip:?}"));
    println!("{slip:?}: seed {number}: {}", broken.0);
    assert!(broken.0.contains(name), "{}", broken.0);
}

macro_rules! seen {
    ($($name:ident: $rule:ident),* $(,)?) => {
        $(#[test] fn $name() { is_seen(Rule::$rule); })*
    };
}

seen! {
    without_determinism_a_workflow_says_two_things: F1Determinism,
    without_unknown_acks_a_step_waits_for_ever: F2UnknownAcks,
    without_copy_detection_a_workflow_runs_twice: F3Copies,
    without_first_fact_a_wait_ends_early: F5FirstFact,
    without_skips_poison_stops_its_partition: F7Skip,
    without_early_commands_a_signal_is_lost: Q4EarlyCommands,
    without_waiting_for_outputs_a_request_is_lost: K1Outputs,
    without_fencing_a_zombie_rewinds_workflows: K2Fence,
}

macro_rules! noticed {
    ($($name:ident: $slip:ident, $invariant:literal),* $(,)?) => {
        $(#[test] fn $name() { is_noticed(Slip::$slip, $invariant); })*
    };
}

noticed! {
    step_that_begins_in_a_pause_is_noticed: Pause, "I7",
    step_that_begins_after_a_cancel_is_noticed: Cancel, "I7",
    place_that_is_granted_to_nobody_is_noticed: Granted, "I1",
    place_that_is_never_given_back_is_noticed: Release, "I1",
    child_that_stays_paused_is_noticed: Resume, "I1",
    timer_that_is_never_set_is_noticed: Timers, "I1",
    output_that_depends_on_chance_is_noticed: Chance, "I5b",
}
