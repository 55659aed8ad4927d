//! The decisions, as a table: facts on the left, what follows on the right.

use super::*;

/// The random number that makes a wait as long as it may be.
const LARGEST_JITTER: u64 = u64::MAX;

/// What a case leaves to its defaults: two fresh deployments, three tries, one second of backoff,
/// a minute left, and the largest jitter.
#[derive(Clone)]
struct Case {
    deployments: Vec<Candidate>,
    balance: Balance,
    tries: u32,
    failed: Option<FailedTry>,
    fallbacks: Fallbacks,
    visited: Vec<String>,
    left: Duration,
    random: u64,
}

const RETRY: Retry = Retry {
    max_tries: 3,
    base_backoff_ms: 1_000,
    max_backoff_ms: 4_000,
    max_retry_after_ms: 20_000,
};

fn fresh() -> Candidate {
    Candidate { weight: 1, ..Candidate::default() }
}

fn asked(tries: u32) -> Candidate {
    Candidate { tries, ..fresh() }
}

fn out() -> Candidate {
    Candidate { tries: 1, out: true, ..fresh() }
}

fn cooling(ms: u64) -> Candidate {
    Candidate { cooling: Some(Duration::from_millis(ms)), ..fresh() }
}

fn loaded(load: u64, concurrency: Option<u32>) -> Candidate {
    Candidate { load, concurrency, ..fresh() }
}

fn weighing(load: u64, weight: u32) -> Candidate {
    Candidate { load, weight, ..fresh() }
}

fn failure(class: ErrorClass) -> Failure {
    let failure = Failure::new(class, class.as_str(), "said so");
    match class {
        ErrorClass::RateLimited
        | ErrorClass::Provider
        | ErrorClass::Timeout
        | ErrorClass::Network => failure.retryable(),
        _ => failure,
    }
}

impl Case {
    fn first(deployments: Vec<Candidate>) -> Self {
        Self {
            deployments,
            balance: Balance::Ordered,
            tries: 0,
            failed: None,
            fallbacks: Fallbacks::default(),
            visited: vec!["asked".into()],
            left: Duration::from_secs(60),
            random: LARGEST_JITTER,
        }
    }

    fn failed(class: ErrorClass, tries: u32, deployments: Vec<Candidate>) -> Self {
        let failed = FailedTry { deployment: 0, failure: failure(class), retry_after: None };
        Self { tries, failed: Some(failed), ..Self::first(deployments) }
    }

    fn retry_after(mut self, ms: u64) -> Self {
        self.failed.as_mut().expect("failed").retry_after = Some(Duration::from_millis(ms));
        self
    }

    fn spread(self, random: u64) -> Self {
        Self { balance: Balance::Spread, random, ..self }
    }

    fn jitter(self, random: u64) -> Self {
        Self { random, ..self }
    }

    fn left(self, ms: u64) -> Self {
        Self { left: Duration::from_millis(ms), ..self }
    }

    fn general(mut self, aliases: &[&str]) -> Self {
        self.fallbacks.general = aliases.iter().map(ToString::to_string).collect();
        self
    }

    fn special(mut self, context_window: &str, content_policy: &str) -> Self {
        self.fallbacks.context_window = vec![context_window.into()];
        self.fallbacks.content_policy = vec![content_policy.into()];
        self
    }

    fn visited(mut self, alias: &str) -> Self {
        self.visited.push(alias.into());
        self
    }
}

fn at_once(deployment: usize) -> Next {
    Next::Ask { deployment }
}

fn again(deployment: usize, after_ms: u64) -> Next {
    Next::Retry { deployment, after: Duration::from_millis(after_ms) }
}

fn fall_back(alias: &str) -> Next {
    Next::Fallback { alias: alias.into() }
}

fn give_up(class: ErrorClass) -> Next {
    Next::GiveUp(failure(class))
}

fn check(cases: Vec<(&str, Case, Next)>) {
    for (name, case, expected) in cases {
        let decision = next(&Facts {
            deployments: &case.deployments,
            balance: case.balance,
            retry: RETRY,
            tries: case.tries,
            failed: case.failed.as_ref(),
            fallbacks: &case.fallbacks,
            visited: &case.visited,
            left: case.left,
            random: case.random,
        });
        assert_eq!(decision, expected, "{name}");
    }
}

#[test]
fn first_try_goes_to_a_fit_deployment() {
    check(vec![
        ("the first", Case::first(vec![fresh(), fresh()]), at_once(0)),
        ("not a cooling one", Case::first(vec![cooling(5), fresh()]), at_once(1)),
        ("not one without the operation", Case::first(vec![out(), fresh()]), at_once(1)),
        ("one with room", Case::first(vec![loaded(2, Some(2)), loaded(0, Some(2))]), at_once(1)),
        (
            "the first's queue",
            Case::first(vec![loaded(2, Some(2)), loaded(9, Some(2))]),
            at_once(0),
        ),
        (
            "the least loaded",
            Case::first(vec![loaded(3, None), loaded(2, None)]).spread(0),
            at_once(1),
        ),
        ("by weight", Case::first(vec![weighing(3, 4), weighing(1, 1)]).spread(0), at_once(0)),
        ("a tie by chance, one way", Case::first(vec![fresh(), fresh()]).spread(2), at_once(0)),
        ("a tie by chance, the other", Case::first(vec![fresh(), fresh()]).spread(3), at_once(1)),
        (
            "waits for the soonest",
            Case::first(vec![cooling(2_500), cooling(1_500)]).jitter(0),
            again(1, 1_500),
        ),
        (
            "another alias before a long wait",
            Case::first(vec![cooling(9_000)]).general(&["b"]),
            fall_back("b"),
        ),
        (
            "no time to wait",
            Case::first(vec![cooling(9_000)]).left(5_000),
            Next::GiveUp(all_cooling()),
        ),
    ]);
}

