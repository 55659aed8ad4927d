//! The group member of a feed: says who owns which partition, and whether that still holds. It reads no
//! record; its partitions are paused as soon as they are given.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
    owned: Mutex<Owned>,
    /// Set when the member leaves: a revoke has nobody left to wait for.
    leaving: AtomicBool,
    /// When the worker last said that it works; `None` before the first time.
    attended: Mutex<Option<Instant>>,
}

/// The partitions that the group gave, each with the number of the time that it did.
#[derive(Debug, Default)]
struct Owned {
    since: BTreeMap<i32, u64>,
    times: u64,
}

impl Ownership {
    fn with<R>(&self, f: impl FnOnce(&mut Owned) -> R) -> R {
        f(&mut self.owned.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn arrived(&self, partitions: &[i32]) {
        self.with(|owned| {
            owned.times += 1;
            owned.since.extend(partitions.iter().map(|partition| (*partition, owned.times)));
        });
    }

    fn departed(&self, partitions: &[i32]) {
        self.with(|owned| owned.since.retain(|partition, _| !partitions.contains(partition)));
    }

    fn all(&self) -> Vec<i32> {
        self.with(|owned| owned.since.keys().copied().collect())
    }

    /// Since when each of them is owned; `None`: it isn't.
    fn since(&self, partitions: &[(i32, i64)]) -> Vec<Option<u64>> {
        self.with(|owned| {
            partitions.iter().map(|(partition, _)| owned.since.get(partition).copied()).collect()
        })
    }

    fn attend(&self, now: Instant) {
        *self.attended.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// How long the worker has been silent.
    fn silence(&self) -> Duration {
        let attended = *self.attended.lock().unwrap_or_else(PoisonError::into_inner);
        attended.map_or(Duration::ZERO, |at| at.elapsed())
    }
}

struct Context {
    feed: String,
    inbox: Inbox,
    ownership: Arc<Ownership>,
    /// Set when another client has taken its place: nobody is told what becomes of it.
    retired: AtomicBool,
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
        if self.retired.load(Ordering::Acquire) {
            // Errors concern nobody any more.
            let _ = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
                consumer.incremental_assign(list)
            } else {
                consumer.incremental_unassign(list)
            };
        } else if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
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
        self.ownership.arrived(&partitions);
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
        self.lose_all();
    }

    fn lose_all(&self) {
        let all = self.ownership.all();
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
        ownership.attend(Instant::now());
        let joining = Joining {
            settings: settings.clone(),
            kind,
            feed: feed.clone(),
            inbox,
            ownership: Arc::clone(&ownership),
        };
        let consumer = joining.join().map_err(|error| failed(what(), error))?;
        let current = Arc::new(Mutex::new(consumer));
        let stop = Arc::new(AtomicBool::new(false));
        let (questions, asked) = sync_channel::<Question>(QUESTIONS);
        let poll = spawn("membership", {
            let (current, stop) = (Arc::clone(&current), Arc::clone(&stop));
            move || Polling { current, joining }.run(&stop)
        })
        .map_err(|error| failed(what(), error))?;
        let confirm = spawn("confirm", {
            let (ownership, feed) = (Arc::clone(&ownership), feed.clone());
            move || {
                let mut confirming = Confirming { current, feed, ownership, last: BTreeMap::new() };
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

/// The client that is a member now.
type Current = Arc<Mutex<Arc<BaseConsumer<Context>>>>;

fn current(of: &Current) -> Arc<BaseConsumer<Context>> {
    Arc::clone(&of.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What it takes to join.
struct Joining {
    settings: Settings,
    kind: Kind,
    feed: String,
    inbox: Inbox,
    ownership: Arc<Ownership>,
}

impl Joining {
    fn join(&self) -> Result<Arc<BaseConsumer<Context>>, KafkaError> {
        let context = Context {
            feed: self.feed.clone(),
            inbox: self.inbox.clone(),
            ownership: Arc::clone(&self.ownership),
            retired: AtomicBool::new(false),
        };
        let consumer: BaseConsumer<Context> =
            self.settings.client(Role::Membership(self.kind)).create_with_context(context)?;
        consumer.subscribe(&[&self.feed])?;
        Ok(Arc::new(consumer))
    }
}

/// The thread that polls, on behalf of the worker.
struct Polling {
    current: Current,
    joining: Joining,
}

impl Polling {
    fn run(self, stop: &AtomicBool) {
        let kind = self.joining.kind;
        let interval = self.joining.settings.max_poll_interval();
        let patience = interval / 2;
        let (mut silent, mut polled) = (false, Instant::now());
        while !stop.load(Ordering::Acquire) {
            // A thread that polled whatever the worker does would hold partitions that nobody works on, for
            // ever. Left unpolled, the client leaves the group after `max.poll.interval.ms`.
            if self.joining.ownership.silence() > patience {
                if !std::mem::replace(&mut silent, true) {
                    tracing::error!(
                        kind = kind.as_str(),
                        seconds = patience.as_secs_f64(),
                        "the worker has been silent for too long; if it stays so, its partitions go to others"
                    );
                    events::alarm(kind, events::WORKER_STUCK);
                }
                std::thread::sleep(POLL);
                continue;
            }
            if std::mem::take(&mut silent) {
                tracing::warn!(kind = kind.as_str(), "the worker works again");
            }
            if polled.elapsed() > interval {
                self.join_anew();
            }
            polled = Instant::now();
            let consumer = current(&self.current);
            // Other errors were logged by the context; records that slipped in before the pause are none of
            // our business.
            if let Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) = consumer.poll(POLL) {
                consumer.context().fatal(&error);
                return;
            }
        }
    }

    /// Another client takes the place of one that was not polled for too long. That one has left the group; but
    /// where this happens in the middle of a rebalance, librdkafka doesn't declare its partitions lost, and takes
    /// them along into the next generation, though others have owned them since.
    fn join_anew(&self) {
        let old = current(&self.current);
        tracing::warn!(feed = self.joining.feed, "not polled for too long; joining the group anew");
        old.context().retired.store(true, Ordering::Release);
        old.context().lose_all();
        match self.joining.join() {
            Ok(new) => {
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = new;
                // Closing waits for connections.
                std::thread::spawn(move || drop(old));
            }
            Err(error) => {
                tracing::error!(feed = self.joining.feed, %error, "could not join the group anew");
            }
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

    fn attend(&self) {
        self.ownership.attend(Instant::now());
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.ownership.leaving.store(true, Ordering::Release);
        self.questions = None;
        self.stop.store(true, Ordering::Release);
        // The last of the two threads closes the client, which leaves the group.
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the group member panicked");
            }
        }
    }
}

/// Asks the coordinator, one question after the other.
struct Confirming {
    current: Current,
    feed: String,
    ownership: Arc<Ownership>,
    /// What was committed last, to be committed again when no position is given.
    last: BTreeMap<i32, i64>,
}

impl Confirming {
    fn ask(&mut self, asked: &[(i32, i64)]) -> Confirmed {
        let before = self.ownership.since(asked);
        match held(&before, &before) {
            Held::All => {}
            Held::Some => return Confirmed::Unknown,
            Held::None => return Confirmed::NotOwner,
        }
        let positions: Vec<(i32, i64)> = asked
            .iter()
            .map(|(partition, offset)| match offset {
                0.. => (*partition, *offset),
                _ => (*partition, self.standing(*partition)),
            })
            .collect();
        let mut list = TopicPartitionList::new();
        for (partition, offset) in &positions {
            if list.add_partition_offset(&self.feed, *partition, Offset::Offset(*offset)).is_err() {
                return Confirmed::Unknown;
            }
        }
        let consumer = current(&self.current);
        for _ in 0..CONFIRM_TRIES {
            let committed = consumer.commit(&list, CommitMode::Sync);
            // A member that was thrown out would commit without a generation, which an empty group
            // accepts: only an answer with nothing gone since counts.
            let held = if consumer.assignment_lost() {
                Held::None
            } else {
                held(&before, &self.ownership.since(asked))
            };
            let code = committed
                .as_ref()
                .err()
                .map(|error| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail));
            match verdict(code, held) {
                Verdict::Answer(answer) => {
                    if answer == Confirmed::Owner {
                        self.last.extend(positions);
                    } else {
                        tracing::info!(feed = self.feed, ?code, ?held, ?answer, "not confirmed");
                    }
                    return answer;
                }
                Verdict::Again => std::thread::sleep(CONFIRM_PAUSE),
            }
        }
        Confirmed::Unknown
    }

    /// The position that can be committed without changing anything: a commit of nothing asks nobody.
    fn standing(&self, partition: i32) -> i64 {
        if let Some(offset) = self.last.get(&partition) {
            return *offset;
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.feed, partition);
        current(&self.current)
            .committed_offsets(list, CONFIRM_PATIENCE)
            .ok()
            .and_then(|list| list.find_partition(&self.feed, partition)?.offset().to_raw())
            .map_or(0, |offset| offset.max(0))
    }
}

/// How much of what was asked about has been held all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    All,
    Some,
    None,
}

fn held(before: &[Option<u64>], now: &[Option<u64>]) -> Held {
    let same = before.iter().zip(now).filter(|(before, now)| before.is_some() && before == now);
    match same.count() {
        0 => Held::None,
        some if some < before.len() => Held::Some,
        _ => Held::All,
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

/// Facts in, verdict out.
fn verdict(code: Option<RDKafkaErrorCode>, held: Held) -> Verdict {
    match held {
        Held::All => {}
        // The worker hears of those that went; the answer for the others comes with the next question.
        Held::Some => return Verdict::Answer(Confirmed::Unknown),
        Held::None => return Verdict::Answer(Confirmed::NotOwner),
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
        for (code, held, expected) in [
            (None, Held::All, Answer(Owner)),
            (None, Held::None, Answer(NotOwner)),
            (None, Held::Some, Answer(Unknown)),
            (Some(Code::IllegalGeneration), Held::All, Again),
            (Some(Code::IllegalGeneration), Held::None, Answer(NotOwner)),
            (Some(Code::UnknownMemberId), Held::All, Answer(NotOwner)),
            (Some(Code::FencedInstanceId), Held::All, Answer(NotOwner)),
            (Some(Code::AssignmentLost), Held::All, Answer(NotOwner)),
            (Some(Code::Fatal), Held::All, Answer(NotOwner)),
            (Some(Code::RebalanceInProgress), Held::All, Again),
            (Some(Code::RebalanceInProgress), Held::None, Answer(NotOwner)),
            (Some(Code::CoordinatorNotAvailable), Held::All, Answer(Unknown)),
            (Some(Code::CoordinatorLoadInProgress), Held::All, Answer(Unknown)),
            (Some(Code::NotCoordinator), Held::All, Answer(Unknown)),
            (Some(Code::WaitingForCoordinator), Held::All, Answer(Unknown)),
            (Some(Code::OperationTimedOut), Held::All, Answer(Unknown)),
            (Some(Code::RequestTimedOut), Held::All, Answer(Unknown)),
            (Some(Code::BrokerTransportFailure), Held::All, Answer(Unknown)),
            (Some(Code::GroupAuthorizationFailed), Held::All, Answer(Unknown)),
            (Some(Code::NoOffset), Held::All, Answer(Unknown)),
            (Some(Code::BrokerDestroy), Held::None, Answer(NotOwner)),
        ] {
            assert_eq!(verdict(code, held), expected, "{code:?}, {held:?}");
        }
    }
}
