//! The spans of a model call: its admission, the call, each try of a provider, the publication of its end.
//!
//! They are made beside the fold, never in it. The ids of those that stand in a row or a header are derived
//! here from what the fold knows as well, so a row and a span that belong together have the same id. Names
//! follow OpenTelemetry's conventions for GenAI, messaging and HTTP; what they have no name for begins with
//! `stepstream.`. No prompt, answer, key or message of a provider is in any of them.

use std::time::{Duration, SystemTime};

use domain::answer::{Failure, ModelOutcome};
use domain::event::QueuePlace;
use domain::model_call::WantedModelCall;
use domain::model_definition::Provider;
use domain::topic::{Kind, Topic};
use domain::trace::{Entry, TraceContext, TraceId};
use model::{Asked, ChunkSink, Delta, TryEnd};
use runtime::processor::{Observed, Running};
use service::telemetry::{Span, SpanKind, Tracer, Value};

/// Attributes of OpenTelemetry's GenAI conventions.
mod gen_ai {
    pub(super) const OPERATION: &str = "gen_ai.operation.name";
    pub(super) const PROVIDER: &str = "gen_ai.provider.name";
    pub(super) const REQUEST_MODEL: &str = "gen_ai.request.model";
    pub(super) const RESPONSE_MODEL: &str = "gen_ai.response.model";
    pub(super) const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
    pub(super) const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
    pub(super) const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
    pub(super) const CACHED_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
    pub(super) const REASONING_TOKENS: &str = "gen_ai.usage.reasoning.output_tokens";
}

/// Attributes of OpenTelemetry's HTTP conventions.
mod http {
    pub(super) const METHOD: &str = "http.request.method";
    pub(super) const STATUS: &str = "http.response.status_code";
    pub(super) const RESEND_COUNT: &str = "http.request.resend_count";
    pub(super) const ADDRESS: &str = "server.address";
    pub(super) const PORT: &str = "server.port";
}

/// Attributes of OpenTelemetry's messaging conventions.
mod messaging {
    pub(super) const SYSTEM: &str = "messaging.system";
    pub(super) const OPERATION_NAME: &str = "messaging.operation.name";
    pub(super) const OPERATION_TYPE: &str = "messaging.operation.type";
    pub(super) const DESTINATION: &str = "messaging.destination.name";
    pub(super) const PARTITION: &str = "messaging.destination.partition.id";
    pub(super) const OFFSET: &str = "messaging.kafka.offset";
}

/// Attributes of our own.
mod ours {
    pub(super) const EXECUTION: &str = "stepstream.execution.id";
    pub(super) const TENANT: &str = "stepstream.tenant";
    pub(super) const VERSION: &str = "stepstream.definition.version";
    pub(super) const ALIAS: &str = "stepstream.alias";
    pub(super) const DEPLOYMENT: &str = "stepstream.deployment";
    pub(super) const TRIES: &str = "stepstream.tries";
    pub(super) const QUEUED_MS: &str = "stepstream.queued_ms";
    pub(super) const FIRST_TOKEN_MS: &str = "stepstream.time_to_first_token_ms";
    pub(super) const COST_MICROS: &str = "stepstream.cost.micros";
    pub(super) const CURRENCY: &str = "stepstream.cost.currency";
}

/// The span of a call that an owner ran under this fence, below that of its admission.
pub(crate) fn run_of(admission: TraceContext, call: &str, fence: i64) -> TraceContext {
    admission.child(&format!("{call}/{fence}"))
}

/// The span of the publication of how an execution ended.
pub(crate) fn publication_of(admission: TraceContext) -> TraceContext {
    admission.child("publication")
}

/// The same context, with this process's decision where the trace begins with the execution: then nobody
/// before it has decided.
fn decided(tracer: &Tracer, context: TraceContext, tenant: &str, execution: &str) -> TraceContext {
    if tracer.is_on() && context.trace == TraceId::of_execution(Kind::Model, tenant, execution) {
        context.sampled(tracer.sampling(context.trace))
    } else {
        context
    }
}

