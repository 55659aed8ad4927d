//! The archive over topics that are vectors, into the embedded store.

mod rebuild;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use domain::event::{EventType, ExecutionEvent};
use domain::log_row::ExecutionLogRecord;
use domain::topic::Kind;
use runtime::ports::{Raw, Tail, TailFrom, Tailed};
use store::{AcceptedExecution, Batch, Cursor, Embedded, Execution, Filter, LogPlace, Page};
use store::{Status, StoreError, ValueHash};
use tokio::sync::oneshot;

use super::*;

/// Topics with one partition each, and what was asked of them.
#[derive(Default)]
struct Vectors {
    records: Mutex<BTreeMap<Topic, Vec<Vec<u8>>>>,
    opened: Mutex<Vec<(Topic, TailFrom)>>,
    /// The oldest offset that retention has left.
    oldest: usize,
}

struct VectorTail(VecDeque<Result<Vec<Tailed>, ClusterError>>);

#[async_trait]
impl Tail for VectorTail {
    async fn next(&mut self) -> Result<Vec<Tailed>, ClusterError> {
        match self.0.pop_front() {
            Some(records) => records,
            None => std::future::pending().await,
        }
    }

    fn caught_up(&self) -> bool {
        self.0.is_empty()
    }
}

impl Topics for Vectors {
    fn tail(&self, topic: Topic, from: TailFrom) -> Result<Box<dyn Tail>, ClusterError> {
        let first = match &from {
            TailFrom::Earliest => self.oldest,
            TailFrom::Latest => panic!("an archive never begins at the end"),
            TailFrom::Offsets(offsets) => {
                offsets.get(&0).map_or(self.oldest, |next| usize::try_from(*next).unwrap())
            }
        };
        self.opened.lock().unwrap().push((topic, from));
        if first < self.oldest {
            let gone = ClusterError { what: "read".into(), why: "offset out of range".into() };
            return Ok(Box::new(VectorTail([Err(gone)].into())));
        }
        let records = self.records.lock().unwrap();
        let of = records.get(&topic).map(Vec::as_slice).unwrap_or_default();
        let tailed = |(offset, value): (usize, &Vec<u8>)| Tailed {
            partition: 0,
            record: Raw {
                offset: i64::try_from(offset).unwrap(),
                time: Millis(0),
                key: None,
                value: Bytes::copy_from_slice(value),
                headers: Vec::new(),
            },
        };
        // Two a batch, so that progress moves in between.
        let all: Vec<Tailed> = of.iter().enumerate().skip(first).map(tailed).collect();
        let batches = all.chunks(2).map(|batch| Ok(batch.to_vec())).collect();
        Ok(Box::new(VectorTail(batches)))
    }
}

/// A store that can be told to fail, in front of a real one.
struct Flaky {
    store: Embedded,
    fails: AtomicBool,
    failed: AtomicUsize,
}

#[async_trait]
impl Store for Flaky {
    async fn put_accepted(&self, accepted: AcceptedExecution) -> Result<(), StoreError> {
        self.store.put_accepted(accepted).await
    }
    async fn archive(&self, batch: Batch) -> Result<(), StoreError> {
        if self.fails.load(Ordering::SeqCst) {
            self.failed.fetch_add(1, Ordering::SeqCst);
            return Err(StoreError::Closed);
        }
        self.store.archive(batch).await
    }
    async fn execution(&self, tenant: &str, id: &str) -> Result<Option<Execution>, StoreError> {
        self.store.execution(tenant, id).await
    }
    async fn put_value(
        &self,
        tenant: &str,
        value: &Bytes,
        now: Millis,
    ) -> Result<ValueHash, StoreError> {
        self.store.put_value(tenant, value, now).await
    }
    async fn value(&self, tenant: &str, hash: &ValueHash) -> Result<Option<Bytes>, StoreError> {
        self.store.value(tenant, hash).await
    }
    async fn events(
        &self,
        tenant: &str,
        id: &str,
        after: Option<domain::event::Position>,
        limit: usize,
    ) -> Result<Vec<ExecutionEvent>, StoreError> {
        self.store.events(tenant, id, after, limit).await
    }
    async fn list(
        &self,
        tenant: &str,
        filter: &Filter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.store.list(tenant, filter, cursor, limit).await
    }
    async fn log_rows(
        &self,
        tenant: &str,
        id: &str,
        after: Option<&LogPlace>,
        limit: usize,
    ) -> Result<Vec<ExecutionLogRecord>, StoreError> {
        self.store.log_rows(tenant, id, after, limit).await
    }
    async fn progress(&self, topic: &str, partition: i32) -> Result<Option<i64>, StoreError> {
        self.store.progress(topic, partition).await
    }
    async fn expire(&self, before: Millis) -> Result<u64, StoreError> {
        self.store.expire(before).await
    }
    async fn flush(&self) -> Result<(), StoreError> {
        self.store.flush().await
    }
}

