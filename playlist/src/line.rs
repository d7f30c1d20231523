//! A playlist, line by line, with the place of each line in the text.
//!
//! Rule: the raw lines put together are the text. Space around a line, a byte order mark and line
//! ends of either kind belong to the raw line and not to what it says.

use quick_m3u8::custom_parsing::tag;

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// From 1.
    pub number: usize,
    /// As it stands in the text, line end included.
    pub raw: &'a str,
    /// Without line end and the space around.
    pub text: &'a str,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// Nothing, a comment, or what looks like a tag and is none.
    Nothing,
    /// A URI.
    Uri(&'a str),
    /// A tag.
    Tag {
        /// What stands between `#EXT` and the colon.
        name: &'a str,
        /// What stands after it, without space around.
        value: &'a str,
    },
}

impl<'a> Line<'a> {
    /// What it is.
    pub fn what(&self) -> What<'a> {
        if self.text.is_empty() {
            return What::Nothing;
        }
        if !self.text.starts_with('#') {
            return What::Uri(self.text);
        }
        let Ok(tag) = tag::parse(self.text) else { return What::Nothing };
        let value = tag.parsed.value().and_then(|value| std::str::from_utf8(value.0).ok());
        What::Tag { name: tag.parsed.name(), value: value.unwrap_or_default().trim() }
    }
}

/// The lines of `text`.
pub fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.split_inclusive('\n').enumerate().map(|(index, raw)| {
        let text = if index == 0 { raw.trim_start_matches('\u{feff}') } else { raw };
        Line { number: index + 1, raw, text: text.trim() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_lines_are_the_text() {
        let text = "\u{feff}#EXTM3U\r\n\r\n #EXTINF:2, x \r\n a.ts\t\n#c\nb.ts";
        let all: Vec<_> = lines(text).collect();
        assert_eq!(all.iter().map(|line| line.raw).collect::<String>(), text);
        let said: Vec<_> = all.iter().map(|line| line.text).collect();
        assert_eq!(said, ["#EXTM3U", "", "#EXTINF:2, x", "a.ts", "#c", "b.ts"]);
        let what: Vec<_> = all.iter().map(Line::what).collect();
        assert_eq!(
            what,
            [
                What::Tag { name: "M3U", value: "" },
                What::Nothing,
                What::Tag { name: "INF", value: "2, x" },
                What::Uri("a.ts"),
                What::Nothing,
                What::Uri("b.ts"),
            ]
        );
    }

    #[test]
    fn what_is_no_tag_is_nothing() {
        for text in ["#EXT", "#ext-x", "#EX", "#"] {
            let what = Line { number: 1, raw: text, text }.what();
            assert_eq!(what, What::Nothing, "{text}");
        }
    }
}
