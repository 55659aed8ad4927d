//! Histories of one model call as data, and random ones against the promises of the module.

use proptest::prelude::*;

use super::*;

/// Effects and endings in short words, so that a whole history reads as one line.
fn words(step: &Step) -> String {
    let mut words: Vec<String> = step
        .effects
        .iter()
        .map(|effect| match effect {
            Effect::Announce(event) => event.as_str().trim_start_matches("execution.").to_owned(),
            Effect::Want(_) => "want".into(),
            Effect::SetTimer { timer, due } => format!("{}@{}", timer.key(), due.0),
            Effect::ClearTimer(timer) => format!("no-{}", timer.key()),
        })
        .collect();
    match &step.fate {
        Fate::Ignored => words.push("-".into()),
        Fate::Kept => {}
        Fate::Ended(ending) => words.push(format!("={}", ending.terminal().as_str())),
    }
    words.join(" ")
}

fn outcome() -> Box<ModelOutcome> {
    Box::new(ModelOutcome {
        body: "{}".into(),
        body_media_type: "application/json".into(),
        provider: "scripted".into(),
        deployment: "one".into(),
        model_used: "m".into(),
        finish_reason: None,
        usage: None,
        cost: None,
        tries: 1,
        queued_ms: 0,
        duration_ms: 1,
        time_to_first_token_ms: None,
        http_status: None,
        body_claim: None,
    })
}

fn failure(class: ErrorClass) -> Failure {
    Failure::new(class, "code", "message")
}

fn request(
    not_before: Option<i64>,
    deadline: Option<i64>,
    timeout_ms: Option<i64>,
) -> ModelRequest {
    ModelRequest {
        not_before: not_before.map(Millis),
        deadline: deadline.map(Millis),
        timeout_ms,
        ..ModelRequest::new("call-1", "fast", r#"{"messages":[]}"#)
    }
}

const NOW: i64 = 100;

/// Admits at [`NOW`], then plays the events at their times; each line must say what is expected.
fn check(request: ModelRequest, admitted: &str, history: Vec<(i64, Event, &str)>) {
    let asked = request.clone();
    let mut step = ModelCall::admit(request, Some(3), None, Millis(NOW));
    assert_eq!(words(&step), admitted, "admission");
    for (index, (now, event, expected)) in history.into_iter().enumerate() {
        assert!(!matches!(step.fate, Fate::Ended(_)), "event {index} after the end: {event:?}");
        let before = step.call.clone();
        step = step.call.step(event.clone(), Millis(now));
        assert_eq!(words(&step), expected, "event {index}: {event:?} at {now}");
        if step.fate == Fate::Ignored {
            assert_eq!(step.call, before, "event {index} was ignored and changed the call");
        }
    }
    for effect in step.effects {
        if let Effect::Want(wanted) = effect {
            assert_eq!(wanted.request, asked, "the request is passed on as it came");
            assert_eq!(wanted.version, Some(3));
        }
    }
}

fn cancel() -> Event {
    Event::Cancel { reason: None }
}

fn done() -> Event {
    Event::Finished(Ok(outcome()))
}

fn failed(class: ErrorClass) -> Event {
    Event::Finished(Err(failure(class)))
}

#[test]
fn call_that_may_start_starts_at_admission() {
    let plain = || request(None, None, None);
    check(plain(), "admitted started want", vec![(200, done(), "=succeeded")]);
    check(plain(), "admitted started want", vec![(200, failed(ErrorClass::Provider), "=failed")]);
    check(plain(), "admitted started want", vec![(200, cancel(), "=cancelled")]);
    let broken = Event::Broken(failure(ErrorClass::TooLarge));
    check(plain(), "admitted started want", vec![(200, broken, "=failed")]);
    check(request(Some(NOW), None, None), "admitted started want", vec![]);
}

#[test]
fn deadline_ends_the_call_and_only_when_it_is_due() {
    let due = || Event::Due(Timer::Deadline);
    check(request(None, Some(NOW), None), "admitted =timed_out", vec![]);
    check(request(None, Some(50), None), "admitted =timed_out", vec![]);
    let started = "admitted deadline@500 started want";
    check(
        request(None, Some(500), None),
        started,
        vec![(499, due(), "-"), (500, due(), "=timed_out")],
    );
    check(request(None, None, Some(400)), started, vec![(500, due(), "=timed_out")]);
    check(
        request(None, Some(900), Some(400)),
        "admitted deadline@900 deadline@500 started want",
        vec![(500, due(), "=timed_out")],
    );
    check(
        request(None, Some(300), Some(400)),
        "admitted deadline@300 started want",
        vec![(300, due(), "=timed_out")],
    );
}

#[test]
fn timeout_that_the_worker_reports_counts_as_the_deadlines_when_that_has_passed() {
    let started = "admitted deadline@500 started want";
    let call = || request(None, Some(500), None);
    check(call(), started, vec![(500, failed(ErrorClass::Timeout), "=timed_out")]);
    check(call(), started, vec![(499, failed(ErrorClass::Timeout), "=failed")]);
    check(call(), started, vec![(500, failed(ErrorClass::Network), "=failed")]);
    // By the worker's own clock the deadline has passed, and only that clock was asked.
    let early =
        || Event::Finished(Err(Failure::new(ErrorClass::Timeout, DEADLINE_EXCEEDED, "message")));
    check(call(), started, vec![(497, early(), "=timed_out")]);
    check(request(None, None, None), "admitted started want", vec![(497, early(), "=failed")]);
    // The first fact in the log wins: an answer that stands before the timer is an answer.
    check(call(), started, vec![(600, done(), "=succeeded")]);
}

#[test]
fn held_call_starts_when_its_time_comes() {
    let start = || Event::Due(Timer::Start);
    let held = || request(Some(300), None, Some(50));
    check(
        held(),
        "admitted start@300",
        vec![
            (200, start(), "start@300"),
            (300, start(), "deadline@350 started want"),
            (310, start(), "-"),
            (320, done(), "=succeeded"),
        ],
    );
    check(
        held(),
        "admitted start@300",
        vec![
            (200, done(), "-"),
            (200, failed(ErrorClass::Provider), "-"),
            (210, cancel(), "=cancelled"),
        ],
    );
}

#[test]
fn deadline_beats_a_start_that_comes_too_late() {
    let held = || request(Some(300), Some(400), None);
    let admitted = "admitted deadline@400 start@300";
    check(held(), admitted, vec![(400, Event::Due(Timer::Start), "=timed_out")]);
    check(held(), admitted, vec![(400, Event::Due(Timer::Deadline), "=timed_out")]);
    check(
        held(),
        admitted,
        vec![(200, Event::Pause, "paused no-start"), (450, Event::Resume, "resumed =timed_out")],
    );
}

#[test]
fn pause_holds_what_has_not_started() {
    let held = || request(Some(300), None, None);
    check(
        held(),
        "admitted start@300",
        vec![
            (150, Event::Pause, "paused no-start"),
            (160, Event::Pause, "-"),
            (300, Event::Due(Timer::Start), "-"),
            (400, Event::Resume, "resumed started want"),
            (410, Event::Resume, "-"),
        ],
    );
    check(
        held(),
        "admitted start@300",
        vec![
            (150, Event::Pause, "paused no-start"),
            (200, Event::Resume, "resumed start@300"),
            (300, Event::Due(Timer::Start), "started want"),
        ],
    );
    check(
        held(),
        "admitted start@300",
        vec![(150, Event::Pause, "paused no-start"), (160, cancel(), "=cancelled")],
    );
}

#[test]
fn pause_lets_a_started_call_finish() {
    let started = "admitted started want";
    check(
        request(None, None, None),
        started,
        vec![(150, Event::Pause, "paused"), (160, Event::Pause, "-"), (200, done(), "=succeeded")],
    );
    check(
        request(None, None, None),
        started,
        vec![
            (150, Event::Pause, "paused"),
            (160, Event::Resume, "resumed"),
            (200, done(), "=succeeded"),
        ],
    );
}

#[test]
fn timer_keys_read_back() {
    for timer in Timer::ALL {
        assert_eq!(Timer::of_key(timer.key()), Some(timer));
    }
    assert_eq!(Timer::of_key("other"), None);
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => Just(done()),
        1 => Just(failed(ErrorClass::Timeout)),
        1 => Just(failed(ErrorClass::Provider)),
        4 => Just(Event::Due(Timer::Start)),
        4 => Just(Event::Due(Timer::Deadline)),
        1 => Just(cancel()),
        4 => Just(Event::Pause),
        4 => Just(Event::Resume),
        1 => Just(Event::Broken(failure(ErrorClass::Internal))),
    ]
}

