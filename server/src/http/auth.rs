//! Which key a request shows.
//!
//! Rule: keys are compared in constant time, by `IngestKey`; this only finds them.

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The keys in the Authorization header: a bearer token (RFC 6750), or the password and the user
/// name of Basic authentication (RFC 7617).
pub(super) fn keys_shown(headers: &HeaderMap) -> Vec<String> {
    let Some(value) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok())
    else {
        return Vec::new();
    };
    let Some((scheme, credentials)) = value.trim().split_once(' ') else { return Vec::new() };
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return vec![credentials.to_owned()];
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Vec::new();
    }
    let Ok(decoded) = STANDARD.decode(credentials) else { return Vec::new() };
    let Ok(decoded) = String::from_utf8(decoded) else { return Vec::new() };
    match decoded.split_once(':') {
        Some((user, password)) => vec![password.to_owned(), user.to_owned()],
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_all_forms() {
        for (value, keys) in [
            ("Bearer k1", vec!["k1"]),
            ("bearer  k1 ", vec!["k1"]),
            ("Basic dXNlcjpwdw==", vec!["pw", "user"]),
            ("Basic dXNlcg==", vec![]),
            ("Basic !!", vec![]),
            ("Digest x", vec![]),
            ("k1", vec![]),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            assert_eq!(keys_shown(&headers), keys, "{value}");
        }
        assert!(keys_shown(&HeaderMap::new()).is_empty());
    }
}
