//! Builds the graph from what was read, and finds what its edges may not be.
//!
//! Edges that lead nowhere, or where none may lead, are noted and left out, so that the rest can still be
//! checked.

mod cycles;

use std::collections::{BTreeMap, BTreeSet};

use super::ExpressionReads;
use super::graph::{Edge, Graph, Node, OnFailure, Role, Route, Scope};
use crate::workflow::definition::Kind;
use crate::workflow::expression;
use crate::workflow::problem::{Pointer, Problems};
use crate::workflow::read::{Draft, Place};
use crate::workflow::template::Template;

/// A graph with what only the checks need.
pub(super) struct Built {
    pub(super) graph: Graph,
    /// Where each edge stands in the definition.
    pub(super) edge_at: Vec<Pointer>,
    /// Scopes with a cycle: their order is not to be used.
    pub(super) cyclic: BTreeSet<usize>,
}

impl Built {
    /// The sources of the edges that lead to a node.
    pub(super) fn before(&self, node: usize) -> impl Iterator<Item = (&Edge, usize)> {
        self.graph.nodes[node].incoming.iter().map(|edge| {
            let edge = &self.graph.edges[*edge];
            (edge, edge.from)
        })
    }

    /// Notes at each node what its expressions read.
    pub(super) fn note_reads(&mut self, draft: &Draft, expressions: &[ExpressionReads]) {
        for (site, reads) in draft.sites.iter().zip(expressions) {
            let graph = &mut self.graph;
            let noted = match site.place {
                Place::Node(node) | Place::Default(node) | Place::LoopCondition(node) => {
                    &mut graph.nodes[node].reads
                }
                Place::Edge { scope, index } => {
                    let edge = &draft.definition.scopes[scope].edges[index];
                    &mut graph.nodes[draft.by_id[&edge.from]].reads
                }
                Place::Result(scope) => &mut graph.scopes[scope].reads,
                Place::Variable | Place::ConcurrencyKey => continue,
            };
            for node in &reads.nodes {
                if !noted.contains(node) {
                    noted.push(*node);
                }
            }
        }
    }
}

/// Builds the graph, and notes what is wrong with its edges.
pub(super) fn build(draft: &Draft, problems: &mut Problems) -> Built {
    let definition = &draft.definition;
    let nodes = definition
        .nodes
        .iter()
        .map(|node| Node {
            role: Role::Flow,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            on_failure: OnFailure::FailsScope,
            compensate: None,
            body: node.kind.body(),
            losers: Vec::new(),
            reads: Vec::new(),
        })
        .collect();
    let mut builder = Builder {
        draft,
        problems,
        built: Built {
            graph: Graph { nodes, edges: Vec::new(), scopes: Vec::new() },
            edge_at: Vec::new(),
            cyclic: BTreeSet::new(),
        },
    };
    builder.roles();
    for scope in 0..definition.scopes.len() {
        builder.explicit_edges(scope);
        builder.switches(scope);
        builder.error_branches(scope);
        builder.order(scope);
    }
    builder.failures();
    builder.losers();
    builder.built
}

struct Builder<'b> {
    draft: &'b Draft,
    problems: &'b mut Problems,
    built: Built,
}

