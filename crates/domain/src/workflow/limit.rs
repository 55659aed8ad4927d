//! How many executions of a workflow run at once: a counter with a queue before it, one for each key. An
//! entity of its own, since the executions that share it are in any partition.
//!
//! Pure, and in small entries like [`super::run`]: a place that is asked for or given back touches a few of
//! them, however many wait.
//!
//! Higher priorities go first, and of one priority whoever came first. The limit is the one that was named
//! last: it belongs to the version of the workflow that the latest execution is pinned to. Lowering it takes
//! nothing back.

use serde::{Deserialize, Serialize};

use crate::workflow::run::Memory;
use crate::workflow::run::document::Document;
use crate::workflow::run::entry::{Entry, Line};

/// What an entity's id begins with that counts places. No execution's id begins so.
pub const PREFIX: &str = "@limit/";

/// The name of the signal that asks for a place.
pub const ACQUIRE: &str = "acquire";
/// The name of the signal that gives one back, or stops waiting for it.
pub const RELEASE: &str = "release";

/// Priorities beyond these count as these: each has a line of its own.
pub const PRIORITIES: std::ops::RangeInclusive<i32> = -100..=100;

/// The id of the entity that counts the places of a workflow, or of one key of it.
#[must_use]
pub fn entity(tenant: &str, workflow: &str, key: Option<&str>) -> String {
    match key {
        // A key is the client's text: of any length, and with anything in it.
        Some(key) => {
            let key = crate::id::derived(key, workflow, 1);
            format!("{PREFIX}{tenant}/{workflow}/{key}")
        }
        None => format!("{PREFIX}{tenant}/{workflow}"),
    }
}

/// Someone asks for a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acquire {
    /// The execution.
    pub holder: String,
    /// How many run at once.
    pub limit: u32,
    /// Higher goes first.
    pub priority: i32,
}

/// Someone needs a place no longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The execution.
    pub holder: String,
}

/// What is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Count {
    limit: u32,
    running: u32,
    waiting: u64,
    /// The lines that have somebody in them, the highest priority last.
    lines: Vec<(i32, i64, i64)>,
}

/// Where someone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Place {
    Runs,
    Waits { priority: i32, number: i64 },
}

/// What follows: who has a place now, and whether nobody is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Executions that have a place from here on.
    pub granted: Vec<String>,
    /// Nobody runs and nobody waits: nothing need be kept.
    pub is_idle: bool,
}

/// Asks for a place. Whoever has one, or waits for one, already is told nothing.
pub fn acquire(memory: &mut impl Memory, asked: &Acquire) -> Step {
    let mut count = read_count(memory);
    count.limit = asked.limit.max(1);
    if place(memory, &asked.holder).is_none() {
        let priority = asked.priority.clamp(*PRIORITIES.start(), *PRIORITIES.end());
        let mut line = line_of(&count, priority);
        let number = line.next;
        line.next += 1;
        put_line(&mut count, priority, line);
        count.waiting += 1;
        put(memory, &waiter(priority, number), &asked.holder);
        put(memory, &holder(&asked.holder), &Place::Waits { priority, number });
    }
    grant(memory, count)
}

/// Gives a place back, or leaves the line. Who has none is told nothing.
pub fn release(memory: &mut impl Memory, given: &Release) -> Step {
    let mut count = read_count(memory);
    match place(memory, &given.holder) {
        None => {}
        Some(Place::Runs) => count.running = count.running.saturating_sub(1),
        Some(Place::Waits { priority, number }) => {
            count.waiting = count.waiting.saturating_sub(1);
            memory.remove(&waiter(priority, number));
        }
    }
    memory.remove(&holder(&given.holder));
    grant(memory, count)
}

/// Lets in whoever is next, as long as there is room.
fn grant(memory: &mut impl Memory, mut count: Count) -> Step {
    let mut granted = Vec::new();
    while count.running < count.limit
        && let Some((priority, first, next)) = count.lines.last().copied()
    {
        let name = waiter(priority, first);
        put_line(&mut count, priority, Line { first: first + 1, next });
        // Whoever stood there may have left.
        let Some(id) = get::<String>(memory, &name) else { continue };
        memory.remove(&name);
        put(memory, &holder(&id), &Place::Runs);
        count.running += 1;
        count.waiting = count.waiting.saturating_sub(1);
        granted.push(id);
    }
    let is_idle = count.running == 0 && count.waiting == 0;
    put(memory, COUNT, &count);
    Step { granted, is_idle }
}

const COUNT: &str = "count";

fn holder(id: &str) -> String {
    format!("holder/{id}")
}

fn waiter(priority: i32, number: i64) -> String {
    format!("waiter/{priority}/{number}")
}

fn read_count(memory: &impl Memory) -> Count {
    get(memory, COUNT).unwrap_or_default()
}

fn place(memory: &impl Memory, id: &str) -> Option<Place> {
    get(memory, &holder(id))
}

