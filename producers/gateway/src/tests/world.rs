//! A gateway over fakes of broker and topics, a real catalogue, a real (in-memory) store and a real hub.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use domain::answer::Failure;
use domain::catalogue::{DefinitionKind, DefinitionProposed};
use domain::event::{Chunk, ChunkKind, EventType, ExecutionEvent, QueuePlace};
use domain::request::ModelRequest;
use domain::time::Millis;
use domain::topic::{Kind, Topic};
use runtime::ports::{ClusterError, Outgoing, Raw, Tail, TailFrom, Tailed, Topics};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use service::auth::{KeyDefinition, NewKey, Scope};
use tokio::sync::{mpsc, watch};
use tower::ServiceExt as _;

use super::*;

/// What happens when a request is published.
pub(crate) type Script = Box<dyn Fn(&World, ModelRequest) + Send + Sync>;

/// Everything, shared with the fakes.
#[derive(Clone)]
pub(crate) struct World(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) ids: Ids,
    pub(crate) store: Arc<store::Embedded>,
    pub(crate) definitions: Definitions,
    feeds: Mutex<HashMap<Topic, mpsc::UnboundedSender<Tailed>>>,
    published: watch::Sender<Vec<Outgoing>>,
    script: Mutex<Option<Script>>,
    broker: Mutex<Result<(), String>>,
}

struct Feed(mpsc::UnboundedReceiver<Tailed>);

#[async_trait]
impl Tail for Feed {
    async fn next(&mut self) -> Result<Vec<Tailed>, ClusterError> {
        match self.0.recv().await {
            Some(tailed) => Ok(vec![tailed]),
            None => std::future::pending().await,
        }
    }

    fn caught_up(&self) -> bool {
        true
    }
}

impl Topics for World {
    fn tail(&self, topic: Topic, _: TailFrom) -> Result<Box<dyn Tail>, ClusterError> {
        let (feed, tail) = mpsc::unbounded_channel();
        self.0.feeds.lock().unwrap().insert(topic, feed);
        Ok(Box::new(Feed(tail)))
    }
}

#[async_trait]
impl Publish for World {
    async fn publish(&self, record: Outgoing) -> Result<(i32, i64), ClusterError> {
        if let Err(why) = self.0.broker.lock().unwrap().clone() {
            return Err(ClusterError { what: "publish".into(), why });
        }
        self.0.published.send_modify(|published| published.push(record.clone()));
        match record.topic {
            Topic::Feed(Kind::Model) => {
                let request = self.0.ids.read(&record.value).expect("a request of ours");
                if let Some(script) = &*self.0.script.lock().unwrap() {
                    script(self, request);
                }
            }
            Topic::Definitions => {
                let proposal = self.0.ids.read(&record.value).expect("a proposal of ours");
                self.0.definitions.apply(proposal);
            }
            _ => {}
        }
        Ok((0, 0))
    }
}

/// A gateway in its world.
pub(crate) struct Served {
    pub(crate) world: World,
    pub(crate) router: Router,
    pub(crate) app: App,
    pub(crate) key: String,
}

impl Served {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let world = World(Arc::new(Inner {
            ids: Ids::for_tests(),
            store: Arc::new(store::Embedded::in_memory().expect("memory")),
            definitions: Definitions::new(),
            feeds: Mutex::default(),
            published: watch::Sender::new(Vec::new()),
            script: Mutex::new(None),
            broker: Mutex::new(Ok(())),
        }));
        world.0.definitions.set_caught_up();
        for tenant in ["acme", "other"] {
            world.define(tenant, "fast", "{}");
        }
        let key = world.key("acme", &Scope::ALL);
        let topics = Arc::new(world.clone());
        let resolve: follow::Resolve = Arc::new(|_| Ok(false));
        let parts = follow::Parts { topics, ids: world.0.ids.clone(), resolve };
        let (hub, handle) = follow::Hub::new(follow::Options::default(), parts);
        tokio::spawn(hub.run(std::future::pending()));
        handle.ready().await;
        let gateway = Gateway::new(
            options,
            Parts {
                publish: Arc::new(world.clone()),
                ids: world.0.ids.clone(),
                hub: handle,
                store: world.0.store.clone(),
                claims: Claims::new(world.0.store.clone(), domain::claim::LIMIT_BYTES),
                definitions: world.0.definitions.clone(),
                metrics: Arc::new(|| "# nothing\n".into()),
                dependencies: vec![],
                shutdown: Shutdown::new(),
            },
        );
        Self { world, router: gateway.router(), app: gateway.app, key }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.expect("a router always answers")
    }

    /// With the key of tenant `acme`.
    pub(crate) fn request(&self, method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
        with_key(method, path, &self.key, body)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.send(self.request("GET", path, Body::empty())).await).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        answer(self.send(self.request("POST", path, body.to_string())).await).await
    }
}

pub(crate) fn with_key(
    method: &str,
    path: &str,
    key: &str,
    body: impl Into<Body>,
) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(body.into())
        .expect("a request")
}

/// A response that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    /// The server-sent events: name, id, data.
    pub(crate) fn events(&self) -> Vec<(String, String, String)> {
        self.text
            .split("\n\n")
            .filter(|block| !block.is_empty() && !block.starts_with(':'))
            .map(|block| {
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(name));
                    line.unwrap_or_default().trim_start().to_owned()
                };
                (field("event:"), field("id:"), field("data:"))
            })
            .collect()
    }
}

