//! The inference processor: model requests in, tokens and one answer out.
//!
//! What a call does next is decided by [`domain::model_call`], purely; how a provider is asked is the
//! business of `model`; when anything is folded, sent or started again is the runtime's. Here the three
//! are joined: [`admission`] says what is taken in, `step` carries the machine's decisions out, `chunks`
//! puts tokens on their way while a call runs, `large` fetches and keeps what is too large for a record,
//! `spans` tells a collector what happened.
//!
//! Nothing here names Kafka, keeps state of its own, or writes a prompt or an answer anywhere but into
//! the records that are for them.

pub mod admission;
mod chunks;
mod coalesce;
mod content;
mod large;
mod metrics;
mod models;
mod processor;
mod row;
mod spans;
mod step;

pub use metrics::describe;
pub use models::{Models, Unfit};
pub use processor::Inference;

#[cfg(test)]
mod tests;
