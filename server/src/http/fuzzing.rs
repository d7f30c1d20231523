//! What the fuzzer calls: it sees public items only. Compiled for it alone.

use super::push_path::PushPath;
use super::range::{Selected, select};
use axum::http::{HeaderMap, HeaderValue, header};

/// A range header over a representation of `len` bytes.
///
/// # Panics
/// If what is selected lies outside.
pub fn range(text: &str, len: u64) {
    let mut headers = HeaderMap::new();
    let Ok(value) = HeaderValue::from_str(text) else { return };
    headers.insert(header::RANGE, value);
    match select(&headers, len, "\"tag\"") {
        Selected::Part(first, last) => {
            assert!(first <= last && last < len && last - first + 1 < len)
        }
        Selected::Whole | Selected::Unsatisfiable => {}
    }
}

/// A playlist pushed to `path`.
///
/// # Panics
/// If a path outside of the stream is accepted, or named.
pub fn push(path: &str, body: &[u8]) {
    if let Ok(PushPath { path, .. }) = PushPath::parse(path) {
        assert_inside(&path);
        crate::origin::fuzzing::names(&path, body).iter().for_each(|name| assert_inside(name));
    }
}

fn assert_inside(path: &str) {
    let absolute = path.starts_with('/') || path.contains('\\') || path.contains('\0');
    assert!(!absolute && path.split('/').all(|part| !matches!(part, "" | "." | "..")), "{path:?}");
}
