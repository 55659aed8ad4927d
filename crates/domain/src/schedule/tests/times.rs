//! Due times where the clock is set forward or back, and at the ends of what a definition allows.

use serde_json::json;

use super::super::calendar::{zone, zone_names};
use super::{at, definition};
use crate::time::Millis;

/// From `after` on, the expression is due in that zone at exactly these times to begin with.
#[track_caller]
fn check(cron: &str, zone: &str, after: &str, expected: &[&str]) {
    let definition = definition(cron, json!({"timeZone": zone}));
    let mut last = at(after);
    for wanted in expected {
        let next = definition.next_after(last);
        assert_eq!(next, Some(at(wanted)), "{cron} in {zone}: {wanted}");
        last = next.unwrap();
    }
    let count = expected.len();
    assert_eq!(definition.count(at(after), last), count as u64, "{cron} in {zone}");
    let times: Vec<_> = expected.iter().map(|wanted| at(wanted)).collect();
    assert_eq!(definition.newest(at(after), last, count + 1), times, "{cron} in {zone}");
    assert_eq!(definition.newest(at(after), last, count - 1), times[1..], "{cron} in {zone}");
}

#[test]
fn berlin_loses_no_daily_time_in_spring_and_doubles_none_in_autumn() {
    let spring = "2026-03-28T12:00+01:00";
    check(
        "30 2 * * *",
        "Europe/Berlin",
        spring,
        &["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"],
    );
    check(
        "0 3 * * *",
        "Europe/Berlin",
        spring,
        &["2026-03-29T03:00+02:00", "2026-03-30T03:00+02:00"],
    );
    // Three that fall together are one.
    check(
        "0,30 2,3 * * *",
        "Europe/Berlin",
        spring,
        &["2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00", "2026-03-30T02:00+02:00"],
    );
    check(
        "0 1 * * *",
        "Europe/Berlin",
        spring,
        &["2026-03-29T01:00+01:00", "2026-03-30T01:00+02:00"],
    );
    let autumn = "2026-10-24T12:00+02:00";
    check(
        "30 2 * * *",
        "Europe/Berlin",
        autumn,
        &["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"],
    );
    check(
        "0 3 * * *",
        "Europe/Berlin",
        autumn,
        &["2026-10-25T03:00+01:00", "2026-10-26T03:00+01:00"],
    );
    check(
        "30 1-3 * * *",
        "Europe/Berlin",
        autumn,
        &[
            "2026-10-25T01:30+02:00",
            "2026-10-25T02:30+02:00",
            "2026-10-25T03:30+01:00",
            "2026-10-26T01:30+01:00",
        ],
    );
    // Asked between the two.
    check(
        "30 2 * * *",
        "Europe/Berlin",
        "2026-10-25T02:10+01:00",
        &["2026-10-26T02:30+01:00", "2026-10-27T02:30+01:00"],
    );
}

#[test]
fn frequent_times_go_by_what_passes() {
    check(
        "*/30 * * * *",
        "Europe/Berlin",
        "2026-03-29T01:00+01:00",
        &["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00"],
    );
    check(
        "30 * * * *",
        "Europe/Berlin",
        "2026-03-29T01:00+01:00",
        &["2026-03-29T01:30+01:00", "2026-03-29T03:30+02:00"],
    );
    check(
        "@hourly",
        "Europe/Berlin",
        "2026-10-25T01:00+02:00",
        &["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"],
    );
    check(
        "*/30 2 * * *",
        "Europe/Berlin",
        "2026-10-25T01:00+02:00",
        &[
            "2026-10-25T02:00+02:00",
            "2026-10-25T02:30+02:00",
            "2026-10-25T02:00+01:00",
            "2026-10-25T02:30+01:00",
            "2026-10-26T02:00+01:00",
        ],
    );
}

#[test]
fn new_york_and_half_an_hour_at_lord_howe_are_set_alike() {
    let zone = "America/New_York";
    check(
        "15 2 * * *",
        zone,
        "2026-03-07T12:00-05:00",
        &["2026-03-08T03:00-04:00", "2026-03-09T02:15-04:00"],
    );
    check(
        "15 1 * * *",
        zone,
        "2026-10-31T12:00-04:00",
        &["2026-11-01T01:15-04:00", "2026-11-02T01:15-05:00"],
    );
    let zone = "Australia/Lord_Howe";
    check(
        "0,15,30,45 2 * * *",
        zone,
        "2026-10-03T12:00+10:30",
        &["2026-10-04T02:30+11:00", "2026-10-04T02:45+11:00", "2026-10-05T02:00+11:00"],
    );
    check(
        "15,45 1 * * *",
        zone,
        "2026-04-04T12:00+11:00",
        &["2026-04-05T01:15+11:00", "2026-04-05T01:45+11:00", "2026-04-06T01:15+10:30"],
    );
    check(
        "*/15 * * * *",
        zone,
        "2026-04-05T01:30+11:00",
        &[
            "2026-04-05T01:45+11:00",
            "2026-04-05T01:30+10:30",
            "2026-04-05T01:45+10:30",
            "2026-04-05T02:00+10:30",
        ],
    );
}

