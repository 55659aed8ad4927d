//! Which times a cron expression means, on a clock that is never set.

use super::super::cron::{Cron, CronError};
use super::{at, definition};

/// The expression is due at exactly these times of 2026 to begin with, in UTC.
#[track_caller]
fn check(cron: &str, expected: &[&str]) {
    let definition = definition(cron, serde_json::json!({}));
    let mut last = at("2025-12-31T23:59:59.999Z");
    for wanted in expected {
        let next = definition.next_after(last);
        assert_eq!(next, Some(at(&format!("{wanted}:00Z"))), "{cron}: {wanted}");
        last = next.unwrap();
    }
}

#[test]
fn fields_take_stars_lists_ranges_steps_and_names() {
    check("* * * * *", &["2026-01-01T00:00", "2026-01-01T00:01"]);
    check("5 4 * * *", &["2026-01-01T04:05", "2026-01-02T04:05"]);
    check("0,30 22-23 * * *", &["2026-01-01T22:00", "2026-01-01T22:30", "2026-01-01T23:00"]);
    check(
        "*/25 * * * *",
        &["2026-01-01T00:00", "2026-01-01T00:25", "2026-01-01T00:50", "2026-01-01T01:00"],
    );
    check(
        "10-40/15 3 * * *",
        &["2026-01-01T03:10", "2026-01-01T03:25", "2026-01-01T03:40", "2026-01-02T03:10"],
    );
    check("50/5 3 * * *", &["2026-01-01T03:50", "2026-01-01T03:55", "2026-01-02T03:50"]);
    check("0 0 1 feb,DEC *", &["2026-02-01T00:00", "2026-12-01T00:00", "2027-02-01T00:00"]);
    check(
        "0 0 1 Mar-May ?",
        &["2026-03-01T00:00", "2026-04-01T00:00", "2026-05-01T00:00", "2027-03-01T00:00"],
    );
    check("  7\t8  * * *  ", &["2026-01-01T08:07"]);
    // 2026-01-01 is a Thursday.
    check("0 9 * * MON-FRI", &["2026-01-01T09:00", "2026-01-02T09:00", "2026-01-05T09:00"]);
    check(
        "0 9 * * fri-sun",
        &["2026-01-02T09:00", "2026-01-03T09:00", "2026-01-04T09:00", "2026-01-09T09:00"],
    );
    check(
        "0 9 * * 5-7",
        &["2026-01-02T09:00", "2026-01-03T09:00", "2026-01-04T09:00", "2026-01-09T09:00"],
    );
    check("0 9 * * 7", &["2026-01-04T09:00", "2026-01-11T09:00"]);
    check("0 9 * * 0", &["2026-01-04T09:00", "2026-01-11T09:00"]);
}

#[test]
fn words_stand_for_expressions() {
    check("@yearly", &["2026-01-01T00:00", "2027-01-01T00:00"]);
    check("@annually", &["2026-01-01T00:00", "2027-01-01T00:00"]);
    check("@monthly", &["2026-01-01T00:00", "2026-02-01T00:00"]);
    check("@weekly", &["2026-01-04T00:00", "2026-01-11T00:00"]);
    check("@daily", &["2026-01-01T00:00", "2026-01-02T00:00"]);
    check("@Midnight", &["2026-01-01T00:00", "2026-01-02T00:00"]);
    check("@hourly", &["2026-01-01T00:00", "2026-01-01T01:00"]);
}

#[test]
fn either_day_counts_when_both_are_given_and_both_when_one_begins_with_a_star() {
    check(
        "0 0 13 * FRI",
        &["2026-01-02T00:00", "2026-01-09T00:00", "2026-01-13T00:00", "2026-01-16T00:00"],
    );
    check("0 0 13 * *", &["2026-01-13T00:00", "2026-02-13T00:00"]);
    check("0 0 * * FRI", &["2026-01-02T00:00", "2026-01-09T00:00"]);
    // Odd days that are Fridays.
    check("0 0 */2 * FRI", &["2026-01-09T00:00", "2026-01-23T00:00", "2026-02-13T00:00"]);
}

#[test]
fn month_ends_and_leap_days_are_due_where_they_exist() {
    check(
        "0 0 31 * *",
        &["2026-01-31T00:00", "2026-03-31T00:00", "2026-05-31T00:00", "2026-07-31T00:00"],
    );
    check("0 0 30 2-4 *", &["2026-03-30T00:00", "2026-04-30T00:00", "2027-03-30T00:00"]);
    check("0 12 29 2 *", &["2028-02-29T12:00", "2032-02-29T12:00"]);
    // The 29th of February as a Sunday; 2100 is no leap year.
    check(
        "0 0 29 2 */7",
        &["2032-02-29T00:00", "2060-02-29T00:00", "2088-02-29T00:00", "2128-02-29T00:00"],
    );
    check("0 0 30 2 MON", &["2026-02-02T00:00", "2026-02-09T00:00"]);
}

#[test]
fn what_is_no_expression_is_refused_with_the_field() {
    let value = |text: &str, field, allowed| CronError::Value { text: text.into(), field, allowed };
    let minute = |text| value(text, "minute", "0 to 59");
    let step = |text: &str| CronError::Step { text: text.into(), field: "minute" };
    let cases = [
        ("", CronError::Fields { found: 0 }),
        ("* * * *", CronError::Fields { found: 4 }),
        ("0 0 3 * * *", CronError::Fields { found: 6 }),
        ("CRON_TZ=UTC 0 3 * * *", CronError::Zone),
        ("TZ=UTC 0 3 * * *", CronError::Zone),
        ("@reboot", CronError::Word { word: "@reboot".into() }),
        ("@every 1h", CronError::Word { word: "@every 1h".into() }),
        ("60 * * * *", minute("60")),
        ("-1 * * * *", minute("-1")),
        ("+1 * * * *", minute("+1")),
        ("1,,2 * * * *", minute("")),
        ("a * * * *", minute("a")),
        ("1-2-3 * * * *", minute("1-2-3")),
        ("99999999999 * * * *", minute("99999999999")),
        ("* 24 * * *", value("24", "hour", "0 to 23")),
        ("* * 0 * *", value("0", "day of month", "1 to 31")),
        ("* * L * *", value("L", "day of month", "1 to 31")),
        ("* * * 13 *", value("13", "month", "1 to 12 or JAN to DEC")),
        ("* * * MON *", value("MON", "month", "1 to 12 or JAN to DEC")),
        ("* * * * 8", value("8", "day of week", "0 to 7 or SUN to SAT")),
        ("* * * * MON#1", value("MON#1", "day of week", "0 to 7 or SUN to SAT")),
        ("* 22-2 * * *", CronError::Backwards { text: "22-2".into(), field: "hour" }),
        ("* * * * FRI-MON", CronError::Backwards { text: "FRI-MON".into(), field: "day of week" }),
        ("*/0 * * * *", step("*/0")),
        ("*/ * * * *", step("*/")),
        ("*/+2 * * * *", step("*/+2")),
        ("*/x * * * *", step("*/x")),
        ("0 0 31 2 *", CronError::Never),
        ("0 0 30 2 *", CronError::Never),
        ("0 0 31 4,6,9,11 *", CronError::Never),
        ("0 0 30-31 2 */2", CronError::Never),
    ];
    for (text, expected) in cases {
        assert_eq!(Cron::parse(text), Err(expected), "{text:?}");
    }
}
