//! What a call is told of its place in a deployment's queue: in the process, under paused time, so that
//! every wait is exact.

use domain::event::QueuePlace;
use serde_json::{Value, json};

use crate::support::{Heard, caller, chat, one, scripted, with};

fn answers(latency_ms: u64) -> Value {
    json!([{ "reply": "fine", "latency_ms": latency_ms }])
}

fn narrow(name: &str, rules: Value) -> Value {
    with(scripted(name, rules), json!({ "concurrency": 1 }))
}

/// The try, the position and the wait of each word.
fn places(heard: &Heard) -> Vec<(i32, u64, Option<u64>)> {
    let words = heard.places.iter();
    words
        .map(|(attempt, QueuePlace { position, estimated_wait_ms })| {
            (*attempt, *position, *estimated_wait_ms)
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn waiting_calls_are_told_their_places_until_their_turn_comes() {
    let caller = caller([("m", one(narrow("a", answers(1_500))))]);
    let mut heard: [Heard; 4] = Default::default();
    let [a, b, c, d] = &mut heard;
    let requests = ["1", "2", "3", "4"].map(|id| chat(id, "hi"));
    let (_, _, _, last) = tokio::join!(
        caller.call(&requests[0], None, a),
        caller.call(&requests[1], None, b),
        caller.call(&requests[2], None, c),
        caller.call(&requests[3], None, d),
    );
    assert_eq!(last.expect("an answer").queued_ms, 4_500);
    let told = heard.each_ref().map(places);
    let turn = (1, 0, Some(0));
    // Nothing is known of how long calls take until one has ended.
    assert_eq!(
        told,
        [
            vec![],
            vec![(1, 1, None), turn],
            vec![(1, 2, None), (1, 1, Some(1_500)), turn],
            vec![(1, 3, None), (1, 2, Some(3_000)), (1, 1, Some(1_500)), turn],
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn call_that_waits_again_says_before_which_try() {
    let fails = json!([{ "fault": { "kind": { "status": { "status": 500 } } } }]);
    let definition = json!({ "deployments": [scripted("a", fails), narrow("b", answers(2_000))] });
    let caller = caller([("m", definition)]);
    let mut heard: [Heard; 2] = Default::default();
    let [first, second] = &mut heard;
    let requests = ["1", "2"].map(|id| chat(id, "hi"));
    let (_, outcome) = tokio::join!(
        caller.call(&requests[0], None, first),
        caller.call(&requests[1], None, second),
    );
    assert_eq!(outcome.expect("an answer").tries, 2);
    assert_eq!(places(&heard[0]), []);
    assert_eq!(places(&heard[1]), [(2, 1, None), (2, 0, Some(0))]);
}

#[tokio::test(start_paused = true)]
async fn call_that_goes_elsewhere_is_told_that_its_turn_has_come() {
    let slow_to_fail =
        json!([{ "latency_ms": 100, "fault": { "kind": { "status": { "status": 500 } } } }]);
    let definition = json!({
        "deployments": [narrow("a", slow_to_fail)],
        "retry": { "max_tries": 1 },
        "cooldown": { "failures": 1, "for_ms": 60_000 },
        "fallbacks": { "general": ["n"] },
    });
    let caller = caller([("m", definition), ("n", one(scripted("b", answers(0))))]);
    let mut heard: [Heard; 2] = Default::default();
    let [first, second] = &mut heard;
    let requests = ["1", "2"].map(|id| chat(id, "hi"));
    let (_, outcome) = tokio::join!(
        caller.call(&requests[0], None, first),
        caller.call(&requests[1], None, second),
    );
    let outcome = outcome.expect("an answer");
    assert_eq!((outcome.deployment.as_str(), outcome.tries), ("b", 1));
    assert_eq!(places(&heard[1]), [(1, 1, None), (1, 0, Some(0))]);
}
