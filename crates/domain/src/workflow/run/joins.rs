//! Joins: when one goes on, when it fails, and who has lost then.

use super::document::Document;
use super::entry::{EdgeState, Entry, NodeState, Step, name};
use super::flow::Spent;
use super::state::{At, Machine, number};
use super::{Damaged, Effect, Memory};
use crate::answer::{ErrorClass, Failure};
use crate::workflow::definition::{JoinPolicy, Kind};

/// What has come to a join so far.
#[derive(Clone, Debug, Default)]
struct Arrivals {
    /// The edges that were taken, in order.
    taken: Vec<usize>,
    /// How many arrived as failures.
    failed: usize,
    /// How many aren't decided.
    open: usize,
}

/// What a join does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Waits,
    GoesOn,
    Fails,
    IsSkipped,
}

impl<M: Memory> Machine<'_, M> {
    /// An edge to a join is decided.
    pub(super) fn arrive_at_join(
        &mut self,
        join: &At,
        policy: &JoinPolicy,
        edge: usize,
        arrival: EdgeState,
    ) -> Result<(), Damaged> {
        let is_refused = matches!(policy, JoinPolicy::FirstValid(_))
            && arrival == EdgeState::Taken
            && !self.is_valid(join, edge);
        let arrival = if is_refused { EdgeState::Failed } else { arrival };
        self.set_edge(&join.frame, edge, arrival)?;
        self.judge(join, policy)
    }

    fn is_valid(&self, join: &At, edge: usize) -> bool {
        let Some(schema) = self.program.schemas.get(&join.node) else { return true };
        schema.is_valid(&self.arrived(join, edge).to_json())
    }

    /// What came along an edge.
    fn arrived(&self, join: &At, edge: usize) -> Document {
        let from = self.program.compiled.graph.edges[edge].from;
        self.output_of(&self.program.step(&join.frame, from)).unwrap_or_else(Document::null)
    }

    fn arrivals(&mut self, join: &At) -> Result<Arrivals, Damaged> {
        let mut arrivals = Arrivals::default();
        let program = self.program;
        for edge in &program.shape(join.node).incoming {
            match self.edge_state(&join.frame, *edge)? {
                EdgeState::Open => arrivals.open += 1,
                EdgeState::Taken => arrivals.taken.push(*edge),
                EdgeState::Failed => arrivals.failed += 1,
                EdgeState::NotTaken => {}
            }
        }
        Ok(arrivals)
    }

    fn judge(&mut self, join: &At, policy: &JoinPolicy) -> Result<(), Damaged> {
        let arrivals = self.arrivals(join)?;
        match verdict(policy, &arrivals) {
            Verdict::Waits => Ok(()),
            Verdict::IsSkipped => self.skip(join),
            Verdict::GoesOn => {
                self.begin_deadlines(join)?;
                self.cancel_losers(join)?;
                let output = match policy {
                    JoinPolicy::Any | JoinPolicy::FirstValid(_) => {
                        self.arrived(join, arrivals.taken[0])
                    }
                    JoinPolicy::All | JoinPolicy::AtLeast(_) | JoinPolicy::Tolerate(_) => {
                        let taken = arrivals.taken.iter();
                        let outputs: Vec<_> = taken.map(|edge| self.arrived(join, *edge)).collect();
                        Document::list(&outputs)
                    }
                };
                self.succeed(join, output, Spent::default())
            }
            Verdict::Fails => {
                self.begin_deadlines(join)?;
                self.cancel_losers(join)?;
                self.give_up(join, unsatisfied(&arrivals), Spent::default())
            }
        }
    }

    /// What leads to nothing but a join that goes on without it.
    fn cancel_losers(&mut self, join: &At) -> Result<(), Damaged> {
        let program = self.program;
        for node in &program.shape(join.node).losers {
            let loser = At { frame: join.frame.clone(), node: *node };
            if self.state_of(&loser)?.is_open() {
                self.cancel_step(&loser, Some("a join went on without it"))?;
                self.decided.push_back(loser);
            }
        }
        Ok(())
    }

    /// A node begins: the deadlines of the joins that it leads to run from here on.
    pub(super) fn begin_deadlines(&mut self, at: &At) -> Result<(), Damaged> {
        let program = self.program;
        for edge in &program.shape(at.node).outgoing {
            let node = program.compiled.graph.edges[*edge].to;
            let Kind::Join { deadline_ms: Some(deadline), .. } = &program.node(node).kind else {
                continue;
            };
            let join = At { frame: at.frame.clone(), node };
            let step = program.step(&at.frame, node);
            let waits = self.state_of(&join)? == NodeState::Waiting;
            if !waits || self.step_of(&step).is_some() {
                continue;
            }
            let due = self.now.plus(i64::try_from(*deadline).unwrap_or(i64::MAX));
            let run = Step {
                frame: at.frame.clone(),
                node: number(node),
                attempt: 1,
                started: self.now,
                until: Some(due),
                ..Step::default()
            };
            self.put_step(&step, run);
            self.effect(Effect::SetTimer { timer: format!("join/{step}"), due });
        }
        Ok(())
    }

    /// The deadline of a join has passed: what hasn't come counts as failed.
    pub(super) fn join_is_due(&mut self, join: &At) -> Result<(), Damaged> {
        let program = self.program;
        let Kind::Join { policy, .. } = &program.node(join.node).kind else { return Ok(()) };
        if self.state_of(join)? != NodeState::Waiting {
            return Ok(());
        }
        for edge in &program.shape(join.node).incoming {
            if self.edge_state(&join.frame, *edge)? == EdgeState::Open {
                self.set_edge(&join.frame, *edge, EdgeState::Failed)?;
            }
        }
        self.judge(join, policy)
    }

    /// The output of a step that succeeded.
    pub(super) fn output_of(&self, step: &str) -> Option<Document> {
        match self.memory.get(&name::output(step)) {
            Some(Entry::Value(value)) => Some(value.clone()),
            Some(Entry::Pieces(count)) => Some(self.pieces(step, *count)),
            _ => None,
        }
    }
}

fn verdict(policy: &JoinPolicy, arrivals: &Arrivals) -> Verdict {
    let (taken, failed, open) = (arrivals.taken.len(), arrivals.failed, arrivals.open);
    if open == 0 && taken == 0 && failed == 0 {
        return Verdict::IsSkipped;
    }
    let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    let (goes_on, fails) = match policy {
        JoinPolicy::All => (open == 0 && failed == 0, failed > 0),
        JoinPolicy::Any | JoinPolicy::FirstValid(_) => (taken > 0, false),
        JoinPolicy::AtLeast(n) => {
            (taken >= count(*n), taken + open < count(*n) && taken + failed > 0)
        }
        JoinPolicy::Tolerate(k) => {
            (open == 0 && failed <= count(*k) && taken > 0, failed > count(*k))
        }
    };
    match (goes_on, fails) {
        (true, _) => Verdict::GoesOn,
        // Nothing is left to wait for.
        (false, fails) if fails || open == 0 => Verdict::Fails,
        _ => Verdict::Waits,
    }
}

fn unsatisfied(arrivals: &Arrivals) -> Failure {
    let (taken, failed) = (arrivals.taken.len(), arrivals.failed);
    let message = format!("{taken} arrived and {failed} failed, which isn't what the join needs");
    Failure::new(ErrorClass::Internal, "join_failed", message).from_source("workflow")
}
