//! The group member of a feed: says who owns which partition, and whether that still holds. It reads no
//! record; its partitions are paused as soon as they are given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use domain::topic::{Kind, Topic};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};
use runtime::ports::{self, ClusterError, Confirmed, Inbox, Report};

use crate::config::{Role, Settings};
use crate::{events, failed};

/// How long a revoke waits for the worker's last checkpoint. The group waits with it, so it stays well below
/// `max.poll.interval.ms`.
const REVOKE_PATIENCE: Duration = Duration::from_secs(8);

/// How long the poll thread sleeps in librdkafka at most; bounds how long leaving takes to begin.
const POLL: Duration = Duration::from_millis(50);

/// How long a confirmation may take before it counts as unanswered.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(10);

/// How often, and how far apart, a confirmation is repeated while the group changes generations.
const CONFIRM_TRIES: u32 = 6;
const CONFIRM_PAUSE: Duration = Duration::from_millis(50);

/// Confirmations that may wait for their turn: a few of every partition that a member may own.
const QUESTIONS: usize = 256;

/// What the poll thread and the confirmations know together.
#[derive(Debug, Default)]
struct Ownership {
    partitions: Mutex<BTreeSet<i32>>,
    /// Counts every time that partitions went.
    departures: AtomicU64,
    /// Set when the member leaves: a revoke has nobody left to wait for.
    leaving: AtomicBool,
}

impl Ownership {
    fn with<R>(&self, f: impl FnOnce(&mut BTreeSet<i32>) -> R) -> R {
        f(&mut self.partitions.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn departed(&self, partitions: &[i32]) {
        self.with(|owned| owned.retain(|partition| !partitions.contains(partition)));
        self.departures.fetch_add(1, Ordering::AcqRel);
    }
}

struct Context {
    feed: String,
    inbox: Inbox,
    ownership: Arc<Ownership>,
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

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assigned(consumer, list);
        } else {
            self.revoked(consumer, list);
        }
    }
}

impl Context {
    fn partitions(&self, list: &TopicPartitionList) -> Vec<i32> {
        list.elements_for_topic(&self.feed).iter().map(|element| element.partition()).collect()
    }

    fn assigned(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) {
        let partitions = self.partitions(list);
        // From the end, and paused at once: it must neither look for a committed position nor fetch.
        let prepared = list.set_all_offsets(Offset::End);
        let assigned = prepared
            .and_then(|()| consumer.incremental_assign(list))
            .and_then(|()| consumer.pause(list));
        if let Err(error) = assigned {
            tracing::error!(%error, feed = self.feed, ?partitions, "could not take an assignment");
        }
        if !partitions.is_empty() {
            tracing::info!(feed = self.feed, ?partitions, "partitions assigned");
        }
        self.ownership.with(|owned| owned.extend(&partitions));
        let _ = self.inbox.reports.send(Report::Assigned(partitions));
    }

    fn revoked(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let partitions = self.partitions(list);
        if !partitions.is_empty() {
            if consumer.assignment_lost() {
                tracing::warn!(feed = self.feed, ?partitions, "partitions lost");
                self.ownership.departed(&partitions);
                let _ = self.inbox.reports.send(Report::Lost(partitions.clone()));
            } else {
                tracing::info!(feed = self.feed, ?partitions, "partitions revoked");
                if !self.ownership.leaving.load(Ordering::Acquire) {
                    self.hand_back(&partitions);
                }
                self.ownership.departed(&partitions);
            }
        }
        if let Err(error) = consumer.incremental_unassign(list) {
            tracing::warn!(%error, feed = self.feed, ?partitions, "could not give up an assignment");
        }
    }

    /// Tells the worker and waits until it has let go, or too long.
    fn hand_back(&self, partitions: &[i32]) {
        let (done, dropped) = sync_channel(0);
        let report = Report::Revoked { partitions: partitions.to_vec(), done };
        if self.inbox.reports.send(report).is_err() {
            return;
        }
        if dropped.recv_timeout(REVOKE_PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(feed = self.feed, ?partitions, "revoked before the worker had let go");
        }
    }

    /// The member can't go on (another process took its static identity).
    fn fatal(&self, error: &KafkaError) {
        tracing::error!(%error, feed = self.feed, "this member of the group is at its end");
        let all: Vec<i32> = self.ownership.with(|owned| owned.iter().copied().collect());
        self.ownership.departed(&all);
        if !all.is_empty() {
            let _ = self.inbox.reports.send(Report::Lost(all));
        }
    }
}

