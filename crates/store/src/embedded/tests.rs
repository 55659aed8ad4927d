//! What is particular to the embedded store: files, durability, damage, retention.

use std::error::Error as _;
use std::fs;

use domain::event::EventType;
use domain::log_row::ExecutionLogRecord;
use domain::topic::Kind;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redb::{Durability, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};

use super::*;
use crate::conformance::{self, accepted, event};
use crate::{Filter, Progress};

const TENANT: &str = "default";

fn batch(ids: &[&str], next_offset: i64) -> Batch {
    Batch {
        events: ids.iter().map(|id| event(TENANT, id, (0, 1), EventType::Admitted)).collect(),
        rows: ids.iter().map(|id| ExecutionLogRecord::new("x", Kind::Model, id, TENANT)).collect(),
        progress: vec![Progress { topic: "results".into(), partition: 0, next_offset }],
    }
}

/// Puts bytes in place of an execution's summary.
fn damage(store: &Embedded, id: &str, bytes: &[u8]) {
    let transaction = store.shared.database.begin_write().unwrap();
    transaction.open_table(tables::EXECUTIONS).unwrap().insert((TENANT, id), bytes).unwrap();
    transaction.commit().unwrap();
}

#[tokio::test]
async fn embedded_store_keeps_every_promise_of_the_suite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    conformance::run(&Embedded::open(&path).unwrap(), "file").await;
    // Again on what is there, as a replay into a filled store.
    let store = Embedded::open(&path).unwrap();
    conformance::run(&store, "again").await;
    conformance::run(&Embedded::in_memory().unwrap(), "memory").await;
}

#[test]
fn any_order_of_any_writes_gives_the_same_rows() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = Embedded::in_memory().unwrap();
    let picks = prop::collection::vec((any::<u8>(), 0..4_u8, 1..7_u8), 1..40).prop_shuffle();
    // Each case has its own tenant.
    let run = std::cell::Cell::new(0);
    TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(256) })
        .run(&picks, |picks| {
            run.set(run.get() + 1);
            let tenant = format!("t{}", run.get());
            let writes: Vec<_> = picks
                .iter()
                .map(|(which, generation, number)| {
                    conformance::write(&tenant, "e", *which, *generation, *number)
                })
                .collect();
            runtime.block_on(conformance::check_order(&store, &writes));
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn closed_file_has_everything_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder/store.redb");
    let store = Embedded::open(&path).unwrap();
    store.put_accepted(accepted(TENANT, "a", "fast")).await.unwrap();
    store.archive(batch(&["a", "b"], 7)).await.unwrap();
    let before = store.list(TENANT, &Filter::default(), None, 10).await.unwrap();
    assert_eq!(before.executions.len(), 2);
    drop(store);
    let store = Embedded::open(&path).unwrap();
    assert_eq!(store.list(TENANT, &Filter::default(), None, 10).await.unwrap(), before);
    assert_eq!(store.events(TENANT, "b", None, 10).await.unwrap().len(), 1);
    assert_eq!(store.log_rows(TENANT, "b", None, 10).await.unwrap().len(), 1);
    assert_eq!(store.progress("results", 0).await.unwrap(), Some(7));
}

/// What a process would find in the file if this one were killed now.
async fn after_a_crash(path: &Path) -> (usize, Option<i64>) {
    let copy = path.with_extension("crash");
    fs::copy(path, &copy).unwrap();
    let store = Embedded::open(&copy).unwrap();
    let page = store.list(TENANT, &Filter::default(), None, 10).await.unwrap();
    (page.executions.len(), store.progress("results", 0).await.unwrap())
}

#[tokio::test]
async fn crash_loses_nothing_that_was_flushed_and_never_tears_rows_from_progress() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Embedded::open(&path).unwrap();
    store.archive(batch(&["a"], 1)).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(after_a_crash(&path).await, (1, Some(1)));
    store.archive(batch(&["b"], 2)).await.unwrap();
    let found = after_a_crash(&path).await;
    assert!([(1, Some(1)), (2, Some(2))].contains(&found), "{found:?}");
}

#[tokio::test]
async fn answered_write_becomes_durable_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Embedded::open(&path).unwrap();
    store.archive(batch(&["a"], 1)).await.unwrap();
    let deadline = std::time::Instant::now() + 100 * FLUSH_EVERY;
    while after_a_crash(&path).await != (1, Some(1)) {
        assert!(std::time::Instant::now() < deadline, "still not on disk");
    }
}

#[test]
fn failed_write_does_not_pass_for_a_flush() {
    let store = Embedded::in_memory().unwrap();
    damage(&store, "bad", &[9]);
    let request = |id: &&str| {
        let (answer, answered) = oneshot::channel();
        let write = Write::Batch(batch(&[*id], 1));
        (Request { write, answer }, answered)
    };
    for (ids, committed) in
        [(&["bad"][..], false), (&["bad", "bad"], false), (&["bad", "good"], true), (&[], true)]
    {
        let (requests, _answered): (Vec<_>, Vec<_>) = ids.iter().map(request).unzip();
        let found = write::carry_out(&store.shared.database, requests, Durability::Immediate);
        assert_eq!(matches!(found, write::Committed::Something), committed, "{ids:?}");
    }
}

