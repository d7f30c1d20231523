//! What stands in for TLS in a build without the feature `tls`: a refusal.
//!
//! Rule: an https origin is refused when the agent starts, so nothing here is ever asked to speak
//! TLS.

use std::future::{Ready, ready};
use std::io;
use tokio::net::TcpStream;

/// No TLS.
#[derive(Clone, Debug)]
pub(crate) struct Tls(());

impl Tls {
    /// # Errors
    /// A sentence, if TLS is `needed`.
    pub(crate) fn new(needed: bool) -> Result<Self, String> {
        if needed {
            Err("this build speaks plain HTTP only; build it with `--features tls`".to_owned())
        } else {
            Ok(Self(()))
        }
    }

    /// Nothing is to be set.
    pub(crate) fn apply(&self, builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        builder
    }

    /// # Errors
    /// Always.
    pub(crate) fn connect(&self, host: &str, tcp: TcpStream) -> Ready<io::Result<TcpStream>> {
        drop(tcp);
        let sentence = format!("no TLS to {host} in this build");
        ready(Err(io::Error::new(io::ErrorKind::Unsupported, sentence)))
    }
}
