//! Any bytes as a message of a peer: what is understood is written again in the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shoal_wire::PeerMessage;

fuzz_target!(|data: &[u8]| {
    let bytes = bytes::Bytes::copy_from_slice(data);
    if let Ok(message) = PeerMessage::decode(bytes) {
        assert_eq!(message.encode(), data);
    }
});
