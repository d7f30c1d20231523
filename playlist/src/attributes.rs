//! Attribute lists of tags (RFC 8216, 4.2), with the place of each value in its line.
//!
//! Rule: a list that does not parse as a whole is none. Names are compared as they stand.

use quick_m3u8::tag::AttributeValue;
use std::ops::Range;

/// The attributes of one tag, variables substituted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Vec<(String, String)>);

impl Attributes {
    /// The value of the attribute `name`, without quotes.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of the attribute `name` as a whole number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// Whether the attribute `name` is YES.
    pub fn yes(&self, name: &str) -> bool {
        self.text(name) == Some("YES")
    }

    /// Of a whole tag's line.
    pub(crate) fn of(line: &str) -> Self {
        let all = spans(line);
        Self(all.map(|span| (span.name.to_owned(), line[span.at].to_owned())).collect())
    }
}

/// One attribute in its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span<'a> {
    pub(crate) name: &'a str,
    /// Where its value stands, quotes apart.
    pub(crate) at: Range<usize>,
    pub(crate) quoted: bool,
}

/// The attributes of the tag in `line`, in order; none of a tag that has a title instead.
pub(crate) fn spans(line: &str) -> impl Iterator<Item = Span<'_>> {
    // A comma at the end is common, and says nothing.
    let list = quick_m3u8::custom_parsing::tag::parse(line.trim_end_matches(','))
        .ok()
        .filter(|tag| tag.parsed.name() != "INF")
        .and_then(|tag| tag.parsed.value()?.try_as_ordered_attribute_list().ok());
    list.into_iter().flatten().map(move |(name, value)| {
        let (value, quoted) = match value {
            AttributeValue::Quoted(value) => (value.as_bytes(), true),
            AttributeValue::Unquoted(value) => (value.0, false),
        };
        // The value is a part of the line: its place is the difference of the addresses.
        let start = value.as_ptr().addr() - line.as_ptr().addr();
        Span { name: name.trim(), at: start..start + value.len(), quoted }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_where_they_stand() {
        let line = "#EXT-X-KEY:METHOD=AES-128,URI=\"k,=é\",IV=0xA, X=\"\",";
        let found: Vec<_> =
            spans(line).map(|span| (span.name, &line[span.at], span.quoted)).collect();
        let expected = [
            ("METHOD", "AES-128", false),
            ("URI", "k,=é", true),
            ("IV", "0xA", false),
            ("X", "", true),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_title_has_no_attributes_and_neither_has_what_does_not_parse() {
        for line in
            ["#EXTINF:2,URI=\"x\"", "#EXT-X-MAP:URI=\"x", "#EXT-X-ENDLIST", "# URI=\"x\"", ""]
        {
            assert_eq!(spans(line).count(), 0, "{line}");
        }
    }
}