#[tokio::test]
async fn file_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Embedded::open(&path).unwrap();
    let error = Embedded::open(&path).unwrap_err();
    assert!(error.to_string().ends_with("store.redb"), "{error}");
    let source = error.source().unwrap().to_string();
    assert!(source.contains("already open"), "{source}");
    drop(store);
    fs::write(folder.path().join("text"), "not a database at all").unwrap();
    let error = Embedded::open(&folder.path().join("text")).unwrap_err();
    assert!(matches!(error, OpenError::Database { .. }), "{error}");
    let error = Embedded::open(&folder.path().join("text/below")).unwrap_err();
    assert!(matches!(error, OpenError::Folder { .. }), "{error}");
    let newer = Database::create(&path).unwrap();
    let transaction = newer.begin_write().unwrap();
    transaction.open_table(tables::ABOUT).unwrap().insert("layout", 2).unwrap();
    transaction.commit().unwrap();
    drop(newer);
    let error = Embedded::open(&path).unwrap_err().to_string();
    assert!(error.ends_with("has layout 2, and this program knows 1"), "{error}");
}

#[tokio::test]
async fn damaged_row_is_named_and_fails_only_those_who_need_it() {
    let store = Embedded::in_memory().unwrap();
    store.archive(batch(&["good", "bad"], 1)).await.unwrap();
    for (bytes, expected) in [
        (&[9][..], "row default/bad of table executions has version 9, and this program reads"),
        (&[1, b'?'], "row default/bad of table executions is damaged"),
        (&[], "row default/bad of table executions has version none"),
    ] {
        damage(&store, "bad", bytes);
        let error = store.execution(TENANT, "bad").await.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
        // Sent together, so that most of them share a transaction with one that fails.
        let mut writes = tokio::task::JoinSet::new();
        for number in 0..40 {
            let (store, id) = (store.clone(), if number % 4 == 0 { "bad" } else { "good" });
            writes.spawn(async move { (id, store.archive(batch(&[id], number)).await.is_ok()) });
        }
        for (id, fine) in writes.join_all().await {
            assert_eq!(fine, id == "good", "{id}");
        }
        assert!(store.execution(TENANT, "good").await.unwrap().is_some());
    }
}

#[tokio::test]
async fn expiry_deletes_what_is_old_with_all_its_rows_and_nothing_else() {
    let store = Embedded::in_memory().unwrap();
    let (mut old, mut young) = (Batch::default(), Batch::default());
    for number in 0..1_200 {
        let id = format!("old-{number}");
        old.events.push(event(TENANT, &id, (0, 1), EventType::Succeeded));
        old.rows.push(ExecutionLogRecord::new("x", Kind::Model, &id, TENANT));
        // As old, but heard of since.
        let id = format!("long-{number}");
        old.events.push(event("other", &id, (0, 1), EventType::Admitted));
        let mut later = event("other", &id, (0, 2), EventType::Started);
        later.time = Millis(9_000);
        old.events.push(later);
    }
    let mut new = event(TENANT, "new", (0, 1), EventType::Admitted);
    new.time = Millis(9_000);
    young.events.push(new);
    // Names that a range over "old-1" must not reach.
    young.events.push({
        let mut said = event(TENANT, "old-1 ", (0, 1), EventType::Admitted);
        said.time = Millis(9_000);
        said
    });
    for batch in [&mut old, &mut young] {
        for said in batch.events.iter_mut().filter(|said| said.tenant == TENANT) {
            said.event_type = EventType::Admitted;
            let attributes = [("customer".to_owned(), "c-7".to_owned())].into();
            said.data = Some(domain::workflow::admitted::data(1, None, "{}", &attributes));
        }
    }
    young.progress = batch(&[], 5).progress;
    store.archive(old).await.unwrap();
    store.archive(young).await.unwrap();
    assert_eq!(store.expire(Millis(9_000)).await.unwrap(), 1_200);
    assert_eq!(store.expire(Millis(9_000)).await.unwrap(), 0);
    for number in [0, 1, 1_199] {
        let id = format!("old-{number}");
        assert!(store.execution(TENANT, &id).await.unwrap().is_none());
        assert!(store.events(TENANT, &id, None, 10).await.unwrap().is_empty());
        assert!(store.log_rows(TENANT, &id, None, 10).await.unwrap().is_empty());
        let id = format!("long-{number}");
        assert_eq!(store.events("other", &id, None, 10).await.unwrap().len(), 2);
    }
    let page = store.list(TENANT, &Filter::default(), None, 10).await.unwrap();
    let left: Vec<_> = page.executions.iter().map(|execution| execution.id.as_str()).collect();
    assert_eq!(left, ["old-1 ", "new"]);
    let transaction = store.shared.database.begin_read().unwrap();
    let table = transaction.open_table(tables::BY_ATTRIBUTE).unwrap();
    let mut left: Vec<_> = Vec::new();
    for row in table.iter().unwrap() {
        left.push(row.unwrap().0.value().4.to_owned());
    }
    left.sort();
    assert_eq!(left, ["new", "old-1 "]);
    assert_eq!(store.progress("results", 0).await.unwrap(), Some(5));
}

