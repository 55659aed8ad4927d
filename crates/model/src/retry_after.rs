//! Reads a `retry-after` header (RFC 9110, 10.2.3): seconds or an HTTP date. Refuses the two obsolete
//! date forms, which no provider sends.

use std::time::Duration;

use domain::time::Millis;

/// How long the header asks to wait from `now` on; `None` when it can't be read. A date that has passed
/// is no wait. Fractions of a second, which some providers send, are kept.
pub(crate) fn parse(value: &str, now: Millis) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return (seconds >= 0.0).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten();
    }
    let at = http_date(value)?;
    Some(Duration::from_millis(u64::try_from(at.since(now)).unwrap_or(0)))
}

/// An IMF-fixdate like `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<Millis> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let parts: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, time, "GMT"] = parts[..] else {
        return None;
    };
    let day: i64 = day.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let year: i64 = year.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let clock: Vec<i64> = time.split(':').map_while(|part| part.parse().ok()).collect();
    let [hour @ 0..24, minute @ 0..60, second @ 0..=60] = clock[..] else {
        return None;
    };
    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Millis(seconds * 1000))
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar (Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms", `days_from_civil`).
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_nonsense_is_not() {
        let now = Millis(784_111_777_000);
        for (value, wait) in [
            ("0", Some(0)),
            (" 20 ", Some(20_000)),
            ("1.5", Some(1_500)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30_000)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("Tue, 29 Feb 2000 00:00:00 GMT", Some(951_782_400_000 - 784_111_777_000)),
            ("-1", None),
            ("1e300", None),
            ("NaN", None),
            ("soon", None),
            ("", None),
            ("Sun, 06 Nov 1994 25:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49 GMT", None),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
        ] {
            assert_eq!(parse(value, now), wait.map(Duration::from_millis), "{value}");
        }
    }
}
