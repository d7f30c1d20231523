//! Sockets: listeners, and connections whose bytes are counted.

mod listener;
mod meter;
mod stun;
mod tls;
mod websocket;

pub(crate) use listener::{Connection, Listener, Service};
pub(crate) use meter::{Account, ConnectionMeter, ListenerMeter, Metered};
pub(crate) use stun::Stun;
pub(crate) use tls::Certificate;
pub(crate) use websocket::{Broken, Upgrade, WebSocket};
