//! One call on behalf of a client who waits: published, followed, and cancelled when the client leaves.
//!
//! The live topics bring the answer; the store is asked now and then, so that an answer that was missed
//! while reading was interrupted, or that came before this request did, is found as well.

use std::time::Duration;

use domain::answer::{Cost, ErrorClass, Failure, Terminal, Usage};
use domain::claim::ClaimCheck;
use domain::event::{Chunk, EventType, ExecutionEvent, Position};
use domain::fact::Order;
use domain::time::Millis;
use domain::topic::Kind;
use follow::{Followed, Following};
use store::{AcceptedExecution, Claims, StoreError};
use tokio::time::Instant;

use crate::fault::Fault;
use crate::start::{Intent, Novelty, Orphan, Standing};
use crate::trace::Trace;
use crate::{App, metrics as names};

/// When the store is first asked for an answer that doesn't come; doubled up to [`ASK_AT_MOST`].
const ASK_FIRST: Duration = Duration::from_secs(1);
/// The longest between two questions to the store.
const ASK_AT_MOST: Duration = Duration::from_secs(16);

/// How an execution ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) status: Terminal,
    pub(crate) output: Option<String>,
    /// Stands for an output that could not be had.
    pub(crate) output_claim: Option<ClaimCheck>,
    pub(crate) failure: Option<Failure>,
    pub(crate) usage: Option<Usage>,
    pub(crate) cost: Option<Cost>,
    pub(crate) time: Millis,
    pub(crate) position: Option<Position>,
}

/// What a client who waits is told.
#[derive(Debug)]
pub(crate) enum News {
    Chunk(Chunk),
    /// A newer try begins.
    Restart,
    Ended(Box<Ended>),
}

/// Why nothing more is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Time,
    Closing,
}

/// A published call.
pub(crate) struct Call {
    app: App,
    id: String,
    tenant: String,
    following: Following,
    accepted: Option<AcceptedExecution>,
    standing: Standing,
    /// The ending whose answer is being fetched.
    ending: Option<Box<Ended>>,
    ask: Instant,
    pause: Duration,
    guard: Guard,
}

/// Cancels the execution when its client leaves before it ended.
struct Guard {
    app: App,
    id: String,
    tenant: String,
    armed: Armed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Armed {
    Yes,
    No,
}

impl Call {
    /// Follows, then publishes: nothing of the answer can be missed.
    pub(crate) async fn start(app: &App, intent: &Intent, trace: &Trace) -> Result<Self, Fault> {
        let (id, tenant) = (intent.request.id().to_owned(), intent.request.tenant().to_owned());
        let following = app.hub.follow(&tenant, &id);
        let armed = match (intent.novelty, intent.orphan) {
            (Novelty::New, Orphan::Cancelled) => Armed::Yes,
            // Somebody else may wait for the same execution, or the client comes back for it.
            (Novelty::Maybe, _) | (_, Orphan::Kept) => Armed::No,
        };
        let guard = Guard { app: app.clone(), id: id.clone(), tenant: tenant.clone(), armed };
        ::metrics::gauge!(names::WAITING).increment(1.0);
        let mut call = Self {
            app: app.clone(),
            id,
            tenant,
            following,
            accepted: Some(intent.accepted()),
            standing: Standing::First,
            ending: None,
            ask: Instant::now() + ASK_FIRST,
            pause: ASK_FIRST,
            guard,
        };
        // After an error nobody can say whether it stands: the guard's cancel makes sure that it does no
        // work.
        call.standing = app.start(intent, trace).await?;
        if intent.novelty == Novelty::Maybe {
            call.ask = Instant::now();
        }
        Ok(call)
    }

