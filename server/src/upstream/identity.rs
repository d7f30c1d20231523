//! What two viewers' URLs have in common: the canonical form, blind to tokens.
//!
//! Rule: a canonical URL is host, path and sorted query without what the rules call a viewer's own.
//! Two URLs are the same object if their canonical forms are equal, and only then. It is a function
//! of the URL's text; nothing is fetched.

use super::presets::Preset;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::str::FromStr;
use url::Url;

/// Query keys of players and of HLS itself: they name no other content.
const NEVER_CONTENT: [&str; 5] = ["_HLS_msn", "_HLS_part", "_HLS_skip", "_HLS_primary_id", "CMCD"];
/// What stands in a canonical URL for what is a viewer's own.
const IGNORED: &str = "{}";

/// The rules by which parts of a URL are a viewer's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Signers whose marks are known.
    pub presets: Vec<Preset>,
    /// Query keys of the operator's.
    pub query: Vec<QueryKey>,
    /// Path patterns of the operator's.
    pub path: Vec<PathPattern>,
}

/// A URL without what is a viewer's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// Host, path and query.
    pub text: String,
    /// What was left out, and by which rule.
    pub ignored: Vec<Ignored>,
}

/// Something that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// What it was.
    pub what: Part,
    /// The rule, as it is written in the configuration.
    pub rule: String,
}

/// A part of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The value of this query key.
    Query(String),
    /// The piece of the path at this place, from 1.
    Path(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query(key) => write!(f, "query key `{key}`"),
            Self::Path(place) => write!(f, "piece {place} of the path"),
        }
    }
}

impl Rules {
    /// The canonical form of `url`.
    pub fn canonical(&self, url: &Url) -> Canonical {
        let mut ignored = Vec::new();
        let mut text = url.host_str().unwrap_or_default().to_ascii_lowercase();
        if let Some(port) = url.port() {
            text.push_str(&format!(":{port}"));
        }
        for piece in self.path(url.path(), &mut ignored) {
            text.push('/');
            text.push_str(&piece);
        }
        let query = self.query(url.query().unwrap_or_default(), &mut ignored);
        if !query.is_empty() {
            text.push('?');
            text.push_str(&query.join("&"));
        }
        Canonical { text, ignored }
    }

    /// The query that is left, in order.
    fn query<'q>(&self, query: &'q str, ignored: &mut Vec<Ignored>) -> Vec<&'q str> {
        let mut kept = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let key = pair.split('=').next().unwrap_or_default();
            match self.query_rule(key) {
                Some(rule) => ignored.push(Ignored { what: Part::Query(key.to_owned()), rule }),
                None => kept.push(pair),
            }
        }
        kept.sort_unstable();
        kept
    }

    /// The rule that ignores this query key.
    pub fn query_rule(&self, key: &str) -> Option<String> {
        if NEVER_CONTENT.iter().any(|known| known.eq_ignore_ascii_case(key)) {
            return Some("always".to_owned());
        }
        if let Some(rule) = self.query.iter().find(|rule| rule.matches(key)) {
            return Some(format!("ignore_query \"{}\"", rule.0));
        }
        let preset = self.presets.iter().find(|preset| preset.ignores_query(key));
        preset.map(|preset| format!("preset \"{preset}\""))
    }

    fn path(&self, path: &str, ignored: &mut Vec<Ignored>) -> Vec<String> {
        let pieces: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let mut out: Vec<String> = pieces.iter().map(|&piece| piece.to_owned()).collect();
        let mut by_rule = vec![None; pieces.len()];
        for pattern in &self.path {
            for (place, piece) in pattern.ignored(&pieces).unwrap_or_default() {
                out[place] = piece;
                by_rule[place].get_or_insert_with(|| format!("ignore_path \"{}\"", pattern.0));
            }
        }
        for preset in &self.presets {
            for place in preset.ignored_pieces(&pieces) {
                if by_rule[place].is_none() {
                    out[place] = IGNORED.to_owned();
                    by_rule[place] = Some(format!("preset \"{preset}\""));
                }
            }
        }
        let found = by_rule.into_iter().enumerate();
        ignored.extend(found.filter_map(|(place, rule)| {
            Some(Ignored { what: Part::Path(place + 1), rule: rule? })
        }));
        out
    }

    /// `url` without the query keys that are a viewer's own.
    pub fn without_query_tokens(&self, url: &Url) -> Url {
        let mut url = url.clone();
        let kept: Vec<&str> = url
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| {
                let key = pair.split('=').next().unwrap_or_default();
                !key.is_empty() && self.query_rule(key).is_none()
            })
            .collect();
        let query = (!kept.is_empty()).then(|| kept.join("&"));
        url.set_query(query.as_deref());
        url
    }
}

/// A query key, in any case of letters; a `*` at the end stands for any rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryKey(String);

impl QueryKey {
    fn matches(&self, key: &str) -> bool {
        match self.0.strip_suffix('*') {
            None => self.0.eq_ignore_ascii_case(key),
            Some(start) => {
                key.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
            }
        }
    }
}

