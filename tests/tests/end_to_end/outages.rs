//! A broker that is killed, and a registry that is away, on a stack of the test's own.

use domain::fact::DeadLetter;
use domain::topic::{Kind, Topic};
use stepstream_tests::stack::{Own, Part};

use crate::cluster::Cluster;

/// An id that no registry has given out.
const NO_SCHEMA: [u8; 6] = [0, 0x7f, 0, 0, 1, 0];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_that_is_killed_under_load_loses_nothing() {
    let stack = Own::start().await;
    let mut cluster = Cluster::on(stack.addresses()).await;
    let _worker = cluster.worker("worker", 4).await;
    let ids = cluster.publish(40).await;
    let finished = cluster.in_the_middle(&ids).await;
    stack.kill(Part::Broker);
    stack.start_again().await;
    let more = cluster.publish(20).await;
    let ids = ids.union(&more).cloned().collect();
    // The worker may lose its partitions while the group can't hear it, and take them over again.
    cluster.all_ended_once(&ids, &finished, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registry_that_is_away_holds_back_only_what_it_has_to_explain() {
    let stack = Own::start().await;
    let mut cluster = Cluster::on(stack.addresses()).await;
    let _worker = cluster.worker("worker", 4).await;
    let before = cluster.publish(4).await;
    cluster.in_the_middle(&before).await;
    stack.kill(Part::Registry);
    // Known schemas stay known.
    let during = cluster.publish(8).await;
    let ids = before.union(&during).cloned().collect();
    cluster.all_ended_once(&ids, &before, 0).await;
    // What only the registry could explain waits for it, and then gets its reason.
    let feed = Topic::Feed(Kind::Model);
    let at = cluster.upstream.write(feed, None, "unexplained", NO_SCHEMA.to_vec()).await;
    let after = cluster.publish(8).await;
    let mut letters = cluster.upstream.read::<DeadLetter>(Topic::DeadLetters).await;
    letters.settle(std::time::Duration::from_secs(3)).await;
    assert_eq!(letters.records().count(), 0, "nothing is refused for want of a registry");
    stack.start_again().await;
    let of_it = |letter: &DeadLetter| (letter.partition, letter.offset) == at;
    let found = letters.until("its dead letter", of_it, |letters| !letters.is_empty()).await;
    assert_eq!(found[0].code, "refused_schema");
    cluster.all_ended_once(&after, &after, 0).await;
}
