//! The store on a real Cassandra, which `infra/local/up` starts once for all of these tests and which
//! stops when they are over.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use domain::event::EventType;
use domain::topic::Kind;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::sync::OnceCell;

use super::*;
use crate::conformance::{self, Write, accepted, event};
use crate::{Progress, Status};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// `host:port` of a node.
async fn node() -> &'static str {
    static NODE: OnceCell<String> = OnceCell::const_new();
    NODE.get_or_init(async || match std::env::var("STEPSTREAM_CASSANDRA") {
        Ok(node) => node,
        Err(_) => tokio::task::spawn_blocking(start).await.unwrap(),
    })
    .await
}

fn start() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut command = Command::new(root.join("infra/local/up"));
    command
        .args(["--temporary", "--only", "cassandra", "--cassandra-port", "0"])
        .args(["--output", "json", "--until-exit-of", &std::process::id().to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    line["cassandra"].as_str().unwrap().to_owned()
}

async fn options(keyspace: &str) -> Options {
    Options {
        nodes: vec![node().await.to_owned()],
        keyspace: keyspace.into(),
        replication_factor: 1,
        consistency: Consistency::LocalQuorum,
        datacenter: None,
        credentials: None,
        timeout: Duration::from_secs(20),
        keep: Keep::default(),
        prefix: String::new(),
    }
}

/// A keyspace of a test's own, made new.
async fn made(options: &Options) -> Cql {
    let keyspace = Keyspace::connect(options.clone()).await.unwrap();
    let drop = format!("DROP KEYSPACE IF EXISTS {}", options.keyspace);
    keyspace.session.query_unpaged(drop, ()).await.unwrap();
    keyspace.apply().await.unwrap();
    keyspace.open().await.unwrap()
}

async fn query(store: &Cql, text: String) {
    store.shared.session.query_unpaged(text, ()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cql_store_keeps_every_promise_of_the_suite() {
    let options = options("suite").await;
    let store = made(&options).await;
    conformance::run(&store, "one").await;
    // Again from another process's point of view: one that remembers nothing of what was written.
    let other = Cql::open(options).await.unwrap();
    conformance::run(&other, "two").await;
}

#[test]
fn any_order_of_any_writes_by_any_process_gives_the_same_rows() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stores = runtime.block_on(async {
        let options = options("orders").await;
        [made(&options).await, Cql::open(options).await.unwrap()]
    });
    let picks = prop::collection::vec((any::<u8>(), 0..4_u8, 1..7_u8), 1..40).prop_shuffle();
    let run = std::cell::Cell::new(0);
    TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(32) })
        .run(&picks, |picks| {
            run.set(run.get() + 1);
            let tenant = format!("t{}", run.get());
            let writes: Vec<_> = picks
                .iter()
                .map(|(which, generation, number)| {
                    conformance::write(&tenant, "e", *which, *generation, *number)
                })
                .collect();
            runtime.block_on(async {
                // Half of them by another process, and all of them again by this one.
                for write in writes.iter().step_by(2) {
                    put(&stores[1], write.clone()).await;
                }
                conformance::check_order(&stores[0], &writes).await;
            });
            Ok(())
        })
        .unwrap();
}

