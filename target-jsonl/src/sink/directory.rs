//! The directory of all files.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::error::TargetError;

/// A directory that is there, and is still there after a crash.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Opens the directory. It is created if it is missing, and so are those above it.
    pub fn open(path: &Path) -> Result<Self, TargetError> {
        create(path).map_err(|cause| TargetError::Storage {
            path: path.to_owned(),
            action: "created",
            cause,
            advice: "check \"destination_path\", and who may write there",
        })?;
        Ok(Directory { path: path.to_owned() })
    }

    /// Where the directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sure that the names of new files are on disk.
    pub fn sync(&self) -> Result<(), TargetError> {
        sync(&self.path).map_err(|cause| TargetError::Storage {
            path: self.path.clone(),
            action: "synced to disk",
            cause,
            advice: "no STATE was printed for what is uncertain; check the disk, then run the tap again",
        })
    }
}

/// A directory's name is on disk once the directory above it is synced.
fn create(path: &Path) -> io::Result<()> {
    let missing: Vec<_> = path.ancestors().take_while(|ancestor| !here(ancestor).exists()).collect();
    for directory in missing.into_iter().rev() {
        match fs::create_dir(directory) {
            // Another process was quicker, or the path has `..` in it.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            outcome => outcome?,
        }
        sync(here(directory.parent().unwrap_or(directory)))?;
    }
    if here(path).is_dir() { Ok(()) } else { Err(ErrorKind::NotADirectory.into()) }
}

/// The empty path above a relative one is the current directory.
fn here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
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
            assert!(error.starts_with(&format!("{} can't be created: ", path.display())), "{error}");
        }
    }
}
