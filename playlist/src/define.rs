//! Variables (EXT-X-DEFINE, RFC 8216bis, 4.3): `{$name}` in URIs and in attributes' values.
//!
//! Rule: what is not defined is an error, and what is put in is not looked at again.

use crate::attributes::spans;
use crate::error::PlaylistError;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Most bytes of a line after substitution: a URL of 8 kB and room. It keeps a playlist of
/// megabytes from growing to gigabytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Variables by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// The value of `name`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Defines `name`, or changes it.
    pub fn define(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// Takes over those of `other`.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().map(|(name, value)| (name.clone(), value.clone())));
    }

    /// `text`, which stands in `line`, with values in place of names.
    ///
    /// # Errors
    /// [`PlaylistError::Variable`] for a name that is not defined, [`PlaylistError::TooLong`].
    pub fn substitute<'t>(
        &self,
        text: &'t str,
        line: usize,
    ) -> Result<Cow<'t, str>, PlaylistError> {
        if !text.contains("{$") {
            return Ok(Cow::Borrowed(text));
        }
        let (mut out, mut rest) = (String::with_capacity(text.len()), text);
        while let Some((before, name, after)) = next_name(rest) {
            let undefined = || PlaylistError::Variable { line, name: name.to_owned() };
            let value = self.value(name).ok_or_else(undefined)?;
            if out.len() + before.len() + value.len() > LINE_BYTES_MAX {
                return Err(PlaylistError::TooLong(line));
            }
            out.push_str(before);
            out.push_str(value);
            rest = after;
        }
        out.push_str(rest);
        Ok(Cow::Owned(out))
    }

    /// The same for the attributes of a tag's whole line.
    pub(crate) fn substitute_tag<'t>(
        &self,
        tag: &'t str,
        line: usize,
    ) -> Result<Cow<'t, str>, PlaylistError> {
        if !tag.contains("{$") {
            return Ok(Cow::Borrowed(tag));
        }
        let (mut out, mut from) = (String::with_capacity(tag.len()), 0);
        for span in spans(tag) {
            out.push_str(&tag[from..span.at.start]);
            out.push_str(&self.substitute(&tag[span.at.clone()], line)?);
            from = span.at.end;
        }
        out.push_str(&tag[from..]);
        Ok(Cow::Owned(out))
    }
}

/// What stands before the first `{$name}`, the name, and what stands after it.
fn next_name(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let start = from + text[from..].find("{$")?;
        let name = &text[start + 2..];
        let len = name.bytes().take_while(|b| is_name(*b)).count();
        if len > 0 && name[len..].starts_with('}') {
            return Some((&text[..start], &name[..len], &name[len + 1..]));
        }
        from = start + 2;
    }
}

const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_values_once() {
        let mut variables = Variables::default();
        variables.define("a", "{$b}");
        variables.define("b-2", "é");
        for (text, expected) in [
            ("x/{$a}/{$b-2}{$b-2}", Ok("x/{$b}/éé")),
            ("{$}{$ a}{$a", Ok("{$}{$ a}{$a")),
            ("plain", Ok("plain")),
            ("{$c}", Err(PlaylistError::Variable { line: 3, name: "c".into() })),
        ] {
            let found = variables.substitute(text, 3);
            assert_eq!(found.as_deref().map_err(Clone::clone), expected, "{text}");
        }
        let tag = "#EXT-X-KEY:URI=\"{$a}\",KEYID=0x{$b-2},X=\"y\"";
        let said = variables.substitute_tag(tag, 1).unwrap();
        assert_eq!(said, "#EXT-X-KEY:URI=\"{$b}\",KEYID=0xé,X=\"y\"");
        assert_eq!(variables.substitute_tag("#EXTINF:1,{$zz}", 1).unwrap(), "#EXTINF:1,{$zz}");
    }

    #[test]
    fn a_line_does_not_grow_without_end() {
        let mut variables = Variables::default();
        variables.define("a", &"x".repeat(40_000));
        assert_eq!(variables.substitute("{$a}{$a}", 2), Err(PlaylistError::TooLong(2)));
    }
}
