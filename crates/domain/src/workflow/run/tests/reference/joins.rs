//! Joins, by the table of the documentation.

use super::{Arrival, Place, Reference, State};
use crate::answer::{ErrorClass, Failure};
use crate::event::EventType;
use crate::workflow::definition::{JoinPolicy, Kind};
use crate::workflow::schema::violations;
use serde_json::Value;

enum Verdict {
    Waits,
    GoesOn(Value),
    Fails,
    IsSkipped,
}

impl Reference<'_> {
    pub(super) fn arrive_at_join(&mut self, join: &Place, edge: usize, arrival: Arrival) {
        let mut arrival = arrival;
        if let (Kind::Join { policy: JoinPolicy::FirstValid(schema), .. }, Arrival::Taken) =
            (&self.node(join).kind, arrival)
            && !violations(schema, &self.came(join, edge)).is_empty()
        {
            arrival = Arrival::Failed;
        }
        self.note(join, edge, arrival);
        self.judge(join);
    }

    /// What came along an edge.
    fn came(&self, join: &Place, edge: usize) -> Value {
        let from = (join.0.clone(), self.graph().edges[edge].from);
        self.spot(&from).output.clone().unwrap_or_default()
    }

    fn judge(&mut self, join: &Place) {
        match self.verdict(join) {
            Verdict::Waits => {}
            Verdict::IsSkipped => self.skip(join),
            Verdict::GoesOn(output) => {
                self.begin_deadlines(join);
                self.cancel_losers(join);
                self.succeed(join, output, None);
            }
            Verdict::Fails => {
                self.begin_deadlines(join);
                self.cancel_losers(join);
                self.failed(join, Failure::new(ErrorClass::Internal, "join_failed", ""));
            }
        }
    }

    fn verdict(&self, join: &Place) -> Verdict {
        let Kind::Join { policy, .. } = &self.node(join).kind else { panic!("no join") };
        let arrivals = self.arrivals(join);
        let count = |what| arrivals.iter().filter(|one| **one == what).count() as u32;
        let (taken, failed, open) =
            (count(Some(Arrival::Taken)), count(Some(Arrival::Failed)), count(None));
        let edges: Vec<usize> = (0..self.graph().edges.len())
            .filter(|edge| self.graph().edges[*edge].to == join.1)
            .filter(|edge| self.runs[&join.0].edges.get(edge) == Some(&Arrival::Taken))
            .collect();
        let list = || Value::Array(edges.iter().map(|edge| self.came(join, *edge)).collect());
        let one = || self.came(join, edges[0]);
        if taken + failed + open == 0 {
            return Verdict::IsSkipped;
        }
        match policy {
            JoinPolicy::All if failed > 0 => Verdict::Fails,
            JoinPolicy::All if open == 0 => Verdict::GoesOn(list()),
            JoinPolicy::Any | JoinPolicy::FirstValid(_) if taken > 0 => Verdict::GoesOn(one()),
            JoinPolicy::Any | JoinPolicy::FirstValid(_) if open == 0 => Verdict::Fails,
            JoinPolicy::AtLeast(n) if taken >= *n => Verdict::GoesOn(list()),
            JoinPolicy::AtLeast(n) if taken + open < *n && taken + failed > 0 => Verdict::Fails,
            JoinPolicy::Tolerate(k) if failed > *k => Verdict::Fails,
            JoinPolicy::Tolerate(_) if open == 0 && taken == 0 => Verdict::Fails,
            JoinPolicy::Tolerate(_) if open == 0 => Verdict::GoesOn(list()),
            _ => Verdict::Waits,
        }
    }

    /// "What can still run and leads to nothing but the join is then cancelled."
    fn cancel_losers(&mut self, join: &Place) {
        let nodes: Vec<usize> = self.runs[&join.0].spots.keys().copied().collect();
        for node in nodes {
            let loser = (join.0.clone(), node);
            if node != join.1 && self.leads_only_to(node, join.1) && self.is_open(&loser) {
                self.cancel(&loser);
            }
        }
    }

    fn leads_only_to(&self, node: usize, join: usize) -> bool {
        let mut targets = self
            .graph()
            .edges
            .iter()
            .filter(|edge| edge.from == node)
            .map(|edge| edge.to)
            .peekable();
        targets.peek().is_some() && targets.all(|to| to == join || self.leads_only_to(to, join))
    }

    /// "`deadline` counts from the start of the first node with an edge to the join."
    pub(super) fn begin_deadlines(&mut self, place: &Place) {
        let graph = self.graph();
        for edge in graph.edges.iter().filter(|edge| edge.from == place.1) {
            let join = (place.0.clone(), edge.to);
            let Kind::Join { deadline_ms: Some(deadline), .. } = &self.node(&join).kind else {
                continue;
            };
            let due = self.now.plus(*deadline as i64);
            let spot = self.spot_mut(&join);
            if spot.state == State::Waiting && spot.due.is_none() {
                spot.due = Some(due);
            }
        }
    }

    /// "What isn't decided then counts as failed."
    pub(super) fn deadline_of_join(&mut self, join: &Place) {
        for edge in 0..self.graph().edges.len() {
            let leads_there = self.graph().edges[edge].to == join.1;
            if leads_there && !self.runs[&join.0].edges.contains_key(&edge) {
                self.note(join, edge, Arrival::Failed);
            }
        }
        self.judge(join);
    }

    /// A step loses, or its scope ends without it.
    pub(super) fn cancel(&mut self, place: &Place) {
        let has_begun = self.state(place) == State::Running || self.spot(place).attempt > 0;
        self.call_off(place);
        if has_begun {
            self.tell(EventType::StepCancelled, place, None, None);
        }
        self.spot_mut(place).state = State::Cancelled;
    }
}
