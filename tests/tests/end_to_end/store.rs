//! The shared store: a real Cassandra that stands still and is killed, two gateways and an archive on it,
//! and the topics as judge of what it has.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use domain::event::ExecutionEvent;
use domain::log_row::ExecutionLogRecord;
use domain::topic::Topic;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use stepstream_tests::cassandra::Cassandra;
use stepstream_tests::platform::output;
use stepstream_tests::process::{Process, Signal};
use stepstream_tests::wait::{PATIENCE, until};
use stepstream_tests::{fresh, program, stack};
use store::cql::{Consistency, Keep, Options};
use store::{Batch, Cql, Embedded, Filter, MAX_ROWS, Store};

use crate::cluster::{Cluster, free_port};

/// How long the store stands still.
const OUTAGE: Duration = Duration::from_secs(60);

/// How long catching up may take from when the store is back: what its client waits before it connects
/// again, and the archive before it tries again, come on top of each other.
const CAUGHT_UP: Duration = Duration::from_secs(120);

/// The tenant of what is published here.
const TENANT: &str = "default";

/// The processes around a store, and how to ask them.
struct World {
    cluster: Cluster,
    cassandra: Cassandra,
    keyspace: String,
    folder: tempfile::TempDir,
    client: Client,
    key: String,
}

impl World {
    async fn new() -> Self {
        let (cluster, cassandra) = tokio::join!(Cluster::new(), Cassandra::start());
        let keyspace = fresh("k").replace('-', "_");
        let folder = tempfile::tempdir().unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        let mut world = Self { cluster, cassandra, keyspace, folder, client, key: String::new() };
        world.key = world.run(&["keys", "create"]).await;
        world
    }

