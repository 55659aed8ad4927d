//! The naive walker: it follows the rules of the module's documentation one decision at a time, chooses
//! by chance where an execution would look at values, and knows nothing of order or certainty.

use std::collections::BTreeMap;

use crate::workflow::compile::{Certain, Compiled, OnFailure, Role, Route};
use crate::workflow::definition::{JoinPolicy, Kind, OnItemError, TOP};

/// What must not happen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Nodes wait for ever.
    Stuck { undecided: Vec<usize> },
    /// A node was taken for certain, and wasn't what it should be by then.
    Uncertain { node: usize, when: String },
}

/// What the walks came across.
#[derive(Debug, Default)]
pub(super) struct Seen {
    whole: u32,
    cut_short: u32,
    skipped: u32,
    failed: u32,
    early: u32,
    deadlines: u32,
    cancelled: u32,
    bodies: u32,
    certain: u32,
}

impl Seen {
    pub(super) fn counts(&self) -> [(&'static str, u32); 9] {
        [
            ("walks with every node decided", self.whole),
            ("scopes that ended before that", self.cut_short),
            ("skipped nodes", self.skipped),
            ("failed nodes", self.failed),
            ("joins that went on early", self.early),
            ("deadlines", self.deadlines),
            ("cancelled losers", self.cancelled),
            ("bodies", self.bodies),
            ("what is certain", self.certain),
        ]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Succeeded,
    Failed,
    Skipped,
    Cancelled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    Taken,
    NotTaken,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Well,
    Badly,
}

/// Walks a definition once.
pub(super) fn walk(
    compiled: &Compiled,
    certain: &Certain,
    seed: u64,
    seen: &mut Seen,
) -> Result<(), Wrong> {
    let mut dice = Dice(seed);
    Walker::new(compiled, certain, TOP, seen, &mut dice).run().map(|_| ())
}

/// A small generator of its own (`SplitMix64`): the same seed gives the same walk.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % bound
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

struct Walker<'w> {
    compiled: &'w Compiled,
    certain: &'w Certain,
    uncertain: Option<Wrong>,
    scope: usize,
    states: BTreeMap<usize, State>,
    edges: BTreeMap<usize, Arrival>,
    ended: Option<Ended>,
    /// Scopes in which nothing that isn't handled fails, so that their every node gets decided.
    careful: bool,
    seen: &'w mut Seen,
    dice: &'w mut Dice,
}

impl<'w> Walker<'w> {
    fn new(
        compiled: &'w Compiled,
        certain: &'w Certain,
        scope: usize,
        seen: &'w mut Seen,
        dice: &'w mut Dice,
    ) -> Self {
        let nodes = compiled.definition.scopes[scope].nodes.iter();
        let states = nodes
            .filter(|node| !matches!(compiled.graph.nodes[**node].role, Role::Compensation(_)))
            .map(|node| (*node, State::Waiting))
            .collect();
        let careful = dice.coin();
        let edges = BTreeMap::new();
        Self {
            compiled,
            certain,
            uncertain: None,
            scope,
            states,
            edges,
            ended: None,
            careful,
            seen,
            dice,
        }
    }

    fn run(mut self) -> Result<Ended, Wrong> {
        for node in &self.compiled.graph.scopes[self.scope].starts {
            self.start(*node);
        }
        loop {
            self.settle();
            if let Some(wrong) = self.uncertain {
                return Err(wrong);
            }
            if let Some(ended) = self.ended {
                self.seen.cut_short += 1;
                return Ok(ended);
            }
            let running = self.all(State::Running);
            if running.is_empty() {
                break;
            }
            let node = running[self.dice.below(running.len())];
            self.finish(node)?;
        }
        let undecided = self.all(State::Waiting);
        if !undecided.is_empty() {
            return Err(Wrong::Stuck { undecided });
        }
        self.at_end();
        self.seen.whole += 1;
        self.uncertain.map_or(Ok(Ended::Well), Err)
    }

    fn start(&mut self, node: usize) {
        self.at_start(node);
        self.states.insert(node, State::Running);
    }

    fn at_start(&mut self, node: usize) {
        let (succeeded, failed) = &self.certain.at_start[node];
        self.expect(succeeded, State::Succeeded, || format!("{node} runs"));
        self.expect(failed, State::Failed, || format!("{node} runs"));
    }

    fn at_end(&mut self) {
        let certain = &self.certain.at_end[self.scope];
        let scope = self.scope;
        self.expect(certain, State::Succeeded, || format!("scope {scope} ends"));
    }

    fn expect(&mut self, certain: &[usize], wanted: State, when: impl Fn() -> String) {
        for node in certain {
            self.seen.certain += 1;
            if self.states[node] != wanted {
                self.uncertain = Some(Wrong::Uncertain { node: *node, when: when() });
            }
        }
    }

    fn all(&self, wanted: State) -> Vec<usize> {
        self.states.iter().filter(|(_, state)| **state == wanted).map(|(node, _)| *node).collect()
    }

    /// Decides what can be decided without anything finishing, until nothing changes.
    fn settle(&mut self) {
        loop {
            let before = self.states.clone();
            for node in self.all(State::Waiting) {
                if self.ended.is_none() && self.states[&node] == State::Waiting {
                    self.consider(node);
                }
            }
            if self.ended.is_some() || self.states == before {
                return;
            }
        }
    }

