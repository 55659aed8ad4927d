//! Schedules: at which times a workflow is to start.
//!
//! Pure: no clock, and no time zones of the machine.

pub mod definition;

mod calendar;
mod cron;

#[cfg(test)]
mod tests;
