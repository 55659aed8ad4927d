//! The routes, over fakes of topics and broker.

mod openai;
mod ours;
mod surface;
pub(crate) mod world;

use super::*;
