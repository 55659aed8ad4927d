//! Histories of one schedule as data.

use serde_json::{Value, json};

use super::super::definition::Definition;
use super::super::{
    Counts, Effect, Event, Fate, MAX_AT_ONCE, MAX_RUNNING, Schedule, Step, execution_id,
};
use super::{at, definition};
use crate::time::Millis;

const ID: &str = "nightly-report";
/// When every history begins.
const START: &str = "00:00:30";

/// A time of the day on which the histories play, or of a later one: `2d 03:00`.
#[track_caller]
fn time(text: &str) -> Millis {
    let (days, time) = text.split_once("d ").unwrap_or(("0", text));
    let time = if time.len() == 5 { format!("{time}:00") } else { time.to_owned() };
    let days: i64 = days.parse().unwrap();
    at(&format!("2026-01-01T{time}Z")).plus(days * 86_400_000)
}

/// The shortest text that [`time`] reads as this.
fn text(time: Millis) -> String {
    let since = time.0 - at("2026-01-01T00:00Z").0;
    let (days, seconds) = (since.div_euclid(86_400_000), since.rem_euclid(86_400_000) / 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let days = if days == 0 { String::new() } else { format!("{days}d ") };
    let seconds = if seconds == 0 { String::new() } else { format!(":{seconds:02}") };
    format!("{days}{hours:02}:{minutes:02}{seconds}")
}

/// Effects and fate in short words, so that a whole history reads as one line. Executions are named by the
/// time for which they started.
fn words(step: &Step, started: &mut Vec<(String, Millis)>) -> String {
    let mut words = Vec::new();
    for effect in &step.effects {
        words.push(match effect {
            Effect::SetTimer { due } => format!("next {}", text(*due)),
            Effect::ClearTimer => "no-timer".to_owned(),
            Effect::Start { execution_id, scheduled_for, input } => {
                assert_eq!(**input, json!({"a": 1}), "the input is passed on as it is");
                assert!(step.schedule.running.contains_key(execution_id));
                assert!(started.iter().all(|(id, _)| id != execution_id), "started twice");
                started.push((execution_id.clone(), *scheduled_for));
                format!("start {}", text(*scheduled_for))
            }
            Effect::Cancel { execution } => {
                let (_, time) = started.iter().find(|(id, _)| id == execution).unwrap();
                format!("cancel {}", text(*time))
            }
            Effect::Missed { count } => format!("missed {count}"),
            Effect::Skipped { count } => format!("skipped {count}"),
        });
    }
    match step.fate {
        Fate::Ignored => words.push("-".into()),
        Fate::Kept => {}
        Fate::Deleted => words.push("=deleted".into()),
    }
    words.join(", ")
}

fn read(cron: &str, more: Value) -> Definition {
    let mut more = more;
    more["input"] = json!({"a": 1});
    definition(cron, more)
}

/// Creates a schedule at [`START`], then plays the events at their times; each line must say what is
/// expected.
#[track_caller]
fn check(cron: &str, more: Value, created: &str, history: &[(&str, Event, &str)]) -> Schedule {
    let mut started = Vec::new();
    let mut step = Schedule::create(ID.into(), read(cron, more), time(START));
    assert_eq!(words(&step, &mut started), created, "creation");
    for (now, event, expected) in history {
        assert_ne!(step.fate, Fate::Deleted, "{now} is after the end");
        let before = step.schedule.clone();
        step = step.schedule.step(event.clone(), time(now));
        assert_eq!(words(&step, &mut started), *expected, "{event:?} at {now}");
        if step.fate == Fate::Ignored {
            assert_eq!(
                step.schedule, before,
                "{event:?} at {now} was ignored and changed something"
            );
        }
    }
    step.schedule
}

fn ended(scheduled_for: &str) -> Event {
    Event::Ended { execution: execution_id(ID, time(scheduled_for)) }
}

fn trigger(command: &str) -> Event {
    Event::Trigger { command: command.into() }
}

fn backfill(from: &str, to: &str) -> Event {
    Event::Backfill { command: "b1".into(), from: time(from), to: time(to) }
}

use Event::{Delete, Due, Pause, Resume};

fn replaced(cron: &str, more: Value) -> Event {
    Event::Replaced(Box::new(read(cron, more)))
}

#[test]
fn due_time_fires_once_and_the_next_is_set() {
    let schedule = check(
        "*/5 * * * *",
        json!({}),
        "next 00:05",
        &[
            ("00:04:59", Due, "-"),
            ("00:05", Due, "start 00:05, next 00:10"),
            ("00:05", Due, "-"),
            ("00:06", ended("00:05"), ""),
            ("00:06", ended("00:05"), "-"),
            ("00:10:59", Due, "start 00:10, next 00:15"),
            ("00:11", ended("00:05"), "-"),
        ],
    );
    assert_eq!(schedule.last_fired, Some(time("00:10")));
    assert_eq!(schedule.counts, Counts { started: 2, ..Counts::default() });
    assert_eq!(schedule.running.len(), 1);
}

#[test]
fn id_follows_from_schedule_and_due_time() {
    // Written out, as the ids of stored executions must stay what they are.
    assert_eq!(execution_id(ID, time("00:05")), "5c70342a-2e9b-5929-bf1d-9ababf42e116");
    assert_ne!(execution_id(ID, time("00:05")), execution_id(ID, time("00:10")));
    assert_ne!(execution_id(ID, time("00:05")), execution_id("other", time("00:05")));
}

#[test]
fn skip_drops_what_is_due_while_one_runs() {
    let schedule = check(
        "*/5 * * * *",
        json!({}),
        "next 00:05",
        &[
            ("00:05", Due, "start 00:05, next 00:10"),
            ("00:10", Due, "skipped 1, next 00:15"),
            ("00:15", Due, "skipped 1, next 00:20"),
            ("00:16", ended("00:05"), ""),
            ("00:20", Due, "start 00:20, next 00:25"),
        ],
    );
    assert_eq!(schedule.counts, Counts { started: 2, skipped: 2, ..Counts::default() });
}

#[test]
fn queue_lets_one_wait_and_drops_the_rest() {
    check(
        "*/5 * * * *",
        json!({"overlap": "queue"}),
        "next 00:05",
        &[
            ("00:05", Due, "start 00:05, next 00:10"),
            ("00:10", Due, "next 00:15"),
            ("00:15", Due, "skipped 1, next 00:20"),
            ("00:16", ended("00:05"), "start 00:10"),
            ("00:17", ended("00:10"), ""),
            ("00:20", Due, "start 00:20, next 00:25"),
        ],
    );
}

#[test]
fn cancel_ends_the_former_before_the_new_one_starts() {
    let schedule = check(
        "*/5 * * * *",
        json!({"overlap": "cancel"}),
        "next 00:05",
        &[
            ("00:05", Due, "start 00:05, next 00:10"),
            ("00:10", Due, "cancel 00:05, next 00:15"),
            // It compensates for long: the newest takes the place of the one that waits.
            ("00:15", Due, "skipped 1, next 00:20"),
            ("00:16", ended("00:05"), "start 00:15"),
            ("00:17", ended("00:15"), ""),
            ("00:20", Due, "start 00:20, next 00:25"),
        ],
    );
    assert_eq!(schedule.counts, Counts { started: 3, skipped: 1, cancelled: 1, missed: 0 });
}

#[test]
fn allow_lets_both_run() {
    check(
        "*/5 * * * *",
        json!({"overlap": "allow"}),
        "next 00:05",
        &[
            ("00:05", Due, "start 00:05, next 00:10"),
            ("00:10", Due, "start 00:10, next 00:15"),
            ("00:11", ended("00:05"), ""),
            ("00:15", Due, "start 00:15, next 00:20"),
        ],
    );
}

#[test]
fn catch_up_none_fires_what_is_on_time_only() {
    let none = || json!({"catchUp": "none", "overlap": "allow"});
    check(
        "*/5 * * * *",
        none(),
        "next 00:05",
        &[
            ("00:05:59", Due, "start 00:05, next 00:10"),
            ("00:11", Due, "missed 1, next 00:15"),
            ("03:00", Due, "missed 33, start 03:00, next 03:05"),
            ("2d 12:01", Due, "missed 684, next 2d 12:05"),
        ],
    );
}

#[test]
fn catch_up_one_fires_the_newest_within_the_window() {
    let one = || json!({"catchUpWindow": "1h", "overlap": "allow"});
    check(
        "*/5 * * * *",
        one(),
        "next 00:05",
        &[
            ("00:06", Due, "start 00:05, next 00:10"),
            ("00:18", Due, "missed 1, start 00:15, next 00:20"),
            // One that is on time makes up for the others.
            ("00:30", Due, "missed 2, start 00:30, next 00:35"),
        ],
    );
    check(
        "0 3 * * *",
        one(),
        "next 03:00",
        &[
            ("04:00", Due, "start 03:00, next 1d 03:00"),
            ("1d 04:00:01", Due, "missed 1, next 2d 03:00"),
            ("9d 03:30", Due, "missed 7, start 9d 03:00, next 10d 03:00"),
        ],
    );
}

#[test]
fn catch_up_all_fires_each_within_the_window() {
    let all = |overlap: &str| json!({"catchUp": "all", "catchUpWindow": "1h", "overlap": overlap});
    check(
        "0,20,40 * * * *",
        all("allow"),
        "next 00:20",
        &[
            ("01:15", Due, "start 00:20, start 00:40, start 01:00, next 01:20"),
            ("05:10", Due, "missed 9, start 04:20, start 04:40, start 05:00, next 05:20"),
        ],
    );
    check(
        "0,20,40 * * * *",
        all("skip"),
        "next 00:20",
        &[("01:15", Due, "start 00:20, skipped 2, next 01:20")],
    );
    check(
        "0,20,40 * * * *",
        all("queue"),
        "next 00:20",
        &[
            ("01:15", Due, "start 00:20, skipped 1, next 01:20"),
            ("01:16", ended("00:20"), "start 00:40"),
        ],
    );
    // Those before the newest would only be started to be cancelled.
    check(
        "0,20,40 * * * *",
        all("cancel"),
        "next 00:20",
        &[
            ("01:15", Due, "start 01:00, skipped 2, next 01:20"),
            ("02:15", Due, "cancel 01:00, skipped 2, next 02:20"),
            ("02:16", ended("01:00"), "start 02:00"),
        ],
    );
}

#[test]
fn catch_up_is_bounded_and_the_rest_is_missed() {
    let all = json!({"catchUp": "all", "catchUpWindow": "300d", "overlap": "allow"});
    let created = Schedule::create(ID.into(), read("* * * * *", all), time(START));
    let now = time("100d 00:00");
    let step = created.schedule.step(Due, now);
    let passed = 100 * 24 * 60;
    let bound = MAX_AT_ONCE as u64;
    assert_eq!(step.effects[0], Effect::Missed { count: passed - bound });
    assert_eq!(step.effects.len(), MAX_AT_ONCE + 2);
    let Effect::Start { scheduled_for, .. } = step.effects[1] else { panic!("no start") };
    assert_eq!(scheduled_for, now.plus(-60_000 * (MAX_AT_ONCE as i64 - 1)));
    let counts = Counts { started: bound, missed: passed - bound, ..Counts::default() };
    assert_eq!(step.schedule.counts, counts);

    // Another two such absences, and there is no room for the last.
    let step = step.schedule.step(Due, time("101d 00:00"));
    assert_eq!(step.schedule.running.len(), MAX_RUNNING);
    let step = step.schedule.step(Due, time("101d 00:02"));
    assert_eq!(words(&step, &mut Vec::new()), "skipped 2, next 101d 00:03");
    assert_eq!(step.schedule.running.len(), MAX_RUNNING);
}

#[test]
fn absence_of_years_is_counted() {
    let created = Schedule::create(ID.into(), read("* * * * *", json!({})), time(START));
    let step = created.schedule.step(Due, time("36500d 00:00:30"));
    let passed = 36_500 * 24 * 60;
    assert_eq!(
        step.schedule.counts,
        Counts { started: 1, missed: passed - 1, ..Counts::default() }
    );
}

#[test]
fn pause_starts_nothing_and_resume_goes_on_with_the_next() {
    check(
        "*/5 * * * *",
        json!({"overlap": "queue"}),
        "next 00:05",
        &[
            ("00:01", Resume, "-"),
            ("00:05", Due, "start 00:05, next 00:10"),
            ("00:10", Due, "next 00:15"),
            ("00:11", Pause, "no-timer"),
            ("00:11", Pause, "-"),
            ("00:12", ended("00:05"), ""),
            // A timer that was on its way.
            ("00:15", Due, "-"),
            ("00:21", Resume, "start 00:10, next 00:25"),
            // Due, and not fired yet.
            ("00:25:05", Pause, "no-timer, missed 1"),
            ("00:26", Resume, "next 00:30"),
            ("00:27", ended("00:10"), ""),
            ("00:30", Due, "start 00:30, next 00:35"),
        ],
    );
    check(
        "*/5 * * * *",
        json!({"paused": true}),
        "",
        &[("00:05", Due, "-"), ("00:06", Resume, "next 00:10")],
    );
}

#[test]
fn trigger_starts_at_once_whatever_runs() {
    let schedule = check(
        "*/5 * * * *",
        json!({"paused": true}),
        "",
        &[
            ("00:01", trigger("a"), "start 00:01"),
            ("00:01", trigger("a"), "-"),
            ("00:01", trigger("b"), "start 00:01"),
            ("00:02", Resume, "next 00:05"),
            ("00:05", Due, "skipped 1, next 00:10"),
        ],
    );
    assert_eq!(schedule.last_fired, Some(time("00:01")));
}

#[test]
fn backfill_starts_the_times_of_the_past() {
    check(
        "*/5 * * * *",
        json!({"paused": true}),
        "",
        &[
            ("00:21", backfill("00:05", "00:15"), "start 00:05, start 00:10"),
            ("00:21", backfill("00:06", "00:10"), "-"),
            ("00:21", backfill("00:15", "00:05"), "-"),
            // What runs already isn't started again, and what is ahead is not a past.
            ("00:21", backfill("00:10", "01:00"), "start 00:15, start 00:20"),
        ],
    );
    // What is due and about to fire stays the timer's.
    check(
        "*/5 * * * *",
        json!({"overlap": "queue"}),
        "next 00:05",
        &[
            ("00:05", Due, "start 00:05, next 00:10"),
            ("00:10", Due, "next 00:15"),
            ("00:15:01", backfill("00:00", "01:00"), "start 00:00"),
            ("00:15:02", Due, "skipped 1, next 00:20"),
        ],
    );
}

#[test]
fn time_that_ran_is_started_again_as_another_execution() {
    let again = |command: &str| Event::Backfill {
        command: command.into(),
        from: time("00:05"),
        to: time("00:06"),
    };
    let schedule = check(
        "*/5 * * * *",
        json!({}),
        "next 00:05",
        &[
            ("00:05", Due, "start 00:05, next 00:10"),
            ("00:06", again("b1"), "-"),
            ("00:07", ended("00:05"), ""),
            ("00:07", again("b1"), "start 00:05"),
            ("00:07", again("b2"), "-"),
        ],
    );
    assert_eq!(schedule.counts.started, 2);
}

#[test]
fn backfill_is_bounded_and_the_rest_is_missed() {
    let created = Schedule::create(ID.into(), read("* * * * *", json!({})), time("2d 00:00"));
    let step = created.schedule.step(backfill("00:00", "1d 00:00"), time("2d 00:00"));
    assert_eq!(step.effects.len(), MAX_AT_ONCE + 1);
    assert_eq!(step.effects[MAX_AT_ONCE], Effect::Missed { count: 1440 - MAX_AT_ONCE as u64 });
    let Effect::Start { scheduled_for, .. } = step.effects[0] else { panic!("no start") };
    assert_eq!(scheduled_for, time("00:00"));
}

#[test]
fn replaced_definition_counts_from_now_on_and_loses_nothing() {
    let other = || replaced("0 * * * *", json!({}));
    check(
        "*/5 * * * *",
        json!({}),
        "next 00:05",
        &[
            ("00:01", replaced("*/5 * * * *", json!({})), "-"),
            ("00:01", other(), "next 01:00"),
            ("00:05", Due, "-"),
            ("01:00", Due, "start 01:00, next 02:00"),
        ],
    );
    // Due, and not fired yet: by the former one.
    check(
        "*/5 * * * *",
        json!({}),
        "next 00:05",
        &[("00:05:01", other(), "start 00:05, next 00:10, next 01:00")],
    );
    // What waits need not wait any more.
    check(
        "*/5 * * * *",
        json!({"overlap": "queue"}),
        "next 00:05",
        &[
            ("00:05", Due, "start 00:05, next 00:10"),
            ("00:10", Due, "next 00:15"),
            (
                "00:11",
                replaced("*/5 * * * *", json!({"overlap": "allow"})),
                "start 00:10, next 00:15",
            ),
        ],
    );
    // Nothing is due any more.
    check(
        "*/5 * * * *",
        json!({}),
        "next 00:05",
        &[
            (
                "00:01",
                replaced("*/5 * * * *", json!({"endAt": "2026-01-01T00:00:01Z"})),
                "no-timer",
            ),
            ("00:05", Due, "-"),
            ("00:06", other(), "next 01:00"),
        ],
    );
}

#[test]
fn replaced_definition_pauses_only_when_it_says_something_new() {
    let paused = || replaced("*/10 * * * *", json!({"paused": true}));
    let active = || replaced("*/20 * * * *", json!({}));
    check(
        "*/5 * * * *",
        json!({}),
        "next 00:05",
        &[
            ("00:01", Pause, "no-timer"),
            ("00:02", active(), ""),
            ("00:03", Resume, "next 00:20"),
            ("00:20:01", paused(), "no-timer, missed 1"),
            ("00:21", Resume, "next 00:30"),
            ("00:22", replaced("*/15 * * * *", json!({"paused": true})), "next 00:30"),
            ("00:23", Pause, "no-timer"),
            ("00:24", active(), "next 00:40"),
        ],
    );
}

#[test]
fn deleted_schedule_leaves_what_runs_alone() {
    let schedule = check(
        "*/5 * * * *",
        json!({"overlap": "queue"}),
        "next 00:05",
        &[
            ("00:05", Due, "start 00:05, next 00:10"),
            ("00:10", Due, "next 00:15"),
            ("00:11", Delete, "no-timer, =deleted"),
        ],
    );
    assert_eq!((schedule.next, schedule.queued), (None, None));
    check("*/5 * * * *", json!({"paused": true}), "", &[("00:11", Delete, "=deleted")]);
}

#[test]
fn last_time_is_followed_by_no_other() {
    let limits = json!({"endAt": "2026-01-01T00:10:00Z", "overlap": "queue"});
    check(
        "*/5 * * * *",
        limits,
        "next 00:05",
        &[
            ("00:05", Due, "start 00:05"),
            ("00:10", Due, "-"),
            ("00:11", trigger("a"), "start 00:11"),
        ],
    );
}

#[test]
fn jitter_delays_within_its_bound_and_before_the_next() {
    let jitter = |jitter: &str| json!({"jitter": jitter, "overlap": "allow"});
    for (bound, most) in [("40s", 40_000), ("1h", 299_999)] {
        let mut delays = Vec::new();
        for id in 0..50 {
            let id = format!("schedule-{id}");
            let create =
                || Schedule::create(id.clone(), read("*/5 * * * *", jitter(bound)), time(START));
            let schedule = create().schedule;
            assert_eq!(schedule, create().schedule, "the delay follows from id and time");
            let next = schedule.next.unwrap();
            assert_eq!(next.scheduled_for, time("00:05"));
            let delay = next.fires_at.since(next.scheduled_for);
            assert!((0..=most).contains(&delay), "{delay}");
            delays.push(delay);

            let step = schedule.step(Due, next.fires_at.plus(-1));
            assert_eq!(step.fate, Fate::Ignored);
            let step = step.schedule.step(Due, next.fires_at);
            let start = execution_id(&id, time("00:05"));
            assert_eq!(step.schedule.running.keys().collect::<Vec<_>>(), [&start]);
        }
        delays.sort_unstable();
        assert!(delays[10] < most / 2 && delays[40] > most / 2, "spread: {delays:?}");
    }
}

#[test]
fn newest_time_waits_for_its_jitter_while_older_ones_fire() {
    let more = json!({"jitter": "5m", "overlap": "allow", "catchUp": "all"});
    let created = Schedule::create(ID.into(), read("*/5 * * * *", more.clone()), time(START));
    // Just due, long before its delay is over: the two before it fire.
    let step = created.schedule.step(Due, time("00:15"));
    let mut started = Vec::new();
    assert!(words(&step, &mut started).starts_with("start 00:05, start 00:10, next 00:1"));
    let next = step.schedule.next.unwrap();
    assert_eq!(next.scheduled_for, time("00:15"));
    assert!(next.fires_at > time("00:15"));

    // Whatever it waits for, a new definition doesn't lose it; a pause misses it.
    let paused = step.schedule.clone().step(Pause, time("00:15:01"));
    assert_eq!(words(&paused, &mut started), "no-timer, missed 1");
    let step = step.schedule.step(replaced("0 * * * *", more), time("00:15:01"));
    assert!(words(&step, &mut started).starts_with("start 00:15, "));
}