proptest! {
    #[test]
    fn any_history_ends_once_and_starts_at_most_once(
        not_before in proptest::option::of(0_i64..400),
        deadline in proptest::option::of(0_i64..600),
        timeout in proptest::option::of(1_i64..300),
        events in proptest::collection::vec((any_event(), 0_i64..60), 0..24),
    ) {
        let asked = request(not_before, deadline, timeout);
        let mut now = NOW;
        let mut wants = 0;
        let mut endings = 0;
        let mut call = None;
        let mut take = |step: Step, now: i64| -> Result<Option<ModelCall>, TestCaseError> {
            for effect in &step.effects {
                match effect {
                    Effect::Want(_) => {
                        wants += 1;
                        prop_assert!(!step.call.paused, "started while paused");
                        prop_assert!(not_before.is_none_or(|at| at <= now), "started early");
                        prop_assert!(deadline.is_none_or(|at| at > now), "started too late");
                        prop_assert_eq!(&step.fate, &Fate::Kept, "wanted and ended in one step");
                    }
                    Effect::Announce(event) => prop_assert!(!event.is_terminal()),
                    Effect::SetTimer { due, .. } => prop_assert!(due.0 > now, "due already"),
                    Effect::ClearTimer(_) => {}
                }
            }
            prop_assert!(wants <= 1, "wanted twice");
            prop_assert_eq!(step.call.started.is_some(), wants == 1);
            if let Fate::Ended(_) = step.fate {
                endings += 1;
                return Ok(None);
            }
            prop_assert_eq!(step.call.held.is_some(), wants == 0, "a prompt is lost or kept");
            Ok(Some(step.call))
        };
        call = take(ModelCall::admit(asked, None, None, Millis(now)), now)?.or(call);
        // What the runtime would make of the rest: paused calls are resumed, timers come due, a call that
        // is wanted ends.
        let rest = [Event::Resume, Event::Due(Timer::Start), done()];
        for (event, later) in events.into_iter().chain(rest.map(|event| (event, 1_000))) {
            now += later;
            let Some(current) = call.take() else { break };
            call = take(current.step(event, Millis(now)), now)?;
        }
        prop_assert_eq!(call, None, "the history has no end");
        prop_assert_eq!(endings, 1);
    }
}