    /// The program with the settings of this world.
    async fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .env("STEPSTREAM_KAFKA__BROKERS", self.cluster.brokers())
            .env("STEPSTREAM_KAFKA__PREFIX", self.cluster.prefix())
            .env("STEPSTREAM_REGISTRY__URL", &stack::real().await.registry)
            .env("STEPSTREAM_STORE__KIND", "cql")
            .env("STEPSTREAM_STORE__NODES", self.cassandra.node())
            .env("STEPSTREAM_STORE__KEYSPACE", &self.keyspace)
            .env("STEPSTREAM_STORE__REPLICATION_FACTOR", "1")
            .env("STEPSTREAM_STORE__TIMEOUT_MS", "5000");
        command
    }

    /// What a command prints.
    async fn run(&self, arguments: &[&str]) -> String {
        let command = self.command(arguments).await;
        tokio::task::spawn_blocking(move || output(command)).await.unwrap()
    }

    async fn archive(&self) -> Process {
        let command = self.command(&["serve", "--roles", "archive"]).await;
        Process::start("archive", command, self.folder.path())
    }

    /// A gateway that is ready, and where it is.
    async fn gateway(&self, name: &str) -> (Process, String) {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = self.command(&["serve", "--roles", "gateway"]).await;
        command.env("STEPSTREAM_GATEWAY__LISTEN", &address);
        let process = Process::start(name, command, self.folder.path());
        let url = format!("http://{address}");
        until("a gateway", PATIENCE, async || {
            let answer = self.client.get(format!("{url}/readyz")).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        (process, url)
    }

    /// An execution, as the gateway at `url` shows it.
    async fn execution(&self, url: &str, id: &str) -> Option<Value> {
        let url = format!("{url}/v1/executions/{id}");
        let answer = self.client.get(url).bearer_auth(&self.key).send().await.ok()?;
        if !answer.status().is_success() {
            return None;
        }
        answer.json().await.ok()
    }

    /// Waits until the gateway at `url` shows all of these as succeeded.
    async fn archived(&self, url: &str, ids: &BTreeSet<String>) {
        for id in ids {
            until(&format!("{id} is archived"), CAUGHT_UP, async || {
                let execution = self.execution(url, id).await?;
                (execution["status"] == "succeeded").then_some(())
            })
            .await;
        }
    }

    /// The store itself.
    async fn store(&self) -> Cql {
        let options = Options {
            nodes: vec![self.cassandra.node().into()],
            keyspace: self.keyspace.clone(),
            replication_factor: 1,
            consistency: Consistency::One,
            datacenter: None,
            credentials: None,
            timeout: Duration::from_secs(20),
            keep: Keep::default(),
            prefix: self.cluster.prefix().into(),
        };
        Cql::open(options).await.unwrap()
    }

    /// What a store has to have: the topics, folded by the other implementation.
    async fn folded(&self) -> Embedded {
        let quiet = Duration::from_secs(2);
        let mut results = self.cluster.upstream.read::<ExecutionEvent>(Topic::Results).await;
        results.settle(quiet).await;
        let mut log = self.cluster.upstream.read::<ExecutionLogRecord>(Topic::ExecutionLog).await;
        log.settle(quiet).await;
        let embedded = Embedded::in_memory().unwrap();
        let (events, rows) =
            (results.records().cloned().collect(), log.records().cloned().collect());
        embedded.archive(Batch { events, rows, ..Batch::default() }).await.unwrap();
        embedded
    }

    /// I9: the store is the fold of the topics.
    async fn store_is_the_fold(&self, ids: &BTreeSet<String>) {
        let (store, folded) = (self.store().await, self.folded().await);
        for id in ids {
            let expected = folded.execution(TENANT, id).await.unwrap();
            assert!(expected.is_some(), "{id} is in the topics");
            assert_eq!(store.execution(TENANT, id).await.unwrap(), expected);
            let expected = folded.events(TENANT, id, None, MAX_ROWS).await.unwrap();
            assert_eq!(store.events(TENANT, id, None, MAX_ROWS).await.unwrap(), expected);
            let expected = folded.log_rows(TENANT, id, None, MAX_ROWS).await.unwrap();
            assert_eq!(store.log_rows(TENANT, id, None, MAX_ROWS).await.unwrap(), expected);
        }
        assert_eq!(listed(&store, ids).await, listed(&folded, ids).await);
    }
}

/// Which of these a store lists, in its order.
async fn listed(store: &dyn Store, ids: &BTreeSet<String>) -> Vec<String> {
    let page = store.list(TENANT, &Filter::default(), None, MAX_ROWS).await.unwrap();
    assert!(page.next.is_none(), "one page has them all");
    let all = page.executions.into_iter().map(|execution| execution.id);
    all.filter(|id| ids.contains(id)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_store_is_the_fold_of_the_topics_after_outages_kills_and_replays() {
    let mut world = World::new().await;
    // Tables are made by a command of their own, and only once.
    let mut early = Process::start(
        "early",
        world.command(&["serve", "--roles", "archive"]).await,
        world.folder.path(),
    );
    assert!(!early.ended(PATIENCE).success());
    assert!(
        early.log().contains("`stepstream store apply` makes what is missing"),
        "{}",
        early.log()
    );
    assert!(world.run(&["store", "plan"]).await.contains("create   keyspace k_"));
    assert!(world.run(&["store", "apply"]).await.contains("11 made"));
    assert!(world.run(&["store", "apply"]).await.contains("0 made"));
    assert_eq!(world.run(&["store", "plan"]).await, "the store is as it must be");

    let _archive = world.archive().await;
    let ((_one, one), (_other, other)) = tokio::join!(world.gateway("one"), world.gateway("other"));
    let _worker = world.cluster.worker("worker", 4).await;
    let mut ids = world.cluster.publish(20).await;
    world.cluster.all_ended(&ids).await;
    world.archived(&one, &ids).await;

    // What one gateway took, another finds at once.
    let id = fresh("posted");
    let body = json!({ "id": id, "model": "slow", "body": { "messages": [{ "role": "user", "content": "hi" }] } });
    let post = world.client.post(format!("{one}/v1/requests")).bearer_auth(&world.key).json(&body);
    assert_eq!(post.send().await.unwrap().status(), StatusCode::ACCEPTED);
    assert!(world.execution(&other, &id).await.is_some());

    // The store stands still: hops go on.
    world.cassandra.signal(Signal::Stop);
    let stopped = Instant::now();
    let more = world.cluster.publish(40).await;
    world.cluster.all_ended(&more).await;
    ids.extend(more);
    until("the outage has lasted", 2 * OUTAGE, async || (stopped.elapsed() > OUTAGE).then_some(()))
        .await;
    world.cassandra.signal(Signal::Continue);
    world.archived(&other, &ids).await;
    world.store_is_the_fold(&ids).await;

    // It is killed in the middle of writing.
    let more = world.cluster.publish(40).await;
    world.cluster.in_the_middle(&more).await;
    world.cassandra.kill();
    world.cluster.all_ended(&more).await;
    ids.extend(more);
    world.cassandra.start_again().await;
    world.archived(&one, &ids).await;
    world.store_is_the_fold(&ids).await;

    // A replay of everything changes nothing.
    let said = world.run(&["store", "rebuild"]).await;
    assert!(said.contains("\ncompared "), "{said}");
    world.store_is_the_fold(&ids).await;

    // And it makes a whole store of an empty one.
    world.keyspace.push_str("_new");
    world.run(&["store", "apply"]).await;
    let lacking = world.command(&["store", "compare"]).await;
    let lacking = tokio::task::spawn_blocking(move || {
        let mut lacking = lacking;
        lacking.output()
    });
    let lacking = lacking.await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&lacking.stderr).into_owned();
    assert!(!lacking.status.success() && said.contains("the store lacks"), "{said}");
    let said = world.run(&["store", "rebuild"]).await;
    let ended = format!("({} executions ended)", ids.len() + 1);
    assert!(said.contains(&ended), "{said}");
    world.store_is_the_fold(&ids).await;
}
