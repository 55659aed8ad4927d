//! One call on behalf of a client who waits: published, followed, and cancelled when the client leaves.
//!
//! The live topics bring the answer; the store is asked now and then, so that an answer that was missed
//! while reading was interrupted, or that came before this request did, is found as well.

use std::time::Duration;

use domain::answer::{ErrorClass, Failure, Terminal};
use domain::event::{Chunk, EventType, ExecutionEvent};
use domain::fact::Order;
use domain::request::ModelRequest;
use domain::topic::Kind;
use follow::{Followed, Following};
use store::AcceptedExecution;
use tokio::time::Instant;

use crate::fault::Fault;
use crate::publish::now;
use crate::trace::Trace;
use crate::{App, metrics as names};

/// When the store is first asked for an answer that doesn't come; doubled up to [`ASK_AT_MOST`].
const ASK_FIRST: Duration = Duration::from_secs(1);
/// The longest between two questions to the store.
const ASK_AT_MOST: Duration = Duration::from_secs(16);

/// Whether a request may be one that was sent before, under the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Novelty {
    /// Its id was made just now.
    New,
    /// Its id is derived from what the client says: it may have ended long ago.
    Maybe,
}

/// How an execution ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) status: Terminal,
    pub(crate) output: Option<String>,
    pub(crate) failure: Option<Failure>,
}

/// What a client who waits is told.
#[derive(Debug)]
pub(crate) enum News {
    Chunk(Chunk),
    /// A newer try begins.
    Restart,
    Ended(Box<Ended>),
}

/// A published call.
pub(crate) struct Call {
    app: App,
    id: String,
    tenant: String,
    following: Following,
    accepted: AcceptedExecution,
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
    pub(crate) async fn start(
        app: &App,
        request: &ModelRequest,
        novelty: Novelty,
        trace: &Trace,
    ) -> Result<Self, Fault> {
        let (id, tenant) = (request.id.clone(), request.tenant.clone());
        let following = app.hub.follow(&tenant, &id);
        let armed = match novelty {
            Novelty::New => Armed::Yes,
            // Somebody else may wait for the same execution.
            Novelty::Maybe => Armed::No,
        };
        let guard = Guard { app: app.clone(), id: id.clone(), tenant: tenant.clone(), armed };
        ::metrics::gauge!(names::WAITING).increment(1.0);
        let mut call = Self {
            app: app.clone(),
            id,
            tenant,
            following,
            accepted: accepted(request),
            ask: Instant::now() + ASK_FIRST,
            pause: ASK_FIRST,
            guard,
        };
        if novelty == Novelty::Maybe {
            call.ask = Instant::now();
        }
        if let Err(error) = app.publish_request(request, trace).await {
            // Nobody can say whether it stands: the guard's cancel makes sure that it does no work.
            return Err(error.into_fault(Some(&call.id)));
        }
        Ok(call)
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What comes next. May be dropped while it waits.
    pub(crate) async fn news(&mut self) -> News {
        loop {
            tokio::select! {
                biased;
                followed = self.following.next() => match followed {
                    Followed::Event(event) => {
                        if let Some(ended) = Ended::of_event(*event) {
                            return self.ended(ended);
                        }
                    }
                    Followed::Chunk(chunk) => return News::Chunk(chunk),
                    Followed::Reset(_) => return News::Restart,
                    // What is missing stands in the answer, which completes the stream.
                    Followed::Gap(_) => {}
                    Followed::Lagged => self.ask = Instant::now(),
                },
                () = tokio::time::sleep_until(self.ask) => {
                    if let Some(ended) = self.ask_store().await {
                        ::metrics::counter!(names::FROM_STORE).increment(1);
                        return self.ended(ended);
                    }
                    self.ask = Instant::now() + self.pause;
                    self.pause = (self.pause * 2).min(ASK_AT_MOST);
                }
            }
        }
    }

    /// How it ended, when it does before `deadline`. What streams is passed over.
    pub(crate) async fn answer(&mut self, deadline: Instant) -> Result<Ended, Fault> {
        loop {
            match tokio::time::timeout_at(deadline, self.news()).await {
                Ok(News::Ended(ended)) => return Ok(*ended),
                Ok(News::Chunk(_) | News::Restart) => {}
                Err(_) => return Err(self.leave().await),
            }
        }
    }

    /// Lets the work go on without this client, who may fetch the answer later.
    pub(crate) async fn leave(&mut self) -> Fault {
        self.guard.armed = Armed::No;
        if let Err(error) = self.app.store.put_accepted(self.accepted.clone()).await {
            tracing::warn!(%error, "an execution can't be noted; its events will bring it");
        }
        Fault::Waiting { execution: self.id.clone() }
    }

    fn ended(&mut self, ended: Ended) -> News {
        self.guard.armed = Armed::No;
        News::Ended(Box::new(ended))
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

/// What the store is told of a request before its processor says anything.
pub(crate) fn accepted(request: &ModelRequest) -> AcceptedExecution {
    AcceptedExecution {
        id: request.id.clone(),
        tenant: request.tenant.clone(),
        kind: Kind::Model,
        definition: request.model.clone(),
        request_time: now(),
        labels: request.labels.clone(),
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
        Some(Self { status, output: event.data, failure: event.error })
    }

    fn of_execution(execution: store::Execution) -> Option<Self> {
        let status = match execution.status {
            store::Status::Succeeded => Terminal::Succeeded,
            store::Status::Failed => Terminal::Failed,
            store::Status::Cancelled => Terminal::Cancelled,
            store::Status::TimedOut => Terminal::TimedOut,
            _ => return None,
        };
        Some(Self { status, output: execution.output, failure: execution.error })
    }

    /// The answer's JSON, or why there is none.
    pub(crate) fn into_output(self, execution: &str) -> Result<String, Fault> {
        let failed = |failure| Fault::Ended { execution: execution.to_owned(), failure };
        let failure = |class, code: &str, message: &str| Failure::new(class, code, message);
        Err(match self.status {
            Terminal::Succeeded => {
                return self.output.ok_or_else(|| Fault::Unusable {
                    execution: execution.to_owned(),
                    problem: "the execution succeeded without an answer".into(),
                });
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
