//! Writes outputs and appends, in order, and says of each what became of it. It retries nothing beyond
//! what librdkafka does inside one producer: who sends again after an unknown outcome is the worker.
//!
//! librdkafka puts the records of one partition into a request, and only one request is in flight, so one
//! producer writes to its partitions in turn, a round trip each. What goes into one partition has to keep
//! its order; what goes into different ones has not. So there are several producers, and each topic always
//! uses the same.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use domain::topic::Topic;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use rdkafka::{ClientContext, Message, Statistics};
use runtime::ports::{self, ClusterError, Inbox, Outgoing, QueueFull, Report, Sent, Ticket};

use crate::config::{Batching, Role, Settings};
use crate::topics::Names;
use crate::{events, failed, records};

/// How many producers share the topics: see [`lane`].
const LANES: usize = 3;

/// What became of a record, as far as librdkafka's code for it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// To be reported.
    Report(Sent),
    /// The producer was replaced: nobody waits for this one.
    Forgotten,
    /// A request was refused for one of its records; for which one can't be told.
    SomethingRefused,
}

/// Facts in, fate out.
fn fate(outcome: Result<i64, RDKafkaErrorCode>, batching: Batching) -> Fate {
    use RDKafkaErrorCode as Code;
    match outcome {
        Ok(offset) if offset >= 0 => Fate::Report(Sent::At(offset)),
        // Acknowledged without an offset: it may never have been written.
        Ok(_) => Fate::Report(Sent::Unknown),
        Err(Code::PurgeQueue | Code::PurgeInflight) => Fate::Forgotten,
        Err(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge) => match batching {
            Batching::Single => Fate::Report(Sent::Refused("too large for its topic")),
            Batching::Many => Fate::SomethingRefused,
        },
        Err(Code::InvalidRecord) => match batching {
            Batching::Single => Fate::Report(Sent::Refused("not allowed in its topic")),
            Batching::Many => Fate::SomethingRefused,
        },
        // A missing permission or topic can be put right, and then the record goes through: refusing it
        // would fail an execution for an operator's mistake.
        Err(_) => Fate::Report(Sent::Unknown),
    }
}

struct Context {
    inbox: Inbox,
    batching: Batching,
    /// Asks the next producer to send one record a request, so that a refusal names its record.
    single_next: Arc<AtomicBool>,
}

impl Context {
    fn settle(&self, ticket: Ticket, outcome: Result<i64, RDKafkaErrorCode>) {
        let sent = match fate(outcome, self.batching) {
            Fate::Report(sent) => sent,
            Fate::Forgotten => return,
            Fate::SomethingRefused => {
                self.single_next.store(true, Ordering::Release);
                Sent::Unknown
            }
        };
        let _ = self.inbox.reports.send(Report::Sent(ticket, sent));
    }
}

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
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let outcome = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        self.settle(*ticket, outcome);
    }
}

/// One producer for each lane.
type Lanes = [ThreadedProducer<Context>; LANES];

/// The current producers and how to make the next ones.
pub(crate) struct Sender {
    settings: Settings,
    names: Arc<Names>,
    inbox: Inbox,
    current: RwLock<Lanes>,
    epoch: AtomicU64,
    single_next: Arc<AtomicBool>,
}

impl Sender {
    pub(crate) fn start(
        settings: &Settings,
        names: Arc<Names>,
        inbox: Inbox,
    ) -> Result<Self, ClusterError> {
        let single_next = Arc::new(AtomicBool::new(false));
        let lanes = make(settings, &inbox, Batching::Many, &single_next)?;
        Ok(Self {
            settings: settings.clone(),
            names,
            inbox,
            current: RwLock::new(lanes),
            epoch: AtomicU64::new(1),
            single_next,
        })
    }
}

fn make(
    settings: &Settings,
    inbox: &Inbox,
    batching: Batching,
    single_next: &Arc<AtomicBool>,
) -> Result<Lanes, ClusterError> {
    let config = settings.client(Role::Sender(batching));
    let lanes = (0..LANES).map(|_| {
        let single_next = Arc::clone(single_next);
        config.create_with_context(Context { inbox: inbox.clone(), batching, single_next })
    });
    let lanes: Vec<_> =
        lanes.collect::<Result<_, _>>().map_err(|error| failed("making a producer", error))?;
    Ok(lanes.try_into().ok().expect("as many as there are lanes"))
}

/// The lane of what goes into a topic. What others wait for doesn't stand behind what they only watch.
fn lane(topic: Topic) -> usize {
    match topic {
        Topic::Log(_) => 0,
        Topic::Feed(_) => 1,
        _ => 2,
    }
}

