//! The named invariants. Being built.
