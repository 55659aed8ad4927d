//! Reads feeds and logs of one processor by manual assignment, on its own thread. It keeps no position
//! but the one it was given, and never resets one: what can't be read is reported.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Thread;
use std::time::{Duration, Instant};

use domain::topic::{Kind, Topic};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message, Offset, TopicPartitionList};
use runtime::ports::{self, ClusterError, Inbox, RECORDS_PER_BATCH, Raw, Records, Report, Side};
use tokio::sync::mpsc::error::TrySendError;

use crate::config::{Role, Settings};
use crate::events::{self, Logged};
use crate::reading::Watermarks;
use crate::{failed, records};

/// How long the thread sleeps when nothing wakes it. Records and commands do; this is for the case that a
/// wake-up was spent on an event of librdkafka's own.
const IDLE: Duration = Duration::from_millis(20);

/// How long it waits before it offers a batch again to a worker that is behind.
const FULL: Duration = Duration::from_millis(1);

/// How long a partition may seem to be gone, or shorter than it was, before that is believed: a broker that
/// has just started may not know all of its partitions yet.
const GRACE: Duration = Duration::from_secs(10);

/// How long after a failed read that explains itself to nobody all positions are taken up again.
const RETRY: Duration = Duration::from_millis(250);

/// What the worker asks for. The channel has no bound because callers must not wait; there is at most a
/// handful for each owned partition.
#[derive(Clone, Copy, Debug)]
enum Command {
    Start { place: Place, offset: i64, epoch: u64 },
    Stop(Place),
    Pause(Place),
    Resume(Place),
}

type Place = (Side, i32);

/// The handle.
pub(crate) struct Reader {
    commands: Sender<Command>,
    thread: Thread,
    stop: Arc<AtomicBool>,
}

impl Reader {
    /// Starts the thread; nothing is read yet.
    pub(crate) fn start(
        settings: &Settings,
        kind: Kind,
        inbox: Inbox,
        watermarks: Arc<Watermarks>,
    ) -> Result<Self, ClusterError> {
        let what = || format!("starting the reader of {}", kind.as_str());
        let mut consumer: BaseConsumer<Logged> = settings
            .client(Role::Reader(kind))
            .create_with_context(Logged)
            .map_err(|error| failed(what(), error))?;
        events::describe(kind);
        let (commands, received) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let feed = settings.topic(Topic::Feed(kind));
        let log = settings.topic(Topic::Log(kind));
        let (ready, started) = channel::<Thread>();
        let stopping = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(format!("{}-reader", kind.as_str()))
            .spawn(move || {
                let own = std::thread::current();
                let woken = own.clone();
                consumer.set_nonempty_callback(move || woken.unpark());
                let _ = ready.send(own);
                Reading {
                    consumer,
                    feed,
                    log,
                    inbox,
                    watermarks,
                    commands: received,
                    places: HashMap::new(),
                    waiting: VecDeque::new(),
                    doubt: None,
                    seems_gone: None,
                }
                .run(&stopping);
            })
            .map_err(|error| failed(what(), error))?;
        drop(started);
        let thread = thread.thread().clone();
        Ok(Self { commands, thread, stop })
    }

    fn ask(&self, command: Command) {
        // The thread ends only with us, or when nobody reads its inbox any more.
        let _ = self.commands.send(command);
        self.thread.unpark();
    }
}

impl ports::Reader for Reader {
    fn start(&self, side: Side, partition: i32, offset: i64, epoch: u64) {
        self.ask(Command::Start { place: (side, partition), offset, epoch });
    }

    fn stop(&self, side: Side, partition: i32) {
        self.ask(Command::Stop((side, partition)));
    }

    fn pause(&self, side: Side, partition: i32) {
        self.ask(Command::Pause((side, partition)));
    }

