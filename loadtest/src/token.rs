//! Viewers' tokens, signed as an operator's site signs them.
//!
//! Rule: each viewer has one of its own, since a server counts what one token's bearers do.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longer than any run.
const LASTS: Duration = Duration::from_secs(24 * 3600);

/// Signs tokens for one stream.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    key: hmac::Key,
    stream: String,
}

impl Signer {
    /// With the secret in a file, of which space around it is no part.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn read(path: &Path, stream: &str) -> Result<Self> {
        let secret = std::fs::read_to_string(path);
        let secret = secret.with_context(|| format!("cannot read {}", path.display()))?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.trim().as_bytes());
        Ok(Self { key, stream: stream.to_owned() })
    }

    /// The token of a viewer, from now on.
    pub(crate) fn sign(&self, viewer: u64) -> String {
        // A clock before 1970 makes a token that has expired, which the server says.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let claims = json!({
            "sub": format!("load-{viewer}"),
            "stream": self.stream,
            "exp": (now + LASTS).as_secs(),
        });
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", part(r#"{"alg":"HS256"}"#), part(&claims.to_string()));
        let tag = hmac::sign(&self.key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    }
}
