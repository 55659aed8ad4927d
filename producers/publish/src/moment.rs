//! Points in time as people write and read them: RFC 3339, or milliseconds since 1970. It reads no clock.

use domain::time::Millis;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// The latest time that can be written: the end of the year 9999.
const LATEST: i64 = 253_402_300_799_999;

/// Not a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a time like 2026-01-31T12:00:00Z")]
pub struct NoMoment;

/// Reads `2026-01-31T12:00:00Z`, with a fraction of a second or an offset where there is one.
///
/// # Errors
/// [`NoMoment`], also for a day that its month doesn't have.
pub fn parse(text: &str) -> Result<Millis, NoMoment> {
    parsed(text).ok_or(NoMoment)
}

fn parsed(text: &str) -> Option<Millis> {
    if !text.is_ascii() || text.len() < 20 {
        return None;
    }
    let bytes = text.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    let separated = separators.iter().all(|(at, is)| bytes[*at] == *is);
    if !separated || !matches!(bytes[10], b'T' | b't' | b' ') {
        return None;
    }
    let (year, month, day) = (number(&text[0..4])?, number(&text[5..7])?, number(&text[8..10])?);
    let (hour, minute, second) =
        (number(&text[11..13])?, number(&text[14..16])?, number(&text[17..19])?);
    let fits = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !fits {
        return None;
    }
    let (fraction, zone) = fraction(&text[19..])?;
    let seconds = (hour * 60 + minute) * 60 + second;
    let local = days_since_1970(year, month, day) * DAY_MS + seconds * 1_000 + fraction;
    Some(Millis(local - offset(zone)?))
}

fn number(digits: &str) -> Option<i64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The milliseconds of `.123`, and what follows it.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let digits = &rest[..end];
    (!digits.is_empty()).then_some(())?;
    let padded: String = digits.chars().chain("000".chars()).take(3).collect();
    Some((number(&padded)?, &rest[end..]))
}

/// How far a zone is ahead of UTC, in milliseconds.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let ahead = match zone.as_bytes() {
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    if zone.len() != 6 || zone.as_bytes()[3] != b':' {
        return None;
    }
    let (hours, minutes) = (number(&zone[1..3])?, number(&zone[4..6])?);
    (hours < 24 && minutes < 60).then_some(ahead * (hours * 60 + minutes) * 60_000)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Howard Hinnant's `days_from_civil`: years begin in March, so that the leap day is the last one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// A time in UTC with milliseconds; the number itself where it is outside the years 0 to 9999.
#[must_use]
pub fn text(time: Millis) -> String {
    let days = time.0.div_euclid(DAY_MS);
    let of_day = time.0.rem_euclid(DAY_MS);
    // `civil_from_days`, from the same source.
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if time.0 > LATEST || year < 0 {
        return time.0.to_string();
    }
    let (seconds, millis) = (of_day / 1_000, of_day % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times_are_read() {
        for (written, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2025-06-15T15:06:40Z", 1_750_000_000_000),
            ("2025-06-15T17:06:40.5+02:00", 1_750_000_000_500),
            ("2025-06-15 08:06:40.123456-07:00", 1_750_000_000_123),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("1969-12-31T23:59:59.999Z", -1),
        ] {
            assert_eq!(parse(written), Ok(Millis(ms)), "{written}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for written in [
            "",
            "yesterday",
            "2025-06-15",
            "2025-06-15T15:06:40",
            "2025-02-29T00:00:00Z",
            "2025-13-01T00:00:00Z",
            "2025-06-15T24:00:00Z",
            "2025-06-15T15:06:40.Z",
            "2025-06-15T15:06:40+2:00",
            "2025-06-15T15:06:40Zx",
            "+025-06-15T15:06:40Z",
            "2025-06-15T15:06:4\u{e9}Z",
        ] {
            assert_eq!(parse(written), Err(NoMoment), "{written}");
        }
    }

    proptest! {
        #[test]
        fn written_time_is_read_back(ms in -62_167_219_200_000i64..=LATEST) {
            prop_assert_eq!(parse(&text(Millis(ms))), Ok(Millis(ms)));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}", ms: i64) {
            let _ = parse(&text);
            let _ = super::text(Millis(ms));
        }
    }
}
