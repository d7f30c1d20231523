//! Why a text is of no use as a playlist.
//!
//! Rule: a sentence, with the line counted from 1. What can be kept as it is, is no error.

/// Why a playlist cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaylistError {
    /// No UTF-8.
    #[error("the playlist is not UTF-8 text")]
    Text,
    /// Something else than a playlist.
    #[error("the playlist does not begin with #EXTM3U")]
    NoHeader,
    /// A tag that must be understood is not.
    #[error("line {line}: the value of #EXT{tag} does not parse")]
    Value {
        /// From 1.
        line: usize,
        /// What follows #EXT in its name.
        tag: &'static str,
    },
    /// EXTINF is missing.
    #[error("line {0}: the segment has no #EXTINF")]
    NoDuration(usize),
    /// A `{$name}` or an IMPORT of what is not there.
    #[error("line {line}: the variable `{name}` is not defined")]
    Variable {
        /// From 1.
        line: usize,
        /// The variable's name.
        name: String,
    },
    /// A byte range ends past what a number can say.
    #[error("line {0}: the byte range has no end")]
    Range(usize),
    /// Above [`LINES_MAX`](crate::LINES_MAX), or variables that grow without bound.
    #[error("line {0}: the playlist is too long")]
    TooLong(usize),
}
