//! Links to other peers: one WebRTC data channel per neighbour, behind [`Links`].
//!
//! Rule: nothing outside of this module knows the `webrtc` crate, and nothing in it waits for its
//! owner: [`Links`] is used from the one task that owns the engine, every call returns at once,
//! and every queue has a bound that is in [`LinkConfig`] with its reason.
//!
//! It does not read messages, choose neighbours, or pace: that is the engine.
//!
//! # The stack and why
//!
//! `webrtc` =0.21.1, the async driver over the sans-IO core `rtc`. The settings that matter, all
//! in `session.rs` and `runtime.rs`:
//!
//! - **UDP buffers of 4 MiB**, set by our own [`webrtc::runtime::Runtime`], which delegates the
//!   rest to Tokio's. The crate leaves the system's 208 KiB: a burst overflows them, and each loss
//!   can cost SCTP's minimum retransmission time-out of a second.
//! - **SCTP receive window of 4 MiB**: with the default 1 MiB a link of 30 ms gets a third.
//! - **A limit on what SCTP holds** and an awaited `send`: without it, memory has no bound.
//! - **ICE checks every 20 ms** (default 200 ms) for at most 70 times, and peer-reflexive pairs
//!   accepted at once; and **the driver sleeps at most 5 ms while a link opens**, because it lets
//!   the first packet of the next handshake wait for ICE's 200 ms timer. Together 20 ms instead of
//!   600 ms on loopback.
//! - **ICE keep-alive of 1 s**, lost after 5 s of silence: a killed peer is noticed within that.
//! - **No mDNS**: host candidates are plain addresses, exchanged between introduced peers only;
//!   a browser's `.local` candidates need no resolver, as it reaches our host candidate.
//!
//! `benches/data_channel` measures it beside the bare core with the smallest fast driver (figures
//! in BENCHMARKS.md): with three chunks to a message it is as fast and as cheap; with one it costs
//! three times the CPU, as the crate wakes its driver per message. A viewer's few MB/s do not pay
//! for a driver of our own.
//!
//! # What is still to be sent
//!
//! [`Links::buffered`] is what was accepted by [`Links::send`] and has not left on a socket. Bytes
//! in flight do not count: SCTP reports its queue only together with what is unacknowledged, and a
//! backlog of two chunks measured that way would cap the uplink at two chunks per round trip. So
//! the runtime's socket counts the payload as it leaves (`meter.rs`), as Chromium's
//! `bufferedAmount` does.

mod config;
mod link;
mod links;
mod mapping;
mod meter;
mod runtime;
mod session;
#[cfg(test)]
mod tests;

pub use config::{IceServer, LinkConfig, local_address_towards};
pub use links::{
    CloseReason, FailReason, LinkEvent, Links, OpenError, SIGNAL_BYTES_MAX, SendError,
};
pub(crate) use mapping::mapping;
