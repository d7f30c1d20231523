//! One viewer's engine for a page: the `peer` crate behind functions that JavaScript can call.
//!
//! Rule: nothing is decided here. It reads and writes messages, names objects as text, and turns
//! what the engine asks for into calls of the page's [`Host`]. It touches no socket, no timer and
//! no DOM.

mod core;
mod host;
mod status;

pub use crate::core::Core;
pub use host::Host;

use shoal_wire::{ObjectId, PeerMessage};
use wasm_bindgen::prelude::wasm_bindgen;

/// The protocol that hellos of this build speak.
#[wasm_bindgen(js_name = protocol)]
pub fn protocol() -> u32 {
    shoal_wire::PROTOCOL
}

/// This build's version.
#[wasm_bindgen(js_name = version)]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// What Shoal calls the object at a URL's path (query and all), or nothing if it is none of our
/// origin's. Equal objects have equal names, whatever the URL.
#[wasm_bindgen(js_name = objectName)]
pub fn object_name(path: &str) -> Option<String> {
    ObjectId::from_url_path(path).map(ObjectId::file_stem)
}

/// A data channel message read and written again: what the tests of the layout compare.
/// Nothing if it is none.
#[wasm_bindgen(js_name = peerMessageRoundTrip)]
pub fn peer_message_round_trip(message: Vec<u8>) -> Option<Vec<u8>> {
    PeerMessage::decode(message.into()).ok().map(|message| message.encode().to_vec())
}
