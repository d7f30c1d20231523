//! The server as encoders, players, viewers and operators meet it: real sockets, port 0.
//!
//! Rule: nothing waits for a fixed time; what should happen is awaited, and a hang is a failure.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of message")]

mod abuse;
mod admission;
mod control;
#[cfg(unix)]
mod crowd;
mod dashboard;
mod epochs;
mod ffmpeg;
mod formats;
mod harness;
mod low_latency;
mod operator;
mod outside;
mod pages;
mod playback;
mod push;
mod recordings;
mod restart;
mod tls;
mod tracker;
mod upstream;
mod upstream_nginx;
