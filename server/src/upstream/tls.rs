//! TLS towards upstreams: certificates are judged as the system judges them.
//!
//! Rule: a server that asks nobody over https needs no certificates, and trusts nobody.

use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use std::sync::Arc;

/// Whether https upstreams can be asked.
pub(crate) const AVAILABLE: bool = true;

/// Makes the HTTP client trust whom the system trusts, if that is `needed`.
pub(super) fn apply(
    builder: reqwest::ClientBuilder,
    needed: bool,
) -> Result<reqwest::ClientBuilder, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    let config = if needed {
        config
            .with_platform_verifier()
            .map_err(|error| format!("{error}; are the system's CA certificates installed?"))?
            .with_no_client_auth()
    } else {
        config.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
    };
    Ok(builder.tls_backend_preconfigured(config))
}
