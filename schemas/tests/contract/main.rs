//! The contract as outsiders and other versions of ourselves meet it. apache-avro is the second opinion:
//! it writes and reads the same bytes by the schema alone.

#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves out their helpers")]

extern crate stepstream_schemas as schemas;

mod codec;
mod evolution;
mod framing;
mod hostile;
mod released;
mod upgrades;
mod values;
