//! Sockets: listeners, and connections whose bytes are counted.

mod listener;
mod meter;
mod tls;

pub(crate) use listener::{Listener, Service};
pub(crate) use meter::{Account, ConnectionMeter, ListenerMeter};
pub(crate) use tls::Certificate;
