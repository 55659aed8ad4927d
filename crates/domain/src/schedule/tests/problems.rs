//! What is wrong with definitions, and where.

use serde_json::{Value, json};

use super::super::definition::{CatchUp, Definition, Overlap};
use super::{at, schedule};
use crate::workflow::definition::Pin;
use crate::workflow::problem::Severity;

/// The definition has exactly these problems: severity, place and how the sentence begins.
#[track_caller]
fn check(definition: &Value, expected: &[(Severity, &str, &str)]) {
    let (refused, found) = match Definition::read(definition) {
        Ok((_, warnings)) => (false, warnings),
        Err(problems) => (true, problems),
    };
    let matches = found.len() == expected.len()
        && found.iter().zip(expected).all(|(problem, (severity, pointer, begins))| {
            problem.severity == *severity
                && problem.pointer == *pointer
                && problem.message.starts_with(begins)
        });
    assert!(matches, "{definition}\nfound {found:#?}\nwanted {expected:#?}");
    let has_error = expected.iter().any(|(severity, ..)| *severity == Error);
    assert_eq!(refused, has_error, "{definition}");
}

use Severity::{Error, Warning};

fn nightly(more: Value) -> Value {
    schedule("0 3 * * *", more)
}

#[test]
fn least_definition_has_the_stated_defaults() {
    let (read, warnings) = Definition::read(&nightly(json!({}))).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(read.workflow, "w");
    assert_eq!(read.pin, Pin::Newest);
    assert_eq!((read.cron(), read.time_zone()), ("0 3 * * *", "UTC"));
    assert_eq!(*read.input, json!({}));
    assert_eq!((read.overlap, read.catch_up), (Overlap::Skip, CatchUp::One));
    assert_eq!(read.catch_up_window_ms, 86_400_000);
    assert_eq!((read.paused, read.jitter_ms), (false, 0));
    assert_eq!((read.start_at, read.end_at), (None, None));
}

#[test]
fn definition_written_back_is_the_same() {
    let full = json!({
        "workflow": "nightly",
        "version": 3,
        "cron": "@daily",
        "timeZone": "europe/berlin",
        "input": {"a": [1, null]},
        "labels": {"team": "x"},
        "searchAttributes": {"customer": "y"},
        "overlap": "allow",
        "catchUp": "all",
        "catchUpWindow": "2h",
        "paused": true,
        "startAt": "2026-01-01T00:00:00.250+01:00",
        "endAt": "2027-01-01T00:00:00Z",
        "jitter": "90s",
    });
    let (read, _) = Definition::read(&full).unwrap();
    assert_eq!(read.time_zone(), "Europe/Berlin");
    assert_eq!(read.start_at, Some(at("2025-12-31T23:00:00.250Z")));
    for definition in [
        full,
        nightly(json!({})),
        nightly(json!({"alias": "stable", "overlap": "queue"})),
        nightly(json!({"catchUp": "none", "overlap": "cancel"})),
    ] {
        let (read, _) = Definition::read(&definition).unwrap();
        let (again, warnings) = Definition::read(&read.to_json()).unwrap();
        assert_eq!(again, read);
        assert_eq!(warnings, []);
        assert_eq!(again.to_json(), read.to_json());
    }
}