struct Question {
    positions: Vec<(i32, i64)>,
    answer: SyncSender<Confirmed>,
}

/// A member of the group of one feed.
pub(crate) struct Membership {
    ownership: Arc<Ownership>,
    stop: Arc<AtomicBool>,
    questions: Option<SyncSender<Question>>,
    threads: Vec<JoinHandle<()>>,
}

impl Membership {
    /// Joins the group.
    pub(crate) fn join(
        settings: &Settings,
        kind: Kind,
        inbox: Inbox,
    ) -> Result<Self, ClusterError> {
        let feed = settings.topic(Topic::Feed(kind));
        let what = || format!("joining the group of {feed}");
        let ownership = Arc::new(Ownership::default());
        let context = Context { feed: feed.clone(), inbox, ownership: Arc::clone(&ownership) };
        let consumer: BaseConsumer<Context> = settings
            .client(Role::Membership(kind))
            .create_with_context(context)
            .map_err(|error| failed(what(), error))?;
        consumer.subscribe(&[&feed]).map_err(|error| failed(what(), error))?;
        let consumer = Arc::new(consumer);
        let stop = Arc::new(AtomicBool::new(false));
        let (questions, asked) = sync_channel::<Question>(QUESTIONS);
        let poll = spawn("membership", {
            let (consumer, stop) = (Arc::clone(&consumer), Arc::clone(&stop));
            move || poll(&consumer, &stop)
        })
        .map_err(|error| failed(what(), error))?;
        let confirm = spawn("confirm", {
            let (ownership, feed) = (Arc::clone(&ownership), feed.clone());
            move || {
                let mut confirming =
                    Confirming { consumer, feed, ownership, last: BTreeMap::new() };
                while let Ok(question) = asked.recv() {
                    let answer = confirming.ask(&question.positions);
                    let _ = question.answer.try_send(answer);
                }
            }
        })
        .map_err(|error| failed(what(), error))?;
        Ok(Self { ownership, stop, questions: Some(questions), threads: vec![poll, confirm] })
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(run)
}

fn poll(consumer: &BaseConsumer<Context>, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        // Other errors were logged by the context; records that slipped in before the pause are none of our
        // business.
        if let Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) = consumer.poll(POLL) {
            consumer.context().fatal(&error);
            return;
        }
    }
}

impl ports::Membership for Membership {
    fn confirm(&self, positions: &[(i32, i64)]) -> Confirmed {
        let Some(questions) = &self.questions else {
            return Confirmed::Unknown;
        };
        let (answer, answered) = sync_channel(1);
        match questions.try_send(Question { positions: positions.to_vec(), answer }) {
            Ok(()) => answered.recv_timeout(CONFIRM_PATIENCE).unwrap_or(Confirmed::Unknown),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Confirmed::Unknown,
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.ownership.leaving.store(true, Ordering::Release);
        self.questions = None;
        self.stop.store(true, Ordering::Release);
        // The last of the two threads closes the consumer, which leaves the group.
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the group member panicked");
            }
        }
    }
}

/// Asks the coordinator, one question after the other.
struct Confirming {
    consumer: Arc<BaseConsumer<Context>>,
    feed: String,
    ownership: Arc<Ownership>,
    /// What was committed last, to be committed again when no position is given.
    last: BTreeMap<i32, i64>,
}

