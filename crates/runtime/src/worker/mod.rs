//! The loop that drives the machines of one processor: it moves what happened in and what is to be done
//! out, and decides nothing.

mod keeper;
mod metrics;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use domain::answer::Failure;
use schemas::Ids;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use self::keeper::{Job, Keeper, Kept, News};
use self::metrics::Meters;
use crate::partition::effects::{Alarm, Effect, Input};
use crate::partition::{self, Identity, Partition, Survivors};
use crate::ports::{
    Cluster, ClusterError, Confirmed, Inbox, Membership, Outgoing, RECORD_BATCHES, Reader, Records,
    Report, Sender, Sent, Side, Ticket,
};
use crate::processor::Processor;

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of each partition.
    pub partition: partition::Options,
    /// How long a clean stop waits for running calls.
    pub drain: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { partition: partition::Options::default(), drain: Duration::from_secs(20) }
    }
}

/// How often time passes for the machines: bounds how late a timer or a checkpoint can be.
const TICK: Duration = Duration::from_millis(5);

/// The same while nothing is under way and no timer is due by then.
const RESTING_TICK: Duration = Duration::from_millis(50);

/// How long a partition that is given back may take for its last checkpoint (rule K4).
const LAST_CHECKPOINT: Duration = Duration::from_secs(5);

/// Whether a worker has joined its group and is caught up with every partition that it was given. May be
/// asked from anywhere.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Whether it is ready now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn tell(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }
}

/// One processor on one cluster.
pub struct Worker<P: Processor> {
    /// The processor.
    pub processor: Arc<P>,
    /// The process's schemas; every one of ours is registered.
    pub ids: Ids,
    /// Where it runs.
    pub cluster: Arc<dyn Cluster>,
    /// See [`Options`].
    pub options: Options,
    /// Fingerprint of the program: a change of it raises the generation.
    pub program: String,
    /// Told how far the worker is.
    pub readiness: Readiness,
}

impl<P: Processor> Worker<P> {
    /// Joins the group and works until `shutdown`; then stops admitting, waits for running calls as long as
    /// [`Options::drain`] says, takes a last checkpoint and leaves.
    ///
    /// The loop runs on a thread of its own; calls run on the caller's runtime.
    ///
    /// # Errors
    /// When the cluster can't be joined at all.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ClusterError> {
        let calls_on = Handle::current();
        let (done, ended) = tokio::sync::oneshot::channel();
        let name = format!("{}-fold", P::KIND.as_str());
        let spawned = std::thread::Builder::new().name(name).spawn(move || {
            let result = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .map_err(|error| cluster_error("making the fold's runtime", &error))
                .and_then(|runtime| {
                    runtime.block_on(async {
                        Loop::join(self, calls_on)?.work(shutdown).await;
                        Ok(())
                    })
                });
            // Nobody waits any more: the caller was dropped.
            let _ = done.send(result);
        });
        spawned.map_err(|error| cluster_error("starting the fold's thread", &error))?;
        ended
            .await
            .unwrap_or_else(|_| Err(cluster_error("folding", &"its thread panicked; see the log")))
    }
}

fn cluster_error(what: &str, why: &dyn std::fmt::Display) -> ClusterError {
    ClusterError { what: what.to_owned(), why: why.to_string() }
}

/// A call that came to an end.
struct Ended<P: Processor> {
    partition: i32,
    run: u64,
    result: Result<P::Fact, Failure>,
}

/// One partition of this worker.
struct Slot<P: Processor> {
    keeper: Keeper<P>,
    incarnation: u64,
    state: State<P>,
    /// Whoever waits for this partition to be let go.
    letting_go: Option<LettingGo>,
}

enum State<P: Processor> {
    /// Its keeper takes it over.
    Restoring(Survivors<P>),
    Running(Box<Partition<P>>),
    /// A person is needed.
    Damaged,
}