#[test]
fn all_problems_come_at_once() {
    let definition = json!({
        "cron": "0 0 31 2 *",
        "timezone": "Europe/Berlin",
        "timeZone": "Europe/Berln",
        "version": 0,
        "alias": "x",
        "input": [1],
        "labels": {"a": 1, "b/c": " "},
        "searchAttributes": "x",
        "overlap": "skipp",
        "catchUp": 1,
        "catchUpWindow": "1 day",
        "paused": "no",
        "startAt": "tomorrow",
        "endAt": "2026-01-01T00:00:00",
        "jitter": 5,
    });
    check(
        &definition,
        &[
            (
                Error,
                "/timezone",
                "unknown field \"timezone\" of schedule; did you mean \"timeZone\"?",
            ),
            (Error, "", "the field \"workflow\" of schedule is missing"),
            (Error, "/version", "is 0: write a whole number from 1"),
            (Error, "/alias", "has a version as well"),
            (Error, "/cron", "is never due: none of its months has such a day"),
            (
                Error,
                "/timeZone",
                "\"Europe/Berln\" is no time zone that is known; did you mean \"Europe/Berlin\"?",
            ),
            (Error, "/input", "is a list: write an object"),
            (Error, "/labels/a", "is a number: write a text"),
            (Error, "/labels/b~1c", "is empty"),
            (Error, "/searchAttributes", "is a text: write an object"),
            (Error, "/overlap", "\"skipp\" isn't known here; did you mean \"skip\"?"),
            (Error, "/catchUp", "is a number: write a text"),
            (Error, "/catchUpWindow", "\"1 day\" is no duration"),
            (Error, "/paused", "is a text: write true or false"),
            (Error, "/startAt", "\"tomorrow\" is no point in time"),
            (Error, "/endAt", "\"2026-01-01T00:00:00\" is no point in time"),
            (Error, "/jitter", "is a number: write a duration"),
        ],
    );
}

#[test]
fn expressions_and_zones_that_mean_nothing_are_named() {
    let cron = |text: &str| schedule(text, json!({}));
    check(&cron("0 0 3 * * *"), &[(Error, "/cron", "has 6 fields: write five")]);
    check(&cron("61 * * * *"), &[(Error, "/cron", "\"61\" is no minute: write 0 to 59")]);
    check(&cron("@reboot"), &[(Error, "/cron", "\"@reboot\" isn't known here")]);
    check(&cron("TZ=UTC 0 3 * * *"), &[(Error, "/cron", "names a time zone")]);
    check(&cron(" "), &[(Error, "/cron", "is empty")]);
    for zone in ["Etc/Unknown", "+02:00", "local", "Mars"] {
        let message =
            format!("{zone:?} is no time zone that is known: write one of the IANA names");
        check(&nightly(json!({"timeZone": zone})), &[(Error, "/timeZone", &message)]);
    }
    check(&json!("0 3 * * *"), &[(Error, "", "is a text: write an object")]);
}

#[test]
fn limits_between_which_nothing_is_due_are_refused() {
    let between = "nothing is due between";
    let limits = |start: &str, end: &str| nightly(json!({"startAt": start, "endAt": end}));
    let night = limits("2026-01-01T03:00:00Z", "2026-01-01T03:00:00.001Z");
    check(&night, &[]);
    let day = limits("2026-01-01T03:00:00.001Z", "2026-01-02T03:00:00Z");
    check(&day, &[(Error, "/endAt", between)]);
    let backwards = limits("2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z");
    check(&backwards, &[(Error, "/endAt", between)]);
    let too_far = nightly(json!({"startAt": "9999-12-30T12:00:00Z"}));
    check(&too_far, &[(Error, "/startAt", between)]);
}

#[test]
fn what_is_rarely_meant_is_a_warning() {
    check(&schedule("0 0 1 * MON", json!({})), &[(Warning, "/cron", "both days are given")]);
    let long = "a step of 90 in the minute reaches past its end";
    check(&schedule("*/90 * * * *", json!({})), &[(Warning, "/cron", long)]);
    check(&schedule("*/59 */23 * * *", json!({})), &[]);
    let unused = nightly(json!({"catchUp": "none", "catchUpWindow": "1h"}));
    check(&unused, &[(Warning, "/catchUpWindow", "has no meaning")]);
    for overlap in ["skip", "queue", "cancel"] {
        let dropped = nightly(json!({"catchUp": "all", "overlap": overlap}));
        check(&dropped, &[(Warning, "/catchUp", "times that passed are due at once")]);
    }
    check(&nightly(json!({"catchUp": "all", "overlap": "allow"})), &[]);
}
