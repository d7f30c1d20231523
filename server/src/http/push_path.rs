//! The path of a push, checked.
//!
//! Rule: a [`PushPath`] names something inside a stream and has an extension that says what it is.

use crate::origin::object::{content_type, extension};

/// Most bytes of a path; file systems and encoders stay below it.
const PATH_BYTES_MAX: usize = 512;
/// Most components: directories for variant, kind and language, with room.
const DEPTH_MAX: usize = 8;

/// What is pushed, by its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A playlist.
    Playlist,
    /// A segment or an init section.
    Media,
    /// A decryption key.
    Key,
    /// DASH's playlist, which encoders push beside those of HLS: taken, and not kept.
    Manifest,
}

/// A path inside a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PushPath {
    pub(super) path: String,
    pub(super) kind: Kind,
}

/// A path that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadPath {
    #[error("the path is not one inside a stream")]
    Outside,
    #[error(
        "the extension of `{0}` is not one of a playlist, a segment or a key (.m3u8 .ts .m4s .mp4 \
         .aac .vtt .key …)"
    )]
    Extension(String),
}

impl PushPath {
    /// Checks the decoded path.
    pub(super) fn parse(path: &str) -> Result<Self, BadPath> {
        let inside = path.len() <= PATH_BYTES_MAX
            && path.split('/').count() <= DEPTH_MAX
            && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && !path.chars().any(|c| c.is_control() || matches!(c, '\\' | '?' | '#' | '"'));
        if !inside {
            return Err(BadPath::Outside);
        }
        let kind = match extension(path) {
            Some("m3u8") => Kind::Playlist,
            Some("key" | "bin") => Kind::Key,
            Some("mpd") => Kind::Manifest,
            Some(_) if content_type(path).is_some() => Kind::Media,
            Some(_) | None => return Err(BadPath::Extension(path.to_owned())),
        };
        Ok(Self { path: path.to_owned(), kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        assert_eq!(PushPath::parse("a/b.ts").map(|path| path.kind), Ok(Kind::Media));
        assert_eq!(PushPath::parse("i.m3u8.key").map(|path| path.kind), Ok(Kind::Key));
        assert_eq!(PushPath::parse("i.m3u8").map(|path| path.kind), Ok(Kind::Playlist));
        for path in
            ["", "/a.ts", "../a.ts", "a/../b.ts", "a//b.ts", "a\\b.ts", "a\0.ts", "a/./b.ts"]
        {
            assert_eq!(PushPath::parse(path), Err(BadPath::Outside), "{path:?}");
        }
        assert_eq!(PushPath::parse(&"a/".repeat(8)), Err(BadPath::Outside));
        for path in ["a.exe", "a", "ts"] {
            assert!(matches!(PushPath::parse(path), Err(BadPath::Extension(_))), "{path:?}");
        }
    }
}