struct LettingGo {
    until: Instant,
    /// Dropped when the partition is gone: the group goes on.
    _done: Option<Arc<std::sync::mpsc::SyncSender<()>>>,
}

struct Loop<P: Processor> {
    worker: Worker<P>,
    calls_on: Handle,
    began: Instant,
    partitions: i32,
    membership: Option<Arc<dyn Membership>>,
    reader: Arc<dyn Reader>,
    sender: Arc<dyn Sender>,
    reports: mpsc::UnboundedReceiver<Report>,
    records: mpsc::Receiver<Records>,
    kept: mpsc::UnboundedReceiver<Kept<P>>,
    kept_to: mpsc::UnboundedSender<Kept<P>>,
    ended: mpsc::UnboundedReceiver<Ended<P>>,
    ended_to: mpsc::UnboundedSender<Ended<P>>,
    confirmed: mpsc::UnboundedReceiver<(i64, Confirmed)>,
    confirmed_to: mpsc::UnboundedSender<(i64, Confirmed)>,
    confirming: bool,
    confirm_at: i64,
    /// Whether the group has given this member anything yet, be it nothing.
    joined: bool,
    slots: BTreeMap<i32, Slot<P>>,
    running: HashMap<u64, AbortHandle>,
    /// Sends that the producer had no room for, in order.
    backlog: VecDeque<(Ticket, Arc<Outgoing>)>,
    next_incarnation: u64,
    meters: Meters,
}

impl<P: Processor> Loop<P> {
    fn join(worker: Worker<P>, calls_on: Handle) -> Result<Self, ClusterError> {
        let (reports_to, reports) = mpsc::unbounded_channel();
        let (records_to, records) = mpsc::channel(RECORD_BATCHES);
        let (kept_to, kept) = mpsc::unbounded_channel();
        let (ended_to, ended) = mpsc::unbounded_channel();
        let (confirmed_to, confirmed) = mpsc::unbounded_channel();
        let inbox = Inbox { reports: reports_to, records: records_to };
        let cluster = Arc::clone(&worker.cluster);
        let partitions = cluster.partitions(P::KIND)?;
        let sender = cluster.sender(inbox.clone())?;
        let reader = cluster.reader(P::KIND, inbox.clone())?;
        let membership = cluster.join(P::KIND, inbox)?;
        Ok(Self {
            worker,
            calls_on,
            began: Instant::now(),
            partitions,
            membership: Some(membership),
            reader,
            sender,
            reports,
            records,
            kept,
            kept_to,
            ended,
            ended_to,
            confirmed,
            confirmed_to,
            confirming: false,
            joined: false,
            confirm_at: 0,
            slots: BTreeMap::new(),
            running: HashMap::new(),
            backlog: VecDeque::new(),
            next_incarnation: 1,
            meters: Meters::new(P::KIND),
        })
    }

