//! Workers that crash, stand still, come and go, or share the work, on the real stack: what was asked for
//! ends once, and what had finished isn't done again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use stepstream_tests::process::Signal;
use stepstream_tests::wait::{PATIENCE, until};

use crate::cluster::{Cluster, SESSION};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_worker_is_followed_by_one_that_repeats_nothing_finished() {
    let mut cluster = Cluster::new().await;
    let mut first = cluster.worker("first", 4).await;
    let ids = cluster.publish(40).await;
    let finished = cluster.in_the_middle(&ids).await;
    first.process.kill();
    let _second = cluster.worker("second", 4).await;
    cluster.all_ended_once(&ids, &finished, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_that_stood_still_is_fenced_and_does_no_harm() {
    let mut cluster = Cluster::new().await;
    let first = cluster.worker("first", 4).await;
    let ids = cluster.publish(40).await;
    let finished = cluster.in_the_middle(&ids).await;
    first.process.signal(Signal::Stop);
    let stopped = Instant::now();
    let second = cluster.worker("second", 4).await;
    until("twice the session timeout", PATIENCE, async || {
        (stopped.elapsed() > 2 * SESSION).then_some(())
    })
    .await;
    first.process.signal(Signal::Continue);
    let more = cluster.publish(40).await;
    let ids: BTreeSet<String> = ids.union(&more).cloned().collect();
    // Away from the first, and half of them back.
    cluster.all_ended_once(&ids, &finished, 2).await;
    until("both share the work", PATIENCE, async || {
        let (first, second) = (first.owned().await?, second.owned().await?);
        (first > 0 && second > 0 && first + second == 4).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_of_a_killed_worker_goes_to_the_one_that_is_left() {
    let mut cluster = Cluster::new().await;
    let mut first = cluster.worker("first", 4).await;
    let second = cluster.worker("second", 1).await;
    let ids = cluster.publish(40).await;
    let finished = cluster.in_the_middle(&ids).await;
    first.process.kill();
    let killed = Instant::now();
    until("the other has it all", PATIENCE, async || (second.owned().await? == 4).then_some(()))
        .await;
    assert!(killed.elapsed() < 5 * SESSION, "{:?}", killed.elapsed());
    cluster.all_ended_once(&ids, &finished, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_worker_lets_its_calls_end_and_leaves_nothing_to_repeat() {
    let mut cluster = Cluster::new().await;
    let mut first = cluster.worker("first", 4).await;
    let ids = cluster.publish(20).await;
    cluster.in_the_middle(&ids).await;
    first.process.signal(Signal::Terminate);
    let status = first.process.ended(PATIENCE);
    assert!(status.success(), "{status}");
    let _second = cluster.worker("second", 4).await;
    cluster.all_ended_once(&ids, &ids, 0).await;
}

/// How often workers come and go.
const CHANGES: u32 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_come_and_go_while_calls_run_lose_and_repeat_nothing_finished() {
    let mut cluster = Cluster::new().await;
    let mut steady = cluster.worker("steady", 4).await;
    let mut ids = cluster.publish(20).await;
    let finished = cluster.in_the_middle(&ids).await;
    for change in 0..CHANGES {
        let mut other = cluster.worker(&format!("other-{change}"), 1).await;
        ids.extend(cluster.publish(8).await);
        let shared = Instant::now();
        until("they share for a while", PATIENCE, async || {
            (shared.elapsed() > Duration::from_secs(2)).then_some(())
        })
        .await;
        if change % 2 == 0 {
            other.process.signal(Signal::Terminate);
            other.process.ended(PATIENCE);
        } else {
            other.process.kill();
        }
    }
    until("the steady one has it all", PATIENCE, async || {
        (steady.owned().await? == 4).then_some(())
    })
    .await;
    // To the other and back, each time.
    cluster.all_ended_once(&ids, &finished, 2 * CHANGES).await;
    steady.process.kill();
}
