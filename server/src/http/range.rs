//! Range requests (RFC 9110, 14) for a representation whose length is known.
//!
//! Rule: one range is served; what is no single byte range is answered with the whole, as a server
//! may. A range that covers everything is the whole.

use axum::http::{HeaderMap, header};

/// What to send of a representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selected {
    /// All of it.
    Whole,
    /// These bytes: the first and the last.
    Part(u64, u64),
    /// Nothing: it has no such bytes.
    Unsatisfiable,
}

/// What the request's headers select of `len` bytes under the entity tag `etag`.
pub(crate) fn select(headers: &HeaderMap, len: u64, etag: &str) -> Selected {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::IF_RANGE).is_some_and(|condition| condition != etag) {
        return Selected::Whole;
    }
    text(header::RANGE).map_or(Selected::Whole, |range| parse(range, len))
}

fn parse(range: &str, len: u64) -> Selected {
    let Some((first, last)) = range.trim().strip_prefix("bytes=").and_then(|r| r.split_once('-'))
    else {
        return Selected::Whole;
    };
    let selected = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => Some((first, last.min(len.saturating_sub(1)))),
        (Ok(first), Err(_)) if last.trim().is_empty() => Some((first, len.saturating_sub(1))),
        (Err(_), Ok(suffix)) if first.trim().is_empty() && suffix > 0 => {
            Some((len.saturating_sub(suffix), len.saturating_sub(1)))
        }
        (Err(_), Ok(_)) if first.trim().is_empty() => return Selected::Unsatisfiable,
        // Several ranges, or none that makes sense.
        _ => None,
    };
    match selected {
        None => Selected::Whole,
        Some((first, _)) if first >= len => Selected::Unsatisfiable,
        Some((0, last)) if last + 1 == len => Selected::Whole,
        Some((first, last)) => Selected::Part(first, last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (range, selected) in [
            ("bytes=0-", Selected::Whole),
            ("bytes=0-99", Selected::Whole),
            ("bytes=0-500", Selected::Whole),
            ("bytes=-500", Selected::Whole),
            ("bytes=10-19", Selected::Part(10, 19)),
            ("bytes=10-", Selected::Part(10, 99)),
            ("bytes=90-200", Selected::Part(90, 99)),
            ("bytes=-5", Selected::Part(95, 99)),
            ("bytes=0-0", Selected::Part(0, 0)),
            ("bytes=100-", Selected::Unsatisfiable),
            ("bytes=100-200", Selected::Unsatisfiable),
            ("bytes=-0", Selected::Unsatisfiable),
            ("bytes=5-4", Selected::Whole),
            ("bytes=0-1,3-4", Selected::Whole),
            ("chunks=0-1", Selected::Whole),
            ("bytes=a-b", Selected::Whole),
        ] {
            assert_eq!(parse(range, 100), selected, "{range}");
        }
        assert_eq!(parse("bytes=0-", 0), Selected::Unsatisfiable);
    }

    #[test]
    fn a_range_of_another_representation_is_ignored() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, "bytes=1-2".parse().unwrap());
        headers.insert(header::IF_RANGE, "\"a\"".parse().unwrap());
        assert_eq!(select(&headers, 9, "\"a\""), Selected::Part(1, 2));
        assert_eq!(select(&headers, 9, "\"b\""), Selected::Whole);
    }
}
