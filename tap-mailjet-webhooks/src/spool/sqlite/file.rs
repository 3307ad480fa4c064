//! The files of a spool: created so that they survive a power cut, and watched while they are in use.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tracing::warn;

use super::error::SqliteError;

/// Creates the file and its directory if they do not exist, so that they survive a power cut.
pub(super) fn create(path: &Path) -> Result<(), SqliteError> {
    let io = |action| SqliteError::io(path, action);
    let directory = parent_of(path);
    create_directory(directory).map_err(io("creating its directory"))?;
    // Created here and not by SQLite, so that only its owner can read it: it holds e-mail addresses.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => sync_directory(directory).map_err(io("syncing its directory")),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io("creating the file")(error)),
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

/// Fails unless `path` is a regular file: for a directory or a device, SQLite would say only "disk I/O
/// error".
pub(super) fn demand_regular(path: &Path) -> Result<Metadata, SqliteError> {
    let metadata = path.metadata().map_err(SqliteError::io(path, "inspecting it"))?;
    if metadata.is_file() { Ok(metadata) } else { Err(SqliteError::NotASpool { path: path.to_owned() }) }
}

/// Fails if there is a log without a database: SQLite would delete the log, and with it what only the log
/// holds.
pub(super) fn demand_no_lone_log(path: &Path) -> Result<(), SqliteError> {
    let log = log_of(path);
    let has_bytes = |file: &Path| file.metadata().is_ok_and(|metadata| metadata.len() > 0);
    // The order matters: a spool that is being created has a database before it has a log.
    if has_bytes(&log) && !has_bytes(path) {
        return Err(SqliteError::LogWithoutSpool { path: path.to_owned(), log });
    }
    Ok(())
}

/// Logs a warning if the log has been deleted. SQLite creates the log's index after the log and deletes it
/// before the log, so an index alone means that something else has deleted the log.
pub(super) fn warn_if_log_is_gone(path: &Path) {
    let (log, index) = (log_of(path), index_of(path));
    // The log is checked twice, because another process may be creating both.
    if !log.exists() && index.exists() && !log.exists() {
        warn!(
            "spool {}: the last run did not end cleanly, and its log {} has since been deleted: events that \
             only the log held are lost",
            path.display(),
            log.display()
        );
    }
}

pub(super) fn log_of(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

fn index_of(path: &Path) -> PathBuf {
    beside(path, "-shm")
}

/// Returns the path of a file beside the spool, or beside the file that a symbolic link at `path` leads to.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.canonicalize().unwrap_or_else(|_| path.to_owned()).into_os_string();
    path.push(suffix);
    path.into()
}

/// The identities of a spool's files when they were opened.
///
/// A process that has a file open does not notice when it is deleted or replaced: it would go on writing, and
/// no other process would ever see what it wrote.
#[derive(Debug)]
pub(super) struct OpenFiles {
    path: PathBuf,
    /// The database, its log, the log's index and the role's lock, each with its device and inode.
    files: Vec<(PathBuf, (u64, u64))>,
}

impl OpenFiles {
    /// Notes the files of the spool at `path` as they are now. `lock` is the lock file of this process's
    /// role.
    pub(super) fn note(path: &Path, lock: &Path) -> Result<Self, SqliteError> {
        let files = [path.to_owned(), log_of(path), index_of(path), lock.to_owned()].into_iter();
        let files = files.map(|file| identity(&file).map(|identity| (file, identity)));
        let files =
            files.collect::<io::Result<_>>().map_err(SqliteError::io(path, "inspecting its files"))?;
        Ok(OpenFiles { path: path.to_owned(), files })
    }

    /// Fails unless a process that opens the spool now gets the same files.
    pub(super) fn demand_unchanged(&self) -> Result<(), SqliteError> {
        for (file, noted) in &self.files {
            match identity(file) {
                Ok(found) if found == *noted => {}
                Err(source) if source.kind() != ErrorKind::NotFound => {
                    return Err(SqliteError::io(file, "inspecting it")(source));
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
/// Since Linux 6.13, asking for a file's times makes the next write change them. The next sync then writes
/// the inode as well as the data, which takes half as long again.
#[cfg(target_os = "linux")]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::INO)?;
    Ok((makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino))
}

#[cfg(not(target_os = "linux"))]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = path.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}
