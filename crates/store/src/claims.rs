//! The claim check: large values on their way into records and out of them.
//!
//! Whoever writes a record checks a value in: above the limit it is kept in the store, durably, and a
//! [`ClaimCheck`] takes its place. Whoever reads one checks it out. It knows no topic and no kind of record
//! but the event; who may see a value is the tenant that it is kept under, and nothing else.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use domain::claim::{ClaimCheck, ClaimError, MAX_VALUE_BYTES};
use domain::event::ExecutionEvent;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::{Execution, Store, StoreError, ValueHash};

/// Values that were used last are kept up to so many bytes: an answer goes to all its readers at once.
const RECENT_BYTES: usize = 16 * 1024 * 1024;

/// Values that are read at once. More would only take memory; and a reader who waited finds among the
/// recent ones what another has read meanwhile.
const READS: usize = 4;

/// How long a reader who can't come back asks a store that doesn't answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The first wait between two of its questions; doubled up to [`ASK_AT_MOST`].
const ASK_FIRST: Duration = Duration::from_millis(50);
/// The longest wait between two of its questions.
const ASK_AT_MOST: Duration = Duration::from_secs(1);

/// A value on its way into a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It goes into the record as it is.
    Inline(String),
    /// It is kept, and this goes into the record.
    Claimed(ClaimCheck),
}

/// Why a value can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum CheckInError {
    /// It is larger than any value may be.
    #[error("the value has {length} bytes, at most {MAX_VALUE_BYTES}")]
    TooLarge {
        /// What it has.
        length: usize,
    },
    /// The store didn't take it.
    #[error("the value can't be kept")]
    Store(#[from] StoreError),
}

/// Why there is no value for a claim check.
#[derive(Debug, thiserror::Error)]
pub enum CheckOutError {
    /// It never stood for one.
    #[error("the claim check is wrong: {0}")]
    Claim(ClaimError),
    /// It is not there: its time is over, or it was kept elsewhere or under another tenant.
    #[error("the store has no value {hash}, or no longer")]
    Gone {
        /// The value.
        hash: String,
    },
    /// It is there and has another length.
    #[error("the value {hash} has {found} bytes, and its claim check says {length}")]
    Length {
        /// The value.
        hash: String,
        /// What the claim check says.
        length: i64,
        /// What it has.
        found: usize,
    },
    /// It is no text, and texts are all that records hold.
    #[error("the value {hash} is not UTF-8 at byte {at}")]
    Text {
        /// The value.
        hash: String,
        /// Where.
        at: usize,
    },
    /// The store can't be asked.
    #[error("the store can't be asked for a value")]
    Store(#[from] StoreError),
}

impl CheckOutError {
    /// Whether it may be there later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Store(StoreError::Altered { .. }) => false,
            Self::Store(_) => true,
            Self::Claim(_) | Self::Gone { .. } | Self::Length { .. } | Self::Text { .. } => false,
        }
    }
}

/// Keeps values and finds them again. Cheap to clone.
#[derive(Clone)]
pub struct Claims(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    limit: usize,
    recent: Mutex<Recent>,
    reading: Semaphore,
}

/// Says how much is a large value, and shows none.
impl std::fmt::Debug for Claims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claims").field("limit", &self.0.limit).finish_non_exhaustive()
    }
}

