//! Nothing that compiles may get stuck by its shape: random definitions compile, and a naive walker that
//! decides everything by chance always comes to an end with every node decided. On its way it holds what
//! the analysis takes for certain against what happens.

pub(in crate::workflow) mod enrich;
pub(in crate::workflow) mod generate;
mod walk;

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{compiles, edge, graph, json_schema, listed, step};
use crate::workflow::compile::{Edge, Route, certain, compile};
use generate::Chance;
use walk::{Seen, Wrong, walk};

/// How many graphs a run of the tests walks ...
const GRAPHS: u32 = 2_500;
/// ... and how often each.
const WALKS: u64 = 4;

#[test]
fn nothing_that_compiles_gets_stuck() {
    let published = json_schema::validator();
    let seen = RefCell::new(Seen::default());
    let config = Config { cases: GRAPHS, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&prop::collection::vec(any::<u32>(), 1..200), |choices| {
            let definition = generate::definition(&mut Chance::new(choices.clone()));
            let compiled = match compile(&definition) {
                Ok(compiled) => compiled,
                Err(problems) => {
                    return Err(TestCaseError::fail(format!(
                        "{}{definition:#}",
                        listed(&problems)
                    )));
                }
            };
            prop_assert!(published.is_valid(&definition), "not in the schema: {definition:#}");
            let certain = certain(&definition);
            for walked in 0..WALKS {
                let mut seen = seen.borrow_mut();
                let first = u64::from(choices[0]);
                if let Err(wrong) = walk(&compiled, &certain, first.wrapping_add(walked), &mut seen)
                {
                    return Err(TestCaseError::fail(format!("{wrong:?} in {definition:#}")));
                }
            }
            Ok(())
        })
        .expect("no graph gets stuck");
    let seen = seen.into_inner();
    for (what, count) in seen.counts() {
        assert!(count > 100, "the walks hardly tried {what}: {seen:#?}");
    }
}

#[test]
fn walker_notices_what_is_stuck() {
    let definition = graph(
        serde_json::json!([step("a"), step("b"), step("c")]),
        serde_json::json!([edge("a", "b"), edge("b", "c")]),
    );
    let mut compiled = compiles(&definition);
    let certain = certain(&definition);
    walk(&compiled, &certain, 1, &mut Seen::default()).expect("a chain ends");
    // What no definition that compiles has: an edge back.
    let back = compiled.graph.edges.len();
    compiled.graph.edges.push(Edge { from: 2, to: 1, route: Route::Always });
    compiled.graph.nodes[2].outgoing.push(back);
    compiled.graph.nodes[1].incoming.push(back);
    // Some walks end before they get there, as `a` fails.
    let stuck: Vec<_> = (0..20)
        .filter_map(|seed| walk(&compiled, &certain, seed, &mut Seen::default()).err())
        .collect();
    assert!(!stuck.is_empty());
    assert!(
        stuck.iter().all(|stuck| *stuck == Wrong::Stuck { undecided: vec![1, 2] }),
        "{stuck:?}"
    );
}