/// Records what the owner of a partition did.
pub(crate) fn observe(tracer: &Tracer, observed: Observed<'_>) {
    if !tracer.is_on() {
        return;
    }
    match observed {
        Observed::Admitted { entity, tenant, place, written, trace_parent } => {
            let Entry { context, parent } =
                Entry::of(trace_parent, Kind::Model, tenant, entity, place);
            let context = decided(tracer, context, tenant, entity);
            let topic = Topic::Feed(Kind::Model).name();
            let mut span =
                tracer.span(context, parent, SpanKind::Consumer, format!("admit {topic}"));
            // From when it was written: what it waited in the feed is the larger part.
            if let Ok(ms) = u64::try_from(written.0)
                && ms > 0
            {
                span.began(SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
            }
            of_topic(&mut span, topic, "admit", "process");
            let (partition, offset) = place;
            span.set(messaging::PARTITION, partition.to_string());
            span.set(messaging::OFFSET, offset);
            span.set(ours::EXECUTION, entity);
            span.set(ours::TENANT, tenant);
            span.end();
        }
        Observed::Published { entity, tenant, topic, context, below, waited_ms } => {
            let context = decided(tracer, context, tenant, entity);
            let topic = topic.name();
            let name = format!("publish {topic}");
            let mut span = tracer.span(context, Some(below), SpanKind::Producer, name);
            let waited = Duration::from_millis(u64::try_from(waited_ms).unwrap_or(0));
            span.began(SystemTime::now().checked_sub(waited).unwrap_or(SystemTime::UNIX_EPOCH));
            of_topic(&mut span, topic, "publish", "send");
            span.set(ours::EXECUTION, entity);
            span.set(ours::TENANT, tenant);
            span.end();
        }
    }
}

fn of_topic(span: &mut Span, topic: &str, operation: &str, operation_type: &str) {
    span.set(messaging::SYSTEM, "kafka");
    span.set(messaging::DESTINATION, topic);
    span.set(messaging::OPERATION_NAME, operation);
    span.set(messaging::OPERATION_TYPE, operation_type);
}

/// The spans of a call that runs: its own, and that of the try of the moment. Dropped before its end, both
/// say that they were cancelled.
pub(crate) struct CallSpans<'a> {
    tracer: &'a Tracer,
    /// Ends before the call's.
    attempt: Option<Span>,
    call: Option<Span>,
    tries: i32,
}

impl<'a> CallSpans<'a> {
    /// Begins; without spans where the call has no trace, as those of older programs may.
    pub(crate) fn begin(tracer: &'a Tracer, wanted: &WantedModelCall, running: &Running) -> Self {
        let admission = wanted.trace_parent.as_deref().and_then(TraceContext::parse);
        let call = admission.filter(|_| tracer.is_on()).map(|admission| {
            let request = &wanted.request;
            let context = run_of(admission, &running.call, running.fence);
            let context = decided(tracer, context, &request.tenant, &running.entity);
            let operation = request.operation.as_str();
            let name = format!("{operation} {}", request.model);
            let mut span = tracer.span(context, Some(admission.span), SpanKind::Client, name);
            span.set(gen_ai::OPERATION, operation);
            span.set(gen_ai::REQUEST_MODEL, request.model.as_str());
            span.set(ours::EXECUTION, running.entity.as_str());
            span.set(ours::TENANT, request.tenant.as_str());
            if let Some(version) = wanted.version {
                span.set(ours::VERSION, i64::from(version));
            }
            span
        });
        Self { tracer, attempt: None, call, tries: 0 }
    }

    /// The call has ended, and so have its tries.
    pub(crate) fn end(mut self, result: &Result<ModelOutcome, Failure>) {
        let Some(mut span) = self.call.take() else { return };
        match result {
            Ok(outcome) => answered(&mut span, outcome),
            Err(failure) => {
                if let Some(provider) = &failure.provider {
                    span.set(gen_ai::PROVIDER, provider.as_str());
                    span.set(ours::DEPLOYMENT, failure.source_name.as_str());
                }
                // A try that was cut off when the call's time was up.
                if let Some(mut attempt) = self.attempt.take() {
                    attempt.fail(failure.class.as_str());
                    attempt.end();
                }
                span.set(ours::TRIES, i64::from(self.tries));
                span.fail(failure.class.as_str());
            }
        }
        span.end();
    }

