//! The segment scheduler: the swarm as the tracker sees it, and who is fed by whom.
//!
//! Rule: the same config, seed and inputs give the same outputs, byte for byte. It reads no clock,
//! owns no socket, takes no lock, and never sees a media byte.
#![no_std]

extern crate alloc;

mod acting;
mod adopt;
mod attach;
mod audit;
mod capacity;
mod config;
mod demand;
mod engine;
pub mod forest;
mod homes;
mod input;
mod join;
mod links;
mod membership;
mod objects;
mod output;
mod peers;
mod places;
mod rebalance;
mod sessions;
mod shared;
mod sources;
mod stamp;
mod swarm;
mod trade;
mod tree;
mod trust;
mod view;

pub use audit::Fault;
pub use config::Config;
pub use engine::Tracker;
pub use forest::Forest;
pub use input::{Input, Mapping, Place, Profile, Published};
pub use output::Output;
pub use shared::Counts;
pub use view::{SwarmView, View};
