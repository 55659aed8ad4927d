//! What the graph and the fields of a node must be to each other: joins that can be satisfied, switches
//! that always lead on, scopes that have a result, policies that can ever matter.

use std::collections::BTreeSet;

use super::build::{Built, plain_truth};
use super::graph::{Role, Route};
use crate::workflow::definition::{JoinPolicy, Kind, LoopCondition, Node, TOP, Wait};
use crate::workflow::problem::Problems;
use crate::workflow::read::Draft;

/// Notes what doesn't fit.
pub(super) fn check(draft: &Draft, built: &Built, problems: &mut Problems) {
    let definition = &draft.definition;
    for (index, node) in definition.nodes.iter().enumerate() {
        if draft.broken.contains(&index) {
            continue;
        }
        match &node.kind {
            Kind::Join { policy, .. } => join(index, node, policy, draft, built, problems),
            Kind::Switch { cases, otherwise } => {
                let always = cases.iter().any(|case| plain_truth(&case.when) == Some(true));
                if otherwise.is_none() && !always {
                    let message = "has no else: when no case holds, nothing after it runs; add an \
                                   else, or mean it";
                    problems.warning(&node.at, message);
                }
            }
            Kind::Loop { condition, .. } => {
                let (at, condition, endless) = match condition {
                    LoopCondition::While(condition) => ("while", condition, true),
                    LoopCondition::Until(condition) => ("until", condition, false),
                };
                if plain_truth(condition) == Some(endless) {
                    let message = "never ends the loop, which so always fails at maxIterations: \
                                   write a condition over last or iteration";
                    problems.error(&node.at.field(at), message);
                }
            }
            Kind::Wait(Wait::Signal(signal))
                if signal.timeout_ms.is_none() && definition.timeout_ms.is_none() =>
            {
                let message = "waits for ever when nobody sends the signal: add a timeout here or to \
                               spec";
                problems.warning(&node.at.field("signal"), message);
            }
            Kind::Workflow { name, .. } if *name == definition.name => {
                let message =
                    "runs the workflow that it is in: make sure that this ends, or use a loop";
                problems.warning(&node.at.field("name"), message);
            }
            _ => {}
        }
        if node.policy.cache_key.is_some() {
            let message = "isn't carried out yet: the node runs every time; leave it out, or mean it \
                           for later";
            problems.warning(&node.at.field("cacheKey"), message);
        }
        island(index, node, draft, built, problems);
    }
    for scope in 0..definition.scopes.len() {
        result(scope, draft, built, problems);
    }
}

fn join(
    index: usize,
    node: &Node,
    policy: &JoinPolicy,
    draft: &Draft,
    built: &Built,
    problems: &mut Problems,
) {
    let sources: Vec<usize> = built.before(index).map(|(_, from)| from).collect();
    let incoming = sources.len();
    if incoming == 0 {
        if built.graph.nodes[index].role == Role::Flow {
            problems.error(&node.at, "is a join without incoming edges: lead some to it");
        }
        return;
    }
    let at = node.at.field("policy");
    match policy {
        JoinPolicy::AtLeast(n) => {
            let at = at.field("atLeast");
            let most = most_at_once(index, draft, built);
            if *n as usize > incoming {
                let message = format!(
                    "can't be satisfied: {n} of {incoming} incoming edges; write at most {incoming}, \
                     or add edges"
                );
                problems.error(&at, message);
            } else if *n as usize > most {
                let message = format!(
                    "can't be satisfied: of the {incoming} incoming edges at most {most} are ever \
                     taken together, as a switch takes one of its cases; write at most {most}"
                );
                problems.error(&at, message);
            }
        }
        JoinPolicy::Tolerate(k) if *k as usize >= incoming => {
            let message = format!(
                "can't be meant: all {incoming} incoming edges may fail and nothing would be left; \
                 write at most {}",
                incoming - 1
            );
            problems.error(&at.field("tolerate"), message);
        }
        _ => {}
    }
}

