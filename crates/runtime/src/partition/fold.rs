//! One log record into changes. Looks at the partition, changes nothing: what it returns is applied whole
//! or not at all.

use std::sync::Arc;

use domain::answer::{Answer, Cost, ErrorClass, Failure, Terminal};
use domain::event::EventType;
use domain::fact::{Admitted, Command, DeadLetter, Fact, Header, Rejected, Source};
use domain::log_row::ExecutionLogRecord;
use domain::state::{AppliedId, EarlyCommand, RecentId, Sequence};
use domain::time::Millis;
use domain::topic::Topic;
use domain::trace::Entry;
use schemas::{Ids, ReadError, Record};

use crate::context::{Context, EventBody, Frame, ONLY, Place, answer_log};
use crate::partition::copies::{SenderKey, Senders};
use crate::partition::effects::Output;
use crate::partition::entries::{Entries, Key, Part, Stored};
use crate::partition::overlay::{Changes, Overlay, Seen};
use crate::partition::rules::{Rule, Rules};
use crate::partition::wire;
use crate::ports::{Raw, header};
use crate::processor::{Event, Processor, StepError, Subject};

/// Why a record can't be folded now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FoldError {
    /// The schema of its value is not known yet.
    UnknownSchema(u32),
    /// The step failed.
    Step(String),
    /// The step needs something that isn't here yet.
    NotYet(String),
}

impl From<StepError> for FoldError {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Broken(reason) => Self::Step(reason),
            StepError::NotYet(what) => Self::NotYet(what),
        }
    }
}

/// Who commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Another fold.
    Fold,
    /// A client, an operator, a command that was kept.
    Anybody,
}

/// How a record is folded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode<'a> {
    /// As it should be.
    Step,
    /// Its step can't be made: the processor ends the entity.
    Fail(&'a Failure),
    /// Nor can the processor end it: the runtime does, with one event.
    Bury(&'a Failure),
}

/// All that a fold sees.
pub(crate) struct Folding<'a, P: Processor> {
    pub(crate) processor: &'a P,
    pub(crate) ids: &'a Ids,
    pub(crate) rules: Rules,
    pub(crate) entries: &'a Entries<P>,
    pub(crate) senders: &'a Senders,
    pub(crate) partition: i32,
    pub(crate) partitions: i32,
    pub(crate) feed_next: i64,
    pub(crate) generation: i32,
    /// State time after this record's time was taken in.
    pub(crate) now: Millis,
}

