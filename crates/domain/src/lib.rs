//! What Stepstream talks about: requests, facts, events, definitions, and the pure machines over them.
//!
//! Nothing here reads a clock, draws a random number, awaits or touches a network. Time, ids and
//! randomness are arguments; new ids are derived from the ids of what led to them. How a record is
//! written as bytes is the business of `schemas`.

pub mod answer;
pub mod catalogue;
pub mod claim;
pub mod event;
pub mod fact;
pub mod id;
pub mod invariants;
pub mod json_place;
pub mod log_row;
pub mod model_call;
pub mod model_definition;
pub mod partition;
pub mod request;
pub mod schedule;
pub mod script;
pub mod state;
pub mod time;
pub mod topic;
pub mod trace;
pub mod workflow;
