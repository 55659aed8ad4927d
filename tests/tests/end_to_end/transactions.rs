//! Ends of transactions that come late, get lost, or never come, between a worker and a real broker: a
//! checkpoint stands once, whole, or not at all.

use std::time::{Duration, Instant};

use stepstream_tests::process::Signal;
use stepstream_tests::proxy::Api;
use stepstream_tests::stack::{self, Own, Part};
use stepstream_tests::wait::{PATIENCE, until};

use crate::cluster::Cluster;

/// After this long the broker aborts an open transaction, give or take the second between two looks.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// More than there will be.
const ALL: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn end_of_a_transaction_that_arrives_during_later_ones_ends_none_of_them() {
    let (addresses, proxy) = stack::behind_proxy().await;
    let mut cluster = Cluster::through(proxy.address(), addresses).await;
    let worker = cluster.worker("worker", 4).await;
    let mut ids = cluster.publish(20).await;
    let finished = cluster.in_the_middle(&ids).await;
    // The next one of each partition; when it is asked for again, after the request timeout, it gets through.
    proxy.hold(Api::EndTxn, 4);
    ids.extend(cluster.publish(20).await);
    until("ends are held", PATIENCE, async || (proxy.held(Api::EndTxn) == 4).then_some(())).await;
    until("the producers are given up", PATIENCE, async || {
        (worker.alarms("restored").await >= 4).then_some(())
    })
    .await;
    ids.extend(cluster.publish(20).await);
    cluster.all_ended(&ids).await;
    // Into the middle of the transactions of these.
    ids.extend(cluster.publish(20).await);
    proxy.let_through();
    ids.extend(cluster.publish(20).await);
    cluster.all_ended_once(&ids, &finished, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transaction_past_its_timeout_leaves_nothing_and_its_owner_goes_on() {
    let (addresses, proxy) = stack::behind_proxy().await;
    let mut cluster = Cluster::through(proxy.address(), addresses).await;
    // It stays a member: only its transactions are too old.
    let worker = cluster.worker_with("worker", 4, 3 * TRANSACTION_TIMEOUT).await;
    let mut ids = cluster.publish(20).await;
    let finished = cluster.in_the_middle(&ids).await;
    proxy.hold(Api::EndTxn, ALL);
    ids.extend(cluster.publish(20).await);
    until("an end is held", PATIENCE, async || (proxy.held(Api::EndTxn) > 0).then_some(())).await;
    worker.process.signal(Signal::Stop);
    let stopped = Instant::now();
    until("the broker has aborted it", PATIENCE, async || {
        (stopped.elapsed() > TRANSACTION_TIMEOUT + Duration::from_secs(3)).then_some(())
    })
    .await;
    proxy.discard();
    worker.process.signal(Signal::Continue);
    ids.extend(cluster.publish(20).await);
    cluster.all_ended_once(&ids, &finished, 0).await;
    let log = worker.process.log();
    assert!(log.contains("fenced by another owner"), "the broker has aborted none:\n{log}");
    assert_eq!(worker.owned().await, Some(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_that_never_come_lose_and_double_nothing() {
    let (addresses, proxy) = stack::behind_proxy().await;
    let mut cluster = Cluster::through(proxy.address(), addresses).await;
    let worker = cluster.worker("worker", 4).await;
    let mut ids = cluster.publish(20).await;
    let finished = cluster.in_the_middle(&ids).await;
    for api in [Api::EndTxn, Api::Produce, Api::OffsetCommit] {
        proxy.swallow(api, 2);
        ids.extend(cluster.publish(10).await);
        until(&format!("{api:?} is swallowed"), PATIENCE, async || {
            (proxy.swallowed(api) == 2).then_some(())
        })
        .await;
    }
    cluster.all_ended_once(&ids, &finished, 0).await;
    assert!(worker.alarms("restored").await > 0, "an end without a response is no known end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transaction_whose_end_a_restarted_broker_has_lost_is_ended_by_the_next_owner() {
    let (stack, proxy) = Own::start_behind_proxy().await;
    let mut cluster = Cluster::through(proxy.address(), stack.addresses()).await;
    let worker = cluster.worker("worker", 4).await;
    let then = stack.transactions().await;
    let mut ids = cluster.publish(20).await;
    let finished = cluster.in_the_middle(&ids).await;
    proxy.hold(Api::EndTxn, ALL);
    ids.extend(cluster.publish(20).await);
    until("ends are held", PATIENCE, async || (proxy.held(Api::EndTxn) == 4).then_some(())).await;
    stack.kill(Part::Broker);
    proxy.discard();
    // What KAFKA-20734 comes to, without the luck that it takes: the records of a transaction stand in their
    // partition, and the coordinator takes it for ended.
    stack.forget_since(&then);
    stack.start_again().await;
    ids.extend(cluster.publish(20).await);
    cluster.all_ended_once(&ids, &finished, 1).await;
    let log = worker.process.log();
    assert!(log.contains("the broker has lost the end of a transaction"), "it lost none:\n{log}");
}
