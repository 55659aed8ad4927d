//! The command line's way to the topics: requests from files, copies of ranges of topics, and topics as
//! text that people read.
//!
//! It reaches a cluster through the ports alone and knows no broker. It decides nothing about executions;
//! a request is judged by its shape, so that a mistake is found before anything stands on a topic. It
//! never reads the command line, and prints nothing but progress.

mod check;
pub mod decode;
mod delivery;
mod fill;
pub mod input;
pub mod moment;
pub mod pace;
pub mod progress;
pub mod replay;
pub mod request;
pub mod results;
pub mod run;
mod shape;
pub mod tail;
pub mod topic;
mod view;

#[cfg(test)]
mod tests;
