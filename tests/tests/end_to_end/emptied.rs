//! A state topic that somebody empties while its owner lives, on the real stack: the partition stops with an
//! alarm, the others go on, and a backup brings it back. It never starts over by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use domain::topic::{Kind, Topic};
use stepstream_tests::process::Signal;
use stepstream_tests::root;
use stepstream_tests::wait::{PATIENCE, until};

use crate::cluster::Cluster;
use crate::outside::{printed, python};

/// What an operator can do by mistake: take a state topic for one whose records may go.
const EMPTY: &str = r#"
import sys, time
from confluent_kafka import OFFSET_END, KafkaException, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource)

brokers, topic, partition = sys.argv[1], sys.argv[2], int(sys.argv[3])
admin = AdminClient({"bootstrap.servers": brokers})

def policy(value):
    entry = ConfigEntry("cleanup.policy", value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(30)

policy("delete")
for _ in range(100):
    try:
        for done in admin.delete_records([TopicPartition(topic, partition, OFFSET_END)]).values():
            done.result(30)
        break
    except KafkaException as error:
        if "POLICY_VIOLATION" not in str(error):
            raise
        time.sleep(0.1)  # The broker hasn't heard of the new policy yet.
else:
    sys.exit("records can't be deleted")
policy("compact")
"#;

/// The partition that is emptied, of four.
const EMPTIED: i32 = 1;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_that_is_emptied_under_its_owner_stops_the_partition_until_it_is_repaired() {
    let mut cluster = Cluster::new().await;
    let mut worker = cluster.worker("worker", 4).await;
    let mut ids = cluster.publish(20).await;
    cluster.all_ended(&ids).await;
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup").display().to_string();
    printed(tool(&cluster, &["backup", "model", &EMPTIED.to_string(), &backup])).await;

    let mut empty = Command::new(python());
    empty.args(["-c", EMPTY, cluster.brokers(), &cluster.topic(Topic::State(Kind::Model))]);
    empty.arg(EMPTIED.to_string());
    printed(empty).await;
    // It looks when it takes a checkpoint, and not at each.
    let mut published: Option<Instant> = None;
    until("the partition stands still", PATIENCE, async || {
        if worker.alarms("damaged_state").await == 1 {
            return Some(());
        }
        if published.is_none_or(|at| at.elapsed() > Duration::from_secs(1)) {
            ids.extend(cluster.publish_on(EMPTIED, 1).await);
            published = Some(Instant::now());
        }
        None
    })
    .await;
    let log = worker.process.log();
    assert!(log.contains("records were deleted"), "{log}");
    assert!(log.contains("docs/operations/state-repair.md"), "{log}");
    // The others go on.
    let mut others = BTreeSet::new();
    for partition in (0..4).filter(|partition| *partition != EMPTIED) {
        others.extend(cluster.publish_on(partition, 2).await);
    }
    let waiting = cluster.publish_on(EMPTIED, 4).await;
    cluster.all_ended(&others).await;
    assert_eq!(worker.owned().await, Some(3));
    assert_eq!(worker.alarms("damaged_state").await, 1);
    worker.process.signal(Signal::Terminate);
    assert!(worker.process.ended(PATIENCE).success());

    // Nor does the next owner start over.
    let mut next = cluster.worker("next", 3).await;
    until("it finds the damage", PATIENCE, async || {
        (next.alarms("damaged_state").await == 1).then_some(())
    })
    .await;
    assert_eq!(cluster.ends(&waiting).await, [], "nothing was begun anew");
    next.process.signal(Signal::Terminate);
    assert!(next.process.ended(PATIENCE).success());

    printed(tool(&cluster, &["restore", "model", &EMPTIED.to_string(), &backup])).await;
    let _repaired = cluster.worker("repaired", 4).await;
    ids.extend(others);
    ids.extend(waiting);
    cluster.all_ended(&ids).await;
    // Rows since the backup may stand twice, as the page says; events may not.
    let mut ends: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (execution, event) in cluster.ends(&ids).await {
        ends.entry(execution).or_default().insert(event);
    }
    let twice: Vec<_> = ends.iter().filter(|(_, events)| events.len() != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// The repair tool of the documentation.
fn tool(cluster: &Cluster, arguments: &[&str]) -> Command {
    let mut command = Command::new(python());
    command.arg(root().join("docs/operations/state.py"));
    command.args(["--brokers", cluster.brokers(), "--prefix", cluster.prefix()]).args(arguments);
    command
}