    fn resume(&self, side: Side, partition: i32) {
        self.ask(Command::Resume((side, partition)));
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Not joined: the thread may be inside a call to a broker that doesn't answer.
        self.stop.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// One assigned partition.
#[derive(Clone, Copy, Debug)]
struct Assigned {
    epoch: u64,
    /// The next offset; `None` until the first record of a partition that is read from its beginning.
    next: Option<i64>,
    paused: Paused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paused {
    Yes,
    No,
}

/// The thread's state.
struct Reading {
    consumer: BaseConsumer<Logged>,
    feed: String,
    log: String,
    inbox: Inbox,
    watermarks: Arc<Watermarks>,
    commands: Receiver<Command>,
    places: HashMap<Place, Assigned>,
    /// Batches that the worker had no room for.
    waiting: VecDeque<Records>,
    /// Since when a read has failed for a reason that no partition has owned up to.
    doubt: Option<Instant>,
    /// Since when some partition seems to be gone.
    seems_gone: Option<Instant>,
}

impl Reading {
    fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            while let Ok(command) = self.commands.try_recv() {
                self.execute(command);
            }
            if self.doubt.is_some_and(|since| since.elapsed() >= RETRY) {
                self.diagnose();
            }
            match self.deliver() {
                Delivered::All => {}
                Delivered::Full => {
                    std::thread::park_timeout(FULL);
                    continue;
                }
                Delivered::Closed => return,
            }
            // The second look costs nothing next to a sleep: the first may have met a log line.
            if self.read() == 0 && self.read() == 0 {
                std::thread::park_timeout(IDLE);
            }
        }
    }

    fn topic(&self, side: Side) -> &str {
        match side {
            Side::Feed => &self.feed,
            Side::Log => &self.log,
        }
    }

    fn list(&self, (side, partition): Place) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(self.topic(side), partition);
        list
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Start { place, offset, epoch } => self.assign(place, offset, epoch),
            Command::Stop(place) => self.unassign(place),
            Command::Pause(place) => self.set_paused(place, Paused::Yes),
            Command::Resume(place) => self.set_paused(place, Paused::No),
        }
    }

    fn assign(&mut self, place: Place, offset: i64, epoch: u64) {
        self.unassign(place);
        let (start, next) = match offset {
            -2 => (Offset::Beginning, None),
            0.. => (Offset::Offset(offset), Some(offset)),
            _ => {
                self.report(place, format!("{offset} is no offset to read from"));
                return;
            }
        };
        let mut list = TopicPartitionList::with_capacity(1);
        let assigned = list
            .add_partition_offset(self.topic(place.0), place.1, start)
            .and_then(|()| self.consumer.incremental_assign(&list));
        match assigned {
            Ok(()) => {
                self.places.insert(place, Assigned { epoch, next, paused: Paused::No });
            }
            Err(error) => self.report(place, error.to_string()),
        }
    }

    fn unassign(&mut self, place: Place) {
        if self.places.remove(&place).is_none() {
            return;
        }
        let list = self.list(place);
        // librdkafka remembers a pause beyond the assignment.
        let undone =
            self.consumer.resume(&list).and_then(|()| self.consumer.incremental_unassign(&list));
        if let Err(error) = undone {
            tracing::warn!(%error, topic = self.topic(place.0), partition = place.1, "could not stop reading");
        }
    }

    fn set_paused(&mut self, place: Place, paused: Paused) {
        let list = self.list(place);
        let Some(assigned) = self.places.get_mut(&place) else {
            return;
        };
        if assigned.paused == paused {
            return;
        }
        assigned.paused = paused;
        let done = match paused {
            Paused::Yes => self.consumer.pause(&list),
            Paused::No => self.consumer.resume(&list),
        };
        if let Err(error) = done {
            self.report(place, error.to_string());
        }
    }

    fn report(&self, (side, partition): Place, reason: String) {
        tracing::error!(topic = self.topic(side), partition, reason, "reading can't go on");
        let _ = self.inbox.reports.send(Report::ReadFailed { side, partition, reason });
    }

    fn deliver(&mut self) -> Delivered {
        while let Some(batch) = self.waiting.pop_front() {
            match self.inbox.records.try_send(batch) {
                Ok(()) => {}
                Err(TrySendError::Full(batch)) => {
                    self.waiting.push_front(batch);
                    return Delivered::Full;
                }
                Err(TrySendError::Closed(_)) => return Delivered::Closed,
            }
        }
        Delivered::All
    }

    /// Takes what is there, up to a batch's worth, and sorts it by partition. Returns how many.
    fn read(&mut self) -> usize {
        let mut taken = 0;
        let mut failures = Vec::new();
        let mut batches: Vec<Records> = Vec::new();
        while taken < RECORDS_PER_BATCH {
            match self.consumer.poll(Duration::ZERO) {
                Some(Ok(message)) => {
                    let side = if message.topic() == self.log { Side::Log } else { Side::Feed };
                    let place = (side, message.partition());
                    let raw = records::raw(&message);
                    if let Some(assigned) = self.places.get_mut(&place) {
                        assigned.next = Some(raw.offset + 1);
                        put(&mut batches, place, assigned.epoch, raw);
                    }
                    taken += 1;
                }
                Some(Err(error)) => {
                    failures.push(error);
                    taken += 1;
                }
                None => break,
            }
        }
        self.waiting.extend(batches);
        if !failures.is_empty() {
            self.suspect(&failures);
        }
        taken
    }

    /// An error of the consumer doesn't say which partition it means.
    fn suspect(&mut self, errors: &[KafkaError]) {
        if errors.iter().any(stops_reading) {
            self.diagnose();
        }
    }

    /// Finds the partitions whose position is gone, reports them, and takes the others up again.
    fn diagnose(&mut self) {
        self.doubt = None;
        let seems_gone = self.seems_gone.take();
        let places: Vec<(Place, Assigned)> = self.places.iter().map(|(p, a)| (*p, *a)).collect();
        for (place, assigned) in places {
            let found = self.watermarks.of(self.topic(place.0), place.1);
            match judge(assigned.next, &found) {
                Judgement::Gone(reason) => {
                    self.unassign(place);
                    self.report(place, reason);
                }
                Judgement::There => {
                    let offset = assigned.next.unwrap_or(-2);
                    self.assign(place, offset, assigned.epoch);
                    if assigned.paused == Paused::Yes {
                        self.set_paused(place, Paused::Yes);
                    }
                }
                Judgement::SeemsGone(reason) => {
                    let since = seems_gone.unwrap_or_else(Instant::now);
                    if since.elapsed() >= GRACE {
                        self.unassign(place);
                        self.report(place, reason);
                    } else {
                        self.seems_gone = Some(since);
                        self.doubt = Some(Instant::now());
                    }
                }
                Judgement::Unclear => self.doubt = Some(Instant::now()),
            }
        }
    }
}

