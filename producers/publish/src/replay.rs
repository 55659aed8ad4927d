//! Copying a range of a topic, as bytes: into another topic, back to the feed of a dead letter, or out.
//!
//! Key, value and headers stay what they are; one header is added that says where the copy came from.
//! Records of one key keep their order. It never copies into a log or a state topic, and never follows its
//! own copies: it ends where the range did when it began.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::pin::pin;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::fact::DeadLetter;
use domain::time::Millis;
use domain::topic::Topic;
use runtime::ports::{ClusterError, Outgoing, Publish, Tail, TailFrom, Tailed};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};

use crate::decode::{DecodeError, Decoder};
use crate::delivery::{Delivered, Delivery};
use crate::progress::{EVERY, Progress};
use crate::topic::{self, Internal, NoSuchTopic};

/// The header that says where a copy came from: `topic/partition/offset`, without the prefix. A copy of a
/// copy has it twice.
pub const REPLAYED_FROM: &str = "stepstream-replayed-from";

/// How often it is looked whether there is nothing more to come.
const LOOK: Duration = Duration::from_millis(20);

/// What is copied: of each partition the offsets from the first to before the second. Partitions that are
/// left out should be named with an empty range at their end, else they are read for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Of this topic.
    pub topic: Topic,
    /// By partition: first offset, and the one behind the last.
    pub ranges: BTreeMap<i32, (i64, i64)>,
    /// Only records of this time or later.
    pub since: Option<Millis>,
    /// Only records before this time.
    pub until: Option<Millis>,
    /// Only records with this key.
    pub key: Option<String>,
}

impl Selection {
    /// Where a tail has to begin for this.
    #[must_use]
    pub fn from(&self) -> TailFrom {
        let firsts = self.ranges.iter();
        TailFrom::Offsets(firsts.map(|(partition, (first, _))| (*partition, *first)).collect())
    }

    /// How many records it has, at most.
    #[must_use]
    pub fn at_most(&self) -> u64 {
        let counts = self.ranges.values().map(|(first, end)| (end - first).max(0));
        counts.map(|count| u64::try_from(count).unwrap_or(0)).sum()
    }

    fn has(&self, record: &Tailed) -> bool {
        let (offset, time) = (record.record.offset, record.record.time);
        let in_range = self
            .ranges
            .get(&record.partition)
            .is_some_and(|(first, end)| (*first..*end).contains(&offset));
        in_range
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
            && self
                .key
                .as_ref()
                .is_none_or(|key| record.record.key.as_deref() == Some(key.as_bytes()))
    }
}

