//! Following executions: one reader of `results` and `stream` in a process, shared by everyone who waits
//! for an answer or watches tokens arrive.
//!
//! A [`Hub`] reads both topics from their end; its [`Handle`] makes a [`Following`] for one execution of
//! one tenant, and a [`Feed`] for a connection that follows several things. Copies are dropped, text is put in order, a slow follower is bounded ([`queue`]), and
//! another tenant's records are never passed on. It keeps no history: that is the store's.

pub mod feed;
mod hub;
pub mod json;
pub mod metrics;
pub mod order;
pub mod queue;
mod recent;

pub use feed::{Fed, Feed, Record};
pub use hub::{Following, Handle, Hub, Options, Parts, Resolve};
pub use queue::Followed;
