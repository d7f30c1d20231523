//! TLS from files: connections have it, and a renewed certificate is used without a restart.

use crate::harness::{Fixture, soon};
use base64::Engine;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Writes a new certificate for localhost and its key; the certificate.
fn renew(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = pem("PRIVATE KEY", &made.signing_key.serialize_der());
    std::fs::write(folder.join("key.pem"), key).unwrap();
    std::fs::write(folder.join("chain.pem"), pem("CERTIFICATE", made.cert.der())).unwrap();
    made.cert.der().clone()
}

/// What `GET path` answers to a client that trusts this certificate alone.
async fn get(fixture: &Fixture, path: &str, trusted: &CertificateDer<'static>) -> Option<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(fixture.address()).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").unwrap();
    let mut socket = soon(connector.connect(name, socket)).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    soon(socket.write_all(request.as_bytes())).await.unwrap();
    let mut answer = Vec::new();
    // The server may close without TLS's own goodbye.
    let _ = soon(socket.read_to_end(&mut answer)).await;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
    let files = tempfile::tempdir().unwrap();
    let first = renew(files.path());
    let path = |name: &str| files.path().join(name).display().to_string();
    let more = format!(
        "server.tls_certificate = '{}'\nserver.tls_key = '{}'\n",
        path("chain.pem"),
        path("key.pem")
    );
    let fixture = Fixture::with(&more).await;
    let page = get(&fixture, "/live/cam/index.m3u8", &first).await.unwrap();
    assert!(page.starts_with("HTTP/1.1 404"), "{page}");
    let plain = crate::harness::raw(fixture.address(), b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(!plain.starts_with(b"HTTP"), "nothing is said in the clear");
    std::fs::write(path("chain.pem"), "no certificate").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    assert!(get(&fixture, "/", &first).await.is_some(), "the old one is kept");
    let second = renew(files.path());
    let renewed = async {
        while get(&fixture, "/", &second).await.is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    soon(renewed).await;
    assert!(get(&fixture, "/", &first).await.is_none(), "the old one is not used any more");
}
