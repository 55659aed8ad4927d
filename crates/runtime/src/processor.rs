//! What a processor author writes.

use std::fmt::Debug;
use std::future::Future;

use domain::answer::{Answer, ErrorClass, Failure};
use domain::fact::Order;
use domain::request::{ModelRequest, Origin};
use domain::time::Millis;
use domain::topic::{Kind, Topic};
use domain::trace::{SpanId, TraceContext};
use schemas::{DecodeError, Field, Problem, Reader, Record};

use crate::context::Context;

/// A processor: a pure `step` and, where it needs one, an async `call`.
pub trait Processor: Send + Sync + Sized + 'static {
    /// Which feed, log and state it owns.
    const KIND: Kind;
    /// The record of its feed.
    type Request: Record + Clone + Debug;
    /// Its own state entries; each is stored under a name within its entity.
    type Entry: Record + Clone + PartialEq + Debug;
    /// What an outside call needs to know. [`NoCall`] when there is none.
    type Call: Record + Clone + Debug;
    /// What a finished call reports.
    type Fact: Record + Clone + Debug;

    /// What a request is about. Pure: read from the request alone.
    fn subject(&self, request: &Self::Request) -> Subject;

    /// Whether there is an entity of this id as soon as another one commands it: one that no request starts.
    fn opens(&self, entity: &str) -> bool {
        let _ = entity;
        false
    }

    /// Validates a request before it is admitted: the one place that may consult the catalogue. Returns the
    /// version of the definition to pin, which becomes part of the `Admitted` fact.
    ///
    /// # Errors
    /// A [`Refusal`]: the request becomes a dead letter and a `Rejected`, or is looked at again shortly.
    fn admit(&self, request: &Self::Request) -> Result<Option<i32>, Refusal>;

    /// Whether the definition that `admit` found lets prompt and answer text go to the execution log. Asked
    /// right after it, and part of the `Admitted` fact like the version.
    fn content(&self, request: &Self::Request, version: Option<i32>) -> Content {
        let _ = (request, version);
        Content::Withheld
    }

    /// Folds one event into the entity of `context`. Pure: state, event and state time are all it sees, so
    /// two owners, or one owner twice, put out the same.
    ///
    /// # Errors
    /// [`StepError::Broken`], or a panic, fails the entity after a few tries; the partition goes on.
    /// [`StepError::NotYet`] holds the partition until the step can be made.
    fn step(&self, event: Event<Self>, context: &mut Context<'_, Self>) -> Result<(), StepError>;

    /// Ends the entity because folding failed for good or an output was too large. Pure as `step`.
    fn fail(&self, failure: &Failure, context: &mut Context<'_, Self>);

    /// Something was done that no replay repeats: for telemetry, and nothing else. Must return at once. What
    /// a process did just before it died may never be told, and an admission whose outcome was unknown is
    /// told again.
    fn observe(&self, observed: Observed<'_>) {
        let _ = observed;
    }

    /// Carries out an outside call. Dropped when the call is no longer wanted.
    fn call(
        &self,
        call: Self::Call,
        running: Running,
    ) -> impl Future<Output = Result<Self::Fact, Failure>> + Send {
        let _ = (call, running);
        async {
            Err(Failure::new(
                ErrorClass::Internal,
                "no_calls",
                "this processor makes no outside calls",
            ))
        }
    }
}

/// Whether prompt and answer text may stand in the execution log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// They stay in the records that are for them.
    Withheld,
    /// They may.
    Logged,
}

/// What a machine did as the owner, and not in a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed<'a> {
    /// It admitted a request; [`domain::trace::Entry::of`] has the span of that.
    Admitted {
        /// The request's entity.
        entity: &'a str,
        /// Whose it is.
        tenant: &'a str,
        /// The feed's partition and the request's offset in it.
        place: (i32, i64),
        /// When the request was written.
        written: Millis,
        /// `traceparent` of the request, as it came.
        trace_parent: Option<&'a str>,
    },
    /// An output of a fold stands in its topic; only of events that say below which span that is.
    Published {
        /// The entity.
        entity: &'a str,
        /// Whose it is.
        tenant: &'a str,
        /// The topic.
        topic: Topic,
        /// The span that the output's `traceparent` names.
        context: TraceContext,
        /// The span above it.
        below: SpanId,
        /// Milliseconds from the fold until it stood.
        waited_ms: i64,
    },
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The request's own id. A client's request is taken once for each id.
    pub request_id: String,
    /// The entity that the request starts or concerns; decides the partition. Often the same.
    pub entity: String,
    /// Whose it is.
    pub tenant: String,
    /// Who asked; `None` for clients.
    pub origin: Option<Origin>,
}

/// A model request is about itself.
impl From<&ModelRequest> for Subject {
    fn from(request: &ModelRequest) -> Self {
        Self {
            request_id: request.id.clone(),
            entity: request.id.clone(),
            tenant: request.tenant.clone(),
            origin: request.origin.clone(),
        }
    }
}

/// Why a request is not admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is wrong, and would be again.
    Invalid(Failure),
    /// It names something that is not known yet, e.g. a definition that was just proposed: look again
    /// shortly, then refuse with this.
    NotYet(Failure),
}

/// What a step folds.
#[derive(Debug)]
pub enum Event<P: Processor> {
    /// A request was taken in. The first event of a new entity.
    Admitted {
        /// The request.
        request: P::Request,
        /// The version that admission pinned.
        version: Option<i32>,
        /// `traceparent` of the admission: the request's trace, or one that begins here, and a span in it
        /// below which everything is that follows.
        trace_parent: Option<String>,
        /// Whether prompt and answer text may stand in rows, see [`Processor::content`].
        log_content: bool,
    },
    /// An outside call ended.
    Finished {
        /// Its key within the entity.
        call: String,
        /// The fence of the owner that ran it, see [`Running`].
        fence: i64,
        /// How.
        result: Result<P::Fact, Failure>,
    },
    /// A timer was due.
    Timer {
        /// Its key within the entity.
        timer: String,
    },
    /// Another processor answered a request of this entity.
    Answer(Box<Answer>),
    /// Somebody outside wants something of this entity.
    Command(Order),
}

/// A call that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its entity.
    pub entity: String,
    /// Its key within the entity.
    pub call: String,
    /// The fence of the owner that started it: the offset of its `TakenOver`.
    pub fence: i64,
}

/// Why a step can't be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// It never can; data of the entity may be damaged.
    #[error("{0}")]
    Broken(String),
    /// Not before something is here that is on its way, such as the definition that the entity is pinned
    /// to. The fold waits for it: whoever admitted the entity had it.
    #[error("{0}")]
    NotYet(String),
}

/// The call of a processor that makes none. There is no value of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCall {}

/// Nothing is ever written of it, and so nothing can be read.
impl Field for NoCall {
    fn write(&self, _: &mut Vec<u8>) {
        match *self {}
    }

    fn read(_: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Err(Problem::Unresolvable.into())
    }
}

/// It is registered nowhere, and never framed.
impl Record for NoCall {
    const NAME: &'static str = "io.stepstream.v1.NoCall";
    const SCHEMA: &'static str =
        r#"{"type":"record","name":"NoCall","namespace":"io.stepstream.v1","fields":[]}"#;
}
