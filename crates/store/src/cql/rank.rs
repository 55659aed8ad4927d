//! The rules by which one write beats another, as write timestamps. CQL keeps of each column the write
//! with the highest timestamp, whatever order they came in; so a rule over the facts themselves has to be
//! a number over the facts themselves. No clock is read here.
//!
//! ScyllaDB refuses timestamps of more than three days in the future (in microseconds), so all of these
//! lie far below: some are small, the others negative.

use std::time::Duration;

use domain::event::Position;
use domain::time::Millis;

/// Bits of an event's number. An execution with more events than that would confuse its last ones.
const NUMBER_BITS: u32 = 31;
const LAST_NUMBER: i64 = (1 << NUMBER_BITS) - 1;

/// What all ranks of positions lie above, and stay below zero with.
const LOWEST: i64 = -(1 << 62);

/// Far beyond any date, and far below a timestamp of today in microseconds.
const LAST_TIME: i64 = 1 << 50;

/// The longest that Cassandra and ScyllaDB let anything live, in seconds.
const LONGEST: i64 = 20 * 365 * 24 * 60 * 60;

/// The earliest stands.
pub(super) fn earliest(time: Millis) -> i64 {
    -time.0.clamp(-LAST_TIME, LAST_TIME)
}

/// The highest position stands.
pub(super) fn highest(position: Position) -> i64 {
    LOWEST + generation(position) + number(position)
}

/// The highest generation stands, and in it the lowest number.
pub(super) fn first_of_newest(position: Position) -> i64 {
    LOWEST + generation(position) + (LAST_NUMBER - number(position))
}

/// The highest generation stands.
pub(super) fn newest(generation: i32) -> i64 {
    i64::from(generation)
}

/// All writes are the same, so that any may stand.
pub(super) fn same(time: Millis) -> i64 {
    time.0.clamp(-LAST_TIME, LAST_TIME)
}

fn generation(position: Position) -> i64 {
    i64::from(position.generation.max(0)) << NUMBER_BITS
}

fn number(position: Position) -> i64 {
    position.number.clamp(0, LAST_NUMBER)
}

/// How many seconds a fact of `time` has to live from `now` on; 0 is for ever, as in CQL. `None`: it is
/// past its time. The same fact written later gets less, so a replay prolongs nothing.
pub(super) fn seconds_left(keep: Option<Duration>, time: Millis, now: Millis) -> Option<i32> {
    let Some(keep) = keep else { return Some(0) };
    let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    let left = time.0.saturating_add(keep).saturating_sub(now.0) / 1_000;
    (left > 0).then(|| i32::try_from(left.min(LONGEST)).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Micros of the year 2020: no timestamp of ours may come near to today's.
    const NOW: i64 = 1_577_836_800_000_000;

    fn at(generation: i32, number: i64) -> Position {
        Position { generation, number }
    }

    #[test]
    fn rank_of_a_position_is_its_order() {
        let positions =
            [at(0, 1), at(0, 2), at(0, i64::MAX), at(1, 1), at(7, 3), at(i32::MAX, i64::MAX)];
        for pair in positions.windows(2) {
            assert!(highest(pair[0]) < highest(pair[1]), "{pair:?}");
        }
        assert!(first_of_newest(at(0, 1)) > first_of_newest(at(0, 2)));
        assert!(first_of_newest(at(1, 9)) > first_of_newest(at(0, 1)));
        assert!(earliest(Millis(5)) > earliest(Millis(6)));
        assert!(newest(2) > newest(1));
    }

    #[test]
    fn no_rank_is_refused_by_a_database() {
        for position in [at(0, 0), at(-1, -1), at(i32::MAX, i64::MAX), at(i32::MIN, i64::MIN)] {
            for rank in [highest(position), first_of_newest(position)] {
                assert!(rank > i64::MIN && rank < 0, "{position:?}: {rank}");
            }
        }
        for time in [i64::MIN, -1, 0, 1_800_000_000_000, i64::MAX] {
            for rank in [earliest(Millis(time)), same(Millis(time))] {
                assert!(rank > i64::MIN && rank < NOW, "{time}: {rank}");
            }
        }
    }

    #[test]
    fn fact_lives_from_its_own_time_on() {
        let keep = Some(Duration::from_secs(100));
        for (time, now, left) in [
            (0, 0, Some(100)),
            (0, 40_000, Some(60)),
            (0, 100_000, None),
            (0, i64::MAX, None),
            (50_000, 40_000, Some(110)),
            (i64::MAX, 0, Some(i32::try_from(LONGEST).unwrap())),
        ] {
            assert_eq!(seconds_left(keep, Millis(time), Millis(now)), left, "{time} {now}");
        }
        assert_eq!(seconds_left(None, Millis(0), Millis(i64::MAX)), Some(0));
    }
}
