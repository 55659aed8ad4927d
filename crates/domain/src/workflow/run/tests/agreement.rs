//! The machine and the naive reference agree on random graphs and random happenings, event by event: on what
//! is put out, on who is asked and what is waited for, on where every node is, and on the end. The same log
//! folded again gives the same, from wherever one begins.

mod compared;

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};

use super::reference::{Reference, Said};
use super::world::{self, BEGINNING, Entries, ID};
use crate::answer::{ErrorClass, Failure, Terminal};
use crate::fact::Order;
use crate::time::Millis;
use crate::workflow::run::document::Document;
use crate::workflow::run::invariants::{self, Fold};
use crate::workflow::run::program::Program;
use crate::workflow::run::{Effect, Event, step};
use crate::workflow::tests::random_graphs::{enrich, generate};
use generate::Chance;

/// How many graphs each of the two tests runs, which share the two cores of a small machine.
const GRAPHS: u32 = 5_000;
/// No execution needs more events than this to end, once everyone answers.
const PATIENCE: usize = 2_000;

#[derive(Debug, Default)]
struct Seen {
    counts: BTreeMap<String, u32>,
}

impl Seen {
    fn note(&mut self, what: impl Into<String>) {
        *self.counts.entry(what.into()).or_default() += 1;
    }
}

/// An execution, as the machine and as the reference have it.
struct Pair<'p> {
    program: &'p Program,
    entries: Entries,
    timers: BTreeMap<String, Millis>,
    reference: Reference<'p>,
    now: Millis,
    folds: Vec<Fold>,
    /// Step and attempt of everything that was ever asked.
    asked: Vec<(String, i32)>,
    /// The entries as they were before this fold, to begin again from.
    kept: Option<(usize, Entries)>,
    ended: Option<Terminal>,
}

impl<'p> Pair<'p> {
    fn fold(&mut self, event: Event, keep: Keep) -> Result<(), TestCaseError> {
        if keep == Keep::Yes {
            self.kept = Some((self.folds.len(), self.entries.clone()));
        }
        if let Event::Due(timer) = &event
            && self.timers.get(timer).is_some_and(|due| *due <= self.now)
        {
            self.timers.remove(timer);
        }
        let effects = step(self.program, ID, &mut self.entries, event.clone(), self.now);
        let effects = effects.map_err(|damaged| TestCaseError::fail(damaged.to_string()))?;
        for effect in &effects {
            match effect {
                Effect::SetTimer { timer, due } => drop(self.timers.insert(timer.clone(), *due)),
                Effect::ClearTimer(timer) => drop(self.timers.remove(timer)),
                Effect::End(ending) => {
                    self.ended = Some(ending.status);
                    self.entries.clear();
                    self.timers.clear();
                }
                _ => {}
            }
        }
        self.reference.now = self.now;
        let said = self.tell_reference(&event);
        let machine = compared::said(&effects);
        self.folds.push(Fold { now: self.now, event, effects });
        compared::agree(machine, said)
            .and_then(|()| compared::state(&self.entries, self.program, &self.reference))
            .and_then(|()| compared::timers(&self.timers, &self.reference))
            .map_err(|why| self.fail(&why))?;
        self.asked.extend(
            self.reference
                .outstanding()
                .into_iter()
                .filter(|one| !self.asked.contains(one))
                .collect::<Vec<_>>(),
        );
        Ok(())
    }

    /// What went wrong, and how it came to that.
    fn fail(&self, why: &str) -> TestCaseError {
        let events = self.folds.iter().map(|fold| match &fold.event {
            Event::Admitted(admission) => {
                format!("{} admitted with {}\n", fold.now.0, admission.inputs.text())
            }
            event => format!("{} {event:?}\n", fold.now.0),
        });
        TestCaseError::fail(format!("{why}\nafter\n{}", events.collect::<String>()))
    }

    fn tell_reference(&mut self, event: &Event) -> Vec<Said> {
        match event {
            Event::Admitted(_) => self.reference.admit(),
            _ if self.reference.is_ended => Vec::new(),
            Event::Answered { step, attempt, result, .. } => {
                let result = result.clone().map(|value| value.to_json());
                self.reference.answered(step, *attempt, result)
            }
            Event::Due(timer) => self.reference.fired(timer),
            Event::Command(Order::Signal { name, payload }) => {
                let value = payload.as_ref().map(|text| serde_json::from_str(text));
                self.reference.signalled(name, value.expect("a payload").expect("JSON"))
            }
            Event::Command(Order::Pause) => self.reference.paused(),
            Event::Command(Order::Resume) => self.reference.resumed(),
            Event::Command(_) => self.reference.cancelled(),
            // No graph here has a limit, and none of them breaks.
            Event::Queued(_) | Event::Granted | Event::Broken(_) => Vec::new(),
        }
    }

