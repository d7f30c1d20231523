//! What an encoder pushes to: any path and query, and any playlist under it. Nothing that is
//! accepted names a file outside its stream.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The path, a zero, the body.
    let mut fields = data.splitn(2, |&byte| byte == 0);
    let (path, body) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    if let Ok(path) = std::str::from_utf8(path) {
        shoal_server::fuzzing::push(path, body);
    }
});
