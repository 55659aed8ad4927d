//! When a cron expression is due in a time zone.
//!
//! The rules of time zones are those that are built into the program, never those of the machine: two
//! owners of the same version must agree.
//!
//! # When the clock is set
//!
//! As cron does it (cron(8) of cronie and Debian, "Daylight Saving Time and other time changes"; `find_jobs`
//! in their `cron.c`, where `MIN_STAR|HR_STAR` tells the two kinds apart):
//!
//! - An expression whose minute and hour are given (neither begins with `*`) loses no time and doubles none:
//!   what falls into the gap when the clock is set forward is due at the first instant after the gap, once;
//!   what comes twice when it is set back is due the first time only. In other words, a time is due when the
//!   clock first shows it or a later one.
//! - Any other expression goes by the time that passes: `*/15 * * * *` is due every 15 minutes, also in an
//!   hour that comes twice, and nothing is due in place of times that the clock leaves out.
//!
//! Unlike cron we have no bound of three hours, beyond which it takes the new time as it is.

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::cron::{Cadence, Cron};
use crate::time::Millis;

/// Nothing is due from here on: 9999-12-30, in seconds.
const END: i64 = 253_402_128_000;

/// A cron expression in a time zone. Times before 1970 are never due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Calendar {
    cron: Cron,
    zone: TimeZone,
}

/// A stretch of time with one offset from UTC, in seconds.
struct Stretch {
    start: i64,
    end: i64,
    offset: i64,
    /// The clock showed every local time before this one, or skipped it, before `start`. The stretch before
    /// says it alone, as no zone sets its clock twice within two days (a test goes through all of them).
    shown: i64,
}

impl Calendar {
    /// The expression in the zone of that name, which [`zone`] gave.
    pub(super) fn new(cron: Cron, zone: TimeZone) -> Self {
        Self { cron, zone }
    }

    /// The first time after `after`.
    pub(super) fn next_after(&self, after: Millis) -> Option<Millis> {
        let mut from = first_second(after);
        while from < END {
            let stretch = self.stretch(from)?;
            if let Some(due) = self.first(&stretch, from) {
                return Some(Millis(due * 1000));
            }
            from = stretch.end;
        }
        None
    }

    /// How many times there are after `after`, up to and with `until`.
    pub(super) fn count(&self, after: Millis, until: Millis) -> u64 {
        self.count_seconds(first_second(after), first_second(until).min(END))
    }

    /// The newest times after `after`, up to and with `until`: at most `most`, the oldest first.
    pub(super) fn newest(&self, after: Millis, until: Millis, most: usize) -> Vec<Millis> {
        let (mut low, mut high) = (first_second(after), first_second(until).min(END));
        let before = high;
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        // The earliest point from which there are no more than wanted.
        while low < high {
            let middle = low + (high - low) / 2;
            if self.count_seconds(middle, before) <= most {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let mut found = Vec::new();
        let mut last = Millis(low.saturating_mul(1000) - 1);
        while let Some(next) = self.next_after(last).filter(|next| next.0 < before * 1000) {
            found.push(next);
            last = next;
        }
        found
    }

    fn count_seconds(&self, from: i64, before: i64) -> u64 {
        let (mut from, mut count) = (from, 0);
        while from < before {
            let Some(stretch) = self.stretch(from) else { break };
            let mut local = from + stretch.offset;
            if self.cron.cadence() == Cadence::Fixed {
                if self.is_due_after_gap(&stretch, from) {
                    count += 1;
                    local += 1;
                }
                local = local.max(stretch.shown);
            }
            count += self.cron.count_local(local, stretch.end.min(before) + stretch.offset);
            from = stretch.end;
        }
        count
    }

    /// The first time of the stretch from `from` on.
    fn first(&self, stretch: &Stretch, from: i64) -> Option<i64> {
        let mut local = from + stretch.offset;
        if self.cron.cadence() == Cadence::Fixed {
            if self.is_due_after_gap(stretch, from) {
                return Some(from);
            }
            local = local.max(stretch.shown);
        }
        let due = self.cron.next_local(local, stretch.end + stretch.offset)?;
        Some(due - stretch.offset)
    }

    /// Whether `from` is the first instant after a gap into which a time falls.
    fn is_due_after_gap(&self, stretch: &Stretch, from: i64) -> bool {
        let local = stretch.start + stretch.offset;
        from == stretch.start
            && stretch.shown < local
            && self.cron.next_local(stretch.shown, local).is_some()
    }

    fn stretch(&self, at: i64) -> Option<Stretch> {
        let offset = self.offset(at)?;
        let next = self.zone.following(Timestamp::from_second(at).ok()?).next();
        let end = next.map_or(END, |next| next.timestamp().as_second().min(END));
        let transition = self.zone.preceding(Timestamp::from_second(at + 1).ok()?).next();
        let (start, shown) = match transition {
            Some(transition) => {
                let start = transition.timestamp().as_second();
                (start, start + self.offset(start - 1)?)
            }
            None => (at, at + offset),
        };
        Some(Stretch { start, end, offset, shown })
    }

    fn offset(&self, at: i64) -> Option<i64> {
        let offset = self.zone.to_offset(Timestamp::from_second(at).ok()?);
        Some(i64::from(offset.seconds()))
    }
}

/// The first whole second after `time` that can be due.
fn first_second(time: Millis) -> i64 {
    time.0.max(-1).div_euclid(1000) + 1
}

/// The zone of that name in the database that is built in, and the name as it is written there.
pub(super) fn zone(name: &str) -> Option<(String, TimeZone)> {
    let zone = TimeZoneDatabase::bundled().get(name).ok().filter(|zone| !zone.is_unknown())?;
    Some((zone.iana_name()?.to_owned(), zone))
}

/// The names of all zones.
pub(super) fn zone_names() -> Vec<String> {
    TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect()
}