fn flaky() -> Arc<Flaky> {
    let store = Embedded::in_memory().expect("memory");
    Arc::new(Flaky { store, fails: AtomicBool::new(false), failed: AtomicUsize::new(0) })
}

fn event(id: &str, number: i64, event_type: EventType) -> Vec<u8> {
    let event = ExecutionEvent {
        execution_id: id.into(),
        kind: Kind::Model,
        tenant: "t".into(),
        parent_id: None,
        generation: 0,
        number,
        event_type,
        time: Millis(number),
        step: None,
        attempt: None,
        data: None,
        error: None,
        usage: None,
        cost: None,
        data_claim: None,
    };
    Ids::for_tests().frame(&event).unwrap()
}

fn row(id: &str, event_id: &str) -> Vec<u8> {
    let mut row = ExecutionLogRecord::new("execution.admitted", Kind::Model, id, "t");
    row.event_id = event_id.into();
    Ids::for_tests().frame(&row).unwrap()
}

struct World {
    topics: Arc<Vectors>,
    store: Arc<Flaky>,
    resolve: Resolve,
}

impl World {
    fn new(records: [(Topic, Vec<Vec<u8>>); 2]) -> Self {
        let topics = Vectors { records: Mutex::new(records.into()), ..Vectors::default() };
        Self { topics: Arc::new(topics), store: flaky(), resolve: Arc::new(|_| Ok(false)) }
    }

    fn start(&self, start: Start) -> (oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let parts = Parts {
            topics: self.topics.clone(),
            ids: Ids::for_tests(),
            store: self.store.clone(),
            resolve: self.resolve.clone(),
        };
        let (archive, _) = Archive::new(Options { start, retention: None }, parts);
        let (stop, stopped) = oneshot::channel();
        let run = archive.run(async {
            let _ = stopped.await;
        });
        (stop, tokio::spawn(run))
    }