impl FromStr for QueryKey {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_suffix('*').unwrap_or(text);
        if name.is_empty() || name.contains(['&', '=', '?', '*', ' ']) {
            return Err(format!(
                "`{text}` is no query key: write a name as in `token`, or its beginning as in \
                 `X-Sig-*`"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A path in which `{}` stands for what is a viewer's own.
///
/// `/v/{}/**`: the second piece of every path below `/v`. `*` is any one piece, `**` at the end any
/// rest; `{}` may have text around it in its piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern(String);

impl PathPattern {
    /// The pieces that are a viewer's own, with what stands for them; none if the path is another.
    fn ignored(&self, pieces: &[&str]) -> Option<Vec<(usize, String)>> {
        let mut found = Vec::new();
        let mut patterns = self.0.trim_start_matches('/').split('/');
        for (place, piece) in pieces.iter().enumerate() {
            let pattern = patterns.next()?;
            if pattern == "**" {
                return Some(found);
            }
            match pattern.split_once(IGNORED) {
                None if pattern == "*" || pattern == *piece => {}
                None => return None,
                Some((before, after)) => {
                    let inner = piece.strip_prefix(before)?.strip_suffix(after)?;
                    if inner.is_empty() {
                        return None;
                    }
                    found.push((place, pattern.to_owned()));
                }
            }
        }
        matches!(patterns.next(), None | Some("**")).then_some(found)
    }
}

impl FromStr for PathPattern {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let pieces: Vec<&str> = text.trim_start_matches('/').split('/').collect();
        let rest = pieces.iter().position(|piece| *piece == "**");
        let is_valid = text.starts_with('/')
            && text.contains(IGNORED)
            && pieces.iter().all(|piece| piece.matches(IGNORED).count() <= 1)
            && rest.is_none_or(|place| place + 1 == pieces.len());
        if is_valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "`{text}` is no path pattern: write `/` and the pieces of the path, `{{}}` for a \
                 token, `*` for any piece, `**` at the end for any rest, as in `/live/{{}}/**`"
            ))
        }
    }
}

macro_rules! read_from_text {
    ($($value:ident)*) => { $(
        impl<'de> Deserialize<'de> for $value {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )* };
}

read_from_text!(QueryKey PathPattern Preset);

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(query: &[&str], path: &[&str]) -> Rules {
        Rules {
            presets: Vec::new(),
            query: query.iter().map(|key| key.parse().unwrap()).collect(),
            path: path.iter().map(|pattern| pattern.parse().unwrap()).collect(),
        }
    }

    #[track_caller]
    fn check(rules: &Rules, url: &str, expected: &str, ignored: &[&str]) {
        let canonical = rules.canonical(&Url::parse(url).unwrap());
        assert_eq!(canonical.text, expected, "{url}");
        let said = canonical.ignored.iter().map(|it| format!("{}: {}", it.what, it.rule));
        assert_eq!(said.collect::<Vec<_>>(), ignored, "{url}");
    }

    #[test]
    fn what_no_rule_names_stays() {
        let none = rules(&[], &[]);
        check(&none, "HTTPS://CDN.example:443/a/b.ts", "cdn.example/a/b.ts", &[]);
        check(&none, "http://h:81/a?b=2&a=1&&b=1", "h:81/a?a=1&b=1&b=2", &[]);
        check(&none, "http://h/a?_HLS_msn=4&x", "h/a?x", &["query key `_HLS_msn`: always"]);
    }

    #[test]
    fn query_keys_are_ignored_in_any_case_and_by_their_beginning() {
        let rules = rules(&["tok", "X-Sig-*"], &[]);
        let by = |key: &str, rule: &str| format!("query key `{key}`: ignore_query \"{rule}\"");
        check(
            &rules,
            "http://h/a?TOK=1&v=2&x-sig-a=3&x-si=4",
            "h/a?v=2&x-si=4",
            &[&by("TOK", "tok"), &by("x-sig-a", "X-Sig-*")],
        );
        check(&rules, "http://h/a?token=1", "h/a?token=1", &[]);
    }

    #[test]
    fn path_patterns_are_for_whole_paths() {
        let rules = rules(&[], &["/v/{}/**", "/s/exp={}.sig/*/x.ts"]);
        let by =
            |place: usize, rule: &str| format!("piece {place} of the path: ignore_path \"{rule}\"");
        check(&rules, "http://h/v/abc/d/e.ts", "h/v/{}/d/e.ts", &[&by(2, "/v/{}/**")]);
        check(&rules, "http://h/w/abc/d/e.ts", "h/w/abc/d/e.ts", &[]);
        let long = "/s/exp={}.sig/*/x.ts";
        check(&rules, "http://h/s/exp=7.sig/q/x.ts", "h/s/exp={}.sig/q/x.ts", &[&by(2, long)]);
        for other in ["/s/exp=.sig/q/x.ts", "/s/exp=7.sig/q/y.ts", "/s/exp=7.sig/q/x.ts/z"] {
            check(&rules, &format!("http://h{other}"), &format!("h{other}"), &[]);
        }
    }

    #[test]
    fn what_is_no_rule_says_what_to_write() {
        for wrong in ["", "a=b", "*", "a*b"] {
            assert!(wrong.parse::<QueryKey>().unwrap_err().contains("`token`"), "{wrong}");
        }
        for wrong in ["", "v/{}", "/v/x", "/**/{}", "/{}{}"] {
            let error = wrong.parse::<PathPattern>().unwrap_err();
            assert!(error.contains("`/live/{}/**`"), "{wrong}");
        }
    }

    #[test]
    fn query_tokens_are_taken_off() {
        let rules = rules(&["tok"], &[]);
        for (url, expected) in
            [("http://h/a?tok=1&v=2", "http://h/a?v=2"), ("http://h/a?tok=1", "http://h/a")]
        {
            let left = rules.without_query_tokens(&Url::parse(url).unwrap());
            assert_eq!(left.as_str(), expected);
        }
    }
}