/// How many edges to a node can be taken together, as far as switches right before it tell.
fn most_at_once(index: usize, draft: &Draft, built: &Built) -> usize {
    // The switch that alone decides a node: the one that all its edges come from.
    let decided_by = |node: usize| {
        let switches: BTreeSet<usize> = built.before(node).map(|(_, from)| from).collect();
        let one = switches.first().copied().filter(|_| switches.len() == 1)?;
        matches!(draft.definition.nodes[one].kind, Kind::Switch { .. }).then_some(one)
    };
    let mut exclusive = BTreeSet::new();
    let mut free = 0;
    for (edge, from) in built.before(index) {
        let switch = match edge.route {
            Route::Cases { .. } => Some(from),
            _ => decided_by(from),
        };
        match switch {
            Some(switch) => drop(exclusive.insert(switch)),
            None => free += 1,
        }
    }
    free + exclusive.len()
}

/// A node that no edge touches, among others that edges connect.
fn island(index: usize, node: &Node, draft: &Draft, built: &Built, problems: &mut Problems) {
    let graph = &built.graph.nodes[index];
    let scope = &draft.definition.scopes[node.scope];
    // An edge that leads nowhere is a problem of its own.
    let is_meant = scope.edges.iter().any(|edge| edge.from == node.id || edge.to == node.id);
    let connected = |node: &usize| !built.graph.nodes[*node].outgoing.is_empty();
    if graph.role == Role::Flow
        && graph.incoming.is_empty()
        && graph.outgoing.is_empty()
        && !is_meant
        && scope.nodes.iter().any(connected)
    {
        let message = format!(
            "no edge touches {:?}: it starts at once and nothing waits for it; add an edge, or mean it",
            node.id
        );
        problems.warning(&node.at, message);
    }
}

fn result(scope: usize, draft: &Draft, built: &Built, problems: &mut Problems) {
    let definition = &draft.definition;
    let given = definition.scopes[scope].result.is_some();
    let at = &definition.scopes[scope].at;
    let ends: Vec<(&Node, bool)> = definition.scopes[scope]
        .nodes
        .iter()
        .map(|node| &definition.nodes[*node])
        .filter_map(|node| match &node.kind {
            Kind::End { result } => Some((node, result.is_some())),
            _ => None,
        })
        .collect();
    let with = ends.iter().filter(|(_, has)| *has).count();
    for (node, has) in &ends {
        if !has && !given && with > 0 {
            let message = format!(
                "{:?} has no result, though another end has one: add a result here, or to what is \
                 around it",
                node.id
            );
            problems.error(&node.at, message);
        }
        if !has && given && ends.len() > 1 && with > 0 {
            let message = format!(
                "{:?} gives the result of what is around it, while another end gives its own: add a \
                 result here, or mean it",
                node.id
            );
            problems.warning(&node.at, message);
        }
    }
    if given && !ends.is_empty() && with == ends.len() && only_ends(scope, draft, built) {
        let message = "is never used: every end has a result of its own; remove it, or theirs";
        problems.warning(&at.field("result"), message);
    }
    let wanted = scope != TOP || definition.outputs.is_some();
    if wanted && !given && with == 0 {
        let message = match scope {
            TOP => "has outputs but no result: add the result that they describe",
            _ => "has no result, so it gives null: add one, or an end with one",
        };
        if scope == TOP {
            problems.error(at, message);
        } else {
            problems.warning(at, message);
        }
    }
}

/// Whether every way through a scope that edges take unasked ends at an `end` or `fail`.
fn only_ends(scope: usize, draft: &Draft, built: &Built) -> bool {
    draft.definition.scopes[scope].nodes.iter().all(|index| {
        let node = &built.graph.nodes[*index];
        let leads_on = node.outgoing.iter().any(|edge| {
            let route = &built.graph.edges[*edge].route;
            matches!(route, Route::Always | Route::Cases { otherwise: true, .. })
        });
        matches!(node.role, Role::Compensation(_))
            || leads_on
            || draft.definition.nodes[*index].kind.is_last()
    })
}
