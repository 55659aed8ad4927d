//! Real sockets against the router: who gets in, what they get, and that a bad one harms nobody else.
#![allow(clippy::unwrap_used, reason = "all of this is tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use domain::catalogue::DefinitionProposed;
use domain::claim::{ClaimCheck, LIMIT_BYTES};
use domain::event::{Chunk, ChunkKind, EventType, ExecutionEvent};
use domain::time::Millis;
use domain::topic::{Kind, Topic};
use futures_util::{SinkExt as _, StreamExt as _};
use proptest::prelude::*;
use runtime::ports::{ClusterError, Raw, Tail, TailFrom, Tailed, Topics};
use schemas::Ids;
use serde_json::{Value, json};
use service::auth::{KeyDefinition, NewKey, Scope};
use service::catalogue::Definitions;
use stepstream_push::connection::Limits;
use stepstream_push::ticket::Tickets;
use stepstream_push::{Options, PROTOCOL, Parts, Push};
use store::{Checked, Claims, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

type Feed = mpsc::UnboundedSender<Vec<Tailed>>;

#[derive(Default)]
struct Channels(Mutex<Vec<(Topic, Feed)>>);

struct ChannelTail(mpsc::UnboundedReceiver<Vec<Tailed>>);

#[async_trait]
impl Tail for ChannelTail {
    async fn next(&mut self) -> Result<Vec<Tailed>, ClusterError> {
        let gone = || ClusterError { what: "read".into(), why: "gone".into() };
        self.0.recv().await.ok_or_else(gone)
    }

    fn caught_up(&self) -> bool {
        true
    }
}

impl Topics for Channels {
    fn tail(&self, topic: Topic, _: TailFrom) -> Result<Box<dyn Tail>, ClusterError> {
        let (feed, tail) = mpsc::unbounded_channel();
        self.0.lock().unwrap().push((topic, feed));
        Ok(Box::new(ChannelTail(tail)))
    }
}

struct World {
    url: String,
    key: NewKey,
    definitions: Definitions,
    channels: Arc<Channels>,
    ids: Ids,
    store: Arc<dyn Store>,
    push: Push,
    stop: Option<oneshot::Sender<()>>,
    server: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            Arc::new(store::Embedded::open(&folder.path().join("s.redb")).unwrap());
        let (channels, ids) = (Arc::new(Channels::default()), Ids::for_tests());
        let parts = follow::Parts {
            topics: channels.clone(),
            ids: ids.clone(),
            resolve: Arc::new(|_| Ok(false)),
        };
        let (hub, handle) = follow::Hub::new(follow::Options::default(), parts);
        tokio::spawn(hub.run(std::future::pending()));
        handle.ready().await;
        let definitions = Definitions::new();
        let key = NewKey::generate().unwrap();
        definitions.apply(key.proposal("k", &of("mine", &[Scope::ExecutionsRead]), "test"));
        let parts = Parts {
            hub: handle,
            store: store.clone(),
            claims: Claims::new(store.clone(), LIMIT_BYTES),
            definitions: definitions.clone(),
        };
        let push = Push::new(options, parts, Tickets::own().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = push.clone();
        let server = tokio::spawn(async move {
            let asked = async move {
                let _ = stopped.await;
            };
            let router = served.router();
            served.serve(listener, router, asked).await.unwrap();
        });
        let stop = Some(stop);
        let _folder = folder;
        Self { url, key, definitions, channels, ids, store, push, stop, server, _folder }
    }

    fn key(&self) -> String {
        secrecy_text(&self.key)
    }

    fn another_key(&self, tenant: &str, scopes: &[Scope]) -> String {
        let key = NewKey::generate().unwrap();
        self.definitions.apply(key.proposal(key.key_id(), &of(tenant, scopes), "test"));
        secrecy_text(&key)
    }

    async fn open(&self) -> Client {
        Client::open(&self.url).await
    }

    /// A socket that has said who it is.
    async fn known(&self) -> Client {
        let mut client = self.open().await;
        client.say(&json!({"type": "authenticate", "key": self.key()})).await;
        assert_eq!(client.next().await["type"], "authenticated");
        client
    }

    fn put(&self, topic: Topic, key: &str, value: Vec<u8>) {
        let record = Raw {
            offset: 0,
            time: Millis(0),
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            value: value.into(),
            headers: Vec::new(),
        };
        let feeds = self.channels.0.lock().unwrap();
        let (_, feed) = feeds.iter().find(|(of, _)| *of == topic).unwrap();
        feed.send(vec![Tailed { partition: 0, record }]).unwrap();
    }

    fn publish(&self, event: &ExecutionEvent) {
        self.put(Topic::Results, &event.execution_id, self.ids.frame(event).unwrap());
    }

    fn text(&self, id: &str, index: i64, text: &str) {
        let chunk = Chunk {
            execution_id: id.into(),
            tenant: "mine".into(),
            fence: 1,
            attempt: 1,
            index,
            kind: if text.is_empty() { ChunkKind::Done } else { ChunkKind::Text },
            choice: 0,
            text: text.into(),
        };
        self.put(Topic::Stream, id, self.ids.frame(&chunk).unwrap());
    }

    async fn ticket(&self, key: &str, body: &str) -> (u16, Value) {
        let host = &self.url;
        let length = body.len();
        let request = format!(
            "POST /v1/tickets HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        let (status, body) = http(host, &request).await;
        (status, serde_json::from_str(&body).unwrap())
    }
}

/// Sends a request as it is; the status and body of the answer.
async fn http(host: &str, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

fn secrecy_text(key: &NewKey) -> String {
    use secrecy::ExposeSecret as _;
    key.key.expose_secret().to_owned()
}

fn of(tenant: &str, scopes: &[Scope]) -> KeyDefinition {
    KeyDefinition {
        tenant: tenant.into(),
        scopes: scopes.iter().copied().collect(),
        label: "test".into(),
        created: Millis(1),
        expires: None,
    }
}

fn event(tenant: &str, id: &str, number: i64, event_type: EventType) -> ExecutionEvent {
    ExecutionEvent {
        execution_id: id.into(),
        kind: Kind::Model,
        tenant: tenant.into(),
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
    }
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn open(url: &str) -> Self {
        let mut request = format!("ws://{url}/v1/ws").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", PROTOCOL.parse().unwrap());
        let (socket, answer) = tokio_tungstenite::connect_async(request).await.unwrap();
        assert_eq!(answer.headers()["sec-websocket-protocol"], PROTOCOL);
        Self(socket)
    }

    async fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        match tokio::time::timeout(PATIENCE, self.0.next()).await.expect("in time") {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// The code and reason with which it is closed; what comes before is passed over.
    async fn closed(&mut self) -> (u16, String) {
        loop {
            match tokio::time::timeout(PATIENCE, self.0.next()).await.expect("in time") {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn subscribe(&mut self, message: &Value) {
        self.say(message).await;
        assert_eq!(self.next().await["type"], "subscribed");
    }
}

#[tokio::test]
async fn history_and_live_come_as_one() {
    let world = World::new(Options::default()).await;
    for number in 1..=2 {
        world.store.apply_event(&event("mine", "e", number, EventType::Started)).await.unwrap();
    }
    let mut client = world.known().await;
    client.subscribe(&json!({"type": "subscribe", "id": "s", "execution": "e"})).await;
    for number in 1..=2 {
        assert_eq!(client.next().await["event"]["number"], number);
    }
    world.text("e", 0, "Ahoy");
    assert_eq!(client.next().await["event"]["text"], "Ahoy");
    world.text("e", 1, "");
    assert_eq!(client.next().await["event"]["type"], "output.done");
    world.publish(&event("mine", "e", 3, EventType::Succeeded));
    let last = client.next().await;
    assert_eq!((&last["subscription"], &last["event"]["number"]), (&json!("s"), &json!(3)));
    let ended = json!({"type": "unsubscribed", "subscription": "s", "reason": "ended"});
    assert_eq!(client.next().await, ended);
    client.say(&json!({"type": "ping", "id": "1"})).await;
    assert_eq!(client.next().await, json!({"type": "pong", "id": "1"}));
}

#[tokio::test]
async fn another_tenants_execution_stays_unknown() {
    let world = World::new(Options::default()).await;
    world.store.apply_event(&event("theirs", "e", 1, EventType::Started)).await.unwrap();
    let mut client = world.known().await;
    client.subscribe(&json!({"type": "subscribe", "id": "s", "execution": "e"})).await;
    client.subscribe(&json!({"type": "subscribe", "id": "f", "filter": {}})).await;
    world.publish(&event("theirs", "e", 2, EventType::Started));
    world.publish(&event("mine", "other", 1, EventType::Started));
    let first = client.next().await;
    assert_eq!((&first["subscription"], &first["event"]["tenant"]), (&json!("f"), &json!("mine")));
}

#[tokio::test]
async fn strangers_and_keys_without_the_scope_are_closed_by_their_code() {
    let world = World::new(Options::default()).await;
    let poor = world.another_key("mine", &[Scope::RequestsWrite]);
    let stranger = secrecy_text(&NewKey::generate().unwrap());
    for (message, code) in [
        (json!({"type": "ping"}), 4001),
        (json!({"type": "authenticate", "key": stranger}), 4001),
        (json!({"type": "authenticate", "ticket": "tk-ss-0"}), 4001),
        (json!({"type": "authenticate", "key": poor}), 4003),
    ] {
        let mut client = world.open().await;
        client.say(&message).await;
        assert_eq!(client.closed().await.0, code, "{message}");
    }
}

#[tokio::test]
async fn ticket_opens_one_socket_for_its_time() {
    let limits = Limits { recheck: Duration::from_millis(100), ..Limits::default() };
    let world = World::new(Options { limits, ..Options::default() }).await;
    let (status, body) = world.ticket(&world.key(), r#"{"session_seconds":1}"#).await;
    assert_eq!((status, &body["session_seconds"]), (201, &json!(1)));
    let ticket = json!({"type": "authenticate", "ticket": body["ticket"]});
    let mut client = world.open().await;
    client.say(&ticket).await;
    assert_eq!(client.next().await["tenant"], "mine");
    let mut second = world.open().await;
    second.say(&ticket).await;
    assert_eq!(second.closed().await.0, 4001);
    assert_eq!(client.closed().await, (4001, "the session is over".into()));
}

#[tokio::test]
async fn ticket_is_refused_with_the_reason() {
    let world = World::new(Options::default()).await;
    let poor = world.another_key("mine", &[Scope::RequestsWrite]);
    let mine = world.key();
    for (key, body, status, code) in [
        ("sk-ss-no", "", 401, "invalid_api_key"),
        (poor.as_str(), "", 403, "insufficient_scope"),
        (mine.as_str(), "[]", 400, "invalid_request"),
        (mine.as_str(), r#"{"session_seconds":0}"#, 400, "invalid_request"),
        (mine.as_str(), r#"{"tenant":"theirs"}"#, 400, "invalid_request"),
    ] {
        let (got, problem) = world.ticket(key, body).await;
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{body}");
    }
}

#[tokio::test]
async fn revoked_key_ends_an_open_socket_and_no_other() {
    let limits = Limits { recheck: Duration::from_millis(100), ..Limits::default() };
    let world = World::new(Options { limits, ..Options::default() }).await;
    let other = world.another_key("mine", &[Scope::Admin]);
    let mut kept = world.open().await;
    kept.say(&json!({"type": "authenticate", "key": other})).await;
    assert_eq!(kept.next().await["type"], "authenticated");
    let mut client = world.known().await;
    let revoked = world.key.proposal("r", &of("mine", &[]), "test");
    world.definitions.apply(DefinitionProposed { expects: 1, body: None, ..revoked });
    assert_eq!(client.closed().await.0, 4001);
    kept.say(&json!({"type": "ping"})).await;
    assert_eq!(kept.next().await["type"], "pong");
}

#[tokio::test]
async fn large_data_is_in_its_event_in_its_order_and_without_a_store_value_the_claim_is() {
    let world = World::new(Options::default()).await;
    let claims = Claims::new(world.store.clone(), LIMIT_BYTES);
    let data = json!({"text": "x".repeat(1024 * 1024)});
    let claimed = claims.check_in("mine", data.to_string(), "application/json").await.unwrap();
    let Checked::Claimed(claim) = claimed else { panic!("a MiB is large") };
    let large = |id: &str, hash: &str| {
        let claim = ClaimCheck { hash: hash.into(), ..claim.clone() };
        ExecutionEvent { data_claim: Some(claim), ..event("mine", id, 2, EventType::Succeeded) }
    };
    let mut client = world.known().await;
    let gone = format!("sha256:{}", "0a".repeat(32));
    for (id, hash) in [("e", claim.hash.as_str()), ("gone", &gone)] {
        client.subscribe(&json!({"type": "subscribe", "id": id, "execution": id})).await;
        world.publish(&event("mine", id, 1, EventType::Started));
        world.publish(&large(id, hash));
        assert_eq!(client.next().await["event"]["number"], 1);
        let event = client.next().await["event"].take();
        assert_eq!((&event["number"], &event["execution_id"]), (&json!(2), &json!(id)));
        if id == "e" {
            assert!(event["data"] == data, "the data is as it was checked in");
            assert_eq!(event.get("data_claim"), None);
        } else {
            assert_eq!(
                (&event["data"], &event["data_claim"]["hash"]),
                (&json!(null), &json!(gone))
            );
        }
        assert_eq!(client.next().await["type"], "unsubscribed", "what comes after it waits");
    }
}

#[tokio::test]
async fn newer_socket_of_a_client_replaces_the_older() {
    let world = World::new(Options::default()).await;
    let hello = json!({"type": "authenticate", "key": world.key(), "client": "tab"});
    let mut older = world.open().await;
    older.say(&hello).await;
    assert_eq!(older.next().await["type"], "authenticated");
    let mut newer = world.open().await;
    newer.say(&hello).await;
    assert_eq!(newer.next().await["type"], "authenticated");
    assert_eq!(older.closed().await.0, 4009);
}

#[tokio::test]
async fn server_that_stops_tells_everybody_where_to_resume_and_then_ends() {
    let mut world = World::new(Options::default()).await;
    world.store.apply_event(&event("mine", "e", 1, EventType::Started)).await.unwrap();
    let mut client = world.known().await;
    client.subscribe(&json!({"type": "subscribe", "id": "s", "execution": "e"})).await;
    assert_eq!(client.next().await["event"]["number"], 1);
    world.stop.take().unwrap().send(()).unwrap();
    assert_eq!(client.closed().await, (1012, "s=0.1".into()));
    tokio::time::timeout(PATIENCE, &mut world.server).await.expect("in time").unwrap();
}

#[tokio::test]
async fn client_that_stops_reading_is_closed_and_slows_nobody() {
    let limits = Limits { stall: Duration::from_millis(500), ..Limits::default() };
    let world = World::new(Options { limits, ..Options::default() }).await;
    let (mut stalled, mut good) = (world.known().await, world.known().await);
    for client in [&mut stalled, &mut good] {
        client.subscribe(&json!({"type": "subscribe", "id": "s", "execution": "e"})).await;
    }
    // More than the kernel keeps for a reader that doesn't come.
    let piece = "x".repeat(60_000);
    let (mut index, mut got) = (0, 0);
    while index < 400 {
        world.text("e", index, &piece);
        index += 1;
        let event = good.next().await;
        got += event["event"]["text"].as_str().map_or(0, str::len);
    }
    assert_eq!(got, 400 * piece.len());
    world.publish(&event("mine", "e", 1, EventType::Started));
    assert_eq!(good.next().await["event"]["number"], 1);
    // It reads on: what was in the pipes, and then the end.
    let end = tokio::time::timeout(PATIENCE, async {
        loop {
            match stalled.0.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return Some(u16::from(frame.code)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    });
    // The goodbye may have come too late for a pipe that was full.
    let end = end.await.expect("in time");
    assert!(matches!(end, Some(4008) | None), "{end:?}");
}

#[tokio::test]
async fn message_that_is_too_large_closes_its_socket() {
    let world = World::new(Options::default()).await;
    let mut client = world.known().await;
    client.say(&json!({"type": "ping", "id": "x".repeat(20_000)})).await;
    assert_eq!(client.closed().await.0, 1009);
}

#[tokio::test]
async fn what_is_no_socket_is_refused_as_a_problem() {
    let world = World::new(Options::default()).await;
    let host = &world.url;
    let plain = format!("GET /v1/ws HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let (status, body) = http(host, &plain).await;
    assert!((400..500).contains(&status), "{status}");
    assert!(body.contains("not_a_websocket"), "{body}");
    let without = format!("ws://{host}/v1/ws").into_client_request().unwrap();
    match tokio_tungstenite::connect_async(without).await {
        Err(tungstenite::Error::Http(answer)) => assert_eq!(answer.status(), 400),
        other => panic!("{:?}", other.map(|_| ())),
    }
}

#[tokio::test]
async fn sockets_that_are_gone_leave_nothing_behind() {
    let mut world = World::new(Options { sockets: 3, ..Options::default() }).await;
    for _ in 0..5 {
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = world.known().await;
            client.subscribe(&json!({"type": "subscribe", "id": "f", "filter": {}})).await;
            clients.push(client);
        }
        let full = Client::try_open(&world.url).await;
        assert_eq!(full, Some(503));
        for client in &mut clients {
            client.0.close(None).await.unwrap();
            while let Some(Ok(_)) = client.0.next().await {}
        }
        drop(clients);
        tokio::time::timeout(PATIENCE, world.push.idle()).await.expect("all are gone");
    }
    world.stop.take().unwrap().send(()).unwrap();
}

impl Client {
    /// The status with which a socket is refused.
    async fn try_open(url: &str) -> Option<u16> {
        let mut request = format!("ws://{url}/v1/ws").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", PROTOCOL.parse().unwrap());
        match tokio_tungstenite::connect_async(request).await {
            Err(tungstenite::Error::Http(answer)) => Some(answer.status().as_u16()),
            _ => None,
        }
    }
}

/// A frame as bytes, valid or not: the first byte (flags and opcode), whether it is masked, the payload.
type Fuzz = (u8, bool, Vec<u8>);

fn frames() -> impl Strategy<Value = Vec<Fuzz>> {
    let text = prop::sample::select(vec![
        r#"{"type":"ping"}"#,
        r#"{"type":"subscribe","id":"1","execution":"e"}"#,
        r#"{"type":"authenticate","key":"x"}"#,
    ]);
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        text.prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec((any::<u8>(), prop::bool::weighted(0.9), payload), 0..12)
}

fn bytes((first, masked, payload): Fuzz) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap() | if masked { 0x80 } else { 0 };
    let mask: &[u8] = if masked { &[0; 4] } else { &[] };
    [&[first, length], mask, &payload].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever frames one socket sends, before or after it has said who it is, another one goes on.
    #[test]
    fn fuzzed_frames_harm_nobody_else(frames in frames(), known in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new(Options::default()).await;
            let mut good = world.known().await;
            let subscribe = json!({"type": "subscribe", "id": "s", "execution": "e"});
            good.subscribe(&subscribe).await;
            let mut bad = if known { world.known().await } else { world.open().await };
            for frame in frames {
                let MaybeTlsStream::Plain(stream) = bad.0.get_mut() else { panic!("no TLS here") };
                if stream.write_all(&bytes(frame)).await.is_err() {
                    break;
                }
            }
            world.publish(&event("mine", "e", 1, EventType::Started));
            assert_eq!(good.next().await["event"]["number"], 1);
            good.say(&json!({"type": "ping"})).await;
            assert_eq!(good.next().await["type"], "pong");
        });
    }
}
