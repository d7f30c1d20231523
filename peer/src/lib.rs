//! One viewer's engine: transfers, relay, repair, deadlines, chunk store.
//!
//! Rule: no byte leaves it towards a neighbour that failed its hash, and for every byte that a
//! player misses there is an instant after which it is fetched from the origin. It reads no clock,
//! owns no socket, takes no lock, and does not know the tracker's plan beyond its own part.
#![no_std]

extern crate alloc;

mod answer;
mod backlog;
mod children;
mod chunk_set;
mod clock;
mod config;
mod demand;
mod engine;
mod feed;
mod input;
mod neighbour;
mod news;
mod object;
mod origin;
mod output;
mod pull;
mod receive;
mod relay;
mod repair;
mod report;
mod request;
mod serve;
mod session;
mod spare;
mod store;
mod table;
mod timers;
mod turns;
mod uplink;
mod verify;

pub use config::Config;
pub use engine::Engine;
pub use feed::Parent;
pub use input::{ByteRange, FetchId, Input, OriginFailure, RequestId};
pub use output::{FallbackReason, Offence, Output};
pub use report::{NeighbourStatus, Status, SubstreamStatus};
pub use verify::{CheckSignature, Verifier};
