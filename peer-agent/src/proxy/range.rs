//! Range requests for objects (RFC 9110, 14).
//!
//! Rule: a single range from a first byte on is answered from the engine; what the engine cannot
//! express (suffixes, several ranges) is none of ours and goes to the origin as it came.

use shoal_peer::ByteRange;

/// What a request's `Range` header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// No range: all of it, with 200.
    Whole,
    /// A range, with 206. `bytes=0-` is one: players send it with every request.
    Range(ByteRange),
    /// Something for the origin.
    Other,
}

/// The part of an object that an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) total: u32,
}

impl Asked {
    /// Reads the header's value.
    pub(crate) fn parse(header: Option<&str>) -> Self {
        let Some(text) = header else { return Self::Whole };
        let Some((first, last)) = text.strip_prefix("bytes=").and_then(|set| set.split_once('-'))
        else {
            return Self::Other;
        };
        let Ok(start) = first.trim().parse::<u32>() else { return Self::Other };
        let end = match last.trim() {
            "" => None,
            last => match last.parse::<u32>() {
                Ok(last) if last >= start && last < u32::MAX => Some(last + 1),
                Ok(_) | Err(_) => return Self::Other,
            },
        };
        Self::Range(ByteRange { start, end })
    }

    /// What the engine is asked for.
    pub(crate) const fn byte_range(self) -> ByteRange {
        match self {
            Self::Range(range) => range,
            Self::Whole | Self::Other => ByteRange::WHOLE,
        }
    }
}

impl Part {
    /// The part of an object of `total` bytes that `range` covers; none if it lies behind the end.
    pub(crate) fn of(range: ByteRange, total: u32) -> Option<Self> {
        let end = range.end.unwrap_or(total).min(total);
        (range.start < end).then_some(Self { start: range.start, end, total })
    }

    pub(crate) const fn len(self) -> u32 {
        self.end - self.start
    }

    /// The value of `Content-Range`.
    pub(crate) fn content_range(self) -> String {
        format!("bytes {}-{}/{}", self.start, self.end - 1, self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let range = |start, end| Asked::Range(ByteRange { start, end });
        for (header, expected) in [
            (None, Asked::Whole),
            (Some("bytes=0-"), range(0, None)),
            (Some("bytes=5-9"), range(5, Some(10))),
            (Some("bytes=9-5"), Asked::Other),
            (Some("bytes=-5"), Asked::Other),
            (Some("bytes=0-1,5-6"), Asked::Other),
            (Some("items=0-1"), Asked::Other),
            (Some("bytes=0-4294967295"), Asked::Other),
        ] {
            assert_eq!(Asked::parse(header), expected, "{header:?}");
        }
    }

    #[test]
    fn parts_are_cut_to_the_object() {
        let part = |start, end| Part::of(ByteRange { start, end }, 100);
        assert_eq!(part(0, None).unwrap().content_range(), "bytes 0-99/100");
        assert_eq!(part(90, Some(200)).unwrap().content_range(), "bytes 90-99/100");
        assert_eq!(part(90, Some(95)).unwrap().len(), 5);
        assert_eq!(part(100, None), None);
    }
}
