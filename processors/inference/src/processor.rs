//! The processor as the runtime sees it.

use std::fmt;
use std::sync::Arc;

use domain::answer::{Failure, ModelOutcome};
use domain::model_call::{ModelCall, WantedModelCall};
use domain::request::ModelRequest;
use domain::topic::Kind;
use model::{Caller, Definitions as _};
use runtime::context::Context;
use runtime::ports::Deltas;
use runtime::processor::{
    Content, Event, Observed, Processor, Refusal, Running, StepError, Subject,
};
use schemas::Ids;
use service::telemetry::Tracer;
use store::Claims;

use crate::chunks::Chunks;
use crate::large::Large;
use crate::models::{Models, Unfit};
use crate::spans::CallSpans;
use crate::{admission, metrics, spans, step};

/// Takes in model requests and has them answered.
pub struct Inference {
    models: Arc<Models>,
    caller: Caller,
    ids: Ids,
    deltas: Arc<dyn Deltas>,
    large: Large,
    tracer: Tracer,
}

impl Inference {
    /// A processor that admits and calls the models of `models`, and sends token deltas to `deltas`. Its
    /// spans go where those of the process go.
    #[must_use]
    pub fn new(
        models: Arc<Models>,
        calls: model::Options,
        ids: Ids,
        deltas: Arc<dyn Deltas>,
    ) -> Self {
        let definitions: Arc<dyn model::Definitions> = models.clone();
        let (caller, tracer) = (Caller::new(calls, definitions), Tracer::installed());
        Self { models, caller, ids, deltas, large: Large::new(None), tracer }
    }

    /// The same, with a place for what is too large for a record: one that gateways have as well.
    #[must_use]
    pub fn with_claims(self, claims: Claims) -> Self {
        Self { large: Large::new(Some(claims)), ..self }
    }

    /// The same, with its spans elsewhere.
    #[must_use]
    pub fn with_tracer(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    async fn ask(
        &self,
        call: &WantedModelCall,
        running: &Running,
        spans: &mut CallSpans<'_>,
    ) -> Result<ModelOutcome, Failure> {
        let WantedModelCall { request, version, .. } = call;
        if let Some(version) = version {
            self.models.arrival(&request.tenant, &request.model, *version).await?;
        }
        let fetched = self.large.fetch(request).await?;
        let request = fetched.as_ref().map_or(request, |fetched| &fetched.request);
        let chunks = Chunks::new(&self.ids, &*self.deltas, call, running);
        if !request.stream {
            let mut sink = chunks.places();
            let result = self.caller.call(request, *version, &mut spans.around(&mut sink)).await;
            return self.large.keep(&request.tenant, result?).await;
        }
        let mut sink = chunks.sink();
        let mut sink = spans.around(&mut sink);
        let result = tokio::select! {
            result = self.caller.call(request, *version, &mut sink) => result,
            never = chunks.send_when_due() => match never {},
        };
        if result.is_ok() {
            chunks.complete();
        }
        self.large.keep(&request.tenant, result?).await
    }
}

/// Says only what it is: the parts have nothing to show, or must not.
impl fmt::Debug for Inference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inference").finish_non_exhaustive()
    }
}

impl Processor for Inference {
    const KIND: Kind = Kind::Model;
    type Request = ModelRequest;
    type Entry = ModelCall;
    type Call = WantedModelCall;
    type Fact = ModelOutcome;

    fn subject(&self, request: &ModelRequest) -> Subject {
        request.into()
    }

    fn admit(&self, request: &ModelRequest) -> Result<Option<i32>, Refusal> {
        let refusal = match admission::check(request) {
            Err(invalid) => Refusal::Invalid(invalid.into()),
            Ok(()) => match self.models.newest(&request.tenant, &request.model) {
                Ok((version, _)) => return Ok(Some(version)),
                // It may have been proposed just now.
                Err(unfit @ Unfit::Unknown { .. }) => Refusal::NotYet(unfit.into()),
                Err(unfit @ Unfit::Broken { .. }) => Refusal::Invalid(unfit.into()),
            },
        };
        let (Refusal::Invalid(failure) | Refusal::NotYet(failure)) = &refusal;
        metrics::refused(&failure.code);
        Err(refusal)
    }

    fn content(&self, request: &ModelRequest, version: Option<i32>) -> Content {
        let definition = self.models.model(&request.tenant, &request.model, version);
        match definition.is_some_and(|definition| definition.log_content) {
            true => Content::Logged,
            false => Content::Withheld,
        }
    }

    fn observe(&self, observed: Observed<'_>) {
        spans::observe(&self.tracer, observed);
    }

    fn step(&self, event: Event<Self>, context: &mut Context<'_, Self>) -> Result<(), StepError> {
        step::step(event, context)
    }

    fn fail(&self, failure: &Failure, context: &mut Context<'_, Self>) {
        step::fail(failure, context);
    }

    async fn call(&self, call: WantedModelCall, running: Running) -> Result<ModelOutcome, Failure> {
        let mut spans = CallSpans::begin(&self.tracer, &call, &running);
        let result = self.ask(&call, &running, &mut spans).await;
        spans.end(&result);
        result
    }
}
