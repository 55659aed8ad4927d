//! The processor as the runtime sees it.

use std::fmt;
use std::sync::Arc;

use domain::answer::Failure;
use domain::request::WorkflowStart;
use domain::schedule::{life, stored};
use domain::topic::Kind;
use domain::workflow::limit;
use domain::workflow::run::entry::Entry;
use domain::workflow::run::{Publication, Published};
use runtime::context::Context;
use runtime::ports::PublishElsewhere;
use runtime::processor::{Event, Processor, Refusal, Running, StepError, Subject};

use crate::{Programs, admission, events, metrics, step};

/// Takes in starts of workflows and runs them.
pub struct Workflows {
    pub(crate) programs: Arc<Programs>,
    publisher: Arc<dyn PublishElsewhere>,
}

impl Workflows {
    /// A processor that runs the workflows of `programs`, and publishes their events by `publisher`.
    #[must_use]
    pub fn new(programs: Arc<Programs>, publisher: Arc<dyn PublishElsewhere>) -> Self {
        Self { programs, publisher }
    }

    fn admission(&self, start: &WorkflowStart) -> Result<i32, Refusal> {
        if let Some(schedule) = &start.schedule {
            return admission::of_schedule(start, schedule, &self.programs.catalogue());
        }
        let inputs = admission::check(start).map_err(|invalid| Refusal::Invalid(invalid.into()))?;
        let (version, program) = self.programs.resolve(start).map_err(|unfit| match unfit {
            // It may have been proposed just now.
            crate::Unfit::Unknown(_) => Refusal::NotYet(unfit.into()),
            crate::Unfit::Broken { .. } => Refusal::Invalid(unfit.into()),
        })?;
        let inputs = stored::input(&program, inputs, start.scheduled_for);
        admission::check_inputs(&program, &inputs).map_err(Refusal::Invalid)?;
        Ok(version)
    }
}

/// Says only what it is: the parts have nothing to show.
impl fmt::Debug for Workflows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workflows").finish_non_exhaustive()
    }
}

impl Processor for Workflows {
    const KIND: Kind = Kind::Workflow;
    type Request = WorkflowStart;
    type Entry = Entry;
    type Call = Publication;
    type Fact = Published;

    fn subject(&self, start: &WorkflowStart) -> Subject {
        Subject {
            request_id: start.id.clone(),
            entity: match start.schedule {
                Some(_) => life::told(&start.id).to_owned(),
                None => start.id.clone(),
            },
            tenant: start.tenant.clone(),
            origin: start.origin.clone(),
        }
    }

    fn opens(&self, entity: &str) -> bool {
        entity.starts_with(limit::PREFIX)
    }

    fn admit(&self, start: &WorkflowStart) -> Result<Option<i32>, Refusal> {
        self.admission(start).map(Some).inspect_err(|refusal| {
            let (Refusal::Invalid(failure) | Refusal::NotYet(failure)) = refusal;
            metrics::refused(&failure.code);
        })
    }

    fn step(&self, event: Event<Self>, context: &mut Context<'_, Self>) -> Result<(), StepError> {
        step::step(&self.programs, event, context)
    }

    fn fail(&self, failure: &Failure, context: &mut Context<'_, Self>) {
        step::fail(&self.programs, failure, context);
    }

    async fn call(&self, call: Publication, _: Running) -> Result<Published, Failure> {
        events::publish(&*self.publisher, call).await
    }
}
