//! The WebSocket as outsiders have it: a plain client, and the TypeScript client with its own tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::StatusCode;
use serde_json::{Value, json};
use stepstream_tests::api::{Api, Events, Sent};
use stepstream_tests::platform::{Platform, output};
use stepstream_tests::process::Signal;
use stepstream_tests::stack::Stack;
use stepstream_tests::wait::{PATIENCE, until};
use stepstream_tests::{fresh, root};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::on_both_stacks;

on_both_stacks!(
    socket_carries_what_server_sent_events_carry,
    cut_at_each_event_resumes_without_a_gap_or_a_double,
    another_tenant_hears_nothing,
    call_that_waits_says_where_before_it_speaks,
);

const PROMPT: &str = "one two three four five six seven eight";

pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(platform: &Platform) -> Self {
        let url = format!("{}/v1/ws", platform.url.replacen("http", "ws", 1));
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "stepstream.v1".parse().unwrap());
        let (socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        Self(socket)
    }

    /// A socket that has said who it is.
    pub(crate) async fn known(platform: &Platform, key: &str) -> Self {
        let mut socket = Self::open(platform).await;
        socket.say(&json!({ "type": "authenticate", "key": key })).await;
        assert_eq!(socket.next().await["type"], "authenticated");
        socket
    }

    async fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next message, or the code of the end.
    pub(crate) async fn next_or_code(&mut self) -> Result<Value, u16> {
        loop {
            match tokio::time::timeout(PATIENCE, self.0.next()).await.expect("in time") {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(Some(frame)))) => return Err(frame.code.into()),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn next(&mut self) -> Value {
        self.next_or_code().await.unwrap()
    }

    pub(crate) async fn follow(&mut self, id: &str, after: &Value) {
        let subscribe = json!({ "type": "subscribe", "id": "s", "execution": id, "after": after });
        self.say(&subscribe).await;
        assert_eq!(self.next().await["type"], "subscribed");
    }

    /// All events until the subscription ends.
    pub(crate) async fn rest(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let mut message = self.next().await;
            match message["type"].as_str() {
                Some("event") => events.push(message["event"].take()),
                Some("unsubscribed") => return events,
                _ => panic!("{message}"),
            }
        }
    }
}

fn own(events: &[Value]) -> Vec<&Value> {
    events.iter().filter(|event| event["number"].is_i64()).collect()
}

async fn socket_carries_what_server_sent_events_carry(platform: &Platform) {
    let (api, id) = (Api::of(platform), fresh("push"));
    let mut socket = Socket::known(platform, &platform.key).await;
    socket.follow(&id, &json!("start")).await;
    api.start(&id, "demo", PROMPT).await;
    let events = socket.rest().await;
    let text: String = events.iter().filter_map(|event| event["text"].as_str()).collect();
    let last = own(&events).last().copied().unwrap().clone();
    assert_eq!(last["type"], "execution.succeeded", "{last}");
    assert_eq!(last["data"]["choices"][0]["message"]["content"], text.as_str());
    api.ended(&id).await;
    let sent = Events::of(api.get(&format!("/v1/executions/{id}/events")).await).rest().await;
    let sent: Vec<_> = sent.iter().filter(|one| one.id.is_some()).map(|one| one.json()).collect();
    assert_eq!(own(&events), sent.iter().collect::<Vec<_>>());
}

async fn cut_at_each_event_resumes_without_a_gap_or_a_double(platform: &Platform) {
    let (api, id) = (Api::of(platform), fresh("push"));
    api.start(&id, "demo", PROMPT).await;
    let (mut after, mut seen) = (json!("start"), Vec::new());
    loop {
        // One event a socket: each is cut as soon as it has told something new.
        let mut socket = Socket::known(platform, &platform.key).await;
        socket.follow(&id, &after).await;
        let event = loop {
            let mut message = socket.next().await;
            match message["type"].as_str() {
                Some("event") if message["event"]["number"].is_i64() => {
                    break Some(message["event"].take());
                }
                Some("event") => {}
                Some("unsubscribed") => break None,
                _ => panic!("{message}"),
            }
        };
        let Some(event) = event else { break };
        after = json!({ "generation": event["generation"], "number": event["number"] });
        seen.push(event);
    }
    let numbers: Vec<_> = seen.iter().map(|event| event["number"].as_i64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>());
    assert_eq!(seen.last().unwrap()["type"], "execution.succeeded");
}

/// Positions before the first text, and whether text came after them.
fn places<'a>(events: impl Iterator<Item = &'a Value>) -> (Vec<u64>, bool) {
    let (mut places, mut spoke) = (Vec::new(), false);
    for event in events {
        match event["type"].as_str() {
            Some("execution.queued") => {
                assert!(!spoke, "it waits before it speaks: {event}");
                assert!(event["number"].is_null(), "{event}");
                assert!(event.get("estimated_wait_ms").is_some(), "{event}");
                places.push(event["position"].as_u64().expect("a position"));
            }
            Some("output.delta") => spoke = true,
            _ => {}
        }
    }
    (places, spoke)
}

