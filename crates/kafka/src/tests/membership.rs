//! Membership of a group: who is told what, and when a confirmation counts.

use std::collections::BTreeSet;

use domain::topic::Kind;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use runtime::ports::{Cluster as _, Confirmed, Report, STANDING};

use super::{Ends, embedded, inbox, never, soon};

#[test]
fn a_second_member_gets_its_share_only_when_the_first_has_let_go() {
    let (_embedded, cluster) = embedded();
    let (first_inbox, mut first_ends) = inbox();
    let first = cluster.join(Kind::Model, first_inbox).unwrap();
    assert_eq!(first_ends.assigned(), [0, 1, 2, 3]);

    let (second_inbox, mut second_ends) = inbox();
    let second = cluster.join(Kind::Model, second_inbox).unwrap();
    let (mut given, done) = match first_ends.report() {
        Report::Revoked { partitions, done } => (partitions, done),
        other => panic!("expected a revocation, got {other:?}"),
    };
    given.sort_unstable();
    assert_eq!(given.len(), 2);
    never("an assignment", || second_ends.assigned_now());
    // Until it lets go, the first is the owner. A real group says so; the mock's may ask to wait.
    assert_ne!(first.confirm(&[(given[0], 7)]), Confirmed::NotOwner);
    drop(done);
    assert_eq!(second_ends.assigned(), given);

    let positions: Vec<(i32, i64)> = given.iter().map(|partition| (*partition, 9)).collect();
    assert_eq!(first.confirm(&positions), Confirmed::NotOwner);
    assert_eq!(second.confirm(&positions), Confirmed::Owner);
    let kept = (0..4).find(|partition| !given.contains(partition)).unwrap();
    // That one went says nothing about the other.
    assert_eq!(first.confirm(&[(given[0], 9), (kept, 1)]), Confirmed::Unknown);
    assert_eq!(soon_settled(&*first, kept), Confirmed::Owner);

    drop(second);
    assert_eq!(first_ends.assigned(), given);
    assert_eq!(soon_settled(&*first, given[0]), Confirmed::Owner);
}

/// Right after a rebalance the generation may still be changing.
fn soon_settled(member: &dyn runtime::ports::Membership, partition: i32) -> Confirmed {
    soon("a settled group", || match member.confirm(&[(partition, 1)]) {
        Confirmed::Unknown => None,
        answer => Some(answer),
    })
}

#[test]
fn ownership_can_be_confirmed_without_a_position() {
    let (_embedded, cluster) = embedded();
    let (inbox, mut ends) = inbox();
    let member = cluster.join(Kind::Model, inbox).unwrap();
    assert_eq!(member.confirm(&[(2, STANDING)]), Confirmed::NotOwner, "nothing is owned yet");
    ends.assigned();
    assert_eq!(member.confirm(&[(2, STANDING)]), Confirmed::Owner);
    assert_eq!(member.confirm(&[(2, 5), (3, 6)]), Confirmed::Owner);
    assert_eq!(member.confirm(&[(2, STANDING)]), Confirmed::Owner);
}

#[test]
fn a_member_that_the_group_forgot_is_no_owner_and_joins_again() {
    for error in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
    ] {
        let (embedded, cluster) = embedded();
        let (inbox, mut ends) = inbox();
        let member = cluster.join(Kind::Model, inbox).unwrap();
        ends.assigned();
        embedded.with_mock(|mock| mock.request_errors(RDKafkaApiKey::OffsetCommit, &[error]));
        assert_eq!(member.confirm(&[(0, 3)]), Confirmed::NotOwner, "{error:?}");
        match ends.report() {
            Report::Lost(partitions) => assert_eq!(partitions.len(), 4, "{error:?}"),
            other => panic!("{error:?}: expected a loss, got {other:?}"),
        }
        assert_eq!(ends.assigned(), [0, 1, 2, 3], "{error:?}");
        assert_eq!(member.confirm(&[(0, 3)]), Confirmed::Owner, "{error:?}");
    }
}

/// Takes in what a member was told; lets go at once of what is asked back. Returns what went.
fn follow(ends: &mut Ends, owned: &mut BTreeSet<i32>) -> BTreeSet<i32> {
    let mut went = BTreeSet::new();
    while let Ok(report) = ends.reports.try_recv() {
        match report {
            Report::Assigned(partitions) => owned.extend(partitions),
            Report::Lost(gone) | Report::Revoked { partitions: gone, .. } => {
                owned.retain(|partition| !gone.contains(partition));
                went.extend(gone);
            }
            other => panic!("{other:?}"),
        }
    }
    went
}

#[test]
fn a_member_whose_worker_is_silent_loses_its_partitions_and_joins_again_when_it_works() {
    let (embedded, kept) = embedded();
    let mut settings = embedded.settings("test");
    for (name, value) in [
        ("session.timeout.ms", "4000"),
        ("max.poll.interval.ms", "4000"),
        ("heartbeat.interval.ms", "300"),
    ] {
        settings.properties.insert(name.into(), value.into());
    }
    let cluster = embedded.cluster_with(settings, kept.ids().clone()).unwrap();
    let (silent_inbox, mut silent_ends) = inbox();
    let silent = cluster.join(Kind::Model, silent_inbox).unwrap();
    assert_eq!(silent_ends.assigned(), [0, 1, 2, 3]);
    let (other_inbox, mut other_ends) = inbox();
    let other = cluster.join(Kind::Model, other_inbox).unwrap();
    let mut others = BTreeSet::new();
    soon("all partitions", || {
        other.attend();
        follow(&mut other_ends, &mut others);
        (others.len() == 4).then_some(())
    });
    assert_eq!(silent.confirm(&[(0, 1)]), Confirmed::NotOwner);
    // Alone: the mock cluster throws out members that wait for each other on a busy machine.
    drop(other);
    let (mut owned, mut went) = ((0..4).collect(), BTreeSet::new());
    soon("its partitions", || {
        silent.attend();
        went.extend(follow(&mut silent_ends, &mut owned));
        // Each went, and came back: one that it was never told of would have nobody who works on it.
        (went.len() == 4 && owned.len() == 4).then_some(())
    });
    assert_eq!(soon_settled(&*silent, 0), Confirmed::Owner);
}

#[test]
fn a_rebalance_in_progress_is_waited_for() {
    let (embedded, cluster) = embedded();
    let (inbox, mut ends) = inbox();
    let member = cluster.join(Kind::Model, inbox).unwrap();
    ends.assigned();
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS;
    embedded.with_mock(|mock| mock.request_errors(RDKafkaApiKey::OffsetCommit, &[error]));
    assert_eq!(member.confirm(&[(1, 3)]), Confirmed::Owner);
}

#[test]
fn leaving_asks_nobody_and_ends_the_reports() {
    let (_embedded, cluster) = embedded();
    let (inbox, mut ends) = inbox();
    let member = cluster.join(Kind::Model, inbox).unwrap();
    ends.assigned();
    drop(member);
    // The threads have ended, and with them their ends of the channel.
    assert!(matches!(
        ends.reports.try_recv(),
        Err(tokio::sync::mpsc::error::TryRecvError::Disconnected)
    ));
}
