//! Points in time as the log carries them. Nothing here reads a clock.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC (Avro `timestamp-millis`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Millis(pub i64);

/// What a clock says, in milliseconds; times before 1970 count as its beginning.
impl From<SystemTime> for Millis {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

impl Millis {
    /// The point `ms` milliseconds later; saturates at the ends of the range.
    #[must_use]
    pub fn plus(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to here; never negative.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0).max(0)
    }
}

/// The point that an RFC 3339 text names, in whatever time zone it says; `None`: it isn't one.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<Millis> {
    let timestamp: jiff::Timestamp = text.parse().ok()?;
    Some(Millis(timestamp.as_millisecond()))
}

/// The point as RFC 3339 text, UTC, to the millisecond.
#[must_use]
pub fn to_rfc3339(time: Millis) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(time.0).unwrap_or_default();
    format!("{timestamp:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_text_is_a_point_in_time() {
        for (text, ms) in [
            ("1970-01-01T00:00:01Z", Some(1_000)),
            ("1970-01-01T01:00:00.250+01:00", Some(250)),
            ("2030-01-31T09:00:00-05:00", Some(1_896_098_400_000)),
            ("2030-01-31", None),
            ("2030-01-31T09:00:00", None),
            ("tomorrow", None),
        ] {
            assert_eq!(parse_rfc3339(text), ms.map(Millis), "{text}");
        }
    }

    #[test]
    fn point_in_time_is_written_to_the_millisecond() {
        assert_eq!(to_rfc3339(Millis(1_896_098_400_250)), "2030-01-31T14:00:00.250Z");
        assert_eq!(to_rfc3339(Millis(0)), "1970-01-01T00:00:00.000Z");
    }
}
