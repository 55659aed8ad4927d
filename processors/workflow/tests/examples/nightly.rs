//! A schedule and what it starts.

use domain::schedule::definition::Definition;
use domain::schedule::{Effect, Event, Schedule, Step};
use domain::time::{Millis, parse_rfc3339, to_rfc3339};
use domain::workflow::schema;
use serde_json::{Value, json};

use crate::example::{json as read, root};
use crate::world::World;

fn at(text: &str) -> Millis {
    parse_rfc3339(text).expect("a time")
}

fn definition() -> Definition {
    let value = read(&root().join("examples/nightly/schedule.json"));
    let (definition, remarks) = Definition::read(&value).expect("a schedule");
    assert_eq!(remarks, []);
    definition
}

/// When a schedule wakes up next.
fn due(step: &Step) -> Millis {
    let due = step.effects.iter().find_map(|effect| match effect {
        Effect::SetTimer { due } => Some(*due),
        _ => None,
    });
    due.expect("a timer")
}

/// The time of a start and its input, with what is added to it.
fn start(step: &Step) -> Option<(String, Value)> {
    step.effects.iter().find_map(|effect| match effect {
        Effect::Start { scheduled_for, input, .. } => {
            let mut input = Value::clone(input);
            input["scheduledFor"] = json!(to_rfc3339(*scheduled_for));
            Some((to_rfc3339(*scheduled_for), input))
        }
        _ => None,
    })
}

#[test]
fn night_is_half_past_three_in_berlin_in_winter_and_in_summer() {
    let schedule = definition();
    for (after, due) in [
        ("2027-01-10T12:00:00Z", "2027-01-11T02:30:00.000Z"),
        ("2027-07-10T12:00:00Z", "2027-07-11T01:30:00.000Z"),
        ("2027-03-27T12:00:00Z", "2027-03-28T01:30:00.000Z"),
    ] {
        let next = schedule.next_after(at(after)).expect("a night");
        assert_eq!(to_rfc3339(next), due, "after {after}");
    }
}

#[tokio::test]
async fn what_the_schedule_starts_is_what_the_page_shows() {
    let mut world = World::of("nightly");
    let created = Schedule::create("s".into(), definition(), at("2027-05-02T12:00:00Z"));
    let due = due(&created);
    let night = at("2027-05-03T01:30:00Z");
    assert!((night.0..night.0 + 600_000).contains(&due.0), "{}", to_rfc3339(due));
    let fired = created.schedule.step(Event::Due, due);
    let (time, input) = start(&fired).expect("a start");
    assert_eq!(time, "2027-05-03T01:30:00.000Z", "the jitter isn't in it");
    assert_eq!(input, world.example().input);
    let inputs = &world.example().definitions[0]["spec"]["inputs"];
    assert!(schema::violations(inputs, &input).is_empty());
    world.start_with(&input);
    world.run().await;
    assert_eq!(world.output(), world.example().promised());
}

#[test]
fn night_is_left_out_while_the_one_before_runs() {
    let created = Schedule::create("s".into(), definition(), at("2027-05-02T12:00:00Z"));
    let due_first = due(&created);
    let first = created.schedule.step(Event::Due, due_first);
    let due_second = due(&first);
    let second = first.schedule.step(Event::Due, due_second);
    assert_eq!(start(&second), None);
    assert!(second.effects.contains(&Effect::Skipped { count: 1 }), "{:?}", second.effects);
}

#[test]
fn outage_of_three_nights_is_made_up_for_by_the_newest() {
    let created = Schedule::create("s".into(), definition(), at("2027-05-02T12:00:00Z"));
    let late = created.schedule.step(Event::Due, at("2027-05-05T08:00:00Z"));
    let (time, _) = start(&late).expect("a start");
    assert_eq!(time, "2027-05-05T01:30:00.000Z");
    assert!(late.effects.contains(&Effect::Missed { count: 2 }), "{:?}", late.effects);
}