    /// Waits until the store has this progress of both topics.
    async fn until(&self, results: i64, log: i64) {
        for (topic, wanted) in [(Topic::Results, results), (Topic::ExecutionLog, log)] {
            while self.store.progress(topic.name(), 0).await.unwrap().unwrap_or(0) < wanted {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    async fn status(&self, id: &str) -> Option<Status> {
        self.store.execution("t", id).await.unwrap().map(|execution| execution.status)
    }
}

fn three() -> [(Topic, Vec<Vec<u8>>); 2] {
    let events = vec![
        event("a", 1, EventType::Admitted),
        event("a", 2, EventType::Started),
        event("a", 3, EventType::Succeeded),
    ];
    [(Topic::Results, events), (Topic::ExecutionLog, vec![row("a", "r1"), row("a", "r2")])]
}

#[tokio::test]
async fn both_topics_are_written_and_a_restart_goes_on_at_the_progress() {
    let world = World::new(three());
    let (stop, run) = world.start(Start::Stored);
    world.until(3, 2).await;
    stop.send(()).unwrap();
    run.await.unwrap();
    assert_eq!(world.status("a").await, Some(Status::Succeeded));
    assert_eq!(world.store.log_rows("t", "a", None, 10).await.unwrap().len(), 2);

    world.topics.records.lock().unwrap().get_mut(&Topic::Results).unwrap().push(event(
        "b",
        1,
        EventType::Admitted,
    ));
    let (stop, run) = world.start(Start::Stored);
    world.until(4, 2).await;
    stop.send(()).unwrap();
    run.await.unwrap();
    assert_eq!(world.status("b").await, Some(Status::Admitted));
    let opened = world.topics.opened.lock().unwrap();
    assert!(opened.contains(&(Topic::Results, TailFrom::Offsets([(0, 3)].into()))), "{opened:?}");
}

#[tokio::test]
async fn topics_that_do_not_outlive_the_process_are_read_from_their_oldest_record() {
    let world = World::new(three());
    let ahead = store::Progress { topic: "results".into(), partition: 0, next_offset: 900 };
    let batch = Batch { progress: vec![ahead], ..Batch::default() };
    world.store.archive(batch).await.unwrap();
    let (stop, run) = world.start(Start::Oldest);
    while world.status("a").await != Some(Status::Succeeded) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stop.send(()).unwrap();
    run.await.unwrap();
}

#[tokio::test]
async fn unreadable_records_are_passed_over() {
    let good = event("a", 1, EventType::Admitted);
    let mut torn = event("b", 1, EventType::Admitted);
    torn.pop();
    let strange = vec![0, 0, 0, 0x27, 0x0f, 1];
    let results = vec![vec![], vec![9, 9], torn, strange, row("a", "misplaced"), good];
    let world = World::new([(Topic::Results, results), (Topic::ExecutionLog, vec![row("a", "r")])]);
    let (stop, run) = world.start(Start::Stored);
    world.until(6, 1).await;
    stop.send(()).unwrap();
    run.await.unwrap();
    assert_eq!(world.status("a").await, Some(Status::Admitted));
    assert_eq!(world.status("b").await, None);
}

#[tokio::test]
async fn progress_stands_still_while_the_store_fails_and_nothing_is_lost() {
    let world = World::new(three());
    world.store.fails.store(true, Ordering::SeqCst);
    let (stop, run) = world.start(Start::Stored);
    while world.store.failed.load(Ordering::SeqCst) < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(world.store.progress("results", 0).await.unwrap(), None);
    world.store.fails.store(false, Ordering::SeqCst);
    world.until(3, 2).await;
    stop.send(()).unwrap();
    run.await.unwrap();
    assert_eq!(world.status("a").await, Some(Status::Succeeded));
}

#[tokio::test]
async fn without_the_registry_nothing_is_passed_over() {
    let frame = event("a", 1, EventType::Admitted);
    let [_, _, _, _, _, datum @ ..] = frame.as_slice() else { panic!("short") };
    let newer = [&[0, 0, 0, 0x27, 0x0f], datum].concat();
    let mut world = World::new([(Topic::Results, vec![newer]), (Topic::ExecutionLog, vec![])]);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    world.resolve = Arc::new(move |_| {
        // Away twice, then it says that there is no such schema.
        match counted.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Err(ClusterError { what: "fetch".into(), why: "connection refused".into() }),
            _ => Ok(false),
        }
    });
    let (stop, run) = world.start(Start::Stored);
    world.until(1, 0).await;
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    stop.send(()).unwrap();
    run.await.unwrap();
}

#[tokio::test]
async fn place_that_retention_has_passed_is_never_skipped_silently() {
    let mut world = World::new(three());
    world.topics =
        Arc::new(Vectors { records: Mutex::new(three().into()), oldest: 2, ..Vectors::default() });
    let behind = store::Progress { topic: "results".into(), partition: 0, next_offset: 1 };
    let batch = Batch { progress: vec![behind], ..Batch::default() };
    world.store.archive(batch).await.unwrap();
    let (stop, run) = world.start(Start::Stored);
    while world.topics.opened.lock().unwrap().iter().filter(|(t, _)| *t == Topic::Results).count()
        < 2
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(world.store.progress("results", 0).await.unwrap(), Some(1));
    assert_eq!(world.status("a").await, None);
    stop.send(()).unwrap();
    run.await.unwrap();
}
