//! Names the nodes of each cycle, so that its author finds the edge to take out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Built;
use crate::workflow::compile::graph::Route;
use crate::workflow::problem::Problems;
use crate::workflow::read::Draft;

/// Notes one cycle for each knot among the nodes that have no order.
pub(super) fn note(
    draft: &Draft,
    built: &Built,
    unordered: &BTreeSet<usize>,
    problems: &mut Problems,
) {
    let mut done = BTreeSet::new();
    for node in unordered {
        if done.contains(node) {
            continue;
        }
        let Some(edges) = shortest_cycle(built, unordered, *node) else { continue };
        done.extend(knot(built, unordered, *node));
        report(draft, built, &edges, problems);
    }
}

fn report(draft: &Draft, built: &Built, edges: &[usize], problems: &mut Problems) {
    let id = |node: usize| draft.definition.nodes[node].id.as_str();
    let graph = &built.graph;
    let mut names: Vec<&str> = edges.iter().map(|edge| id(graph.edges[*edge].from)).collect();
    names.extend(names.first().copied());
    let way = names.join(" -> ");
    match edges.iter().find(|edge| graph.edges[**edge].route == Route::Failure) {
        Some(edge) => {
            let failed = id(graph.edges[*edge].from);
            let message = format!(
                "the error branch of {failed:?} leads back to it ({way}): use retry to try again, or \
                 put what repeats into the body of a loop"
            );
            problems.error(&built.edge_at[*edge], message);
        }
        None => {
            let message = format!(
                "closes a cycle ({way}): remove the edge, or put what repeats into the body of a loop"
            );
            if let Some(last) = edges.last() {
                problems.error(&built.edge_at[*last], message);
            }
        }
    }
}

/// The edges of a shortest way from a node back to itself.
fn shortest_cycle(built: &Built, within: &BTreeSet<usize>, start: usize) -> Option<Vec<usize>> {
    let graph = &built.graph;
    let mut came_by: BTreeMap<usize, usize> = BTreeMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(node) = open.pop_front() {
        for edge in &graph.nodes[node].outgoing {
            let to = graph.edges[*edge].to;
            if to == start {
                let mut way = vec![*edge];
                let mut at = node;
                while at != start {
                    let edge = came_by.get(&at)?;
                    way.push(*edge);
                    at = graph.edges[*edge].from;
                }
                way.reverse();
                return Some(way);
            }
            if within.contains(&to) && !came_by.contains_key(&to) {
                came_by.insert(to, *edge);
                open.push_back(to);
            }
        }
    }
    None
}

/// The nodes that both lead to `start` and come after it.
fn knot(built: &Built, within: &BTreeSet<usize>, start: usize) -> BTreeSet<usize> {
    let graph = &built.graph;
    let reach = |next: &dyn Fn(usize) -> Vec<usize>| {
        let mut reached = BTreeSet::from([start]);
        let mut open = vec![start];
        while let Some(node) = open.pop() {
            for to in next(node) {
                if within.contains(&to) && reached.insert(to) {
                    open.push(to);
                }
            }
        }
        reached
    };
    let after = reach(&|node| {
        graph.nodes[node].outgoing.iter().map(|edge| graph.edges[*edge].to).collect()
    });
    let before = reach(&|node| {
        graph.nodes[node].incoming.iter().map(|edge| graph.edges[*edge].from).collect()
    });
    after.intersection(&before).copied().collect()
}
