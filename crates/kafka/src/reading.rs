//! Bounded reading of one partition, and what a topic's partitions hold. It commits nothing and keeps no
//! position.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};
use runtime::ports::ClusterError;

use crate::config::{Role, Settings, TRANSACTION_TIMEOUT};
use crate::events::Logged;
use crate::failed;

/// How long a broker may take to answer a question about a topic.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);

/// How long a bounded read may go without a record or an end.
const STALLED: Duration = Duration::from_secs(30);

/// How long an open transaction may hide the end of a partition: the broker aborts it after its timeout.
const SETTLED: Duration = TRANSACTION_TIMEOUT.saturating_add(Duration::from_secs(10));

/// How long the end of a partition may stay hidden when no transaction is open on it any more: its marker is
/// written by then, and only the high watermark has to follow.
const REVEALED: Duration = Duration::from_secs(2);

/// How long one wait for a record may take; it ends when one comes.
const POLL: Duration = Duration::from_millis(100);

/// How long to sleep between two looks at an end that is still hidden.
const LOOK: Duration = Duration::from_millis(20);

/// Asks about partitions; counts records of open transactions too.
pub(crate) struct Watermarks(BaseConsumer<Logged>);

impl Watermarks {
    pub(crate) fn connect(settings: &Settings) -> Result<Self, ClusterError> {
        settings
            .client(Role::Metadata)
            .create_with_context(Logged)
            .map(Self)
            .map_err(|error| failed("making a client for metadata", error))
    }

    /// The offset of the oldest record, and the one after the newest.
    pub(crate) fn of(&self, topic: &str, partition: i32) -> KafkaResult<(i64, i64)> {
        self.serve();
        self.0.fetch_watermarks(topic, partition, ANSWER)
    }

    /// How many partitions `topic` has.
    pub(crate) fn partitions(&self, topic: &str) -> KafkaResult<i32> {
        self.serve();
        let metadata = self.0.fetch_metadata(Some(topic), ANSWER)?;
        let unknown = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let Some(found) = found else {
            return Err(unknown);
        };
        if let Some(error) = found.error() {
            return Err(KafkaError::MetadataFetch(error.into()));
        }
        match i32::try_from(found.partitions().len()) {
            Ok(count @ 1..) => Ok(count),
            Ok(_) | Err(_) => Err(unknown),
        }
    }

    /// Takes log lines out of the client's queue, which nobody else polls.
    fn serve(&self) {
        while self.0.poll(Duration::ZERO).is_some() {}
    }
}

/// Where a bounded read begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    /// At the oldest record.
    Oldest,
    /// At this offset, which must still be there.
    At(i64),
}

/// Where it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// At the high watermark of the moment.
    End,
    /// Before this offset, or at the high watermark if that is lower.
    Before(i64),
}

/// Hands every committed record of `[from, until)` to `each`, in order. Blocks.
///
/// Ends of transactions take up offsets too, so the end is known by the broker's word, not by the last
/// record's offset.
pub(crate) fn read(
    settings: &Settings,
    watermarks: &Watermarks,
    (topic, partition): (&str, i32),
    (from, until): (From, Until),
    each: &mut dyn FnMut(&BorrowedMessage<'_>),
) -> Result<(), ClusterError> {
    let what = || format!("reading {topic} [{partition}]");
    let (low, high) = watermarks.of(topic, partition).map_err(|error| failed(what(), error))?;
    let until = match until {
        Until::End => high,
        Until::Before(until) => until.min(high),
    };
    let from = match from {
        From::Oldest => low,
        From::At(from) if from < low => {
            return Err(failed(
                what(),
                format!("offset {from} is gone: the oldest record is at {low}"),
            ));
        }
        From::At(from) => from,
    };
    if from >= until {
        return Ok(());
    }
    let consumer: BaseConsumer<Logged> = settings
        .client(Role::Reading)
        .create_with_context(Logged)
        .map_err(|error| failed(what(), error))?;
    let result = settle(&consumer, (topic, partition), until, SETTLED)
        .and_then(|settled| match settled {
            Settled::Whole => Ok(()),
            Settled::HiddenFrom(stable) => Err(format!(
                "a transaction that is still open hides the records from {stable} to {until}"
            )),
        })
        .and_then(|()| follow(&consumer, (topic, partition), from, until, each))
        .map_err(|why| failed(what(), why));
    // Closing takes a tenth of a second, for which nobody should wait.
    std::thread::spawn(move || drop(consumer));
    result
}

/// Reads `[from, until)`, where everything below `until` is settled.
fn follow(
    consumer: &BaseConsumer<Logged>,
    (topic, partition): (&str, i32),
    from: i64,
    until: i64,
    each: &mut dyn FnMut(&BorrowedMessage<'_>),
) -> Result<(), String> {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition_offset(topic, partition, Offset::Offset(from))
        .and_then(|()| consumer.assign(&list))
        .map_err(|error| error.to_string())?;
    let mut heard = Instant::now();
    loop {
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                heard = Instant::now();
                if message.offset() < until {
                    each(&message);
                }
                if message.offset() >= until - 1 {
                    return Ok(());
                }
            }
            // Everything below `until` was settled before, so any end is past it.
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) if crate::reader::stops_reading(&error) => {
                return Err(error.to_string());
            }
            // Lost connections come back.
            Some(Err(_)) | None => {}
        }
        if heard.elapsed() >= STALLED {
            return Err(format!("nothing came for {} s", STALLED.as_secs()));
        }
    }
}

/// Whether a transaction hides the end of a partition on which none can be open: the first hidden offset, and
/// the one after the last. Blocks.
pub(crate) fn hidden(
    settings: &Settings,
    watermarks: &Watermarks,
    (topic, partition): (&str, i32),
) -> Result<Option<(i64, i64)>, ClusterError> {
    let what = || format!("looking at the end of {topic} [{partition}]");
    let (low, high) = watermarks.of(topic, partition).map_err(|error| failed(what(), error))?;
    if low >= high {
        return Ok(None);
    }
    let consumer: BaseConsumer<Logged> = settings
        .client(Role::Reading)
        .create_with_context(Logged)
        .map_err(|error| failed(what(), error))?;
    let settled =
        settle(&consumer, (topic, partition), high, REVEALED).map_err(|why| failed(what(), why));
    std::thread::spawn(move || drop(consumer));
    Ok(match settled? {
        Settled::Whole => None,
        Settled::HiddenFrom(stable) => Some((stable, high)),
    })
}

/// What can be read of a partition's end.
enum Settled {
    /// All of it.
    Whole,
    /// A transaction hides everything from this offset on.
    HiddenFrom(i64),
}

/// Waits until no transaction hides a record below `until`, or too long.
fn settle(
    consumer: &BaseConsumer<Logged>,
    (topic, partition): (&str, i32),
    until: i64,
    patience: Duration,
) -> Result<Settled, String> {
    let began = Instant::now();
    loop {
        match consumer.fetch_watermarks(topic, partition, ANSWER) {
            Ok((_, stable)) if stable >= until => return Ok(Settled::Whole),
            Ok((_, stable)) if began.elapsed() >= patience => {
                return Ok(Settled::HiddenFrom(stable));
            }
            Err(error) if began.elapsed() >= patience => return Err(error.to_string()),
            Ok(_) | Err(_) => std::thread::sleep(LOOK),
        }
    }
}