    /// The sink, with its tries made into spans.
    pub(crate) fn around<'s>(&'s mut self, inner: &'s mut dyn ChunkSink) -> Traced<'s, 'a> {
        Traced { inner, spans: self }
    }

    fn asks(&mut self, asked: Asked<'_>) {
        let Some(call) = self.call.as_ref().filter(|call| call.is_recorded()) else { return };
        let deployment = asked.deployment;
        let context = call.context().child(&format!("try/{}", self.tries));
        // A scripted deployment is asked within the process.
        let (kind, name) = match deployment.provider {
            Provider::Scripted => (SpanKind::Internal, "scripted"),
            _ => (SpanKind::Client, "POST"),
        };
        let mut span = self.tracer.span(context, Some(call.context().span), kind, name);
        span.set(gen_ai::PROVIDER, deployment.provider.as_str());
        span.set(gen_ai::REQUEST_MODEL, deployment.model.as_str());
        span.set(ours::ALIAS, asked.alias);
        span.set(ours::DEPLOYMENT, deployment.name.as_str());
        if kind == SpanKind::Client {
            span.set(http::METHOD, "POST");
        }
        if let Some((host, port)) = asked.server() {
            span.set(http::ADDRESS, host);
            if let Some(port) = port {
                span.set(http::PORT, i64::from(port));
            }
        }
        if self.tries > 1 {
            span.set(http::RESEND_COUNT, i64::from(self.tries - 1));
        }
        self.attempt = Some(span);
    }

    fn try_ended(&mut self, end: TryEnd<'_>) {
        let Some(mut span) = self.attempt.take() else { return };
        let (status, failure) = match end {
            TryEnd::Answered(status) => (status, None),
            TryEnd::Failed(failure) => (failure.http_status, Some(failure)),
        };
        if let Some(status) = status {
            span.set(http::STATUS, i64::from(status));
        }
        if let Some(failure) = failure {
            span.fail(failure.class.as_str());
        }
        span.end();
    }
}

fn answered(span: &mut Span, outcome: &ModelOutcome) {
    span.set(gen_ai::PROVIDER, outcome.provider.as_str());
    span.set(gen_ai::RESPONSE_MODEL, outcome.model_used.as_str());
    if let Some(reason) = &outcome.finish_reason {
        span.set(gen_ai::FINISH_REASONS, Value::Texts(vec![reason.clone()]));
    }
    if let Some(usage) = outcome.usage {
        span.set(gen_ai::INPUT_TOKENS, usage.input_tokens);
        span.set(gen_ai::OUTPUT_TOKENS, usage.output_tokens);
        span.set(gen_ai::CACHED_TOKENS, usage.cached_tokens);
        span.set(gen_ai::REASONING_TOKENS, usage.reasoning_tokens);
    }
    if let Some(cost) = &outcome.cost {
        span.set(ours::COST_MICROS, cost.micros);
        span.set(ours::CURRENCY, cost.currency.as_str());
    }
    if let Some(ms) = outcome.time_to_first_token_ms {
        span.set(ours::FIRST_TOKEN_MS, ms);
    }
    span.set(ours::DEPLOYMENT, outcome.deployment.as_str());
    span.set(ours::TRIES, i64::from(outcome.tries));
    span.set(ours::QUEUED_MS, outcome.queued_ms);
}

/// A sink whose tries become spans.
pub(crate) struct Traced<'s, 'a> {
    inner: &'s mut dyn ChunkSink,
    spans: &'s mut CallSpans<'a>,
}

impl ChunkSink for Traced<'_, '_> {
    fn try_begins(&mut self, attempt: i32) {
        self.spans.tries = attempt;
        self.inner.try_begins(attempt);
    }

    fn delta(&mut self, delta: Delta) {
        self.inner.delta(delta);
    }

    fn queued(&mut self, attempt: i32, place: QueuePlace) {
        self.inner.queued(attempt, place);
    }

    fn asks(&mut self, asked: Asked<'_>) {
        self.spans.asks(asked);
    }

    fn try_ended(&mut self, end: TryEnd<'_>) {
        self.spans.try_ended(end);
    }
}