    /// Monotonic milliseconds.
    fn now(&self) -> i64 {
        // Starts above zero, so that zero can mean "never".
        1 + i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    async fn work(mut self, shutdown: CancellationToken) {
        let tick = tokio::time::sleep(TICK);
        tokio::pin!(tick);
        let mut resting = false;
        let mut stopping: Option<Instant> = None;
        loop {
            let mut ticked = false;
            tokio::select! {
                biased;
                Some(report) = self.reports.recv() => self.handle_report(report),
                Some(kept) = self.kept.recv() => self.handle_kept(kept),
                Some(ended) = self.ended.recv() => self.handle_ended(ended),
                Some((asked_at, confirmed)) = self.confirmed.recv() => {
                    self.confirming = false;
                    self.tell_all(|| Input::Confirmed { confirmed, asked_at });
                }
                Some(records) = self.records.recv() => self.handle_records(records),
                () = &mut tick => {
                    ticked = true;
                    self.handle_tick();
                    if let Some(until) = stopping && self.has_stopped(until) {
                        break;
                    }
                }
                () = shutdown.cancelled(), if stopping.is_none() => {
                    stopping = Some(Instant::now() + self.worker.options.drain);
                    self.tell_all(|| Input::Quiesce);
                }
            }
            if ticked || resting {
                resting = ticked && stopping.is_none() && self.rests();
                let next = if resting { RESTING_TICK } else { TICK };
                tick.as_mut().reset(tokio::time::Instant::now() + next);
            }
        }
        // Leaving the group last: whoever takes over finds the last checkpoint.
        self.membership = None;
    }

    /// Whether time may pass in longer steps: whatever happens is heard of at once all the same.
    fn rests(&self) -> bool {
        let (now, ms) = (self.now(), i64::try_from(RESTING_TICK.as_millis()).unwrap_or(i64::MAX));
        self.backlog.is_empty()
            && self.slots.values().all(|slot| {
                slot.letting_go.is_none()
                    && match &slot.state {
                        State::Running(machine) => {
                            machine.is_stopped() || machine.rests_for(now, ms)
                        }
                        State::Restoring(_) | State::Damaged => true,
                    }
            })
    }

    /// Whether a clean stop is complete; begins its last part when no call runs any more.
    fn has_stopped(&mut self, until: Instant) -> bool {
        let overdue = Instant::now() >= until;
        let idle = self.slots.values().all(|slot| match &slot.state {
            State::Running(machine) => !machine.has_running_calls(),
            State::Restoring(_) | State::Damaged => true,
        });
        if idle || overdue {
            let deadline = Instant::now() + LAST_CHECKPOINT;
            let pending: Vec<i32> = self
                .slots
                .iter()
                .filter(|(_, slot)| slot.letting_go.is_none())
                .map(|(partition, _)| *partition)
                .collect();
            for partition in pending {
                self.let_go(partition, deadline, None);
            }
        }
        self.slots.is_empty()
    }

    fn handle_report(&mut self, report: Report) {
        match report {
            Report::Assigned(partitions) => {
                self.joined = true;
                for partition in partitions {
                    self.take_over(partition);
                }
            }
            Report::Revoked { partitions, done } => {
                let done = Arc::new(done);
                let deadline = Instant::now() + LAST_CHECKPOINT;
                for partition in partitions {
                    self.let_go(partition, deadline, Some(Arc::clone(&done)));
                }
            }
            Report::Lost(partitions) => {
                for partition in partitions {
                    self.release(partition);
                }
            }
            Report::Sent(ticket, sent) => {
                // What an old producer says is void: everything it had was sent again.
                let current = ticket.producer == self.sender.current();
                if current && self.incarnation(ticket.partition) == Some(ticket.incarnation) {
                    self.tell(ticket.partition, Input::Sent { seq: ticket.seq, sent });
                } else if current && sent == Sent::Unknown {
                    self.replace_producer();
                }
            }
            Report::ReadFailed { side, partition, reason } => {
                self.tell(partition, Input::ReadFailed { side, reason });
            }
        }
    }

    fn handle_records(&mut self, records: Records) {
        let Records { side, partition, epoch, records } = records;
        self.meters.read(side, records.len());
        self.tell(partition, Input::Records { side, epoch, records });
    }

    fn handle_ended(&mut self, ended: Ended<P>) {
        let Ended { partition, run, result } = ended;
        if self.running.remove(&run).is_some() {
            self.meters.call_ended(&result);
            if let Some(Slot { state: State::Restoring(survivors), .. }) =
                self.slots.get_mut(&partition)
            {
                survivors.ended(run, result);
            } else {
                self.tell(partition, Input::CallEnded { run, result });
            }
        }
    }

    fn handle_kept(&mut self, kept: Kept<P>) {
        let Kept { partition, incarnation, news } = kept;
        if self.incarnation(partition) != Some(incarnation) {
            return;
        }
        match news {
            News::Restored(restored) => {
                let now = self.now();
                let Some(slot) = self.slots.get_mut(&partition) else {
                    return;
                };
                let identity = Identity {
                    partition,
                    partitions: self.partitions,
                    owner: uuid::Uuid::new_v4().to_string(),
                    program: self.worker.program.clone(),
                    incarnation,
                };
                let survivors = match std::mem::replace(&mut slot.state, State::Damaged) {
                    State::Restoring(survivors) => survivors,
                    State::Running(machine) => machine.into_survivors(),
                    State::Damaged => Survivors::default(),
                };
                let machine = Partition::new(
                    Arc::clone(&self.worker.processor),
                    self.worker.ids.clone(),
                    self.worker.options.partition.clone(),
                    identity,
                    *restored,
                    survivors,
                    now,
                );
                slot.state = State::Running(Box::new(machine));
                tracing::info!(kind = P::KIND.as_str(), partition, "partition taken over");
                self.tell(partition, Input::Tick);
            }
            News::NotOwner => self.release(partition),
            News::Damaged(error) => {
                tracing::error!(
                    kind = P::KIND.as_str(), partition, %error,
                    "the state can't be restored; the partition stands still"
                );
                self.meters.alarm("damaged_state");
                if let Some(slot) = self.slots.get_mut(&partition) {
                    slot.state = State::Damaged;
                }
            }
            News::Committed { result, took } => {
                self.meters.committed(&result, took);
                self.tell(partition, Input::Committed(result));
            }
            News::Scanned(records) => self.tell(partition, Input::Scanned(records)),
            News::Gone(reason) => {
                self.tell(partition, Input::ReadFailed { side: Side::Log, reason });
            }
            News::Resolved(id) => self.tell(partition, Input::SchemaResolved(id)),
        }
    }

    fn handle_tick(&mut self) {
        if let Some(membership) = &self.membership {
            membership.attend();
        }
        self.send_backlog();
        self.tell_all(|| Input::Tick);
        let now = Instant::now();
        let overdue: Vec<i32> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.letting_go.as_ref().is_some_and(|going| now >= going.until))
            .map(|(partition, _)| *partition)
            .collect();
        for partition in overdue {
            tracing::warn!(kind = P::KIND.as_str(), partition, "let go without a last checkpoint");
            self.release(partition);
        }
        // Often enough that one lost answer doesn't hold calls back (rule F4: half the session timeout).
        let every = self.worker.options.partition.session_timeout_ms / 6;
        if self.now() >= self.confirm_at + every {
            self.confirm();
        }
        let caught_up = self.slots.values().all(|slot| match &slot.state {
            State::Running(machine) => machine.is_live(),
            State::Restoring(_) | State::Damaged => false,
        });
        self.worker.readiness.tell(self.joined && caught_up);
        let stands = |slot: &&Slot<P>| match &slot.state {
            State::Running(machine) => machine.is_stopped(),
            State::Restoring(_) => false,
            State::Damaged => true,
        };
        let stopped = self.slots.values().filter(stands).count();
        let running = self.slots.values().filter_map(|slot| match &slot.state {
            State::Running(machine) => Some(machine.gauges(self.now())),
            State::Restoring(_) | State::Damaged => None,
        });
        self.meters.gauge(stopped, running);
    }