#[test]
fn zones_without_daylight_saving_keep_their_offset() {
    check(
        "0 3 * * *",
        "Asia/Kolkata",
        "2026-03-28T12:00Z",
        &["2026-03-29T03:00+05:30", "2026-03-30T03:00+05:30"],
    );
    check("0 3 * * *", "UTC", "2026-10-24T12:00Z", &["2026-10-25T03:00Z", "2026-10-26T03:00Z"]);
    check("0 3 * * *", "asia/kathmandu", "2026-03-28T12:00Z", &["2026-03-29T03:00+05:45"]);
}

#[test]
fn day_that_a_zone_leaves_out_is_made_up_for_once() {
    check(
        "0 9,15 * * *",
        "Pacific/Apia",
        "2011-12-29T12:00-10:00",
        &["2011-12-29T15:00-10:00", "2011-12-31T00:00+14:00", "2011-12-31T09:00+14:00"],
    );
    check(
        "@daily",
        "Pacific/Apia",
        "2011-12-28T12:00-10:00",
        &["2011-12-29T00:00-10:00", "2011-12-31T00:00+14:00", "2012-01-01T00:00+14:00"],
    );
}

#[test]
fn midnight_that_does_not_exist_or_comes_twice_is_due_once() {
    let zone = "America/Sao_Paulo";
    check(
        "@daily",
        zone,
        "2017-10-14T12:00-03:00",
        &["2017-10-15T01:00-02:00", "2017-10-16T00:00-02:00"],
    );
    // At 00:01 back to 23:01.
    let zone = "America/St_Johns";
    check(
        "@daily",
        zone,
        "2010-11-06T12:00-02:30",
        &["2010-11-07T00:00-02:30", "2010-11-08T00:00-03:30"],
    );
    check(
        "30 23 * * *",
        zone,
        "2010-11-06T12:00-02:30",
        &["2010-11-06T23:30-02:30", "2010-11-07T23:30-03:30"],
    );
}

#[test]
fn rules_reach_far_ahead() {
    check(
        "30 2 * * *",
        "Europe/Berlin",
        "2147-03-25T12:00+01:00",
        &["2147-03-26T03:00+02:00", "2147-03-27T02:30+02:00"],
    );
}

#[test]
fn next_is_always_later_to_the_millisecond() {
    let every = definition("* * * * *", json!({}));
    let minute = at("2026-01-01T00:01Z");
    for (after, expected) in [
        (minute.plus(-1), minute),
        (minute, minute.plus(60_000)),
        (minute.plus(1), minute.plus(60_000)),
        (minute.plus(59_999), minute.plus(60_000)),
        (Millis(i64::MIN), Millis(0)),
        (Millis(-1), Millis(0)),
        (Millis(0), Millis(60_000)),
    ] {
        assert_eq!(every.next_after(after), Some(expected), "after {after:?}");
    }
    assert_eq!(every.next_after(Millis(i64::MAX)), None);
    assert_eq!(every.next_after(at("9999-12-30T00:00Z")), None);
    assert_eq!(every.count(Millis(i64::MIN), Millis(59_999)), 1);
    assert_eq!(every.count(Millis(i64::MAX), Millis(i64::MIN)), 0);
    assert_eq!(every.newest(Millis(i64::MIN), Millis(i64::MAX), 2).len(), 2);
    assert_eq!(every.newest(Millis(0), Millis(0), 2), []);
    assert_eq!(every.newest(Millis(0), Millis(600_000), 0), []);
}

#[test]
fn nothing_is_due_before_the_start_or_from_the_end_on() {
    let limits = json!({"startAt": "2026-01-02T03:00:00Z", "endAt": "2026-01-04T03:00:00Z"});
    let limited = definition("0 3 * * *", limits);
    let (first, last) = (at("2026-01-02T03:00Z"), at("2026-01-03T03:00Z"));
    assert_eq!(limited.next_after(Millis(0)), Some(first));
    assert_eq!(limited.next_after(first), Some(last));
    assert_eq!(limited.next_after(last), None);
    assert_eq!(limited.count(Millis(0), at("2027-01-01T00:00Z")), 2);
    assert_eq!(limited.newest(Millis(0), at("2027-01-01T00:00Z"), 9), [first, last]);
}

#[test]
fn no_zone_sets_its_clock_twice_within_two_days() {
    let zones = zone_names();
    assert!(zones.len() > 500, "the database is built in");
    for name in zones {
        let Some((_, rules)) = zone(&name) else { continue };
        let mut last = None;
        for change in rules.following(jiff::Timestamp::UNIX_EPOCH).take(400) {
            let now = change.timestamp().as_second();
            if let Some(last) = last.replace(now) {
                assert!(now - last >= 2 * 24 * 60 * 60, "{name} at {}", change.timestamp());
            }
        }
    }
}
