//! Bodies and answers that are too large for their records: fetched before a provider is asked, kept before
//! its answer becomes a fact.
//!
//! It belongs to the call, beside the fold: what is folded has claim checks only.

use std::sync::Arc;
use std::time::Duration;

use domain::answer::{ErrorClass, Failure, ModelOutcome};
use domain::claim::ClaimCheck;
use domain::request::ModelRequest;
use store::{CheckInError, CheckOutError, Checked, Claims};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::admission;

/// Bytes of fetched bodies that calls of this process hold at once; a call beyond that waits. A call whose
/// body is in its record holds no more than the record did.
const ROOM_BYTES: usize = 256 * 1024 * 1024;

/// The unit in which room is counted, since a semaphore has less permits than memory has bytes.
const ROOM_UNIT: usize = 1024;

/// How long a store that doesn't answer is asked. What runs out sooner, a deadline or a cancel, drops the
/// call.
const PATIENCE: Duration = Duration::from_secs(30);
/// The first wait between two questions; doubled up to [`ASK_AT_MOST`].
const ASK_FIRST: Duration = Duration::from_millis(100);
/// The longest wait between two questions.
const ASK_AT_MOST: Duration = Duration::from_secs(2);

/// What to configure so that large values have a place.
const ADVICE: &str = "this process keeps no large values: give all processes `store.kind = \"cql\"`, or, \
                      where one does everything, `claims.keep = \"always\"`";

/// Where large values are, for the calls of one process.
pub(crate) struct Large {
    claims: Option<Claims>,
    room: Arc<Semaphore>,
}

/// A request with its body, and the room that it takes.
pub(crate) struct Fetched {
    pub(crate) request: ModelRequest,
    _room: OwnedSemaphorePermit,
}

impl Large {
    /// Without claims nothing is fetched or kept.
    pub(crate) fn new(claims: Option<Claims>) -> Self {
        Self { claims, room: Arc::new(Semaphore::new(ROOM_BYTES / ROOM_UNIT)) }
    }

    /// The request with the body that its claim check stands for; `None`: it has its body.
    pub(crate) async fn fetch(&self, request: &ModelRequest) -> Result<Option<Fetched>, Failure> {
        let Some(claim) = &request.body_claim else { return Ok(None) };
        let claims = self.claims.as_ref().ok_or_else(|| {
            let message = format!("the request's body is not in its record, and {ADVICE}");
            failure(ErrorClass::TooLarge, "no_shared_store", message)
        })?;
        let _room = self.room(claim).await?;
        let mut patience = Patience::new();
        let body = loop {
            match claims.text(&request.tenant, claim).await {
                Err(error) if error.may_pass() && patience.lasts().await => {}
                body => break body,
            }
        };
        let body = body.map_err(|error| match &error {
            CheckOutError::Store(_) if error.may_pass() => {
                let message = "the store can't be asked for the request's body";
                failure(ErrorClass::Network, "body_unavailable", message).retryable()
            }
            CheckOutError::Gone { .. } => {
                let message = format!("the request's body can't be had: {error}");
                failure(ErrorClass::NotFound, "body_gone", message)
            }
            _ => failure(ErrorClass::Invalid, "body_unusable", error.to_string()),
        })?;
        // Admission looks at what is in the record, so this part of it is done here.
        admission::body(request.operation, &body)
            .map_err(|invalid| Failure { source_name: "inference".into(), ..invalid.into() })?;
        let request = ModelRequest { body, body_claim: None, ..request.clone() };
        Ok(Some(Fetched { request, _room }))
    }

    /// The outcome as it goes into its record: a large answer is kept beside it. An answer that can't be
    /// kept is left in its place, for it may still fit.
    pub(crate) async fn keep(
        &self,
        tenant: &str,
        mut outcome: ModelOutcome,
    ) -> Result<ModelOutcome, Failure> {
        let limit = runtime::partition::Options::default().max_record_bytes;
        let Some(claims) = &self.claims else {
            if outcome.body.len() > limit {
                let length = outcome.body.len();
                let message = format!(
                    "the answer has {length} bytes, at most {limit} go into a record; {ADVICE}"
                );
                return Err(failure(ErrorClass::TooLarge, "outcome_too_large", message));
            }
            return Ok(outcome);
        };
        if outcome.body.len() <= claims.limit() {
            return Ok(outcome);
        }
        let ModelOutcome { body, body_media_type, .. } = &outcome;
        let mut patience = Patience::new();
        let kept = loop {
            match claims.check_in(tenant, body.clone(), body_media_type).await {
                Err(CheckInError::Store(_)) if patience.lasts().await => {}
                kept => break kept,
            }
        };
        match kept {
            Ok(Checked::Inline(_)) => {}
            Ok(Checked::Claimed(claim)) => {
                outcome.body.clear();
                outcome.body.shrink_to_fit();
                outcome.body_claim = Some(claim);
            }
            Err(error) if outcome.body.len() > limit => {
                let (class, retryable) = match error {
                    CheckInError::TooLarge { .. } => (ErrorClass::TooLarge, false),
                    CheckInError::Store(_) => (ErrorClass::Network, true),
                };
                let failure = failure(class, "answer_not_kept", format!("the answer: {error}"));
                return Err(Failure { retryable, ..failure });
            }
            Err(error) => {
                let length = outcome.body.len();
                tracing::warn!(%error, length, "a large answer stays in its record");
            }
        }
        Ok(outcome)
    }

    /// Waits until there is room for the value.
    async fn room(&self, claim: &ClaimCheck) -> Result<OwnedSemaphorePermit, Failure> {
        claim.check().map_err(|error| {
            failure(ErrorClass::Invalid, "body_unusable", format!("body_claim: {error}"))
        })?;
        let bytes = claim.bytes().unwrap_or_default();
        let units = u32::try_from(bytes.div_ceil(ROOM_UNIT)).unwrap_or(u32::MAX);
        Arc::clone(&self.room).acquire_many_owned(units).await.map_err(|_| {
            failure(ErrorClass::Internal, "no_room", "this process takes no more bodies")
        })
    }
}

fn failure(class: ErrorClass, code: &str, message: impl Into<String>) -> Failure {
    Failure::new(class, code, message).from_source("inference")
}

/// Waits between questions to a store that doesn't answer, but not for ever.
struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    fn new() -> Self {
        Self { until: Instant::now() + PATIENCE, pause: ASK_FIRST }
    }

    /// Whether it is worth another question, once the wait before that is over.
    async fn lasts(&mut self) -> bool {
        if Instant::now() + self.pause >= self.until {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(ASK_AT_MOST);
        true
    }
}

#[cfg(test)]
mod tests;
