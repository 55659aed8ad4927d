//! Calls through the public interface: against the scripted provider behind real HTTP where the wire
//! matters, and in the process under paused time where waiting matters.

mod faults;
mod native;
mod operations;
mod places;
mod policy;
mod quirks;
mod secrets;
mod support;
mod telemetry;
