//! The routes, over fakes of topics and broker.

mod clouds;
mod crossing;
mod definitions;
mod edges;
mod large;
mod listing;
mod openai;
mod ours;
mod replays;
mod responses;
mod surface;
pub(crate) mod world;

use super::*;