impl ports::Sender for Sender {
    fn send(&self, ticket: Ticket, record: &Outgoing) -> Result<(), QueueFull> {
        let topic = self.names.of(record.topic);
        let lanes = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let refused =
            match lanes[lane(record.topic)].send(records::base(topic, record, Box::new(ticket))) {
                Ok(()) => None,
                Err((error, _)) => {
                    Some(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::InvalidArgument))
                }
            };
        match refused {
            None => Ok(()),
            Some(RDKafkaErrorCode::QueueFull) => Err(QueueFull),
            // Here librdkafka speaks of this one record.
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                let sent = Sent::Refused("too large for the client's message.max.bytes");
                let _ = self.inbox.reports.send(Report::Sent(ticket, sent));
                Ok(())
            }
            Some(code) => {
                tracing::warn!(%code, topic, "a record could not be handed to the producer");
                let _ = self.inbox.reports.send(Report::Sent(ticket, Sent::Unknown));
                Ok(())
            }
        }
    }

    fn current(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    fn replace(&self) -> Result<u64, ClusterError> {
        let batching = if self.single_next.swap(false, Ordering::AcqRel) {
            tracing::warn!(
                "a request was refused: sending records one by one to find the one it was for"
            );
            Batching::Single
        } else {
            Batching::Many
        };
        let new = make(&self.settings, &self.inbox, batching, &self.single_next)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, new);
        let epoch = self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        drop(current);
        for producer in &old {
            producer.purge(PurgeConfig::default().queue().inflight());
        }
        // Dropping waits for threads and connections.
        std::thread::spawn(move || drop(old));
        Ok(epoch)
    }
}

#[cfg(test)]
mod tests {
    use domain::topic::Kind;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;
    use RDKafkaErrorCode as Code;

    #[test]
    fn each_delivery_has_one_fate() {
        let large = Sent::Refused("too large for its topic");
        let invalid = Sent::Refused("not allowed in its topic");
        for (outcome, batching, expected) in [
            (Ok(0), Batching::Many, Fate::Report(Sent::At(0))),
            (Ok(7), Batching::Single, Fate::Report(Sent::At(7))),
            (Ok(-1001), Batching::Many, Fate::Report(Sent::Unknown)),
            (Ok(-1), Batching::Many, Fate::Report(Sent::Unknown)),
            (Err(Code::PurgeQueue), Batching::Many, Fate::Forgotten),
            (Err(Code::PurgeInflight), Batching::Many, Fate::Forgotten),
            (Err(Code::MessageSizeTooLarge), Batching::Many, Fate::SomethingRefused),
            (Err(Code::MessageSizeTooLarge), Batching::Single, Fate::Report(large)),
            (Err(Code::MessageBatchTooLarge), Batching::Single, Fate::Report(large)),
            (Err(Code::InvalidRecord), Batching::Single, Fate::Report(invalid)),
            (Err(Code::Fatal), Batching::Many, Fate::Report(Sent::Unknown)),
            (Err(Code::GaplessGuarantee), Batching::Many, Fate::Report(Sent::Unknown)),
            (Err(Code::TopicAuthorizationFailed), Batching::Many, Fate::Report(Sent::Unknown)),
            (Err(Code::UnknownTopicOrPartition), Batching::Many, Fate::Report(Sent::Unknown)),
            (Err(Code::UnknownTopic), Batching::Single, Fate::Report(Sent::Unknown)),
            (Err(Code::MessageTimedOut), Batching::Many, Fate::Report(Sent::Unknown)),
            (Err(Code::OutOfOrderSequenceNumber), Batching::Many, Fate::Report(Sent::Unknown)),
            (Err(Code::BrokerTransportFailure), Batching::Many, Fate::Report(Sent::Unknown)),
        ] {
            assert_eq!(fate(outcome, batching), expected, "{outcome:?} {batching:?}");
        }
    }

    #[test]
    fn an_acknowledgement_of_an_unwritten_record_counts_as_unknown() {
        // What librdkafka does with several requests in flight: the first is answered with an error that
        // asks for a retry, a later one is appended, and then the first counts as written long ago.
        let (embedded, cluster) = crate::tests::embedded();
        let (inbox, mut ends) = crate::tests::inbox();
        let context = Context { inbox, batching: Batching::Many, single_next: Arc::default() };
        let mut config = embedded.settings("test").client(Role::Sender(Batching::Single));
        config.set("max.in.flight.requests.per.connection", "5");
        config.remove("enable.gapless.guarantee");
        let producer: ThreadedProducer<Context> = config.create_with_context(context).unwrap();
        embedded.delay(std::time::Duration::from_millis(50)).unwrap();
        let again = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS];
        embedded.with_mock(|mock| mock.request_errors(RDKafkaApiKey::Produce, &again));
        for seq in 0..4 {
            let ticket = Ticket { producer: 1, partition: 0, incarnation: 1, seq };
            let record = crate::tests::outgoing(Topic::Log(Kind::Model), Some(0), "k", "v");
            let topic = cluster.settings().topic(record.topic);
            assert!(producer.send(records::base(&topic, &record, Box::new(ticket))).is_ok());
        }
        let mut outcomes: Vec<Sent> = (0..4)
            .map(|_| match ends.report() {
                Report::Sent(_, sent) => sent,
                other => panic!("expected the end of a send, got {other:?}"),
            })
            .collect();
        outcomes.retain(|sent| matches!(sent, Sent::At(_)));
        let (_, written) = cluster.watermarks(Topic::Log(Kind::Model), 0).unwrap();
        assert_eq!(i64::try_from(outcomes.len()).unwrap(), written, "{outcomes:?}");
        assert!(written < 4, "the client's fault was not provoked");
    }
}
