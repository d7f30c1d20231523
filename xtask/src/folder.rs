//! A working folder of one run: temporary, or where its owner wants it kept.
//!
//! Rule: it is empty at first, so that nothing of an earlier run is taken for this one's, and what
//! is temporary goes with the value.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// The folder.
pub(crate) struct Folder {
    path: PathBuf,
    is_kept: bool,
}

impl Folder {
    /// `keep`, or one in the system's folder for temporary files with `name` in its name.
    ///
    /// # Errors
    /// It cannot be made, or something is in it.
    pub(crate) fn create(name: &str, keep: Option<&Path>) -> Result<Self> {
        let path = match keep {
            Some(path) => std::path::absolute(path)?,
            None => std::env::temp_dir().join(format!("shoal-{name}-{}", std::process::id())),
        };
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
        ensure!(path.read_dir()?.next().is_none(), "{} is not empty", path.display());
        Ok(Self { path, is_kept: keep.is_some() })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.is_kept {
            // Another process may still hold a log open; what stays is a temporary file.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_temporary_goes_and_what_is_kept_stays() {
        let temporary = Folder::create("folder-test", None).unwrap();
        let path = temporary.path().to_owned();
        std::fs::write(path.join("log"), "x").unwrap();
        assert!(Folder::create("folder-test", None).is_err(), "something is in it");
        drop(temporary);
        assert!(!path.exists());
        let kept = Folder::create("", Some(&path)).unwrap();
        drop(kept);
        assert!(path.exists());
        std::fs::remove_dir(&path).unwrap();
    }
}
