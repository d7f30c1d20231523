//! The bounds of peer-assisted streaming for a given instance: what no system can beat.
//!
//! Rule: a bound is computed from the instance alone, never from what a run did, and errs only
//! towards being too generous: a system that beats one shows a defect here. Floating point is
//! fine, for nothing here decides what the simulated programs do. Rates are Mbit/s, amounts Mbit
//! and times seconds unless a name says otherwise; sums that viewers join and leave are kept in
//! whole bits, so that they come back to exactly where they were.

mod nat;

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
