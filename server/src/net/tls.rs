//! TLS from files: whoever renews the certificate writes the files, and new connections have it.
//!
//! Rule: a pair of files that cannot be used never replaces one that can.

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio_rustls::TlsAcceptor;

/// Time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A certificate with its chain, and its key, as PEM files.
#[derive(Debug)]
pub(crate) struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// From these files; what is wrong with them is said in a sentence.
    pub(crate) fn load(chain: PathBuf, key: PathBuf) -> Result<Arc<Self>, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let current = RwLock::new(read(&chain, &key, &provider)?);
        Ok(Arc::new(Self { chain, key, provider, current }))
    }

    /// What makes TLS connections of plain ones.
    pub(crate) fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, String> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let resolver = Arc::clone(self);
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Reads the files again whenever they change, for ever.
    pub(crate) async fn keep_fresh(self: Arc<Self>) {
        let mut seen = self.modified();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.modified();
            if now == seen {
                continue;
            }
            match read(&self.chain, &self.key, &self.provider) {
                Ok(key) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = key;
                    seen = now;
                    tracing::info!("the new certificate is in use");
                }
                // Perhaps the other file is still being written: the next look tells.
                Err(error) => tracing::warn!(error, "the certificate in use is kept"),
            }
        }
    }

    fn modified(&self) -> [Option<SystemTime>; 2] {
        [&self.chain, &self.key].map(|path| path.metadata().ok()?.modified().ok())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn read(
    chain: &PathBuf,
    key: &PathBuf,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, String> {
    let of = |path: &PathBuf, flag: &str, error: &dyn std::fmt::Display| {
        format!("{} ({flag}): {error}", path.display())
    };
    let in_chain = |error: &dyn std::fmt::Display| of(chain, "--tls-certificate", error);
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| in_chain(&error))?;
    if certificates.is_empty() {
        return Err(in_chain(&"no certificate in PEM is in it"));
    }
    let in_key = |error: &dyn std::fmt::Display| of(key, "--tls-key", error);
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| in_key(&error))?;
    let certified = CertifiedKey::from_der(certificates, private, provider);
    certified.map(Arc::new).map_err(|error| in_key(&error))
}
