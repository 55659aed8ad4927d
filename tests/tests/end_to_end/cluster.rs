//! A cluster of its own for a test that breaks something: topics, one model, the workers on it, and what
//! must hold when all is over.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use domain::event::ExecutionEvent;
use domain::log_row::ExecutionLogRecord;
use domain::request::{ModelRequest, WorkflowStart};
use domain::topic::{Kind, Topic};
use model::scripted::{Seen, Server};
use serde_json::json;
use stepstream_tests::invariants::Run;
use stepstream_tests::platform::output;
use stepstream_tests::process::Process;
use stepstream_tests::stack::{self, Addresses, Stack};
use stepstream_tests::topics::{Client, Reading, fresh_on};
use stepstream_tests::wait::{PATIENCE, until};
use stepstream_tests::{fresh, program, provider};
use tempfile::TempDir;

/// The least that brokers take by default.
pub(crate) const SESSION: Duration = Duration::from_secs(6);

/// The alias under test.
const MODEL: &str = "slow";

/// How long the slow half of the calls takes: long enough to be cut off in the middle.
pub(crate) const SLOW_MS: u64 = 5_000;

/// After nothing came for so long, nothing more is expected.
const QUIET: Duration = Duration::from_secs(2);

/// A cluster of its own (by its prefix) with topics and one model, and the workers on it.
pub(crate) struct Cluster {
    /// Where workers find the broker.
    addresses: Addresses,
    prefix: String,
    pub(crate) upstream: Client,
    provider: Server,
    pub(crate) results: Reading<ExecutionEvent>,
    folder: TempDir,
}

impl Cluster {
    /// On the real stack of this test process.
    pub(crate) async fn new() -> Self {
        Self::on(stack::real().await).await
    }

    /// On a real stack, whose broker workers reach only at `brokers`.
    pub(crate) async fn through(brokers: String, addresses: &Addresses) -> Self {
        let mut cluster = Self::on(addresses).await;
        cluster.addresses.brokers = brokers;
        cluster
    }

    pub(crate) async fn on(addresses: &Addresses) -> Self {
        let prefix = format!("{}-", fresh("c"));
        let folder = tempfile::tempdir().unwrap();
        // One in two, by its id, is slow.
        let slow = json!({ "every": 2, "latency_ms": SLOW_MS });
        let provider =
            provider::start(json!([{ "reply": "done", "latency_ms": 50, "slow": slow }])).await;
        let file = folder.path().join("model.json");
        std::fs::write(&file, provider::model(&provider).to_string()).unwrap();
        let file = file.display().to_string();
        for arguments in [&["topics", "apply"][..], &["models", "put", MODEL, &file]] {
            let command = command(addresses, &prefix, arguments);
            tokio::task::spawn_blocking(move || output(command)).await.unwrap();
        }
        let upstream = Client::connect(Stack::Real, addresses, &prefix).await;
        let results = upstream.read(Topic::Results).await;
        let addresses = addresses.clone();
        Self { addresses, prefix, upstream, provider, results, folder }
    }

    /// A worker that owns at least `partitions` partitions.
    pub(crate) async fn worker(&self, name: &str, partitions: u32) -> Worker {
        self.worker_with(name, partitions, SESSION).await
    }

    /// The same with its own session timeout.
    pub(crate) async fn worker_with(
        &self,
        name: &str,
        partitions: u32,
        session: Duration,
    ) -> Worker {
        let worker = self.begun(name, "inference", session);
        until(&format!("{name} owns {partitions} partitions"), PATIENCE, async || {
            (worker.owned().await? >= partitions).then_some(())
        })
        .await;
        worker
    }

    /// A worker with these roles that owns all partitions of each.
    pub(crate) async fn worker_as(&self, name: &str, roles: &str) -> Worker {
        self.worker_of(&program(), name, roles, 4).await
    }

    /// The same of another program, when it owns at least `partitions` partitions of each role.
    pub(crate) async fn worker_of(
        &self,
        program: &Path,
        name: &str,
        roles: &str,
        partitions: u32,
    ) -> Worker {
        let worker = self.begun_by(program, name, roles, SESSION);
        for role in roles.split(',') {
            let kind = if role == "inference" { "model" } else { role };
            let line = format!("stepstream_partitions_owned{{kind=\"{kind}\"");
            let what = format!("{name} owns {partitions} partitions of {role}");
            until(&what, PATIENCE, async || {
                (worker.metric(&line).await? >= partitions).then_some(())
            })
            .await;
        }
        worker
    }