    fn take_over(&mut self, partition: i32) {
        if self.slots.contains_key(&partition) {
            return;
        }
        let Some(membership) = &self.membership else {
            return;
        };
        let keeper = Keeper::start(
            partition,
            Arc::clone(&self.worker.cluster),
            Arc::clone(membership),
            self.worker.ids.clone(),
            self.kept_to.clone(),
        );
        let keeper = match keeper {
            Ok(keeper) => keeper,
            Err(error) => {
                tracing::error!(partition, %error, "no thread for a partition; it stands still");
                return;
            }
        };
        let incarnation = self.next_incarnation();
        keeper.ask(Job::TakeOver { incarnation });
        let state = State::Restoring(Survivors::default());
        self.slots.insert(partition, Slot { keeper, incarnation, state, letting_go: None });
    }

    fn next_incarnation(&mut self) -> u64 {
        self.next_incarnation += 1;
        self.next_incarnation
    }

    /// Lets a partition go after a last checkpoint.
    fn let_go(
        &mut self,
        partition: i32,
        until: Instant,
        done: Option<Arc<std::sync::mpsc::SyncSender<()>>>,
    ) {
        let Some(slot) = self.slots.get_mut(&partition) else {
            return;
        };
        slot.letting_go = Some(LettingGo { until, _done: done });
        if matches!(slot.state, State::Running(_)) {
            self.tell(partition, Input::Drain);
        } else {
            self.release(partition);
        }
    }

