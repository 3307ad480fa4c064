//! The directory of the files.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use tracing::warn;

use super::error::SinkError;

/// A directory that exists, and still exists after a crash.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
}

impl Directory {
    /// Opens the directory. Creates it and those above it if they are missing.
    pub(crate) fn open(path: &Path) -> Result<Self, SinkError> {
        let advice = "check \"destination_path\" and the permissions of the directories above it";
        create(path).map_err(SinkError::storage(path, "created", advice))?;
        Ok(Directory { path: path.to_owned() })
    }

    /// Makes sure that the names of new files are on disk.
    pub(crate) fn sync(&self) -> Result<(), SinkError> {
        sync(&self.path).map_err(SinkError::sync(&self.path))
    }
}

/// Creates the missing directories, and syncs the directory above each: only then is the new name on disk.
fn create(path: &Path) -> io::Result<()> {
    let missing: Vec<_> = path.ancestors().take_while(|ancestor| !or_current(ancestor).exists()).collect();
    for directory in missing.into_iter().rev() {
        match fs::create_dir(directory) {
            // Another process was faster, or the path contains `..`.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            outcome => outcome?,
        }
        sync(or_current(directory.parent().unwrap_or(directory)))?;
    }
    if or_current(path).is_dir() { Ok(()) } else { Err(ErrorKind::NotADirectory.into()) }
}

/// Replaces the empty path, which is what stands above a relative one, by the current directory.
fn or_current(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// Syncs a directory. Some file systems cannot: there, a new file may not survive a power cut in the moments
/// after it was created.
fn sync(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            warn!("{}: this file system cannot sync a directory ({error}); going on", path.display());
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_directories_are_created() {
        let root = tempfile::tempdir().expect("a directory");
        for path in ["a", "a/b/c", "a/b/c", "d/../e"] {
            let path = root.path().join(path);
            Directory::open(&path).expect("created").sync().expect("synced");
            assert!(path.is_dir(), "{}", path.display());
        }
    }

    #[test]
    fn a_file_in_the_way_is_an_error_that_names_it() {
        let root = tempfile::tempdir().expect("a directory");
        fs::write(root.path().join("file"), "").expect("a file");
        for path in ["file", "file/below"] {
            let path = root.path().join(path);
            let error = Directory::open(&path).expect_err("a file is in the way").to_string();
            assert!(error.starts_with(&format!("{} cannot be created: ", path.display())), "{error}");
        }
    }
}
