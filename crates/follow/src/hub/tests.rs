//! The hub over topics that are channels.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use domain::event::{ChunkKind, EventType};
use domain::time::Millis;
use domain::topic::Kind;
use runtime::ports::Tailed;
use tokio::sync::mpsc;

use super::*;
use crate::feed::{Doubt, Fed};

type Feed = mpsc::UnboundedSender<Result<Vec<Tailed>, ClusterError>>;

/// Topics whose newest tail can be fed.
#[derive(Default)]
struct Channels {
    feeds: Mutex<HashMap<Topic, Feed>>,
    opened: AtomicUsize,
}

struct ChannelTail(mpsc::UnboundedReceiver<Result<Vec<Tailed>, ClusterError>>);

#[async_trait]
impl Tail for ChannelTail {
    async fn next(&mut self) -> Result<Vec<Tailed>, ClusterError> {
        self.0.recv().await.unwrap_or_else(|| Err(gone()))
    }

    fn caught_up(&self) -> bool {
        true
    }
}

impl Topics for Channels {
    fn tail(&self, topic: Topic, from: TailFrom) -> Result<Box<dyn Tail>, ClusterError> {
        assert_eq!(from, TailFrom::Latest);
        let (feed, tail) = mpsc::unbounded_channel();
        self.feeds.lock().unwrap().insert(topic, feed);
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(ChannelTail(tail)))
    }
}

fn gone() -> ClusterError {
    ClusterError { what: "read".into(), why: "offset out of range".into() }
}

struct World {
    topics: Arc<Channels>,
    ids: Ids,
    handle: Handle,
}

impl World {
    async fn new() -> Self {
        let (topics, ids) = (Arc::new(Channels::default()), Ids::for_tests());
        let resolve: Resolve = Arc::new(|_| Ok(false));
        let parts = Parts { topics: topics.clone(), ids: ids.clone(), resolve };
        let (hub, handle) = Hub::new(Options::default(), parts);
        tokio::spawn(hub.run(std::future::pending()));
        handle.ready().await;
        Self { topics, ids, handle }
    }

    fn put(&self, topic: Topic, key: &str, value: Vec<u8>) {
        let record = Raw {
            offset: 0,
            time: Millis(0),
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            value: value.into(),
            headers: Vec::new(),
        };
        self.send(topic, Ok(vec![Tailed { partition: 0, record }]));
    }

    fn send(&self, topic: Topic, what: Result<Vec<Tailed>, ClusterError>) {
        self.topics.feeds.lock().unwrap()[&topic].send(what).expect("the hub reads");
    }

    fn event(&self, tenant: &str, id: &str, number: i64) {
        self.put(Topic::Results, id, self.ids.frame(&event(tenant, id, number)).unwrap());
    }

    fn chunk(&self, tenant: &str, id: &str, index: i64) {
        self.put(Topic::Stream, id, self.ids.frame(&chunk(tenant, id, index)).unwrap());
    }
}

fn event(tenant: &str, id: &str, number: i64) -> ExecutionEvent {
    ExecutionEvent {
        execution_id: id.into(),
        kind: Kind::Model,
        tenant: tenant.into(),
        parent_id: None,
        generation: 0,
        number,
        event_type: EventType::Started,
        time: Millis(0),
        step: None,
        attempt: None,
        data: None,
        error: None,
        usage: None,
        cost: None,
        data_claim: None,
    }
}

fn chunk(tenant: &str, id: &str, index: i64) -> Chunk {
    Chunk {
        execution_id: id.into(),
        tenant: tenant.into(),
        fence: 1,
        attempt: 1,
        index,
        kind: ChunkKind::Text,
        choice: 0,
        text: format!("{index} "),
    }
}

fn number(followed: Followed) -> i64 {
    match followed {
        Followed::Event(event) => event.number,
        other => panic!("not an event: {other:?}"),
    }
}