async fn put(store: &Cql, write: Write) {
    match write {
        Write::Accepted(accepted) => store.put_accepted(accepted).await,
        Write::Event(event) => store.apply_event(&event).await,
        Write::Row(row) => store.append_log_rows(&[*row]).await,
    }
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keyspace_that_is_not_as_it_must_be_is_named() {
    let options = options("layouts").await;
    let keyspace = Keyspace::connect(options.clone()).await.unwrap();
    let drop = "DROP KEYSPACE IF EXISTS layouts";
    keyspace.session.query_unpaged(drop, ()).await.unwrap();
    let error = Cql::open(options.clone()).await.unwrap_err().to_string();
    let expected =
        "keyspace layouts is not set up: keyspace layouts, replication factor 1 is missing";
    assert_eq!(error, expected);
    assert_eq!(keyspace.apply().await.unwrap().create.len(), 1 + tables::ALL.len());
    // What the database says of our own tables is what we expect.
    assert_eq!(keyspace.plan().await.unwrap(), Plan::default());
    assert!(keyspace.apply().await.unwrap().is_empty());
    let other = Keyspace::connect(Options { replication_factor: 3, ..options.clone() }).await;
    assert_eq!(other.unwrap().plan().await.unwrap().notes.len(), 1);
    for (statement, refusal) in [
        ("ALTER TABLE layouts.events ADD more int", "table events: column more is not ours"),
        ("CREATE TABLE layouts.users (id int PRIMARY KEY)", "table events: column more"),
        ("ALTER TABLE layouts.events DROP more", "table users: is not ours"),
        ("DROP TABLE layouts.users", ""),
        ("INSERT INTO layouts.about (name, value) VALUES ('layout', 9)", "table about: the tables"),
    ] {
        keyspace.session.query_unpaged(statement, ()).await.unwrap();
        match (Cql::open(options.clone()).await, refusal) {
            (Ok(_), "") => {}
            (Err(error), refusal) => {
                let text = error.to_string();
                let expected = format!("keyspace layouts can't be used: {refusal}");
                assert!(!refusal.is_empty() && text.starts_with(&expected), "{statement}: {text}");
                assert!(keyspace.apply().await.is_err() || refusal.is_empty());
            }
            (Ok(_), refusal) => panic!("{statement}: expected {refusal}"),
        }
    }
}

#[tokio::test]
async fn node_that_does_not_answer_is_named() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = Options {
        nodes: vec![format!("127.0.0.1:{port}")],
        timeout: Duration::from_secs(2),
        ..options("away").await
    };
    let error = Cql::open(options).await.unwrap_err().to_string();
    assert_eq!(error, format!("failed to connect to 127.0.0.1:{port}"));
}

