//! The origin's signing key: made once, kept in the data directory, readable by its owner alone.

use shoal_wire::OriginSigner;
use std::io::{self, Write};
use std::path::Path;

/// Reads the key at `path`, or makes one there.
///
/// # Errors
/// The file system's, or [`io::ErrorKind::InvalidData`] if the file is no key.
pub(crate) fn load_or_make(path: &Path) -> io::Result<OriginSigner> {
    match std::fs::read(path) {
        Ok(bytes) => match <[u8; 32]>::try_from(bytes) {
            Ok(secret) => Ok(OriginSigner::from_secret(&secret)),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the signing key is not 32 bytes long: restore it, or delete it to make a new one",
            )),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
        Err(error) => Err(error),
    }
}

fn make(path: &Path) -> io::Result<OriginSigner> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let aside = path.with_extension("part");
    // What a crash left of an earlier attempt.
    let _ = std::fs::remove_file(&aside);
    let mut file = options.open(&aside)?;
    file.write_all(&secret)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)?;
    Ok(OriginSigner::from_secret(&secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing.key");
        let made = load_or_make(&path).unwrap();
        assert_eq!(load_or_make(&path).unwrap().key(), made.key());
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::write(&path, b"short").unwrap();
        assert!(load_or_make(&path).err().unwrap().to_string().contains("32 bytes"));
    }
}
