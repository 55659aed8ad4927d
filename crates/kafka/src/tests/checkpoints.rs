//! Checkpoints in topics and in the process, and bounded reads.

use std::time::Duration;

use bytes::Bytes;
use domain::topic::{Kind, Topic};
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Code};
use runtime::partition::genesis_key;
use runtime::ports::{
    Batch, Checkpoints, Cluster as _, CommitError, Publish as _, TailFrom, Topics,
};

use crate::checkpoints::Transactional;
use crate::reading::Watermarks;

use super::{embedded, fill, outgoing, runtime, scanned, soon, with_transactions};

pub(super) fn batch(entries: &[(&str, Option<&str>)], rows: usize) -> Batch {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Batch {
        entries: entries.iter().map(|(key, value)| (bytes(key), value.map(bytes))).collect(),
        rows: (0..rows).map(|n| (bytes("execution"), bytes(&format!("row {n}")))).collect(),
    }
}

pub(super) fn restored(checkpoints: &mut dyn Checkpoints) -> Vec<(String, Option<String>)> {
    let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
    let mut found = Vec::new();
    checkpoints.restore(&mut |key, value| found.push((text(key), value.map(text)))).unwrap();
    found
}

fn pair(key: &str, value: Option<&str>) -> (String, Option<String>) {
    (key.into(), value.map(Into::into))
}

#[test]
fn a_checkpoint_is_restored_in_order_with_its_tombstones() {
    let (embedded, _) = embedded();
    let cluster = with_transactions(&embedded);
    let mut first = cluster.checkpoints(Kind::Model, 1).unwrap();
    first.take_over().unwrap();
    assert_eq!(restored(&mut *first), []);
    first.commit(batch(&[("a", Some("1")), ("b", Some("2"))], 3)).unwrap();
    first.commit(batch(&[("a", None), ("c", Some(""))], 0)).unwrap();
    let mut second = cluster.checkpoints(Kind::Model, 1).unwrap();
    second.take_over().unwrap();
    assert_eq!(
        restored(&mut *second),
        [pair("a", Some("1")), pair("b", Some("2")), pair("a", None), pair("c", Some(""))]
    );
    let partition = domain::partition::of_key(b"execution", 4);
    assert_eq!(cluster.watermarks(Topic::ExecutionLog, partition).unwrap().1, 3);
}

#[test]
fn an_empty_checkpoint_is_committed_too() {
    let (embedded, _) = embedded();
    let cluster = with_transactions(&embedded);
    let mut checkpoints = cluster.checkpoints(Kind::Model, 0).unwrap();
    checkpoints.take_over().unwrap();
    assert_eq!(checkpoints.commit(Batch::default()), Ok(()));
}

/// So many records of a megabyte (half of it in a header) are more than the mock cluster keeps of a partition.
const TOO_MUCH: usize = 7;

