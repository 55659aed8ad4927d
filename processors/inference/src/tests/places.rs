//! Where calls wait, as readers of `stream` learn it: the processor with a model that has one place.

use domain::event::Chunk;
use domain::model_call::WantedModelCall;
use runtime::processor::Running;

use super::scripted::knowing;
use super::*;

/// One call at a time, each a second and a half; it stumbles once over "stumble".
const NARROW: &str = r#"{
    "deployments": [{
        "name": "one", "provider": "scripted", "model": "m", "concurrency": 1,
        "script": {"rules": [
            {"when": {"contains": "stumble"}, "reply": "up again", "latency_ms": 1500,
             "fault": {"kind": {"status": {"status": 500}}, "first_tries": 1}},
            {"reply": "fine", "latency_ms": 1500}
        ]}
    }],
    "retry": {"max_tries": 2, "base_backoff_ms": 10},
    "cooldown": {"for_ms": 0}
}"#;

fn asked(id: &str, text: &str, stream: bool) -> (WantedModelCall, Running) {
    let body = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#);
    let request = ModelRequest { stream, ..ModelRequest::new(id, "fast", body) };
    let call = WantedModelCall { request, version: Some(1), trace_parent: None };
    (call, Running { entity: id.into(), call: "call".into(), fence: 7 })
}

/// The chunks of one execution.
fn of(stream: &Stream, id: &str) -> Vec<Chunk> {
    stream.chunks().into_iter().filter(|chunk| chunk.execution_id == id).collect()
}

/// Positions, in order; they are numbered downwards from -1.
fn positions(chunks: &[Chunk]) -> Vec<u64> {
    let places: Vec<_> = chunks.iter().filter(|chunk| chunk.kind == ChunkKind::Queued).collect();
    assert!(places.iter().zip(1..).all(|(chunk, nth)| chunk.index == -nth), "{places:?}");
    places.iter().map(|chunk| chunk.queue_place().expect("a place").position).collect()
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_say_where_and_their_text_is_whole() {
    let stream = Stream::new();
    let inference = knowing(NARROW, model::Options::default(), &stream);
    let [a, b, c, d] = [("a", true), ("b", true), ("c", false), ("d", true)]
        .map(|(id, streams)| asked(id, "hi", streams));
    let results = tokio::join!(
        inference.call(a.0, a.1),
        inference.call(b.0, b.1),
        inference.call(c.0, c.1),
        inference.call(d.0, d.1),
    );
    assert!(results.0.is_ok() && results.1.is_ok() && results.2.is_ok() && results.3.is_ok());
    for (id, expected) in [
        ("a", &[] as &[u64]),
        ("b", &[1, 0]),
        // It doesn't stream, and waits all the same.
        ("c", &[2, 1, 0]),
        ("d", &[3, 2, 1, 0]),
    ] {
        let chunks = of(&stream, id);
        assert_eq!(positions(&chunks), expected, "{id}");
        let text = chunks.iter().filter(|chunk| chunk.kind != ChunkKind::Queued);
        let indexes: Vec<_> = text.map(|chunk| chunk.index).collect();
        let expected: Vec<i64> = if id == "c" { vec![] } else { vec![0, 1] };
        assert_eq!(indexes, expected, "{id}");
    }
    let waits: Vec<_> = of(&stream, "d")
        .iter()
        .filter_map(Chunk::queue_place)
        .map(|p| p.estimated_wait_ms)
        .collect();
    assert_eq!(waits, [None, Some(3_000), Some(1_500), Some(0)]);
}

#[tokio::test(start_paused = true)]
async fn call_that_is_tried_again_waits_before_its_next_try() {
    let stream = Stream::new();
    let inference = knowing(NARROW, model::Options::default(), &stream);
    let [a, b] = [asked("a", "stumble", true), asked("b", "hi", true)];
    let (again, other) = tokio::join!(inference.call(a.0, a.1), inference.call(b.0, b.1));
    assert_eq!((again.expect("an answer").tries, other.expect("an answer").tries), (2, 1));
    let chunks = of(&stream, "a");
    assert_eq!(positions(&chunks), [1, 0]);
    assert!(chunks.iter().all(|chunk| chunk.attempt == 2 && chunk.fence == 7), "{chunks:?}");
}
