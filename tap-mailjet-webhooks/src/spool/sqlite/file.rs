//! The files of a spool: made so that they survive a power cut, and watched while they are in use.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
#[cfg(not(target_os = "linux"))]
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tracing::warn;

use super::error::SqliteError;

/// Makes the file and its directory if they do not exist, in a way that survives a power cut.
pub(super) fn create(path: &Path) -> Result<(), SqliteError> {
    let io = |action| move |source| SqliteError::Io { path: path.to_owned(), action, source };
    let directory = parent_of(path);
    create_directory(directory).map_err(io("making its directory"))?;
    // Made here and not by SQLite, so that only its owner can read it: it holds e-mail addresses.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => sync_directory(directory).map_err(io("syncing its directory")),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io("making the file")(error)),
    }
}

fn create_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = parent_of(directory);
    create_directory(parent)?;
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory(parent),
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Demands that `path` is a regular file: for a directory or a device, SQLite says no more than "disk I/O error".
pub(super) fn demand_regular(path: &Path) -> Result<Metadata, SqliteError> {
    let io = |source| SqliteError::Io { path: path.to_owned(), action: "looking at it", source };
    let metadata = path.metadata().map_err(io)?;
    if metadata.is_file() { Ok(metadata) } else { Err(SqliteError::NotASpool { path: path.to_owned() }) }
}

/// Demands that there is no log without a database: SQLite would delete it, along with what only it holds.
pub(super) fn demand_no_lone_log(path: &Path) -> Result<(), SqliteError> {
    let log = log_of(path);
    let has_bytes = |file: &Path| file.metadata().is_ok_and(|metadata| metadata.len() > 0);
    // In this order: a spool that is being made has a database before it has a log.
    if has_bytes(&log) && !has_bytes(path) {
        return Err(SqliteError::LogWithoutSpool { path: path.to_owned(), log });
    }
    Ok(())
}

/// Logs a warning if the log has been deleted. SQLite makes the log's index after the log and deletes it before, so an index
/// alone means that something else has deleted the log.
pub(super) fn warn_if_log_is_gone(path: &Path) {
    let (log, index) = (log_of(path), index_of(path));
    // Checked twice: another process may be making both.
    if !log.exists() && index.exists() && !log.exists() {
        warn!(
            "spool {}: the last run did not end cleanly, and its log {} has since been deleted: events that only the \
             log held are lost",
            path.display(),
            log.display()
        );
    }
}

/// The write-ahead log of the spool at `path`.
pub(super) fn log_of(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

fn index_of(path: &Path) -> PathBuf {
    beside(path, "-shm")
}

/// A file beside the spool at `path`, or beside the file that a symbolic link there leads to.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.canonicalize().unwrap_or_else(|_| path.to_owned()).into_os_string();
    path.push(suffix);
    path.into()
}

/// The files of a spool, as they were when they were opened.
///
/// A file that is deleted or replaced stays what it was for a process that has it open: that process would go on writing,
/// and nobody else would ever see what it wrote.
#[derive(Debug)]
pub(super) struct OpenFiles {
    path: PathBuf,
    /// The database, its log, the log's index and the role's lock, each with its device and inode.
    files: [(PathBuf, (u64, u64)); 4],
}

impl OpenFiles {
    /// Notes which files the spool at `path` consists of now. `lock` is that of the process's role.
    pub(super) fn note(path: &Path, lock: &Path) -> Result<Self, SqliteError> {
        let with_identity = |file: PathBuf| match identity(&file) {
            Ok(identity) => Ok((file, identity)),
            Err(source) => {
                Err(SqliteError::Io { path: path.to_owned(), action: "looking at its files", source })
            }
        };
        let files = [
            with_identity(path.to_owned())?,
            with_identity(log_of(path))?,
            with_identity(index_of(path))?,
            with_identity(lock.to_owned())?,
        ];
        Ok(OpenFiles { path: path.to_owned(), files })
    }

    /// Demands that a process that opens the spool now gets the same files.
    pub(super) fn demand_unchanged(&self) -> Result<(), SqliteError> {
        for (file, noted) in &self.files {
            match identity(file) {
                Ok(found) if found == *noted => {}
                Err(source) if source.kind() != ErrorKind::NotFound => {
                    return Err(SqliteError::Io { path: file.clone(), action: "looking at it", source });
                }
                Ok(_) | Err(_) => {
                    return Err(SqliteError::Replaced { path: self.path.clone(), file: file.clone() });
                }
            }
        }
        Ok(())
    }
}

/// Returns the device and the inode behind `path`, and asks for nothing else.
///
/// Since Linux 6.13, asking for a file's times makes the next write change them, and then the next sync writes the inode as
/// well as the data, which takes half as long again.
#[cfg(target_os = "linux")]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::INO)?;
    Ok((makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino))
}

#[cfg(not(target_os = "linux"))]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = path.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}
