//! Retention that passes a consumer while nobody reads, on the real stack: the partition stops with an alarm, and
//! the others go on. Nothing is skipped in silence.

use std::process::Command;

use domain::topic::{Kind, Topic};
use stepstream_tests::process::Signal;
use stepstream_tests::wait::{PATIENCE, until};

use crate::cluster::Cluster;
use crate::outside::{printed, python};

/// Lets retention take all that one partition holds, then sets it back.
const PASS: &str = r#"
import sys, time
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource)

brokers, topic, partition = sys.argv[1], sys.argv[2], int(sys.argv[3])
admin = AdminClient({"bootstrap.servers": brokers})
consumer = Consumer({"bootstrap.servers": brokers, "group.id": "looks"})

def retention(operation, value):
    entry = ConfigEntry("retention.ms", value, incremental_operation=operation)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(30)

before = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)])
before = [done.result(30)["retention.ms"].value for done in before.values()][0]
retention(AlterConfigOpType.SET, "1")
until = time.monotonic() + 60
while True:
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
    if low == high > 0:
        break
    if time.monotonic() > until:
        sys.exit(f"retention took nothing: {low} to {high} are left")
    time.sleep(0.2)
retention(AlterConfigOpType.SET, before)
"#;

/// The partition that is passed, of four.
const PASSED: i32 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_retention_took_before_they_were_read_stop_their_partition() {
    let mut cluster = Cluster::new().await;
    let mut worker = cluster.worker("worker", 4).await;
    // So that its position is known.
    let before = cluster.publish_on(PASSED, 2).await;
    cluster.all_ended(&before).await;
    worker.process.signal(Signal::Terminate);
    assert!(worker.process.ended(PATIENCE).success());

    cluster.publish_on(PASSED, 4).await;
    let mut pass = Command::new(python());
    pass.args(["-c", PASS, cluster.brokers(), &cluster.topic(Topic::Feed(Kind::Model))]);
    pass.arg(PASSED.to_string());
    printed(pass).await;
    let after = cluster.publish_on(PASSED, 2).await;

    let next = cluster.worker("next", 3).await;
    until("the partition stands still", PATIENCE, async || {
        (next.alarms("stopped").await == 1).then_some(())
    })
    .await;
    let log = next.process.log();
    let said = format!("reading the Feed of partition {PASSED} failed");
    assert!(log.contains(&said) && log.contains("is gone"), "{log}");
    for partition in (0..4).filter(|partition| *partition != PASSED) {
        let others = cluster.publish_on(partition, 2).await;
        cluster.all_ended(&others).await;
    }
    assert_eq!(cluster.ends(&after).await, [], "nothing behind the gap was begun");
    assert_eq!(next.alarms("stopped").await, 1);
}
