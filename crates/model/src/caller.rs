//! The way in: what a caller of models is given, and what it gives back. How a call goes is in `call`.

use std::sync::Arc;
use std::time::Duration;

use domain::answer::{ErrorClass, Failure, ModelOutcome};
use domain::event::{ChunkKind, QueuePlace};
use domain::model_definition::{Deployment, ModelDefinition, Provider};
use domain::request::ModelRequest;
use tokio::time::Instant;

use crate::call::{Call, Limit};
use crate::environment::{Environment, SystemEnvironment};
use crate::live::Pool;
use crate::metrics::{self, CallLabels};
use crate::openai::http::Clients;
use crate::openai::preset;
use crate::scripted;
use crate::secret::KeySources;
use crate::try_once::Drivers;

/// The largest answer that is taken by default.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;
/// The longest call: a day.
const MAX_TOTAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The model definitions as this process knows them.
pub trait Definitions: Send + Sync {
    /// What `alias` means to `tenant`, at `version` or else at its newest.
    fn model(
        &self,
        tenant: &str,
        alias: &str,
        version: Option<i32>,
    ) -> Option<Arc<ModelDefinition>>;
}

/// Where the tokens of a call go while it runs. Must return at once: whoever needs to wait, queues.
pub trait ChunkSink: Send {
    /// A provider is asked, for the `attempt`-th time in this call (from 1). Whatever came before is void.
    fn try_begins(&mut self, attempt: i32);
    /// A piece of the answer. Never [`ChunkKind::Done`]: the end is the result of the call; nor
    /// [`ChunkKind::Queued`], which comes by [`Self::queued`].
    fn delta(&mut self, delta: Delta);
    /// The call waits before its `attempt`-th try, at this place: told at once when it has to wait, then when
    /// the place changes, at most once a second; and with the position 0 when a call that waited is asked.
    fn queued(&mut self, attempt: i32, place: QueuePlace) {
        let _ = (attempt, place);
    }
    /// Who is asked in the try that has just begun. For telemetry.
    fn asks(&mut self, asked: Asked<'_>) {
        let _ = asked;
    }
    /// How the try that began last ended; never told of one that was dropped. For telemetry.
    fn try_ended(&mut self, end: TryEnd<'_>) {
        let _ = end;
    }
}

/// Who is asked in a try.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The alias whose deployment it is: the one that was asked for, or a fallback.
    pub alias: &'a str,
    /// The deployment.
    pub deployment: &'a Deployment,
}

impl Asked<'_> {
    /// Where the provider is: host and port; `None` when it is in this process, or its address is no use.
    #[must_use]
    pub fn server(&self) -> Option<(String, Option<u16>)> {
        let base = match &self.deployment.base_url {
            Some(base) => base.as_str(),
            None => match self.deployment.provider {
                Provider::Anthropic => "https://api.anthropic.com",
                Provider::Gemini => "https://generativelanguage.googleapis.com",
                other => preset::base_url(other),
            },
        };
        let url = reqwest::Url::parse(base).ok()?;
        Some((url.host_str()?.to_owned(), url.port_or_known_default()))
    }
}

/// How a try ended.
#[derive(Clone, Copy, Debug)]
pub enum TryEnd<'a> {
    /// With an answer; the provider's HTTP status, where there was one.
    Answered(Option<i32>),
    /// Without.
    Failed(&'a Failure),
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// What it is.
    pub kind: ChunkKind,
    /// Which choice of the answer.
    pub choice: i32,
    /// The text, or a JSON array in the OpenAI delta shape for [`ChunkKind::ToolCalls`].
    pub text: String,
}

/// How a process calls models.
#[derive(Clone)]
pub struct Options {
    /// The places from which definitions may take keys.
    pub keys: KeySources,
    /// The largest answer that is taken, in bytes; a larger one fails the call.
    pub max_answer_bytes: usize,
    /// Time of day, chance and environment variables.
    pub environment: Arc<dyn Environment>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keys: KeySources::default(),
            max_answer_bytes: MAX_ANSWER_BYTES,
            environment: Arc::new(SystemEnvironment),
        }
    }
}

