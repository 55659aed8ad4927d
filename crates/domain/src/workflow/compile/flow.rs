//! What is certain when a node runs: which nodes are before it, which of them have surely succeeded, and
//! which have surely failed.
//!
//! Never says "certain" where it isn't; it may fail to see that something is.

use super::build::Built;
use super::graph::{OnFailure, Role, Route};
use crate::workflow::definition::{JoinPolicy, Kind};
use crate::workflow::read::Draft;

/// What is known of the nodes of one scope at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// They are before it on some path.
    pub(super) before: NodeSet,
    /// They are decided.
    decided: NodeSet,
    /// They have succeeded.
    pub(super) succeeded: NodeSet,
    /// They have failed.
    pub(super) failed: NodeSet,
}

impl Moment {
    fn nothing(draft: &Draft) -> Self {
        let none = NodeSet::new(draft.definition.nodes.len());
        Self { before: none.clone(), decided: none.clone(), succeeded: none.clone(), failed: none }
    }

    /// What is known when either this or `other` is.
    fn keep(&mut self, other: &Self) {
        self.before.add(&other.before);
        self.decided.keep(&other.decided);
        self.succeeded.keep(&other.succeeded);
        self.failed.keep(&other.failed);
    }
}

/// What is known at each node's start, and at each scope's end. Scopes with a cycle have none.
pub(super) struct Flows {
    pub(super) nodes: Vec<Option<Moment>>,
    /// What is known whether the node has failed or not.
    cut: Vec<Option<Moment>>,
    pub(super) ends: Vec<Option<Moment>>,
}

/// Analyses all scopes.
pub(super) fn analyse(draft: &Draft, built: &Built) -> Flows {
    let count = draft.definition.nodes.len();
    let scopes = draft.definition.scopes.len();
    let mut flows =
        Flows { nodes: vec![None; count], cut: vec![None; count], ends: vec![None; scopes] };
    for scope in (0..scopes).filter(|scope| !built.cyclic.contains(scope)) {
        for node in &built.graph.scopes[scope].order {
            let started = at_start(*node, scope, draft, built, &flows);
            let is_join = matches!(draft.definition.nodes[*node].kind, Kind::Join { .. });
            let (started, cut) = match built.graph.nodes[*node].on_failure {
                OnFailure::FailsScope => (started.clone(), started),
                _ if !is_join => (started.clone(), started),
                OnFailure::Default => {
                    let failed = at_failure(*node, scope, draft, built, &flows);
                    (failed.clone(), failed)
                }
                OnFailure::Branch(_) | OnFailure::Arrives => {
                    (started, at_failure(*node, scope, draft, built, &flows))
                }
            };
            flows.nodes[*node] = Some(started);
            flows.cut[*node] = Some(cut);
        }
        flows.ends[scope] = Some(at_end(scope, draft, built, &flows));
    }
    flows
}

/// What is known when `node` has succeeded.
pub(super) fn after(node: usize, flows: &Flows) -> Option<Moment> {
    let mut moment = flows.nodes[node].clone()?;
    moment.before.insert(node);
    moment.decided.insert(node);
    moment.succeeded.insert(node);
    Some(moment)
}

fn at_start(node: usize, scope: usize, draft: &Draft, built: &Built, flows: &Flows) -> Moment {
    let early = is_early(node, draft);
    let mut moment: Option<Moment> = None;
    for (edge, from) in built.before(node) {
        let (Some(source), Some(cut)) = (&flows.nodes[from], &flows.cut[from]) else { continue };
        let mut arriving = if edge.route == Route::Failure { cut.clone() } else { source.clone() };
        // Whichever way this edge went.
        arriving.decided = cut.decided.clone();
        arriving.before.insert(from);
        arriving.decided.insert(from);
        if edge.route == Route::Failure {
            arriving.failed.insert(from);
        } else {
            arriving.succeeded.insert(from);
        }
        match &mut moment {
            None => moment = Some(arriving),
            Some(known) if early => known.keep(&arriving),
            Some(known) => {
                let mut decided = known.decided.clone();
                decided.add(&arriving.decided);
                known.keep(&arriving);
                known.decided = decided;
            }
        }
    }
    let mut moment = moment.unwrap_or_else(|| Moment::nothing(draft));
    close(&mut moment, scope, draft, built);
    moment
}

