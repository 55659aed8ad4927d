//! A processor in one file: asks the name service for the addresses of the host that `body` names.

use domain::answer::{ErrorClass, Failure};
use domain::event::EventType::{Cancelled, Failed, Started, Succeeded, TimedOut};
use domain::fact::Order;
use domain::request::ModelRequest;
use domain::topic::Kind;
use runtime::context::{Context, EventBody};
use runtime::processor::{Event, NoCall, Processor, Refusal, Running, StepError, Subject};
use schemas::command::Callback;

pub(crate) struct Lookup;

impl Processor for Lookup {
    const KIND: Kind = Kind::Function;
    type Request = ModelRequest;
    type Entry = NoCall; // It keeps nothing that the runtime doesn't keep for it.
    type Call = ModelRequest;
    type Fact = Callback;

    fn subject(&self, request: &ModelRequest) -> Subject {
        let ModelRequest { id, tenant, origin, .. } = request.clone();
        Subject { request_id: id.clone(), entity: id, tenant, origin }
    }

    fn admit(&self, request: &ModelRequest) -> Result<Option<i32>, Refusal> {
        let wrong = || Failure::new(ErrorClass::Invalid, "no_host", "`body` names no host");
        if request.body.is_empty() { Err(Refusal::Invalid(wrong())) } else { Ok(None) }
    }

    fn step(&self, event: Event<Self>, context: &mut Context<'_, Self>) -> Result<(), StepError> {
        let (end, data, error) = match event {
            Event::Admitted { request, .. } => {
                context.set_timer("patience", context.now().plus(5_000));
                context.want("lookup", request);
                return context.event(Started, EventBody::default());
            }
            Event::Finished { result: Ok(found), .. } => (Succeeded, found.payload, None),
            Event::Finished { result: Err(why), .. } => (Failed, None, Some(why)),
            Event::Timer { .. } => (TimedOut, None, None),
            Event::Command(Order::Cancel { .. }) => (Cancelled, None, None),
            Event::Command(_) | Event::Answer(_) => return Ok(()),
        };
        let body = EventBody { data, error, ..EventBody::default() };
        context.event(end, body).map(|()| context.finish())
    }

    fn fail(&self, failure: &Failure, context: &mut Context<'_, Self>) {
        let body = EventBody { error: Some(failure.clone()), ..EventBody::default() };
        context.event(Failed, body).map(|()| context.finish()).expect("its entity exists");
    }

    async fn call(&self, call: ModelRequest, running: Running) -> Result<Callback, Failure> {
        let ModelRequest { id, tenant, body, .. } = call;
        let failed = |why| Failure::new(ErrorClass::Network, "lookup", format!("{why}"));
        let found = tokio::net::lookup_host((&*body, 0)).await.map_err(failed)?;
        let found: Vec<_> = found.map(|address| address.ip().to_string()).collect();
        Ok(Callback { id, tenant, token: running.call, payload: Some(format!("{found:?}")) })
    }
}
