//! TLS towards origins and trackers.
//!
//! Rule: certificates are judged as the system judges them. An agent whose origins are all plain
//! HTTP needs no certificates, and gets a configuration that trusts nobody.

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How servers are trusted.
#[derive(Clone, Debug)]
pub(crate) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// With the system's certificates, if `needed`.
    ///
    /// # Errors
    /// A sentence, if they cannot be used.
    pub(crate) fn new(needed: bool) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?;
        let config = if needed {
            let verified = builder
                .with_platform_verifier()
                .map_err(|error| format!("{error}; are the system's CA certificates installed?"))?;
            verified.with_no_client_auth()
        } else {
            builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        };
        Ok(Self(Arc::new(config)))
    }

    /// Makes the HTTP client trust alike.
    pub(crate) fn apply(&self, builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        builder.tls_backend_preconfigured(ClientConfig::clone(&self.0))
    }

    /// TLS over `tcp` to `host`.
    pub(crate) async fn connect(
        &self,
        host: &str,
        tcp: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        TlsConnector::from(Arc::clone(&self.0)).connect(name, tcp).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::{OriginClient, PlaylistFailure};
    use crate::token::Tokens;
    use rustls::ServerConfig;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use url::Url;

    /// A TLS server that answers every request with a short text; its port and certificate.
    async fn server() -> (u16, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let Ok(mut tls) = acceptor.accept(tcp).await else { continue };
                let mut request = [0; 1024];
                if tls.read(&mut request).await.is_ok() {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n#EXTM3U";
                    tls.write_all(answer).await.unwrap();
                }
            }
        });
        (port, certificate)
    }

    fn trusting(certificate: CertificateDer<'static>) -> Tls {
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        Tls(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    }

    #[tokio::test]
    async fn only_trusted_servers_are_talked_to() {
        let (port, certificate) = server().await;
        let url = Url::parse(&format!("https://localhost:{port}/index.m3u8")).unwrap();
        for (tls, trusted) in [(trusting(certificate), true), (Tls::new(false).unwrap(), false)] {
            let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            assert_eq!(tls.connect("localhost", tcp).await.is_ok(), trusted);
            let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            assert!(tls.connect("other.example", tcp).await.is_err());
            let client = OriginClient::new(Arc::new([]), &tls, Tokens::new(None).unwrap()).unwrap();
            let text = client.playlist(url.clone()).await.map(|playlist| playlist.text);
            let expected =
                if trusted { Ok("#EXTM3U".into()) } else { Err(PlaylistFailure::Unreachable) };
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn the_systems_certificates_can_be_used() {
        // A machine without any says so; it must not fail later.
        if let Err(error) = Tls::new(true) {
            assert!(error.contains("certificate"), "{error}");
        }
    }
}
