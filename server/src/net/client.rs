//! HTTP clients of the server itself: towards upstreams, key sets, hooks and other servers.
//!
//! Rule: certificates are judged as the system judges them. Who asks nobody over https needs no
//! certificates, and trusts nobody. Every client of the server is made here, so that none depends
//! on a provider of cryptography that somebody else has to name first.

use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use std::sync::Arc;

/// Whether anybody can be asked over https.
pub(crate) const SPEAKS_TLS: bool = true;

/// The client that `builder` describes; it trusts whom the system trusts, if it is to be `secure`.
///
/// # Errors
/// A sentence, if the system's certificates cannot be used.
pub(crate) fn client(
    builder: reqwest::ClientBuilder,
    secure: bool,
) -> Result<reqwest::Client, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    let config = if secure {
        config
            .with_platform_verifier()
            .map_err(|error| format!("{error}; are the system's CA certificates installed?"))?
            .with_no_client_auth()
    } else {
        config.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
    };
    builder.tls_backend_preconfigured(config).build().map_err(|error| error.to_string())
}
