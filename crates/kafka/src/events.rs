//! What librdkafka says about its clients, handed to `tracing`. It never prints, and never shows a
//! configuration.

use domain::topic::Kind;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::statistics::Statistics;

/// A log line of librdkafka.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    // Said of every producer that we make, of a setting that we chose knowingly.
    if message.contains("enable.gapless.guarantee") {
        return;
    }
    match level {
        // librdkafka calls a lost connection an error; whoever waits for it says so when it matters.
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// An error of a client as a whole. Connections come and go: only what won't heal is a warning.
pub(crate) fn error(error: &KafkaError, reason: &str) {
    if is_connection(error) || error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    } else {
        tracing::warn!(target: "librdkafka", %error, "{reason}");
    }
}

/// Records of a topic that stand in the partitions that are read here and were not handed on yet.
const LAG: &str = "stepstream_read_lag_records";

/// What a person must know; the worker counts its own under the same name.
const ALARMS: &str = "stepstream_alarms_total";

/// The reason of the alarm that a worker has stopped taking in reports.
pub(crate) const WORKER_STUCK: &str = "worker_stuck";

/// Counts an alarm.
pub(crate) fn alarm(kind: Kind, reason: &'static str) {
    metrics::counter!(ALARMS, "kind" => kind.as_str(), "reason" => reason).increment(1);
}

/// Describes the metrics of this file. What has never happened is 0 and not absent.
pub(crate) fn describe(kind: Kind) {
    metrics::counter!(ALARMS, "kind" => kind.as_str(), "reason" => WORKER_STUCK).absolute(0);
    metrics::describe_gauge!(
        LAG,
        metrics::Unit::Count,
        "records of the partitions that are read here, not handed on yet, by topic"
    );
}

/// Shows how far a client's reading is behind. Only clients with `statistics.interval.ms` have statistics.
fn lag(statistics: &Statistics) {
    for topic in statistics.topics.values() {
        let behind: i64 = topic
            .partitions
            .values()
            .filter(|partition| partition.desired)
            .map(|partition| partition.consumer_lag.max(0))
            .sum();
        // A count of records fits a double far beyond what a topic holds.
        #[allow(clippy::cast_precision_loss)]
        metrics::gauge!(LAG, "topic" => topic.topic.clone()).set(behind as f64);
    }
}

/// Whether it says that a connection was lost or could not be made.
pub(crate) fn is_connection(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::Resolve
        )
    )
}

/// The context of clients that need no callback of their own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Logged;

impl ClientContext for Logged {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, e: KafkaError, reason: &str) {
        error(&e, reason);
    }

    fn stats(&self, statistics: Statistics) {
        lag(&statistics);
    }
}

impl ConsumerContext for Logged {}

impl ProducerContext for Logged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            tracing::warn!(%error, "a record was not written");
        }
    }
}
