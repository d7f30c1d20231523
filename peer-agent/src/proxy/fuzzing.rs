//! What the fuzzer calls. Compiled for it alone.

use super::range::{Asked, Part};

/// A range header over an object of `total` bytes.
///
/// # Panics
/// If the part lies outside.
pub fn range(header: &str, total: u32) {
    if let Some(part) = Part::of(Asked::parse(Some(header)).byte_range(), total) {
        assert!(part.start < part.end && part.end <= total && part.len() > 0);
        assert!(part.content_range().ends_with(&format!("/{total}")));
    }
}
