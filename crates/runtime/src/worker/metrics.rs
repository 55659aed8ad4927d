//! The metrics of a worker: names, units and help in one place. Labels: the processor's kind, nothing per
//! execution.

use std::time::Duration;

use domain::answer::Failure;
use domain::topic::Kind;
use metrics::{Counter, Gauge, Histogram, Unit};

use crate::partition::Gauges;
use crate::ports::{CommitError, Side};

const READ: &str = "stepstream_records_read_total";
const COMMITS: &str = "stepstream_checkpoints_total";
const COMMIT_SECONDS: &str = "stepstream_checkpoint_seconds";
const CALLS_RUNNING: &str = "stepstream_calls_running";
const CALLS: &str = "stepstream_calls_total";
const ALARMS: &str = "stepstream_alarms_total";
const PARTITIONS: &str = "stepstream_partitions_owned";
const STOPPED: &str = "stepstream_partitions_stopped";
const UNFOLDED: &str = "stepstream_log_held_records";
const UNCHECKED: &str = "stepstream_log_unchecked_records";
const OUTBOX: &str = "stepstream_outbox_records";
const ENTRIES: &str = "stepstream_state_entries";
const WANTED: &str = "stepstream_calls_wanted";
const OLDEST: &str = "stepstream_oldest_unfinished_seconds";

/// Why an alarm is raised.
const REASONS: [&str; 8] = [
    "damaged_state",
    "definition_late",
    "producer_replaced",
    "restored",
    "sends_stuck",
    "skipped",
    "stopped",
    "unreadable",
];

/// Describes every metric of a worker, once a process.
pub(super) fn describe() {
    metrics::describe_counter!(READ, Unit::Count, "records read, by side (feed, log)");
    metrics::describe_counter!(COMMITS, Unit::Count, "checkpoints, by outcome");
    metrics::describe_histogram!(
        COMMIT_SECONDS,
        Unit::Seconds,
        "time of a checkpoint's transaction"
    );
    metrics::describe_gauge!(CALLS_RUNNING, Unit::Count, "outside calls that run");
    metrics::describe_counter!(CALLS, Unit::Count, "outside calls, by outcome");
    metrics::describe_counter!(ALARMS, Unit::Count, "alarms, by reason; each needs a look");
    metrics::describe_gauge!(
        STOPPED,
        Unit::Count,
        "owned partitions that stand still until a person looks"
    );
    metrics::describe_gauge!(
        PARTITIONS,
        Unit::Count,
        "partitions that are owned here and caught up"
    );
    metrics::describe_gauge!(UNFOLDED, Unit::Count, "log records read and not folded yet");
    metrics::describe_gauge!(UNCHECKED, Unit::Count, "log records folded and not checkpointed yet");
    metrics::describe_gauge!(OUTBOX, Unit::Count, "sends without acknowledgement");
    metrics::describe_gauge!(ENTRIES, Unit::Count, "state entries in memory");
    metrics::describe_gauge!(WANTED, Unit::Count, "outside calls wanted and not finished");
    metrics::describe_gauge!(
        OLDEST,
        Unit::Seconds,
        "age of the oldest admitted request whose call is not finished, by state time"
    );
}

pub(super) struct Meters {
    kind: &'static str,
    feed: Counter,
    log: Counter,
    commit_seconds: Histogram,
    calls_running: Gauge,
    partitions: Gauge,
    stopped: Gauge,
    unfolded: Gauge,
    unchecked: Gauge,
    outbox: Gauge,
    entries: Gauge,
    wanted: Gauge,
    oldest: Gauge,
}

impl Meters {
    pub(super) fn new(kind: Kind) -> Self {
        describe();
        let kind = kind.as_str();
        // What has never happened is 0 and not absent, so that the first time is an increase.
        for reason in REASONS {
            metrics::counter!(ALARMS, "kind" => kind, "reason" => reason).absolute(0);
        }
        Self {
            kind,
            feed: metrics::counter!(READ, "kind" => kind, "side" => "feed"),
            log: metrics::counter!(READ, "kind" => kind, "side" => "log"),
            commit_seconds: metrics::histogram!(COMMIT_SECONDS, "kind" => kind),
            calls_running: metrics::gauge!(CALLS_RUNNING, "kind" => kind),
            partitions: metrics::gauge!(PARTITIONS, "kind" => kind),
            stopped: metrics::gauge!(STOPPED, "kind" => kind),
            unfolded: metrics::gauge!(UNFOLDED, "kind" => kind),
            unchecked: metrics::gauge!(UNCHECKED, "kind" => kind),
            outbox: metrics::gauge!(OUTBOX, "kind" => kind),
            entries: metrics::gauge!(ENTRIES, "kind" => kind),
            wanted: metrics::gauge!(WANTED, "kind" => kind),
            oldest: metrics::gauge!(OLDEST, "kind" => kind),
        }
    }

    pub(super) fn read(&self, side: Side, records: usize) {
        let counter = match side {
            Side::Feed => &self.feed,
            Side::Log => &self.log,
        };
        counter.increment(records as u64);
    }

    pub(super) fn committed(&self, result: &Result<(), CommitError>, took: Duration) {
        let outcome = match result {
            Ok(()) => "committed",
            Err(CommitError::Aborted(_)) => "aborted",
            Err(CommitError::Fenced(_)) => "fenced",
            Err(CommitError::Unknown(_)) => "unknown",
        };
        metrics::counter!(COMMITS, "kind" => self.kind, "outcome" => outcome).increment(1);
        self.commit_seconds.record(took);
    }

    pub(super) fn call_started(&self) {
        self.calls_running.increment(1);
    }

    pub(super) fn call_ended<F>(&self, result: &Result<F, Failure>) {
        self.calls_running.decrement(1);
        let outcome = result.as_ref().map_or_else(|failure| failure.class.as_str(), |_| "ok");
        metrics::counter!(CALLS, "kind" => self.kind, "outcome" => outcome).increment(1);
    }

    pub(super) fn call_aborted(&self) {
        self.calls_running.decrement(1);
        metrics::counter!(CALLS, "kind" => self.kind, "outcome" => "aborted").increment(1);
    }

    pub(super) fn alarm(&self, reason: &'static str) {
        metrics::counter!(ALARMS, "kind" => self.kind, "reason" => reason).increment(1);
    }

    pub(super) fn gauge(&self, stopped: usize, partitions: impl Iterator<Item = Gauges>) {
        let mut sum = Gauges::default();
        for gauges in partitions {
            sum.live += gauges.live;
            sum.held += gauges.held;
            sum.unchecked += gauges.unchecked;
            sum.outbox += gauges.outbox;
            sum.entries += gauges.entries;
            sum.wanted += gauges.wanted;
            sum.oldest_ms = sum.oldest_ms.max(gauges.oldest_ms);
        }
        // Counts of records fit a double far beyond what memory holds.
        #[allow(clippy::cast_precision_loss)]
        let set = |gauge: &Gauge, value: i64| gauge.set(value as f64);
        set(&self.partitions, sum.live);
        set(&self.stopped, i64::try_from(stopped).unwrap_or(i64::MAX));
        set(&self.unfolded, sum.held);
        set(&self.unchecked, sum.unchecked);
        set(&self.outbox, sum.outbox);
        set(&self.entries, sum.entries);
        set(&self.wanted, sum.wanted);
        self.oldest.set(Duration::from_millis(sum.oldest_ms.unsigned_abs()).as_secs_f64());
    }
}
