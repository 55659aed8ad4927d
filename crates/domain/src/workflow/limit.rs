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
use crate::workflow::run::entry::Entry;

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

/// Where someone stands who has to wait, when it begins to. Nobody is told again: that would be a word to everybody
/// who waits, whenever one of them goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// How many run at once.
    pub limit: u32,
    /// How many run.
    pub running: u32,
    /// How many wait who go first.
    pub ahead: u64,
}

/// What is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Count {
    limit: u32,
    running: u32,
    /// The ranks that have somebody in them, the highest priority last.
    ranks: Vec<Rank>,
}

/// Those who wait with one priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Rank {
    priority: i32,
    /// Their places; whoever left a line leaves a hole.
    line: (i64, i64),
    /// How many they are.
    waiting: u64,
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
    /// Where the one stands that has asked and has to wait.
    pub queued: Option<Queued>,
    /// Nobody runs and nobody waits: nothing need be kept.
    pub is_idle: bool,
}

/// Asks for a place. Whoever has one, or waits for one, already is told nothing.
pub fn acquire(memory: &mut impl Memory, asked: &Acquire) -> Step {
    let mut count = read_count(memory);
    count.limit = asked.limit.max(1);
    let priority = asked.priority.clamp(*PRIORITIES.start(), *PRIORITIES.end());
    let is_new = place(memory, &asked.holder).is_none();
    if is_new {
        let rank = count.rank(priority);
        let (_, number) = rank.line;
        rank.line.1 += 1;
        rank.waiting += 1;
        put(memory, &waiter(priority, number), &asked.holder);
        put(memory, &holder(&asked.holder), &Place::Waits { priority, number });
    }
    let granted = count.grant(memory);
    let waits = is_new && !granted.contains(&asked.holder);
    let queued = waits.then(|| Queued {
        limit: count.limit,
        running: count.running,
        // It is the last of its rank.
        ahead: count.waiting_from(priority).saturating_sub(1),
    });
    count.keep(memory, granted, queued)
}

/// Gives a place back, or leaves the line. Who has none is told nothing.
pub fn release(memory: &mut impl Memory, given: &Release) -> Step {
    let mut count = read_count(memory);
    match place(memory, &given.holder) {
        None => {}
        Some(Place::Runs) => count.running = count.running.saturating_sub(1),
        Some(Place::Waits { priority, number }) => {
            let rank = count.rank(priority);
            rank.waiting = rank.waiting.saturating_sub(1);
            memory.remove(&waiter(priority, number));
        }
    }
    memory.remove(&holder(&given.holder));
    let granted = count.grant(memory);
    count.keep(memory, granted, None)
}

impl Count {
    /// The rank of this priority.
    fn rank(&mut self, priority: i32) -> &mut Rank {
        let at = self.ranks.partition_point(|rank| rank.priority < priority);
        if self.ranks.get(at).is_none_or(|rank| rank.priority != priority) {
            self.ranks.insert(at, Rank { priority, line: (0, 0), waiting: 0 });
        }
        &mut self.ranks[at]
    }

    /// How many wait with this priority or a higher one.
    fn waiting_from(&self, priority: i32) -> u64 {
        let ranks = self.ranks.iter().filter(|rank| rank.priority >= priority);
        ranks.map(|rank| rank.waiting).sum()
    }

    /// Lets in whoever is next, as long as there is room.
    fn grant(&mut self, memory: &mut impl Memory) -> Vec<String> {
        let mut granted = Vec::new();
        // A rank with nobody in it isn't kept.
        self.ranks.retain(|rank| rank.waiting > 0);
        while self.running < self.limit
            && let Some(rank) = self.ranks.last_mut()
        {
            let name = waiter(rank.priority, rank.line.0);
            rank.line.0 += 1;
            let id = get::<String>(memory, &name);
            if id.is_some() {
                rank.waiting -= 1;
            }
            if rank.waiting == 0 || rank.line.0 >= rank.line.1 {
                self.ranks.pop();
            }
            // Whoever stood there may have left.
            let Some(id) = id else { continue };
            memory.remove(&name);
            put(memory, &holder(&id), &Place::Runs);
            self.running += 1;
            granted.push(id);
        }
        granted
    }

    /// Writes it.
    fn keep(self, memory: &mut impl Memory, granted: Vec<String>, queued: Option<Queued>) -> Step {
        put(memory, COUNT, &self);
        Step { granted, queued, is_idle: self.running == 0 && self.ranks.is_empty() }
    }
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
        for (id, priority, ahead) in [("c", 0, 0), ("d", 5, 0), ("e", 5, 1), ("f", -1, 3)] {
            let step = ask(&mut entries, id, 2, priority);
            let queued = Some(Queued { limit: 2, running: 2, ahead });
            assert_eq!((step.granted, step.queued), (Vec::new(), queued), "{id}");
            assert_eq!(ask(&mut entries, id, 2, priority).queued, None, "it is told once");
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
                let mut is_new = false;
                let step = if what > 0 {
                    if !running.contains(&id) && !waiting.iter().any(|(_, one)| *one == id) {
                        is_new = true;
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
                let waits = is_new && !granted.contains(&id);
                let ahead = waiting.iter().filter(|(other, one)| *other >= priority && *one != id);
                let running_now = u32::try_from(running.len()).expect("a few");
                let queued = waits.then(|| Queued {
                    limit, running: running_now, ahead: ahead.count() as u64,
                });
                prop_assert_eq!(step.queued, queued);
                prop_assert_eq!(step.granted, granted);
                prop_assert_eq!(step.is_idle, running.is_empty() && waiting.is_empty());
            }
        }
    }
}
