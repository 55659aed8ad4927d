//! Publishing, copying and showing, on a broker in memory that can fail.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use domain::event::{EventType, ExecutionEvent};
use domain::fact::{DeadLetter, Header};
use domain::time::Millis;
use domain::topic::{Kind, Topic};
use runtime::ports::{
    self, ClusterError, Inbox, Outgoing, Publish, Raw, Scanned, Tail, Tailed, header,
};
use schemas::{Ids, Record};
use tokio::sync::Notify;

use crate::decode::Decoder;
use crate::input::{Format, rows};
use crate::progress::Progress;
use crate::replay::{self, REPLAYED_FROM, ReplayError, Selection, Target};
use crate::request::Template;
use crate::results::Results;
use crate::run::{self, End, Happened, Job, Place, Requests, Summary, Wrong, check};
use crate::tail::{self, Filter, Form, Shown};

/// Takes records; refuses those whose value or key contains `poison`.
#[derive(Default)]
struct Broker {
    taken: Mutex<Vec<Outgoing>>,
    offered: Mutex<Vec<Bytes>>,
    /// Refuses so many times whatever comes.
    shaky: Mutex<u32>,
    came: Notify,
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[async_trait]
impl Publish for Broker {
    async fn publish(&self, record: Outgoing) -> Result<(i32, i64), ClusterError> {
        let key = record.key.clone().unwrap_or_default();
        self.offered.lock().unwrap().push(key.clone());
        let refuse = {
            let mut shaky = self.shaky.lock().unwrap();
            let refuse = *shaky > 0;
            *shaky = shaky.saturating_sub(1);
            refuse
        };
        tokio::task::yield_now().await;
        if refuse || contains(&key, b"poison") {
            return Err(ClusterError { what: "writing".into(), why: "no".into() });
        }
        let mut taken = self.taken.lock().unwrap();
        taken.push(record);
        self.came.notify_waiters();
        Ok((0, taken.len() as i64 - 1))
    }
}

impl Broker {
    fn keys(&self) -> Vec<String> {
        let taken = self.taken.lock().unwrap();
        let key = |record: &Outgoing| String::from_utf8(record.key.clone().unwrap().to_vec());
        taken.iter().map(|record| key(record).unwrap()).collect()
    }
}

/// Gives batches, then nothing more.
struct Batches(VecDeque<Vec<Tailed>>);

#[async_trait]
impl Tail for Batches {
    async fn next(&mut self) -> Result<Vec<Tailed>, ClusterError> {
        match self.0.pop_front() {
            Some(batch) => Ok(batch),
            None => std::future::pending().await,
        }
    }

