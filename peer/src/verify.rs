//! Who says that a digest is the origin's.
//!
//! Rule: whatever the way, only a digest that some key signed is let through.

use alloc::sync::Arc;
use bytes::Bytes;
use core::fmt::Debug;
use shoal_wire::{DecodeError, OriginKey, SignedDigest};

/// Reads digests and checks their signatures.
///
/// A process with many engines may remember what it has checked already: a signature takes as long
/// as the hashes of a hundred chunks.
pub trait Verifier: Debug + Send {
    /// The digest in `encoded`, if one of `keys` signed it.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none, or no key fits.
    fn verify(&self, encoded: &Bytes, keys: &[OriginKey])
    -> Result<Arc<SignedDigest>, DecodeError>;
}

/// Checks every signature, every time.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckSignature;

impl Verifier for CheckSignature {
    fn verify(
        &self,
        encoded: &Bytes,
        keys: &[OriginKey],
    ) -> Result<Arc<SignedDigest>, DecodeError> {
        SignedDigest::decode(encoded.clone(), keys).map(Arc::new)
    }
}