    /// Something happens, by chance.
    fn happening(&mut self, chance: &mut Chance, seen: &mut Seen) -> Event {
        let open = self.reference.outstanding();
        let one =
            |chance: &mut Chance, list: &[(String, i32)]| list[chance.below(list.len())].clone();
        match chance.below(24) {
            11..=13 if !open.is_empty() => {
                seen.note("failed answers");
                let (step, attempt) = one(chance, &open);
                let class = [ErrorClass::Provider, ErrorClass::Provider, ErrorClass::Network]
                    [chance.below(3)];
                let failure = Failure::new(class, class.as_str(), "no");
                let failure = if chance.one_in(4) { failure } else { failure.retryable() };
                answered(step, attempt, Err(failure))
            }
            14 | 15 if !self.timers.is_empty() => {
                seen.note("timers in their turn");
                self.first_timer()
            }
            16 if !self.timers.is_empty() => {
                seen.note("timers out of turn");
                let timers: Vec<(String, Millis)> = self.timers.clone().into_iter().collect();
                let (timer, due) = timers[chance.below(timers.len())].clone();
                self.fires(timer, due)
            }
            17 if !self.asked.is_empty() => {
                seen.note("answers again or late");
                let (step, attempt) = one(chance, &self.asked);
                let attempt = attempt + i32::from(chance.one_in(5));
                // It may be awaited after all.
                answered(step, attempt, Ok(json!("again")))
            }
            18 => {
                seen.note("signals");
                let payload = [json!(1), json!("x")][chance.below(2)].clone();
                signal(if chance.one_in(8) { "nobody" } else { "go" }, &payload)
            }
            19 if self.reference.is_paused => Event::Command(Order::Resume),
            19 => {
                seen.note("pauses");
                Event::Command(Order::Pause)
            }
            20 if chance.one_in(4) => {
                seen.note("cancels");
                Event::Command(Order::Cancel { reason: None })
            }
            21 => {
                seen.note("stray timers");
                let any = self.timers.keys().nth(chance.below(3)).cloned();
                let stray = ["retry/n1", "wait/n2", "timeout/n1", "join/n3", "go", "nothing"];
                Event::Due(any.unwrap_or_else(|| stray[chance.below(stray.len())].to_owned()))
            }
            22 => {
                self.now = self.now.plus(500);
                Event::Command(Order::Resume)
            }
            _ if open.is_empty() => signal("go", &json!(1)),
            _ => {
                seen.note("answers");
                let (step, attempt) = one(chance, &open);
                let values =
                    [json!(1), json!({"a": true}), json!("text"), Value::Null, json!([1, {}])];
                answered(step, attempt, Ok(values[chance.below(values.len())].clone()))
            }
        }
    }

    fn first_timer(&mut self) -> Event {
        let (timer, due) = self.timers.iter().min_by_key(|(_, due)| **due).expect("one is set");
        let (timer, due) = (timer.clone(), *due);
        self.fires(timer, due)
    }

    fn fires(&mut self, timer: String, due: Millis) -> Event {
        self.now = self.now.max(due);
        Event::Due(timer)
    }

    /// What brings it closer to an end, when nobody fails any more.
    fn ending(&mut self) -> Option<Event> {
        if self.reference.is_paused {
            return Some(Event::Command(Order::Resume));
        }
        if let Some((step, attempt)) = self.reference.outstanding().into_iter().next() {
            return Some(answered(step, attempt, Ok(json!(1))));
        }
        (!self.timers.is_empty()).then(|| self.first_timer())
    }

