//! Retries, fallbacks, cooldowns and queues as a caller sees them: in the process, under paused time, so
//! that every wait is exact.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::answer::{ErrorClass, ModelOutcome};
use domain::request::ModelRequest;
use serde_json::{Value, json};
use stepstream_model::Caller;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{Heard, caller, chat, one, scripted, streaming, with};

/// Rules that always answer with this status.
fn fails(status: u16) -> Value {
    json!([{ "fault": { "kind": { "status": { "status": status } } } }])
}

fn answers(latency_ms: u64) -> Value {
    json!([{ "reply": "fine", "latency_ms": latency_ms }])
}

async fn call(caller: &Caller, id: &str) -> ModelOutcome {
    caller.call(&chat(id, "hi"), None, &mut Heard::default()).await.expect("an answer")
}

#[tokio::test(start_paused = true)]
async fn retry_waits_as_long_as_the_provider_asks() {
    for (retry_after, waited) in [
        ("7", 7_000),
        ("0.25", 250),
        // The fixed time of day is Tue, 14 Nov 2023 22:13:20 GMT.
        ("Tue, 14 Nov 2023 22:13:25 GMT", 5_000),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0),
        // Cut to the definition's bound.
        ("86400", 9_000),
        ("whenever", 0),
    ] {
        let status = json!({ "status": { "status": 429, "retry_after": retry_after } });
        let rules = json!([{ "reply": "fine", "fault": { "kind": status, "first_tries": 1 } }]);
        let retry = json!({ "retry": { "max_retry_after_ms": 9_000 } });
        for cooldown_ms in [0, 10_000] {
            let cooldown = json!({ "cooldown": { "for_ms": cooldown_ms } });
            let definition = with(with(one(scripted("a", rules.clone())), retry.clone()), cooldown);
            let outcome = call(&caller([("m", definition)]), "r").await;
            assert_eq!((outcome.tries, outcome.duration_ms), (2, waited), "{retry_after}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_deployment_is_asked_at_once() {
    let definition =
        json!({ "deployments": [scripted("a", fails(500)), scripted("b", answers(0))] });
    let outcome = call(&caller([("m", definition)]), "r").await;
    assert_eq!((outcome.deployment.as_str(), outcome.tries, outcome.duration_ms), ("b", 2, 0));
}

#[tokio::test(start_paused = true)]
async fn each_class_has_its_fallbacks() {
    let fault = |body: &str| json!([{ "fault": { "kind": { "status": { "status": 400, "body": body } } } }]);
    let too_long = fault(r#"{"error":{"code":"context_length_exceeded","message":"x"}}"#);
    let unsafe_text = fault(r#"{"error":{"code":"content_policy_violation","message":"x"}}"#);
    let fallbacks = json!({ "fallbacks": {
        "general": ["missing", "general"], "context_window": ["long"], "content_policy": ["lax"] } });
    for (rules, deployment, tries) in [
        (fails(500), "general", 4),
        (fails(401), "general", 2),
        (too_long, "long", 2),
        (unsafe_text, "lax", 2),
    ] {
        let caller = caller([
            ("m", with(one(scripted("a", rules)), fallbacks.clone())),
            ("general", one(scripted("general", answers(0)))),
            ("long", one(scripted("long", answers(0)))),
            ("lax", one(scripted("lax", answers(0)))),
        ]);
        let mut heard = Heard::default();
        let outcome =
            caller.call(&streaming("r", "hi"), None, &mut heard).await.expect("an answer");
        assert_eq!((outcome.deployment.as_str(), outcome.tries), (deployment, tries));
        assert_eq!(heard.tries, (1..=tries).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn fallbacks_that_fail_too_end_with_the_last_failure() {
    let fallbacks =
        json!({ "retry": { "max_tries": 1 }, "fallbacks": { "general": ["b", "m", "c"] } });
    let caller = caller([
        ("m", with(one(scripted("a", fails(500))), fallbacks.clone())),
        // Its own fallbacks don't count: else this would go round for ever.
        ("b", with(one(scripted("b", fails(503))), fallbacks)),
        ("c", one(scripted("c", fails(400)))),
    ]);
    let mut heard = Heard::default();
    let failure = caller.call(&chat("r", "hi"), None, &mut heard).await.expect_err("all fail");
    assert_eq!((failure.source_name.as_str(), failure.class), ("c", ErrorClass::Invalid));
    assert_eq!(heard.tries, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn failing_deployment_is_left_alone_for_a_while_and_then_asked_again() {
    let definition = json!({
        "deployments": [scripted("a", fails(500)), scripted("b", answers(0))],
        "cooldown": { "failures": 2, "window_ms": 60_000, "for_ms": 10_000 },
    });
    let caller = caller([("m", definition)]);
    let mut tries = Vec::new();
    for (id, pause_ms) in [("1", 0), ("2", 0), ("3", 0), ("4", 9_999), ("5", 1), ("6", 0)] {
        tokio::time::advance(Duration::from_millis(pause_ms)).await;
        tries.push(call(&caller, id).await.tries);
    }
    assert_eq!(tries, [2, 2, 1, 1, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn only_deployment_that_cools_is_waited_for() {
    let fault = json!({ "kind": { "status": { "status": 500 } }, "first_tries": 1 });
    let definition = with(
        one(scripted("a", json!([{ "reply": "fine", "fault": fault }]))),
        json!({ "retry": { "max_tries": 1 }, "cooldown": { "failures": 1, "for_ms": 10_000 } }),
    );
    let caller = caller([("m", definition)]);
    caller.call(&chat("1", "hi"), None, &mut Heard::default()).await.expect_err("the first try");
    let outcome = call(&caller, "1").await;
    assert_eq!((outcome.tries, outcome.duration_ms), (1, 10_000));
}

#[tokio::test(start_paused = true)]
async fn calls_queue_by_priority_then_in_order_and_none_is_refused() {
    let deployment = with(scripted("a", answers(100)), json!({ "concurrency": 1 }));
    let caller = caller([("m", one(deployment))]);
    let finished = Arc::new(Mutex::new(Vec::new()));
    let mut calls = JoinSet::new();
    for (id, priority) in [("first", 0), ("low", -1), ("mid", 0), ("high", 5), ("mid too", 0)] {
        let (caller, finished) = (caller.clone(), Arc::clone(&finished));
        calls.spawn(async move {
            let request = ModelRequest { priority, ..chat(id, "hi") };
            let outcome =
                caller.call(&request, None, &mut Heard::default()).await.expect("an answer");
            finished.lock().expect("no panic").push((id, outcome.queued_ms, outcome.duration_ms));
        });
        // Lets it come to the queue.
        tokio::task::yield_now().await;
    }
    calls.join_all().await;
    assert_eq!(
        *finished.lock().expect("no panic"),
        [
            ("first", 0, 100),
            ("high", 100, 200),
            ("mid", 200, 300),
            ("mid too", 300, 400),
            ("low", 400, 500),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn waiting_in_the_queue_counts_towards_the_timeout_and_frees_the_place() {
    let deployment = with(scripted("a", answers(100)), json!({ "concurrency": 1 }));
    let caller = caller([("m", one(deployment))]);
    let (first, hurried, patient) = (
        chat("1", "hi"),
        ModelRequest { timeout_ms: Some(50), ..chat("2", "hi") },
        chat("3", "hi"),
    );
    let mut heard = [Heard::default(), Heard::default(), Heard::default()];
    let [a, b, c] = &mut heard;
    let (first, hurried, patient) = tokio::join!(
        caller.call(&first, None, a),
        caller.call(&hurried, None, b),
        caller.call(&patient, None, c),
    );
    assert_eq!(first.expect("an answer").duration_ms, 100);
    assert_eq!(hurried.expect_err("no place in time").code, "total_timeout");
    assert_eq!(patient.expect("an answer").queued_ms, 100);
    assert_eq!(heard[1].tries, [] as [i32; 0]);
}

#[tokio::test(start_paused = true)]
async fn full_deployment_overflows_to_the_next() {
    let room = |name: &str| with(scripted(name, answers(100)), json!({ "concurrency": 2 }));
    for (balance, expected) in
        [("ordered", ["a", "a", "b", "b", "a"]), ("spread", ["a", "b", "a", "b", "a"])]
    {
        let definition = json!({ "deployments": [room("a"), room("b")], "balance": balance });
        let caller = caller([("m", definition)]);
        let mut calls = JoinSet::new();
        for i in 0..5 {
            let caller = caller.clone();
            calls.spawn(async move { (i, call(&caller, &i.to_string()).await.deployment) });
            tokio::task::yield_now().await;
        }
        let mut deployments = calls.join_all().await;
        deployments.sort_unstable();
        let deployments: Vec<String> = deployments.into_iter().map(|(_, name)| name).collect();
        assert_eq!(deployments, expected, "{balance}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_slow_call_in_a_hundred_holds_up_no_other() {
    let rules = json!([{ "reply": "fine", "latency_ms": 200, "slow": { "every": 100, "latency_ms": 30_000 } }]);
    let caller = caller([("m", one(scripted("a", rules)))]);
    let mut calls = JoinSet::new();
    for i in 0..1_000 {
        let caller = caller.clone();
        calls.spawn(async move { call(&caller, &format!("call-{i}")).await.duration_ms });
    }
    let durations = calls.join_all().await;
    let slow = durations.iter().filter(|ms| **ms == 30_000).count();
    assert!((1..40).contains(&slow), "{slow} of 1,000");
    assert_eq!(durations.iter().filter(|ms| **ms == 200).count(), 1_000 - slow);
}

#[tokio::test(start_paused = true)]
async fn backoff_that_does_not_fit_is_not_waited_for() {
    let definition = with(
        one(scripted(
            "a",
            json!([{ "fault": { "kind": { "status": { "status": 429, "retry_after": "50" } } } }]),
        )),
        json!({ "timeouts": { "total_ms": 20_000 } }),
    );
    let start = Instant::now();
    let caller = caller([("m", definition)]);
    let failure =
        caller.call(&chat("r", "hi"), None, &mut Heard::default()).await.expect_err("limited");
    assert_eq!((failure.code.as_str(), start.elapsed()), ("rate_limited", Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn hanging_deployment_is_held_to_account_though_only_the_total_ended_it() {
    let hangs = json!([{ "fault": { "kind": { "hang": {} } } }]);
    let definition = json!({
        "deployments": [scripted("a", hangs), scripted("b", answers(0))],
        "timeouts": { "total_ms": 2_000, "first_token_ms": 1_000 },
        "cooldown": { "failures": 1, "for_ms": 10_000 },
    });
    let caller = caller([("m", definition)]);
    let failure =
        caller.call(&chat("1", "hi"), None, &mut Heard::default()).await.expect_err("it hangs");
    assert_eq!(failure.code, "total_timeout");
    assert_eq!(call(&caller, "2").await.deployment, "b");
}

#[tokio::test(start_paused = true)]
async fn call_that_waits_for_a_deployment_goes_elsewhere_when_it_fails() {
    let slow_to_fail =
        json!([{ "latency_ms": 100, "fault": { "kind": { "status": { "status": 500 } } } }]);
    let narrow = |name: &str, rules| with(scripted(name, rules), json!({ "concurrency": 1 }));
    let definition = json!({
        "deployments": [narrow("a", slow_to_fail), narrow("b", answers(1_000))],
        "cooldown": { "failures": 1, "for_ms": 60_000 },
    });
    let caller = caller([("m", definition)]);
    let (at_a, at_b, in_the_queue_of_a) =
        tokio::join!(call(&caller, "1"), call(&caller, "2"), call(&caller, "3"));
    assert_eq!((at_a.tries, at_b.tries, in_the_queue_of_a.tries), (2, 1, 1));
    assert_eq!(in_the_queue_of_a.deployment, "b");
}

#[tokio::test(start_paused = true)]
async fn timeouts_of_tokens_are_measured_from_the_try_and_from_the_last_token() {
    let rule = |fault: Value| {
        let words = "one two three four five six seven eight nine ten";
        let rule = json!({ "reply": words, "latency_ms": 100, "tokens_per_second": 10 });
        json!([with(rule, fault)])
    };
    let hang = |after: u32| json!({ "fault": { "kind": { "hang": { "after_tokens": after } } } });
    let limits = json!({ "retry": { "max_tries": 1 },
        "timeouts": { "first_token_ms": 500, "between_tokens_ms": 700 } });
    for (rules, code, ms) in [
        (rule(hang(0)), Some("first_token_timeout"), 500),
        (rule(hang(2)), Some("between_tokens_timeout"), 200 + 700),
        // Longer than either, but never silent for long.
        (rule(json!({})), None, 1_000),
    ] {
        let start = Instant::now();
        let caller = caller([("m", with(one(scripted("a", rules)), limits.clone()))]);
        let result = caller.call(&streaming("r", "hi"), None, &mut Heard::default()).await;
        assert_eq!(result.err().map(|failure| failure.code).as_deref(), code);
        assert_eq!(start.elapsed(), Duration::from_millis(ms), "{code:?}");
    }
}