impl<P: Processor> Folding<'_, P> {
    /// What `raw` changes.
    pub(crate) fn fold(
        &self,
        raw: &Raw,
        fact: Result<Fact, ReadError>,
        mode: Mode<'_>,
    ) -> Result<Changes<P>, FoldError> {
        let place = self.place(raw);
        let frame =
            Frame { ids: self.ids, place: &place, now: self.now, generation: self.generation };
        let mut changes = Changes::default();
        let fact = match fact {
            Ok(fact) => fact,
            Err(error) => {
                changes.outputs.push(self.unreadable(raw, &error)?);
                return Ok(changes);
            }
        };
        let mut overlay = Overlay::new(self.entries, &mut changes);
        let entity: Arc<str> = match &raw.key {
            Some(key) => String::from_utf8_lossy(key).into(),
            None => "".into(),
        };
        self.fact(fact, raw, &entity, &frame, &mut overlay, mode)?;
        Ok(changes)
    }

    fn place(&self, raw: &Raw) -> Place {
        let topic = Topic::Log(P::KIND).name();
        let cause = header(&raw.headers, wire::ID)
            .map_or_else(|| format!("{topic}/{}/{}", self.partition, raw.offset), str::to_owned);
        Place { partition: self.partition, offset: raw.offset, cause }
    }

    fn fact(
        &self,
        fact: Fact,
        raw: &Raw,
        entity: &Arc<str>,
        frame: &Frame<'_>,
        overlay: &mut Overlay<'_, P>,
        mode: Mode<'_>,
    ) -> Result<(), FoldError> {
        match fact {
            // The machine reads these two before it folds; they change no entity.
            Fact::TakenOver(_) | Fact::Skipped(_) => Ok(()),
            Fact::Admitted(admitted) => self.admitted(admitted, entity, frame, overlay, mode),
            Fact::Rejected(rejected) => self.rejected(rejected, frame, overlay),
            Fact::Finished(finished) => {
                if self.take_call(entity, &finished.call, overlay) {
                    let result = match mode {
                        Mode::Step => Ok(self.read::<P::Fact>(&finished.fact)?),
                        Mode::Fail(failure) | Mode::Bury(failure) => Err(failure.clone()),
                    };
                    let (call, fence) = (finished.call, finished.fence);
                    let event = Event::Finished { call, fence, result };
                    self.step(event, entity, frame, overlay, mode)?;
                }
                Ok(())
            }
            Fact::Failed(failed) => {
                if self.take_call(entity, &failed.call, overlay) {
                    let (call, fence, result) = (failed.call, failed.fence, Err(failed.failure));
                    let event = Event::Finished { call, fence, result };
                    self.step(event, entity, frame, overlay, mode)?;
                }
                Ok(())
            }
            Fact::TimerFired(fired) => {
                let Some(Stored::Timer(due)) = overlay.get(entity, Part::Timer, &fired.timer)
                else {
                    return Ok(());
                };
                if *due != fired.due {
                    return Ok(());
                }
                if self.rules.hold(Rule::F5FirstFact) && *due > self.now {
                    overlay.changes().early_timer =
                        Some((Arc::clone(entity), fired.timer.as_str().into()));
                    return Ok(());
                }
                overlay.remove(Key::new(entity, Part::Timer, &fired.timer));
                self.step(Event::Timer { timer: fired.timer }, entity, frame, overlay, mode)
            }
            Fact::Answer(answer) => {
                let source = wire::source(&raw.headers);
                let log = Topic::Log(P::KIND).name();
                if self.is_new(log, source, overlay) && self.exists(entity, overlay) {
                    self.step(Event::Answer(Box::new(answer)), entity, frame, overlay, mode)?;
                }
                Ok(())
            }
            Fact::Command(command) => {
                let source = wire::source(&raw.headers);
                let log = Topic::Log(P::KIND).name();
                // What another fold puts out is known by its source, everybody else's by its id.
                let of_fold = source.is_some();
                if self.is_new(log, source, overlay) {
                    if of_fold && self.processor.opens(entity) && !self.exists(entity, overlay) {
                        let tenant = command.tenant.clone();
                        let sequence = Sequence { generation: self.generation, number: 0, tenant };
                        let key = Key::new(entity, Part::Sequence, ONLY);
                        overlay.put(key, Stored::Sequence(sequence));
                    }
                    let by = if of_fold { By::Fold } else { By::Anybody };
                    self.command(command, by, &raw.value, entity, frame, overlay, mode)?;
                }
                Ok(())
            }
        }
    }

    fn admitted(
        &self,
        admitted: Admitted,
        entity: &Arc<str>,
        frame: &Frame<'_>,
        overlay: &mut Overlay<'_, P>,
        mode: Mode<'_>,
    ) -> Result<(), FoldError> {
        let moved = self.feed_moves(admitted.feed_before, admitted.feed_offset, overlay);
        let feed = Topic::Feed(P::KIND).name();
        let new = moved && self.is_new(feed, admitted.source.clone(), overlay);
        if !new {
            return Ok(());
        }
        let request = match (self.read::<P::Request>(&admitted.request), mode) {
            (Ok(request), _) => request,
            (Err(error), Mode::Step) => return Err(error),
            // Nothing is known of it but its key; the position has moved on.
            (Err(_), Mode::Fail(_) | Mode::Bury(_)) => return Ok(()),
        };
        let subject = self.processor.subject(&request);
        if domain::partition::of_key(entity.as_bytes(), self.partitions) != self.partition {
            overlay.changes().outputs.push(forwarded::<P>(admitted, subject));
            return Ok(());
        }
        if self.tenant_of(entity, &subject, overlay).is_some_and(|it| it != subject.tenant) {
            let mut context = Context { overlay: overlay.reborrow(), frame, entity };
            refuse_taken(&mut context, subject, admitted.feed_offset)?;
            return Ok(());
        }
        if is_client(&subject) {
            let key = Key::new(entity, Part::Recent, &subject.request_id);
            if overlay.get(entity, Part::Recent, &subject.request_id).is_some() {
                return Ok(());
            }
            let tenant = Some(subject.tenant.clone());
            overlay.put(key, Stored::Recent(RecentId { since: self.now, tenant }));
        }
        let place = (self.partition, admitted.feed_offset);
        let parent = admitted.trace_parent.as_deref();
        let entry = Entry::of(parent, P::KIND, &subject.tenant, entity, place);
        if !self.exists(entity, overlay) {
            let sequence =
                Sequence { generation: self.generation, number: 0, tenant: subject.tenant };
            overlay.put(Key::new(entity, Part::Sequence, ONLY), Stored::Sequence(sequence));
        }
        let Admitted { version, log_content, .. } = admitted;
        let trace_parent = Some(entry.context.to_string());
        let event = Event::Admitted { request, version, trace_parent, log_content };
        self.step(event, entity, frame, overlay, mode)?;
        self.early_commands(entity, frame, overlay, mode)
    }

    fn rejected(
        &self,
        rejected: Rejected,
        frame: &Frame<'_>,
        overlay: &mut Overlay<'_, P>,
    ) -> Result<(), FoldError> {
        let moved = self.feed_moves(rejected.feed_before, rejected.feed_offset, overlay);
        let feed = Topic::Feed(P::KIND).name();
        if !(moved && self.is_new(feed, rejected.source, overlay)) {
            return Ok(());
        }
        let Some(id) = rejected.request_id else {
            return Ok(());
        };
        let entity: Arc<str> = id.clone().into();
        let known = overlay.get(&entity, Part::Recent, &id).is_some();
        if known || self.exists(&entity, overlay) {
            return Ok(());
        }
        let tenant = rejected.tenant.unwrap_or_else(|| domain::request::DEFAULT_TENANT.into());
        overlay.put(
            Key::new(&entity, Part::Recent, &id),
            Stored::Recent(RecentId { since: self.now, tenant: Some(tenant.clone()) }),
        );
        let sequence = Sequence { generation: self.generation, number: 0, tenant: tenant.clone() };
        overlay.put(Key::new(&entity, Part::Sequence, ONLY), Stored::Sequence(sequence));
        let mut context = Context { overlay: overlay.reborrow(), frame, entity: &entity };
        if let Some(origin) = rejected.origin {
            context.answer(failed_answer(id, origin, rejected.failure.clone()), None)?;
        }
        end_with_failure(&mut context, &rejected.failure, "execution.rejected", &tenant)?;
        Ok(())
    }

    /// Whether this admission continues where the fold stands; if so, the feed's position moves (rule Q1).
    fn feed_moves(&self, before: i64, offset: i64, overlay: &mut Overlay<'_, P>) -> bool {
        if self.rules.hold(Rule::Q1FeedPosition) {
            if offset < self.feed_next {
                return false;
            }
            if before != self.feed_next {
                overlay.changes().gap = true;
                return false;
            }
        }
        overlay.changes().feed_next = Some(offset + 1);
        true
    }

    /// Whether a sender's output was not applied before; takes note of it either way (rule F3).
    fn is_new(
        &self,
        receiving: &str,
        source: Option<Source>,
        overlay: &mut Overlay<'_, P>,
    ) -> bool {
        let Some(source) = source else { return true };
        if !self.rules.hold(Rule::F3Copies) {
            return true;
        }
        let key = SenderKey::new(receiving, &source);
        let copy = self.senders.is_copy(&key, &source);
        if !copy {
            let applied = AppliedId {
                receiving: key.receiving.clone(),
                topic: key.topic.clone(),
                partition: key.partition,
                offset: source.offset,
            };
            overlay.put(Key::new(&"".into(), Part::Applied, &source.id), Stored::Applied(applied));
        }
        let seen = if copy { Seen::Copy } else { Seen::New };
        overlay.changes().seen = Some((key, source, seen));
        !copy
    }

    /// Whether the call was still wanted; if so, it no longer is (rule F5: the first end counts).
    fn take_call(&self, entity: &Arc<str>, call: &str, overlay: &mut Overlay<'_, P>) -> bool {
        let wanted = overlay.get(entity, Part::Wanted, call).is_some();
        if wanted {
            overlay.remove(Key::new(entity, Part::Wanted, call));
        }
        wanted || (!self.rules.hold(Rule::F5FirstFact) && self.exists(entity, overlay))
    }

    fn exists(&self, entity: &Arc<str>, overlay: &Overlay<'_, P>) -> bool {
        overlay.get(entity, Part::Sequence, ONLY).is_some()
    }

    /// Whose the entity is, or whose the request of that id was.
    fn tenant_of<'o>(
        &self,
        entity: &Arc<str>,
        subject: &Subject,
        overlay: &'o Overlay<'_, P>,
    ) -> Option<&'o str> {
        if let Some(Stored::Sequence(sequence)) = overlay.get(entity, Part::Sequence, ONLY) {
            return Some(&sequence.tenant);
        }
        match overlay.get(entity, Part::Recent, &subject.request_id) {
            Some(Stored::Recent(recent)) => recent.tenant.as_deref(),
            _ => None,
        }
    }

    #[allow(clippy::too_many_arguments, reason = "what every way of folding has, and two more")]
    fn command(
        &self,
        command: Command,
        by: By,
        value: &[u8],
        entity: &Arc<str>,
        frame: &Frame<'_>,
        overlay: &mut Overlay<'_, P>,
        mode: Mode<'_>,
    ) -> Result<(), FoldError> {
        let Some(Stored::Sequence(sequence)) = overlay.get(entity, Part::Sequence, ONLY) else {
            let done = !overlay.names(entity, Part::Recent).is_empty();
            if !done && self.rules.hold(Rule::Q4EarlyCommands) {
                let early = EarlyCommand { command: value.to_vec(), since: self.now };
                // They are applied in the order of their names: so that is the order of the log.
                let name = format!("{:020}/{}", frame.place.offset, command.id);
                overlay.put(Key::new(entity, Part::Early, &name), Stored::Early(early));
            }
            return Ok(());
        };
        if sequence.tenant != command.tenant
            || overlay.get(entity, Part::Command, &command.id).is_some()
        {
            return Ok(());
        }
        if by == By::Anybody {
            overlay.put(
                Key::new(entity, Part::Command, &command.id),
                Stored::Recent(RecentId { since: self.now, tenant: None }),
            );
        }
        self.step(Event::Command(command.order), entity, frame, overlay, mode)
    }

    fn early_commands(
        &self,
        entity: &Arc<str>,
        frame: &Frame<'_>,
        overlay: &mut Overlay<'_, P>,
        mode: Mode<'_>,
    ) -> Result<(), FoldError> {
        for name in overlay.names(entity, Part::Early) {
            let early = match overlay.get(entity, Part::Early, &name) {
                Some(Stored::Early(early)) => early.command.clone(),
                _ => continue,
            };
            overlay.remove(Key { entity: Arc::clone(entity), part: Part::Early, name });
            match self.ids.read_fact(&early) {
                Ok(Fact::Command(command)) => {
                    self.command(command, By::Anybody, &early, entity, frame, overlay, mode)?;
                }
                // Whoever kept it had read it; this process was given it with the state, and may not have
                // met its writer's schema.
                Err(ReadError::UnknownSchema(id)) if matches!(mode, Mode::Step) => {
                    return Err(FoldError::UnknownSchema(id));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn step(
        &self,
        event: Event<P>,
        entity: &Arc<str>,
        frame: &Frame<'_>,
        overlay: &mut Overlay<'_, P>,
        mode: Mode<'_>,
    ) -> Result<(), FoldError> {
        let mut context = Context { overlay: overlay.reborrow(), frame, entity };
        match mode {
            Mode::Step => self.processor.step(event, &mut context)?,
            // An entity that has ended needs no second end.
            Mode::Fail(_) | Mode::Bury(_) if context.tenant().is_empty() => {}
            // What was just admitted has nothing yet that the processor could end it by.
            Mode::Fail(failure) if !matches!(event, Event::Admitted { .. }) => {
                self.processor.fail(failure, &mut context);
            }
            Mode::Fail(failure) | Mode::Bury(failure) => {
                let tenant = context.tenant().to_owned();
                if let Event::Admitted { request, .. } = &event
                    && let Subject { request_id, origin: Some(origin), .. } =
                        self.processor.subject(request)
                {
                    context.answer(failed_answer(request_id, origin, failure.clone()), None)?;
                }
                end_with_failure(&mut context, failure, "execution.failed", &tenant)?;
            }
        }
        Ok(())
    }

    fn read<R: Record>(&self, value: &[u8]) -> Result<R, FoldError> {
        self.ids.read::<R>(value).map_err(|error| match error {
            ReadError::UnknownSchema(id) => FoldError::UnknownSchema(id),
            other => FoldError::Step(other.to_string()),
        })
    }

    fn unreadable(&self, raw: &Raw, error: &ReadError) -> Result<Output, FoldError> {
        let letter = dead_letter(
            Topic::Log(P::KIND),
            self.partition,
            raw,
            (error.code(), &error.to_string()),
            None,
        );
        dead_letter_output(self.ids, &letter).map_err(FoldError::Step)
    }
}

/// Ends the entity of `context` with the one event and row that a failure owes.
fn end_with_failure<P: Processor>(
    context: &mut Context<'_, P>,
    failure: &Failure,
    row_type: &str,
    tenant: &str,
) -> Result<(), StepError> {
    let body = EventBody { error: Some(failure.clone()), ..EventBody::default() };
    context.event(EventType::Failed, body)?;
    log_failure(context, failure, row_type, tenant);
    context.finish();
    Ok(())
}

fn log_failure<P: Processor>(
    context: &mut Context<'_, P>,
    failure: &Failure,
    row_type: &str,
    tenant: &str,
) {
    let mut row = ExecutionLogRecord::new(row_type, P::KIND, context.entity(), tenant);
    row.status = Some(Terminal::Failed.as_str().into());
    row.error_code = Some(failure.code.clone());
    row.error_class = Some(failure.class.as_str().into());
    context.log(row);
}

/// The id is another tenant's: its execution isn't touched, and whoever asked hears of it.
fn refuse_taken<P: Processor>(
    context: &mut Context<'_, P>,
    subject: Subject,
    feed_offset: i64,
) -> Result<(), StepError> {
    let failure = Failure::new(ErrorClass::Invalid, "id_taken", "the id is in use; choose another")
        .from_source("admission");
    let Subject { request_id, tenant, origin, .. } = subject;
    log_failure(context, &failure, "execution.rejected", &tenant);
    if let Some(origin) = origin {
        let answer = failed_answer(request_id, origin, failure.clone());
        context.answer_for(tenant.clone(), answer, None)?;
    }
    context.refused(tenant, failure, feed_offset)
}

fn failed_answer(request_id: String, origin: domain::request::Origin, failure: Failure) -> Answer {
    Answer {
        request_id,
        origin,
        status: Terminal::Failed,
        output: None,
        output_media_type: domain::request::JSON.into(),
        failure: Some(failure),
        usage: None,
        cost: None::<Cost>,
        output_claim: None,
    }
}

fn is_client(subject: &Subject) -> bool {
    subject.origin.as_ref().is_none_or(|origin| answer_log(origin).is_none())
}

/// A request that came to a partition that isn't its own: an upstream's partitioner differs from ours, or
/// its key isn't the id. It goes to its own partition, as an output of this one.
fn forwarded<P: Processor>(admitted: Admitted, subject: Subject) -> Output {
    Output {
        topic: Topic::Feed(P::KIND),
        id: format!("{}/forwarded/{}", subject.request_id, admitted.feed_offset),
        key: subject.entity,
        record: <P::Request as Record>::NAME,
        tenant: Some(subject.tenant),
        trace_parent: admitted.trace_parent,
        below: None,
        value: admitted.request,
    }
}

/// A dead letter of a record that stands at `raw.offset` of a partition.
pub(crate) fn dead_letter(
    topic: Topic,
    partition: i32,
    raw: &Raw,
    (code, message): (&str, &str),
    tenant: Option<String>,
) -> DeadLetter {
    DeadLetter {
        id: format!("{}/{partition}/{}", topic.name(), raw.offset),
        topic: topic.name().into(),
        partition,
        offset: raw.offset,
        time: raw.time,
        code: code.into(),
        message: message.into(),
        tenant,
        key: raw.key.as_ref().map(|key| key.to_vec()),
        value: raw.value.to_vec(),
        headers: raw
            .headers
            .iter()
            .map(|(name, value)| Header { name: name.clone(), value: value.to_vec() })
            .collect(),
    }
}

/// The output that carries a dead letter; its key is the original one, where that is text.
pub(crate) fn dead_letter_output(ids: &Ids, letter: &DeadLetter) -> Result<Output, String> {
    let key = letter.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
    Ok(Output {
        topic: Topic::DeadLetters,
        id: format!("{}/dead-letter", letter.id),
        key: key.unwrap_or(&letter.id).to_owned(),
        record: DeadLetter::NAME,
        tenant: letter.tenant.clone(),
        trace_parent: None,
        below: None,
        value: ids.frame(letter).map_err(|error| error.to_string())?,
    })
}

/// The failure that ends an entity whose fold failed for good.
pub(crate) fn fold_failure(reason: &str) -> Failure {
    Failure::new(ErrorClass::Internal, "step_failed", format!("the step failed: {reason}"))
}