    /// Waits for an execution that somebody started before.
    pub(crate) fn attach(app: &App, execution: &store::Execution) -> Self {
        let (id, tenant) = (execution.id.clone(), execution.tenant.clone());
        let following = app.hub.follow(&tenant, &id);
        let guard =
            Guard { app: app.clone(), id: id.clone(), tenant: tenant.clone(), armed: Armed::No };
        ::metrics::gauge!(names::WAITING).increment(1.0);
        Self {
            app: app.clone(),
            id,
            tenant,
            following,
            accepted: None,
            standing: Standing::First,
            ending: None,
            ask: Instant::now(),
            pause: ASK_FIRST,
            guard,
        }
    }

    /// Whether this request started the execution.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    pub(crate) fn app(&self) -> &App {
        &self.app
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What comes next. May be dropped while it waits.
    pub(crate) async fn news(&mut self) -> News {
        loop {
            // It stays where it is while its answer is fetched, since this may be dropped meanwhile.
            if let Some(ending) = &mut self.ending {
                match ending.fill(&self.app.claims, &self.tenant).await {
                    Ok(()) => {
                        if let Some(ending) = self.ending.take() {
                            return self.ended(ending);
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the store can't be asked for a large answer");
                        self.ending = None;
                        self.ask_later();
                    }
                }
            }
            tokio::select! {
                biased;
                followed = self.following.next() => match followed {
                    Followed::Event(event) => {
                        if let Some(ended) = Ended::of_event(*event) {
                            self.ending = Some(Box::new(ended));
                        }
                    }
                    Followed::Chunk(chunk) => return News::Chunk(chunk),
                    Followed::Reset(_) => return News::Restart,
                    // What is missing stands in the answer, which completes the stream.
                    // Where it waits isn't said in OpenAI's shapes.
                    Followed::Gap(_) | Followed::Queued(_) => {}
                    Followed::Lagged => self.ask = Instant::now(),
                },
                () = tokio::time::sleep_until(self.ask) => {
                    if let Some(ended) = self.ask_store().await {
                        ::metrics::counter!(names::FROM_STORE).increment(1);
                        self.ending = Some(Box::new(ended));
                    } else {
                        self.ask_later();
                    }
                }
            }
        }
    }

    fn ask_later(&mut self) {
        self.ask = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(ASK_AT_MOST);
    }

    /// What comes next before `deadline`, and before this gateway has to let its clients go. After an error
    /// the work goes on.
    pub(crate) async fn news_before(&mut self, deadline: Instant) -> Result<News, Fault> {
        let fault = match self.news_or_stop(deadline).await {
            Ok(news) => return Ok(news),
            Err(Stop::Time) => Fault::Waiting { execution: self.id.clone() },
            Err(Stop::Closing) => Fault::Restarting { execution: self.id.clone() },
        };
        self.leave().await;
        Err(fault)
    }

    /// The same, but `None` when nothing has come until `patience`.
    pub(crate) async fn news_within(
        &mut self,
        patience: Instant,
        deadline: Instant,
    ) -> Result<Option<News>, Fault> {
        if deadline <= patience {
            return self.news_before(deadline).await.map(Some);
        }
        match self.news_or_stop(patience).await {
            Ok(news) => Ok(Some(news)),
            // Closing is told when the client has its head.
            Err(Stop::Time | Stop::Closing) => Ok(None),
        }
    }

    async fn news_or_stop(&mut self, until: Instant) -> Result<News, Stop> {
        let app = self.app.clone();
        tokio::select! {
            biased;
            news = self.news() => Ok(news),
            () = app.closing.asked() => Err(Stop::Closing),
            () = tokio::time::sleep_until(until) => Err(Stop::Time),
        }
    }

    /// How it ended, when it does before `deadline`. What streams is passed over.
    pub(crate) async fn answer(&mut self, deadline: Instant) -> Result<Ended, Fault> {
        loop {
            if let News::Ended(ended) = self.news_before(deadline).await? {
                return Ok(*ended);
            }
        }
    }

    /// Lets the work go on without this client, who may fetch the answer later.
    pub(crate) async fn leave(&mut self) {
        self.guard.armed = Armed::No;
        if let Some(accepted) = self.accepted.take()
            && let Err(error) = self.app.store.put_accepted(accepted).await
        {
            tracing::warn!(%error, "an execution can't be noted; its events will bring it");
        }
    }

    fn ended(&mut self, ended: Box<Ended>) -> News {
        self.guard.armed = Armed::No;
        News::Ended(ended)
    }

    async fn ask_store(&self) -> Option<Ended> {
        match self.app.store.execution(&self.tenant, &self.id).await {
            Ok(execution) => execution.and_then(Ended::of_execution),
            Err(error) => {
                tracing::warn!(%error, "the store can't be asked for an answer");
                None
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        ::metrics::gauge!(names::WAITING).decrement(1.0);
    }
}

impl Ended {
    fn of_event(event: ExecutionEvent) -> Option<Self> {
        let status = match event.event_type {
            EventType::Succeeded => Terminal::Succeeded,
            EventType::Failed => Terminal::Failed,
            EventType::Cancelled => Terminal::Cancelled,
            EventType::TimedOut => Terminal::TimedOut,
            _ => return None,
        };
        let position = Some(event.position());
        let ExecutionEvent { data: output, error: failure, usage, cost, time, .. } = event;
        let output_claim = event.data_claim;
        Some(Self { status, output, output_claim, failure, usage, cost, time, position })
    }

    pub(crate) fn of_execution(execution: store::Execution) -> Option<Self> {
        let status = match execution.status {
            store::Status::Succeeded => Terminal::Succeeded,
            store::Status::Failed => Terminal::Failed,
            store::Status::Cancelled => Terminal::Cancelled,
            store::Status::TimedOut => Terminal::TimedOut,
            _ => return None,
        };
        let position = execution.position;
        let store::Execution { output, output_claim, error: failure, usage, cost, .. } = execution;
        let time = execution.updated;
        Some(Self { status, output, output_claim, failure, usage, cost, time, position })
    }

    /// Puts the output in the place of its claim check, which stays where the value is gone.
    async fn fill(&mut self, claims: &Claims, tenant: &str) -> Result<(), StoreError> {
        let Some(claim) = &self.output_claim else { return Ok(()) };
        if let Some(text) = claims.text_or_gone(tenant, claim).await? {
            (self.output, self.output_claim) = (Some(text), None);
        }
        Ok(())
    }

    /// The answer's JSON, or why there is none.
    pub(crate) fn into_output(self, execution: &str) -> Result<String, Fault> {
        let failed =
            |failure| Fault::Ended { execution: execution.to_owned(), failure: Box::new(failure) };
        let failure = |class, code: &str, message: &str| Failure::new(class, code, message);
        Err(match self.status {
            Terminal::Succeeded => {
                let problem = match &self.output_claim {
                    Some(claim) => format!("its answer of {} bytes can't be had", claim.length),
                    None => "the execution succeeded without an answer".into(),
                };
                let execution = execution.to_owned();
                return self.output.ok_or(Fault::Unusable { execution, problem });
            }
            Terminal::Cancelled => {
                failed(failure(ErrorClass::Invalid, "cancelled", "the execution was cancelled"))
            }
            Terminal::TimedOut => failed(self.failure.unwrap_or_else(|| {
                failure(ErrorClass::Timeout, "timed_out", "the execution's deadline passed")
            })),
            Terminal::Failed => failed(self.failure.unwrap_or_else(|| {
                failure(ErrorClass::Internal, "unknown", "the execution failed and doesn't say why")
            })),
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // When the gateway itself stops, the work goes on: the client may fetch it elsewhere.
        if self.armed == Armed::No || self.app.shutdown.is_asked() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (app, id, tenant) = (self.app.clone(), self.id.clone(), self.tenant.clone());
        ::metrics::counter!(names::ABANDONED).increment(1);
        runtime.spawn(async move {
            let order = Order::Cancel { reason: Some("the client left".into()) };
            if let Err(error) = app.publish_command(Kind::Model, &id, &tenant, order, None).await {
                tracing::warn!(execution_id = id, %error, "an abandoned execution goes on");
            }
        });
    }
}
