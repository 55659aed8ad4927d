//! Spans: what a process did for a trace, and how long it took. Off until an address is configured; then
//! they leave by `export`, and nobody who makes one waits.
//!
//! A span is given its context by whoever makes it, since ids that stand in a log are derived and not
//! drawn. What goes into a span is named by constants where it is made; a prompt, an answer, a key or a
//! header's value never does.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use domain::trace::{Sampling, SpanId, TraceContext, TraceId};
use opentelemetry::trace::{SpanContext, Status, TraceFlags, TraceState};
use opentelemetry::{Array, KeyValue, StringValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::TelemetryError;
use super::export::{Exporter, Queue};
use crate::config;

/// `error.type` of a span that was dropped before it ended.
pub const CANCELLED: &str = "cancelled";
/// The attribute that says what went wrong, in OpenTelemetry's general conventions.
pub const ERROR_TYPE: &str = "error.type";

/// How long the last spans may take to leave when the process stops.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);

/// The tracer of this process, where there is one.
static INSTALLED: OnceLock<Tracer> = OnceLock::new();

/// What a span is to its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// It answers a request.
    Server,
    /// It asks somebody and waits.
    Client,
    /// It writes a record.
    Producer,
    /// It takes a record in.
    Consumer,
    /// It is within the process.
    Internal,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Texts.
    Texts(Vec<String>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// Makes spans. Cheap to clone. One that is off makes spans that cost nothing and go nowhere.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<On>>);

#[derive(Debug)]
struct On {
    queue: Queue,
    ratio: f64,
}

/// Sends this process's spans to the configured address, if there is one. Once a process; the tracer is
/// then [`Tracer::installed`]. What is returned is to be flushed when the process stops.
///
/// # Errors
/// [`TelemetryError::Traces`], [`TelemetryError::Exporter`].
pub fn init_traces(config: &config::Telemetry) -> Result<Traces, TelemetryError> {
    let (tracer, traces) = Tracer::start(config)?;
    INSTALLED.set(tracer).map_err(|_| TelemetryError::Traces)?;
    Ok(traces)
}

/// The spans that have not left yet.
#[derive(Debug)]
pub struct Traces(Option<Exporter>);

impl Traces {
    /// Sends what waits, and no more after that; gives up after three seconds.
    pub async fn flush(self) {
        if let Some(exporter) = self.0 {
            exporter.finish(FLUSH_WITHIN).await;
        }
    }
}

impl Tracer {
    /// One that is off.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// The tracer of this process: off, before [`init_traces`] or without an address.
    #[must_use]
    pub fn installed() -> Self {
        INSTALLED.get().cloned().unwrap_or_default()
    }

    /// A tracer of its own, for whoever doesn't want the one of the process.
    ///
    /// # Errors
    /// [`TelemetryError::Exporter`].
    pub fn start(config: &config::Telemetry) -> Result<(Self, Traces), TelemetryError> {
        let Some(endpoint) = &config.otlp_endpoint else {
            return Ok((Self::off(), Traces(None)));
        };
        let (exporter, queue) = Exporter::start(endpoint, &config.service_name)?;
        let on = On { queue, ratio: config.trace_ratio };
        Ok((Self(Some(Arc::new(on))), Traces(Some(exporter))))
    }

    /// Whether spans go anywhere.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether a trace that begins here is recorded: by its id alone, so that every process with the same
    /// ratio says the same (the rule is that of OpenTelemetry's consistent probability sampling). One that
    /// is off leaves the decision to those after it.
    #[must_use]
    pub fn sampling(&self, trace: TraceId) -> Sampling {
        /// The bits of [`TraceId::randomness`].
        const BITS: i32 = 56;
        let ratio = self.0.as_ref().map_or(1.0, |on| on.ratio);
        #[allow(clippy::cast_precision_loss, reason = "a ratio needs no 56 bits")]
        let place = trace.randomness() as f64 / 2_f64.powi(BITS);
        if place >= 1.0 - ratio && ratio > 0.0 { Sampling::Sampled } else { Sampling::NotSampled }
    }

    /// The first span of a new trace.
    #[must_use]
    pub fn begin(&self) -> TraceContext {
        let trace = loop {
            if let Some(trace) = TraceId::new(random()) {
                break trace;
            }
        };
        TraceContext::new(trace, random_span(), self.sampling(trace))
    }

    /// A span below `parent`, with an id by chance: for what stands in no log.
    #[must_use]
    pub fn child_of(&self, parent: TraceContext) -> TraceContext {
        parent.with_span(random_span())
    }

    /// Begins a span. It ends when it is told to, or as cancelled when it is dropped.
    #[must_use]
    pub fn span(
        &self,
        context: TraceContext,
        parent: Option<SpanId>,
        kind: SpanKind,
        name: impl Into<Cow<'static, str>>,
    ) -> Span {
        let on = self.0.as_ref().filter(|_| context.sampling() == Sampling::Sampled);
        let open = on.map(|on| {
            let data = span_data(context, parent, kind, name.into());
            Box::new(Open { on: Arc::clone(on), data })
        });
        Span { context, open }
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    bytes
}

fn random_span() -> SpanId {
    loop {
        if let Some(span) = SpanId::new(random()) {
            return span;
        }
    }
}

/// A span that has begun.
#[derive(Debug)]
pub struct Span {
    context: TraceContext,
    open: Option<Box<Open>>,
}

#[derive(Debug)]
struct Open {
    on: Arc<On>,
    data: SpanData,
}

impl Span {
    /// Which span it is, recorded or not.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Whether it is recorded; what is only for it needn't be worked out if it isn't.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.open.is_some()
    }

    /// Says something about it. Each name once.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        let Some(open) = &mut self.open else { return };
        let value = match value.into() {
            Value::Text(text) => opentelemetry::Value::String(text.into()),
            Value::Number(number) => opentelemetry::Value::I64(number),
            Value::Texts(texts) => {
                let texts = texts.into_iter().map(StringValue::from).collect();
                opentelemetry::Value::Array(Array::String(texts))
            }
        };
        open.data.attributes.push(KeyValue::new(name, value));
    }

    /// It failed. `error_type` is a code of few, never a message.
    pub fn fail(&mut self, error_type: &str) {
        self.set(ERROR_TYPE, error_type);
        if let Some(open) = &mut self.open {
            open.data.status = Status::error(error_type.to_owned());
        }
    }

    /// It began earlier than it was made.
    pub fn began(&mut self, at: SystemTime) {
        if let Some(open) = &mut self.open {
            open.data.start_time = at.min(open.data.start_time);
        }
    }

    /// It has ended.
    pub fn end(mut self) {
        self.leave();
    }

    fn leave(&mut self) {
        if let Some(open) = self.open.take() {
            let Open { on, mut data } = *open;
            data.end_time = SystemTime::now();
            on.queue.put(data);
        }
    }
}

/// Cut off, before it could say how it ended.
impl Drop for Span {
    fn drop(&mut self) {
        if self.is_recorded() {
            self.fail(CANCELLED);
            self.leave();
        }
    }
}

fn span_data(
    context: TraceContext,
    parent: Option<SpanId>,
    kind: SpanKind,
    name: Cow<'static, str>,
) -> SpanData {
    use opentelemetry::trace as otel;
    let now = SystemTime::now();
    SpanData {
        span_context: SpanContext::new(
            otel::TraceId::from_bytes(context.trace.bytes()),
            otel::SpanId::from_bytes(context.span.bytes()),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: parent
            .map_or(otel::SpanId::INVALID, |span| otel::SpanId::from_bytes(span.bytes())),
        parent_span_is_remote: matches!(kind, SpanKind::Server | SpanKind::Consumer),
        span_kind: match kind {
            SpanKind::Server => otel::SpanKind::Server,
            SpanKind::Client => otel::SpanKind::Client,
            SpanKind::Producer => otel::SpanKind::Producer,
            SpanKind::Consumer => otel::SpanKind::Consumer,
            SpanKind::Internal => otel::SpanKind::Internal,
        },
        name,
        start_time: now,
        end_time: now,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: super::export::scope(),
    }
}

#[cfg(test)]
mod tests;
