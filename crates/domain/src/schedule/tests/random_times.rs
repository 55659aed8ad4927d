//! Random expressions around random changes of a clock, held against someone who watches that clock minute
//! by minute and knows nothing of calendars.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::definition;
use crate::time::Millis;

/// Zones that have changed their clocks in every way there is.
const ZONES: [&str; 15] = [
    "UTC",
    "Europe/Berlin",
    "Europe/Dublin",
    "America/New_York",
    "America/St_Johns",
    "America/Havana",
    "America/Sao_Paulo",
    "America/Caracas",
    "Africa/Casablanca",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Kolkata",
    "Asia/Pyongyang",
    "Australia/Lord_Howe",
    "Pacific/Apia",
];

const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * MINUTE;

/// One field: as it is written, and the numbers that it means.
#[derive(Clone, Debug)]
struct Field {
    text: String,
    numbers: Vec<i64>,
}

fn field(low: i64, high: i64) -> BoxedStrategy<Field> {
    let star = Just(Field { text: "*".into(), numbers: (low..=high).collect() });
    let stepped = (1..=high).prop_map(move |step| Field {
        text: format!("*/{step}"),
        numbers: (low..=high).filter(|n| (n - low) % step == 0).collect(),
    });
    let list = vec(low..=high, 1..4).prop_map(|numbers| Field {
        text: numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(","),
        numbers,
    });
    let range = (low..=high, low..=high, 1..4_i64).prop_map(|(a, b, step)| {
        let (a, b) = (a.min(b), a.max(b));
        let numbers = (a..=b).filter(|n| (n - a) % step == 0).collect();
        Field { text: format!("{a}-{b}/{step}"), numbers }
    });
    prop_oneof![2 => star, 1 => stepped, 3 => list, 2 => range].boxed()
}

/// Hours are mostly those at which clocks are set.
fn hours() -> BoxedStrategy<Field> {
    let early = vec(0..4_i64, 1..3).prop_map(|numbers| Field {
        text: numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(","),
        numbers,
    });
    prop_oneof![early, field(0, 23)].boxed()
}

/// Days are mostly all days, as the rest is about the time of day.
fn days(low: i64, high: i64) -> BoxedStrategy<Field> {
    let star = Field { text: "*".into(), numbers: (low..=high).collect() };
    prop_oneof![3 => Just(star), 1 => field(low, high)].boxed()
}

fn fields() -> impl Strategy<Value = [Field; 5]> {
    [field(0, 59), hours(), days(1, 31), days(1, 12), days(0, 7)]
}

fn means(fields: &[Field; 5], local: DateTime) -> bool {
    let [minute, hour, day, month, weekday] = fields;
    let has = |field: &Field, number: i8| field.numbers.contains(&i64::from(number));
    let sunday_zero = local.weekday().to_sunday_zero_offset();
    let on_day = has(day, local.day());
    let on_weekday = has(weekday, sunday_zero) || sunday_zero == 0 && has(weekday, 7);
    let on = if day.text.starts_with('*') || weekday.text.starts_with('*') {
        on_day && on_weekday
    } else {
        on_day || on_weekday
    };
    on && has(minute, local.minute()) && has(hour, local.hour()) && has(month, local.month())
}

/// The minutes from `from` on and before `before`, both in seconds, at which the watcher sees it due.
fn watched(fields: &[Field; 5], zone: &TimeZone, from: i64, before: i64) -> Vec<Millis> {
    let show = |at: i64| zone.to_datetime(Timestamp::from_second(at).unwrap());
    let fixed = !fields[0].text.starts_with('*') && !fields[1].text.starts_with('*');
    // Long enough for whatever came twice.
    let mut now = from - 3 * DAY;
    let mut latest = show(now - MINUTE);
    let mut due = Vec::new();
    while now < before {
        let shown = show(now);
        let is_due = if fixed {
            let mut any = false;
            while latest < shown {
                latest = latest.checked_add(jiff::Span::new().minutes(1)).unwrap();
                any |= means(fields, latest);
            }
            any
        } else {
            means(fields, shown)
        };
        if is_due && now >= from {
            due.push(Millis(now * 1000));
        }
        now += MINUTE;
    }
    due
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn due_times_are_those_that_a_watcher_of_the_clock_sees(
        fields in fields(),
        zone in 0..ZONES.len(),
        // From 1975 to 2060.
        somewhere in 5 * 365 * DAY..90 * 365 * DAY,
        before_change in 0..2 * DAY,
        most in 0..6_usize,
    ) {
        let zone = ZONES[zone];
        let rules = TimeZoneDatabase::bundled().get(zone).unwrap();
        let change = rules.following(Timestamp::from_second(somewhere).unwrap()).next();
        let around = change.map_or(somewhere, |change| change.timestamp().as_second());
        let from = (around - before_change) / MINUTE * MINUTE;
        let before = from + 4 * DAY;

        let text = fields.iter().map(|field| field.text.as_str()).collect::<Vec<_>>().join(" ");
        let read = super::Definition::read(&super::schedule(&text, json!({"timeZone": zone})));
        prop_assume!(read.is_ok());
        let definition = definition(&text, json!({"timeZone": zone}));
        let expected = watched(&fields, &rules, from, before);

        let (after, until) = (Millis(from * 1000 - 1), Millis(before * 1000 - 1));
        let mut found = Vec::new();
        let mut last = after;
        while let Some(next) = definition.next_after(last).filter(|next| *next <= until) {
            found.push(next);
            last = next;
        }
        prop_assert_eq!(&found, &expected, "{} in {}", text, zone);
        prop_assert_eq!(definition.count(after, until), expected.len() as u64, "{} in {}", &text, zone);
        let newest = &expected[expected.len().saturating_sub(most)..];
        prop_assert_eq!(definition.newest(after, until, most), newest, "{} in {}", &text, zone);
    }

    #[test]
    fn only_expressions_that_are_never_due_are_refused(fields in fields()) {
        let text = fields.iter().map(|field| field.text.as_str()).collect::<Vec<_>>().join(" ");
        // A leap year that begins on each weekday, by the hour: the minute and the hour don't matter.
        let mut any = false;
        for year in [2000_i16, 2004, 2008, 2012, 2016, 2020, 2024] {
            let first = jiff::civil::date(year, 1, 1).at(
                i8::try_from(fields[1].numbers[0]).unwrap(),
                i8::try_from(fields[0].numbers[0]).unwrap(),
                0,
                0,
            );
            any |= (0..366).any(|day| means(&fields, first + jiff::Span::new().days(day)));
        }
        let read = super::Definition::read(&super::schedule(&text, json!({})));
        prop_assert_eq!(read.is_ok(), any, "{}", text);
    }
}
