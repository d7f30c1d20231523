//! The keys that tokens are signed with: the operator's, from the configuration or a key set that
//! is read again from time to time, and the server's own.
//!
//! Rule: a key has one algorithm, and a token is tried against keys of its algorithm only. If a key
//! set cannot be read, the keys of the last time go on to count.

use super::crypto;
use super::token::{Bearer, Claims, Streams, TOKEN_BYTES_MAX, Ticket, TokenError, read};
use crate::config::{AuthConfig, Jwks, OptionalSecret};
use crate::net::client;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, decode_header, encode, get_current_timestamp,
};
use shoal_wire::StreamName;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

/// Most keys of a set: a few old and a few new ones of each algorithm.
const KEYS_MAX: usize = 16;
/// Most bytes of a set.
const JWKS_BYTES_MAX: usize = 256 * 1024;
/// Time for a set to come.
const JWKS_TIMEOUT: Duration = Duration::from_secs(5);

/// One key.
struct Key {
    /// Its name in its set.
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// All keys.
pub(crate) struct Keys {
    fixed: Vec<Key>,
    jwks: Jwks,
    from_set: RwLock<Vec<Key>>,
    own: DecodingKey,
    own_signs: EncodingKey,
    client: reqwest::Client,
}

impl Keys {
    /// Those of the configuration; a key set is read by [`Keys::refresh`].
    pub(super) fn new(config: &AuthConfig, own_secret: &[u8; 32]) -> Result<Self, String> {
        crypto::install();
        let in_file = match &config.secret_file.0 {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("auth.secret_file, {}: {error}", path.display()))?;
                let secret: OptionalSecret =
                    text.parse().map_err(|error| format!("auth.secret_file: {error}"))?;
                Some(secret.0.ok_or("auth.secret_file: the file is empty")?)
            }
        };
        let secrets = config.secret.0.iter().chain(&in_file).map(|secret| {
            let key = DecodingKey::from_secret(secret.as_bytes());
            Key { id: None, algorithm: Algorithm::HS256, key }
        });
        let public = config.public_key.0.iter().map(|key| {
            let key = DecodingKey::from_ed_der(key);
            Key { id: None, algorithm: Algorithm::EdDSA, key }
        });
        let secure = matches!(&config.jwks, Jwks::Url(url) if url.scheme() == "https");
        let builder = reqwest::Client::builder().timeout(JWKS_TIMEOUT);
        Ok(Self {
            fixed: secrets.chain(public).collect(),
            jwks: config.jwks.clone(),
            from_set: RwLock::default(),
            own: DecodingKey::from_secret(own_secret),
            own_signs: EncodingKey::from_secret(own_secret),
            client: client(builder, secure)?,
        })
    }

    /// Whether the operator configured none.
    pub(super) fn are_own_alone(&self) -> bool {
        self.fixed.is_empty() && self.jwks == Jwks::None
    }

    /// Who shows `token`, if it lets them into `stream` from `address`.
    pub(super) fn check(
        &self,
        token: &str,
        stream: &StreamName,
        address: IpAddr,
    ) -> Result<Ticket, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid("it is too long"));
        }
        let header = decode_header(token).map_err(|_| TokenError::Invalid("it is no JWT"))?;
        let of_set = self.from_set.read().unwrap_or_else(PoisonError::into_inner);
        let matching = self.fixed.iter().chain(of_set.iter()).filter(|key| {
            let named = key.id.is_none() || header.kid.is_none() || key.id == header.kid;
            named && key.algorithm == header.alg
        });
        for key in matching {
            if let Some(claims) = read(token, key.algorithm, &key.key)? {
                claims.check(stream, address)?;
                let bearer = Bearer::new("operator", &claims.sub);
                return Ok(Ticket { bearer, expires: claims.expires() });
            }
        }
        match read(token, Algorithm::HS256, &self.own)? {
            Some(claims) => {
                claims.check(stream, address)?;
                Ok(Ticket { bearer: Bearer::new("own", &claims.sub), expires: claims.expires() })
            }
            None => Err(TokenError::Invalid("no key of this server signed it")),
        }
    }

    /// A token for a viewer of `stream` whom nobody named.
    pub(super) fn issue(&self, stream: &StreamName, lifetime: Duration) -> String {
        let mut viewer = [0; 8];
        getrandom::fill(&mut viewer).expect("the system has randomness");
        let claims = Claims {
            sub: format!("{:016x}", u64::from_be_bytes(viewer)),
            exp: get_current_timestamp() + lifetime.as_secs(),
            stream: Streams::One(stream.to_string()),
            ip: None,
        };
        let header = Header { typ: None, ..Header::new(Algorithm::HS256) };
        encode(&header, &claims, &self.own_signs).expect("claims are text and numbers")
    }

    /// Reads the key set again.
    pub(crate) async fn refresh(&self) {
        let text = match &self.jwks {
            Jwks::None => return,
            Jwks::File(path) => tokio::fs::read(path).await.map_err(|error| error.to_string()),
            Jwks::Url(url) => self.fetch(url).await,
        };
        match text.and_then(|text| keys_of(&text)) {
            Ok(keys) => {
                tracing::debug!(keys = keys.len(), "read the key set");
                *self.from_set.write().unwrap_or_else(PoisonError::into_inner) = keys;
            }
            Err(error) => tracing::warn!(error, "cannot read the key set (auth.jwks)"),
        }
    }

    async fn fetch(&self, url: &url::Url) -> Result<Vec<u8>, String> {
        let answer = self.client.get(url.clone()).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        let mut answer = answer.map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| error.to_string())? {
            if bytes.len() + piece.len() > JWKS_BYTES_MAX {
                return Err(format!("it has more than {JWKS_BYTES_MAX} bytes"));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

/// The usable keys of a set (RFC 7517); others in it are somebody else's.
fn keys_of(text: &[u8]) -> Result<Vec<Key>, String> {
    let set: JwkSet = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let keys: Vec<Key> = set.keys.iter().filter_map(key_of).take(KEYS_MAX).collect();
    if keys.is_empty() { Err("it has no key for HS256 or EdDSA".to_owned()) } else { Ok(keys) }
}

fn key_of(jwk: &Jwk) -> Option<Key> {
    let algorithm = if matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_)) {
        Algorithm::HS256
    } else if matches!(jwk.algorithm, AlgorithmParameters::OctetKeyPair(_)) {
        Algorithm::EdDSA
    } else {
        return None;
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    Some(Key { id: jwk.common.key_id.clone(), algorithm, key })
}

/// The secret that the server's own tokens are signed with, kept so that they outlive a restart.
///
/// # Errors
/// The file system's.
pub(crate) fn own_secret(path: &Path) -> io::Result<[u8; 32]> {
    match std::fs::read(path) {
        Ok(bytes) => {
            if let Ok(secret) = bytes.try_into() {
                return Ok(secret);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
    let aside = path.with_extension("part");
    // What a crash left of an earlier attempt.
    let _ = std::fs::remove_file(&aside);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&aside)?.write_all(&secret)?;
    std::fs::rename(&aside, path)?;
    Ok(secret)
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
