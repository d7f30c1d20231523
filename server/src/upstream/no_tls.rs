//! A build without TLS: upstreams over http alone.
//!
//! Rule: it stands where `tls` stands in a build with that feature.

/// Whether https upstreams can be asked.
pub(crate) const AVAILABLE: bool = false;

/// Leaves the HTTP client as it is: no https URL gets this far.
#[allow(clippy::unnecessary_wraps, reason = "with TLS it can fail")]
pub(super) fn apply(
    builder: reqwest::ClientBuilder,
    _needed: bool,
) -> Result<reqwest::ClientBuilder, String> {
    Ok(builder)
}
