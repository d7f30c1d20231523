//! The little of URLs that is needed: joining, and writing paths.
//!
//! Rule: `http://` URLs of this machine only; nothing is normalised but dot segments.

/// `reference` as a playlist at `base` means it (RFC 3986, 5.2, for what playlists hold).
pub(crate) fn join(base: &str, reference: &str) -> String {
    if reference.contains("://") {
        return reference.to_owned();
    }
    let rest = base.find("://").map_or(0, |at| at + 3);
    let root = base[rest..].find('/').map_or(base.len(), |at| rest + at);
    if reference.starts_with('/') {
        return format!("{}{reference}", &base[..root]);
    }
    let path = base[root..].split(['?', '#']).next().unwrap_or_default();
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in reference.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    format!("{}/{}", &base[..root], parts.join("/"))
}

/// A path with everything escaped that is not plain (RFC 3986, 2.3).
pub(crate) fn escape(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        let base = "http://h:1/vod/a/v/index.m3u8?x=/y";
        for (reference, expected) in [
            ("1.ts", "http://h:1/vod/a/v/1.ts"),
            ("../k/1.ts?t=1", "http://h:1/vod/a/k/1.ts?t=1"),
            ("/live/1.ts", "http://h:1/live/1.ts"),
            ("http://o/1.ts", "http://o/1.ts"),
            ("./b%20c.ts", "http://h:1/vod/a/v/b%20c.ts"),
        ] {
            assert_eq!(join(base, reference), expected);
        }
        assert_eq!(escape("a b/ü%.ts"), "a%20b/%C3%BC%25.ts");
    }
}
