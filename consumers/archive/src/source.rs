//! The loop of one topic: read, decode, write rows and progress together, repeat; one batch is read while the
//! one before it is written.
//!
//! Whatever fails is tried again from the progress that the store has then: a store that lost its last
//! writes is given them again.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::time::Millis;
use domain::topic::Topic;
use runtime::ports::{ClusterError, Tail, TailFrom};
use store::StoreError;
use tokio::sync::watch;

use crate::decode::{Decoded, Decoder, resolved};
use crate::reading::{Gathered, gather};
use crate::{Options, Parts, Start, Stop, asked, metrics as names, now};

/// The first wait after a failure; doubled up to [`WAIT_AT_MOST`].
const WAIT_FIRST: Duration = Duration::from_millis(200);
/// The longest wait after a failure.
const WAIT_AT_MOST: Duration = Duration::from_secs(15);

/// After how long without a record the lag counts as none.
const IDLE: Duration = Duration::from_secs(2);

/// How many partitions in a row without progress end the search for more. A partition that is missed is
/// read again from its oldest record, which costs time and nothing else.
const NO_PROGRESS: i32 = 64;

/// Why the loop has to begin again.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the topic can't be opened")]
    Open(#[source] ClusterError),
    #[error("the topic can't be read on")]
    Read(#[source] ClusterError),
    #[error("the store failed")]
    Store(#[source] StoreError),
    #[error("a schema can't be fetched")]
    Schema(#[source] ClusterError),
}

/// Archives one topic until it is told to stop.
pub(crate) async fn run(
    topic: Topic,
    options: &Options,
    parts: &Parts,
    reading: &watch::Sender<usize>,
    mut stop: watch::Receiver<Stop>,
) {
    let name = topic.name();
    let mut source = Source { topic, start: options.start, parts, reading };
    let mut decoder = Decoder::new(topic, parts.ids.clone());
    let mut wait = WAIT_FIRST;
    loop {
        let mut wrote = false;
        let Err(broken) = source.archive(&mut decoder, &mut stop, &mut wrote).await else { return };
        if wrote {
            wait = WAIT_FIRST;
        }
        let cause = std::error::Error::source(&broken).map(ToString::to_string);
        if let Broken::Read(_) = broken {
            ::metrics::gauge!(names::STOPPED, "topic" => name).set(1.0);
            tracing::error!(topic = name, cause, "the archive can't read on: its place is gone");
        } else {
            ::metrics::counter!(names::RETRIES, "topic" => name).increment(1);
            tracing::warn!(topic = name, error = %broken, cause, "archiving is interrupted");
        }
        tokio::select! {
            () = asked(&mut stop) => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(WAIT_AT_MOST);
    }
}

/// What was read at once.
struct Read {
    /// How many records.
    count: u64,
    /// When the last of them was written.
    newest: Option<Millis>,
    decoded: Decoded,
    /// Reading broke behind it.
    broken: Option<ClusterError>,
}

struct Source<'a> {
    topic: Topic,
    start: Start,
    parts: &'a Parts,
    reading: &'a watch::Sender<usize>,
}

impl Source<'_> {
    /// Archives until it is told to stop (`Ok`) or something breaks.
    async fn archive(
        &mut self,
        decoder: &mut Decoder,
        stop: &mut watch::Receiver<Stop>,
        wrote: &mut bool,
    ) -> Result<(), Broken> {
        let from = self.begin().await?;
        let (topics, topic) = (self.parts.topics.clone(), self.topic);
        let opened = tokio::task::spawn_blocking(move || topics.tail(topic, from)).await;
        let mut tail = match opened {
            Ok(opened) => opened.map_err(Broken::Open)?,
            Err(panic) => {
                let what = "open a topic".into();
                return Err(Broken::Open(ClusterError { what, why: panic.to_string() }));
            }
        };
        self.reading.send_modify(|reading| *reading += 1);
        let result = self.follow(tail.as_mut(), decoder, stop, wrote).await;
        self.reading.send_modify(|reading| *reading -= 1);
        result
    }

    /// While the store takes one batch, the next is read.
    async fn follow(
        &self,
        tail: &mut dyn Tail,
        decoder: &mut Decoder,
        stop: &mut watch::Receiver<Stop>,
        wrote: &mut bool,
    ) -> Result<(), Broken> {
        let mut next = self.read(tail, decoder, stop).await?;
        while let Some(batch) = next {
            let written = self.write(batch, wrote);
            ((), next) = tokio::try_join!(written, self.read(tail, decoder, stop))?;
        }
        Ok(())
    }

    /// The next batch; `None`: it is time to stop.
    async fn read(
        &self,
        tail: &mut dyn Tail,
        decoder: &mut Decoder,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<Option<Read>, Broken> {
        let Gathered { records, broken } = loop {
            tokio::select! {
                () = asked(stop) => return Ok(None),
                next = tokio::time::timeout(IDLE, gather(tail)) => match next {
                    Ok(gathered) => break gathered.map_err(Broken::Read)?,
                    Err(_) => {
                        ::metrics::gauge!(names::LAG, "topic" => self.topic.name()).set(0.0);
                    }
                },
            }
        };
        let decoded = resolved(decoder, self.parts, &records).await.map_err(Broken::Schema)?;
        let newest = records.last().map(|last| last.record.time);
        Ok(Some(Read { count: records.len() as u64, newest, decoded, broken }))
    }

    async fn write(&self, read: Read, wrote: &mut bool) -> Result<(), Broken> {
        let name = self.topic.name();
        let Read { count, newest, decoded, broken } = read;
        self.parts.store.archive(decoded.batch).await.map_err(Broken::Store)?;
        *wrote = true;
        ::metrics::gauge!(names::STOPPED, "topic" => name).set(0.0);
        ::metrics::counter!(names::ARCHIVED, "topic" => name).increment(count - decoded.unreadable);
        ::metrics::counter!(names::UNREADABLE, "topic" => name).increment(decoded.unreadable);
        if let Some(newest) = newest {
            let age = Duration::from_millis(now().since(newest).unsigned_abs());
            ::metrics::gauge!(names::LAG, "topic" => name).set(age.as_secs_f64());
        }
        broken.map_or(Ok(()), |error| Err(Broken::Read(error)))
    }

    /// Where to begin.
    async fn begin(&self) -> Result<TailFrom, Broken> {
        if self.start == Start::Oldest {
            return Ok(TailFrom::Earliest);
        }
        let mut offsets = BTreeMap::new();
        let (mut partition, mut without) = (0, 0);
        while without < NO_PROGRESS {
            let progress = self.parts.store.progress(self.topic.name(), partition).await;
            match progress.map_err(Broken::Store)? {
                Some(next) => {
                    offsets.insert(partition, next);
                    without = 0;
                }
                None => without += 1,
            }
            partition += 1;
        }
        Ok(TailFrom::Offsets(offsets))
    }
}