    /// The log folded again from a point on gives the same effects and the same entries (I13).
    fn check_again(&self) -> Result<(), TestCaseError> {
        let (first, mut entries) = self.kept.clone().unwrap_or_default();
        for fold in &self.folds[first..] {
            let again = step(self.program, ID, &mut entries, fold.event.clone(), fold.now);
            let again = again.map_err(|damaged| TestCaseError::fail(damaged.to_string()))?;
            prop_assert_eq!(&again, &fold.effects, "folded again from {}", first);
            if again.iter().any(|effect| matches!(effect, Effect::End(_))) {
                entries.clear();
            }
        }
        prop_assert_eq!(&entries, &self.entries, "folded again from {}", first);
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

fn answered(step: String, attempt: i32, result: Result<Value, Failure>) -> Event {
    let result = result.map(|value| Document::from(&value));
    Event::Answered { step, attempt, result, usage: None, cost: None }
}

fn signal(name: &str, payload: &Value) -> Event {
    let payload = Some(payload.to_string());
    Event::Command(Order::Signal { name: name.to_owned(), payload })
}

fn run(definition: &Value, mut chance: Chance, seen: &mut Seen) -> Result<(), TestCaseError> {
    let program = Program::new(definition).map_err(|problems| {
        TestCaseError::fail(format!("it doesn't compile: {problems:#?}\n{definition:#}"))
    })?;
    let inputs = enrich::inputs(&mut chance);
    let mut admission = world::admission(inputs.clone());
    admission.execution.deadline = chance.one_in(4).then(|| BEGINNING.plus(6_000));
    let deadline = admission.execution.deadline;
    let mut pair = Pair {
        program: &program,
        entries: BTreeMap::new(),
        timers: BTreeMap::new(),
        reference: Reference::new(&program, ID, inputs, deadline, BEGINNING),
        now: BEGINNING,
        folds: Vec::new(),
        asked: Vec::new(),
        kept: None,
        ended: None,
    };
    pair.fold(Event::Admitted(Box::new(admission)), Keep::Yes)?;
    let events = 4 + chance.below(24);
    let kept = chance.below(events);
    for number in 0..events {
        if pair.ended.is_some() && number > kept {
            break;
        }
        let keep = if number == kept { Keep::Yes } else { Keep::No };
        let event = pair.happening(&mut chance, seen);
        pair.fold(event, keep)?;
    }
    for _ in 0..PATIENCE {
        if pair.ended.is_some() {
            break;
        }
        let Some(event) = pair.ending() else {
            return Err(pair.fail("nothing moves it on"));
        };
        pair.fold(event, Keep::No)?;
    }
    if pair.ended.is_none() {
        return Err(pair.fail("it doesn't end"));
    }
    invariants::check(&program, &pair.folds)
        .and_then(|()| invariants::folds_again(&program, ID, &pair.folds))
        .map_err(|wrong| pair.fail(&wrong.to_string()))?;
    pair.check_again()?;
    seen.note(format!("endings: {:?}", pair.ended));
    for effect in pair.folds.iter().flat_map(|fold| &fold.effects) {
        if let Effect::Announce(announcement) = effect {
            seen.note(announcement.event_type.as_str());
            if announcement.node.is_some_and(|node| program.is_compensation(node)) {
                seen.note("undoing");
            }
        }
    }
    Ok(())
}

fn agree_on(graphs: u32, salt: u64) {
    let seed = seed().wrapping_add(salt);
    let seen = RefCell::new(Seen::default());
    let config = Config {
        cases: graphs,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: 1_000,
        ..Config::default()
    };
    let choices = |most| prop::collection::vec(any::<u32>(), most / 3..most);
    let outcome = TestRunner::new(config).run(
        &(choices(90), choices(90), choices(120)),
        |(shape, values, happenings)| {
            let mut definition = generate::definition(&mut Chance::new(shape));
            enrich::enrich(&mut definition, &mut Chance::new(values));
            run(&definition, Chance::new(happenings), &mut seen.borrow_mut()).map_err(|error| {
                match error {
                    TestCaseError::Fail(why) => {
                        TestCaseError::fail(format!("{why}\nin {definition:#}"))
                    }
                    reject @ TestCaseError::Reject(_) => reject,
                }
            })
        },
    );
    if let Err(wrong) = outcome {
        panic!("with STEPSTREAM_SEED={}: {wrong}", seed.wrapping_sub(salt));
    }
    let seen = seen.into_inner();
    for what in [
        "answers",
        "failed answers",
        "timers in their turn",
        "timers out of turn",
        "answers again or late",
        "signals",
        "pauses",
        "cancels",
        "stray timers",
        "undoing",
        "step.retrying",
        "step.waiting",
        "step.skipped",
        "step.cancelled",
        "step.failed",
        "signal.refused",
        "approval.requested",
        "approval.given",
        "endings: Some(Succeeded)",
        "endings: Some(Failed)",
        "endings: Some(Cancelled)",
        "endings: Some(TimedOut)",
    ] {
        let count = seen.counts.get(what).copied().unwrap_or_default();
        assert!(count > graphs / 200, "hardly tried: {what} ({count}) of {:#?}", seen.counts);
    }
}

/// Of this run: another one each time, unless the environment says which.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let given = std::env::var("STEPSTREAM_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| std::hash::RandomState::new().build_hasher().finish())
}

#[test]
fn machine_and_reference_agree_on_random_graphs() {
    agree_on(GRAPHS, 0);
}

#[test]
fn machine_and_reference_agree_on_other_random_graphs() {
    agree_on(GRAPHS, 1);
}
