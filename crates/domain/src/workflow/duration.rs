//! Durations as text: a whole number and one unit, `250ms`, `30s`, `10m`, `2h`, `7d`.

/// The longest that a workflow may wait for anything: 366 days, in milliseconds.
const MAX_MS: u64 = 366 * 24 * 60 * 60 * 1000;

/// What every message about a bad duration ends with.
const FORM: &str = "write a whole number and a unit, such as 250ms, 30s, 10m, 2h or 7d";

/// The milliseconds that a text stands for.
///
/// # Errors
/// A sentence about the text.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("{text:?} is no duration: {FORM}")),
    };
    if number.is_empty() {
        return Err(format!("{text:?} is no duration: {FORM}"));
    }
    let ms = number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor));
    match ms {
        Some(0) => Err(format!("{text:?} is no time at all: write at least 1ms, or leave it out")),
        Some(ms) if ms <= MAX_MS => Ok(ms),
        _ => Err(format!("{text:?} is more than 366 days: write a shorter time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_number_and_unit_make_a_duration() {
        for (text, ms) in [
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            ("10m", Some(600_000)),
            ("2h", Some(7_200_000)),
            ("7d", Some(604_800_000)),
            ("366d", Some(MAX_MS)),
            ("367d", None),
            ("0s", None),
            ("", None),
            ("s", None),
            ("10", None),
            ("1.5h", None),
            ("1h30m", None),
            ("-1s", None),
            ("10 s", None),
            ("10S", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(parse(text).ok(), ms, "{text:?}");
        }
    }
}