enum Delivered {
    All,
    Full,
    Closed,
}

fn put(batches: &mut Vec<Records>, (side, partition): Place, epoch: u64, raw: Raw) {
    // From the back: records of one partition come in runs.
    let same = batches
        .iter_mut()
        .rev()
        .find(|batch| batch.partition == partition && batch.side == side && batch.epoch == epoch);
    match same {
        Some(batch) => batch.records.push(raw),
        None => batches.push(Records { side, partition, epoch, records: vec![raw] }),
    }
}

/// Whether librdkafka has stopped reading some partition for good.
pub(crate) fn stops_reading(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::LogTruncation
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::TopicAuthorizationFailed
        )
    )
}

#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    /// The position is there: read on.
    There,
    /// It isn't; why, for people.
    Gone(String),
    /// It isn't, unless the broker doesn't know all that it has yet.
    SeemsGone(String),
    /// Nobody answered.
    Unclear,
}

/// Facts in, judgement out: can `next` be read where these are the watermarks?
fn judge(next: Option<i64>, watermarks: &Result<(i64, i64), KafkaError>) -> Judgement {
    match (watermarks, next) {
        (Ok((low, _)), Some(next)) if next < *low => {
            Judgement::Gone(format!("offset {next} is gone: the oldest record is at {low}"))
        }
        (Ok((_, high)), Some(next)) if next > *high => Judgement::SeemsGone(format!(
            "offset {next} is past the end at {high}: the topic was truncated or made anew"
        )),
        (Ok(_), _) => Judgement::There,
        (Err(error), _) if stops_reading(error) => Judgement::SeemsGone(error.to_string()),
        (Err(_), _) => Judgement::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_outside_the_watermarks_is_gone() {
        let of = |next, low, high| judge(next, &Ok((low, high)));
        assert_eq!(of(Some(5), 5, 9), Judgement::There);
        assert_eq!(of(Some(9), 5, 9), Judgement::There);
        assert_eq!(of(None, 5, 9), Judgement::There);
        assert!(matches!(of(Some(4), 5, 9), Judgement::Gone(_)));
        assert!(matches!(of(Some(10), 5, 9), Judgement::SeemsGone(_)));
    }

    #[test]
    fn an_unanswered_question_is_no_reason_to_stop() {
        let error = |code| Err(KafkaError::MetadataFetch(code));
        assert_eq!(judge(Some(1), &error(RDKafkaErrorCode::OperationTimedOut)), Judgement::Unclear);
        let gone = judge(Some(1), &error(RDKafkaErrorCode::UnknownTopicOrPartition));
        assert!(matches!(gone, Judgement::SeemsGone(_)));
    }
}
