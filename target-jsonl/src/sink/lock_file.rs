//! The lock that a file has one writer.
//!
//! It is on a file of its own that only its owner can open. Whoever may read a file can lock it, too, so a
//! lock on the data itself would let anybody stop the target.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tracing::warn;

use super::error::SinkError;
use super::own_file::{self, OpenError};

/// A lock, which is held until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(super) struct LockFile {
    path: PathBuf,
    file: File,
}

impl LockFile {
    /// Takes the lock for the file at `path`; `None`, with a warning, if there can be none.
    pub(super) fn take(path: &Path) -> Result<Option<Self>, SinkError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let lock_path = path.with_file_name(format!(".{name}.lock"));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        loop {
            let file = match own_file::open(&options, &lock_path) {
                Ok(file) => file,
                // The holder has just deleted it.
                Err(OpenError::NotOwn(_)) if !lock_path.exists() && !lock_path.is_symlink() => continue,
                Err(OpenError::NotOwn(what)) => {
                    return Err(SinkError::NotOwnFile { path: lock_path, what });
                }
                // Another user has created it, or may create files here. That must not stop this one.
                Err(OpenError::Io(error)) => return Ok(without_lock(path, &error)),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(SinkError::Locked(path.to_owned())),
                // Some network file systems have no locks. That is no reason not to write there.
                Err(TryLockError::Error(error)) => return Ok(without_lock(path, &error)),
            }
            let lock = LockFile { path: lock_path.clone(), file };
            if lock.has_its_name() {
                return Ok(Some(lock));
            }
            // Its last holder has deleted it in the meantime, so it locks nothing.
        }
    }

    fn has_its_name(&self) -> bool {
        let of = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let named = fs::symlink_metadata(&self.path).map(of).ok();
        named.is_some() && named == self.file.metadata().map(of).ok()
    }
}

fn without_lock(path: &Path, error: &io::Error) -> Option<LockFile> {
    warn!("{} cannot be locked ({error}); make sure that no other process writes to it", path.display());
    None
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // While the lock is held, so nobody else's file is deleted.
        if self.has_its_name() {
            let _ = fs::remove_file(&self.path);
        }
    }
}
