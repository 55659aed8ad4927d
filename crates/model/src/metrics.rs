//! The names of this crate's metrics, with units and meaning, and the only code that records them.
//!
//! Names follow OpenTelemetry's GenAI conventions (status: development) with `_` for `.`; labels are
//! provider, model alias, operation and error class. Never an id, a tenant's user, or a text.

use std::time::Duration;

use domain::answer::{ErrorClass, Failure, ModelOutcome};
use domain::request::Operation;
use metrics::{Gauge, Unit, counter, gauge, histogram};

/// `gen_ai.client.operation.duration`, in seconds: a whole call, queueing, tries and fallbacks included.
pub const CALL_SECONDS: &str = "gen_ai_client_operation_duration_seconds";
/// `gen_ai.client.operation.time_to_first_chunk`, in seconds: of the try that answered.
pub const FIRST_CHUNK_SECONDS: &str = "gen_ai_client_operation_time_to_first_chunk_seconds";
/// `gen_ai.client.token.usage`, in tokens: of one call, by [`TOKEN_TYPE`].
pub const TOKENS: &str = "gen_ai_client_token_usage";
/// Ours: seconds that a call waited in deployments' queues.
pub const QUEUE_SECONDS: &str = "stepstream_model_queue_seconds";
/// Ours: calls that wait in the queue of a deployment, by provider, alias and [`DEPLOYMENT`].
pub const WAITING: &str = "stepstream_model_calls_waiting";
/// Ours: tries that failed, by error class.
pub const FAILED_TRIES: &str = "stepstream_model_failed_tries_total";
/// Ours: calls that went on with another alias.
pub const FALLBACKS: &str = "stepstream_model_fallbacks_total";
/// Ours: deployments that began to cool down.
pub const COOLDOWNS: &str = "stepstream_model_cooldowns_total";
/// Ours: micro-units of [`CURRENCY`] that calls cost.
pub const COST_MICROS: &str = "stepstream_model_cost_micros_total";
/// Ours: calls under way.
pub const IN_FLIGHT: &str = "stepstream_model_calls_in_flight";

/// `gen_ai.provider.name`.
pub const PROVIDER: &str = "gen_ai_provider_name";
/// `gen_ai.request.model`: the alias; `unknown` when there is none of that name.
pub const MODEL: &str = "gen_ai_request_model";
/// `gen_ai.operation.name`.
pub const OPERATION: &str = "gen_ai_operation_name";
/// `gen_ai.token.type`: `input`, `output`, and ours, which are parts of those: `cached`, `reasoning`.
pub const TOKEN_TYPE: &str = "gen_ai_token_type";
/// `error.type`: the error class; empty when there was none.
pub const ERROR_TYPE: &str = "error_type";
/// The name of a deployment, in its alias.
pub const DEPLOYMENT: &str = "deployment";
/// ISO 4217 code.
pub const CURRENCY: &str = "currency";

/// The provider of a call that reached none.
pub(crate) const NO_PROVIDER: &str = "none";

/// Tells the recorder units and help texts. Once in a process, after the recorder is installed.
pub fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_histogram!(CALL_SECONDS, Unit::Seconds, "duration of model calls");
    describe_histogram!(FIRST_CHUNK_SECONDS, Unit::Seconds, "time to the first token of a try");
    describe_histogram!(TOKENS, Unit::Count, "tokens used by a model call");
    describe_histogram!(QUEUE_SECONDS, Unit::Seconds, "time in the queues of deployments");
    describe_gauge!(WAITING, Unit::Count, "model calls that wait in the queue of a deployment");
    describe_counter!(FAILED_TRIES, Unit::Count, "tries of providers that failed");
    describe_counter!(FALLBACKS, Unit::Count, "calls that went on with another alias");
    describe_counter!(COOLDOWNS, Unit::Count, "deployments that began to cool down");
    describe_counter!(COST_MICROS, Unit::Count, "cost of model calls in micro-units");
    describe_gauge!(IN_FLIGHT, Unit::Count, "model calls under way");
}

/// The labels of one call, as far as they are known.
pub(crate) struct CallLabels {
    /// The provider that was asked last.
    pub(crate) provider: &'static str,
    /// The alias that was asked for, once it is known to exist.
    pub(crate) model: String,
    operation: Operation,
}

impl CallLabels {
    pub(crate) fn new(operation: Operation) -> Self {
        Self { provider: NO_PROVIDER, model: "unknown".into(), operation }
    }
}

/// Counts a call while it runs, however it ends.
pub(crate) struct InFlight;

impl InFlight {
    pub(crate) fn begin() -> Self {
        gauge!(IN_FLIGHT).increment(1.0);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        gauge!(IN_FLIGHT).decrement(1.0);
    }
}

/// Counts a call while it waits for a deployment, however that ends.
pub(crate) struct Waiting(Gauge);

impl Waiting {
    pub(crate) fn begin(provider: &'static str, alias: &str, deployment: &str) -> Self {
        let (alias, deployment) = (alias.to_owned(), deployment.to_owned());
        let gauge = gauge!(WAITING, PROVIDER => provider, MODEL => alias, DEPLOYMENT => deployment);
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Records a call that ended.
pub(crate) fn record_call(
    labels: &CallLabels,
    duration: Duration,
    result: &Result<ModelOutcome, Failure>,
) {
    let error = result.as_ref().err().map_or("", |failure| failure.class.as_str());
    let common = [
        (PROVIDER, labels.provider.to_owned()),
        (MODEL, labels.model.clone()),
        (OPERATION, labels.operation.as_str().to_owned()),
    ];
    let mut with_error = common.to_vec();
    with_error.push((ERROR_TYPE, error.to_owned()));
    histogram!(CALL_SECONDS, &with_error).record(duration.as_secs_f64());
    let Ok(outcome) = result else { return };
    histogram!(QUEUE_SECONDS, &common).record(seconds(outcome.queued_ms));
    if let Some(first) = outcome.time_to_first_token_ms {
        histogram!(FIRST_CHUNK_SECONDS, &common).record(seconds(first));
    }
    if let Some(usage) = outcome.usage {
        for (token_type, tokens) in [
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("cached", usage.cached_tokens),
            ("reasoning", usage.reasoning_tokens),
        ] {
            let mut labels = common.to_vec();
            labels.push((TOKEN_TYPE, token_type.to_owned()));
            histogram!(TOKENS, &labels).record(tokens as f64);
        }
    }
    if let Some(cost) = &outcome.cost {
        let mut labels = common.to_vec();
        labels.push((CURRENCY, cost.currency.clone()));
        counter!(COST_MICROS, &labels).increment(u64::try_from(cost.micros).unwrap_or(0));
    }
}

/// Records a try that failed.
pub(crate) fn record_failed_try(provider: &'static str, model: &str, class: ErrorClass) {
    let model = model.to_owned();
    counter!(FAILED_TRIES, PROVIDER => provider, MODEL => model, ERROR_TYPE => class.as_str())
        .increment(1);
}

/// Records that a call of `model` went on with another alias.
pub(crate) fn record_fallback(model: &str) {
    counter!(FALLBACKS, MODEL => model.to_owned()).increment(1);
}

/// Records that a deployment of `model` began to cool down.
pub(crate) fn record_cooldown(provider: &'static str, model: &str) {
    counter!(COOLDOWNS, PROVIDER => provider, MODEL => model.to_owned()).increment(1);
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
