//! A deterministic world in which the real tracker and real peers run, on one thread of virtual
//! time, and the bounds that no system can beat.
//!
//! Rule: same scenario and seed, same run, byte for byte.

pub mod figures;
pub mod oracle;
