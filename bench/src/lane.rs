//! One way from a topic to a topic: sends at a fixed rate, open loop, and watches what comes out at the far
//! end. It sends on time whether or not anything comes out.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer as _};

use crate::client::{self, Failures, Producer};
use crate::flight::{Id, Schedule, Tally, histogram};
use crate::report::{Latency, Row};
use crate::usage::Usage;

/// How long after the last record was sent the rest may take to come out.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long a reader waits for records before it looks whether it should stop.
const LOOK: Duration = Duration::from_millis(50);

static FLIGHTS: AtomicU32 = AtomicU32::new(0);

/// The number of a flight that isn't taken.
pub(crate) fn new_flight() -> u32 {
    FLIGHTS.fetch_add(1, Ordering::Relaxed)
}

type Shared = Arc<Mutex<Option<Tally>>>;

fn locked(tally: &Shared) -> MutexGuard<'_, Option<Tally>> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a topic from its end and takes the id out of each record.
pub(crate) struct Probe {
    tally: Shared,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Probe {
    /// Begins at the present end of `topic`. Records without an id are left out.
    pub(crate) fn start(
        brokers: &str,
        topic: &str,
        id_of: impl Fn(&[u8]) -> Option<Id> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let consumer = client::consumer_from_end(brokers, topic, "bench-probe")?;
        let tally = Shared::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (filled, stopped) = (Arc::clone(&tally), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("probe".into())
            .spawn(move || {
                while !stopped.load(Ordering::Acquire) {
                    match consumer.poll(LOOK) {
                        None => {}
                        Some(Err(error)) => tracing::warn!(%error, "the probe can't read"),
                        Some(Ok(message)) => {
                            let at = Instant::now();
                            let id = message.payload().and_then(&id_of);
                            if let (Some(id), Some(tally)) = (id, locked(&filled).as_mut()) {
                                tally.came_out(id, at);
                            }
                        }
                    }
                }
            })
            .context("starting the probe")?;
        Ok(Self { tally, stop, thread: Some(thread) })
    }

    /// How many of the present flight have come out.
    pub(crate) fn distinct(&self) -> u64 {
        locked(&self.tally).as_ref().map_or(0, Tally::distinct)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The id that a record of plain text begins with.
pub(crate) fn id_of_text(value: &[u8]) -> Option<Id> {
    // An id is short; the padding behind it needn't be looked at.
    let front = value.get(..value.len().min(40))?;
    Id::at_front(std::str::from_utf8(front).ok()?)
}

/// Makes key and value of a record.
pub(crate) type Encode = Box<dyn Fn(Id) -> (String, Vec<u8>) + Send + Sync>;

/// One way, ready to be measured.
pub(crate) struct Lane {
    /// Its name in the table.
    pub(crate) name: String,
    /// Where its records go in.
    pub(crate) topic: String,
    /// How they are made.
    pub(crate) encode: Encode,
    /// Where they come out.
    pub(crate) probe: Arc<Probe>,
    producer: Producer,
    failures: Failures,
    broker_pid: Option<u32>,
    patience: Duration,
}

impl Lane {
    /// A way from `topic` to `probe`.
    pub(crate) fn new(
        brokers: &str,
        broker_pid: Option<u32>,
        name: impl Into<String>,
        topic: impl Into<String>,
        probe: &Arc<Probe>,
        encode: Encode,
    ) -> anyhow::Result<Self> {
        let (producer, failures) = client::producer(brokers)?;
        Ok(Self {
            name: name.into(),
            topic: topic.into(),
            encode,
            probe: Arc::clone(probe),
            producer,
            failures,
            broker_pid,
            patience: PATIENCE,
        })
    }

    /// The same, whose records may take so long to come out after the last was sent.
    pub(crate) fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends for `warm` and then for `measured` seconds, and waits for the rest.
    pub(crate) fn fly(&self, rate: u64, warm: f64, measured: f64) -> anyhow::Result<Flown> {
        self.fly_and(rate, warm, measured, |_| {})
    }

    /// As [`Lane::fly`], telling `at` each number before it is sent.
    pub(crate) fn fly_and(
        &self,
        rate: u64,
        warm: f64,
        measured: f64,
        mut at: impl FnMut(u64),
    ) -> anyhow::Result<Flown> {
        let count = |seconds: f64| (seconds * precise(rate)).round().max(0.0) as u64;
        let schedule = Schedule {
            flight: new_flight(),
            began: Instant::now() + Duration::from_millis(20),
            rate,
            total: count(warm) + count(measured),
            warm: count(warm),
        };
        *locked(&self.probe.tally) = Some(Tally::new(schedule));
        let failed_before = self.failures.count();
        let mut used = Usage::now(self.broker_pid);
        for nth in 0..schedule.total {
            let due = schedule.intended(nth);
            let now = Instant::now();
            if due > now {
                std::thread::sleep(due - now);
            }
            if nth == schedule.warm {
                used = Usage::now(self.broker_pid);
            }
            at(nth);
            self.send(Id { flight: schedule.flight, nth })?;
        }
        let patience = Instant::now() + self.patience;
        let complete = || locked(&self.probe.tally).as_ref().is_some_and(Tally::is_complete);
        while !complete() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(2));
        }
        let used = Usage::now(self.broker_pid).since(used);
        // Whatever comes twice comes soon after.
        std::thread::sleep(Duration::from_millis(200));
        let failed = self.failures.count() - failed_before;
        let tally = locked(&self.probe.tally).take().context("the flight's tally is gone")?;
        Ok(Flown {
            flight: schedule.flight,
            rate,
            sent: schedule.total,
            measured: schedule.total - schedule.warm,
            void: tally.gate(failed).err().map(|void| void.to_string()),
            used,
            tally,
        })
    }

    /// Sends what `schedule` says and doesn't wait for what becomes of it.
    ///
    /// # Errors
    /// A record that the broker didn't acknowledge.
    pub(crate) fn launch(&self, schedule: &Schedule) -> anyhow::Result<()> {
        let failed_before = self.failures.count();
        for nth in 0..schedule.total {
            std::thread::sleep(schedule.intended(nth).saturating_duration_since(Instant::now()));
            self.send(Id { flight: schedule.flight, nth })?;
        }
        self.producer.flush(PATIENCE).context("waiting for acknowledgements")?;
        let failed = self.failures.count() - failed_before;
        anyhow::ensure!(failed == 0, "{failed} records were not acknowledged");
        Ok(())
    }

    fn send(&self, id: Id) -> anyhow::Result<()> {
        let (key, value) = (self.encode)(id);
        loop {
            match self.producer.send(BaseRecord::to(&self.topic).key(&key).payload(&value)) {
                Ok(()) => return Ok(()),
                // Late from here on, and counted as late: the latency is from the intended time.
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err((error, _)) => return Err(error).context("handing a record to the producer"),
            }
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let _ = self.producer.flush(Duration::from_secs(5));
    }
}

/// What one flight gave.
pub(crate) struct Flown {
    /// Which one.
    pub(crate) flight: u32,
    /// Records a second.
    pub(crate) rate: u64,
    /// How many were sent.
    pub(crate) sent: u64,
    /// How many of them count for latency and cost.
    pub(crate) measured: u64,
    /// Why it doesn't count.
    pub(crate) void: Option<String>,
    /// CPU used in the measured part.
    pub(crate) used: Usage,
    /// What came out.
    pub(crate) tally: Tally,
}

/// Several flights of one way become one row.
pub(crate) struct Series {
    row: Row,
    latency: Histogram<u64>,
    used: Usage,
    measured: u64,
}

impl Series {
    /// No flight yet.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        let row = Row { name: name.into(), ..Row::default() };
        Self { row, latency: histogram(), used: Usage::default(), measured: 0 }
    }

    /// Adds a flight.
    pub(crate) fn add(&mut self, flown: &Flown) {
        self.row.rate = flown.rate;
        self.row.sent += flown.sent;
        self.row.completed += flown.tally.distinct();
        self.row.copies += flown.tally.copies();
        if self.row.void.is_none() {
            self.row.void.clone_from(&flown.void);
        }
        self.latency.add(flown.tally.latency()).expect("both have the same bounds");
        self.used = self.used.plus(flown.used);
        self.measured += flown.measured;
    }

    /// The row.
    pub(crate) fn row(mut self) -> Row {
        let thousands = precise(self.measured.max(1)) / 1000.0;
        self.row.latency_ms = Latency::of(&self.latency);
        self.row.own_cpu_s_per_1000 = Some(self.used.own / thousands);
        self.row.broker_cpu_s_per_1000 = Some(self.used.broker / thousands);
        self.row
    }
}

/// Measures several ways side by side: in rounds, one after the other, so that whatever else the machine
/// does in the meantime meets all of them.
pub(crate) fn side_by_side(
    lanes: &[&Lane],
    rate: u64,
    rounds: u32,
    warm: f64,
    seconds: f64,
) -> anyhow::Result<Vec<Row>> {
    let mut series: Vec<Series> =
        lanes.iter().map(|lane| Series::new(lane.name.as_str())).collect();
    for round in 0..rounds {
        for (lane, series) in lanes.iter().zip(&mut series) {
            tracing::info!(way = lane.name, rate, round, "measuring");
            series.add(&lane.fly(rate, warm, seconds / f64::from(rounds))?);
        }
    }
    Ok(series.into_iter().map(Series::row).collect())
}

/// Flies the lanes in turn until the broker's code is compiled, and counts nothing: a virtual machine that
/// has just started spends most of its CPU on that.
pub(crate) fn warm_up(lanes: &[&Lane], rate: u64) -> anyhow::Result<()> {
    const SECONDS: f64 = 20.0;
    for lane in lanes {
        if let Some(void) = lane.fly(rate, 0.0, SECONDS / lanes.len() as f64)?.void {
            anyhow::bail!("warming up {}: {void}", lane.name);
        }
    }
    Ok(())
}

/// As a float; counts here stay far below 2^52.
pub(crate) fn precise(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
