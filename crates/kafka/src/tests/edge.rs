//! Publishing single records and tailing topics.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use domain::topic::Topic;
use runtime::ports::{ClusterError, Publish as _, Tail, TailFrom, Topics as _};

use super::{PATIENCE, QUIET, embedded, fill, outgoing, runtime, soon};

const RESULTS: Topic = Topic::Results;

async fn take(tail: &mut dyn Tail, count: usize) -> Vec<(i32, i64, String)> {
    let mut found = Vec::new();
    while found.len() < count {
        let batch = tokio::time::timeout(PATIENCE, tail.next()).await.expect("records").unwrap();
        found.extend(batch.into_iter().map(|tailed| {
            let value = String::from_utf8(tailed.record.value.to_vec()).unwrap();
            (tailed.partition, tailed.record.offset, value)
        }));
    }
    found
}

#[test]
fn a_published_record_stands_where_the_answer_says() {
    let (_embedded, cluster) = embedded();
    let publisher = cluster.publisher().unwrap();
    runtime().block_on(async {
        let at = publisher.publish(outgoing(RESULTS, Some(3), "k", "a")).await.unwrap();
        assert_eq!(at, (3, 0));
        let (partition, offset) =
            publisher.publish(outgoing(RESULTS, None, "execution-1", "b")).await.unwrap();
        assert_eq!(partition, domain::partition::of_key(b"execution-1", 4));
        let mut tail = cluster.tail(RESULTS, TailFrom::Earliest).unwrap();
        let mut found = take(&mut *tail, 2).await;
        found.sort();
        let mut expected = [(3, 0, "a".to_owned()), (partition, offset, "b".to_owned())];
        expected.sort();
        assert_eq!(found, expected);
    });
}

#[test]
fn a_record_that_is_too_large_is_refused_by_name() {
    let (_embedded, cluster) = embedded();
    let publisher = cluster.publisher().unwrap();
    let mut record = outgoing(RESULTS, Some(0), "k", "v");
    record.value = Bytes::from(vec![0; 2_000_000]);
    let error: ClusterError = runtime().block_on(publisher.publish(record)).unwrap_err();
    assert_eq!(error.to_string(), "writing to results: the record is too large for its topic");
}

#[test]
fn latest_sees_everything_that_is_written_after_it_was_opened_and_nothing_before() {
    let (_embedded, cluster) = embedded();
    fill(&cluster, RESULTS, 0, 5);
    let publisher = cluster.publisher().unwrap();
    runtime().block_on(async {
        for round in 0..10 {
            let mut tail = cluster.tail(RESULTS, TailFrom::Latest).unwrap();
            assert!(tail.caught_up());
            let value = format!("after {round}");
            let (_, at) = publisher.publish(outgoing(RESULTS, Some(0), "k", &value)).await.unwrap();
            assert_eq!(take(&mut *tail, 1).await, [(0, at, value)]);
        }
    });
}

#[test]
fn earliest_is_caught_up_exactly_when_the_backlog_was_returned() {
    let (_embedded, cluster) = embedded();
    for partition in 0..4 {
        fill(&cluster, RESULTS, partition, 300);
    }
    let mut tail = cluster.tail(RESULTS, TailFrom::Earliest).unwrap();
    runtime().block_on(async {
        let mut returned = 0;
        while returned < 1_200 {
            assert!(!tail.caught_up(), "after {returned}");
            returned += tail.next().await.unwrap().len();
        }
        assert_eq!(returned, 1_200);
    });
    soon("the mark", || tail.caught_up().then_some(()));
}

#[test]
fn an_empty_topic_is_caught_up_at_once() {
    let (_embedded, cluster) = embedded();
    assert!(cluster.tail(Topic::Definitions, TailFrom::Earliest).unwrap().caught_up());
}

#[test]
fn given_offsets_are_kept_to_and_checked() {
    let (_embedded, cluster) = embedded();
    fill(&cluster, RESULTS, 1, 5);
    fill(&cluster, RESULTS, 2, 2);
    let from = |partition, offset| TailFrom::Offsets(BTreeMap::from([(partition, offset)]));
    let mut tail = cluster.tail(RESULTS, from(1, 3)).unwrap();
    runtime().block_on(async {
        let mut found: Vec<(i32, i64)> =
            take(&mut *tail, 4).await.into_iter().map(|(p, o, _)| (p, o)).collect();
        found.sort_unstable();
        assert_eq!(found, [(1, 3), (1, 4), (2, 0), (2, 1)]);
    });
    let error = cluster.tail(RESULTS, from(1, 6)).err().unwrap().to_string();
    assert!(error.contains("partition 1 holds offsets 0 to 5, not 6"), "{error}");
}

#[test]
fn a_wait_that_is_given_up_loses_nothing() {
    let (_embedded, cluster) = embedded();
    let mut tail = cluster.tail(RESULTS, TailFrom::Latest).unwrap();
    let publisher = cluster.publisher().unwrap();
    runtime().block_on(async {
        for n in 0..20_i64 {
            assert!(tokio::time::timeout(Duration::from_millis(5), tail.next()).await.is_err());
            publisher.publish(outgoing(RESULTS, Some(0), "k", "v")).await.unwrap();
            assert_eq!(take(&mut *tail, 1).await[0].1, n);
        }
    });
}

#[test]
fn a_tail_outlives_a_broker_that_is_away() {
    let (embedded, cluster) = embedded();
    let mut tail = cluster.tail(RESULTS, TailFrom::Latest).unwrap();
    runtime().block_on(async {
        embedded.take_down().unwrap();
        assert!(tokio::time::timeout(QUIET, tail.next()).await.is_err());
        embedded.bring_up().unwrap();
        let publisher = cluster.publisher().unwrap();
        publisher.publish(outgoing(RESULTS, Some(0), "k", "v")).await.unwrap();
        assert_eq!(take(&mut *tail, 1).await, [(0, 0, "v".to_owned())]);
    });
}

#[test]
fn a_reader_that_goes_away_ends_the_tails_thread() {
    let (_embedded, cluster) = embedded();
    for partition in 0..4 {
        fill(&cluster, RESULTS, partition, 200);
    }
    let tail = cluster.tail(RESULTS, TailFrom::Earliest).unwrap();
    drop(tail);
    // The client under it holds the broker's connections: a new tail must not be disturbed by it.
    let mut tail = cluster.tail(RESULTS, TailFrom::Earliest).unwrap();
    assert_eq!(runtime().block_on(take(&mut *tail, 800)).len(), 800);
}