    /// Drops a partition at once.
    fn release(&mut self, partition: i32) {
        let Some(slot) = self.slots.remove(&partition) else {
            return;
        };
        self.reader.stop(Side::Log, partition);
        self.reader.stop(Side::Feed, partition);
        let survivors = match slot.state {
            State::Running(machine) => machine.into_survivors(),
            State::Restoring(survivors) => survivors,
            State::Damaged => Survivors::default(),
        };
        for run in survivors.numbers() {
            self.abort(run);
        }
        tracing::info!(kind = P::KIND.as_str(), partition, "partition let go");
    }

    fn incarnation(&self, partition: i32) -> Option<u64> {
        self.slots.get(&partition).map(|slot| slot.incarnation)
    }

    fn tell_all(&mut self, input: impl Fn() -> Input<P>) {
        let partitions: Vec<i32> = self.slots.keys().copied().collect();
        for partition in partitions {
            self.tell(partition, input());
        }
    }

    /// Moves one thing in and everything that follows out.
    fn tell(&mut self, partition: i32, input: Input<P>) {
        let now = self.now();
        let mut input = Some(input);
        loop {
            let Some(Slot { state: State::Running(machine), incarnation, .. }) =
                self.slots.get_mut(&partition)
            else {
                return;
            };
            let incarnation = *incarnation;
            if let Some(input) = input.take() {
                machine.handle(now, input);
            }
            let Some(effect) = machine.poll_effect() else {
                return;
            };
            self.carry_out(partition, incarnation, effect);
        }
    }

    fn carry_out(&mut self, partition: i32, incarnation: u64, effect: Effect<P>) {
        match effect {
            Effect::Send { seq, record } => {
                let producer = self.sender.current();
                let ticket = Ticket { producer, partition, incarnation, seq };
                self.send(ticket, record);
            }
            Effect::ReplaceProducer => self.replace_producer(),
            Effect::Start { side, offset, epoch } => {
                self.reader.start(side, partition, offset.unwrap_or(EARLIEST), epoch);
            }
            Effect::Pause(side) => self.reader.pause(side, partition),
            Effect::Resume(side) => self.reader.resume(side, partition),
            Effect::StartCall { run, running, call } => {
                let processor = Arc::clone(&self.worker.processor);
                let ended = self.ended_to.clone();
                self.meters.call_started();
                let task = self.calls_on.spawn(async move {
                    let result = processor.call(call, running).await;
                    // The worker has ended: the next owner makes the call again.
                    let _ = ended.send(Ended { partition, run, result });
                });
                self.running.insert(run, task.abort_handle());
            }
            Effect::StopCall(run) => self.abort(run),
            Effect::Commit(cut) => self.ask(partition, Job::Commit { incarnation, cut }),
            Effect::Scan { from, to } => self.ask(partition, Job::Scan { incarnation, from, to }),
            Effect::ResolveSchema(id) => self.ask(partition, Job::Resolve { incarnation, id }),
            Effect::Confirm => self.confirm(),
            Effect::Restore(reason) => self.restore(partition, &reason),
            Effect::Drained => self.release(partition),
            Effect::Alarm(alarm) => self.alarm(partition, &alarm),
        }
    }

    fn ask(&self, partition: i32, job: Job<P>) {
        if let Some(slot) = self.slots.get(&partition) {
            slot.keeper.ask(job);
        }
    }