#[test]
fn hopeless_classes_are_not_tried_again() {
    for class in [ErrorClass::Invalid, ErrorClass::TooLarge, ErrorClass::Internal] {
        let case =
            Case::failed(class, 1, vec![asked(1), fresh()]).general(&["b"]).special("c", "d");
        check(vec![(class.as_str(), case, give_up(class))]);
    }
}

#[test]
fn context_window_and_content_policy_have_their_own_fallbacks() {
    use ErrorClass::{ContentPolicy, ContextWindow};
    let fails = |class| Case::failed(class, 1, vec![asked(1), fresh()]).general(&["b"]);
    check(vec![
        ("context window", fails(ContextWindow).special("long", "lax"), fall_back("long")),
        ("content policy", fails(ContentPolicy).special("long", "lax"), fall_back("lax")),
        (
            "none left",
            fails(ContextWindow).special("long", "lax").visited("long"),
            give_up(ContextWindow),
        ),
        ("the general ones don't count", fails(ContentPolicy), give_up(ContentPolicy)),
    ]);
}

#[test]
fn deployment_that_failed_for_good_is_left_out() {
    use ErrorClass::{Authentication, NotFound};
    for class in [Authentication, NotFound] {
        check(vec![
            ("another", Case::failed(class, 1, vec![out(), fresh()]), at_once(1)),
            ("no other", Case::failed(class, 1, vec![out()]), give_up(class)),
            (
                "no other, but an alias",
                Case::failed(class, 1, vec![out()]).general(&["b"]),
                fall_back("b"),
            ),
            ("the other again", Case::failed(class, 2, vec![out(), asked(1)]), again(1, 2_000)),
        ]);
    }
}

#[test]
fn passing_classes_are_tried_elsewhere_then_again_then_by_another_alias() {
    use ErrorClass::{Network, Provider, RateLimited, Timeout};
    for class in [RateLimited, Provider, Timeout, Network] {
        let fails = |tries, deployments| Case::failed(class, tries, deployments);
        check(vec![
            ("elsewhere at once", fails(1, vec![asked(1), fresh()]), at_once(1)),
            ("not at a cooling one", fails(1, vec![asked(1), cooling(1_500)]), again(0, 1_000)),
            ("the least asked", fails(2, vec![asked(2), asked(1)]), again(1, 2_000)),
            ("jitter is from nothing", fails(1, vec![asked(1)]).jitter(0), again(0, 0)),
            ("jitter is even", fails(1, vec![asked(1)]).jitter(LARGEST_JITTER / 2), again(0, 500)),
            ("jitter is to the bound", fails(1, vec![asked(1)]), again(0, 1_000)),
            ("the bound doubles", fails(2, vec![asked(2)]), again(0, 2_000)),
            ("tries used up", fails(3, vec![asked(3), fresh()]), give_up(class)),
            ("then another alias", fails(3, vec![asked(3)]).general(&["b", "c"]), fall_back("b")),
            (
                "then the next",
                fails(3, vec![asked(3)]).general(&["b", "c"]).visited("b"),
                fall_back("c"),
            ),
            ("then nothing", fails(3, vec![asked(3)]).general(&["b"]).visited("b"), give_up(class)),
            ("no time for a wait", fails(1, vec![asked(1)]).left(1_000), give_up(class)),
            (
                "no time, but an alias",
                fails(1, vec![asked(1)]).left(1_000).general(&["b"]),
                fall_back("b"),
            ),
        ]);
    }
}

#[test]
fn retry_after_is_kept_to_and_cut() {
    let fails = |deployments| Case::failed(ErrorClass::RateLimited, 1, deployments);
    check(vec![
        ("at least as long", fails(vec![asked(1)]).retry_after(3_000), again(0, 3_000)),
        ("backoff may be longer", fails(vec![asked(1)]).retry_after(10), again(0, 1_000)),
        ("cut", fails(vec![asked(1)]).retry_after(3_600_000), again(0, 20_000)),
        (
            "another deployment needn't wait",
            fails(vec![asked(1), fresh()]).retry_after(9_000),
            at_once(1),
        ),
        (
            "nor one that was asked before",
            Case::failed(ErrorClass::RateLimited, 2, vec![asked(1), asked(1)]).retry_after(9_000),
            again(1, 2_000),
        ),
        (
            "long, with an alias",
            fails(vec![asked(1)]).retry_after(9_000).general(&["b"]),
            fall_back("b"),
        ),
        (
            "longer than there is time",
            fails(vec![asked(1)]).retry_after(9_000).left(8_000),
            give_up(ErrorClass::RateLimited),
        ),
    ]);
}

#[test]
fn backoff_is_bounded_however_often_it_was_tried() {
    for tries in [3, 4, 5, 33, 64, u32::MAX] {
        assert_eq!(backoff(&RETRY, tries, LARGEST_JITTER), Duration::from_secs(4), "{tries}");
    }
}
