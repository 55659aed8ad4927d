//! Admission (rules Q1 to Q3): each feed record becomes one `Admitted` or `Rejected` in the log, in feed
//! order, while there is room in the window.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use domain::answer::{ErrorClass, Failure};
use domain::fact::{Admitted, Fact, Rejected};
use domain::topic::Topic;
use schemas::ReadError;

use super::effects::Effect;
use super::fold::{dead_letter, dead_letter_output};
use super::outbox::Purpose;
use super::rules::Rule;
use super::takeover::Phase;
use super::{Identity, Partition, wire};
use crate::ports::{Outgoing, Raw, Side, header};
use crate::processor::{Content, Observed, Processor, Refusal, Subject};

/// The most admissions appended and not folded, where no window bounds them.
const UNFOLDED: usize = 5_000;

/// What the next feed record waits for.
#[derive(Debug)]
enum Waiting {
    /// Nothing.
    No,
    /// The schema with this id.
    Schema(u32),
    /// A definition, until this monotonic time.
    Definition { until: i64 },
    /// The acknowledgement of its dead letter; then this is appended.
    DeadLetter { offset: i64, rejected: Box<Rejected> },
}

/// Where admission stands.
#[derive(Debug)]
pub(super) struct Admission {
    /// The next feed offset to append, by what was appended.
    cursor: i64,
    epoch: u64,
    held: VecDeque<Raw>,
    waiting: Waiting,
    paused: bool,
    /// The fold met an admission from beyond its position: read the feed again from there.
    gap: bool,
    /// Log offset of the last admission of ours that stands.
    last: i64,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            cursor: 0,
            epoch: 0,
            held: VecDeque::new(),
            waiting: Waiting::No,
            paused: false,
            gap: false,
            last: -1,
        }
    }
}

impl Admission {
    /// The fold has moved the feed's position: a zombie's admissions count as well.
    pub(super) fn at_least(&mut self, feed_next: i64) {
        self.cursor = self.cursor.max(feed_next);
    }

    /// The fold met a gap.
    pub(super) fn gap(&mut self) {
        self.gap = true;
    }

    /// An admission of ours stands in the log.
    pub(super) fn stands(&mut self, log_offset: i64) {
        self.last = self.last.max(log_offset);
    }

    /// Whether a feed record waits here.
    pub(super) fn waits(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn schema_resolved(&mut self, id: u32) {
        if matches!(self.waiting, Waiting::Schema(waits) if waits == id) {
            self.waiting = Waiting::No;
        }
    }
}

impl<P: Processor> Partition<P> {
    pub(super) fn handle_feed(&mut self, now: i64, epoch: u64, records: Vec<Raw>) {
        if epoch == self.admission.epoch {
            self.admission.held.extend(records);
            self.admit_held(now);
        }
    }

    /// Begins to read the feed where the fold stands.
    pub(super) fn start_feed(&mut self) {
        let admission = &mut self.admission;
        admission.epoch = (self.identity.incarnation << 32).max(admission.epoch) + 1;
        admission.cursor = self.feed_next;
        admission.held.clear();
        admission.waiting = Waiting::No;
        admission.paused = false;
        admission.gap = false;
        let offset = (self.feed_next > 0).then_some(self.feed_next);
        self.effects.push_back(Effect::Start { side: Side::Feed, offset, epoch: admission.epoch });
    }

    /// Admits what is held, as far as there is room.
    pub(super) fn admit_held(&mut self, now: i64) {
        if !matches!(self.phase, Phase::Live) || self.quiesced {
            return;
        }
        let settled = self.outbox.admissions_stand() && self.admission.last < self.log_next;
        if self.admission.gap && settled {
            self.start_feed();
        }
        while !self.admission.gap && self.has_room() {
            match &self.admission.waiting {
                Waiting::Schema(_) | Waiting::DeadLetter { .. } => break,
                Waiting::No | Waiting::Definition { .. } => {}
            }
            let Some(raw) = self.admission.held.pop_front() else {
                break;
            };
            if raw.offset >= self.admission.cursor && !self.admit_one(now, &raw) {
                self.admission.held.push_front(raw);
                break;
            }
        }
        self.hold_feed();
    }

    /// Pauses the feed while records of it wait here, and lets it go on when none do.
    fn hold_feed(&mut self) {
        let waits = !self.admission.held.is_empty() || !self.has_room();
        if waits != self.admission.paused {
            self.admission.paused = waits;
            let effect = if waits { Effect::Pause(Side::Feed) } else { Effect::Resume(Side::Feed) };
            self.effects.push_back(effect);
        }
    }

    fn has_room(&self) -> bool {
        let unfolded = usize::try_from(self.admission.cursor - self.feed_next).unwrap_or(0);
        match self.options.window {
            Some(window) if self.rules.hold(Rule::Q3Window) => {
                unfolded + self.entries.wanted() < window
            }
            _ => unfolded < UNFOLDED,
        }
    }