impl Claims {
    /// Keeps values of more than `limit` bytes in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, limit: usize) -> Self {
        let (recent, reading) = (Mutex::default(), Semaphore::new(READS));
        Self(Arc::new(Shared { store, limit, recent, reading }))
    }

    /// Gives values out and keeps none: for a process whose values nobody else would find.
    #[must_use]
    pub fn read_only(store: Arc<dyn Store>) -> Self {
        Self::new(store, usize::MAX)
    }

    /// How many bytes a value may have that goes into its record.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Keeps a value if it is large. It is durable when this returns.
    ///
    /// # Errors
    /// [`CheckInError`]; then nothing stands that a record could name.
    pub async fn check_in(
        &self,
        tenant: &str,
        value: String,
        media_type: &str,
    ) -> Result<Checked, CheckInError> {
        if value.len() <= self.0.limit {
            return Ok(Checked::Inline(value));
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(CheckInError::TooLarge { length: value.len() });
        }
        let value = Bytes::from(value);
        let length = i64::try_from(value.len()).unwrap_or(i64::MAX);
        let hash = self.0.store.put_value(tenant, &value, SystemTime::now().into()).await?;
        let claim = ClaimCheck {
            hash: hash.as_str().to_owned(),
            length,
            media_type: media_type.to_owned(),
        };
        self.0.recent().put(tenant, &claim.hash, &value);
        Ok(Checked::Claimed(claim))
    }

    /// The value of a claim check.
    ///
    /// # Errors
    /// [`CheckOutError`]; never a part of the value.
    pub async fn check_out(
        &self,
        tenant: &str,
        claim: &ClaimCheck,
    ) -> Result<Bytes, CheckOutError> {
        claim.check().map_err(CheckOutError::Claim)?;
        let gone = || CheckOutError::Gone { hash: claim.hash.clone() };
        let hash = ValueHash::parse(&claim.hash).ok_or_else(gone)?;
        let value = self.value(tenant, &hash).await?.ok_or_else(gone)?;
        if claim.bytes() != Some(value.len()) {
            let (hash, length) = (claim.hash.clone(), claim.length);
            return Err(CheckOutError::Length { hash, length, found: value.len() });
        }
        Ok(value)
    }

    /// The value of a claim check, as the text that would stand in its record.
    ///
    /// # Errors
    /// As [`Claims::check_out`].
    pub async fn text(&self, tenant: &str, claim: &ClaimCheck) -> Result<String, CheckOutError> {
        let value = self.check_out(tenant, claim).await?;
        String::from_utf8(value.into()).map_err(|error| CheckOutError::Text {
            hash: claim.hash.clone(),
            at: error.utf8_error().valid_up_to(),
        })
    }

    /// The same; `None`: it can't be had, now or later.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub async fn text_or_gone(
        &self,
        tenant: &str,
        claim: &ClaimCheck,
    ) -> Result<Option<String>, StoreError> {
        match self.text(tenant, claim).await {
            Ok(text) => Ok(Some(text)),
            Err(CheckOutError::Store(error)) if !matches!(error, StoreError::Altered { .. }) => {
                Err(error)
            }
            Err(error) => {
                tracing::warn!(tenant, %error, "a large value can't be shown");
                Ok(None)
            }
        }
    }

    /// The value with this hash; `None`: the tenant has none such.
    ///
    /// # Errors
    /// The store's.
    pub async fn value(&self, tenant: &str, hash: &ValueHash) -> Result<Option<Bytes>, StoreError> {
        if let Some(value) = self.0.recent().get(tenant, hash.as_str()) {
            return Ok(Some(value));
        }
        // Nobody closes it.
        let _turn = self.0.reading.acquire().await.map_err(|_| StoreError::Closed)?;
        if let Some(value) = self.0.recent().get(tenant, hash.as_str()) {
            return Ok(Some(value));
        }
        let value = self.0.store.value(tenant, hash).await?;
        if let Some(value) = &value {
            self.0.recent().put(tenant, hash.as_str(), value);
        }
        Ok(value)
    }

    /// Puts the output in the place of its claim check. Where the value is gone the claim check stays.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub async fn fill_execution(&self, execution: &mut Execution) -> Result<(), StoreError> {
        let Execution { tenant, output, output_claim, .. } = execution;
        let Some(claim) = output_claim.as_ref() else { return Ok(()) };
        if let Some(text) = self.text_or_gone(tenant, claim).await? {
            *output = Some(text);
            *output_claim = None;
        }
        Ok(())
    }

    /// Puts the data of an event in the place of its claim check. Where the value is gone, or the store
    /// doesn't answer for a few seconds, the claim check stays.
    pub async fn fill_event(&self, event: &mut ExecutionEvent) {
        let Some(claim) = &event.data_claim else { return };
        let (until, mut pause) = (Instant::now() + PATIENCE, ASK_FIRST);
        let error = loop {
            match self.text(&event.tenant, claim).await {
                Ok(text) => {
                    event.data = Some(text);
                    event.data_claim = None;
                    return;
                }
                Err(error) if error.may_pass() && Instant::now() + pause < until => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(ASK_AT_MOST);
                }
                Err(error) => break error,
            }
        };
        tracing::warn!(execution_id = event.execution_id, %error, "an event goes out without its data");
    }
}

