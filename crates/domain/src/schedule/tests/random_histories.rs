//! Random histories of a schedule against the promises of the module: each due time is started, dropped,
//! missed or waits, once; nothing starts twice or while the schedule is paused; nothing grows without bound.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::super::definition::Overlap;
use super::super::{Effect, Event, Fate, Schedule, execution_id};
use super::definition;
use crate::time::Millis;

/// What may happen, before it is known what runs.
#[derive(Clone, Debug)]
enum Act {
    Due,
    /// The n-th of those that run ends.
    End(usize),
    Pause,
    Resume,
    Trigger(u8),
    Replace(usize),
}

fn act() -> impl Strategy<Value = (i64, Act)> {
    let wait = prop_oneof![4 => 0..90_000_i64, 2 => 0..900_000_i64, 1 => 0..40_000_000_i64];
    let act = prop_oneof![
        6 => Just(Act::Due),
        4 => (0..4_usize).prop_map(Act::End),
        1 => Just(Act::Pause),
        1 => Just(Act::Resume),
        1 => (0..9_u8).prop_map(Act::Trigger),
        1 => (0..24_usize).prop_map(Act::Replace),
    ];
    (wait, act)
}

/// One of 24 definitions.
fn nth(n: usize) -> super::Definition {
    let cron = ["*/5 * * * *", "0,7 1-3 * * *"][n % 2];
    let overlap = ["skip", "queue", "cancel", "allow"][n / 2 % 4];
    let catch_up = ["none", "one", "all"][n / 8 % 3];
    let mut more = json!({"overlap": overlap, "catchUp": catch_up, "timeZone": "Europe/Berlin"});
    if n.is_multiple_of(5) {
        more["jitter"] = json!("3m");
    }
    more["paused"] = json!(n % 7 == 3);
    definition(cron, more)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn each_due_time_has_one_fate(
        first in 0..24_usize,
        // In the days around a change of the clock.
        begin in 1_774_600_000_000..1_774_800_000_000_i64,
        acts in vec(act(), 1..60),
    ) {
        let mut now = Millis(begin);
        let mut schedule = Schedule::create("s".into(), nth(first), now).schedule;
        let mut started = BTreeSet::new();
        // Due times that came while the schedule was active, by the definition of that time.
        let mut came = 0;
        let mut triggered = 0;
        for (wait, act) in acts {
            now = now.plus(wait);
            let event = match act {
                Act::Due => Event::Due,
                Act::End(n) => {
                    let Some(execution) = schedule.running.keys().nth(n).cloned() else { continue };
                    Event::Ended { execution }
                }
                Act::Pause => Event::Pause,
                Act::Resume => Event::Resume,
                Act::Trigger(n) => Event::Trigger { command: format!("{}-{n}", now.0) },
                Act::Replace(n) => Event::Replaced(Box::new(nth(n))),
            };
            let before = schedule.clone();
            let step = schedule.step(event.clone(), now);
            // The same once more is the same, so two owners agree.
            prop_assert_eq!(&before.clone().step(event.clone(), now), &step);
            schedule = step.schedule;

            let mut timer = before.next.map(|next| next.fires_at);
            for effect in &step.effects {
                match effect {
                    Effect::Start { execution_id: id, scheduled_for, .. } => {
                        prop_assert!(started.insert(id.clone()), "started twice: {id}");
                        prop_assert!(*scheduled_for <= now);
                        if *id == execution_id("s", *scheduled_for) {
                            prop_assert!(!schedule.paused, "started while paused: {event:?}");
                        } else {
                            triggered += 1;
                        }
                    }
                    Effect::SetTimer { due } => timer = Some(*due),
                    Effect::ClearTimer => timer = None,
                    Effect::Cancel { .. } | Effect::Missed { .. } | Effect::Skipped { .. } => {}
                }
            }
            prop_assert_eq!(timer, schedule.next.map(|next| next.fires_at), "{:?}", event);
            prop_assert_eq!(schedule.paused, schedule.next.is_none());
            if step.fate == Fate::Ignored {
                prop_assert_eq!(&schedule, &before);
            } else if let Some(next) = before.next
                && schedule.next.is_none_or(|later| later.scheduled_for != next.scheduled_for)
            {
                let until = schedule.next.map_or(now, |later| now.min(later.scheduled_for.plus(-1)));
                came += before.definition.count(next.scheduled_for.plus(-1), until);
            }
            let counts = schedule.counts;
            let waiting = u64::from(schedule.queued.is_some());
            prop_assert_eq!(
                counts.started - triggered + counts.skipped + counts.missed + waiting,
                came,
                "{:?} at {:?}: {:?}", event, now, counts
            );
            let only_one = matches!(schedule.definition.overlap, Overlap::Skip | Overlap::Queue);
            if only_one && event == Event::Due && step.effects.iter().any(|one| matches!(one, Effect::Start { .. })) {
                prop_assert_eq!(schedule.running.len(), 1, "overlap");
            }
        }
    }
}