    fn send(&mut self, ticket: Ticket, record: Arc<Outgoing>) {
        if !self.backlog.is_empty() || self.sender.send(ticket, &record).is_err() {
            self.backlog.push_back((ticket, record));
        }
    }

    fn send_backlog(&mut self) {
        while let Some((ticket, record)) = self.backlog.front() {
            if self.sender.send(*ticket, record).is_err() {
                return;
            }
            self.backlog.pop_front();
        }
    }

    fn replace_producer(&mut self) {
        self.meters.alarm("producer_replaced");
        match self.sender.replace() {
            Ok(number) => {
                tracing::warn!(number, "the outcome of a send is unknown; sending again in order");
                self.backlog.clear();
                self.tell_all(|| Input::ProducerReplaced);
            }
            Err(error) => tracing::error!(%error, "no new producer"),
        }
    }

    fn restore(&mut self, partition: i32, reason: &str) {
        tracing::warn!(kind = P::KIND.as_str(), partition, reason, "restoring the partition");
        self.meters.alarm("restored");
        let incarnation = self.next_incarnation();
        self.reader.stop(Side::Log, partition);
        self.reader.stop(Side::Feed, partition);
        let Some(slot) = self.slots.get_mut(&partition) else {
            return;
        };
        if slot.letting_go.is_some() {
            return self.release(partition);
        }
        if let State::Running(machine) = std::mem::replace(&mut slot.state, State::Damaged) {
            slot.state = State::Restoring(machine.into_survivors());
        }
        slot.incarnation = incarnation;
        slot.keeper.ask(Job::TakeOver { incarnation });
    }

    fn abort(&mut self, run: u64) {
        if let Some(task) = self.running.remove(&run) {
            task.abort();
            self.meters.call_aborted();
        }
    }

    fn confirm(&mut self) {
        let Some(membership) = self.membership.clone() else {
            return;
        };
        if self.confirming {
            return;
        }
        let positions: Vec<(i32, i64)> = self
            .slots
            .iter()
            .filter_map(|(partition, slot)| match &slot.state {
                State::Running(machine) => Some((*partition, machine.feed_position())),
                State::Restoring(_) | State::Damaged => None,
            })
            .collect();
        self.confirm_at = self.now();
        if positions.is_empty() {
            return;
        }
        self.confirming = true;
        let asked_at = self.now();
        let answer = self.confirmed_to.clone();
        self.calls_on.spawn_blocking(move || {
            let confirmed = membership.confirm(&positions);
            // The worker has ended.
            let _ = answer.send((asked_at, confirmed));
        });
    }

    fn alarm(&mut self, partition: i32, alarm: &Alarm) {
        let kind = P::KIND.as_str();
        match alarm {
            Alarm::Skipped { offset, reason } => {
                self.meters.alarm("skipped");
                tracing::error!(
                    kind,
                    partition,
                    offset,
                    reason,
                    "a log record was passed; its entity was failed"
                );
            }
            Alarm::Unreadable { offset, reason } => {
                self.meters.alarm("unreadable");
                tracing::error!(
                    kind,
                    partition,
                    offset,
                    reason,
                    "a log record can't be read; it is a dead letter now"
                );
            }
            Alarm::DefinitionLate { offset, what } => {
                self.meters.alarm("definition_late");
                tracing::error!(
                    kind,
                    partition,
                    offset,
                    what,
                    "folding waits for a definition; is the topic of definitions read?"
                );
            }
            Alarm::SendsStuck(ms) => {
                self.meters.alarm("sends_stuck");
                tracing::error!(
                    kind,
                    partition,
                    ms,
                    "sends are not acknowledged; is the broker reachable?"
                );
            }
            Alarm::Stopped(reason) => {
                self.meters.alarm("stopped");
                tracing::error!(kind, partition, reason, "the partition stands still");
            }
        }
    }
}

/// Asks a [`Reader`] to begin at the earliest record there is.
pub const EARLIEST: i64 = -2;