#[tokio::test]
async fn follower_gets_its_execution_once_and_nobody_elses() {
    let world = World::new().await;
    let mut mine = world.handle.follow("t", "mine");
    for (id, number) in [("other", 1), ("mine", 1), ("mine", 1), ("other", 2), ("mine", 2)] {
        world.event("t", id, number);
    }
    assert_eq!(number(mine.next().await), 1);
    assert_eq!(number(mine.next().await), 2);
    assert_eq!(mine.try_next(), None);
}

#[tokio::test]
async fn another_tenants_records_are_never_passed_on() {
    let world = World::new().await;
    let mut mine = world.handle.follow("mine", "shared-id");
    world.event("theirs", "shared-id", 1);
    world.chunk("theirs", "shared-id", 0);
    // A record whose key names one execution and whose value names another.
    let smuggled = world.ids.frame(&event("mine", "another", 1)).unwrap();
    world.put(Topic::Results, "shared-id", smuggled);
    world.event("mine", "shared-id", 1);
    let Followed::Event(first) = mine.next().await else { panic!("not an event") };
    assert_eq!((first.tenant.as_str(), first.execution_id.as_str()), ("mine", "shared-id"));

    // What is remembered is guarded as well.
    let mut late = world.handle.follow("nobody", "shared-id");
    assert_eq!(late.try_next(), None);
}

#[tokio::test]
async fn late_follower_gets_what_is_remembered_and_then_what_comes() {
    let world = World::new().await;
    let mut witness = world.handle.follow("t", "e");
    for index in 0..3 {
        world.chunk("t", "e", index);
    }
    for _ in 0..3 {
        witness.next().await;
    }
    let mut late = world.handle.follow("t", "e");
    world.chunk("t", "e", 3);
    let mut text = String::new();
    while text.len() < "0 1 2 3 ".len() {
        match late.next().await {
            Followed::Chunk(chunk) => text.push_str(&chunk.text),
            other => panic!("not a chunk: {other:?}"),
        }
    }
    assert_eq!(text, "0 1 2 3 ");
}

#[tokio::test]
async fn unreadable_record_stops_nobody() {
    let world = World::new().await;
    let mut mine = world.handle.follow("t", "e");
    for value in [vec![], vec![1, 2, 3], vec![0, 0, 0, 0x27, 0x0f, 1], vec![0, 0, 0, 0, 1]] {
        world.put(Topic::Results, "e", value);
    }
    let chunk_on_results = world.ids.frame(&chunk("t", "e", 0)).unwrap();
    world.put(Topic::Results, "e", chunk_on_results);
    world.event("t", "e", 1);
    assert_eq!(number(mine.next().await), 1);
}

#[tokio::test(start_paused = true)]
async fn broken_tail_is_opened_again_and_followers_are_told() {
    let world = World::new().await;
    let mut mine = world.handle.follow("t", "e");
    world.event("t", "e", 1);
    assert_eq!(number(mine.next().await), 1);
    world.send(Topic::Results, Err(gone()));
    assert_eq!(mine.next().await, Followed::Lagged);
    assert!(!world.handle.is_ready());
    world.handle.ready().await;
    assert_eq!(world.topics.opened.load(Ordering::Relaxed), 3);
    world.event("t", "e", 4);
    assert_eq!(number(mine.next().await), 4);
}

#[tokio::test]
async fn follower_that_left_leaves_nothing_behind() {
    let world = World::new().await;
    let (first, second) = (world.handle.follow("t", "e"), world.handle.follow("t", "e"));
    drop(first);
    assert_eq!(world.handle.0.state().followers.values().flatten().count(), 1);
    drop(second);
    assert!(world.handle.0.state().followers.is_empty());
}

/// The tag and number of an event of a feed.
fn fed(fed: Fed) -> (u64, String, i64) {
    match fed {
        Fed::Record { tag, record: Record::Event(event) } => {
            (tag, event.execution_id.clone(), event.number)
        }
        other => panic!("not an event: {other:?}"),
    }
}

