//! How spans leave the process: a bounded queue, and a thread that sends them in batches by OTLP over HTTP.
//!
//! Putting a span into the queue never waits. A collector that is slow or away costs spans, which are
//! counted, and nothing else.

use std::thread;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter};
use opentelemetry::InstrumentationScope;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::TelemetryError;

/// Spans that may wait: two seconds of a process that makes a thousand calls a second.
const QUEUE: usize = 8 * 1024;
/// Spans of one request to the collector.
const BATCH: usize = 512;
/// How long a batch waits for more spans.
const LINGER: Duration = Duration::from_millis(500);
/// How long the collector may take for a batch.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What an endpoint is followed by, unless it ends so already.
const PATH: &str = "/v1/traces";

/// Spans that a collector took.
const EXPORTED: &str = "stepstream_spans_exported_total";
/// Spans that nobody will see, by reason.
const DROPPED: &str = "stepstream_spans_dropped_total";

/// Who makes our spans.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("stepstream").with_version(env!("CARGO_PKG_VERSION")).build()
}

/// The way in.
#[derive(Clone, Debug)]
pub(super) struct Queue(mpsc::Sender<SpanData>);

impl Queue {
    /// Takes a span, or counts it as lost.
    pub(super) fn put(&self, span: SpanData) {
        match self.0.try_send(span) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => dropped("queue_full", 1),
            Err(mpsc::error::TrySendError::Closed(_)) => dropped("stopped", 1),
        }
    }
}

#[cfg(test)]
impl Queue {
    /// A queue that nobody empties.
    pub(super) fn nowhere() -> Self {
        Self(mpsc::channel(1).0)
    }
}

/// `reason` is one of the few of this file.
fn dropped(reason: &'static str, spans: usize) {
    counter!(DROPPED, "reason" => reason).increment(spans as u64);
}

/// The thread that sends.
#[derive(Debug)]
pub(super) struct Exporter {
    stop: CancellationToken,
    stopped: oneshot::Receiver<()>,
}

impl Exporter {
    /// Begins to send. Connects to nobody yet.
    pub(super) fn start(endpoint: &str, service: &str) -> Result<(Self, Queue), TelemetryError> {
        describe_counter!(EXPORTED, Unit::Count, "spans that the collector took");
        describe_counter!(DROPPED, Unit::Count, "spans that were lost on the way to the collector");
        let exporter = exporter(&url(endpoint), service)?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (says, stopped) = oneshot::channel();
        let stop = CancellationToken::new();
        let asked = stop.clone();
        thread::Builder::new()
            .name("span-export".into())
            .spawn(move || {
                // On this thread, and not on one of those that do the work.
                match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => {
                        let sending = Sending { exporter, receiver, stop: asked, fails: false };
                        runtime.block_on(sending.run());
                    }
                    Err(error) => tracing::error!(%error, "spans can't be exported"),
                }
                // Nobody may wait for it any more.
                says.send(()).ok();
            })
            .map_err(|source| TelemetryError::Exporter(Box::new(source)))?;
        Ok((Self { stop, stopped }, Queue(sender)))
    }

    /// Sends what waits and stops, within `limit`.
    pub(super) async fn finish(self, limit: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(limit, self.stopped).await.is_err() {
            tracing::warn!("the last spans did not reach the collector in time");
        }
    }
}

/// The address of the signal, below that of the collector.
fn url(endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") }
}

fn exporter(url: &str, service: &str) -> Result<SpanExporter, TelemetryError> {
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpJson)
        .with_endpoint(url)
        .with_timeout(TIMEOUT)
        .build()
        .map_err(|source| TelemetryError::Exporter(Box::new(source)))?;
    // The builder adds what OTEL_RESOURCE_ATTRIBUTES says.
    let resource = Resource::builder()
        .with_service_name(service.to_owned())
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    exporter.set_resource(&resource);
    Ok(exporter)
}

struct Sending {
    exporter: SpanExporter,
    receiver: mpsc::Receiver<SpanData>,
    stop: CancellationToken,
    /// Whether the last batch was lost: each outage is told of once.
    fails: bool,
}

impl Sending {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.gather(&mut batch).await {
            self.send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH))).await;
        }
        // Asked to stop: what waits now is all that is sent.
        self.receiver.close();
        while self.receiver.recv_many(&mut batch, BATCH).await > 0 {
            self.send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH))).await;
        }
        self.exporter.shutdown().ok();
    }

    /// Waits for a span, and a little for more. `false`: it is time to stop, or nobody is left who makes
    /// any; what is in the batch is to be sent all the same.
    async fn gather(&mut self, batch: &mut Vec<SpanData>) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => return false,
            count = self.receiver.recv_many(batch, BATCH) => if count == 0 {
                return false;
            }
        }
        let until = Instant::now() + LINGER;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                count = timeout_at(until, self.receiver.recv_many(batch, room)) => match count {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        }
        true
    }

    async fn send(&mut self, batch: Vec<SpanData>) {
        let spans = batch.len();
        match self.exporter.export(batch).await {
            Ok(()) => {
                counter!(EXPORTED).increment(spans as u64);
                if std::mem::take(&mut self.fails) {
                    tracing::info!("spans reach the collector again");
                }
            }
            Err(error) => {
                dropped("not_taken", spans);
                if !std::mem::replace(&mut self.fails, true) {
                    tracing::warn!(%error, spans, "spans don't reach the collector");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_has_its_path_below_the_endpoint() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
            ("https://otel.example/otlp", "https://otel.example/otlp/v1/traces"),
            ("https://otel.example/v1/traces", "https://otel.example/v1/traces"),
        ] {
            assert_eq!(url(endpoint), expected);
        }
    }
}
