//! A processor that hangs when it is told to, for tests of what becomes of a worker that doesn't go on.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use domain::answer::Failure;
use domain::event::EventType;
use domain::request::ModelRequest;
use domain::topic::Kind;
use schemas::command::Callback;

use crate::context::{Context, EventBody};
use crate::processor::{Event, NoCall, Processor, Refusal, StepError, Subject};

/// The body of a request at which a step waits until its gate opens.
pub const HANGS: &str = "hang";

/// A gate that a test opens. Cheap to clone; open by default.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<Position>, Condvar)>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Position {
    Closed,
    /// Somebody waits in front of it.
    Reached,
    #[default]
    Open,
}

impl Gate {
    /// A gate that holds whoever comes.
    #[must_use]
    pub fn closed() -> Self {
        Self(Arc::new((Mutex::new(Position::Closed), Condvar::new())))
    }

    /// Whether somebody waits in front of it.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) == Position::Reached
    }

    /// Lets everybody through, from now on.
    pub fn open(&self) {
        let (position, changed) = &*self.0;
        *position.lock().unwrap_or_else(PoisonError::into_inner) = Position::Open;
        changed.notify_all();
    }

    fn pass(&self) {
        let (position, changed) = &*self.0;
        let mut now = position.lock().unwrap_or_else(PoisonError::into_inner);
        while *now != Position::Open {
            *now = Position::Reached;
            now = changed.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Ends every model request at once, with no call; one whose body is [`HANGS`] when its gate is open.
pub struct Echo(pub Gate);

impl Processor for Echo {
    const KIND: Kind = Kind::Model;
    type Request = ModelRequest;
    type Entry = NoCall;
    type Call = NoCall;
    type Fact = Callback;

    fn subject(&self, request: &ModelRequest) -> Subject {
        request.into()
    }

    fn admit(&self, _: &ModelRequest) -> Result<Option<i32>, Refusal> {
        Ok(None)
    }

    fn step(&self, event: Event<Self>, context: &mut Context<'_, Self>) -> Result<(), StepError> {
        if let Event::Admitted { request, .. } = event {
            if request.body == HANGS {
                self.0.pass();
            }
            context.event(EventType::Succeeded, EventBody::default())?;
            context.finish();
        }
        Ok(())
    }

    fn fail(&self, failure: &Failure, _: &mut Context<'_, Self>) {
        unreachable!("no step of this processor fails, but: {failure:?}");
    }
}