#[tokio::test]
async fn rare_status_is_found_over_short_pages() {
    let store = Embedded::in_memory().unwrap();
    let mut all = Batch::default();
    for number in 0..5_000_i64 {
        let kind = if number == 3 { EventType::Paused } else { EventType::Admitted };
        let mut said = event(TENANT, &format!("e{number}"), (0, 1), kind);
        said.time = Millis(number);
        all.events.push(said);
    }
    store.archive(all).await.unwrap();
    let filter = Filter { status: Some(crate::Status::Paused), ..Filter::default() };
    let (mut cursor, mut pages, mut found) = (None, 0, Vec::new());
    loop {
        let page = store.list(TENANT, &filter, cursor.as_ref(), 10).await.unwrap();
        pages += 1;
        found.extend(page.executions.into_iter().map(|execution| execution.id));
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!((pages, found), (3, vec!["e3".to_owned()]));
}

#[test]
fn store_outlives_the_runtime_of_its_callers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Embedded::open(&path).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.archive(batch(&["a"], 1))).unwrap();
    drop(runtime);
    drop(store);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = Embedded::open(&path).unwrap();
    assert!(runtime.block_on(store.execution(TENANT, "a")).unwrap().is_some());
}

/// The table of values, open for a change.
type Values<'t> = redb::Table<'t, (&'static str, &'static str, i32), &'static [u8]>;

#[tokio::test]
async fn value_that_lacks_a_chunk_or_was_altered_is_not_given_out() {
    let store = Embedded::in_memory().unwrap();
    let value = Bytes::from(vec![7; 3 * crate::CHUNK_BYTES]);
    let hash = ValueHash::of(&value);
    let change = |change: &dyn Fn(&mut Values<'_>)| {
        let transaction = store.shared.database.begin_write().unwrap();
        change(&mut transaction.open_table(tables::VALUES).unwrap());
        transaction.commit().unwrap();
    };
    for chunk in 0..3 {
        store.put_value(TENANT, &value, Millis(1)).await.unwrap();
        assert_eq!(store.value(TENANT, &hash).await.unwrap(), Some(value.clone()));
        change(&|values| drop(values.remove((TENANT, hash.as_str(), chunk)).unwrap()));
        assert_eq!(store.value(TENANT, &hash).await.unwrap(), None, "without {chunk}");
    }
    store.put_value(TENANT, &value, Millis(1)).await.unwrap();
    let other = vec![8; crate::CHUNK_BYTES];
    change(&|values| drop(values.insert((TENANT, hash.as_str(), 1), other.as_slice()).unwrap()));
    let altered = store.value(TENANT, &hash).await;
    assert!(matches!(altered, Err(StoreError::Altered { .. })), "{altered:?}");
}

#[tokio::test]
async fn value_lives_from_when_it_was_put_last() {
    let store = Embedded::in_memory().unwrap();
    let value = |n: i64| Bytes::from(vec![n as u8; crate::CHUNK_BYTES + 1]);
    for n in 1..=50 {
        store.put_value(TENANT, &value(n), Millis(n)).await.unwrap();
    }
    // Put again, and then by a process whose clock is behind.
    for time in [100, 2] {
        store.put_value(TENANT, &value(1), Millis(time)).await.unwrap();
    }
    store.expire(Millis(45)).await.unwrap();
    for n in 1..=50 {
        let found = store.value(TENANT, &ValueHash::of(&value(n))).await.unwrap();
        assert_eq!(found.is_some(), n == 1 || n >= 45, "{n}");
    }
    store.expire(Millis(101)).await.unwrap();
    let transaction = store.shared.database.begin_write().unwrap();
    let left = transaction.open_table(tables::VALUES).unwrap().len().unwrap();
    assert_eq!(left, 0, "no chunk is left behind");
}

#[tokio::test]
async fn value_is_on_the_disk_when_it_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("store.redb"), folder.path().join("copy.redb"));
    let store = Embedded::open(&path).unwrap();
    let value = Bytes::from_static(b"large enough");
    let hash = store.put_value(TENANT, &value, Millis(1)).await.unwrap();
    // What a crash at this moment would leave.
    fs::copy(&path, &copy).unwrap();
    let after = Embedded::open(&copy).unwrap();
    assert_eq!(after.value(TENANT, &hash).await.unwrap(), Some(value));
}