    fn begun(&self, name: &str, roles: &str, session: Duration) -> Worker {
        self.begun_by(&program(), name, roles, session)
    }

    fn begun_by(&self, program: &Path, name: &str, roles: &str, session: Duration) -> Worker {
        let port = free_port();
        let arguments = ["serve", "--roles", roles];
        let mut command = command_of(program, &self.addresses, &self.prefix, &arguments);
        command.env("STEPSTREAM_RUNTIME__SESSION_TIMEOUT_MS", session.as_millis().to_string());
        command.env("STEPSTREAM_TELEMETRY__METRICS_LISTEN", format!("127.0.0.1:{port}"));
        Worker { process: Process::start(name, command, self.folder.path()), port }
    }

    /// A folder that goes with it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command of the program on it.
    pub(crate) async fn run(&self, arguments: &[&str]) {
        let command = command(&self.addresses, &self.prefix, arguments);
        tokio::task::spawn_blocking(move || output(command)).await.unwrap();
    }

    /// Writes a file for a command; returns its path.
    pub(crate) fn file(&self, name: &str, content: &serde_json::Value) -> String {
        let file = self.folder.path().join(name);
        std::fs::write(&file, content.to_string()).unwrap();
        file.display().to_string()
    }

    /// Stores a workflow.
    pub(crate) async fn define(&self, definition: &serde_json::Value) {
        self.run(&["workflow", "apply", &self.file("workflow.json", definition)]).await;
    }

    /// The id under which its registry has this schema of a record, for a topic.
    pub(crate) async fn registered(&self, topic: Topic, record: &str, schema: String) -> u32 {
        let subject = format!("{}-{record}", self.topic(topic));
        let settings = kafka::registry::Settings::at(&self.addresses.registry);
        let register = move || kafka::Registry::connect(settings)?.register(&subject, &schema);
        tokio::task::spawn_blocking(register).await.unwrap().unwrap()
    }

    /// How many schemas of a record its registry has, for a topic.
    pub(crate) async fn versions(&self, topic: Topic, record: &str) -> usize {
        let subject = format!("{}-{record}", self.topic(topic));
        let url = format!("{}/subjects/{subject}/versions", self.addresses.registry);
        let versions = reqwest::get(url).await.unwrap().json::<Vec<i32>>().await;
        versions.expect("the numbers of versions").len()
    }

    /// Publishes a start of a workflow.
    pub(crate) async fn start(&self, start: &WorkflowStart) {
        let value = self.upstream.frame(start);
        self.upstream.write(Topic::Feed(Kind::Workflow), None, &start.id, value).await;
    }

    /// Waits until some of `ids` have ended while calls are out; returns those that have.
    pub(crate) async fn some_ended(&mut self, ids: &BTreeSet<String>) -> BTreeSet<String> {
        let ended =
            self.results.until("some have ended", is_end_of(ids), |ends| !ends.is_empty()).await;
        let ended = ended.iter().map(|event| event.execution_id.clone()).collect();
        until("calls are out", PATIENCE, async || (self.provider.seen().open > 0).then_some(()))
            .await;
        ended
    }

    /// Publishes `count` requests; returns their ids.
    pub(crate) async fn publish(&self, count: usize) -> BTreeSet<String> {
        self.publish_these((0..count).map(|_| fresh("call")).collect()).await
    }

    /// Publishes `count` requests that belong to one partition; returns their ids.
    pub(crate) async fn publish_on(&self, partition: i32, count: usize) -> BTreeSet<String> {
        let partitions = self.upstream.partitions();
        let ids = (0..count).map(|_| fresh_on("call", partition, partitions));
        self.publish_these(ids.collect()).await
    }

    async fn publish_these(&self, ids: BTreeSet<String>) -> BTreeSet<String> {
        for id in &ids {
            let body = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
            self.publish_body(id, body).await;
        }
        ids
    }

    /// Publishes one request.
    pub(crate) async fn publish_body(&self, id: &str, body: &str) {
        self.upstream.request(&ModelRequest::new(id, MODEL, body)).await;
    }

    /// Waits until the fast ones of `ids` have ended and slow ones are in the middle of their calls;
    /// returns those that have ended.
    pub(crate) async fn in_the_middle(&mut self, ids: &BTreeSet<String>) -> BTreeSet<String> {
        let begun = tokio::time::timeout(
            PATIENCE,
            self.provider.until(|seen| calls(seen, ids) == ids.len()),
        );
        begun.await.expect("every call has begun");
        let ended =
            self.results.until("some have ended", is_end_of(ids), |ends| !ends.is_empty()).await;
        let ended = ended.iter().map(|event| event.execution_id.clone()).collect();
        assert!(self.provider.seen().open > 0, "some are in the middle");
        ended
    }

