//! Checkpoints of one partition: in transactions on a real cluster, in the process on the embedded one.

mod kept;
pub mod outcome;
mod traces;
mod transactional;

pub(crate) use kept::{InProcess, Rows};
pub use kept::{Kept, KeptKey};
pub(crate) use transactional::Transactional;
