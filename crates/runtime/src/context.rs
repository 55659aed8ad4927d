//! What a step sees and may do: its entity's entries, state time, and the ways out.
//!
//! Nothing done here happens before the step has returned well; then it happens all at once.

use std::sync::Arc;

use domain::answer::{Answer, Cost, Failure, Usage};
use domain::claim::ClaimCheck;
use domain::event::{EventType, ExecutionEvent};
use domain::fact::{Command, Fact, Order};
use domain::log_row::ExecutionLogRecord;
use domain::request::{Origin, OriginKind};
use domain::state::Sequence;
use domain::time::Millis;
use domain::topic::{Kind, Topic};
use domain::trace::SpanId;
use schemas::{Ids, Record};

use crate::partition::effects::Output;
use crate::partition::entries::{Key, Part, Stored, Wanted};
use crate::partition::overlay::Overlay;
use crate::processor::{Processor, StepError};

/// The place of the record that is folded.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// The `ce_id` of the record, else its place in words.
    pub(crate) cause: String,
}

/// What every step of one fold shares.
pub(crate) struct Frame<'a> {
    pub(crate) ids: &'a Ids,
    pub(crate) place: &'a Place,
    pub(crate) now: Millis,
    pub(crate) generation: i32,
}

/// One entity, for the length of one step.
pub struct Context<'a, P: Processor> {
    pub(crate) overlay: Overlay<'a, P>,
    pub(crate) frame: &'a Frame<'a>,
    pub(crate) entity: &'a Arc<str>,
}

/// The name of the one `Sequence` entry of an entity.
pub(crate) const ONLY: &str = "";

/// What an execution event says beyond its type; all of it optional.
#[derive(Clone, Debug, Default)]
pub struct EventBody {
    /// The execution that asked for this one.
    pub parent_id: Option<String>,
    /// The step, in a workflow or agent.
    pub step: Option<String>,
    /// The attempt of the step, from 1.
    pub attempt: Option<i32>,
    /// JSON, by type.
    pub data: Option<String>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// What it used.
    pub usage: Option<Usage>,
    /// What it cost.
    pub cost: Option<Cost>,
    /// Stands for `data`, where that is too large for the record.
    pub data_claim: Option<ClaimCheck>,
    /// `traceparent` to send along, so that one trace runs through the whole execution.
    pub trace_parent: Option<String>,
    /// Where `trace_parent` names the span of this very publication: the span above it. It is then told to
    /// [`Processor::observe`] when the event stands.
    pub below: Option<SpanId>,
}