impl Confirming {
    fn ask(&mut self, positions: &[(i32, i64)]) -> Confirmed {
        let departures = self.ownership.departures.load(Ordering::Acquire);
        let owned = self.ownership.with(|owned| owned.clone());
        if owned.is_empty() || positions.iter().any(|(partition, _)| !owned.contains(partition)) {
            return Confirmed::NotOwner;
        }
        let positions = if positions.is_empty() {
            self.anything(&owned)
        } else {
            positions.iter().map(|(partition, offset)| (*partition, (*offset).max(0))).collect()
        };
        let mut list = TopicPartitionList::new();
        for (partition, offset) in &positions {
            if list.add_partition_offset(&self.feed, *partition, Offset::Offset(*offset)).is_err() {
                return Confirmed::Unknown;
            }
        }
        for _ in 0..CONFIRM_TRIES {
            let committed = self.consumer.commit(&list, CommitMode::Sync);
            // A member that was thrown out would commit without a generation, which an empty group
            // accepts: only an answer with nothing gone since counts.
            let gone = self.consumer.assignment_lost()
                || self.ownership.departures.load(Ordering::Acquire) != departures;
            let code = committed
                .as_ref()
                .err()
                .map(|error| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail));
            match verdict(code, gone) {
                Verdict::Answer(answer) => {
                    if answer == Confirmed::Owner {
                        self.last.extend(positions);
                    } else {
                        tracing::info!(feed = self.feed, ?code, gone, ?answer, "not confirmed");
                    }
                    return answer;
                }
                Verdict::Again => std::thread::sleep(CONFIRM_PAUSE),
            }
        }
        Confirmed::Unknown
    }

    /// A position that can be committed without changing anything: a commit of nothing asks nobody.
    fn anything(&self, owned: &BTreeSet<i32>) -> Vec<(i32, i64)> {
        let known = owned.iter().find_map(|p| self.last.get(p).map(|offset| (*p, *offset)));
        if let Some(known) = known {
            return vec![known];
        }
        let Some(partition) = owned.first().copied() else {
            return Vec::new();
        };
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.feed, partition);
        let offset = self
            .consumer
            .committed_offsets(list, CONFIRM_PATIENCE)
            .ok()
            .and_then(|list| list.find_partition(&self.feed, partition)?.offset().to_raw())
            .map_or(0, |offset| offset.max(0));
        vec![(partition, offset)]
    }
}

/// What an attempt to commit says about ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The answer.
    Answer(Confirmed),
    /// The group is between two generations: ask again shortly.
    Again,
}

/// Facts in, verdict out. `gone`: partitions were lost or revoked since the question was put.
fn verdict(code: Option<RDKafkaErrorCode>, gone: bool) -> Verdict {
    if gone {
        return Verdict::Answer(Confirmed::NotOwner);
    }
    match code {
        None => Verdict::Answer(Confirmed::Owner),
        Some(
            RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::FencedInstanceId
            | RDKafkaErrorCode::AssignmentLost
            | RDKafkaErrorCode::Fatal,
        ) => Verdict::Answer(Confirmed::NotOwner),
        // Also what the rightful owner hears while it waits for the next generation's number. If it means
        // the end, librdkafka marks the assignment as lost, and the next attempt sees that.
        Some(RDKafkaErrorCode::IllegalGeneration | RDKafkaErrorCode::RebalanceInProgress) => {
            Verdict::Again
        }
        Some(_) => Verdict::Answer(Confirmed::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RDKafkaErrorCode as Code;

    #[test]
    fn each_commit_error_has_one_verdict() {
        use Confirmed::{NotOwner, Owner, Unknown};
        use Verdict::{Again, Answer};
        for (code, gone, expected) in [
            (None, false, Answer(Owner)),
            (None, true, Answer(NotOwner)),
            (Some(Code::IllegalGeneration), false, Again),
            (Some(Code::IllegalGeneration), true, Answer(NotOwner)),
            (Some(Code::UnknownMemberId), false, Answer(NotOwner)),
            (Some(Code::FencedInstanceId), false, Answer(NotOwner)),
            (Some(Code::AssignmentLost), false, Answer(NotOwner)),
            (Some(Code::Fatal), false, Answer(NotOwner)),
            (Some(Code::RebalanceInProgress), false, Again),
            (Some(Code::RebalanceInProgress), true, Answer(NotOwner)),
            (Some(Code::CoordinatorNotAvailable), false, Answer(Unknown)),
            (Some(Code::CoordinatorLoadInProgress), false, Answer(Unknown)),
            (Some(Code::NotCoordinator), false, Answer(Unknown)),
            (Some(Code::WaitingForCoordinator), false, Answer(Unknown)),
            (Some(Code::OperationTimedOut), false, Answer(Unknown)),
            (Some(Code::RequestTimedOut), false, Answer(Unknown)),
            (Some(Code::BrokerTransportFailure), false, Answer(Unknown)),
            (Some(Code::GroupAuthorizationFailed), false, Answer(Unknown)),
            (Some(Code::NoOffset), false, Answer(Unknown)),
            (Some(Code::BrokerDestroy), true, Answer(NotOwner)),
        ] {
            assert_eq!(verdict(code, gone), expected, "{code:?}, gone: {gone}");
        }
    }
}
