//! The producer of token deltas: it may drop, it never blocks, and nothing waits for it.

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Statistics};
use runtime::ports::{self, ClusterError, Headers};

use crate::config::{Role, Settings};
use crate::{events, failed, records};

/// Counter, chunks: token deltas that were not written because the queue was full or the broker was away.
pub(crate) const DROPPED: &str = "stepstream_kafka_deltas_dropped_total";

struct Context;

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        events::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        events::error(&error, reason);
    }

    fn stats(&self, _: Statistics) {}
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            metrics::counter!(DROPPED).increment(1);
        }
    }
}

/// Writes to `stream`.
pub(crate) struct Deltas {
    topic: String,
    producer: ThreadedProducer<Context>,
}

impl Deltas {
    pub(crate) fn start(settings: &Settings, topic: &str) -> Result<Self, ClusterError> {
        let producer = settings
            .client(Role::Deltas)
            .create_with_context(Context)
            .map_err(|error| failed("making the producer of token deltas", error))?;
        metrics::describe_counter!(DROPPED, metrics::Unit::Count, "token deltas that were dropped");
        Ok(Self { topic: topic.to_owned(), producer })
    }
}

impl ports::Deltas for Deltas {
    fn send(&self, key: &str, value: Vec<u8>, headers: Headers) {
        let mut record = BaseRecord::to(&self.topic).key(key.as_bytes()).payload(value.as_slice());
        if let Some(headers) = records::headers(&headers) {
            record = record.headers(headers);
        }
        if self.producer.send(record).is_err() {
            metrics::counter!(DROPPED).increment(1);
        }
    }
}
