//! What the fuzzer calls. Compiled for it alone.

use super::encoder_playlist::{EncoderPlaylist, Place};
use shoal_playlist::Variables;

/// The uploads that a playlist names, pushed to `path` in some stream.
pub(crate) fn names(path: &str, playlist: &[u8]) -> Vec<String> {
    let place = Place { stream: "stream", path, shown: path };
    match EncoderPlaylist::parse(playlist, place, &Variables::default()) {
        Ok(EncoderPlaylist::Media(media)) => {
            let maps = media.entries.iter().filter_map(|entry| entry.map.as_ref());
            let maps: Vec<_> = maps.map(|map| map.piece.name.clone()).collect();
            let segments = media.entries.into_iter().filter(|entry| !entry.gap);
            segments.map(|entry| entry.piece.name).chain(maps).collect()
        }
        Ok(EncoderPlaylist::Master(_)) | Err(_) => Vec::new(),
    }
}
