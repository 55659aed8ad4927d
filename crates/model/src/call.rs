//! One call under way: reads the facts, lets `policy` decide, acts, until there is an answer or none to
//! be had. It keeps nothing outside its own stack but places in queues, so dropping it is cancelling.

use std::sync::Arc;
use std::time::Duration;

use domain::answer::{ErrorClass, Failure, ModelOutcome};
use domain::event::QueuePlace;
use domain::model_definition::{Deployment, ModelDefinition};
use domain::request::{JSON, ModelRequest};
use tokio::time::Instant;

use crate::caller::{Asked as Who, ChunkSink, Shared, TryEnd};
use crate::live::{Began, Live};
use crate::metrics;
use crate::openai::body::Body;
use crate::policy::{self, Candidate, Facts, FailedTry, Next};
use crate::queue::Permit;
use crate::try_once::{self, Delivery, Listener, Reply, Try, TryFailure};

/// The bound of a whole call.
pub(crate) struct Limit {
    /// From its start.
    pub(crate) within: Duration,
    /// What a failure by it is called.
    pub(crate) code: &'static str,
}

impl Limit {
    /// The failure of a call that reached it; `last`: what came before.
    pub(crate) fn failure(&self, last: Option<&Failure>) -> Failure {
        let within = self.within.as_millis();
        let before = last.map_or(String::new(), |last| format!("; before: {last}"));
        let message = format!("no answer within {within} ms{before}");
        Failure::new(ErrorClass::Timeout, self.code, message)
    }
}

/// An alias while it is being asked.
struct Alias {
    name: String,
    definition: Arc<ModelDefinition>,
    /// What the process knows of each deployment, in the definition's order.
    live: Vec<Arc<Live>>,
    /// What this call knows of each.
    asked: Vec<Asked>,
    /// How often the alias was tried.
    tries: u32,
}

/// What a call knows of a deployment.
#[derive(Clone, Copy)]
struct Asked {
    tries: u32,
    out: bool,
}

impl Alias {
    /// Fails when no deployment offers the operation.
    fn new(
        shared: &Shared,
        request: &ModelRequest,
        name: &str,
        definition: Arc<ModelDefinition>,
    ) -> Result<Self, Failure> {
        let operation = request.operation;
        let wanted = &definition.capabilities.operations;
        let allowed = wanted.is_empty() || wanted.contains(&operation);
        let deployments = &definition.deployments;
        let asked: Vec<Asked> = deployments
            .iter()
            .map(|d| Asked { tries: 0, out: !allowed || !try_once::offers(d.provider, operation) })
            .collect();
        if asked.iter().all(|asked| asked.out) {
            let message = format!("model {name} doesn't offer {}", operation.as_str());
            return Err(Failure::new(ErrorClass::Invalid, "operation_not_offered", message));
        }
        let live = deployments.iter().map(|d| shared.pool.get(&request.tenant, name, d)).collect();
        Ok(Self { name: name.to_owned(), definition, live, asked, tries: 0 })
    }

    /// The facts about each deployment, now.
    fn candidates(&self, now: Instant) -> Vec<Candidate> {
        let facts = self.definition.deployments.iter().zip(&self.live).zip(&self.asked);
        facts
            .map(|((deployment, live), asked)| Candidate {
                load: live.gate.load(),
                concurrency: deployment.concurrency,
                weight: deployment.weight,
                cooling: live.health().cooling(now),
                tries: asked.tries,
                out: asked.out,
            })
            .collect()
    }
}

/// The try that runs at this moment.
struct Running {
    live: Arc<Live>,
    since: Instant,
}

/// What came of going to a deployment.
enum Visit {
    Answered(Box<ModelOutcome>),
    Failed(FailedTry),
    /// It failed for others while this call waited in its queue; it wasn't asked.
    Cooling,
}

/// One call under way.
pub(crate) struct Call<'a> {
    shared: &'a Shared,
    request: &'a ModelRequest,
    body: Body,
    /// The definition that was asked for: its fallbacks count.
    asked_for: Arc<ModelDefinition>,
    alias: Alias,
    /// Names of all aliases that were asked or passed over.
    visited: Vec<String>,
    started: Instant,
    ends: Instant,
    /// Over all aliases.
    tries: i32,
    queued: Duration,
    /// The client was told that the call waits, and not yet that it doesn't any more.
    said_to_wait: bool,
    running: Option<Running>,
    provider: &'static str,
    /// The deployment that was asked last.
    deployment: Option<String>,
    last_failure: Option<Failure>,
}

