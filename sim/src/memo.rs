//! Checks each signature once for the whole world.
//!
//! Rule: what it lets through without checking is the very bytes that it has checked, not equal
//! ones: the same place in memory, which it keeps alive.

use bytes::Bytes;
use shoal_peer::{CheckSignature, Verifier};
use shoal_wire::{DecodeError, OriginKey, SignedDigest};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

type Checked = HashMap<(usize, usize), (Bytes, Arc<SignedDigest>)>;

/// Remembers what was signed. Clones share what they remember.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memo(Arc<Mutex<Checked>>);

impl Verifier for Memo {
    fn verify(
        &self,
        encoded: &Bytes,
        keys: &[OriginKey],
    ) -> Result<Arc<SignedDigest>, DecodeError> {
        let place = (encoded.as_ptr() as usize, encoded.len());
        let mut checked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, digest)) = checked.get(&place) {
            return Ok(Arc::clone(digest));
        }
        let digest = CheckSignature.verify(encoded, keys)?;
        checked.insert(place, (encoded.clone(), Arc::clone(&digest)));
        Ok(digest)
    }
}
