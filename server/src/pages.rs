//! The pages that are built into this binary: found by path, with an entity tag each.
//!
//! Rule: nothing is read from disk and nothing changes while the server runs. A file that was
//! built with a `.gz` beside it is given in both forms; the tag of each is its own.

use bytes::Bytes;
use std::collections::BTreeMap;

/// What is said where the pages are missing.
pub(crate) const ABSENT: &str =
    "this server was built without its pages: run `cargo xtask web`, then build again\n";

/// Every file as the build found it.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// All files by path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pages(BTreeMap<&'static str, Page>);

/// A file.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) content_type: &'static str,
    pub(crate) plain: Form,
    pub(crate) gzip: Option<Form>,
}

/// One way to send a file.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    pub(crate) bytes: Bytes,
    /// Strong: the bytes are what it says.
    pub(crate) etag: String,
}

impl Form {
    fn new(bytes: &'static [u8]) -> Self {
        let hash = blake3::hash(bytes).to_hex();
        Self { bytes: Bytes::from_static(bytes), etag: format!("\"{}\"", &hash[..32]) }
    }
}

impl Pages {
    /// Those in this binary.
    pub(crate) fn built_in() -> Self {
        Self::of(FILES)
    }

    pub(crate) fn of(files: &[(&'static str, &'static [u8])]) -> Self {
        let bytes = |path: &str| files.iter().find(|file| file.0 == path).map(|file| file.1);
        let plain = files.iter().filter(|(path, _)| !path.ends_with(".gz"));
        let page = |bytes_plain, path: &'static str| Page {
            content_type: content_type(path),
            plain: Form::new(bytes_plain),
            gzip: bytes(&format!("{path}.gz")).map(Form::new),
        };
        Self(plain.map(|(path, bytes)| (*path, page(*bytes, path))).collect())
    }

    /// The file at `path`, relative to the build's folder.
    pub(crate) fn find(&self, path: &str) -> Option<&Page> {
        self.0.get(path)
    }

    /// Whether there are none at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The type by a path's extension; what the build does not make is bytes.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "wasm" => "application/wasm",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_both_forms_where_both_were_built() {
        let pages = Pages::of(&[
            ("page/a.css", b"body{}"),
            ("sdk/shoal.js", b"export{}"),
            ("sdk/shoal.js.gz", b"smaller"),
        ]);
        let page = pages.find("sdk/shoal.js").unwrap();
        assert_eq!(page.content_type, "text/javascript; charset=utf-8");
        let gzip = page.gzip.as_ref().unwrap();
        assert_eq!(&gzip.bytes[..], b"smaller");
        assert_ne!(gzip.etag, page.plain.etag);
        assert!(pages.find("page/a.css").unwrap().gzip.is_none());
        assert!(pages.find("sdk/shoal.js.gz").is_none(), "a form is no file");
        assert!(Pages::of(&[]).is_empty());
    }
}
