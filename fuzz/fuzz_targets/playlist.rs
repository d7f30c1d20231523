//! Any text as a playlist: reading it never panics, rewriting nothing changes nothing, and
//! rewriting the URIs changes nothing else.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shoal_playlist::{Context, Playlist, rewrite, uris};

/// What every URI becomes: no text that a playlist gives a meaning to.
const OTHER: &str = "other";

fuzz_target!(|data: &[u8]| {
    let _ = Playlist::parse(data, Context::default());
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert_eq!(rewrite(text, |_| None), text);
    let changed = rewrite(text, |_| Some(OTHER.to_owned()));
    let kinds = |text: &str| uris(text).map(|uri| (uri.kind, uri.line)).collect::<Vec<_>>();
    assert_eq!(kinds(&changed), kinds(text));
    assert!(uris(&changed).all(|uri| uri.text == OTHER));
    // Back to what they were: so no other byte was touched.
    let mut before = uris(text).map(|uri| uri.text.to_owned());
    assert_eq!(rewrite(&changed, |_| before.next()), text);
    shoal_agent::fuzzing::show_playlist(text);
});
