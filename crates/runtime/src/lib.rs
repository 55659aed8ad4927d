//! The log-first runtime: a processor author writes a pure `step` and, where one is needed, an async
//! call; admission, folding, copy detection, timers, calls, checkpoints and take-overs are done here.
//!
//! [`partition::Partition`] is the machine of one partition: facts in, effects out, no clock, no
//! network. [`worker::Worker`] is the loop that drives it over the [`ports`], which carry bytes.
//! Nothing here names Kafka.

pub mod context;
pub mod partition;
pub mod ports;
pub mod processor;
#[cfg(any(test, feature = "simulation"))]
pub mod sim;
pub mod testing;
pub mod worker;