    /// Admits or rejects one record. `false`: it has to wait.
    fn admit_one(&mut self, now: i64, raw: &Raw) -> bool {
        let request = match self.ids.read::<P::Request>(&raw.value) {
            Ok(request) => request,
            Err(ReadError::UnknownSchema(id)) => {
                self.admission.waiting = Waiting::Schema(id);
                self.effects.push_back(Effect::ResolveSchema(id));
                return false;
            }
            Err(error) => {
                self.reject(now, raw, None, unreadable(&error));
                return true;
            }
        };
        // A request is someone else's text: should looking at it panic, that request is refused.
        let looked = catch_unwind(AssertUnwindSafe(|| {
            let subject = self.processor.subject(&request);
            // Whoever owns its partition judges it: only there it is known whether the id was taken before.
            let found = if self.is_elsewhere(&subject.entity) {
                Ok((None, Content::Withheld))
            } else {
                let found = self.processor.admit(&request);
                found.map(|version| (version, self.processor.content(&request, version)))
            };
            (subject, found)
        }));
        let (subject, version, content) = match looked {
            Ok((subject, Ok((version, content)))) => (subject, version, content),
            Ok((subject, Err(Refusal::Invalid(failure)))) => {
                self.reject(now, raw, Some(subject), failure);
                return true;
            }
            Ok((subject, Err(Refusal::NotYet(failure)))) => {
                return self.wait_for_definition(now, raw, subject, failure);
            }
            Err(_) => {
                let failure =
                    Failure::new(ErrorClass::Internal, "admission_failed", "admission panicked");
                self.reject(now, raw, None, failure);
                return true;
            }
        };
        let framed = match self.ids.frame(&request) {
            Ok(framed) => framed,
            Err(error) => {
                self.stop(format!("a request can't be framed: {error}"));
                return false;
            }
        };
        let limit = self.options.max_record_bytes;
        if framed.len() > limit {
            let message = format!("the request has {} bytes, at most {limit}", framed.len());
            let failure = Failure::new(ErrorClass::TooLarge, "request_too_large", message);
            self.reject(now, raw, Some(subject), failure);
            return true;
        }
        let admitted = Admitted {
            feed_before: self.admission.cursor,
            feed_offset: raw.offset,
            feed_time: raw.time,
            source: wire::source(&raw.headers),
            version,
            request: framed,
            trace_parent: header(&raw.headers, wire::TRACE_PARENT).map(str::to_owned),
            log_content: content == Content::Logged,
        };
        self.processor.observe(Observed::Admitted {
            entity: &subject.entity,
            tenant: &subject.tenant,
            place: (self.identity.partition, raw.offset),
            written: raw.time,
            trace_parent: admitted.trace_parent.as_deref(),
        });
        self.admission.waiting = Waiting::No;
        self.admission.cursor = raw.offset + 1;
        self.append(now, Some(&subject.entity), &Fact::Admitted(admitted), Purpose::Admission);
        true
    }

    /// Whether an entity is another partition's: what concerns it is forwarded by the fold.
    fn is_elsewhere(&self, entity: &str) -> bool {
        let Identity { partition, partitions, .. } = self.identity;
        domain::partition::of_key(entity.as_bytes(), partitions) != partition
    }

    fn wait_for_definition(
        &mut self,
        now: i64,
        raw: &Raw,
        subject: Subject,
        failure: Failure,
    ) -> bool {
        let until = match &self.admission.waiting {
            Waiting::Definition { until } => *until,
            _ => now + self.options.not_yet_ms,
        };
        if now >= until {
            self.admission.waiting = Waiting::No;
            self.reject(now, raw, Some(subject), failure);
            return true;
        }
        self.admission.waiting = Waiting::Definition { until };
        false
    }

    /// Sends the dead letter; the `Rejected` follows when that stands.
    fn reject(&mut self, now: i64, raw: &Raw, subject: Option<Subject>, failure: Failure) {
        if !self.rules.hold(Rule::Q2Rejected) {
            return;
        }
        let partition = self.identity.partition;
        let feed = Topic::Feed(P::KIND);
        let tenant = subject.as_ref().map(|subject| subject.tenant.clone());
        let reason = (failure.code.as_str(), failure.message.as_str());
        let letter = dead_letter(feed, partition, raw, reason, tenant);
        let output = match dead_letter_output(&self.ids, &letter) {
            Ok(output) => output,
            Err(error) => return self.stop(format!("a dead letter can't be framed: {error}")),
        };
        let source = domain::fact::Source {
            id: output.id,
            topic: feed.name().into(),
            partition,
            offset: raw.offset,
            stable: -1,
        };
        let outgoing = Outgoing {
            topic: output.topic,
            partition: None,
            key: Some(output.key.into()),
            value: output.value.into(),
            headers: wire::headers(&source, output.record, output.tenant.as_deref(), None),
        };
        let rejected = Rejected {
            feed_before: self.admission.cursor,
            feed_offset: raw.offset,
            request_id: subject.as_ref().map(|subject| subject.request_id.clone()),
            tenant: subject.as_ref().map(|subject| subject.tenant.clone()),
            origin: subject.and_then(|subject| subject.origin),
            source: wire::source(&raw.headers),
            failure,
        };
        self.admission.waiting =
            Waiting::DeadLetter { offset: raw.offset, rejected: Box::new(rejected) };
        self.send(now, outgoing, Purpose::DeadLetter(raw.offset));
    }

    /// The dead letter of this feed record stands: the record is rejected.
    pub(super) fn dead_letter_stands(&mut self, now: i64, feed_offset: i64) {
        let waiting = std::mem::replace(&mut self.admission.waiting, Waiting::No);
        match waiting {
            Waiting::DeadLetter { offset, rejected } if offset == feed_offset => {
                self.admission.cursor = feed_offset + 1;
                // Known to the origin's entity by its id, else to nobody.
                let key = rejected.request_id.clone();
                self.append(now, key.as_deref(), &Fact::Rejected(*rejected), Purpose::Admission);
            }
            other => self.admission.waiting = other,
        }
    }
}

fn unreadable(error: &ReadError) -> Failure {
    Failure::new(ErrorClass::Invalid, error.code(), error.to_string()).from_source("admission")
}