/// What is known when `node` has failed: of a join, that one of the nodes before it has run; of any other
/// node what was known when it started.
fn at_failure(node: usize, scope: usize, draft: &Draft, built: &Built, flows: &Flows) -> Moment {
    let mut moment: Option<Moment> = None;
    for (_, from) in built.before(node) {
        let Some(mut arriving) = flows.cut[from].clone() else { continue };
        arriving.before.insert(from);
        match &mut moment {
            None => moment = Some(arriving),
            Some(known) => known.keep(&arriving),
        }
    }
    let mut moment = moment.unwrap_or_else(|| Moment::nothing(draft));
    close(&mut moment, scope, draft, built);
    moment
}

/// Adds the nodes that must have succeeded, given those that have: they are decided, run for certain,
/// and their failure would have ended the scope.
///
/// `sure` are those that run for certain, or are cancelled by a join that went on. Such a loser leads to
/// nothing but other losers and that join, so what `sure` says of what comes after it holds all the same.
/// One that fails and arrives at joins as a failure keeps them from being skipped, too.
fn close(moment: &mut Moment, scope: usize, draft: &Draft, built: &Built) {
    let mut sure = moment.succeeded.clone();
    for node in &built.graph.scopes[scope].order {
        let graph = &built.graph.nodes[*node];
        let starts = graph.role == Role::Flow && graph.incoming.is_empty();
        let runs = starts
            || built
                .before(*node)
                .any(|(edge, from)| edge.route == Route::Always && sure.has(from));
        if !runs || moment.failed.has(*node) || matches!(graph.on_failure, OnFailure::Branch(_)) {
            continue;
        }
        sure.insert(*node);
        if moment.decided.has(*node) && failure_ends_scope(*node, draft, built) {
            moment.succeeded.insert(*node);
        }
    }
}

/// Whether nothing after a node runs when it fails.
fn failure_ends_scope(node: usize, draft: &Draft, built: &Built) -> bool {
    let graph = &built.graph.nodes[node];
    match graph.on_failure {
        OnFailure::Default | OnFailure::FailsScope => true,
        OnFailure::Branch(_) => false,
        OnFailure::Arrives => graph.outgoing.iter().all(|edge| {
            let join = built.graph.edges[*edge].to;
            let all = matches!(
                draft.definition.nodes[join].kind,
                Kind::Join { policy: JoinPolicy::All, .. }
            );
            all && built.graph.nodes[join].on_failure == OnFailure::FailsScope
        }),
    }
}

/// Whether a node can run while edges to it are undecided.
fn is_early(node: usize, draft: &Draft) -> bool {
    match &draft.definition.nodes[node].kind {
        Kind::Join { policy: JoinPolicy::Tolerate(_), deadline_ms } => deadline_ms.is_some(),
        Kind::Join { policy, .. } => policy.is_early(),
        _ => false,
    }
}

fn at_end(scope: usize, draft: &Draft, built: &Built, flows: &Flows) -> Moment {
    let order = &built.graph.scopes[scope].order;
    let nothing = Moment::nothing(draft);
    let mut everything = nothing.before.clone();
    order.iter().for_each(|node| everything.insert(*node));
    let mut decided = everything.clone();
    // A join cancels what leads only to it when it goes on early, and when it fails.
    let cancels = |node: &usize| {
        is_early(*node, draft) || built.graph.nodes[*node].on_failure != OnFailure::FailsScope
    };
    for join in order.iter().filter(|node| cancels(node)) {
        built.graph.nodes[*join].losers.iter().for_each(|loser| decided.remove(*loser));
    }
    let mut moment = Moment { before: everything, decided, ..nothing };
    close(&mut moment, scope, draft, built);
    // An end without a result of its own gives the scope's, and may come before all else is decided.
    for node in order {
        if matches!(draft.definition.nodes[*node].kind, Kind::End { result: None })
            && let Some(at) = after(*node, flows)
        {
            moment.succeeded.keep(&at.succeeded);
        }
    }
    moment
}

/// A set of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeSet(Vec<u64>);

impl NodeSet {
    fn new(nodes: usize) -> Self {
        Self(vec![0; nodes.div_ceil(64)])
    }

    pub(super) fn has(&self, node: usize) -> bool {
        self.0[node / 64] & (1 << (node % 64)) != 0
    }

    fn insert(&mut self, node: usize) {
        self.0[node / 64] |= 1 << (node % 64);
    }

    fn remove(&mut self, node: usize) {
        self.0[node / 64] &= !(1 << (node % 64));
    }

    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, more)| *word |= more);
    }

    fn keep(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, also)| *word &= also);
    }
}
