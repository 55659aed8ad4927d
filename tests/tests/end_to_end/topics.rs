//! The topics, as upstream systems and data teams use them.

use domain::event::{Chunk, ChunkKind, EventType, ExecutionEvent};
use domain::fact::DeadLetter;
use domain::log_row::ExecutionLogRecord;
use domain::request::ModelRequest;
use domain::topic::{Kind, Topic};
use serde_json::{Value, json};
use stepstream_tests::api::Api;
use stepstream_tests::platform::Platform;
use stepstream_tests::topics::{Client, fresh_on};
use stepstream_tests::{fresh, provider};

super::on_both_stacks!(
    published_request_gets_tokens_one_answer_and_its_rows,
    duplicate_request_is_answered_once,
    poison_becomes_dead_letters_and_the_partition_moves_on,
);

const BODY: &str = r#"{"messages":[{"role":"user","content":"Ahoy there"}]}"#;

fn request(id: &str, model: &str) -> ModelRequest {
    ModelRequest { stream: true, ..ModelRequest::new(id, model, BODY) }
}

async fn published_request_gets_tokens_one_answer_and_its_rows(platform: &Platform) {
    let upstream = Client::of(platform).await;
    let id = fresh("published");
    let labels = [("team".to_owned(), "search".to_owned())].into();
    upstream.request(&ModelRequest { labels, ..request(&id, "demo") }).await;

    let mut results = upstream.read::<ExecutionEvent>(Topic::Results).await;
    let of_it = |event: &ExecutionEvent| event.execution_id == id;
    let events = results
        .until("its end", of_it, |events| events.iter().any(|event| event.event_type.is_terminal()))
        .await;
    let types: Vec<EventType> = events.iter().map(|event| event.event_type).collect();
    assert_eq!(types, [EventType::Admitted, EventType::Started, EventType::Succeeded]);
    let answer: Value = serde_json::from_str(events[2].data.as_deref().unwrap()).unwrap();
    let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(content.contains("Ahoy there"), "{content}");

    let mut stream = upstream.read::<Chunk>(Topic::Stream).await;
    let chunks = stream
        .until(
            "all of its tokens",
            |chunk| chunk.execution_id == id,
            |chunks| chunks.iter().any(|chunk| chunk.kind == ChunkKind::Done),
        )
        .await;
    let indices: Vec<i64> = chunks.iter().map(|chunk| chunk.index).collect();
    assert_eq!(indices, (0..).take(chunks.len()).collect::<Vec<_>>(), "each once, in order");
    assert!(chunks.len() > 3, "more than one piece");
    let text: String = chunks.iter().map(|chunk| chunk.text.as_str()).collect();
    assert_eq!(text, content, "the tokens are the answer");

    let mut log = upstream.read::<ExecutionLogRecord>(Topic::ExecutionLog).await;
    let rows = log
        .until(
            "its rows",
            |row| row.execution_id == id,
            |rows| rows.iter().any(|row| row.status.is_some()),
        )
        .await;
    let row = rows.iter().find(|row| row.status.is_some()).unwrap();
    assert_eq!(row.status.as_deref(), Some("succeeded"));
    assert_eq!((row.tenant.as_str(), row.kind), ("default", Kind::Model));
    assert_eq!((row.definition.as_deref(), row.definition_version), (Some("demo"), Some(1)));
    assert_eq!(row.provider.as_deref(), Some("scripted"));
    assert_eq!(row.input_tokens, Some(2));
    let output = row.output_tokens.unwrap();
    assert!(output > 10, "{output}");
    // The demo model's price: 1 USD for a million tokens in, 4 USD for a million out.
    assert_eq!((row.cost_micros, row.currency.as_deref()), (Some(2 + 4 * output), Some("USD")));
    assert!(row.time_to_first_token_ms.is_some() && row.duration_ms.is_some(), "{row:?}");
    assert_eq!(row.labels.get("team").map(String::as_str), Some("search"));
    assert_eq!((row.input_text.as_ref(), row.output_text.as_ref()), (None, None), "text is opt-in");
}

