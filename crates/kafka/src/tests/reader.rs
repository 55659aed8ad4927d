//! The reader: exact places, epochs, and what happens when a place is gone.

use std::collections::BTreeMap;

use domain::topic::{Kind, Topic};
use runtime::ports::{Cluster as _, RECORD_BATCHES, Reader, Report, Side};

use super::{Ends, embedded, fill, inbox, never, soon};

const LOG: Topic = Topic::Log(Kind::Model);
const FEED: Topic = Topic::Feed(Kind::Model);

/// Offsets that arrive for one epoch until the last of them is `last`.
fn offsets(ends: &mut Ends, epoch: u64, last: i64) -> Vec<i64> {
    let mut seen = Vec::new();
    while seen.last() != Some(&last) {
        let batch = ends.batch();
        if batch.epoch == epoch {
            seen.extend(batch.records.iter().map(|record| record.offset));
        }
    }
    seen
}

#[test]
fn records_arrive_whole_from_the_given_offset_on() {
    let (_embedded, cluster) = embedded();
    fill(&cluster, LOG, 1, 10);
    fill(&cluster, FEED, 1, 3);
    let (inbox, mut ends) = inbox();
    let reader = cluster.reader(Kind::Model, inbox).unwrap();
    reader.start(Side::Log, 1, 4, 77);
    let batch = ends.batch();
    assert_eq!((batch.side, batch.partition, batch.epoch), (Side::Log, 1, 77));
    let first = &batch.records[0];
    assert_eq!(first.offset, 4);
    assert_eq!(first.key.as_deref(), Some(b"k4".as_slice()));
    assert_eq!(&first.value[..], b"4");
    assert!(first.time.0 > 1_600_000_000_000, "{:?}", first.time);
    assert_eq!(runtime::ports::header(&first.headers, "ce_id"), Some("id-4"));
    assert_eq!(runtime::ports::header(&first.headers, "empty"), Some(""));
    // -2 is the oldest.
    reader.start(Side::Feed, 1, -2, 78);
    assert_eq!(offsets(&mut ends, 78, 2), [0, 1, 2]);
}

#[test]
fn each_epoch_begins_exactly_where_it_was_started() {
    const COUNT: i64 = 3_000;
    let (_embedded, cluster) = embedded();
    fill(&cluster, LOG, 0, COUNT.try_into().unwrap());
    let (inbox, mut ends) = inbox();
    let reader = cluster.reader(Kind::Model, inbox).unwrap();
    // Started anew while older records are still on their way, at various places.
    for epoch in 0..40_u64 {
        let start = i64::try_from(epoch * 37 % 1_000).unwrap();
        reader.start(Side::Log, 0, start, epoch);
        if epoch % 3 == 0 {
            soon("anything of this epoch", || {
                ends.records.try_recv().ok().filter(|batch| batch.epoch == epoch)
            });
            continue;
        }
        let seen = offsets(&mut ends, epoch, COUNT - 1);
        assert_eq!(seen, (start..COUNT).collect::<Vec<i64>>(), "epoch {epoch}");
    }
}

#[test]
fn stopped_and_paused_partitions_are_silent_and_the_others_go_on() {
    let (_embedded, cluster) = embedded();
    let (inbox, mut ends) = inbox();
    let reader = cluster.reader(Kind::Model, inbox).unwrap();
    for partition in 0..3 {
        reader.start(Side::Log, partition, 0, 1);
    }
    reader.stop(Side::Log, 0);
    reader.pause(Side::Log, 1);
    for partition in 0..3 {
        fill(&cluster, LOG, partition, 5);
    }
    let mut seen: BTreeMap<i32, usize> = BTreeMap::new();
    soon("the third partition", || {
        while let Ok(batch) = ends.records.try_recv() {
            *seen.entry(batch.partition).or_default() += batch.records.len();
        }
        (seen.get(&2) == Some(&5)).then_some(())
    });
    never("a record", || ends.records.try_recv().ok());
    assert_eq!(seen.keys().collect::<Vec<_>>(), [&2]);
    reader.resume(Side::Log, 1);
    assert_eq!(offsets(&mut ends, 1, 4), [0, 1, 2, 3, 4]);
    // A start after a stop while paused is not paused.
    reader.pause(Side::Log, 1);
    reader.stop(Side::Log, 1);
    reader.start(Side::Log, 1, 2, 9);
    assert_eq!(offsets(&mut ends, 9, 4), [2, 3, 4]);
}

#[test]
fn an_offset_that_is_not_there_is_reported_and_nothing_is_reset() {
    let (_embedded, cluster) = embedded();
    fill(&cluster, LOG, 0, 5);
    fill(&cluster, LOG, 1, 5);
    let (inbox, mut ends) = inbox();
    let reader = cluster.reader(Kind::Model, inbox).unwrap();
    reader.start(Side::Log, 1, 0, 1);
    assert_eq!(offsets(&mut ends, 1, 4), [0, 1, 2, 3, 4]);
    reader.start(Side::Log, 0, 500, 2);
    match ends.report() {
        Report::ReadFailed { side, partition, reason } => {
            assert_eq!((side, partition), (Side::Log, 0));
            assert!(reason.contains("500") && reason.contains("past the end at 5"), "{reason}");
        }
        other => panic!("expected a failed read, got {other:?}"),
    }
    // The neighbour was not disturbed, and misses nothing.
    fill(&cluster, LOG, 1, 3);
    assert_eq!(offsets(&mut ends, 1, 7), [5, 6, 7]);
    assert!(ends.reports.try_recv().is_err());
    reader.start(Side::Log, 0, -7, 3);
    assert!(matches!(ends.report(), Report::ReadFailed { partition: 0, .. }));
}

#[test]
fn a_worker_that_is_behind_loses_nothing_and_can_still_stop_reading() {
    const COUNT: usize = 3 * RECORD_BATCHES;
    let (_embedded, cluster) = embedded();
    let (inbox, mut ends) = inbox();
    let reader = cluster.reader(Kind::Model, inbox).unwrap();
    reader.start(Side::Log, 0, 0, 1);
    reader.start(Side::Log, 1, 0, 1);
    // Written one by one, so there are many small batches.
    fill(&cluster, LOG, 0, COUNT);
    reader.stop(Side::Log, 1);
    fill(&cluster, LOG, 1, 1);
    let last = i64::try_from(COUNT).unwrap() - 1;
    let mut seen = Vec::new();
    while seen.last() != Some(&last) {
        let batch = ends.batch();
        assert_eq!(batch.partition, 0);
        seen.extend(batch.records.iter().map(|record| record.offset));
    }
    assert_eq!(seen, (0..=last).collect::<Vec<i64>>());
}

#[test]
fn a_broker_that_comes_back_is_read_on_from_where_it_left() {
    let (embedded, cluster) = embedded();
    fill(&cluster, LOG, 0, 3);
    let (inbox, mut ends) = inbox();
    let reader = cluster.reader(Kind::Model, inbox).unwrap();
    reader.start(Side::Log, 0, 0, 1);
    assert_eq!(offsets(&mut ends, 1, 2), [0, 1, 2]);
    embedded.take_down().unwrap();
    never("a report", || ends.reports.try_recv().ok());
    embedded.bring_up().unwrap();
    fill(&cluster, LOG, 0, 2);
    assert_eq!(offsets(&mut ends, 1, 4), [3, 4]);
    drop::<std::sync::Arc<dyn Reader>>(reader);
}
