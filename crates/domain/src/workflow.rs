//! Workflows as data: what a definition says, what it means, and everything that is wrong with one.
//!
//! Pure: no clock, no I/O, and no execution either. What runs a workflow takes a [`compile::Compiled`]
//! and needs no further check; what comes here is JSON, so whoever has YAML turns it into JSON first.
//!
//! # What a definition means
//!
//! **Scopes.** The nodes of a definition form one *scope*, and the body of each `map` and `loop` is a
//! scope of its own. Edges stay within a scope; ids are unique in the whole definition. The graph of a
//! scope has no cycle: repetition exists only as `loop`.
//!
//! **Edges.** The `edges` of a scope, the cases of a `switch` (from the switch to `to`) and `onError`
//! (from the node to its error branch) are all edges. An edge is *decided* when its source is: it is
//! *taken* when the source succeeded and its `when` holds (for a case: when it is the first that holds;
//! for `onError`: when the source failed), else it is not taken.
//!
//! **Running.** A node runs when all its incoming edges are decided and at least one is taken. When none
//! is taken it is *skipped*, and none of its outgoing edges is taken: dead paths are walked to their
//! end, so nothing waits for ever. Nodes without incoming edges start at once, except those that are only
//! there as a `compensate` target.
//!
//! **Failing.** A node that fails after its retries gives its `default` as its output, if it has one, and
//! counts as succeeded. Else its `onError` edge is taken. Else, when all its edges lead to joins, it
//! arrives there as a failure. Else its scope fails: the body's item, the iteration, the execution. A
//! condition that can't be evaluated fails the scope.
//!
//! **Joins** may go on before all edges are decided, and only joins may. What can still run and leads to
//! nothing but the join is then cancelled ([`compile::Node::losers`]).
//!
//! | policy | goes on | fails | output |
//! |---|---|---|---|
//! | `all` | when all are decided | at the first failure | list of the outputs that arrived |
//! | `any` | at the first that arrives | when all failed | that output |
//! | `{atLeast: n}` | at the n-th | when n can't be reached and one has arrived or failed | list |
//! | `{tolerate: k}` | when all are decided | at failure k + 1, or when nothing else arrived | list |
//! | `{firstValid: schema}` | at the first output that the schema accepts | when none is left | that output |
//!
//! Lists are in the order of the incoming edges. Edges that aren't taken count neither as arrived nor as
//! failed; a join of which no edge is taken and none failed is skipped, as any node. `deadline` counts
//! from the start of the first node with an edge to the join; what isn't decided then counts as failed.
//!
//! **Ending.** A scope ends when every node is decided, or when an `end` runs (the rest is cancelled).
//! Its value is the `result` of that `end`, else the scope's own `result`, else null. A `map` gives the
//! list of its items' values in order (`onItemError: skip` leaves failed ones out, `keep` puts
//! `{"error": ...}` in their place). A `loop` gives the value of its last iteration: `while` is asked
//! before each, `until` after each; `last` is null before the first and `iteration` counts from 0. It
//! fails when `maxIterations` are done and it would go on.
//!
//! **Compensation.** When an execution fails or is cancelled, the `compensate` nodes of the nodes that
//! succeeded run in reverse order. They have no edges.
//!
//! **Names in expressions.** `inputs`, `variables`, `execution.id`, `nodes.<id>.status`, and, of a node
//! that succeeded, `.output`, of one that failed, `.error`; the others are undefined, and reading what is
//! undefined fails, unless `default` or `is defined` says what then. In the body of a `map` its `as` and
//! `index`; in that of a `loop` `iteration` and `last`. Variables see only inputs.

pub mod admitted;
pub mod compile;
pub mod definition;
pub mod diff;
pub mod fields;
pub mod history;
pub mod import;
pub mod limit;
pub mod mermaid;
pub mod problem;
pub mod run;
pub mod schema;
pub mod stored;
pub mod template;

pub(crate) mod reader;

mod duration;
mod expression;
mod read;

/// The JSON Schema (draft 2020-12) of definitions, for editors.
pub const SCHEMA: &str = include_str!("../../../schemas/json/workflow.schema.json");

#[cfg(test)]
mod tests;
