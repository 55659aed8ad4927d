//! How fast requests go out. Pure: it is told the time and says when the next one is due.

use std::str::FromStr;
use std::time::Duration;

/// The most that is made up for after standing still: a pause must not become a burst.
const MADE_UP: Duration = Duration::from_secs(1);

/// Requests in a span of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    between: Duration,
}

/// Not a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rate is a number above 0, as in 100, 100/s or 30/m, and at most a million a second")]
pub struct NoRate;

impl FromStr for Rate {
    type Err = NoRate;

    /// Reads `100`, `100/s`, `0.5/s`, `30/m`.
    fn from_str(text: &str) -> Result<Self, NoRate> {
        let (count, span) = match text.split_once('/') {
            None | Some((_, "s")) => (text.strip_suffix("/s").unwrap_or(text), 1.0),
            Some((count, "m")) => (count, 60.0),
            Some((count, "h")) => (count, 3_600.0),
            Some(_) => return Err(NoRate),
        };
        let count: f64 = count.trim().parse().map_err(|_| NoRate)?;
        let between = span / count;
        // Also false where it isn't a number.
        let fits = count > 0.0 && (1e-6..=86_400.0).contains(&between);
        fits.then(|| Self { between: Duration::from_secs_f64(between) }).ok_or(NoRate)
    }
}

/// When each request is due.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    rate: Option<Rate>,
    next: Duration,
}

impl Pace {
    /// At this rate; `None`: as fast as they are taken.
    #[must_use]
    pub fn new(rate: Option<Rate>) -> Self {
        Self { rate, next: Duration::ZERO }
    }

    /// When the next request is due, by the time since the beginning; not after `now`: at once.
    #[must_use]
    pub fn due(&self) -> Duration {
        self.next
    }

    /// One went out at `now`.
    pub fn sent(&mut self, now: Duration) {
        if let Some(Rate { between }) = self.rate {
            self.next = self.next.max(now.saturating_sub(MADE_UP)) + between;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_read() {
        for (text, micros) in
            [("100", 10_000), ("100/s", 10_000), ("0.5/s", 2_000_000), ("30/m", 2_000_000)]
        {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.between, Duration::from_micros(micros), "{text}");
        }
        for text in ["", "0", "-1", "NaN", "inf", "100/d", "fast", "1e9", "1/s/s", "/s", "1e-300"] {
            assert_eq!(text.parse::<Rate>(), Err(NoRate), "{text}");
        }
    }

    #[test]
    fn requests_are_evenly_spread() {
        let mut pace = Pace::new(Some("10".parse().unwrap()));
        for i in 0..50u32 {
            let due = Duration::from_millis(100) * i;
            assert_eq!(pace.due(), due);
            // A little late each time: that doesn't add up.
            pace.sent(due + Duration::from_millis(30));
        }
    }

    #[test]
    fn pause_does_not_become_a_burst() {
        let mut pace = Pace::new(Some("10".parse().unwrap()));
        let now = Duration::from_secs(3_600);
        let mut burst = 0;
        while pace.due() <= now {
            pace.sent(now);
            burst += 1;
        }
        assert!(burst <= 12, "{burst}");
    }

    #[test]
    fn without_a_rate_everything_is_due() {
        let mut pace = Pace::new(None);
        pace.sent(Duration::from_secs(9));
        assert_eq!(pace.due(), Duration::ZERO);
    }
}
