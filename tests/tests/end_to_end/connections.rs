//! The way between a worker and a real broker: cut, dead without a word, and long.

use std::time::{Duration, Instant};

use stepstream_tests::stack;
use stepstream_tests::wait::{PATIENCE, until};

use crate::cluster::{Cluster, SESSION, SLOW_MS};

/// How long after healing all must have ended (I11: transaction timeout, session timeout and 5 s; then the slow
/// calls), on a machine that is twice as slow.
const HEALED: Duration = Duration::from_millis(2 * (10_000 + 6_000 + 5_000 + SLOW_MS));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_that_is_cut_off_goes_on_when_the_way_is_back() {
    let (addresses, proxy) = stack::behind_proxy().await;
    let mut cluster = Cluster::through(proxy.address(), addresses).await;
    let worker = cluster.worker("worker", 4).await;
    let mut ids = cluster.publish(20).await;
    let finished = cluster.in_the_middle(&ids).await;
    // Shorter than a session, then longer.
    for away in [Duration::from_secs(1), SESSION + Duration::from_secs(4)] {
        ids.extend(cluster.publish(10).await);
        proxy.cut(away);
        ids.extend(cluster.publish(10).await);
        let cut = Instant::now();
        until("the way is back", PATIENCE, async || (cut.elapsed() > away).then_some(())).await;
        let healed = Instant::now();
        cluster.all_ended(&ids).await;
        assert!(healed.elapsed() < HEALED, "{away:?}: {:?}", healed.elapsed());
    }
    cluster.all_ended_once(&ids, &finished, 2).await;
    assert_eq!(worker.owned().await, Some(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_die_without_a_word_are_given_up_and_a_long_way_is_only_slow() {
    let (addresses, proxy) = stack::behind_proxy().await;
    let mut cluster = Cluster::through(proxy.address(), addresses).await;
    let worker = cluster.worker("worker", 4).await;
    let mut ids = cluster.publish(20).await;
    let finished = cluster.in_the_middle(&ids).await;
    ids.extend(cluster.publish(10).await);
    proxy.go_dead();
    let dead = Instant::now();
    ids.extend(cluster.publish(10).await);
    cluster.all_ended(&ids).await;
    assert!(dead.elapsed() < HEALED, "{:?}", dead.elapsed());

    proxy.slow_down(Duration::from_millis(200));
    ids.extend(cluster.publish(20).await);
    cluster.all_ended_once(&ids, &finished, 1).await;
    assert_eq!(worker.owned().await, Some(4));
}

/// Much longer than any timeout of ours but those of the members of a group.
const LONG: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_that_is_cut_off_for_minutes_needs_nobody_to_come_back() {
    let (addresses, proxy) = stack::behind_proxy().await;
    let mut cluster = Cluster::through(proxy.address(), addresses).await;
    let worker = cluster.worker("worker", 4).await;
    let mut ids = cluster.publish(20).await;
    let finished = cluster.in_the_middle(&ids).await;
    proxy.cut(LONG);
    ids.extend(cluster.publish(20).await);
    tokio::time::sleep(LONG).await;
    let healed = Instant::now();
    cluster.all_ended(&ids).await;
    assert!(healed.elapsed() < HEALED, "{:?}", healed.elapsed());
    cluster.all_ended_once(&ids, &finished, 1).await;
    assert_eq!(worker.owned().await, Some(4));
}
