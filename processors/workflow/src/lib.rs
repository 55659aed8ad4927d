//! The workflow processor: starts in, steps and one result out.
//!
//! What an execution does next is decided by [`domain::workflow::run`], purely; when anything is folded,
//! sent or started again is the runtime's. Here the two are joined: [`admission`] says what is taken in and
//! by which version it runs, `programs` compiles each version once, `memory` gives the machine its entries,
//! `step` carries its decisions out, `places` lets so many executions run at once as their workflow says,
//! `events` publishes what a node `emit` says.
//!
//! A schedule is an execution as well, which starts others: [`domain::schedule`] says when, `schedules` joins
//! it to the runtime, and [`announcer`] brings definitions of schedules from the catalogue into the feed.
//!
//! Nothing here names Kafka or keeps state of its own.

pub mod admission;
pub mod announcer;
mod events;
mod memory;
mod metrics;
mod places;
mod processor;
mod programs;
mod row;
mod schedules;
mod step;

pub use metrics::describe;
pub use processor::Workflows;
pub use programs::{Programs, Unfit};

#[cfg(test)]
mod tests;