    /// Waits until all have ended.
    pub(crate) async fn all_ended(&mut self, accepted: &BTreeSet<String>) {
        let all = |ends: &[&ExecutionEvent]| {
            let ended: BTreeSet<_> = ends.iter().map(|event| &event.execution_id).collect();
            ended.len() == accepted.len()
        };
        self.results.until("all have ended", is_end_of(accepted), all).await;
    }

    /// The last events of these that there are once nothing more comes: execution, and number of the event.
    pub(crate) async fn ends(&mut self, ids: &BTreeSet<String>) -> Vec<(String, String)> {
        self.results.settle(QUIET).await;
        let ends = self.results.records().filter(|event| is_end_of(ids)(event));
        ends.map(|end| (end.execution_id.clone(), format!("{}.{}", end.generation, end.number)))
            .collect()
    }

    /// Where its broker is.
    pub(crate) fn brokers(&self) -> &str {
        &self.addresses.brokers
    }

    /// The name of a topic.
    pub(crate) fn topic(&self, topic: Topic) -> String {
        format!("{}{}", self.prefix, topic.name())
    }

    /// What precedes the names of its topics.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Waits until all have ended, and a while longer; then everything must hold. `handovers`: how often a
    /// running call may have been made again.
    pub(crate) async fn all_ended_once(
        &mut self,
        accepted: &BTreeSet<String>,
        finished: &BTreeSet<String>,
        handovers: u32,
    ) {
        self.all_ended(accepted).await;
        let mut log = self.upstream.read::<ExecutionLogRecord>(Topic::ExecutionLog).await;
        let ends =
            |row: &ExecutionLogRecord| row.status.is_some() && accepted.contains(&row.execution_id);
        log.until("all rows", ends, |rows| rows.len() >= accepted.len()).await;
        // What comes twice comes late.
        log.settle(QUIET).await;
        self.results.settle(QUIET).await;
        let calls = self.provider.seen().keys;
        let (results, log) = (&self.results, &log);
        Run { accepted, finished, handovers, results, log, calls: &calls }.check();
    }
}

/// How many of `ids` the provider was asked for.
fn calls(seen: &Seen, ids: &BTreeSet<String>) -> usize {
    seen.keys.iter().filter(|key| ids.contains(*key)).collect::<BTreeSet<_>>().len()
}

fn is_end_of(ids: &BTreeSet<String>) -> impl Fn(&ExecutionEvent) -> bool {
    |event| event.event_type.is_terminal() && ids.contains(&event.execution_id)
}

fn command(addresses: &Addresses, prefix: &str, arguments: &[&str]) -> Command {
    command_of(&program(), addresses, prefix, arguments)
}

fn command_of(program: &Path, addresses: &Addresses, prefix: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("STEPSTREAM_KAFKA__BROKERS", &addresses.brokers)
        .env("STEPSTREAM_KAFKA__PREFIX", prefix)
        .env("STEPSTREAM_KAFKA__PARTITIONS", "4")
        .env("STEPSTREAM_KAFKA__REPLICATION_FACTOR", "1")
        .env("STEPSTREAM_REGISTRY__URL", &addresses.registry)
        .env("STEPSTREAM_RUNTIME__SESSION_TIMEOUT_MS", SESSION.as_millis().to_string());
    command
}

pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub(crate) struct Worker {
    pub(crate) process: Process,
    port: u16,
}

impl Worker {
    /// How many partitions it owns, by its own metrics.
    pub(crate) async fn owned(&self) -> Option<u32> {
        self.metric("stepstream_partitions_owned{").await
    }

    /// How many alarms it has raised for this reason.
    pub(crate) async fn alarms(&self, reason: &str) -> u32 {
        let line = format!("stepstream_alarms_total{{kind=\"model\",reason=\"{reason}\"}}");
        self.metric(&line).await.unwrap_or(0)
    }

    async fn metric(&self, begin: &str) -> Option<u32> {
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        let text = reqwest::get(url).await.ok()?.text().await.ok()?;
        let line = text.lines().find(|line| line.starts_with(begin))?;
        line.rsplit(' ').next()?.parse::<f64>().ok().map(|value| value as u32)
    }
}
