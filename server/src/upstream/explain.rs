//! `shoal-server explain URL1 URL2`: whether two viewers share, and why not.
//!
//! Rule: it says what the server would decide, from the two texts and the rules alone.

use super::identity::{Canonical, Rules};
use std::fmt::Write;
use url::Url;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whether viewers with these two URLs share.
    pub shares: bool,
    /// What to print.
    pub text: String,
}

/// Compares two viewers' URLs.
///
/// # Errors
/// A sentence, if one of them is no URL.
pub fn explain(rules: &Rules, urls: [&str; 2]) -> Result<Explanation, String> {
    let read = |text: &str| {
        Url::parse(text).ok().filter(Url::has_host).ok_or_else(|| {
            format!("`{text}` is no URL: write all of it, as in https://HOST/PATH?QUERY")
        })
    };
    let (a, b) = (read(urls[0])?, read(urls[1])?);
    let (one, two) = (rules.canonical(&a), rules.canonical(&b));
    let shares = one.text == two.text;
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("strings take all");
    for (number, canonical) in [(1, &one), (2, &two)] {
        line(format!("{number}  {}", canonical.text));
        for ignored in &canonical.ignored {
            line(format!("   without {}, by {}", ignored.what, ignored.rule));
        }
    }
    if shares {
        line("They share: both are the same object.".to_owned());
    } else {
        line("They do not share:".to_owned());
        differences(&one, &two).into_iter().for_each(|why| line(format!("   {why}")));
    }
    Ok(Explanation { shares, text })
}

fn differences(one: &Canonical, two: &Canonical) -> Vec<String> {
    let split = |canonical: &Canonical| -> (String, Vec<String>, Vec<String>) {
        let (place, query) = canonical.text.split_once('?').unwrap_or((&canonical.text, ""));
        let mut pieces = place.split('/').map(str::to_owned);
        let host = pieces.next().unwrap_or_default();
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(str::to_owned);
        (host, pieces.collect(), pairs.collect())
    };
    let ((host_1, path_1, query_1), (host_2, path_2, query_2)) = (split(one), split(two));
    let mut why = Vec::new();
    if host_1 != host_2 {
        why.push(format!("the hosts differ: {host_1} and {host_2}"));
    }
    if path_1.len() != path_2.len() {
        let (one, two) = (path_1.len(), path_2.len());
        why.push(format!("the paths have {one} and {two} pieces"));
    } else {
        for (place, (a, b)) in path_1.iter().zip(&path_2).enumerate().filter(|(_, (a, b))| a != b) {
            let mut pattern: Vec<&str> = vec!["*"; place];
            pattern.push("{}");
            if place + 1 < path_1.len() {
                pattern.push("**");
            }
            why.push(format!(
                "piece {} of the path differs: {a} and {b} (if it is a token: ignore_path = \
                 [\"/{}\"])",
                place + 1,
                pattern.join("/")
            ));
        }
    }
    let key = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let only = |of: &[String], other: &[String]| -> Vec<String> {
        of.iter().filter(|pair| !other.contains(pair)).map(|pair| key(pair)).collect()
    };
    let mut keys = [only(&query_1, &query_2), only(&query_2, &query_1)].concat();
    keys.sort();
    keys.dedup();
    why.extend(keys.into_iter().map(|key| {
        format!("query key `{key}` differs (if it is a token: ignore_query = [\"{key}\"])")
    }));
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(urls: [&str; 2], shares: bool, says: &[&str]) {
        let rules = Rules { presets: vec!["nginx".parse().unwrap()], ..Rules::default() };
        let explanation = explain(&rules, urls).unwrap();
        assert_eq!(explanation.shares, shares, "{}", explanation.text);
        for part in says {
            assert!(explanation.text.contains(part), "`{part}` is not in {}", explanation.text);
        }
    }

    #[test]
    fn it_says_what_was_ignored_or_what_differs() {
        check(
            ["http://h/a.m3u8?md5=1&expires=2", "https://h/a.m3u8?md5=3&expires=4"],
            true,
            &["1  h/a.m3u8\n", "without query key `md5`, by preset \"nginx\"", "They share"],
        );
        check(
            ["http://h/u1/a.m3u8?who=x", "http://g/u2/a.m3u8?who=y&b=1"],
            false,
            &[
                "the hosts differ: h and g",
                "piece 1 of the path differs: u1 and u2",
                "ignore_path = [\"/{}/**\"]",
                "query key `who` differs",
                "ignore_query = [\"who\"]",
                "query key `b` differs",
            ],
        );
        check(["http://h/a/b", "http://h/a"], false, &["2 and 1 pieces"]);
        let error = explain(&Rules::default(), ["http://h/a", "a.m3u8"]).unwrap_err();
        assert!(error.contains("`a.m3u8` is no URL"), "{error}");
    }
}
