//! The agent as players, pages, origins and trackers meet it: real sockets, port 0.
//!
//! Rule: nothing waits for a fixed time; what should happen is awaited, and a hang is a failure.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;
mod low_latency;
mod play;
mod proxy;
mod stream;
mod token;
mod upstream;