impl<'a> Call<'a> {
    /// A call that must have ended at `ends`. Fails when the request makes no sense.
    pub(crate) fn new(
        shared: &'a Shared,
        request: &'a ModelRequest,
        definition: Arc<ModelDefinition>,
        ends: Instant,
    ) -> Result<Self, Failure> {
        let body = Body::parse(&request.body).map_err(|problem| {
            let message = format!("the body {problem}");
            Failure::new(ErrorClass::Invalid, "invalid_body", message)
        })?;
        Ok(Self {
            shared,
            request,
            body,
            asked_for: Arc::clone(&definition),
            alias: Alias::new(shared, request, &request.model, definition)?,
            visited: vec![request.model.clone()],
            started: Instant::now(),
            ends,
            tries: 0,
            queued: Duration::ZERO,
            said_to_wait: false,
            running: None,
            provider: metrics::NO_PROVIDER,
            deployment: None,
            last_failure: None,
        })
    }

    /// The provider that was asked last.
    pub(crate) fn provider(&self) -> &'static str {
        self.provider
    }

    /// The deployment that was asked last, and its provider.
    pub(crate) fn asked_last(&self) -> Option<(&str, &'static str)> {
        Some((self.deployment.as_deref()?, self.provider))
    }

    /// Runs it to its end.
    pub(crate) async fn run(&mut self, sink: &mut dyn ChunkSink) -> Result<ModelOutcome, Failure> {
        let mut failed: Option<FailedTry> = None;
        loop {
            let deployment = match self.decide(failed.as_ref()) {
                Next::Ask { deployment } => deployment,
                Next::Retry { deployment, after } => {
                    tokio::time::sleep(after).await;
                    deployment
                }
                Next::Fallback { alias } => {
                    if let Some(alias) = self.find(alias) {
                        self.alias = alias;
                        failed = None;
                    }
                    continue;
                }
                // What a provider said is of more use than that its deployments cool down.
                Next::GiveUp(failure) => return Err(self.last_failure.take().unwrap_or(failure)),
            };
            match self.visit(deployment, sink).await {
                Visit::Answered(outcome) => return Ok(*outcome),
                Visit::Failed(failure) => failed = Some(failure),
                Visit::Cooling => failed = None,
            }
        }
    }

    /// The time is up. Says what failed before, and holds it against a deployment that was given the
    /// time for a first token and had not answered.
    pub(crate) fn cut_off(&mut self) -> Option<&Failure> {
        if let Some(Running { live, since }) = self.running.take() {
            let patience = Duration::from_millis(self.alias.definition.timeouts.first_token_ms);
            if since.elapsed() >= patience {
                live.health().failed(Instant::now(), &self.alias.definition.cooldown, None);
            }
        }
        self.last_failure.as_ref()
    }

    fn decide(&self, failed: Option<&FailedTry>) -> Next {
        let now = Instant::now();
        policy::next(&Facts {
            deployments: &self.alias.candidates(now),
            balance: self.alias.definition.balance,
            retry: self.alias.definition.retry,
            tries: self.alias.tries,
            failed,
            fallbacks: &self.asked_for.fallbacks,
            visited: &self.visited,
            left: self.ends.saturating_duration_since(now),
            random: self.shared.environment.random(),
        })
    }

    /// The fallback of this name, which counts as visited whether or not it can be asked.
    fn find(&mut self, name: String) -> Option<Alias> {
        let tenant = self.request.tenant.as_str();
        let alias = match self.shared.definitions.model(tenant, &name, None) {
            Some(definition) => Alias::new(self.shared, self.request, &name, definition)
                .inspect_err(|failure| tracing::warn!(tenant, %failure, "fallback can't be asked"))
                .ok(),
            None => {
                tracing::warn!(tenant, alias = name, "fallback names a model that doesn't exist");
                None
            }
        };
        if alias.is_some() {
            metrics::record_fallback(&self.request.model);
        }
        self.visited.push(name);
        alias
    }

    /// Waits for a place at a deployment and asks it once.
    async fn visit(&mut self, index: usize, sink: &mut dyn ChunkSink) -> Visit {
        let definition = Arc::clone(&self.alias.definition);
        let deployment = &definition.deployments[index];
        let live = Arc::clone(&self.alias.live[index]);
        let arrived = Instant::now();
        let permit = self.wait(deployment, &live, sink).await;
        let since = Instant::now();
        self.queued += since.duration_since(arrived);
        if live.health().cooling(since).is_some() {
            permit.unused();
            return Visit::Cooling;
        }
        self.tries += 1;
        if std::mem::take(&mut self.said_to_wait) {
            sink.queued(self.tries, QueuePlace::TURN);
        }
        self.alias.tries += 1;
        self.alias.asked[index].tries += 1;
        self.provider = deployment.provider.as_str();
        self.deployment = Some(deployment.name.clone());
        self.running = Some(Running { live: Arc::clone(&live), since });
        let asked = Who { alias: &self.alias.name, deployment };
        let mut listener = Listener::new(sink, self.tries, since, asked);
        let ask = Try {
            request: self.request,
            body: &self.body,
            deployment,
            timeouts: &definition.timeouts,
            key: None,
            delivery: Delivery::of(self.request),
            started: since,
            now: self.shared.environment.now(),
        };
        let environment = self.shared.environment.as_ref();
        let result = self.shared.drivers.ask(ask, environment, &mut listener).await;
        let first_token = listener.time_to_first();
        listener.ended(match &result {
            Ok(reply) => TryEnd::Answered(reply.http_status),
            Err(failed) => TryEnd::Failed(&failed.failure),
        });
        self.running = None;
        match result {
            Ok(reply) => {
                live.health().answered();
                Visit::Answered(Box::new(self.outcome(deployment, reply, first_token)))
            }
            Err(failure) => Visit::Failed(self.failed(index, &live, failure)),
        }
    }

    /// Waits for a place at a deployment, and says where it stands while it does.
    async fn wait(
        &mut self,
        deployment: &Deployment,
        live: &Live,
        sink: &mut dyn ChunkSink,
    ) -> Permit {
        let places = deployment.concurrency.unwrap_or(u32::MAX);
        let (attempt, alias) = (self.tries + 1, &self.alias.name);
        let said = &mut self.said_to_wait;
        let mut waits = None;
        let tell = &mut |place| {
            let provider = deployment.provider.as_str();
            waits.get_or_insert_with(|| metrics::Waiting::begin(provider, alias, &deployment.name));
            *said = true;
            sink.queued(attempt, place);
        };
        live.gate.enter(places, self.request.priority, tell).await
    }

    /// Takes note of a failed try.
    fn failed(&mut self, index: usize, live: &Live, failed: TryFailure) -> FailedTry {
        let TryFailure { failure, retry_after } = failed;
        let deployment = &self.alias.definition.deployments[index];
        metrics::record_failed_try(self.provider, &self.request.model, failure.class);
        tracing::debug!(
            request = self.request.id,
            alias = self.alias.name,
            deployment = deployment.name,
            attempt = self.tries,
            %failure,
            "try failed"
        );
        if policy::counts_against_deployment(failure.class) {
            let most = Duration::from_millis(self.alias.definition.retry.max_retry_after_ms);
            let asks = retry_after.map(|asks| asks.min(most));
            let rules = &self.alias.definition.cooldown;
            if live.health().failed(Instant::now(), rules, asks) == Began::Cooldown {
                metrics::record_cooldown(self.provider, &self.request.model);
                tracing::warn!(
                    alias = self.alias.name,
                    deployment = deployment.name,
                    class = failure.class.as_str(),
                    "deployment cools down"
                );
            }
        }
        self.alias.asked[index].out |= policy::is_out(&failure);
        self.last_failure = Some(failure.clone());
        FailedTry { deployment: index, failure, retry_after }
    }

    fn outcome(
        &self,
        deployment: &Deployment,
        reply: Reply,
        first_token: Option<Duration>,
    ) -> ModelOutcome {
        let cost =
            deployment.price.as_ref().zip(reply.usage).map(|(price, usage)| price.cost(&usage));
        ModelOutcome {
            body: reply.body,
            body_media_type: JSON.into(),
            provider: deployment.provider.as_str().into(),
            deployment: deployment.name.clone(),
            model_used: reply.model_used.unwrap_or_else(|| deployment.model.clone()),
            finish_reason: reply.finish_reason,
            usage: reply.usage,
            cost,
            tries: self.tries,
            queued_ms: millis(self.queued),
            duration_ms: millis(self.started.elapsed()),
            time_to_first_token_ms: first_token.map(millis),
            http_status: reply.http_status,
            body_claim: None,
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
