//! How often one API key may ask: a bucket of tokens for each key, in this process.
//!
//! Pure but for the map's lock: the time is an argument. It is no quota and no bill; several gateways each
//! count for themselves.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often a key may ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second on average; 0: no limit.
    pub per_second: u32,
    /// Requests at once after a pause; 0: those of two seconds.
    pub burst: u32,
}

/// The rates of all keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Of a key that has none of its own.
    pub every: Rate,
    /// Of single keys, by key id.
    pub keys: BTreeMap<String, Rate>,
}

/// A burst that isn't set is what the rate gives in this time.
const DEFAULT_BURST_SECONDS: u32 = 2;

/// Past so many buckets those that are full again are dropped: they say nothing.
const BUCKETS: usize = 10_000;

impl Rate {
    fn burst(self) -> u32 {
        match self.burst {
            0 => self.per_second.saturating_mul(DEFAULT_BURST_SECONDS).max(1),
            burst => burst,
        }
    }
}

/// What a limited key is told with each answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The most at once.
    pub(crate) limit: u32,
    /// How many more now.
    pub(crate) remaining: u32,
    /// Until there are as many as can be.
    pub(crate) reset: Duration,
    /// `Some`: refused; the next one is taken after this.
    pub(crate) wait: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// The buckets of all keys.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    rates: Rates,
    of_key: Mutex<HashMap<String, Bucket>>,
}

impl Buckets {
    pub(crate) fn new(rates: Rates) -> Self {
        Self { rates, of_key: Mutex::default() }
    }

    /// Takes one request of this key; `None`: it isn't limited.
    pub(crate) fn take(&self, key: &str, now: Instant) -> Option<Verdict> {
        let rate = *self.rates.keys.get(key).unwrap_or(&self.rates.every);
        if rate.per_second == 0 {
            return None;
        }
        let (per_second, limit) = (f64::from(rate.per_second), f64::from(rate.burst()));
        let filled = |bucket: &Bucket| {
            let since = now.saturating_duration_since(bucket.at).as_secs_f64();
            (bucket.tokens + since * per_second).min(limit)
        };
        // A map of numbers is whole whatever panicked while it was locked.
        let mut buckets = self.of_key.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS && !buckets.contains_key(key) {
            buckets.retain(|_, bucket| filled(bucket) < limit);
        }
        let bucket = buckets.entry(key.to_owned()).or_insert(Bucket { tokens: limit, at: now });
        let mut tokens = filled(bucket);
        let wait = if tokens >= 1.0 {
            tokens -= 1.0;
            None
        } else {
            Some(Duration::from_secs_f64((1.0 - tokens) / per_second))
        };
        *bucket = Bucket { tokens, at: now };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to a u32")]
        let remaining = tokens as u32;
        let reset = Duration::from_secs_f64((limit - tokens) / per_second);
        Some(Verdict { limit: rate.burst(), remaining, reset, wait })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn burst_is_taken_at_once_and_then_the_rate() {
        let rates = Rates { every: Rate { per_second: 10, burst: 3 }, ..Rates::default() };
        let (buckets, start) = (Buckets::new(rates), Instant::now());
        let take = |ms| buckets.take("a", at(start, ms)).unwrap();
        assert_eq!([take(0).remaining, take(0).remaining, take(0).remaining], [2, 1, 0]);
        let refused = take(0);
        assert_eq!((refused.limit, refused.remaining), (3, 0));
        assert_eq!(refused.wait, Some(Duration::from_millis(100)));
        assert!(take(99).wait.is_some(), "a refusal costs nothing, and brings nothing");
        assert_eq!(take(101).wait, None);
        assert!(buckets.take("b", at(start, 101)).unwrap().wait.is_none(), "each key has its own");
        let taken = (0..1_000).filter(|n| take(1_000 + n).wait.is_none()).count();
        assert!((12..=13).contains(&taken), "{taken}: a burst, and ten in a second");
    }

    #[test]
    fn key_of_its_own_rate_has_that() {
        let keys = BTreeMap::from([
            ("fast".to_owned(), Rate { per_second: 100, burst: 0 }),
            ("free".to_owned(), Rate::default()),
        ]);
        let rates = Rates { every: Rate { per_second: 1, burst: 1 }, keys };
        let (buckets, now) = (Buckets::new(rates), Instant::now());
        assert_eq!(buckets.take("fast", now).unwrap().limit, 200);
        assert_eq!(buckets.take("free", now), None);
        assert_eq!(buckets.take("other", now).unwrap().limit, 1);
        assert_eq!(Buckets::default().take("any", now), None, "off unless it is set");
    }

    #[test]
    fn buckets_that_are_full_again_are_forgotten() {
        let rates = Rates { every: Rate { per_second: 1_000, burst: 1 }, ..Rates::default() };
        let (buckets, start) = (Buckets::new(rates), Instant::now());
        for n in 0..2 * BUCKETS {
            buckets.take(&n.to_string(), at(start, n as u64));
        }
        assert!(buckets.of_key.lock().unwrap().len() <= BUCKETS + 1);
    }
}
