//! Any range header over any length, at the origin and at the agent: what is selected lies within.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u32, &str)| {
    let (len, header) = input;
    shoal_server::fuzzing::range(header, len.into());
    shoal_agent::fuzzing::range(header, len);
});