#[tokio::test]
async fn feed_gets_its_executions_and_its_tenant_and_nothing_else() {
    let world = World::new().await;
    let mut feed = world.handle.feed();
    assert!(feed.follow(1, "mine", "e").records.is_empty());
    feed.follow_tenant(2, "mine");
    world.event("theirs", "e", 1);
    world.event("theirs", "other", 1);
    let smuggled = world.ids.frame(&event("mine", "another", 1)).unwrap();
    world.put(Topic::Results, "e", smuggled);
    world.chunk("mine", "other", 0);
    world.event("mine", "e", 1);
    world.event("mine", "other", 1);
    let mut got = [fed(feed.next().await), fed(feed.next().await), fed(feed.next().await)];
    got.sort();
    assert_eq!(got, [(1, "e".into(), 1), (2, "e".into(), 1), (2, "other".into(), 1)]);
    assert!(feed.try_next().is_none());
}

#[tokio::test]
async fn late_feed_gets_what_is_remembered_of_its_tenants_execution() {
    let world = World::new().await;
    let mut witness = world.handle.follow("t", "e");
    world.event("t", "e", 1);
    witness.next().await;
    world.chunk("t", "e", 0);
    witness.next().await;
    let mut feed = world.handle.feed();
    assert_eq!(feed.follow(1, "t", "e").records.len(), 2);
    assert!(feed.follow(2, "nobody", "e").records.is_empty());
    world.event("t", "e", 2);
    assert_eq!(fed(feed.next().await), (1, "e".into(), 2));
}

#[tokio::test]
async fn feed_whose_owner_stands_still_is_bounded_and_told() {
    let world = World::new().await;
    let mut feed = world.handle.feed();
    let _ = feed.follow(1, "t", "e");
    let last = crate::feed::INBOX_RECORDS as i64 + 1;
    let mut witness = world.handle.follow("t", "e");
    for number in 1..=last {
        world.event("t", "e", number);
        while number % 100 == 0 && witness.try_next().is_some() {}
    }
    while !matches!(witness.next().await, Followed::Event(event) if event.number == last) {}
    assert!(matches!(feed.next().await, Fed::Interrupted));
    assert_eq!(fed(feed.next().await), (1, "e".into(), last));
    assert!(feed.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn feed_is_told_when_reading_broke() {
    let world = World::new().await;
    let mut feed = world.handle.feed();
    feed.follow_tenant(1, "t");
    world.send(Topic::Results, Err(gone()));
    assert!(matches!(feed.next().await, Fed::Interrupted));
    world.handle.ready().await;
    assert_eq!(world.handle.feed().follow(1, "t", "e").doubt, Doubt::Recent);
    tokio::time::advance(crate::feed::DOUBT).await;
    assert_eq!(world.handle.feed().follow(1, "t", "e").doubt, Doubt::None);
}

#[tokio::test]
async fn feed_that_left_leaves_nothing_behind() {
    let world = World::new().await;
    let mut feed = world.handle.feed();
    let _ = feed.follow(1, "t", "e");
    let _ = feed.follow(2, "t", "e");
    feed.follow_tenant(3, "t");
    feed.unfollow(1);
    feed.unfollow(1);
    drop(feed);
    assert!(world.handle.0.state().feeds.is_empty());
}

#[tokio::test]
async fn one_record_is_encoded_once_for_all_its_readers() {
    let world = World::new().await;
    let mut feeds = [world.handle.feed(), world.handle.feed()];
    for feed in &mut feeds {
        let _ = feed.follow(1, "t", "e");
    }
    world.event("t", "e", 1);
    let mut texts = Vec::new();
    for feed in &mut feeds {
        let Fed::Record { record: Record::Event(event), .. } = feed.next().await else {
            panic!("not an event")
        };
        texts.push(event.json().as_ptr());
    }
    assert_eq!(texts[0], texts[1]);
}
