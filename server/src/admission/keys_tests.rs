//! Tokens that hold and tokens that do not.

use super::*;
use crate::config::Config;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn keys(toml: &str) -> Keys {
    Keys::new(&Config::from_toml(toml).unwrap().auth, &[9; 32]).unwrap()
}

fn hs256(claims: &Value, secret: &str) -> String {
    crypto::install();
    encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn eddsa(claims: &Value, key: &SigningKey, header: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()).to_bytes());
    format!("{message}.{signature}")
}

fn soon() -> u64 {
    get_current_timestamp() + 60
}

fn check(keys: &Keys, token: &str) -> Result<Bearer, TokenError> {
    ticket(keys, token).map(|ticket| ticket.bearer)
}

fn ticket(keys: &Keys, token: &str) -> Result<Ticket, TokenError> {
    keys.check(token, &"cam".parse().unwrap(), [192, 0, 2, 1].into())
}

#[test]
fn claims_are_held_to() {
    let keys = keys(&format!("auth.secret = '{SECRET}'"));
    let stream = || TokenError::Stream("cam".parse().unwrap());
    let past = get_current_timestamp() - 3600;
    for (claims, error) in [
        (json!({"sub": "a", "exp": soon(), "stream": "cam"}), None),
        (json!({"sub": "a", "exp": soon(), "stream": ["x", "cam"]}), None),
        (json!({"sub": "a", "exp": soon(), "stream": "*", "aud": "shoal"}), None),
        (json!({"sub": "a", "exp": soon(), "stream": "*", "ip": "192.0.2.1"}), None),
        (json!({"sub": "a", "exp": soon(), "stream": "cam2"}), Some(stream())),
        (json!({"sub": "a", "exp": soon(), "stream": ["ca", "CAM"]}), Some(stream())),
        (json!({"sub": "a", "exp": soon(), "stream": []}), Some(stream())),
        (json!({"sub": "a", "exp": past, "stream": "cam"}), Some(TokenError::Expired)),
        (
            json!({"sub": "a", "exp": soon(), "stream": "*", "ip": "192.0.2.2"}),
            Some(TokenError::Viewer),
        ),
    ] {
        assert_eq!(check(&keys, &hs256(&claims, SECRET)).err(), error, "{claims}");
    }
    for claims in [
        json!({"sub": "a", "stream": "cam"}),
        json!({"exp": soon(), "stream": "cam"}),
        json!({"sub": "", "exp": soon(), "stream": "cam"}),
        json!({"sub": "a", "exp": soon()}),
        json!({"sub": "a", "exp": soon(), "stream": "cam", "aud": "mail"}),
        json!({"sub": "a", "exp": soon(), "stream": "cam", "nbf": soon() + 60}),
    ] {
        let error = check(&keys, &hs256(&claims, SECRET)).unwrap_err();
        assert!(matches!(error, TokenError::Invalid(_)), "{claims}: {error}");
    }
}

#[test]
fn a_ticket_ends_when_its_token_is_refused() {
    let keys = keys(&format!("auth.secret = '{SECRET}'"));
    for (exp, least, most) in [
        (soon(), 89, 91),
        // Clocks may be half a minute apart.
        (get_current_timestamp() - 20, 9, 11),
        (u64::MAX, 364 * 24 * 3600, 365 * 24 * 3600),
    ] {
        let claims = json!({"sub": "a", "exp": exp, "stream": "cam"});
        let expires = ticket(&keys, &hs256(&claims, SECRET)).unwrap().expires;
        let left = expires.duration_since(tokio::time::Instant::now()).as_secs();
        assert!((least..=most).contains(&left), "{exp}: {left}");
    }
}

#[test]
fn only_what_a_key_signed_is_believed() {
    let signer = SigningKey::from_bytes(&[5; 32]);
    let public = STANDARD.encode(signer.verifying_key().to_bytes());
    let keys = keys(&format!("auth.public_key = '{public}'"));
    let claims = json!({"sub": "a", "exp": soon(), "stream": "cam"});
    let good = eddsa(&claims, &signer, &json!({"alg": "EdDSA"}));
    assert!(check(&keys, &good).is_ok());
    let other = eddsa(&claims, &SigningKey::from_bytes(&[6; 32]), &json!({"alg": "EdDSA"}));
    let none = eddsa(&claims, &signer, &json!({"alg": "none"}));
    let mixed = eddsa(&claims, &signer, &json!({"alg": "HS256"}));
    // A public key is no secret, whatever the header says.
    let confused = hs256(&claims, &public);
    let changed = good.replacen('.', ".e", 1);
    let long = format!("{good}{}", "A".repeat(TOKEN_BYTES_MAX));
    for token in [other, none, mixed, confused, changed, long, String::new(), "a.b.c".into()] {
        let error = check(&keys, &token).unwrap_err();
        assert!(matches!(error, TokenError::Invalid(_)), "{token}: {error}");
    }
}

#[test]
fn the_servers_own_tokens_are_for_one_stream_and_outlive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("join.key");
    let secret = own_secret(&path).unwrap();
    assert_eq!(own_secret(&path).unwrap(), secret);
    let keys = keys("");
    assert!(keys.are_own_alone());
    let token = keys.issue(&"cam".parse().unwrap(), Duration::from_secs(60));
    assert!(token.len() < 160, "{token}");
    let first = check(&keys, &token).unwrap();
    let second = keys.issue(&"cam".parse().unwrap(), Duration::from_secs(60));
    assert_ne!(check(&keys, &second).unwrap(), first, "each is another viewer's");
    let foreign = keys.issue(&"dog".parse().unwrap(), Duration::from_secs(60));
    assert!(matches!(check(&keys, &foreign), Err(TokenError::Stream(_))));
}

#[tokio::test]
async fn a_key_set_is_read_again_and_kept_if_it_cannot_be() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let set = |id: &str, key: &SigningKey| {
        let x = URL_SAFE_NO_PAD.encode(key.verifying_key().to_bytes());
        let foreign = json!({"kty": "EC", "crv": "P-256", "x": x, "y": x});
        json!({"keys": [foreign, {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": id}]}).to_string()
    };
    let (old, new) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
    std::fs::write(&path, set("1", &old)).unwrap();
    let keys = keys(&format!("auth.jwks = '{}'", path.display()));
    keys.refresh().await;
    let claims = json!({"sub": "a", "exp": soon(), "stream": "cam"});
    let by_old = eddsa(&claims, &old, &json!({"alg": "EdDSA", "kid": "1"}));
    let by_new = eddsa(&claims, &new, &json!({"alg": "EdDSA", "kid": "2"}));
    assert!(check(&keys, &by_old).is_ok() && check(&keys, &by_new).is_err());
    std::fs::write(&path, set("2", &new)).unwrap();
    keys.refresh().await;
    assert!(check(&keys, &by_old).is_err() && check(&keys, &by_new).is_ok());
    std::fs::write(&path, "{").unwrap();
    keys.refresh().await;
    assert!(check(&keys, &by_new).is_ok(), "what is known stays");
    let misnamed = eddsa(&claims, &new, &json!({"alg": "EdDSA", "kid": "1"}));
    assert!(check(&keys, &misnamed).is_err());
}
