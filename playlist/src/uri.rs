//! The URIs in a playlist, and the same playlist with others.
//!
//! Rule: line by line, over any text. Only a URI's own bytes change: other attributes, their order,
//! unknown tags, space and line ends stay. A line that does not parse has no URI.

use crate::attributes::spans;
use crate::define::Variables;
use crate::error::PlaylistError;
use crate::line::{Line, What, lines};
use std::borrow::Cow;
use std::ops::Range;

/// What a URI names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UriKind {
    /// A segment of a media playlist.
    Segment,
    /// A media playlist: after EXT-X-STREAM-INF.
    Variant,
    /// EXT-X-MAP.
    Map,
    /// EXT-X-PART.
    Part,
    /// EXT-X-PRELOAD-HINT.
    Hint,
    /// A media playlist: EXT-X-MEDIA.
    Alternative,
    /// A media playlist: EXT-X-I-FRAME-STREAM-INF.
    IFrames,
    /// A media playlist: EXT-X-RENDITION-REPORT.
    Report,
    /// EXT-X-KEY or EXT-X-SESSION-KEY.
    Key,
    /// EXT-X-SESSION-DATA.
    SessionData,
    /// Any other attribute whose name ends in URI.
    Other,
}

/// A URI in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UriRef<'a> {
    /// What it names.
    pub kind: UriKind,
    /// Its line, from 1.
    pub line: usize,
    /// As it stands: variables are not substituted.
    pub text: &'a str,
}

/// `text` with each URI replaced for which `change` has another.
pub fn rewrite(text: &str, mut change: impl FnMut(UriRef<'_>) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut variant = false;
    for line in lines(text) {
        // Where the trimmed line stands in the raw one.
        let lead = line.text.as_ptr().addr() - line.raw.as_ptr().addr();
        let mut from = 0;
        for (uri, at) in in_line(&line, &mut variant) {
            if let Some(other) = change(uri) {
                out.push_str(&line.raw[from..lead + at.start]);
                out.push_str(&other);
                from = lead + at.end;
            }
        }
        out.push_str(&line.raw[from..]);
    }
    out
}

/// `text` with the values of `variables` in place of their names. Where they are defined nothing
/// changes, so that they can be read again.
///
/// # Errors
/// As of [`Variables::substitute`].
pub fn substitute(text: &str, variables: &Variables) -> Result<String, PlaylistError> {
    let mut out = String::with_capacity(text.len() + 64);
    for line in lines(text) {
        let said = match line.what() {
            What::Uri(uri) => variables.substitute(uri, line.number)?,
            What::Tag { name: "-X-DEFINE", .. } | What::Nothing => Cow::Borrowed(line.text),
            What::Tag { .. } => variables.substitute_tag(line.text, line.number)?,
        };
        let lead = line.text.as_ptr().addr() - line.raw.as_ptr().addr();
        out.push_str(&line.raw[..lead]);
        out.push_str(&said);
        out.push_str(&line.raw[lead + line.text.len()..]);
    }
    Ok(out)
}

/// The URIs of `text`, in order.
pub fn uris(text: &str) -> impl Iterator<Item = UriRef<'_>> {
    let mut variant = false;
    lines(text).flat_map(move |line| in_line(&line, &mut variant)).map(|(uri, _)| uri)
}

fn in_line<'a>(line: &Line<'a>, variant: &mut bool) -> Vec<(UriRef<'a>, Range<usize>)> {
    let (text, number) = (line.text, line.number);
    if text.is_empty() {
        return Vec::new();
    }
    if !text.starts_with('#') {
        let kind = if std::mem::take(variant) { UriKind::Variant } else { UriKind::Segment };
        return vec![(UriRef { kind, line: number, text }, 0..text.len())];
    }
    let Some(tag) = text.strip_prefix("#EXT") else { return Vec::new() };
    let name = tag.split(':').next().unwrap_or_default();
    *variant |= name == "-X-STREAM-INF";
    if !text.contains("URI=\"") {
        return Vec::new();
    }
    let is_uri = |span: &crate::attributes::Span<'_>| span.quoted && span.name.ends_with("URI");
    let found = spans(text).filter(is_uri);
    let kind = kind(name);
    found
        .map(|span| (UriRef { kind, line: number, text: &text[span.at.clone()] }, span.at))
        .collect()
}

fn kind(tag: &str) -> UriKind {
    match tag {
        "-X-MAP" => UriKind::Map,
        "-X-PART" => UriKind::Part,
        "-X-PRELOAD-HINT" => UriKind::Hint,
        "-X-MEDIA" => UriKind::Alternative,
        "-X-I-FRAME-STREAM-INF" => UriKind::IFrames,
        "-X-RENDITION-REPORT" => UriKind::Report,
        "-X-KEY" | "-X-SESSION-KEY" => UriKind::Key,
        "-X-SESSION-DATA" => UriKind::SessionData,
        _ => UriKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in_and_stay_defined() {
        let mut variables = Variables::default();
        variables.define("a", "x");
        variables.define("t", "{$t}");
        let text = "\u{feff}#EXTM3U\r\n#EXT-X-DEFINE:NAME=\"a\",VALUE=\"x\"\r\n# {$a}\r\n\
                    #EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"{$a}\"\r\n {$a}/{$a}.m3u8?{$t} \r\n";
        let expected =
            text.replace("CODECS=\"{$a}\"", "CODECS=\"x\"").replace("{$a}/{$a}.m3u8", "x/x.m3u8");
        assert_eq!(substitute(text, &variables), Ok(expected));
        assert!(substitute(text, &Variables::default()).is_err());
    }

    #[test]
    fn each_uri_is_found_and_nothing_else_changes() {
        let text = "\u{feff}#EXTM3U\r\n#EXT-X-STREAM-INF:BANDWIDTH=1,X=\"URI=\"\r\n\r\n v.m3u8 \r\n\
                    #EXT-X-MAP:Z=1,URI=\"i\",BYTERANGE=\"1@0\"\n#EXT-X-FOO:A-URI=\"f\",URI=\"g\"\n\
                    #EXTINF:1,URI=\"t\"\n#EXT-X-MAP:URI=\"broken\ns.ts";
        let found: Vec<_> = uris(text).map(|uri| (uri.kind, uri.line, uri.text)).collect();
        assert_eq!(
            found,
            [
                (UriKind::Variant, 4, "v.m3u8"),
                (UriKind::Map, 5, "i"),
                (UriKind::Other, 6, "f"),
                (UriKind::Other, 6, "g"),
                (UriKind::Segment, 9, "s.ts"),
            ]
        );
        assert_eq!(rewrite(text, |_| None), text);
        let changed = rewrite(text, |uri| (uri.text != "f").then(|| format!("<{}>", uri.text)));
        let expected = text
            .replace("v.m3u8", "<v.m3u8>")
            .replace("\"i\"", "\"<i>\"")
            .replace("\"g\"", "\"<g>\"")
            .replace("\ns.ts", "\n<s.ts>");
        assert_eq!(changed, expected);
    }
}