impl Shared {
    fn recent(&self) -> MutexGuard<'_, Recent> {
        // It is whole after each of its methods, so a panic elsewhere doesn't spoil it.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The values that were used last, newest at the end.
#[derive(Default)]
struct Recent {
    values: VecDeque<(String, String, Bytes)>,
    bytes: usize,
}

impl Recent {
    fn get(&mut self, tenant: &str, hash: &str) -> Option<Bytes> {
        let at = self.values.iter().position(|(of, name, _)| of == tenant && name == hash)?;
        let found = self.values.remove(at)?;
        let value = found.2.clone();
        self.values.push_back(found);
        Some(value)
    }

    fn put(&mut self, tenant: &str, hash: &str, value: &Bytes) {
        if value.len() > RECENT_BYTES || self.get(tenant, hash).is_some() {
            return;
        }
        self.bytes += value.len();
        self.values.push_back((tenant.to_owned(), hash.to_owned(), value.clone()));
        while self.bytes > RECENT_BYTES
            && let Some((_, _, oldest)) = self.values.pop_front()
        {
            self.bytes -= oldest.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::event::EventType;
    use domain::request::JSON;

    use super::*;
    use crate::Embedded;
    use crate::conformance::event;

    const LIMIT: usize = 10;

    fn claims() -> (Claims, Arc<Embedded>) {
        let store = Arc::new(Embedded::in_memory().unwrap());
        (Claims::new(store.clone(), LIMIT), store)
    }

    async fn claimed(claims: &Claims, tenant: &str, value: &str) -> ClaimCheck {
        match claims.check_in(tenant, value.into(), JSON).await.unwrap() {
            Checked::Claimed(claim) => claim,
            Checked::Inline(_) => panic!("{} bytes are not large", value.len()),
        }
    }

    #[tokio::test]
    async fn value_above_the_limit_leaves_its_record_and_comes_back() {
        let (claims, store) = claims();
        let small = claims.check_in("t", "0123456789".into(), JSON).await.unwrap();
        assert_eq!(small, Checked::Inline("0123456789".into()));
        let claim = claimed(&claims, "t", "0123456789a").await;
        assert_eq!((claim.length, claim.media_type.as_str()), (11, JSON));
        // In a process that hasn't seen it.
        let elsewhere = Claims::new(store, LIMIT);
        for claims in [&claims, &elsewhere, &elsewhere] {
            assert_eq!(claims.text("t", &claim).await.unwrap(), "0123456789a");
            let other = claims.text("other", &claim).await;
            assert!(matches!(other, Err(CheckOutError::Gone { .. })), "{other:?}");
        }
    }

    #[tokio::test]
    async fn claim_that_lies_is_named_and_gives_nothing() {
        let (claims, _) = claims();
        let claim = claimed(&claims, "t", "0123456789a").await;
        let longer = ClaimCheck { length: 12, ..claim.clone() };
        let got = claims.text("t", &longer).await;
        assert!(matches!(got, Err(CheckOutError::Length { found: 11, .. })), "{got:?}");
        let wrong = ClaimCheck { hash: "md5:00".into(), ..claim };
        let got = claims.text("t", &wrong).await;
        assert!(matches!(got, Err(CheckOutError::Claim(ClaimError::Hash))), "{got:?}");
    }

    #[tokio::test]
    async fn event_is_filled_or_keeps_its_claim() {
        let (claims, _) = claims();
        let claim = claimed(&claims, "t", "0123456789a").await;
        let mut filled = event("t", "e", (0, 1), EventType::Succeeded);
        (filled.data, filled.data_claim) = (None, Some(claim.clone()));
        let mut gone = ExecutionEvent { tenant: "other".into(), ..filled.clone() };
        claims.fill_event(&mut filled).await;
        assert_eq!((filled.data.as_deref(), filled.data_claim), (Some("0123456789a"), None));
        claims.fill_event(&mut gone).await;
        assert_eq!((gone.data, gone.data_claim), (None, Some(claim)));
    }

    #[test]
    fn recent_values_are_bounded_and_those_that_are_used_stay() {
        let mut recent = Recent::default();
        let third = Bytes::from(vec![0; RECENT_BYTES / 3]);
        for hash in ["a", "b", "c"] {
            recent.put("t", hash, &third);
        }
        assert!(recent.get("t", "a").is_some());
        recent.put("t", "d", &third);
        assert!(recent.bytes <= RECENT_BYTES);
        let kept: Vec<_> = ["a", "b", "c", "d"].map(|hash| recent.get("t", hash).is_some()).into();
        assert_eq!(kept, [true, false, true, true]);
        recent.put("t", "huge", &Bytes::from(vec![0; RECENT_BYTES + 1]));
        assert!(recent.get("t", "huge").is_none());
    }
}
