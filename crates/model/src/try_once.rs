//! One try: a deployment is asked once, and either answers or fails. Finds the key, picks the driver, and
//! decides nothing.

use std::time::Duration;

use domain::answer::{ErrorClass, Failure, Usage};
use domain::event::ChunkKind;
use domain::model_definition::{Deployment, Provider, Timeouts};
use domain::request::{ModelRequest, Operation};
use domain::time::Millis;
use secrecy::SecretString;
use tokio::time::Instant;

use crate::caller::{Asked, ChunkSink, Delta, TryEnd};
use crate::environment::Environment;
use crate::openai::body::Body;
use crate::secret::{self, KeySources};
use crate::{anthropic_gemini, openai, scripted};

/// Whether the provider is asked to stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Token by token.
    Stream,
    /// In one piece.
    Whole,
}

impl Delivery {
    /// How a request is delivered: only operations that produce tokens can stream.
    pub(crate) fn of(request: &ModelRequest) -> Self {
        match request.operation {
            Operation::Chat | Operation::TextCompletion if request.stream => Self::Stream,
            _ => Self::Whole,
        }
    }
}

/// What a driver needs to know.
#[derive(Clone, Copy)]
pub(crate) struct Try<'a> {
    /// The request.
    pub(crate) request: &'a ModelRequest,
    /// Its body, read.
    pub(crate) body: &'a Body,
    /// Who is asked.
    pub(crate) deployment: &'a Deployment,
    /// How long it may take.
    pub(crate) timeouts: &'a Timeouts,
    /// The key, where there is one.
    pub(crate) key: Option<&'a SecretString>,
    /// How the answer comes.
    pub(crate) delivery: Delivery,
    /// When the try began.
    pub(crate) started: Instant,
    /// The time of day, for dates in `retry-after`.
    pub(crate) now: Millis,
}

impl Try<'_> {
    /// The point in time until which the first token must have come.
    pub(crate) fn first_token_by(&self) -> Instant {
        self.started + Duration::from_millis(self.timeouts.first_token_ms)
    }

    /// The longest time between two tokens.
    pub(crate) fn between_tokens(&self) -> Duration {
        Duration::from_millis(self.timeouts.between_tokens_ms)
    }

    /// A failure of this deployment.
    pub(crate) fn failure(
        &self,
        class: ErrorClass,
        code: &str,
        message: impl Into<String>,
    ) -> Failure {
        Failure::new(class, code, message).from_source(&self.deployment.name)
    }
}

/// What a provider answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The answer in the `OpenAI` shape of the operation.
    pub(crate) body: String,
    /// The model that it says it used.
    pub(crate) model_used: Option<String>,
    /// Why the model stopped.
    pub(crate) finish_reason: Option<String>,
    /// What it used.
    pub(crate) usage: Option<Usage>,
    /// HTTP status.
    pub(crate) http_status: Option<i32>,
}

/// Why a try failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TryFailure {
    /// The failure.
    pub(crate) failure: Failure,
    /// How long the provider asks to wait.
    pub(crate) retry_after: Option<Duration>,
}

impl From<Failure> for TryFailure {
    fn from(failure: Failure) -> Self {
        Self { failure, retry_after: None }
    }
}

/// Passes deltas on and remembers when the first came.
pub(crate) struct Listener<'a> {
    sink: &'a mut dyn ChunkSink,
    started: Instant,
    first: Option<Duration>,
}

impl<'a> Listener<'a> {
    /// Listens to the try with this number.
    pub(crate) fn new(
        sink: &'a mut dyn ChunkSink,
        attempt: i32,
        started: Instant,
        asked: Asked<'_>,
    ) -> Self {
        sink.try_begins(attempt);
        sink.asks(asked);
        Self { sink, started, first: None }
    }

    /// Passes on one piece.
    pub(crate) fn hear(&mut self, kind: ChunkKind, choice: i32, text: String) {
        if text.is_empty() {
            return;
        }
        self.first.get_or_insert_with(|| self.started.elapsed());
        self.sink.delta(Delta { kind, choice, text });
    }

    /// Whether a token has come.
    pub(crate) fn heard(&self) -> bool {
        self.first.is_some()
    }

    /// Nothing more will come.
    pub(crate) fn ended(&mut self, end: TryEnd<'_>) {
        self.sink.try_ended(end);
    }

    /// How long the first token took.
    pub(crate) fn time_to_first(&self) -> Option<Duration> {
        self.first
    }
}

/// Whether a provider has the operation at all.
pub(crate) fn offers(provider: Provider, operation: Operation) -> bool {
    match provider {
        Provider::Anthropic | Provider::Gemini => operation == Operation::Chat,
        _ => openai::preset::path(provider, operation).is_some(),
    }
}

/// What drivers share over all calls.
pub(crate) struct Drivers {
    /// HTTP connections.
    pub(crate) clients: openai::http::Clients,
    /// The scripted provider of this process.
    pub(crate) scripted: scripted::Engine,
    /// Where keys may be.
    pub(crate) keys: KeySources,
    /// The largest answer, in bytes.
    pub(crate) max_answer_bytes: usize,
}

impl Drivers {
    /// Asks once.
    pub(crate) async fn ask(
        &self,
        ask: Try<'_>,
        environment: &dyn Environment,
        listener: &mut Listener<'_>,
    ) -> Result<Reply, TryFailure> {
        let key = match &ask.deployment.key {
            Some(reference) => Some(
                secret::resolve(&self.keys, environment, reference)
                    .await
                    .map_err(|failure| failure.from_source(&ask.deployment.name))?,
            ),
            None => None,
        };
        let ask = Try { key: key.as_ref(), ..ask };
        match ask.deployment.provider {
            Provider::Anthropic | Provider::Gemini => {
                anthropic_gemini::ask(self, ask, listener).await
            }
            _ => openai::ask(self, ask, listener).await,
        }
    }
}
