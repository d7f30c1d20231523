//! The bounds of peer-assisted streaming for a given instance: what no system can beat.
//!
//! Rule: a bound is computed from the instance alone, never from what a run did, and errs only
//! towards being too generous: a system that beats one shows a defect here. Floating point is
//! fine, for nothing here decides what the simulated programs do. Rates are Mbit/s, amounts Mbit
//! and times seconds unless a name says otherwise; sums that viewers join and leave are kept in
//! whole bits, so that they come back to exactly where they were.

pub mod burst;
pub mod churn;
pub mod classes;
pub mod complete;
pub mod crowd;
pub mod flow;
mod nat;
pub mod patience;
pub mod snowball;
mod steps;
pub mod title;
pub mod window;

pub use nat::Nat;

/// One stay of one viewer in the swarm of one rendition. A viewer that changes its rendition is
/// several of these.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Viewer {
    /// When it joins, seconds from the start of the event.
    pub join_s: f64,
    /// When it leaves, seconds from the start: it counts until then.
    pub leave_s: f64,
    /// Upload that it can use for the swarm, Mbit/s.
    pub upload_mbps: f64,
    /// Its address translation.
    pub class: Nat,
    /// What it watches: viewers help only those of the same rendition.
    pub rendition: u16,
    /// The rate of that rendition, Mbit/s; the same for all viewers of it.
    pub rate_mbps: f64,
}

/// Bits in a megabit, the unit of rates and amounts outside this module.
const BITS_PER_MBIT: f64 = 1e6;

/// An upload in whole bits per second, rounded up, so that the bound stays generous. Less than a
/// thousandth of a bit is the noise of floating point. Negative or not a number counts as none.
fn upload_bps(mbps: f64) -> u64 {
    (mbps * BITS_PER_MBIT - 1e-3).ceil() as u64
}

/// A rendition's rate in the nearest whole bits per second.
fn rate_bps(mbps: f64) -> u64 {
    (mbps * BITS_PER_MBIT).round() as u64
}

/// Bits as megabits.
fn mbit(bits: u64) -> f64 {
    bits as f64 / BITS_PER_MBIT
}

/// The part of a demand that the origin need not send; zero where there is no demand.
fn offload(origin: f64, demand: f64) -> f64 {
    if demand > 0.0 { 1.0 - origin / demand } else { 0.0 }
}
