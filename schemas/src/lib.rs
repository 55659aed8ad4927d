//! The contract in bytes: the records' schemas (`*.avsc`), their codecs, and Confluent framing.
//!
//! The `.avsc` files are the contract; the Rust types are the domain's, and tests hold the two together.
//! Nothing here talks to a registry or a broker. Reading turns every kind of bad input into an error
//! that names the record and the field, and never quotes a value.

pub mod asyncapi;
pub mod command;
pub mod fact;
mod foreign;
mod ids;
mod record;
pub mod samples;
pub mod subjects;
mod symbols;
mod wire;

pub use foreign::{
    MAX_FIXED_BYTES, MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, MAX_SCHEMA_TYPES, MAX_VALUES,
    SchemaRefused, check_full,
};
pub use ids::{FrameError, Ids, NotOurs, ReadError, schema_id};
pub use record::{ALL, Declared, Record, declared};
pub use subjects::SUBJECTS;
pub use wire::{DecodeError, Field, Problem, Reader};