fn line_of(count: &Count, priority: i32) -> Line {
    let found = count.lines.iter().find(|(one, ..)| *one == priority);
    found.map_or(Line::default(), |(_, first, next)| Line { first: *first, next: *next })
}

/// Writes a line; one with nobody in it isn't kept.
fn put_line(count: &mut Count, priority: i32, line: Line) {
    count.lines.retain(|(one, ..)| *one != priority);
    if !line.is_empty() {
        count.lines.push((priority, line.first, line.next));
        count.lines.sort_unstable();
    }
}

fn get<T: for<'de> Deserialize<'de>>(memory: &impl Memory, name: &str) -> Option<T> {
    match memory.get(name) {
        Some(Entry::Value(value)) => serde_json::from_str(value.text()).ok(),
        _ => None,
    }
}

fn put<T: Serialize>(memory: &mut impl Memory, name: &str, value: &T) {
    let text = serde_json::to_string(value).expect("plain fields are JSON");
    memory.put(name, Entry::Value(Document::trusted(text)));
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    type Entries = BTreeMap<String, Entry>;

    fn ask(entries: &mut Entries, id: &str, limit: u32, priority: i32) -> Step {
        acquire(entries, &Acquire { holder: id.into(), limit, priority })
    }

    fn give(entries: &mut Entries, id: &str) -> Step {
        release(entries, &Release { holder: id.into() })
    }

    #[test]
    fn more_than_the_limit_wait_for_their_turn() {
        let mut entries = Entries::new();
        assert_eq!(ask(&mut entries, "a", 2, 0).granted, ["a"]);
        assert_eq!(ask(&mut entries, "b", 2, 0).granted, ["b"]);
        for (id, priority) in [("c", 0), ("d", 5), ("e", 5), ("f", -1)] {
            assert!(ask(&mut entries, id, 2, priority).granted.is_empty());
        }
        assert!(give(&mut entries, "d").granted.is_empty(), "it waited");
        for (ends, next) in [("a", "e"), ("b", "c"), ("e", "f")] {
            assert_eq!(give(&mut entries, ends).granted, [next]);
        }
        assert!(!give(&mut entries, "c").is_idle);
        assert!(give(&mut entries, "f").is_idle);
        assert_eq!(entries.len(), 1, "only the count is left: {entries:?}");
    }

    #[test]
    fn copies_change_nothing_and_a_raised_limit_lets_more_in() {
        let mut entries = Entries::new();
        ask(&mut entries, "a", 1, 0);
        assert!(ask(&mut entries, "a", 1, 0).granted.is_empty());
        ask(&mut entries, "b", 1, 0);
        ask(&mut entries, "c", 1, 0);
        assert_eq!(ask(&mut entries, "d", 3, 0).granted, ["b", "c"]);
        assert!(give(&mut entries, "nobody").granted.is_empty());
        assert!(ask(&mut entries, "e", 1, 0).granted.is_empty(), "lowering takes nothing back");
        for id in ["a", "b"] {
            assert!(give(&mut entries, id).granted.is_empty());
        }
        assert_eq!(give(&mut entries, "c").granted, ["d"]);
        assert!(give(&mut entries, "c").granted.is_empty(), "given back twice");
    }

    #[test]
    fn key_of_any_text_makes_an_id() {
        let long = "x\u{1f}/".repeat(500);
        let id = entity("acme", "w", Some(&long));
        assert!(crate::id::check(&id).is_ok(), "{id}");
        assert_ne!(id, entity("acme", "w", Some("other")));
        assert_ne!(id, entity("acme", "w", None));
    }

    proptest! {
        /// Against a list that is searched: who runs is the same, and never more than the limit.
        #[test]
        fn places_go_to_the_highest_priority_first_and_to_nobody_twice(
            steps in prop::collection::vec((0_u8..12, 0_u8..3, -2_i32..3), 1..200),
            limit in 1_u32..4,
        ) {
            let mut entries = Entries::new();
            let (mut running, mut waiting): (Vec<String>, VecDeque<(i32, String)>) = Default::default();
            for (id, what, priority) in steps {
                let id = format!("e{id}");
                let step = if what > 0 {
                    if !running.contains(&id) && !waiting.iter().any(|(_, one)| *one == id) {
                        waiting.push_back((priority, id.clone()));
                    }
                    ask(&mut entries, &id, limit, priority)
                } else {
                    running.retain(|one| *one != id);
                    waiting.retain(|(_, one)| *one != id);
                    give(&mut entries, &id)
                };
                let mut granted = Vec::new();
                while running.len() < limit as usize
                    && let Some(highest) = waiting.iter().map(|(priority, _)| *priority).max()
                {
                    let place = waiting.iter().position(|(it, _)| *it == highest).expect("one");
                    let (_, id) = waiting.remove(place).expect("it is there");
                    granted.push(id.clone());
                    running.push(id);
                }
                prop_assert_eq!(step.granted, granted);
                prop_assert_eq!(step.is_idle, running.is_empty() && waiting.is_empty());
            }
        }
    }
}