impl<P: Processor> Context<'_, P> {
    /// The entity's id.
    #[must_use]
    pub fn entity(&self) -> &str {
        self.entity
    }

    /// The entity's tenant; empty before it exists.
    #[must_use]
    pub fn tenant(&self) -> &str {
        match self.overlay.get(self.entity, Part::Sequence, ONLY) {
            Some(Stored::Sequence(sequence)) => &sequence.tenant,
            _ => "",
        }
    }

    /// State time: the running maximum of record times in this log partition.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.frame.now
    }

    /// The processor's own entry of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&P::Entry> {
        match self.overlay.get(self.entity, Part::Entry, name) {
            Some(Stored::Entry(entry)) => Some(entry),
            _ => None,
        }
    }

    /// The names of the processor's own entries, in order. Takes as long as there are entries of the entity.
    #[must_use]
    pub fn names(&self) -> Vec<Box<str>> {
        self.overlay.names(self.entity, Part::Entry)
    }

    /// Writes the processor's own entry of this name.
    pub fn put(&mut self, name: &str, entry: P::Entry) {
        self.overlay.put(self.key(Part::Entry, name), Stored::Entry(Arc::new(entry)));
    }

    /// Removes the processor's own entry of this name.
    pub fn remove(&mut self, name: &str) {
        self.overlay.remove(self.key(Part::Entry, name));
    }

    /// Wants an outside call. Use a call key once: a further attempt is another key.
    pub fn want(&mut self, call: &str, request: P::Call) {
        let wanted = Wanted { call: request, since: self.frame.now };
        self.overlay.put(self.key(Part::Wanted, call), Stored::Wanted(Arc::new(wanted)));
    }

    /// No longer wants an outside call; it is aborted if it runs, and its end doesn't count.
    pub fn unwant(&mut self, call: &str) {
        self.overlay.remove(self.key(Part::Wanted, call));
    }

    /// Whether an outside call is wanted.
    #[must_use]
    pub fn is_wanted(&self, call: &str) -> bool {
        self.overlay.get(self.entity, Part::Wanted, call).is_some()
    }

    /// Sets a timer, or moves it.
    pub fn set_timer(&mut self, timer: &str, due: Millis) {
        self.overlay.put(self.key(Part::Timer, timer), Stored::Timer(due));
    }

    /// Clears a timer.
    pub fn clear_timer(&mut self, timer: &str) {
        self.overlay.remove(self.key(Part::Timer, timer));
    }

    /// Tells clients what happened, with the next number of this execution (topic `results`).
    ///
    /// # Errors
    /// When the entity doesn't exist, or the schema is not registered.
    pub fn event(&mut self, event_type: EventType, body: EventBody) -> Result<(), StepError> {
        let Some(Stored::Sequence(sequence)) = self.overlay.get(self.entity, Part::Sequence, ONLY)
        else {
            return Err(StepError::Broken(format!(
                "no entity {} to tell {event_type:?} of",
                self.entity
            )));
        };
        let sequence = Sequence {
            generation: self.frame.generation,
            number: sequence.number + 1,
            tenant: sequence.tenant.clone(),
        };
        let id = format!("{}/{}.{}", self.entity, sequence.generation, sequence.number);
        self.overlay.put(self.key(Part::Sequence, ONLY), Stored::Sequence(sequence.clone()));
        self.publish(id, sequence, event_type, body)
    }

    /// Tells a tenant that its request at `feed_offset` was refused because the id is another tenant's: its one
    /// event, under the entity's id and beside the entity's own.
    pub(crate) fn refused(
        &mut self,
        tenant: String,
        failure: Failure,
        feed_offset: i64,
    ) -> Result<(), StepError> {
        let id = format!("{}/refused/{feed_offset}", self.entity);
        let own = Sequence { generation: self.frame.generation, number: 1, tenant };
        let body = EventBody { error: Some(failure), ..EventBody::default() };
        self.publish(id, own, EventType::Failed, body)
    }

    /// Puts out the event of this number under the entity's id.
    fn publish(
        &mut self,
        id: String,
        Sequence { generation, number, tenant }: Sequence,
        event_type: EventType,
        body: EventBody,
    ) -> Result<(), StepError> {
        let event = ExecutionEvent {
            execution_id: self.entity.to_string(),
            kind: P::KIND,
            tenant: tenant.clone(),
            parent_id: body.parent_id,
            generation,
            number,
            event_type,
            time: self.frame.now,
            step: body.step,
            attempt: body.attempt,
            data: body.data,
            error: body.error,
            usage: body.usage,
            cost: body.cost,
            data_claim: body.data_claim,
        };
        let key = self.entity.to_string();
        let trace = (body.trace_parent, body.below);
        self.output(Topic::Results, id, key, Some(tenant), trace, &event)
    }

    /// Answers whoever asked: into the log of the origin. A client gets an event instead.
    ///
    /// # Errors
    /// When the schema is not registered.
    pub fn answer(
        &mut self,
        answer: Answer,
        trace_parent: Option<String>,
    ) -> Result<(), StepError> {
        self.answer_for(self.tenant().to_owned(), answer, trace_parent)
    }

    pub(crate) fn answer_for(
        &mut self,
        tenant: String,
        answer: Answer,
        trace_parent: Option<String>,
    ) -> Result<(), StepError> {
        let Some(log) = answer_log(&answer.origin) else {
            return Ok(());
        };
        let id = format!("{}/answer", answer.request_id);
        let key = answer.origin.id.clone();
        let value = self
            .frame
            .ids
            .frame_fact(&Fact::Answer(answer))
            .map_err(|error| StepError::Broken(error.to_string()))?;
        self.overlay.changes().outputs.push(Output {
            topic: log,
            id,
            key,
            record: <Answer as Record>::NAME,
            tenant: Some(tenant),
            trace_parent,
            below: None,
            value,
        });
        Ok(())
    }

    /// Asks another processor, through its feed, about its entity `key`. `id` must be derived from this
    /// entity, step and attempt.
    ///
    /// # Errors
    /// When the schema is not registered.
    pub fn request<R: Record>(
        &mut self,
        kind: Kind,
        id: &str,
        key: &str,
        trace_parent: Option<String>,
        request: &R,
    ) -> Result<(), StepError> {
        let tenant = Some(self.tenant().to_owned());
        let (id, key, trace) = (id.to_owned(), key.to_owned(), (trace_parent, None));
        self.output(Topic::Feed(kind), id, key, tenant, trace, request)
    }

    /// Tells an entity of another processor, or of this one, what to do: straight into its log.
    ///
    /// # Errors
    /// When the schema is not registered.
    pub fn command(&mut self, kind: Kind, entity: &str, order: Order) -> Result<(), StepError> {
        let nth = self.overlay.changes().outputs.len();
        let tenant = self.tenant().to_owned();
        // One fold puts out one record at this place: the same for whoever folds it again.
        let id = format!("{}/command/{}/{nth}", self.entity, self.frame.place.offset);
        let command = Command { id: id.clone(), tenant: tenant.clone(), order };
        let fact = Fact::Command(command);
        let record = schemas::fact::name(&fact);
        let value = self.frame.ids.frame_fact(&fact);
        let value = value.map_err(|error| StepError::Broken(error.to_string()))?;
        self.overlay.changes().outputs.push(Output {
            topic: Topic::Log(kind),
            id,
            key: entity.to_owned(),
            record,
            tenant: Some(tenant),
            trace_parent: None,
            below: None,
            value,
        });
        Ok(())
    }

    /// Adds a row to the execution log. Ids, cause, time and source are filled in here.
    pub fn log(&mut self, mut row: ExecutionLogRecord) {
        let Place { partition, offset, cause } = self.frame.place;
        let nth = self.overlay.changes().rows.len();
        row.event_id = format!("{}/{partition}/{offset}/{nth}", Topic::Log(P::KIND).name());
        row.cause_id.clone_from(cause);
        row.event_time = self.frame.now;
        row.source_topic = Some(Topic::Log(P::KIND).name().to_owned());
        row.source_partition = Some(*partition);
        row.source_offset = Some(*offset);
        self.overlay.changes().rows.push(row);
    }

    /// Ends the entity: its entries, calls and timers go. Its request ids stay known for a while, so that a
    /// copy doesn't start it again.
    pub fn finish(&mut self) {
        self.overlay.finish(self.entity);
    }

    fn key(&self, part: Part, name: &str) -> Key {
        Key::new(self.entity, part, name)
    }

    fn output<R: Record>(
        &mut self,
        topic: Topic,
        id: String,
        key: String,
        tenant: Option<String>,
        (trace_parent, below): (Option<String>, Option<SpanId>),
        record: &R,
    ) -> Result<(), StepError> {
        let value =
            self.frame.ids.frame(record).map_err(|error| StepError::Broken(error.to_string()))?;
        let record = R::NAME;
        self.overlay.changes().outputs.push(Output {
            topic,
            id,
            key,
            record,
            tenant,
            trace_parent,
            below,
            value,
        });
        Ok(())
    }
}

/// The log in which an origin waits for its answer.
pub(crate) fn answer_log(origin: &Origin) -> Option<Topic> {
    match origin.kind {
        OriginKind::Client => None,
        OriginKind::Workflow => Some(Topic::Log(Kind::Workflow)),
        OriginKind::Agent => Some(Topic::Log(Kind::Agent)),
    }
}
