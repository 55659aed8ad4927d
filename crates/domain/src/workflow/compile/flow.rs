//! What is certain when a node runs: which nodes are before it, which of them have surely succeeded, and
//! which have surely failed.
//!
//! Never says "certain" where it isn't; it may fail to see that something is.

use super::graph::{Built, OnFailure, Role, Route};
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

/// What is known at each node's start, and at each scope's end. Scopes with a cycle have none.
pub(super) struct Flows {
    pub(super) nodes: Vec<Option<Moment>>,
    pub(super) ends: Vec<Option<Moment>>,
}

/// Analyses all scopes.
pub(super) fn analyse(draft: &Draft, built: &Built) -> Flows {
    let count = draft.definition.nodes.len();
    let scopes = draft.definition.scopes.len();
    let mut flows = Flows { nodes: vec![None; count], ends: vec![None; scopes] };
    for scope in (0..scopes).filter(|scope| !built.cyclic.contains(scope)) {
        for node in &built.graph.scopes[scope].order {
            flows.nodes[*node] = Some(at_start(*node, scope, draft, built, &flows));
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
    let count = draft.definition.nodes.len();
    let early = is_early(node, draft);
    let mut moment: Option<Moment> = None;
    for (edge, from) in built.before(node) {
        let Some(source) = &flows.nodes[from] else { continue };
        let mut arriving = source.clone();
        arriving.before.insert(from);
        arriving.decided.insert(from);
        if edge.route == Route::Failure {
            arriving.failed.insert(from);
        } else {
            arriving.succeeded.insert(from);
        }
        moment = Some(match moment {
            None => arriving,
            Some(mut known) => {
                known.before.add(&arriving.before);
                if early {
                    known.decided.keep(&arriving.decided);
                } else {
                    known.decided.add(&arriving.decided);
                }
                known.succeeded.keep(&arriving.succeeded);
                known.failed.keep(&arriving.failed);
                known
            }
        });
    }
    let mut moment = moment.unwrap_or_else(|| Moment {
        before: NodeSet::new(count),
        decided: NodeSet::new(count),
        succeeded: NodeSet::new(count),
        failed: NodeSet::new(count),
    });
    close(&mut moment, scope, draft, built);
    moment
}

/// Adds the nodes that must have succeeded, given those that have: they are decided, run for certain,
/// and their failure would have ended the scope.
fn close(moment: &mut Moment, scope: usize, draft: &Draft, built: &Built) {
    for node in &built.graph.scopes[scope].order {
        if !moment.decided.has(*node) || moment.succeeded.has(*node) || moment.failed.has(*node) {
            continue;
        }
        let graph = &built.graph.nodes[*node];
        let starts = graph.role == Role::Flow && graph.incoming.is_empty();
        let runs = starts
            || built.before(*node).any(|(edge, from)| {
                edge.route == Route::Always && moment.succeeded.has(from)
            });
        if runs && failure_ends_scope(*node, draft, built) {
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
    let count = draft.definition.nodes.len();
    let order = &built.graph.scopes[scope].order;
    let mut everything = NodeSet::new(count);
    order.iter().for_each(|node| everything.insert(*node));
    let mut decided = everything.clone();
    for join in order.iter().filter(|node| is_early(**node, draft)) {
        built.graph.nodes[*join].losers.iter().for_each(|loser| decided.remove(*loser));
    }
    let mut moment = Moment {
        before: everything,
        decided,
        succeeded: NodeSet::new(count),
        failed: NodeSet::new(count),
    };
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