#[test]
fn a_state_partition_that_is_emptied_under_its_owner_is_noticed_and_nothing_more_is_written() {
    let (embedded, _) = embedded();
    let cluster = with_transactions(&embedded);
    let state = Topic::State(Kind::Model);
    let publisher = cluster.publisher().unwrap();
    let write = |key: &str, value: &str| {
        runtime().block_on(publisher.publish(outgoing(state, Some(0), key, value))).unwrap();
    };
    write(&genesis_key(), "genesis");
    let mut checkpoints = Transactional::new(
        cluster.settings(),
        Watermarks::connect(cluster.settings()).unwrap().into(),
        Kind::Model,
        0,
    )
    .looking_every(Duration::ZERO);
    checkpoints.take_over().unwrap();
    assert_eq!(restored(&mut checkpoints).len(), 1);
    checkpoints.commit(batch(&[("a", Some("1"))], 0)).unwrap();
    checkpoints.commit(batch(&[("b", Some("1"))], 0)).unwrap();
    let megabyte = "x".repeat(450_000);
    for _ in 0..TOO_MUCH {
        write("filler", &megabyte);
    }
    let ends = cluster.watermarks(state, 0).unwrap();
    assert!(ends.0 > 0, "the mock cluster has let go of the oldest records");
    match checkpoints.commit(batch(&[("c", Some("1"))], 0)) {
        Err(CommitError::Unknown(why)) => {
            assert!(why.contains("the genesis record is gone"), "{why}")
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(cluster.watermarks(state, 0).unwrap(), ends);
}

#[test]
fn nobody_commits_without_taking_over() {
    let (embedded, kept) = embedded();
    for cluster in [with_transactions(&embedded), kept] {
        let mut checkpoints = cluster.checkpoints(Kind::Model, 0).unwrap();
        let result = checkpoints.commit(batch(&[("a", Some("1"))], 0));
        assert!(matches!(result, Err(CommitError::Unknown(_))), "{result:?}");
    }
}

/// What a commit must come to when a request is answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// librdkafka repeats the request.
    Committed,
    Aborted,
    Fenced,
    Unknown,
}

fn came_to(result: &Result<(), CommitError>) -> Expected {
    match result {
        Ok(()) => Expected::Committed,
        Err(CommitError::Aborted(_)) => Expected::Aborted,
        Err(CommitError::Fenced(_)) => Expected::Fenced,
        Err(CommitError::Unknown(_)) => Expected::Unknown,
    }
}

#[test]
fn every_error_of_every_transactional_request_has_its_meaning_and_is_recovered_from() {
    use Code as C;
    use Expected::{Aborted, Committed, Fenced, Unknown};
    let table = [
        (Api::AddPartitionsToTxn, C::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, Committed),
        (Api::AddPartitionsToTxn, C::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, Committed),
        (Api::AddPartitionsToTxn, C::RD_KAFKA_RESP_ERR_NOT_COORDINATOR, Committed),
        (Api::AddPartitionsToTxn, C::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, Committed),
        (Api::AddPartitionsToTxn, C::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, Aborted),
        (Api::AddPartitionsToTxn, C::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, Fenced),
        (Api::AddPartitionsToTxn, C::RD_KAFKA_RESP_ERR_PRODUCER_FENCED, Fenced),
        (Api::AddPartitionsToTxn, C::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, Unknown),
        (Api::AddPartitionsToTxn, C::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING, Aborted),
        (
            Api::AddPartitionsToTxn,
            C::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            Unknown,
        ),
        (Api::Produce, C::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, Committed),
        (Api::Produce, C::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, Committed),
        (Api::Produce, C::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, Aborted),
        (Api::Produce, C::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, Aborted),
        (Api::EndTxn, C::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, Committed),
        (Api::EndTxn, C::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, Committed),
        (Api::EndTxn, C::RD_KAFKA_RESP_ERR_NOT_COORDINATOR, Committed),
        (Api::EndTxn, C::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, Committed),
        (Api::EndTxn, C::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, Fenced),
        (Api::EndTxn, C::RD_KAFKA_RESP_ERR_PRODUCER_FENCED, Fenced),
        (Api::EndTxn, C::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, Unknown),
        (Api::EndTxn, C::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, Unknown),
    ];
    let (embedded, _) = embedded();
    let cluster = with_transactions(&embedded);
    let mut wrong = Vec::new();
    for (at, (api, code, expected)) in table.into_iter().enumerate() {
        let mut checkpoints = cluster.checkpoints(Kind::Model, 0).unwrap();
        checkpoints.take_over().unwrap();
        embedded.with_mock(|mock| mock.request_errors(api, &[code]));
        let key = format!("row {at}");
        let result = checkpoints.commit(batch(&[(&key, Some("v"))], 0));
        embedded.with_mock(|mock| mock.clear_request_errors(api));
        if came_to(&result) != expected {
            wrong.push(format!("{api:?} {code:?}: expected {expected:?}, got {result:?}"));
        }
        // Whatever it was, the owner comes back; after an abort even without taking over.
        if came_to(&result) != Aborted {
            checkpoints.take_over().unwrap();
        }
        // A record that was refused leaves a gap in the producer's sequence numbers, for which librdkafka
        // aborts the next transaction once more; a topic that was refused is so until its next refresh.
        let after = soon("a commit", || {
            let next = came_to(&checkpoints.commit(batch(&[("after", Some("v"))], 0)));
            (next != Aborted).then_some(next)
        });
        if after != Committed {
            wrong.push(format!("{api:?} {code:?}: afterwards {after:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn taking_over_waits_for_a_coordinator_that_moves_or_loads_and_says_what_will_not_pass() {
    use Code as C;
    use Expected::{Committed, Fenced, Unknown};
    let table = [
        (Api::FindCoordinator, C::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, Committed),
        (Api::FindCoordinator, C::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, Committed),
        (Api::InitProducerId, C::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, Committed),
        (Api::InitProducerId, C::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, Committed),
        (Api::InitProducerId, C::RD_KAFKA_RESP_ERR_NOT_COORDINATOR, Committed),
        (Api::InitProducerId, C::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, Committed),
        (Api::InitProducerId, C::RD_KAFKA_RESP_ERR_PRODUCER_FENCED, Fenced),
        (Api::InitProducerId, C::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, Unknown),
    ];
    let (embedded, _) = embedded();
    let cluster = with_transactions(&embedded);
    let mut wrong = Vec::new();
    for (api, code, expected) in table {
        let mut checkpoints = cluster.checkpoints(Kind::Model, 0).unwrap();
        // More than once: a coordinator that moves is asked again and again.
        embedded.with_mock(|mock| mock.request_errors(api, &[code, code, code]));
        let result = checkpoints.take_over();
        embedded.with_mock(|mock| mock.clear_request_errors(api));
        if came_to(&result) != expected {
            wrong.push(format!("{api:?} {code:?}: expected {expected:?}, got {result:?}"));
        }
        if came_to(&result) != Committed {
            checkpoints.take_over().unwrap();
        }
        checkpoints.commit(batch(&[("after", Some("v"))], 0)).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_connection_that_breaks_while_a_transaction_ends_makes_the_outcome_unknown() {
    let (embedded, _) = embedded();
    let cluster = with_transactions(&embedded);
    let mut checkpoints = cluster.checkpoints(Kind::Model, 0).unwrap();
    checkpoints.take_over().unwrap();
    let cut = [Code::RD_KAFKA_RESP_ERR__TRANSPORT];
    embedded.with_mock(|mock| mock.request_errors(Api::EndTxn, &cut));
    let result = checkpoints.commit(batch(&[("a", Some("1"))], 0));
    assert_eq!(came_to(&result), Expected::Unknown, "{result:?}");
    checkpoints.take_over().unwrap();
    checkpoints.commit(batch(&[("a", Some("2"))], 0)).unwrap();
}

#[test]
fn checkpoints_in_the_process_fence_the_earlier_owner_and_outlive_it() {
    let (embedded, cluster) = embedded();
    let mut first = cluster.checkpoints(Kind::Model, 2).unwrap();
    first.take_over().unwrap();
    let genesis = restored(&mut *first);
    assert_eq!(genesis.len(), 1, "{genesis:?}");
    assert_eq!(genesis[0].0, genesis_key());
    first.commit(batch(&[("a", Some("1")), ("b", Some("2"))], 2)).unwrap();
    let other = embedded.cluster("other", schemas::Ids::new()).unwrap();
    let mut second = other.checkpoints(Kind::Model, 2).unwrap();
    second.take_over().unwrap();
    let late = first.commit(batch(&[("a", Some("late"))], 1));
    assert_eq!(came_to(&late), Expected::Fenced);
    second.commit(batch(&[("b", None)], 0)).unwrap();
    let mut found = restored(&mut *second);
    found.retain(|(key, _)| *key != genesis_key());
    assert_eq!(found, [pair("a", Some("1"))]);
    let partition = domain::partition::of_key(b"execution", 4);
    soon("the rows", || {
        (cluster.watermarks(Topic::ExecutionLog, partition).unwrap().1 == 2).then_some(())
    });
    embedded.kept().clear((Kind::Model, 2));
    assert_eq!(restored(&mut *second), []);
}

#[test]
fn genesis_records_can_be_read() {
    let (_embedded, cluster) = embedded();
    let mut checkpoints = cluster.checkpoints(Kind::Agent, 3).unwrap();
    let mut values = Vec::new();
    checkpoints.restore(&mut |_, value| values.extend(value)).unwrap();
    let genesis: domain::state::Genesis = cluster.ids().read(&values[0]).unwrap();
    assert_eq!((genesis.topic.as_str(), genesis.partition), ("agent-state", 3));
}

#[test]
fn a_scan_has_both_ends_and_stops_at_what_is_not_there_yet() {
    let (_embedded, cluster) = embedded();
    fill(&cluster, Topic::Log(Kind::Model), 3, 20);
    let offsets = |from, to| -> Vec<i64> {
        scanned(cluster.scan(Kind::Model, 3, from, to)).iter().map(|raw| raw.offset).collect()
    };
    assert_eq!(offsets(5, 9), [5, 6, 7, 8, 9]);
    assert_eq!(offsets(19, 19), [19]);
    assert_eq!(offsets(18, 400), [18, 19]);
    assert_eq!(offsets(20, 25), [0_i64; 0]);
    assert_eq!(offsets(9, 5), [0_i64; 0]);
    assert_eq!(offsets(0, 1), [0, 1]);
}

#[test]
fn a_deep_state_partition_is_restored_to_its_end() {
    let (embedded, _) = embedded();
    let cluster = with_transactions(&embedded);
    let mut checkpoints = cluster.checkpoints(Kind::Model, 0).unwrap();
    checkpoints.take_over().unwrap();
    let keys: Vec<String> = (0..2_000).map(|n| format!("key {n}")).collect();
    let entries: Vec<(&str, Option<&str>)> =
        keys.iter().map(|key| (key.as_str(), Some("value"))).collect();
    checkpoints.commit(batch(&entries, 2_000)).unwrap();
    let found = restored(&mut *checkpoints);
    assert_eq!(found.len(), 2_000);
    assert!(found.iter().zip(&keys).all(|((found, _), key)| found == key));
}

#[test]
fn rows_in_the_process_reach_a_tail() {
    let (_embedded, cluster) = embedded();
    let mut tail = cluster.tail(Topic::ExecutionLog, TailFrom::Latest).unwrap();
    let mut checkpoints = cluster.checkpoints(Kind::Model, 0).unwrap();
    checkpoints.take_over().unwrap();
    checkpoints.commit(batch(&[], 1)).unwrap();
    let publisher = cluster.publisher().unwrap();
    runtime().block_on(async {
        let rows = tail.next().await.unwrap();
        assert_eq!(&rows[0].record.value[..], b"row 0");
        publisher.publish(outgoing(Topic::ExecutionLog, Some(0), "k", "v")).await.unwrap();
    });
}