/// How long the rows of a query have to live, in seconds.
async fn lives(store: &Cql, of: &str) -> Vec<i32> {
    let rows = store.shared.session.query_unpaged(of, ()).await.unwrap();
    let rows = rows.into_rows_result().unwrap();
    rows.rows::<(Option<i32>,)>().unwrap().filter_map(|row| row.unwrap().0).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fact_lives_from_its_own_time_and_a_replay_prolongs_nothing() {
    let keep = Keep { executions: Some(10 * DAY), events: Some(6 * DAY), log_rows: Some(2 * DAY) };
    let store = made(&Options { keep, ..options("lives").await }).await;
    let day = 24 * 60 * 60 * 1_000;
    let mut batch = Batch::default();
    for (id, days) in [("young", 1), ("older", 5), ("old", 9), ("gone", 11)] {
        let mut said = event("t", id, (0, 1), EventType::Succeeded);
        said.time = now().plus(-days * day);
        let mut row = ExecutionLogRecord::new("x", Kind::Model, id, "t");
        row.event_time = said.time;
        batch.events.push(said);
        batch.rows.push(row);
    }
    for _ in 0..2 {
        store.archive(batch.clone()).await.unwrap();
        for (of, expected) in [
            ("SELECT TTL(ended) FROM lives.executions", vec![1, 5, 9]),
            ("SELECT TTL(value) FROM lives.events", vec![1, 5]),
            ("SELECT TTL(value) FROM lives.log_rows", vec![1]),
        ] {
            let mut days: Vec<_> = lives(&store, of).await;
            days.sort_unstable();
            let days: Vec<_> = days.iter().map(|left| (left + 3_600) / 86_400).collect();
            assert_eq!(days, expected, "{of}");
        }
    }
    let page = store.list("t", &Filter::default(), None, 10).await.unwrap();
    let ids: Vec<_> = page.executions.iter().map(|execution| execution.id.as_str()).collect();
    assert_eq!(ids, ["young", "older", "old"]);
    assert_eq!(store.execution("t", "gone").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn execution_whose_beginning_has_expired_is_still_found() {
    let store = made(&options("halves").await).await;
    let said = [(1, EventType::Admitted), (2, EventType::Started), (3, EventType::Succeeded)];
    for (number, event_type) in said {
        store.apply_event(&event("t", "e", (0, number), event_type)).await.unwrap();
    }
    query(
        &store,
        "DELETE created FROM halves.executions WHERE tenant = 't' AND execution = 'e'".into(),
    )
    .await;
    let found = store.execution("t", "e").await.unwrap().unwrap();
    assert_eq!((found.status, found.kind), (Status::Succeeded, Kind::Workflow));
    assert_eq!(found.created, Millis(1_003));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_value_is_named() {
    let store = made(&options("damaged").await).await;
    store.apply_event(&event("t", "e", (0, 1), EventType::Admitted)).await.unwrap();
    for (set, expected) in [
        ("latest = 0x09", "row t/e, column latest of table executions has version 9, and this"),
        ("latest = 0x013f", "row t/e, column latest of table executions is damaged"),
    ] {
        let table = "damaged.executions USING TIMESTAMP 1";
        let update = format!("UPDATE {table} SET {set} WHERE tenant = 't' AND execution = 'e'");
        query(&store, update.replace("TIMESTAMP 1", &format!("TIMESTAMP {}", set.len()))).await;
        let error = store.execution("t", "e").await.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rare_status_is_found_over_short_pages() {
    let store = made(&options("rare").await).await;
    for chunk in 0..7_i64 {
        let mut batch = Batch::default();
        for number in chunk * 500..(chunk + 1) * 500 {
            let kind = if number == 3 { EventType::Paused } else { EventType::Admitted };
            let mut said = event("t", &format!("e{number}"), (0, 1), kind);
            // Over some days.
            said.time = Millis(number * 100_000);
            batch.events.push(said);
        }
        store.archive(batch).await.unwrap();
    }
    let filter = Filter { status: Some(Status::Paused), ..Filter::default() };
    let (mut cursor, mut pages, mut found) = (None, 0, Vec::new());
    loop {
        let page = store.list("t", &filter, cursor.as_ref(), 10).await.unwrap();
        pages += 1;
        found.extend(page.executions.into_iter().map(|execution| execution.id));
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!((pages, found), (4, vec!["e3".to_owned()]));
    let page = store.list("t", &Filter::default(), None, 1_000).await.unwrap();
    assert_eq!((page.executions.len(), page.executions[0].id.as_str()), (1_000, "e3499"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn platforms_that_share_a_keyspace_keep_their_own_progress() {
    let one = options("shared").await;
    let store = made(&one).await;
    let other = Cql::open(Options { prefix: "staging.".into(), ..one }).await.unwrap();
    let reached = Progress { topic: "results".into(), partition: 0, next_offset: 7 };
    let batch = Batch { progress: vec![reached], ..Batch::default() };
    store.archive(batch).await.unwrap();
    assert_eq!(store.progress("results", 0).await.unwrap(), Some(7));
    assert_eq!(other.progress("results", 0).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateway_and_archive_list_an_execution_once() {
    let options = options("twice").await;
    let gateway = made(&options).await;
    let archive = Cql::open(options).await.unwrap();
    let lists = async |store: &Cql| {
        let page = store.list("t", &Filter::default(), None, 10).await.unwrap();
        page.executions.iter().map(|found| found.created.0).collect::<Vec<_>>()
    };
    let attributes = BTreeMap::from([("customer".to_owned(), "c-7".to_owned())]);
    let filter = Filter { attributes: attributes.clone(), ..Filter::default() };
    let finds = async |store: &Cql| {
        let page = store.list("t", &filter, None, 10).await.unwrap();
        page.executions.iter().map(|found| found.created.0).collect::<Vec<_>>()
    };
    let mut admitted = event("t", "e", (0, 1), EventType::Admitted);
    admitted.time = Millis(2_000);
    admitted.data = Some(domain::workflow::admitted::data(1, None, "{}", &attributes));
    archive.apply_event(&admitted).await.unwrap();
    assert_eq!((lists(&gateway).await, finds(&gateway).await), (vec![2_000], vec![2_000]));
    let request =
        AcceptedExecution { search_attributes: attributes.clone(), ..accepted("t", "e", "fast") };
    gateway.put_accepted(request).await.unwrap();
    for store in [&archive, &gateway] {
        assert_eq!((lists(store).await, finds(store).await), (vec![1_000], vec![1_000]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn value_that_lacks_a_chunk_or_was_altered_is_not_given_out() {
    let store = made(&options("values").await).await;
    let value = Bytes::from(vec![7; 3 * crate::CHUNK_BYTES]);
    let hash = store.put_value("t", &value, now()).await.unwrap();
    let row = format!("WHERE tenant = 't' AND hash = '{}' AND chunk", hash.as_str());
    query(&store, format!("UPDATE values.value_chunks SET value = 0x00 {row} = 2")).await;
    // Shorter than its rows say.
    assert_eq!(store.value("t", &hash).await.unwrap(), None);
    for chunk in 0..3 {
        store.put_value("t", &value, now()).await.unwrap();
        query(&store, format!("DELETE FROM values.value_chunks {row} = {chunk}")).await;
        assert_eq!(store.value("t", &hash).await.unwrap(), None, "without {chunk}");
    }
}
