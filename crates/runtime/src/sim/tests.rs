//! What the simulation shows: all seeds hold, a seed replays, and each rule is seen when it is missing.

use super::toy::Family;
use super::{Ended, Rule, Trace};

/// How many seeds a test run tries.
const SEEDS: u64 = 1_000;

fn run(seed: u64, without: Option<Rule>, trace: Trace) -> (Ended, String) {
    super::run(Family::new(seed), seed, without, trace)
}

#[test]
fn every_seed_keeps_the_invariants() {
    for seed in 0..SEEDS {
        let (Ended { result, .. }, _) = run(seed, None, Trace::Hashed);
        assert_eq!(result, Ok(()), "SEED={seed}");
    }
}

#[test]
fn same_seed_gives_the_same_trace() {
    for seed in [1, 17, 4_711] {
        assert_eq!(run(seed, None, Trace::Hashed).0, run(seed, None, Trace::Hashed).0);
    }
}

/// Replays one seed with every line of its trace: `SEED=n cargo test -p stepstream-runtime one_seed --
/// --nocapture`; without `SEED` it replays seed 0.
#[test]
fn one_seed_replays_with_its_trace() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let (ended, lines) = run(seed, None, Trace::Lines);
    println!("{lines}");
    assert_eq!(ended.result, Ok(()), "SEED={seed}");
}

fn is_seen(rule: Rule) {
    let seen = (0..SEEDS)
        .find_map(|seed| run(seed, Some(rule), Trace::Hashed).0.result.err().map(|e| (seed, e)));
    let (seed, broken) = seen.unwrap_or_else(|| panic!("{rule:?} can be left out unseen"));
    println!("{rule:?}: seed {seed}: {}", broken.0);
}

/// One test a rule: without it some seed fails.
macro_rules! seen {
    ($($name:ident: $rule:ident),* $(,)?) => {
        $(#[test] fn $name() { is_seen(Rule::$rule); })*
    };
}

seen! {
    without_determinism_a_copy_differs: F1Determinism,
    without_unknown_acks_an_output_is_lost: F2UnknownAcks,
    without_copy_detection_an_answer_counts_twice: F3Copies,
    without_wanted_calls_as_state_a_call_runs_twice: F4WantedCalls,
    without_first_fact_a_timer_fires_early: F5FirstFact,
    without_take_over_facts_fences_are_shared: F6TakeOver,
    without_skips_a_poison_stops_its_partition: F7Skip,
    without_feed_positions_a_request_runs_twice: Q1FeedPosition,
    without_rejections_a_request_is_lost: Q2Rejected,
    without_windows_calls_pile_up: Q3Window,
    without_early_commands_a_cancel_is_lost: Q4EarlyCommands,
    without_waiting_for_outputs_one_is_lost: K1Outputs,
    without_fencing_a_zombie_checkpoints: K2Fence,
    without_restoring_after_unknown_state_is_torn: K3Unknown,
    without_bounds_unchecked_records_pile_up: K4Bound,
    without_genesis_an_emptied_state_starts_over: K5Genesis,
}
