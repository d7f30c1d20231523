//! HTTP clients of a build without TLS: they ask over http alone.
//!
//! Rule: it stands where `client` stands in a build with the feature `tls`. Whoever reads an https
//! URL from the operator refuses it ([`SPEAKS_TLS`]), so none gets this far.

/// Whether anybody can be asked over https.
pub(crate) const SPEAKS_TLS: bool = false;

/// The client that `builder` describes.
///
/// # Errors
/// A sentence, if it cannot be made.
pub(crate) fn client(
    builder: reqwest::ClientBuilder,
    _secure: bool,
) -> Result<reqwest::Client, String> {
    builder.build().map_err(|error| error.to_string())
}
