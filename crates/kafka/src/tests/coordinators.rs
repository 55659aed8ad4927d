//! Coordinators that really move: from broker to broker, between requests and in the middle of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use domain::topic::Kind;
use rdkafka::mocking::MockCoordinator;
use runtime::ports::{Cluster as _, CommitError, Confirmed};

use super::checkpoints::{batch, restored};
use super::{Embedded, embedded_on, inbox, soon, with_transactions};

pub(super) const BROKERS: usize = 3;

/// Moves coordinators round all brokers, for as long as `work` takes.
pub(super) fn moving<R>(
    embedded: &Embedded,
    every: Duration,
    coordinators: &[fn(String) -> MockCoordinator],
    names: &[String],
    work: impl FnOnce() -> R,
) -> R {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mover = scope.spawn(|| {
            let mut moves = 0_usize;
            while !done.load(Ordering::Acquire) {
                let broker = i32::try_from(1 + moves % BROKERS).unwrap();
                for (coordinator, name) in coordinators.iter().zip(names) {
                    embedded
                        .with_mock(|mock| mock.coordinator(coordinator(name.clone()), broker))
                        .unwrap();
                }
                moves += 1;
                std::thread::park_timeout(every);
            }
            moves
        });
        // Stops the mover even when the work panics, or nobody would see why.
        let stop = Stop(&done);
        let result = work();
        drop(stop);
        assert!(mover.join().unwrap() > BROKERS, "it moved to every broker");
        result
    })
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn every_checkpoint_stands_though_its_coordinator_moves_all_the_time() {
    let (embedded, _) = embedded_on(BROKERS);
    let cluster = with_transactions(&embedded);
    let mut checkpoints = cluster.checkpoints(Kind::Model, 0).unwrap();
    checkpoints.take_over().unwrap();
    let id = cluster.settings().transactional_id(Kind::Model, 0);
    let keys: Vec<String> = (0..15).map(|n| format!("key {n:02}")).collect();
    moving(&embedded, Duration::from_millis(60), &[MockCoordinator::Transaction], &[id], || {
        for key in &keys {
            soon("a checkpoint", || match checkpoints.commit(batch(&[(key, Some("v"))], 1)) {
                Ok(()) => Some(()),
                Err(CommitError::Aborted(_)) => None,
                // What a worker does: it is still the owner, so it takes over once more.
                Err(CommitError::Unknown(_)) => {
                    soon("a take-over", || checkpoints.take_over().ok());
                    None
                }
                Err(error @ CommitError::Fenced(_)) => panic!("{key}: {error}"),
            });
        }
    });
    let mut found: Vec<String> = restored(&mut *checkpoints).into_iter().map(|(k, _)| k).collect();
    found.dedup();
    assert_eq!(found, keys, "each in its order");
}

#[test]
fn a_member_keeps_its_partitions_though_its_coordinator_moves() {
    let (embedded, _) = embedded_on(BROKERS);
    let cluster = with_transactions(&embedded);
    let (inbox, mut ends) = inbox();
    let member = cluster.join(Kind::Model, inbox).unwrap();
    assert_eq!(ends.assigned(), [0, 1, 2, 3]);
    let group = cluster.settings().group(Kind::Model);
    let began = Instant::now();
    moving(&embedded, Duration::from_millis(300), &[MockCoordinator::Group], &[group], || {
        while began.elapsed() < Duration::from_secs(3) {
            assert_ne!(member.confirm(&[(0, 1), (3, 1)]), Confirmed::NotOwner);
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
    let settled = soon("a settled coordinator", || match member.confirm(&[(0, 2)]) {
        Confirmed::Unknown => None,
        answer => Some(answer),
    });
    assert_eq!(settled, Confirmed::Owner);
    assert!(ends.reports.try_recv().is_err(), "nothing was taken away");
}
