//! Files that the user names on the command line or in the configuration.
//!
//! Opening a pipe waits until somebody writes to it, and reading one takes its content away. So a file that
//! is read while other work goes on, or more than once, must be a regular file: [`open_regular`] and
//! [`read_regular`] refuse anything else. [`read`] takes pipes and devices too, for what is read once at the
//! start: `--config <(…)` works.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Why a file that the user named cannot be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum FileError {
    #[error("{path} cannot be read: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path} is not a regular file")]
    NotRegular { path: PathBuf },
}

impl FileError {
    /// Whether the file does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, FileError::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |source| FileError::Unreadable { path: path.to_owned(), source }
}

/// Opens a regular file for reading. Never waits for a pipe's writer.
pub fn open_regular(path: &Path) -> Result<File, FileError> {
    if !path.metadata().map_err(unreadable(path))?.is_file() {
        return Err(FileError::NotRegular { path: path.to_owned() });
    }
    File::open(path).map_err(unreadable(path))
}

/// Reads a whole regular file. Never waits for a pipe's writer.
pub fn read_regular(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut content = Vec::new();
    open_regular(path)?.read_to_end(&mut content).map_err(unreadable(path))?;
    Ok(content)
}

/// Reads whatever `path` leads to, up to its end. Waits for a pipe's writer.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(unreadable(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_file_is_read_and_anything_else_is_refused_at_once() {
        assert!(read_regular(Path::new(env!("CARGO_MANIFEST_PATH"))).is_ok_and(|text| !text.is_empty()));
        for other in ["/dev/zero", "/"] {
            let error = read_regular(Path::new(other)).expect_err(other);
            assert_eq!(error.to_string(), format!("{other} is not a regular file"));
        }
        let error = read_regular(Path::new("/no such file")).expect_err("there is none");
        assert!(error.is_not_found());
        assert!(error.to_string().starts_with("/no such file cannot be read: No such file"), "{error}");
    }
}