/// Calls models. Cheap to clone; clones share connections, queues and cooldowns.
#[derive(Clone)]
pub struct Caller {
    shared: Arc<Shared>,
}

/// What all calls of a process share.
pub(crate) struct Shared {
    pub(crate) definitions: Arc<dyn Definitions>,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) drivers: Drivers,
    pub(crate) pool: Pool,
}

impl Caller {
    /// A caller of the models that `definitions` knows. Opens no connection yet.
    #[must_use]
    pub fn new(options: Options, definitions: Arc<dyn Definitions>) -> Self {
        let Options { keys, max_answer_bytes, environment } = options;
        let drivers = Drivers {
            clients: Clients::default(),
            scripted: scripted::Engine::default(),
            keys,
            max_answer_bytes,
        };
        let pool = Pool::default();
        Self { shared: Arc::new(Shared { definitions, environment, drivers, pool }) }
    }

    /// Calls the model that `request` names, at `version` or else at its newest.
    ///
    /// Each try carries the request's id as `Idempotency-Key`. Dropping the future closes the
    /// provider's connection and leaves the queue.
    ///
    /// # Errors
    /// The last failure, after all tries and fallbacks that the definition allows.
    pub async fn call(
        &self,
        request: &ModelRequest,
        version: Option<i32>,
        sink: &mut dyn ChunkSink,
    ) -> Result<ModelOutcome, Failure> {
        let started = Instant::now();
        let _in_flight = metrics::InFlight::begin();
        let mut labels = CallLabels::new(request.operation);
        let result = self.call_unmeasured(request, version, sink, started, &mut labels).await;
        metrics::record_call(&labels, started.elapsed(), &result);
        result
    }

    async fn call_unmeasured(
        &self,
        request: &ModelRequest,
        version: Option<i32>,
        sink: &mut dyn ChunkSink,
        started: Instant,
        labels: &mut CallLabels,
    ) -> Result<ModelOutcome, Failure> {
        let tenant = request.tenant.as_str();
        let definition =
            self.shared.definitions.model(tenant, &request.model, version).ok_or_else(|| {
                let message = format!("there is no model {}", request.model);
                Failure::new(ErrorClass::NotFound, "unknown_model", message)
            })?;
        labels.model.clone_from(&request.model);
        let limit = self.limit(request, &definition)?;
        let mut call = Call::new(&self.shared, request, definition, started + limit.within)?;
        let result = match tokio::time::timeout_at(started + limit.within, call.run(sink)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(limit.failure(call.cut_off())),
        };
        labels.provider = call.provider();
        match call.asked_last() {
            Some((deployment, provider)) => {
                result.map_err(|failure| failure.asked_last(deployment, provider))
            }
            None => result,
        }
    }

    /// How long the call may take, and what to call it when it takes longer.
    fn limit(
        &self,
        request: &ModelRequest,
        definition: &ModelDefinition,
    ) -> Result<Limit, Failure> {
        let total = match request.timeout_ms {
            None => Duration::from_millis(definition.timeouts.total_ms),
            Some(ms) => Duration::from_millis(
                u64::try_from(ms).ok().filter(|ms| *ms > 0).ok_or_else(|| {
                    Failure::new(
                        ErrorClass::Invalid,
                        "invalid_timeout",
                        "timeout_ms is not positive",
                    )
                })?,
            ),
        };
        let total = Limit { within: total.min(MAX_TOTAL), code: "total_timeout" };
        let Some(deadline) = request.deadline else {
            return Ok(total);
        };
        let left = deadline.since(self.shared.environment.now());
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        let deadline = Limit { within: left, code: "deadline_exceeded" };
        if deadline.within.is_zero() {
            return Err(deadline.failure(None));
        }
        Ok(if deadline.within < total.within { deadline } else { total })
    }
}
