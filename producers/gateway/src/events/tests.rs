//! The splice of history and live events.

use axum::body::Body;
use domain::event::{EventType, ExecutionEvent, QueuePlace};
use follow::Followed;
use proptest::prelude::*;
use serde_json::{Value, json};
use store::Store as _;

use crate::tests::world::{Answer, Served, answer, event};

fn history(length: i64) -> Vec<ExecutionEvent> {
    (1..=length)
        .map(|number| match number {
            1 => event("e", 1, EventType::Admitted),
            n if n == length => event("e", n, EventType::Succeeded),
            n => event("e", n, EventType::Resumed),
        })
        .collect()
}

async fn events(served: &Served, more: &[(&'static str, &str)]) -> Answer {
    let mut request = served.request("GET", "/v1/executions/e/events", Body::empty());
    for (name, value) in more {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    answer(served.send(request).await).await
}

fn ids(answer: &Answer) -> Vec<String> {
    answer.events().into_iter().map(|(_, id, _)| id).filter(|id| !id.is_empty()).collect()
}

#[tokio::test]
async fn history_comes_first_then_what_is_live_and_then_the_end() {
    let served = Served::new().await;
    let all = history(4);
    served.world.0.store.apply_events(&all[..2]).await.unwrap();
    all.iter().for_each(|event| served.world.event(event));
    let got = events(&served, &[]).await;
    assert_eq!(got.header("content-type"), "text/event-stream");
    assert_eq!(ids(&got), ["0.1", "0.2", "0.3", "0.4"]);
    let last = got.events().pop().unwrap();
    assert_eq!(last.0, "execution.succeeded");
    let body: Value = serde_json::from_str(&last.2).unwrap();
    assert_eq!((&body["type"], &body["number"]), (&json!("execution.succeeded"), &json!(4)));
}

#[tokio::test]
async fn resuming_at_any_place_has_no_gap_and_no_double() {
    let served = Served::new().await;
    let all = history(6);
    served.world.0.store.apply_events(&all).await.unwrap();
    for after in 0..6 {
        let got = events(&served, &[("last-event-id", &format!("0.{after}"))]).await;
        let expected: Vec<String> = (after + 1..=6).map(|number| format!("0.{number}")).collect();
        assert_eq!(ids(&got), expected, "after {after}");
    }
    let done = events(&served, &[("last-event-id", "0.6")]).await;
    assert_eq!((done.status.as_u16(), done.text.as_str()), (204, ""));
}

#[tokio::test]
async fn place_that_never_was_starts_over_and_says_so() {
    let served = Served::new().await;
    served.world.0.store.apply_events(&history(2)).await.unwrap();
    let got = events(&served, &[("last-event-id", "0.99")]).await;
    assert_eq!(got.events()[0].0, "reset");
    assert_eq!(ids(&got), ["0.1", "0.2"]);
}

#[tokio::test]
async fn garbage_for_a_place_is_refused() {
    let served = Served::new().await;
    served.world.0.store.apply_events(&history(2)).await.unwrap();
    for place in
        ["x", "1", "0.", ".1", "0.1.2", "-1.2", "0.+1", "99999999999.1", "0.99999999999999999999"]
    {
        let got = events(&served, &[("last-event-id", place)]).await;
        assert_eq!(
            (got.status.as_u16(), &got.json()["place"]),
            (400, &json!("Last-Event-ID")),
            "{place}"
        );
    }
    let got = served.get("/v1/executions/e/events?after=zz").await;
    assert_eq!((got.status.as_u16(), &got.json()["place"]), (400, &json!("after")));
    for query in ["limit=x", "limit=0", "limit=1001", "unknown=1"] {
        let mut request =
            served.request("GET", &format!("/v1/executions/e/events?{query}"), Body::empty());
        request.headers_mut().insert("accept", "application/json".parse().unwrap());
        assert_eq!(served.send(request).await.status().as_u16(), 400, "{query}");
    }
}

#[tokio::test]
async fn list_is_paged_by_place() {
    let served = Served::new().await;
    served.world.0.store.apply_events(&history(5)).await.unwrap();
    let (mut after, mut numbers) = (String::new(), Vec::new());
    loop {
        let path = format!("/v1/executions/e/events?limit=2{after}");
        let mut request = served.request("GET", &path, Body::empty());
        request.headers_mut().insert("accept", "application/json".parse().unwrap());
        let page = answer(served.send(request).await).await.json();
        let data = page["data"].as_array().unwrap();
        numbers.extend(data.iter().map(|event| event["number"].as_i64().unwrap()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn higher_generation_replaces_what_was_sent() {
    let served = Served::new().await;
    let mut all = history(3);
    all[2].event_type = EventType::Resumed;
    served.world.0.store.apply_event(&all[0]).await.unwrap();
    all.iter().for_each(|event| served.world.event(event));
    for number in [2, 3] {
        let event_type = if number == 3 { EventType::Failed } else { EventType::Paused };
        served.world.event(&ExecutionEvent { generation: 1, ..event("e", number, event_type) });
    }
    served.world.event(&event("e", 4, EventType::Succeeded));
    let got = events(&served, &[]).await;
    assert_eq!(ids(&got), ["0.1", "0.2", "0.3", "1.2", "1.3"]);
}

#[tokio::test]
async fn text_is_complete_before_the_end_and_a_new_try_resets_it() {
    let served = Served::new().await;
    served.world.0.store.apply_event(&event("e", 1, EventType::Started)).await.unwrap();
    served.world.chunk("e", 1, 0, "old");
    served.world.chunk("e", 2, 0, "new ");
    served.world.event(&event("e", 2, EventType::Succeeded));
    let world = served.world.clone();
    let late = async {
        tokio::task::yield_now().await;
        world.chunk("e", 2, 1, "text");
    };
    let (got, ()) = tokio::join!(events(&served, &[]), late);
    let text = got.events().into_iter().fold(String::new(), |text, (name, _, data)| {
        let body: Value = serde_json::from_str(&data).unwrap();
        match name.as_str() {
            "output.delta" => text + body["text"].as_str().unwrap(),
            "output.reset" => String::new(),
            _ => text,
        }
    });
    assert_eq!(text, "new text");
    assert_eq!(got.events().pop().unwrap().0, "execution.succeeded");
}

#[tokio::test]
async fn place_in_a_queue_has_no_id_and_comes_before_the_text() {
    let served = Served::new().await;
    served.world.0.store.apply_event(&event("e", 1, EventType::Started)).await.unwrap();
    let mut seen = served.app.hub.follow("acme", "e");
    served.world.queued("e", 1, QueuePlace { position: 2, estimated_wait_ms: None });
    served.world.queued("e", 2, QueuePlace { position: 1, estimated_wait_ms: Some(700) });
    served.world.chunk("e", 1, 0, "text");
    served.world.queued("e", 3, QueuePlace { position: 3, estimated_wait_ms: None });
    // The end comes by another topic, which must not be the faster one here.
    while !matches!(seen.next().await, Followed::Chunk(_)) {}
    served.world.event(&event("e", 2, EventType::Succeeded));
    while !matches!(seen.next().await, Followed::Event(_)) {}
    let got = events(&served, &[]).await;
    let seen: Vec<_> = got.events().into_iter().map(|(name, id, _)| (name, id)).collect();
    let seen: Vec<_> = seen.iter().map(|(name, id)| (name.as_str(), id.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("execution.started", "0.1"),
            // It wasn't read while the first was the newest.
            ("execution.queued", ""),
            ("output.delta", ""),
            ("execution.succeeded", "0.2"),
        ]
    );
    let place: Value = serde_json::from_str(&got.events()[1].2).unwrap();
    let expected = json!({
        "type": "execution.queued", "execution_id": "e", "position": 1, "estimated_wait_ms": 700
    });
    assert_eq!(place, expected);
}

#[tokio::test]
async fn stream_ends_when_the_gateway_stops() {
    let served = Served::new().await;
    served.world.0.store.apply_events(&history(3)[..2]).await.unwrap();
    let (got, ()) = tokio::join!(events(&served, &[]), async {
        tokio::task::yield_now().await;
        served.app.shutdown.finish();
    });
    assert_eq!(got.status.as_u16(), 200);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the store already has, whatever comes live, however often and in whatever order, and
    /// wherever the client resumes: it gets each event after its place once, in order, and then the end.
    #[test]
    fn splice_has_no_gap_and_no_double(
        length in 2_i64..8,
        stored in 0_usize..8,
        resume in 0_i64..8,
        live in prop::collection::vec(0_usize..8, 0..16),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let served = Served::new().await;
            let all = history(length);
            let stored = stored.clamp(1, all.len());
            let resume = resume.min(length - 1);
            served.world.0.store.apply_events(&all[..stored]).await.unwrap();
            for n in live {
                served.world.event(&all[n % all.len()]);
            }
            let store = served.world.0.store.clone();
            let rest = all[stored..].to_vec();
            let archive = async move {
                tokio::task::yield_now().await;
                store.apply_events(&rest).await.unwrap();
            };
            let place = format!("0.{resume}");
            let headers = [("last-event-id", place.as_str())];
            let (got, ()) = tokio::join!(events(&served, &headers), archive);
            let expected: Vec<String> = (resume + 1..=length).map(|n| format!("0.{n}")).collect();
            assert_eq!(ids(&got), expected);
        });
    }
}
