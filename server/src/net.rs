//! Sockets: listeners, and connections whose bytes are counted.

mod listener;
mod meter;

pub(crate) use listener::{Listener, Service};
pub(crate) use meter::{Account, ConnectionMeter, ListenerMeter};
