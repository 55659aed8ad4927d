//! Publishes executions as the processors do, at a fixed rate: their events, their text, their end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use domain::event::{Chunk, ChunkKind, EventType, ExecutionEvent};
use domain::request::DEFAULT_TENANT;
use domain::topic::{Kind, Topic};
use rdkafka::producer::{BaseRecord, Producer as _};
use runtime::ports::{Cluster as _, Deltas};
use schemas::Ids;

use super::listener::{PIECE_BYTES, Piece};
use crate::client::{self, Failures, Producer};
use crate::flight::Schedule;
use crate::platform::{Platform, now};

/// The number of the event that ends an execution.
pub(super) const EVENTS: i64 = 3;

/// Between the end of the text and the event that ends an execution: what the hop through the log takes.
const HOP: Duration = Duration::from_millis(50);
/// How long the broker may take for the events of a flight.
const ACKNOWLEDGED: Duration = Duration::from_secs(30);
/// The text of one piece of ballast.
const BALLAST_BYTES: usize = 4 * 1024;

/// What is to be published when.
pub(super) struct Flight {
    /// From when on.
    pub(super) began: Instant,
    executions: Arc<[String]>,
    schedule: Schedule,
}

impl Flight {
    /// The executions get their pieces in turn, `rate` a second over all of them, and each as many.
    pub(super) fn new(
        executions: Arc<[String]>,
        rate: u64,
        lasts: Duration,
        began: Instant,
    ) -> Self {
        let streams = executions.len() as u64;
        let pieces = (lasts.as_secs_f64() * crate::lane::precise(rate)) as u64;
        let total = (pieces / streams).max(1) * streams;
        // Warm-up is left out by the listeners, which know each piece's time.
        Self { began, executions, schedule: Schedule { flight: 0, began, rate, total, warm: 0 } }
    }

    /// How many pieces each execution gets.
    pub(super) fn pieces_each(&self) -> u64 {
        self.schedule.total / self.executions.len() as u64
    }

    /// When the last piece is due.
    pub(super) fn ends(&self) -> Instant {
        self.schedule.intended(self.schedule.total)
    }
}

/// Writes to `stream` by the producer of the platform, and to `results`.
pub(super) struct Publisher {
    deltas: Arc<dyn Deltas>,
    results: Producer,
    failures: Failures,
    topic: String,
    ids: Ids,
}

impl Publisher {
    /// Of this platform.
    pub(super) fn new(platform: &Platform) -> anyhow::Result<Self> {
        let (results, failures) = client::producer(&platform.brokers)?;
        Ok(Self {
            deltas: platform.cluster.deltas().context("making the producer of text")?,
            results,
            failures,
            topic: platform.topic(Topic::Results),
            ids: platform.ids.clone(),
        })
    }

    /// Publishes all of a flight. How many events were not acknowledged.
    pub(super) fn fly(&self, flight: &Flight) -> anyhow::Result<u64> {
        let failed = self.failures.count();
        let Flight { executions, schedule, .. } = flight;
        for (number, event_type) in [(1, EventType::Admitted), (2, EventType::Started)] {
            for execution in executions.iter() {
                self.event(execution, number, event_type)?;
            }
        }
        let streams = executions.len() as u64;
        for nth in 0..schedule.total {
            let due = schedule.intended(nth);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let piece = Piece { index: nth / streams, intended: due - schedule.began };
            let at = usize::try_from(nth % streams).context("as many as there are executions")?;
            self.text(&executions[at], i64::try_from(piece.index)?, piece.to_string())?;
        }
        let pieces = i64::try_from(flight.pieces_each())?;
        for execution in executions.iter() {
            // Without text: that was all of it.
            self.text(execution, pieces, String::new())?;
        }
        std::thread::sleep(HOP);
        for execution in executions.iter() {
            self.event(execution, EVENTS, EventType::Succeeded)?;
        }
        self.results.flush(ACKNOWLEDGED).context("waiting for the events")?;
        Ok(self.failures.count() - failed)
    }

    /// Publishes one of many large pieces of an execution of which nobody wants to know.
    pub(super) fn ballast(&self, execution: &str, index: usize) -> anyhow::Result<()> {
        self.text(execution, i64::try_from(index)?, "x".repeat(BALLAST_BYTES))
    }

    fn text(&self, execution: &str, index: i64, text: String) -> anyhow::Result<()> {
        debug_assert!(
            text.len().is_multiple_of(PIECE_BYTES),
            "pieces that are joined come apart again"
        );
        let chunk = Chunk {
            execution_id: execution.into(),
            tenant: DEFAULT_TENANT.into(),
            fence: 1,
            attempt: 1,
            index,
            kind: if text.is_empty() { ChunkKind::Done } else { ChunkKind::Text },
            choice: 0,
            text,
        };
        self.deltas.send(execution, self.ids.frame(&chunk)?, Vec::new());
        Ok(())
    }

    fn event(&self, execution: &str, number: i64, event_type: EventType) -> anyhow::Result<()> {
        let event = ExecutionEvent {
            execution_id: execution.into(),
            kind: Kind::Model,
            tenant: DEFAULT_TENANT.into(),
            parent_id: None,
            generation: 0,
            number,
            event_type,
            time: now(),
            step: None,
            attempt: None,
            data: None,
            data_claim: None,
            error: None,
            usage: None,
            cost: None,
        };
        let value = self.ids.frame(&event)?;
        let record = BaseRecord::to(&self.topic).key(execution).payload(&value);
        self.results.send(record).map_err(|(error, _)| error).context("publishing an event")
    }
}
