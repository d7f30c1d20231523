//! Playlists: what a player is shown, from the origin's text and from signed digests.
//!
//! Rule: functions over text. Nothing here fetches, waits or reads a clock; every byte that need
//! not change stays as it came.

mod rewrite;
mod window;

pub(crate) use rewrite::{Rewriter, is_playlist_type, uris};
pub(crate) use window::{Append, Window};