async fn call_that_waits_says_where_before_it_speaks(platform: &Platform) {
    let api = Api::of(platform);
    let model = fresh("narrow");
    let endless = "and on ".repeat(1_000);
    let rules = json!([
        { "when": { "contains": "hold" }, "reply": endless, "tokens_per_second": 5 },
        { "reply": PROMPT },
    ]);
    let deployment = json!({
        "name": "one", "provider": "scripted", "model": "m", "concurrency": 1,
        "script": { "rules": rules }
    });
    api.put_model(&model, &json!({ "deployments": [deployment] })).await;
    let mut socket = Socket::known(platform, &platform.key).await;
    let first = fresh("takes");
    api.start(&first, &model, "hold the line").await;
    // The one place is taken when the first call speaks.
    let mut taken = Events::of(api.get(&format!("/v1/executions/{first}/events")).await);
    while taken.next().await.expect("a token").event != "output.delta" {}
    let id = fresh("waits");
    socket.follow(&id, &json!("start")).await;
    api.start(&id, &model, "hi").await;
    let mut sent = Events::of(api.get(&format!("/v1/executions/{id}/events")).await);
    let mut told = Vec::new();
    while told.last().is_none_or(|one: &Sent| one.event != "execution.queued") {
        told.push(sent.next().await.expect("its place"));
    }
    let cancel = api.post(&format!("/v1/executions/{first}:cancel"), &json!({})).await;
    assert_eq!(cancel.status(), StatusCode::ACCEPTED);
    let (heard, rest) = tokio::join!(socket.rest(), sent.rest());
    told.extend(rest);
    let sent = told;
    assert_eq!(places(heard.iter()), (vec![1, 0], true), "{heard:?}");
    let text: String = heard.iter().filter_map(|event| event["text"].as_str()).collect();
    assert_eq!(text, PROMPT);
    let queued = |one: &&Sent| one.event == "execution.queued";
    assert!(sent.iter().filter(queued).all(|one| one.id.is_none()));
    let named: Vec<Value> = sent
        .iter()
        .map(|one| {
            let mut body = one.json();
            body["type"] = one.event.clone().into();
            body
        })
        .collect();
    assert_eq!(places(named.iter()), (vec![1, 0], true), "{sent:?}");
    // The store hears of it a moment later.
    api.ended(&id).await;
    let whole = api.event_types(&id).await;
    assert_eq!(whole, ["execution.admitted", "execution.started", "execution.succeeded"]);
}

async fn another_tenant_hears_nothing(platform: &Platform) {
    let (api, id, tenant) = (Api::of(platform), fresh("push"), fresh("tenant"));
    let command = platform.command(&["keys", "create", "--tenant", &tenant, "--scopes", "admin"]);
    let key = tokio::task::spawn_blocking(move || output(command)).await.unwrap();
    let stranger = Api::with_key(platform, &key);
    until("the server knows the key", PATIENCE, async || {
        let status = stranger.get("/v1/models").await.status();
        (status != StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    let mut theirs = Socket::known(platform, &key).await;
    theirs.follow(&id, &json!("start")).await;
    theirs.say(&json!({ "type": "subscribe", "id": "f", "filter": {} })).await;
    assert_eq!(theirs.next().await["type"], "subscribed");
    let mut mine = Socket::known(platform, &platform.key).await;
    mine.follow(&id, &json!("start")).await;
    api.start(&id, "demo", PROMPT).await;
    assert!(!mine.rest().await.is_empty());
    theirs.say(&json!({ "type": "ping", "id": "after all" })).await;
    assert_eq!(theirs.next().await, json!({ "type": "pong", "id": "after all" }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ticket_opens_a_socket_once() {
    let platform = Platform::shared(Stack::Embedded).await;
    let answer = Api::of(&platform).post("/v1/tickets", &json!({})).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert!(answer.headers().contains_key("x-request-id"));
    let body: Value = answer.json().await.unwrap();
    let hello = json!({ "type": "authenticate", "ticket": body["ticket"] });
    let mut first = Socket::open(&platform).await;
    first.say(&hello).await;
    assert_eq!(first.next().await["tenant"], platform.tenant.as_str());
    let mut second = Socket::open(&platform).await;
    second.say(&hello).await;
    assert_eq!(second.next_or_code().await, Err(4001));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_stops_sends_its_sockets_elsewhere() {
    let mut platform = Platform::start(Stack::Embedded).await;
    let mut socket = Socket::known(&platform, &platform.key).await;
    platform.process().signal(Signal::Terminate);
    assert_eq!(socket.next_or_code().await, Err(1012));
    assert!(platform.process().ended(Duration::from_secs(30)).success());
}

/// A package of the TypeScript client, from where the tests' packages are or from its own folder.
fn package(name: &str) -> PathBuf {
    let given = std::env::var_os("STEPSTREAM_NODE_MODULES").map(PathBuf::from);
    let own = root().join("clients/typescript/node_modules");
    let found = given.into_iter().chain([own]).map(|folder| folder.join(name));
    found.into_iter().find(|folder| folder.is_dir()).unwrap_or_else(|| {
        panic!("{name} isn't there: `npm install` in clients/typescript brings it")
    })
}

fn client() -> PathBuf {
    root().join("clients/typescript")
}

async fn run(folder: &Path, command: &mut Command) -> String {
    let mut ready = Command::new(command.get_program());
    ready.args(command.get_args()).current_dir(folder);
    for (name, value) in command.get_envs() {
        ready.env(name, value.unwrap_or_default());
    }
    tokio::task::spawn_blocking(move || output(ready)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typescript_client_passes_its_own_tests() {
    let platform = Platform::shared(Stack::Embedded).await;
    let tsc = package("typescript").join("bin/tsc");
    run(&client(), Command::new("node").arg(tsc).args(["-p", "tsconfig.json"])).await;
    let mut test = Command::new("node");
    test.args(["--experimental-websocket", "--test", "--test-force-exit", "test/"])
        .env("STEPSTREAM_URL", &platform.url)
        .env("STEPSTREAM_KEY", &platform.key);
    let report = run(&client(), &mut test).await;
    assert!(report.contains("# fail 0"), "{report}");
    assert!(!report.contains("# pass 0"), "{report}");
}
