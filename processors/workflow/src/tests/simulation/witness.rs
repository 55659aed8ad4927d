//! Stands between the processor and the machine of [`domain::workflow::run`], and writes down what the machine
//! was asked and what it decided, when somebody wants to know. Can misunderstand on purpose, too, to show that
//! the simulation sees it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use domain::fact::Order;
use domain::time::Millis;
use domain::workflow::limit::RELEASE;
use domain::workflow::run::invariants::Fold;
use domain::workflow::run::program::Program;
use domain::workflow::run::{Damaged, Effect, Event, Memory, step};

/// A mistake that the processor could make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slip {
    /// The machine doesn't hear of a pause.
    Pause,
    /// The machine doesn't hear of a cancel.
    Cancel,
    /// The machine doesn't hear that it has a place.
    Granted,
    /// Nobody hears of a place that is given back.
    Release,
    /// Children that were paused don't hear that it goes on.
    Resume,
    /// Timers aren't set.
    Timers,
    /// What is told depends on more than the event and the entries.
    Chance,
}

/// What was folded of each execution, in order.
pub(super) type Folds = BTreeMap<String, Vec<Fold>>;

/// What was noted.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) folds: Folds,
    /// Executions whose entries contradicted each other, and why.
    pub(super) damaged: Vec<(String, String)>,
    /// Those whose fold has begun; one that panics never ends.
    pub(super) begun: Option<String>,
}

thread_local! {
    static NOTES: RefCell<Option<Notes>> = const { RefCell::new(None) };
    static SLIP: Cell<Option<Slip>> = const { Cell::new(None) };
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// From here on folds of this thread are noted.
pub(super) fn watch() {
    NOTES.set(Some(Notes::default()));
}

/// What was noted since; nothing is from here on.
pub(super) fn noted() -> Notes {
    NOTES.take().unwrap_or_default()
}

/// From here on the processor makes a mistake, on this thread.
pub(super) fn slips(slip: Option<Slip>) {
    SLIP.set(slip);
}

/// Whether the processor makes a mistake, on this thread.
pub(super) fn is_slipping() -> bool {
    SLIP.get().is_some()
}

/// As [`step`].
pub(crate) fn decide(
    program: &Program,
    id: &str,
    memory: &mut impl Memory,
    event: Event,
    now: Millis,
) -> Result<Vec<Effect>, Damaged> {
    if !NOTES.with_borrow(Option::is_some) {
        return Ok(carried_out(machine(program, id, memory, event, now)?));
    }
    note(|notes| notes.begun = Some(id.to_owned()));
    let result = machine(program, id, memory, event.clone(), now);
    note(|notes| {
        notes.begun = None;
        let folds = notes.folds.entry(id.to_owned()).or_default();
        match &result {
            Ok(effects) => {
                // What the same record led to at first was more than a record holds, and doesn't stand.
                if let Event::Broken(_) = event {
                    folds.pop();
                }
                folds.push(Fold { now, event, effects: effects.clone() });
            }
            Err(Damaged(why)) => notes.damaged.push((id.to_owned(), why.clone())),
        }
    });
    result.map(carried_out)
}

fn note(write: impl FnOnce(&mut Notes)) {
    NOTES.with_borrow_mut(|notes| notes.as_mut().map(write));
}

/// The machine, unless the mistake is that it isn't asked.
fn machine(
    program: &Program,
    id: &str,
    memory: &mut impl Memory,
    event: Event,
    now: Millis,
) -> Result<Vec<Effect>, Damaged> {
    let unheard = match SLIP.get() {
        Some(Slip::Pause) => matches!(event, Event::Command(Order::Pause)),
        Some(Slip::Cancel) => matches!(event, Event::Command(Order::Cancel { .. })),
        Some(Slip::Granted) => matches!(event, Event::Granted),
        _ => false,
    };
    if unheard { Ok(Vec::new()) } else { step(program, id, memory, event, now) }
}

/// What is carried out of what the machine decided: all, but for a mistake.
fn carried_out(mut effects: Vec<Effect>) -> Vec<Effect> {
    match SLIP.get() {
        Some(Slip::Release) => effects.retain(|effect| {
            !matches!(effect, Effect::Tell { order: Order::Signal { name, .. }, .. } if name == RELEASE)
        }),
        Some(Slip::Resume) => effects
            .retain(|effect| !matches!(effect, Effect::Tell { order: Order::Resume, .. })),
        Some(Slip::Timers) => {
            effects.retain(|effect| !matches!(effect, Effect::SetTimer { .. }));
        }
        Some(Slip::Chance) => {
            let count = COUNT.get() + 1;
            COUNT.set(count);
            for effect in &mut effects {
                if let Effect::Announce(told) = effect {
                    told.data = Some(count.to_string());
                }
            }
        }
        _ => {}
    }
    effects
}
