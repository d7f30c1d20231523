//! Marks that common signers leave in URLs.
//!
//! Rule: a preset names what is a viewer's own, and nothing that selects content. The keys are those
//! of the signers' public documentation of signed URLs and tokens.

use std::fmt;
use std::str::FromStr;

/// A signer whose marks are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset(&'static Signer);

/// What a signer adds to URLs.
#[derive(Debug, PartialEq, Eq)]
struct Signer {
    name: &'static str,
    /// Query keys, in any case of letters; a `*` at the end stands for any rest.
    query: &'static [&'static str],
    path: &'static [PathMark],
}

/// How a piece of a path is known to be a token.
#[derive(Debug, PartialEq, Eq)]
enum PathMark {
    /// It begins so.
    Prefix(&'static str),
    /// It has this inside.
    Contains(&'static str),
    /// An MD5 in base64url or hexadecimal and a Unix time, as neighbours.
    HashAndTime,
    /// A JSON web token.
    Jwt,
}

static SIGNERS: &[Signer] = &[
    Signer {
        name: "cloudfront",
        query: &["Expires", "Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm"],
        path: &[],
    },
    Signer {
        name: "akamai",
        query: &["hdnts", "hdnea", "hdntl", "__token__", "__gda__"],
        path: &[
            PathMark::Prefix("hdnts="),
            PathMark::Prefix("hdnea="),
            PathMark::Prefix("hdntl="),
            // The list of paths may hold a slash, which cuts the token in two.
            PathMark::Contains("~acl="),
            PathMark::Contains("~hmac="),
        ],
    },
    Signer { name: "fastly", query: &["token", "exp", "sig"], path: &[] },
    Signer {
        name: "media-cdn",
        query: &["Expires", "KeyName", "Signature", "URLPrefix", "edge-cache-token", "hdnts"],
        path: &[PathMark::Prefix("edge-cache-token="), PathMark::Prefix("hdnts=")],
    },
    Signer {
        name: "bunny",
        query: &["token", "expires", "token_path", "token_countries", "token_countries_blocked"],
        path: &[PathMark::Prefix("bcdn_token=")],
    },
    Signer { name: "nginx", query: &["md5", "expires", "st", "e"], path: &[PathMark::HashAndTime] },
    Signer { name: "mux", query: &["token", "skid", "signature", "vsid"], path: &[] },
    Signer { name: "s3", query: &["X-Amz-*", "AWSAccessKeyId", "Signature", "Expires"], path: &[] },
    Signer {
        name: "generic",
        query: &[
            "token",
            "access_token",
            "auth",
            "auth_token",
            "authorization",
            "jwt",
            "exp",
            "expires",
            "expiry",
            "sig",
            "sign",
            "signature",
            "hash",
            "hmac",
            "md5",
            "policy",
            "session",
            "sessionid",
            "session_id",
            "sid",
            "wmsAuthSign",
        ],
        path: &[PathMark::Jwt],
    },
];

impl Preset {
    /// Whether this query key is a viewer's own.
    pub(super) fn ignores_query(self, key: &str) -> bool {
        self.0.query.iter().any(|known| match known.strip_suffix('*') {
            None => known.eq_ignore_ascii_case(key),
            Some(start) => {
                key.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
            }
        })
    }

    /// The places of the pieces of a path that are a viewer's own.
    pub(super) fn ignored_pieces(self, pieces: &[&str]) -> Vec<usize> {
        let mut found = Vec::new();
        for (place, piece) in pieces.iter().enumerate() {
            let next = pieces.get(place + 1).copied().unwrap_or_default();
            for mark in self.0.path {
                match mark {
                    PathMark::Prefix(start) if piece.starts_with(start) => found.push(place),
                    PathMark::Contains(inside) if piece.contains(inside) => found.push(place),
                    PathMark::HashAndTime
                        if is_hash(piece) && is_time(next) || is_time(piece) && is_hash(next) =>
                    {
                        found.extend([place, place + 1]);
                    }
                    PathMark::Jwt if is_jwt(piece) => found.push(place),
                    PathMark::Prefix(_)
                    | PathMark::Contains(_)
                    | PathMark::HashAndTime
                    | PathMark::Jwt => {}
                }
            }
        }
        found
    }
}

/// 16 bytes in base64url without padding (nginx's own form), or in hexadecimal.
fn is_hash(piece: &str) -> bool {
    let base64 = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    match piece.len() {
        22 => piece.bytes().all(base64),
        32 => piece.bytes().all(|b| b.is_ascii_hexdigit()),
        _ => false,
    }
}

/// A Unix time of this century.
fn is_time(piece: &str) -> bool {
    piece.len() == 10 && piece.bytes().all(|b| b.is_ascii_digit())
}

fn is_jwt(piece: &str) -> bool {
    let base64 = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    piece.starts_with("eyJ") && piece.split('.').count() == 3 && piece.split('.').all(base64)
}

impl FromStr for Preset {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        SIGNERS.iter().find(|signer| signer.name == text).map(Self).ok_or_else(|| {
            let names: Vec<_> = SIGNERS.iter().map(|signer| signer.name).collect();
            format!("`{text}` is no preset: choose among {}", names.join(", "))
        })
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::Rules;
    use super::*;
    use url::Url;

    /// Two viewers' URLs are one object by this preset alone, and not without it.
    #[track_caller]
    fn shares(preset: &str, a: &str, b: &str) {
        let with = Rules { presets: vec![preset.parse().unwrap()], ..Rules::default() };
        let of = |rules: &Rules, url: &str| rules.canonical(&Url::parse(url).unwrap()).text;
        assert_eq!(of(&with, a), of(&with, b), "{preset}");
        assert_ne!(of(&Rules::default(), a), of(&Rules::default(), b), "{preset}");
        let other = b.replace("seg1", "seg2");
        assert_ne!(of(&with, a), of(&with, &other), "{preset}");
    }

    #[test]
    fn viewers_of_each_signer_share() {
        shares(
            "cloudfront",
            "https://d1.cloudfront.net/l/seg1.ts?Expires=1&Signature=a~&Key-Pair-Id=K1",
            "https://d1.cloudfront.net/l/seg1.ts?Policy=eyJ_&Signature=b-&Key-Pair-Id=K1",
        );
        shares(
            "akamai",
            "https://a.akamaized.net/exp=1~acl=/*~hmac=aa/l/seg1.ts",
            "https://a.akamaized.net/exp=2~acl=/*~hmac=bb/l/seg1.ts",
        );
        shares(
            "akamai",
            "https://a.akamaized.net/l/seg1.ts?hdnts=exp=1~hmac=aa",
            "https://a.akamaized.net/l/seg1.ts?hdnts=exp=2~hmac=bb",
        );
        shares("fastly", "https://f/seg1.ts?token=1_ab", "https://f/seg1.ts?token=2_cd");
        shares(
            "media-cdn",
            "https://m/edge-cache-token=Expires=1&KeyName=k&Signature=a/seg1.ts",
            "https://m/edge-cache-token=Expires=2&KeyName=k&Signature=b/seg1.ts",
        );
        shares(
            "bunny",
            "https://b/bcdn_token=aa&expires=1&token_path=%2Fl%2F/l/seg1.ts",
            "https://b/bcdn_token=bb&expires=2&token_path=%2Fl%2F/l/seg1.ts",
        );
        shares("nginx", "http://n/seg1.ts?md5=a&expires=1", "http://n/seg1.ts?md5=b&expires=2");
        let (a, b) = ("_e4Nc3iduzkWRm01TBBNYw", "AAAAc3iduzkWRm01TBBNYw");
        shares(
            "nginx",
            &format!("http://n/v/{a}/2147483647/seg1.ts"),
            &format!("http://n/v/{b}/2147480000/seg1.ts"),
        );
        shares("mux", "https://x/seg1.ts?skid=d&signature=a", "https://x/seg1.ts?signature=b");
        shares(
            "s3",
            "https://b.s3.amazonaws.com/seg1.ts?X-Amz-Date=1&X-Amz-Signature=a",
            "https://b.s3.amazonaws.com/seg1.ts?X-Amz-Date=2&X-Amz-Signature=b",
        );
        shares("generic", "http://g/seg1.ts?token=a&expires=1", "http://g/seg1.ts?sig=b");
        shares(
            "generic",
            "http://g/eyJhbGc.eyJzdWI.c2ln/seg1.ts",
            "http://g/eyJx.eyJy.z_-/seg1.ts",
        );
    }

    #[test]
    fn what_selects_content_is_no_token() {
        let presets = SIGNERS.iter().map(Preset).collect();
        let all = Rules { presets, ..Rules::default() };
        for url in [
            "https://h/live/2147483647/seg1.ts?quality=hd&lang=en&v=3&start=10&key=a&id=7",
            "https://h/0123456789abcdef0123456789abcdef/seg1.ts",
            "https://h/v1.2.3/a.b.c/seg1.ts",
        ] {
            assert_eq!(all.canonical(&Url::parse(url).unwrap()).ignored, [], "{url}");
        }
    }

    #[test]
    fn an_unknown_preset_names_the_known_ones() {
        let error = "akami".parse::<Preset>().unwrap_err();
        assert!(error.contains("akamai, fastly"), "{error}");
    }
}
