//! Sockets: listeners, and connections whose bytes are counted.

#[cfg(feature = "tls")]
mod client;
#[cfg(not(feature = "tls"))]
#[path = "net/plain_client.rs"]
mod client;
mod listener;
mod meter;
mod stun;
mod tls;
mod websocket;

pub(crate) use client::{SPEAKS_TLS, client};
pub(crate) use listener::{Connection, Listener, Service};
pub(crate) use meter::{Account, ConnectionMeter, ListenerMeter, Metered};
pub(crate) use stun::Stun;
pub(crate) use tls::Certificate;
#[cfg(fuzzing)]
pub(crate) use websocket::fuzzing;
pub(crate) use websocket::{Broken, Upgrade, WebSocket};