impl Builder<'_> {
    /// The node that `id` names for something in `scope`.
    fn resolve(&mut self, id: &str, scope: usize, at: &Pointer) -> Option<usize> {
        let definition = &self.draft.definition;
        let Some(node) = self.draft.by_id.get(id).copied() else {
            let here = definition.scopes[scope].nodes.iter();
            let hint = self.problems.hint(id, here.map(|node| definition.nodes[*node].id.as_str()));
            let hint = if hint.is_empty() { ": add it, or name another".to_owned() } else { hint };
            self.problems.error(at, format!("there is no node {id:?}{hint}"));
            return None;
        };
        if definition.nodes[node].scope != scope {
            let message = format!(
                "the node {id:?} is inside of another body, or outside of this one: name a node of \
                 the same list"
            );
            self.problems.error(at, message);
            return None;
        }
        Some(node)
    }

    /// Finds the nodes that are only there for error branches and compensations.
    fn roles(&mut self) {
        let definition = &self.draft.definition;
        for node in &definition.nodes {
            let Some(id) = &node.policy.on_error else { continue };
            let at = node.at.field("onError");
            if let Some(target) = self.resolve(id, node.scope, &at) {
                self.built.graph.nodes[target].role = Role::ErrorBranch;
            }
        }
        for (index, node) in definition.nodes.iter().enumerate() {
            let Some(id) = &node.policy.compensate else { continue };
            let at = node.at.field("compensate");
            let Some(target) = self.resolve(id, node.scope, &at) else { continue };
            let message = match self.built.graph.nodes[target].role {
                _ if target == index => Some("a node can't undo itself: name another".to_owned()),
                Role::Compensation(other) => Some(format!(
                    "{id:?} undoes {:?} already: give each a node of its own",
                    definition.nodes[other].id
                )),
                Role::ErrorBranch => {
                    Some(format!("{id:?} is an error branch, too: give each a node of its own"))
                }
                Role::Flow => None,
            };
            if let Some(message) = message {
                self.problems.error(&at, message);
                continue;
            }
            if !self.draft.broken.contains(&target) && !can_undo(&definition.nodes[target].kind) {
                let message = format!(
                    "{id:?} is of kind {}, which undoes nothing: name a model, agent, function, workflow, \
                     emit or transform",
                    definition.nodes[target].kind.as_str()
                );
                self.problems.error(&at, message);
            }
            if definition.nodes[target].policy.compensate.is_some()
                || definition.nodes[target].policy.on_error.is_some()
            {
                let message = format!(
                    "{id:?} only undoes {:?}, so it can't have onError or compensate itself: remove \
                     them there",
                    node.id
                );
                self.problems.error(&at, message);
            }
            self.built.graph.nodes[target].role = Role::Compensation(index);
            self.built.graph.nodes[index].compensate = Some(target);
        }
    }

    fn explicit_edges(&mut self, scope: usize) {
        let mut seen = BTreeMap::new();
        let definition = &self.draft.definition;
        for (index, edge) in definition.scopes[scope].edges.iter().enumerate() {
            let from = self.resolve(&edge.from, scope, &edge.at.field("from"));
            let to = self.resolve(&edge.to, scope, &edge.at.field("to"));
            let (Some(from), Some(to)) = (from, to) else { continue };
            if let Some(first) = seen.insert((from, to), index) {
                let message = format!(
                    "leads from {:?} to {:?} as edge {first} does: write one edge, with `or` \
                     between the conditions",
                    edge.from, edge.to
                );
                self.problems.error(&edge.at, message);
                continue;
            }
            let kind = &definition.nodes[from].kind;
            if matches!(kind, Kind::Switch { .. }) {
                let message = format!(
                    "{:?} is a switch, which says in its cases where it leads: add a case",
                    edge.from
                );
                self.problems.error(&edge.at.field("from"), message);
                continue;
            }
            if kind.is_last() {
                let message = format!(
                    "nothing comes after {:?}, which is of kind {}: remove the edge",
                    edge.from,
                    kind.as_str()
                );
                self.problems.error(&edge.at.field("from"), message);
                continue;
            }
            if !self.may_connect(from, to, &edge.at) {
                continue;
            }
            let route = match &edge.when {
                None | Some(Template::Literal(serde_json::Value::Bool(true))) => Route::Always,
                Some(_) => Route::When(index),
            };
            self.connect(from, to, route, edge.at.clone());
        }
    }

    /// Whether a normal edge may lead from one node to another.
    fn may_connect(&mut self, from: usize, to: usize, at: &Pointer) -> bool {
        let definition = &self.draft.definition;
        let nodes = &self.built.graph.nodes;
        for end in [from, to] {
            if let Role::Compensation(of) = nodes[end].role {
                let message = format!(
                    "{:?} is there to undo {:?} and has no edges: use another node in the flow",
                    definition.nodes[end].id, definition.nodes[of].id
                );
                self.problems.error(at, message);
                return false;
            }
        }
        if nodes[to].role == Role::ErrorBranch {
            let message = format!(
                "{:?} is an error branch, which only a failure leads to: use another node in the flow",
                definition.nodes[to].id
            );
            self.problems.error(at, message);
            return false;
        }
        true
    }

    fn switches(&mut self, scope: usize) {
        let definition = &self.draft.definition;
        for from in &definition.scopes[scope].nodes {
            let node = &definition.nodes[*from];
            let Kind::Switch { cases, otherwise } = &node.kind else { continue };
            let mut targets: Vec<(usize, Vec<usize>, bool, Pointer)> = Vec::new();
            let named = cases
                .iter()
                .enumerate()
                .map(|(i, case)| (Some(i), case.to.as_str(), case.at.field("to")));
            let named =
                named.chain(otherwise.iter().map(|to| (None, to.as_str(), node.at.field("else"))));
            for (case, to, at) in named {
                let Some(to) = self.resolve(to, scope, &at) else { continue };
                if !self.may_connect(*from, to, &at) {
                    continue;
                }
                let known = targets.iter().position(|(target, ..)| *target == to);
                let known = known.unwrap_or_else(|| {
                    targets.push((to, Vec::new(), false, at));
                    targets.len() - 1
                });
                match case {
                    Some(case) => targets[known].1.push(case),
                    None => targets[known].2 = true,
                }
            }
            for (to, cases, otherwise, at) in targets {
                self.connect(*from, to, Route::Cases { cases, otherwise }, at);
            }
        }
    }

    fn error_branches(&mut self, scope: usize) {
        let definition = &self.draft.definition;
        for from in &definition.scopes[scope].nodes {
            let node = &definition.nodes[*from];
            let Some(id) = &node.policy.on_error else { continue };
            // What isn't there has been noted with the roles.
            let target = self.draft.by_id.get(id).copied();
            let Some(to) = target.filter(|to| definition.nodes[*to].scope == scope) else {
                continue;
            };
            self.connect(*from, to, Route::Failure, node.at.field("onError"));
        }
    }

    fn connect(&mut self, from: usize, to: usize, route: Route, at: Pointer) {
        let graph = &mut self.built.graph;
        let edge = graph.edges.len();
        graph.edges.push(Edge { from, to, route });
        graph.nodes[from].outgoing.push(edge);
        graph.nodes[to].incoming.push(edge);
        self.built.edge_at.push(at);
    }

    /// Puts the nodes of a scope in order, and finds who starts and what is never reached.
    fn order(&mut self, scope: usize) {
        let members = &self.draft.definition.scopes[scope].nodes;
        let graph = &self.built.graph;
        let in_flow: Vec<usize> = members
            .iter()
            .copied()
            .filter(|node| !matches!(graph.nodes[*node].role, Role::Compensation(_)))
            .collect();
        let starts: Vec<usize> = in_flow
            .iter()
            .copied()
            .filter(|node| {
                graph.nodes[*node].role == Role::Flow && graph.nodes[*node].incoming.is_empty()
            })
            .collect();
        let mut waiting: BTreeMap<usize, usize> =
            in_flow.iter().map(|node| (*node, graph.nodes[*node].incoming.len())).collect();
        let mut ready: BTreeSet<usize> =
            in_flow.iter().copied().filter(|node| waiting[node] == 0).collect();
        let mut order = Vec::with_capacity(in_flow.len());
        while let Some(node) = ready.pop_first() {
            order.push(node);
            for edge in &graph.nodes[node].outgoing {
                let to = graph.edges[*edge].to;
                if let Some(left) = waiting.get_mut(&to) {
                    *left -= 1;
                    if *left == 0 {
                        ready.insert(to);
                    }
                }
            }
        }
        let in_order: BTreeSet<usize> = order.iter().copied().collect();
        let rest: BTreeSet<usize> =
            in_flow.iter().copied().filter(|node| !in_order.contains(node)).collect();
        if !rest.is_empty() {
            self.built.cyclic.insert(scope);
            cycles::note(self.draft, &self.built, &rest, self.problems);
        }
        self.unreachable(&in_flow, &starts, &rest);
        let owner = self.draft.definition.scopes[scope].owner;
        self.built.graph.scopes.push(Scope { owner, starts, order, reads: Vec::new() });
    }

    fn unreachable(&mut self, in_flow: &[usize], starts: &[usize], in_cycles: &BTreeSet<usize>) {
        let graph = &self.built.graph;
        let mut reached: BTreeSet<usize> = starts.iter().chain(in_cycles).copied().collect();
        let mut open: Vec<usize> = reached.iter().copied().collect();
        while let Some(node) = open.pop() {
            for edge in &graph.nodes[node].outgoing {
                let edge = &graph.edges[*edge];
                if !self.is_never_taken(edge) && reached.insert(edge.to) {
                    open.push(edge.to);
                }
            }
        }
        for node in in_flow.iter().filter(|node| !reached.contains(*node)) {
            let node = &self.draft.definition.nodes[*node];
            let message = format!(
                "{:?} is never reached: no edge that can be taken leads to it; remove it, or change \
                 the conditions before it",
                node.id
            );
            self.problems.error(&node.at, message);
        }
    }

    /// Whether the condition of an edge is plainly false.
    fn is_never_taken(&self, edge: &Edge) -> bool {
        let definition = &self.draft.definition;
        let from = &definition.nodes[edge.from];
        match (&edge.route, &from.kind) {
            (Route::When(index), _) => {
                let when = definition.scopes[from.scope].edges[*index].when.as_ref();
                when.and_then(plain_truth) == Some(false)
            }
            (Route::Cases { cases, otherwise }, Kind::Switch { cases: all, .. }) => {
                let holds = all.iter().position(|case| plain_truth(&case.when) == Some(true));
                let possible = cases.iter().any(|case| {
                    holds.is_none_or(|first| *case <= first)
                        && plain_truth(&all[*case].when) != Some(false)
                });
                !(possible || *otherwise && holds.is_none())
            }
            _ => false,
        }
    }

    fn failures(&mut self) {
        for index in 0..self.built.graph.nodes.len() {
            let graph = &self.built.graph;
            let node = &self.draft.definition.nodes[index];
            let branch = graph.nodes[index]
                .outgoing
                .iter()
                .find(|edge| graph.edges[**edge].route == Route::Failure);
            let targets = || graph.nodes[index].outgoing.iter().map(|edge| graph.edges[*edge].to);
            let is_join =
                |to: usize| matches!(self.draft.definition.nodes[to].kind, Kind::Join { .. });
            let on_failure = if node.policy.default.is_some() {
                OnFailure::Default
            } else if let Some(edge) = branch {
                OnFailure::Branch(*edge)
            } else if targets().next().is_some() && targets().all(is_join) {
                OnFailure::Arrives
            } else {
                OnFailure::FailsScope
            };
            self.built.graph.nodes[index].on_failure = on_failure;
        }
    }

    /// Finds for each join what leads to nothing else.
    fn losers(&mut self) {
        for scope in 0..self.built.graph.scopes.len() {
            if self.built.cyclic.contains(&scope) {
                continue;
            }
            let graph = &self.built.graph;
            let order = &graph.scopes[scope].order;
            let mut found = Vec::new();
            for (position, join) in order.iter().enumerate() {
                if !matches!(self.draft.definition.nodes[*join].kind, Kind::Join { .. }) {
                    continue;
                }
                let mut losers = BTreeSet::new();
                for node in order[..position].iter().rev() {
                    let mut targets =
                        graph.nodes[*node].outgoing.iter().map(|edge| graph.edges[*edge].to);
                    let leads_on = !graph.nodes[*node].outgoing.is_empty();
                    if leads_on && targets.all(|to| to == *join || losers.contains(&to)) {
                        losers.insert(*node);
                    }
                }
                found.push((*join, losers.into_iter().collect()));
            }
            for (join, losers) in found {
                self.built.graph.nodes[join].losers = losers;
            }
        }
    }
}

/// Whether a node of this kind can undo another.
fn can_undo(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Model { .. }
            | Kind::Agent { .. }
            | Kind::Function { .. }
            | Kind::Workflow { .. }
            | Kind::Emit { .. }
            | Kind::Transform { .. }
    )
}

/// What a condition is, where it depends on nothing.
pub(super) fn plain_truth(condition: &Template) -> Option<bool> {
    match condition {
        Template::Literal(serde_json::Value::Bool(truth)) => Some(*truth),
        Template::Expression(source) => expression::constant(source),
        _ => None,
    }
}