    fn consider(&mut self, node: usize) {
        let incoming = &self.compiled.graph.nodes[node].incoming;
        if incoming.is_empty() {
            return;
        }
        let arrivals: Vec<Option<Arrival>> =
            incoming.iter().map(|edge| self.edges.get(edge).copied()).collect();
        let count = |wanted| arrivals.iter().filter(|one| **one == wanted).count();
        let taken = count(Some(Arrival::Taken));
        let mut failed = count(Some(Arrival::Failed));
        let mut open = count(None);
        let Kind::Join { policy, deadline_ms } = &self.compiled.definition.nodes[node].kind else {
            if open == 0 && taken > 0 {
                self.start(node);
            } else if open == 0 {
                self.skip(node);
            }
            return;
        };
        let started = incoming
            .iter()
            .any(|edge| self.states[&self.compiled.graph.edges[*edge].from] != State::Waiting);
        if deadline_ms.is_some() && started && open > 0 && self.dice.below(8) == 0 {
            self.seen.deadlines += 1;
            failed += open;
            open = 0;
        }
        if open == 0 && taken == 0 && failed == 0 {
            self.skip(node);
            return;
        }
        // What the schema of `firstValid` refuses has failed; nothing here looks at values.
        let (goes_on, fails) = match policy {
            JoinPolicy::All => (open == 0 && failed == 0, failed > 0),
            JoinPolicy::Any | JoinPolicy::FirstValid(_) => (taken > 0, taken == 0 && open == 0),
            JoinPolicy::AtLeast(n) => {
                let out_of_reach = taken + open < *n as usize;
                (taken >= *n as usize, out_of_reach && taken + failed > 0)
            }
            JoinPolicy::Tolerate(k) => {
                (open == 0 && failed <= *k as usize && taken > 0, failed > *k as usize)
            }
        };
        // All failed and all were tolerated: nothing is left to go on with.
        let fails = fails || (!goes_on && open == 0);
        if !goes_on && !fails {
            return;
        }
        self.cancel_losers(node);
        if goes_on {
            self.seen.early += u32::from(open > 0);
            self.at_start(node);
            self.succeed(node);
        } else {
            self.fail(node);
        }
    }

    fn cancel_losers(&mut self, join: usize) {
        for loser in &self.compiled.graph.nodes[join].losers {
            if matches!(self.states[loser], State::Waiting | State::Running) {
                self.seen.cancelled += 1;
                self.states.insert(*loser, State::Cancelled);
                self.decide(*loser, |_, _| Arrival::NotTaken);
            }
        }
    }

    fn skip(&mut self, node: usize) {
        self.seen.skipped += 1;
        self.states.insert(node, State::Skipped);
        self.decide(node, |_, _| Arrival::NotTaken);
    }

    /// A running node is done, one way or another.
    fn finish(&mut self, node: usize) -> Result<(), Wrong> {
        let kind = &self.compiled.definition.nodes[node].kind;
        if let Some(body) = kind.body() {
            let forgiving = matches!(kind, Kind::Map { on_item_error, .. } if *on_item_error != OnItemError::Fail);
            for _ in 0..self.dice.below(3) {
                self.seen.bodies += 1;
                let walker = Walker::new(self.compiled, self.certain, body, self.seen, self.dice);
                if walker.run()? == Ended::Badly && !forgiving {
                    self.fail(node);
                    return Ok(());
                }
            }
        }
        match kind {
            Kind::End { .. } => {
                self.states.insert(node, State::Succeeded);
                self.at_end();
                self.ended = Some(Ended::Well);
            }
            Kind::Fail { .. } => self.fail(node),
            Kind::Fork | Kind::Switch { .. } | Kind::Join { .. } => self.succeed(node),
            _ => {
                let unhandled = self.compiled.graph.nodes[node].on_failure == OnFailure::FailsScope;
                if self.dice.below(3) == 0 && !(self.careful && unhandled) {
                    self.fail(node);
                } else {
                    self.succeed(node);
                }
            }
        }
        Ok(())
    }

    fn succeed(&mut self, node: usize) {
        self.states.insert(node, State::Succeeded);
        // One past the last case: none holds.
        let none = match &self.compiled.definition.nodes[node].kind {
            Kind::Switch { cases, .. } => cases.len(),
            _ => 0,
        };
        let chosen = self.dice.below(none + 1);
        self.decide(node, |route, dice| {
            let is_taken = match route {
                Route::Always => true,
                Route::When(_) => dice.coin(),
                Route::Failure => false,
                Route::Cases { cases, otherwise } => {
                    cases.contains(&chosen) || (*otherwise && chosen == none)
                }
            };
            if is_taken { Arrival::Taken } else { Arrival::NotTaken }
        });
    }

    fn fail(&mut self, node: usize) {
        self.seen.failed += 1;
        match self.compiled.graph.nodes[node].on_failure {
            OnFailure::Default => self.succeed(node),
            OnFailure::Branch(branch) => {
                self.states.insert(node, State::Failed);
                for edge in &self.compiled.graph.nodes[node].outgoing {
                    let arrival = if *edge == branch { Arrival::Taken } else { Arrival::NotTaken };
                    self.edges.entry(*edge).or_insert(arrival);
                }
            }
            OnFailure::Arrives => {
                self.states.insert(node, State::Failed);
                self.decide(node, |_, _| Arrival::Failed);
            }
            OnFailure::FailsScope => {
                self.states.insert(node, State::Failed);
                self.ended = Some(Ended::Badly);
            }
        }
    }

    /// Decides the outgoing edges of a node.
    fn decide(&mut self, node: usize, arrival: impl Fn(&Route, &mut Dice) -> Arrival) {
        for edge in &self.compiled.graph.nodes[node].outgoing {
            let route = &self.compiled.graph.edges[*edge].route;
            let arrival = arrival(route, self.dice);
            self.edges.entry(*edge).or_insert(arrival);
        }
    }
}
