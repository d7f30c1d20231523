//! Decryption keys that encoders push (RFC 8216, 4.3.2.4).
//!
//! Rule: a key is served over HTTP at the path that it was pushed to, and is never an object: peers
//! share ciphertext alone. The newest [`KEYS_MAX`] are kept.

use super::files;
use super::publish::PublishError;
use super::stream::{PushError, Stream};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

/// Most bytes of one key: AES-128 has 16, and formats of other systems stay below this.
pub(crate) const KEY_BYTES_MAX: usize = 1024;
/// Most keys of a stream: a day with a new one each minute, and room.
const KEYS_MAX: usize = 2048;

/// The keys of a stream, oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Keys(VecDeque<(String, Vec<u8>)>);

impl Keys {
    pub(super) fn by_path(&self) -> HashMap<String, Bytes> {
        self.0.iter().map(|(path, key)| (path.clone(), Bytes::from(key.clone()))).collect()
    }

    fn put(&mut self, path: &str, key: &[u8]) {
        self.0.retain(|(known, _)| known != path);
        self.0.push_back((path.to_owned(), key.to_vec()));
        while self.0.len() > KEYS_MAX {
            self.0.pop_front();
        }
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("keys.json")
}

/// The keys of the stream in `dir`.
pub(super) fn load(dir: &Path) -> io::Result<Keys> {
    match std::fs::read(path(dir)) {
        Ok(json) => serde_json::from_slice(&json).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Keys::default()),
        Err(error) => Err(error),
    }
}

impl Stream {
    /// A key is pushed to `at`.
    pub(crate) async fn push_key(&self, at: &str, key: &[u8]) -> Result<(), PushError> {
        let mut writer = self.writer.lock().await;
        let mut keys = writer.keys.clone();
        keys.put(at, key);
        self.save_keys(&keys).await.map_err(PublishError::from)?;
        self.view_mut().keys = keys.by_path();
        writer.keys = keys;
        Ok(())
    }

    /// Stores `all` in place of those that are stored.
    pub(super) async fn store_keys(&self, all: Vec<(String, Vec<u8>)>) -> io::Result<()> {
        let mut keys = Keys::default();
        all.iter().for_each(|(at, key)| keys.put(at, key));
        self.save_keys(&keys).await
    }

    async fn save_keys(&self, keys: &Keys) -> io::Result<()> {
        let json = serde_json::to_vec(keys).map_err(io::Error::other)?;
        files::replace(&path(&self.dir), &json, true).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept() {
        let mut keys = Keys::default();
        for number in 0..=KEYS_MAX {
            keys.put(&number.to_string(), b"k");
        }
        keys.put("1", b"new");
        let by_path = keys.by_path();
        assert_eq!(by_path.len(), KEYS_MAX);
        assert!(!by_path.contains_key("0"), "the oldest went");
        assert_eq!(by_path["1"], "new");
        let read: Keys = serde_json::from_slice(&serde_json::to_vec(&keys).unwrap()).unwrap();
        assert_eq!(read.by_path(), by_path);
    }
}