pub(crate) async fn answer(response: Response) -> Answer {
    let (head, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    Answer { status: head.status, headers: head.headers, text }
}

impl World {
    /// Sets what happens when a request is published.
    pub(crate) fn on_request(&self, script: impl Fn(&World, ModelRequest) + Send + Sync + 'static) {
        *self.0.script.lock().unwrap() = Some(Box::new(script));
    }

    pub(crate) fn break_broker(&self) {
        *self.0.broker.lock().unwrap() = Err("connection refused, sk-ss-secret".into());
    }

    pub(crate) fn mend_broker(&self) {
        *self.0.broker.lock().unwrap() = Ok(());
    }

    pub(crate) fn define(&self, tenant: &str, name: &str, body: &str) {
        self.propose(DefinitionKind::Model, tenant, name, body);
    }

    pub(crate) fn define_workflow(&self, tenant: &str, name: &str, body: &str) {
        self.propose(DefinitionKind::Workflow, tenant, name, body);
    }

    pub(crate) fn define_schedule(&self, tenant: &str, name: &str, body: &str) {
        self.propose(DefinitionKind::Schedule, tenant, name, body);
    }

    fn propose(&self, kind: DefinitionKind, tenant: &str, name: &str, body: &str) {
        let catalogue = self.0.definitions.snapshot();
        let expects = catalogue.history(kind, tenant, name).len();
        self.0.definitions.apply(DefinitionProposed {
            id: publish::new_id(),
            kind,
            tenant: tenant.into(),
            name: name.into(),
            expects: i32::try_from(expects).unwrap(),
            body: Some(body.into()),
            proposed_by: "test".into(),
            time: Millis(5_000),
        });
    }

    pub(crate) fn key(&self, tenant: &str, scopes: &[Scope]) -> String {
        let key = NewKey::generate().expect("randomness");
        let definition = KeyDefinition {
            tenant: tenant.into(),
            scopes: scopes.iter().copied().collect(),
            label: "test".into(),
            created: Millis(0),
            expires: None,
        };
        self.0.definitions.apply(key.proposal(publish::new_id(), &definition, "test"));
        key.key.expose_secret().to_owned()
    }

    pub(crate) fn published(&self) -> Vec<Outgoing> {
        self.0.published.borrow().clone()
    }

    /// Waits for a record that is published to this topic.
    pub(crate) async fn published_to(&self, topic: Topic) -> Outgoing {
        let mut published = self.0.published.subscribe();
        let found = published
            .wait_for(|all| all.iter().any(|record| record.topic == topic))
            .await
            .expect("the world lives");
        found.iter().find(|record| record.topic == topic).cloned().expect("just found")
    }

    /// Puts a chunk on `stream`.
    pub(crate) fn chunk(&self, id: &str, attempt: i32, index: i64, text: &str) {
        let chunk = Chunk {
            execution_id: id.into(),
            tenant: "acme".into(),
            fence: 1,
            attempt,
            index,
            kind: ChunkKind::Text,
            choice: 0,
            text: text.into(),
        };
        self.put(Topic::Stream, id, self.0.ids.frame(&chunk).unwrap());
    }

    /// Puts on `stream` where a call waits before its first try, said for the `nth` time.
    pub(crate) fn queued(&self, id: &str, nth: i64, place: QueuePlace) {
        let chunk = Chunk {
            execution_id: id.into(),
            tenant: "acme".into(),
            fence: 1,
            attempt: 1,
            index: -nth,
            kind: ChunkKind::Queued,
            choice: 0,
            text: place.to_text(),
        };
        self.put(Topic::Stream, id, self.0.ids.frame(&chunk).unwrap());
    }

    /// Puts an event on `results`.
    pub(crate) fn event(&self, event: &ExecutionEvent) {
        self.put(Topic::Results, &event.execution_id, self.0.ids.frame(event).unwrap());
    }

    pub(crate) fn succeed(&self, id: &str, data: &str) {
        self.event(&ExecutionEvent {
            data: Some(data.into()),
            ..event(id, 3, EventType::Succeeded)
        });
    }

    pub(crate) fn fail(&self, id: &str, failure: Failure) {
        self.event(&ExecutionEvent { error: Some(failure), ..event(id, 3, EventType::Failed) });
    }

    fn put(&self, topic: Topic, key: &str, value: Vec<u8>) {
        let key = Some(Bytes::copy_from_slice(key.as_bytes()));
        let (value, headers) = (value.into(), Vec::new());
        let record = Raw { offset: 0, time: Millis(0), key, value, headers };
        let feeds = self.0.feeds.lock().unwrap();
        feeds[&topic].send(Tailed { partition: 0, record }).expect("the hub reads");
    }
}

/// An event of tenant `acme`.
pub(crate) fn event(id: &str, number: i64, event_type: EventType) -> ExecutionEvent {
    ExecutionEvent {
        execution_id: id.into(),
        kind: Kind::Model,
        tenant: "acme".into(),
        parent_id: None,
        generation: 0,
        number,
        event_type,
        time: Millis(1_000 + number),
        step: None,
        attempt: None,
        data: None,
        error: None,
        usage: None,
        cost: None,
        data_claim: None,
    }
}