/// Where copies go.
pub enum Target<'a> {
    /// Into a topic; the key says into which partition.
    Topic(Topic, &'a dyn Publish),
    /// Dead letters, as what they were, to where they came from.
    Original(Decoder, &'a dyn Publish),
    /// Lines of JSON; bytes are in base64.
    Out(&'a mut (dyn Write + Send)),
}

/// Why copying ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The target takes no copies.
    #[error("the target")]
    Target(#[source] Internal),
    /// Dead letters alone have originals.
    #[error("{} has no originals: only dead-letters has", .0.name())]
    NoOriginals(Topic),
    /// The topic can't be read any further.
    #[error("reading")]
    Read(#[source] ClusterError),
    /// A dead letter can't be read.
    #[error("the dead letter at {partition}/{offset}")]
    Letter {
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
        /// Why.
        #[source]
        error: DecodeError,
    },
    /// A copy doesn't stand, or nobody knows.
    #[error("the copy of {partition}/{offset}")]
    Write {
        /// The partition of the record.
        partition: i32,
        /// Its offset.
        offset: i64,
        /// Why.
        #[source]
        error: ClusterError,
    },
    /// Standard output takes no more.
    #[error("writing")]
    Out(#[source] io::Error),
}

/// What was done.
#[derive(Debug)]
pub struct Summary {
    /// Copies that stand.
    pub copied: u64,
    /// Dead letters whose original doesn't belong to a feed.
    pub passed: u64,
    /// By partition, the offset to go on from: everything before it is dealt with. Complete only if
    /// nothing went wrong and nobody asked to stop.
    pub next: BTreeMap<i32, i64>,
    /// Whether it was asked to stop before the end.
    pub stopped: bool,
    /// Why it ended early.
    pub error: Option<ReplayError>,
    /// How long it took.
    pub took: Duration,
}

/// Copies `selection`, which `tail` was opened [for](Selection::from).
pub async fn run(
    mut tail: Box<dyn Tail>,
    selection: Selection,
    mut target: Target<'_>,
    progress: &mut Progress,
    stop: impl Future<Output = ()>,
) -> Summary {
    let began = Instant::now();
    let mut summary = Summary {
        copied: 0,
        passed: 0,
        next: selection.ranges.iter().map(|(partition, (first, _))| (*partition, *first)).collect(),
        stopped: false,
        error: fit(&selection, &target).err(),
        took: Duration::ZERO,
    };
    let mut copying = Copying { selection, summary: &mut summary, progress };
    if copying.summary.error.is_none()
        && let Err(error) = copying.all(tail.as_mut(), &mut target, stop).await
    {
        copying.summary.error = Some(error);
    }
    summary.took = began.elapsed();
    summary
}

fn fit(selection: &Selection, target: &Target<'_>) -> Result<(), ReplayError> {
    match target {
        Target::Topic(into, _) => topic::check_target(*into).map_err(ReplayError::Target),
        Target::Original(..) if selection.topic != Topic::DeadLetters => {
            Err(ReplayError::NoOriginals(selection.topic))
        }
        Target::Original(..) | Target::Out(_) => Ok(()),
    }
}

struct Copying<'a> {
    selection: Selection,
    summary: &'a mut Summary,
    progress: &'a mut Progress,
}

impl Copying<'_> {
    async fn all(
        &mut self,
        tail: &mut dyn Tail,
        target: &mut Target<'_>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ReplayError> {
        let mut stop = pin!(stop);
        let mut ticks = tokio::time::interval_at(Instant::now() + EVERY, EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !self.is_complete() {
            let batch = tokio::select! {
                batch = tail.next() => batch.map_err(ReplayError::Read)?,
                () = &mut stop => {
                    self.summary.stopped = true;
                    return Ok(());
                }
                _ = ticks.tick() => {
                    self.progress.tick();
                    continue;
                }
                // Offsets at the end of a range may hold no record: then none comes to say so.
                () = tokio::time::sleep(LOOK) => {
                    if tail.caught_up() {
                        return Ok(());
                    }
                    continue;
                }
            };
            match target {
                Target::Out(out) => self.print(&batch, *out)?,
                Target::Topic(into, to) => {
                    let into = *into;
                    let records = batch.iter().filter(|record| self.selection.has(record));
                    let topic = self.selection.topic;
                    let records: Vec<_> =
                        records.map(|record| (place(record), copy(topic, record, into))).collect();
                    self.send(*to, records).await?;
                }
                Target::Original(decoder, to) => {
                    let mut records = Vec::new();
                    for record in batch.iter().filter(|record| self.selection.has(record)) {
                        let (partition, offset) = place(record);
                        let letter = decoder.read::<DeadLetter>(&record.record.value).await;
                        let letter = letter.map_err(|error| ReplayError::Letter {
                            partition,
                            offset,
                            error,
                        })?;
                        match original(record, letter) {
                            Ok(record) => records.push(((partition, offset), record)),
                            Err(_) => self.summary.passed += 1,
                        }
                    }
                    self.send(*to, records).await?;
                }
            }
            self.passed(&batch);
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        let mut ranges = self.selection.ranges.iter();
        ranges.all(|(partition, (_, end))| self.summary.next[partition] >= *end)
    }

    /// Everything of this batch is dealt with.
    fn passed(&mut self, batch: &[Tailed]) {
        for record in batch {
            if let Some(next) = self.summary.next.get_mut(&record.partition) {
                *next = record.record.offset + 1;
            }
        }
    }

    fn print(&mut self, batch: &[Tailed], out: &mut dyn Write) -> Result<(), ReplayError> {
        for record in batch.iter().filter(|record| self.selection.has(record)) {
            writeln!(out, "{}", line(self.selection.topic, record)).map_err(ReplayError::Out)?;
            self.summary.copied += 1;
            self.progress.add(1);
        }
        out.flush().map_err(ReplayError::Out)
    }

    /// Writes the records of a batch; each stands when this returns without an error.
    async fn send(
        &mut self,
        to: &dyn Publish,
        records: Vec<((i32, i64), Outgoing)>,
    ) -> Result<(), ReplayError> {
        let mut delivery = Delivery::new(to);
        let mut first_error = None;
        let mut records = records.into_iter();
        loop {
            if delivery.has_room()
                && first_error.is_none()
                && let Some((place, record)) = records.next()
            {
                delivery.send(record, place).await;
                continue;
            }
            if delivery.is_empty() {
                break;
            }
            let Delivered { tag: (partition, offset), place } = delivery.next().await;
            match place {
                Ok(_) => {
                    self.summary.copied += 1;
                    self.progress.add(1);
                }
                Err(error) if first_error.is_none() => {
                    first_error = Some(ReplayError::Write { partition, offset, error });
                }
                Err(_) => {}
            }
        }
        first_error.map_or(Ok(()), Err)
    }
}

fn place(record: &Tailed) -> (i32, i64) {
    (record.partition, record.record.offset)
}

fn came_from(topic: Topic, record: &Tailed) -> (String, Bytes) {
    let from = format!("{}/{}/{}", topic.name(), record.partition, record.record.offset);
    (REPLAYED_FROM.to_owned(), from.into())
}

fn copy(topic: Topic, record: &Tailed, into: Topic) -> Outgoing {
    let mut headers = record.record.headers.clone();
    headers.push(came_from(topic, record));
    Outgoing {
        topic: into,
        partition: None,
        key: record.record.key.clone(),
        value: record.record.value.clone(),
        headers,
    }
}

/// What a dead letter holds, for the feed that it came from.
fn original(record: &Tailed, letter: DeadLetter) -> Result<Outgoing, NoSuchTopic> {
    let feed = topic::feed(&letter.topic)?;
    let headers = letter.headers.into_iter();
    let mut headers: Vec<_> =
        headers.map(|header| (header.name, Bytes::from(header.value))).collect();
    headers.push(came_from(Topic::DeadLetters, record));
    Ok(Outgoing {
        topic: feed,
        // Whose writer chose it: without a key nothing else would say so.
        partition: Some(letter.partition),
        key: letter.key.map(Bytes::from),
        value: letter.value.into(),
        headers,
    })
}

fn line(topic: Topic, record: &Tailed) -> Value {
    let raw = &record.record;
    let headers = raw.headers.iter();
    let headers: Vec<_> =
        headers.map(|(name, value)| json!([name, STANDARD.encode(value)])).collect();
    json!({
        "topic": topic.name(),
        "partition": record.partition,
        "offset": raw.offset,
        "time": raw.time,
        "key_base64": raw.key.as_deref().map(|key| STANDARD.encode(key)),
        "value_base64": STANDARD.encode(&raw.value),
        "headers_base64": headers,
    })
}
