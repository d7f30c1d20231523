//! The native agent beside a player: the shells around the pure engine.
//!
//! Rule: the engine decides; everything here moves bytes for it, and every queue has a bound.
//!
//! It holds no policy of its own: which peer sends what is the engine's and the tracker's choice.

pub mod transport;
