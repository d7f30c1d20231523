//! The native agent beside a player: the shells around the pure engine.
//!
//! Rule: the engine decides; everything here moves bytes for it, and every queue has a bound.
//!
//! It holds no policy of its own: which peer sends what is the engine's and the tracker's choice.

mod agent;
mod clock;
#[cfg(fuzzing)]
pub mod fuzzing;
mod metrics;
mod origin;
mod playlist;
mod process;
mod proxy;
mod random;
mod rate;
mod site;
mod status;
mod stream;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
mod tls;
#[cfg(feature = "tls")]
mod tls;
mod token;
pub mod transport;

pub use agent::{Options, Running, StartError};
pub use rate::{InvalidRate, Rate};
pub use site::{InvalidSite, Site, parse_url};
pub use token::{InvalidToken, Token};
