//! Files of the origin: written whole or not at all.
//!
//! Rule: a file appears under its name only when it is complete (written aside, then renamed), so
//! a crash leaves the old one or the new one. It decides nothing about what is written.

use std::io;
use std::path::{Path, PathBuf};

/// Replaces `path` by `bytes` atomically. With `sync` the bytes are on the disk before the name is.
pub(crate) async fn replace(path: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
    let aside = aside(path);
    let mut file = tokio::fs::File::create(&aside).await?;
    tokio::io::AsyncWriteExt::write_all(&mut file, bytes).await?;
    tokio::io::AsyncWriteExt::flush(&mut file).await?;
    if sync {
        file.sync_all().await?;
    }
    drop(file);
    tokio::fs::rename(&aside, path).await
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// Deletes what is in `directory` and not among `keep`; what cannot be deleted stays.
pub(crate) fn sweep(directory: &Path, keep: impl Fn(&str) -> bool) -> io::Result<usize> {
    let mut deleted = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if !keep(&name.to_string_lossy()) && std::fs::remove_file(entry.path()).is_ok() {
            deleted += 1;
        }
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_replaced_and_the_rest_swept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        replace(&path, b"one", false).await.unwrap();
        replace(&path, b"two", true).await.unwrap();
        std::fs::write(directory.path().join("left.part"), b"x").unwrap();
        assert_eq!(sweep(directory.path(), |name| name == "state.json").unwrap(), 1);
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
    }
}