async fn duplicate_request_is_answered_once(platform: &Platform) {
    let (api, upstream) = (Api::of(platform), Client::of(platform).await);
    let counts = provider::start(json!([{ "reply": "once" }])).await;
    let model = fresh("duplicates");
    api.put_model(&model, &provider::model(&counts)).await;
    let id = fresh("duplicate");
    for _ in 0..3 {
        upstream.request(&request(&id, &model)).await;
    }
    let partitions = upstream.partitions();
    let behind =
        fresh_on("behind", domain::partition::of_key(id.as_bytes(), partitions), partitions);
    upstream.request(&request(&behind, &model)).await;
    let mut results = upstream.read::<ExecutionEvent>(Topic::Results).await;
    let both = |event: &ExecutionEvent| event.execution_id == id || event.execution_id == behind;
    let has_ended = |events: &[&ExecutionEvent], id: &str| {
        events.iter().any(|event| event.execution_id == id && event.event_type.is_terminal())
    };
    // The one behind was looked at after all copies; either call may be the first to finish.
    let events = results
        .until("both ends", both, |events| has_ended(events, &id) && has_ended(events, &behind))
        .await;
    let ends =
        events.iter().filter(|event| event.execution_id == id && event.event_type.is_terminal());
    assert_eq!(ends.count(), 1);
    let calls = counts.seen().keys.iter().filter(|key| **key == id).count();
    assert_eq!(calls, 1);
}

async fn poison_becomes_dead_letters_and_the_partition_moves_on(platform: &Platform) {
    let upstream = Client::of(platform).await;
    let partitions = upstream.partitions();
    let partition = 1 % partitions;
    let good = request(&fresh_on("good", partition, partitions), "demo");
    let frame = upstream.frame(&good);
    // In the partition of its id, for there it is judged.
    let invalid = ModelRequest::new(fresh_on("bad", partition, partitions), "demo", "[]");
    let with_id = |id: u32| [&[0][..], &id.to_be_bytes(), &frame[5..]].concat();
    let poison = [
        ("bad magic", [&[7][..], &frame[1..]].concat(), "bad_framing"),
        ("nothing", Vec::new(), ""),
        ("shorter than a header", vec![0, 0], "bad_framing"),
        ("unknown schema", with_id(4_000_000), "refused_schema"),
        ("cut off", frame[..frame.len() / 2].to_vec(), "malformed"),
        ("more than a record", [&frame[..], &[1, 2, 3]].concat(), "trailing_bytes"),
        ("not valid", upstream.frame(&invalid), ""),
    ];
    let feed = Topic::Feed(Kind::Model);
    let mut written = Vec::new();
    for (what, value, code) in poison {
        let (_, offset) = upstream.write(feed, Some(partition), what, value.clone()).await;
        written.push((what, offset, value, code));
    }
    upstream.write(feed, Some(partition), &good.id, frame).await;

    let mut results = upstream.read::<ExecutionEvent>(Topic::Results).await;
    results
        .until(
            "the answer behind the poison",
            |event| event.execution_id == good.id,
            |events| events.iter().any(|event| event.event_type == EventType::Succeeded),
        )
        .await;
    let mut letters = upstream.read::<DeadLetter>(Topic::DeadLetters).await;
    let ours = |letter: &DeadLetter| {
        written.iter().any(|(what, ..)| letter.key.as_deref() == Some(what.as_bytes()))
    };
    let found = letters.until("all dead letters", ours, |found| found.len() >= written.len()).await;
    assert_eq!(found.len(), written.len(), "{found:#?}");
    for (what, offset, value, code) in &written {
        let letter = found.iter().find(|letter| letter.offset == *offset).unwrap();
        assert_eq!(letter.key.as_deref(), Some(what.as_bytes()));
        assert_eq!(letter.partition, partition, "{what}");
        assert_eq!(&letter.value, value, "{what}: the original bytes");
        assert!(!letter.message.is_empty() && !letter.code.is_empty(), "{what}: {letter:?}");
        if !code.is_empty() {
            assert_eq!(letter.code, *code, "{what}: {}", letter.message);
        }
    }
}
