//! The segment scheduler: the swarm as the tracker sees it, and who is fed by whom.
//!
//! Rule: the same config, seed and inputs give the same outputs, byte for byte. It reads no clock,
//! owns no socket, takes no lock, and never sees a media byte.
#![no_std]

extern crate alloc;

mod input;
mod output;

pub use input::{Input, Place, Profile, Published};
pub use output::Output;