    fn caught_up(&self) -> bool {
        self.0.is_empty()
    }
}

/// Knows no schema that isn't ours.
struct Registry;

impl ports::Cluster for Registry {
    fn partitions(&self, _: Kind) -> Result<i32, ClusterError> {
        unimplemented!()
    }
    fn join(&self, _: Kind, _: Inbox) -> Result<Arc<dyn ports::Membership>, ClusterError> {
        unimplemented!()
    }
    fn reader(&self, _: Kind, _: Inbox) -> Result<Arc<dyn ports::Reader>, ClusterError> {
        unimplemented!()
    }
    fn sender(&self, _: Inbox) -> Result<Arc<dyn ports::Sender>, ClusterError> {
        unimplemented!()
    }
    fn deltas(&self) -> Result<Arc<dyn ports::Deltas>, ClusterError> {
        unimplemented!()
    }
    fn checkpoints(&self, _: Kind, _: i32) -> Result<Box<dyn ports::Checkpoints>, ClusterError> {
        unimplemented!()
    }
    fn scan(&self, _: Kind, _: i32, _: i64, _: i64) -> Result<Scanned, ClusterError> {
        unimplemented!()
    }
    fn resolve_schema(&self, _: u32) -> Result<bool, ClusterError> {
        Ok(false)
    }
}

fn decoder() -> Decoder {
    Decoder::new(Ids::for_tests(), Arc::new(Registry))
}

fn requests(text: &str, from_line: u64) -> Requests {
    let template = Template::new(Kind::Model, vec![("model".into(), "demo".into())]).unwrap();
    let bytes = io::Cursor::new(text.as_bytes().to_vec());
    let rows = rows(Box::new(bytes), Some(Format::Lines), &template).unwrap();
    Requests::new(rows, template, from_line)
}

fn line(id: &str) -> String {
    format!(r#"{{"id":"{id}","body":{{"messages":[{{"role":"user"}}]}}}}"#)
}

fn lines(ids: &[&str]) -> String {
    ids.iter().map(|id| line(id) + "\n").collect()
}

/// Publishes `text`; returns what was said beside the summary.
async fn publish(
    text: &str,
    from_line: u64,
    wrong: Wrong,
    broker: &Broker,
    results: Option<Results>,
    stop: impl Future<Output = ()>,
) -> (Summary, Vec<String>) {
    let mut progress = Progress::silent("published", None);
    let ids = Ids::for_tests();
    let job = Job {
        requests: run::read_ahead(requests(text, from_line)).unwrap(),
        to: broker,
        ids: &ids,
        rate: None,
        wrong,
        results,
        progress: &mut progress,
    };
    let mut said = Vec::new();
    let summary = run::run(job, stop, &mut |_, happened| {
        said.push(match happened {
            Happened::Skipped(unread) => format!("skipped {unread}"),
            Happened::Lost { request, .. } => format!("lost {}", request.id),
            Happened::Result(event) => {
                format!("{} {}", event.execution_id, event.event_type.as_str())
            }
            Happened::Unreadable(..) => "unreadable".into(),
        });
    })
    .await;
    (summary, said)
}

#[tokio::test]
async fn every_request_is_published_in_order() {
    let ids: Vec<String> = (0..1_000).map(|i| format!("r-{i}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let broker = Broker::default();
    let (summary, said) =
        publish(&lines(&ids), 1, Wrong::Stop, &broker, None, std::future::pending()).await;
    assert_eq!((summary.published, summary.lost, summary.skipped), (1_000, 0, 0));
    assert!(matches!(summary.end, End::Complete) && said.is_empty());
    let offered = broker.offered.lock().unwrap();
    assert!(offered.iter().eq(ids.iter().map(|id| id.as_bytes())), "offered in the input's order");
}

#[tokio::test]
async fn earlier_lines_are_left_out() {
    let broker = Broker::default();
    let text = format!("broken\n{}", lines(&["a", "b", "c"]));
    let (summary, _) = publish(&text, 3, Wrong::Stop, &broker, None, std::future::pending()).await;
    assert_eq!((summary.published, broker.keys()), (2, vec!["b".to_owned(), "c".to_owned()]));
}

#[tokio::test]
async fn wrong_row_stops_or_is_passed_over() {
    let text = format!("{}{{}}\n{}", lines(&["a"]), lines(&["b"]));
    let broker = Broker::default();
    let (summary, said) =
        publish(&text, 1, Wrong::Skip, &broker, None, std::future::pending()).await;
    assert_eq!((summary.published, summary.skipped), (2, 1));
    assert_eq!(said, ["skipped 2: body is missing"]);
    let (summary, _) =
        publish(&text, 1, Wrong::Stop, &Broker::default(), None, std::future::pending()).await;
    assert_eq!(summary.published, 1);
    assert!(matches!(summary.end, End::Unread(_)), "{summary:?}");
}

#[test]
fn id_that_comes_twice_is_wrong() {
    let checked = check(requests(&lines(&["a", "b", "a"]), 1), 1);
    assert_eq!((checked.right, checked.wrong, checked.first.len()), (2, 1, 1));
    assert_eq!(checked.faults[0].to_string(), "3: id is the one of line 1");
}

#[tokio::test(start_paused = true)]
async fn record_of_unknown_fate_is_offered_again_the_same() {
    let broker = Broker { shaky: Mutex::new(2), ..Broker::default() };
    let (summary, _) =
        publish(&lines(&["a"]), 1, Wrong::Stop, &broker, None, std::future::pending()).await;
    assert_eq!((summary.published, summary.lost), (1, 0));
    assert_eq!(broker.offered.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn lost_request_ends_it_and_says_where_to_go_on() {
    let ids: Vec<String> =
        (1..=2_000).map(|i| if i == 3 { "poison".into() } else { format!("r{i}") }).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let text = lines(&ids);
    let broker = Broker::default();
    let (summary, said) =
        publish(&text, 1, Wrong::Stop, &broker, None, std::future::pending()).await;
    assert_eq!((summary.lost, said), (1, vec!["lost poison".to_owned()]));
    let End::Lost(Place { line, divides_a_line: false }) = summary.end else {
        panic!("{summary:?}")
    };
    assert_eq!(summary.published, line - 2, "all before that line but the lost one");
    // Going on there, each stands once.
    publish(&text, line, Wrong::Stop, &broker, None, std::future::pending()).await;
    let mut keys = broker.keys();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!((keys.len(), broker.taken.lock().unwrap().len()), (1_999, 1_999));
}

#[tokio::test(start_paused = true)]
async fn stop_finishes_what_is_on_its_way() {
    let ids: Vec<String> = (1..=5_000).map(|i| format!("r{i}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let broker = Broker::default();
    let stop = async {
        while broker.taken.lock().unwrap().len() < 300 {
            broker.came.notified().await;
        }
    };
    let (summary, _) = publish(&lines(&ids), 1, Wrong::Stop, &broker, None, stop).await;
    let End::Stopped(place) = summary.end else { panic!("{summary:?}") };
    assert_eq!(broker.taken.lock().unwrap().len() as u64, summary.published);
    assert_eq!(place, Place { line: summary.published + 1, divides_a_line: false });
    assert!(summary.published < 5_000);
}

fn event(id: &str, number: i64, event_type: EventType) -> Tailed {
    let event = ExecutionEvent {
        execution_id: id.into(),
        kind: Kind::Model,
        tenant: "default".into(),
        parent_id: None,
        generation: 0,
        number,
        event_type,
        time: Millis(0),
        step: None,
        attempt: None,
        data: None,
        error: None,
        usage: None,
        cost: None,
        data_claim: None,
    };
    tailed(0, number, id, &event)
}

fn tailed<R: Record>(partition: i32, offset: i64, key: &str, record: &R) -> Tailed {
    let value = Ids::for_tests().frame(record).unwrap();
    raw(partition, offset, key, value)
}

fn raw(partition: i32, offset: i64, key: &str, value: Vec<u8>) -> Tailed {
    let record = Raw {
        offset,
        time: Millis(offset * 1_000),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: value.into(),
        headers: vec![("ce_id".into(), Bytes::from_static(b"x"))],
    };
    Tailed { partition, record }
}

/// Waits for records to stand before it gives their results.
struct After<'a>(&'a Broker, usize, Batches);

#[async_trait]
impl Tail for After<'static> {
    async fn next(&mut self) -> Result<Vec<Tailed>, ClusterError> {
        loop {
            let came = self.0.came.notified();
            if self.0.taken.lock().unwrap().len() >= self.1 {
                return self.2.next().await;
            }
            came.await;
        }
    }

    fn caught_up(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn results_are_followed_until_each_has_ended_and_copies_dropped() {
    use EventType::{Admitted, Failed, Started, Succeeded};
    let broker: &'static Broker = Box::leak(Box::default());
    let results = vec![
        vec![event("a", 1, Admitted), event("stranger", 1, Admitted), event("a", 1, Admitted)],
        vec![event("b", 1, Admitted), event("a", 2, Succeeded), event("a", 2, Succeeded)],
        vec![event("b", 2, Started), event("b", 3, Failed), event("b", 4, Failed)],
    ];
    let tail = After(broker, 2, Batches(results.into()));
    let results = Results::new(Box::new(tail), decoder());
    let text = lines(&["a", "b"]);
    let (summary, said) =
        publish(&text, 1, Wrong::Stop, broker, Some(results), std::future::pending()).await;
    let outcomes = summary.outcomes.unwrap();
    assert_eq!((outcomes.succeeded, outcomes.failed, outcomes.open), (1, 1, 0));
    assert!(!outcomes.all_succeeded());
    let expected = [
        "a execution.admitted",
        "b execution.admitted",
        "a execution.succeeded",
        "b execution.started",
        "b execution.failed",
    ];
    assert_eq!(said, expected);
}

#[tokio::test]
async fn stop_ends_the_following_and_says_what_is_open() {
    let broker: &'static Broker = Box::leak(Box::default());
    let tail = After(broker, 1, Batches(VecDeque::new()));
    let results = Results::new(Box::new(tail), decoder());
    let stop = async {
        while broker.taken.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let (summary, _) = publish(&lines(&["a"]), 1, Wrong::Stop, broker, Some(results), stop).await;
    assert!(matches!(summary.end, End::Complete), "{summary:?}");
    assert_eq!(summary.outcomes.unwrap().open, 1);
}

fn selection(topic: Topic, ranges: &[(i32, i64, i64)]) -> Selection {
    let ranges = ranges.iter().map(|(partition, first, end)| (*partition, (*first, *end)));
    Selection { topic, ranges: ranges.collect(), since: None, until: None, key: None }
}

async fn copy(
    selection: Selection,
    batches: Vec<Vec<Tailed>>,
    target: Target<'_>,
) -> replay::Summary {
    let tail = Box::new(Batches(batches.into()));
    let mut progress = Progress::silent("copied", None);
    replay::run(tail, selection, target, &mut progress, std::future::pending()).await
}

fn numbered(partition: i32, offsets: std::ops::Range<i64>) -> Vec<Tailed> {
    offsets.map(|offset| raw(partition, offset, &format!("k{offset}"), vec![1, 2, 3])).collect()
}

#[tokio::test]
async fn range_is_copied_as_bytes_with_a_header_and_no_further() {
    let broker = Broker::default();
    let feed = Topic::Feed(Kind::Model);
    let range = selection(feed, &[(0, 2, 5), (1, 9, 9)]);
    // The end of the topic has moved on, by our own copies perhaps.
    let batches = vec![numbered(0, 2..4), numbered(1, 9..11), numbered(0, 4..9)];
    let summary = copy(range, batches, Target::Topic(feed, &broker)).await;
    assert!(summary.error.is_none() && !summary.stopped, "{summary:?}");
    assert_eq!((summary.copied, broker.keys()), (3, ["k2", "k3", "k4"].map(str::to_owned).into()));
    let taken = broker.taken.lock().unwrap();
    assert_eq!(&taken[0].value[..], [1, 2, 3]);
    assert_eq!(header(&taken[0].headers, "ce_id"), Some("x"));
    assert_eq!(header(&taken[0].headers, REPLAYED_FROM), Some("model-requests/0/2"));
}

#[tokio::test]
async fn range_that_ends_without_a_record_ends_all_the_same() {
    let broker = Broker::default();
    let feed = Topic::Feed(Kind::Model);
    let summary =
        copy(selection(feed, &[(0, 0, 9)]), vec![numbered(0, 0..3)], Target::Topic(feed, &broker))
            .await;
    assert_eq!((summary.copied, summary.error.is_none()), (3, true));
}

#[tokio::test]
async fn records_are_chosen_by_time_and_key() {
    let broker = Broker::default();
    let feed = Topic::Feed(Kind::Model);
    let range = Selection {
        since: Some(Millis(2_000)),
        until: Some(Millis(4_000)),
        ..selection(feed, &[(0, 0, 6)])
    };
    copy(range.clone(), vec![numbered(0, 0..6)], Target::Topic(feed, &broker)).await;
    assert_eq!(broker.keys(), ["k2", "k3"]);
    let range = Selection { key: Some("k3".into()), ..range };
    copy(range, vec![numbered(0, 0..6)], Target::Topic(feed, &broker)).await;
    assert_eq!(broker.keys(), ["k2", "k3", "k3"]);
}

#[tokio::test]
async fn logs_and_state_take_no_copies() {
    let broker = Broker::default();
    for into in [Topic::Log(Kind::Model), Topic::State(Kind::Agent)] {
        let range = selection(Topic::Results, &[(0, 0, 1)]);
        let summary = copy(range, vec![numbered(0, 0..1)], Target::Topic(into, &broker)).await;
        assert!(matches!(summary.error, Some(ReplayError::Target(_))), "{summary:?}");
        assert_eq!(broker.offered.lock().unwrap().len(), 0);
    }
}

fn letter(topic: &str, key: &str) -> DeadLetter {
    DeadLetter {
        id: format!("{topic}/3/7"),
        topic: topic.into(),
        partition: 3,
        offset: 7,
        time: Millis(0),
        code: "malformed".into(),
        message: "m".into(),
        tenant: None,
        key: Some(key.into()),
        value: vec![0, 0, 0, 0, 9, 7],
        headers: vec![Header { name: "h".into(), value: vec![1] }],
    }
}

#[tokio::test]
async fn dead_letter_goes_back_as_what_it_was() {
    let broker = Broker::default();
    let batch = vec![
        tailed(0, 0, "a", &letter("model-requests", "a")),
        tailed(0, 1, "b", &letter("model-events", "b")),
    ];
    let range = selection(Topic::DeadLetters, &[(0, 0, 2)]);
    let summary = copy(range, vec![batch], Target::Original(decoder(), &broker)).await;
    assert_eq!((summary.copied, summary.passed), (1, 1), "{summary:?}");
    let taken = broker.taken.lock().unwrap();
    assert_eq!((taken[0].topic, taken[0].partition), (Topic::Feed(Kind::Model), Some(3)));
    assert_eq!(&taken[0].value[..], [0, 0, 0, 0, 9, 7]);
    assert_eq!(header(&taken[0].headers, REPLAYED_FROM), Some("dead-letters/0/0"));
    assert_eq!(taken[0].headers[0], ("h".to_owned(), Bytes::from_static(&[1])));
}

#[tokio::test(start_paused = true)]
async fn copy_that_fails_is_named_with_where_to_go_on() {
    let broker = Broker::default();
    let feed = Topic::Feed(Kind::Model);
    let batches = vec![numbered(0, 0..2), vec![raw(0, 2, "poison", vec![])], numbered(0, 3..4)];
    let summary = copy(selection(feed, &[(0, 0, 4)]), batches, Target::Topic(feed, &broker)).await;
    assert!(matches!(summary.error, Some(ReplayError::Write { offset: 2, .. })), "{summary:?}");
    assert_eq!((summary.copied, summary.next[&0]), (2, 2));
}

#[tokio::test]
async fn printed_range_is_json_with_bytes_in_base64() {
    let mut out = Vec::new();
    let range = selection(Topic::Results, &[(0, 1, 2)]);
    copy(range, vec![numbered(0, 0..3)], Target::Out(&mut out)).await;
    let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((line["offset"].as_i64(), line["value_base64"].as_str()), (Some(1), Some("AQID")));
}

async fn shown(batch: Vec<Tailed>, shown: Shown, filter: Filter, form: Form) -> String {
    let mut out = Vec::new();
    let tail = Box::new(Batches([batch].into()));
    // It ends by its limit, or when the batch is through and nothing more comes.
    let stop = tokio::time::sleep(Duration::from_secs(5));
    tail::run(tail, decoder(), shown, filter, form, &mut out, stop).await.unwrap();
    String::from_utf8(out).unwrap()
}

#[tokio::test(start_paused = true)]
async fn records_are_shown_by_execution_and_to_a_limit() {
    let batch = || {
        vec![
            event("a", 1, EventType::Admitted),
            event("b", 1, EventType::Admitted),
            raw(0, 3, "c", vec![9]),
            event("a", 2, EventType::Succeeded),
        ]
    };
    let of_a = Filter { execution: Some("a".into()), ..Filter::default() };
    let text = shown(batch(), Shown::Results, of_a, Form::Text).await;
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.lines().all(|line| line.starts_with("1970-01-01T00:00:00.000Z  a ")), "{text}");
    let text = shown(batch(), Shown::Results, Filter::default(), Form::Json).await;
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[3]["type"], "execution.succeeded");
    assert!(lines[2]["unreadable"].as_str().unwrap().contains("magic byte"), "{text}");
    let limited = Filter { limit: Some(3), ..Filter::default() };
    assert_eq!(shown(batch(), Shown::Results, limited, Form::Text).await.lines().count(), 3);
    let stranger = Filter { tenant: Some("other".into()), ..Filter::default() };
    assert_eq!(shown(batch(), Shown::Results, stranger, Form::Text).await, "");
}

#[tokio::test]
async fn every_topic_has_lines_for_people_and_programs() {
    for (topic, record, of) in [
        ("io.stepstream.v1.ExecutionEvent", Shown::Results, "execution."),
        ("io.stepstream.v1.Chunk", Shown::Stream, "1970-01-01"),
        ("io.stepstream.v1.ExecutionLogRecord", Shown::ExecutionLog, "tokens"),
        ("io.stepstream.v1.DeadLetter", Shown::DeadLetters, "["),
        ("io.stepstream.v1.DefinitionProposed", Shown::Definitions, "by "),
    ] {
        let sample = schemas::samples::all().into_iter().find(|s| s.record.name == topic).unwrap();
        let id = Ids::for_tests().id_of(topic).unwrap();
        let value = [&[0][..], &id.to_be_bytes(), &sample.datum].concat();
        let one = Filter { limit: Some(1), ..Filter::default() };
        let text =
            shown(vec![raw(0, 0, "k", value.clone())], record, one.clone(), Form::Text).await;
        assert!(text.contains(of) && text.lines().count() == 1, "{topic}: {text}");
        let json = shown(vec![raw(0, 0, "k", value)], record, one, Form::Json).await;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(json.get("unreadable").is_none() && json.is_object(), "{topic}: {json}");
    }
}

/// A reader that has gone.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn reader_that_has_gone_ends_it_without_an_error() {
    let tail = Box::new(Batches([vec![event("a", 1, EventType::Admitted)]].into()));
    let mut gone = Gone;
    let ended = tail::run(
        tail,
        decoder(),
        Shown::Results,
        Filter::default(),
        Form::Text,
        &mut gone,
        std::future::pending(),
    );
    assert_eq!(ended.await.unwrap(), 0);
}
