//! What can go wrong with the SQLite file, in messages for people.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::file;
use crate::os::thread::ThreadError;
use crate::spool::{Role, SpoolError, SpoolErrorKind};

#[derive(Debug, thiserror::Error)]
pub(super) enum SqliteError {
    #[error("spool {path}: {action}: {source}; {}", advice(source))]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    #[error(
        "spool {path}: it does not exist yet; a run, `listen` or `url new` creates it. If it should exist, \
         correct spool_path"
    )]
    Missing { path: PathBuf },
    #[error(
        "spool {path}: the file is missing or empty, but its log {log} exists and may hold events that were \
         answered with 200; put back the file that the log belongs to, or move the log away to start with a \
         new spool"
    )]
    LogWithoutSpool { path: PathBuf, log: PathBuf },
    /// The file cannot be opened for reading: even for that, SQLite keeps another file beside it.
    #[error(
        "spool {path}: {source}; this user must be able to read the file and to write to its folder. Copy it \
         to such a folder, together with its log ({path}-wal) if there is one, and name the copy in \
         spool_path"
    )]
    Unreadable { path: PathBuf, source: rusqlite::Error },
    #[error(
        "spool {path}: {action}: there is no room: the disk is full, a quota is used up, or a file may not \
         become larger (ulimit -f). Make room, or set spool_path to a file on another disk"
    )]
    NoRoom { path: PathBuf, action: &'static str },
    #[error(
        "spool {path}: the file system cannot share the file {path}-shm between processes ({source}), which \
         SQLite's log needs; set spool_path to a file on a local disk"
    )]
    NoSharedMemory { path: PathBuf, source: rusqlite::Error },
    #[error(
        "spool {path}: the file system cannot lock files ({source}), so two processes could overwrite each \
         other; set spool_path to a file on a local disk"
    )]
    NoLocks { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("spool {path}: {action}: {source}")]
    Sqlite { path: PathBuf, action: &'static str, source: rusqlite::Error },
    #[error(
        "spool {path}: {action}: another process keeps the file locked; try again, and if that does not \
         help, close the tool that has it open"
    )]
    Locked { path: PathBuf, action: &'static str },
    /// The file has several names. SQLite keeps a log for each name and would lose what is in the other logs.
    #[error("spool {path}: the file has {names} names (hard links); keep one of them")]
    HardLinked { path: PathBuf, names: u64 },
    #[error(
        "spool {path}: {action}: {source}; `spool verify` lists what is damaged, `spool export` writes what \
         can be read. Set spool_path to another file, then start again"
    )]
    Damaged { path: PathBuf, action: &'static str, source: rusqlite::Error },
    #[error(
        "spool {path}: it has format {found}, but this version of tap-mailjet-webhooks knows formats up to \
         {known}; use the version that created it, or a later one"
    )]
    NewerFormat { path: PathBuf, found: i64, known: i64 },
    #[error("spool {path}: this file is not a spool; set spool_path to another file")]
    NotASpool { path: PathBuf },
    #[error(
        "spool {path}: SQLite answers {found} to {pragma}, but the spool needs {needed} (is this a local \
         disk?)"
    )]
    Setting { path: PathBuf, pragma: &'static str, found: String, needed: &'static str },
    #[error("another process is the {role} of spool {path} (process {holder}); nothing to do here")]
    RoleTaken { role: Role, path: PathBuf, holder: String },
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// A commit failed in a way that leaves it unknown what is on the disk.
    #[error(
        "spool {path}: writing failed ({reason}); no more webhooks are accepted, because it is unknown what \
         is on the disk. Mailjet repeats everything that was not answered with 200. Check the disk, then \
         start again"
    )]
    WriteFailed { path: PathBuf, reason: String },
    #[error(
        "spool {path}: {file} was deleted or replaced while the tap was running; no more webhooks are \
         accepted. What was in it is lost unless there is a copy: stop the tap before you move its spool. \
         Mailjet repeats everything that was not answered with 200"
    )]
    Replaced { path: PathBuf, file: PathBuf },
}

// SQLite's extended codes for what failed.
const IOERR_WRITE: i32 = 778;
const IOERR_RDLOCK: i32 = 2314;
const IOERR_LOCK: i32 = 3850;
const IOERR_SHMOPEN: i32 = 4618;
const IOERR_SHMSIZE: i32 = 4874;
const IOERR_SHMLOCK: i32 = 5130;
const IOERR_SHMMAP: i32 = 5386;

/// Says what to do about an error of the system.
fn advice(source: &io::Error) -> String {
    let user = rustix::process::geteuid().as_raw();
    match source.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "this process runs as user {user}, who must be able to write the spool's files and their folder. \
             If they belong to another user, run as that user, or change their owner with chown"
        ),
        _ if file::is_no_room(source) => {
            "make room, raise the quota or limit, or set spool_path to a file on another disk".to_owned()
        }
        _ => "spool_path must name a file on a local disk that this user can write".to_owned(),
    }
}

/// Whether a transaction failed because there is no room. It has changed nothing then.
pub(super) fn is_out_of_room(path: &Path, error: &rusqlite::Error) -> bool {
    let is_write = error.sqlite_error().is_some_and(|error| error.extended_code == IOERR_WRITE);
    is_full(error) || is_write && file::has_no_room(path)
}

impl SqliteError {
    /// Returns a function that makes an error of the spool at `path` from one of the system's.
    pub(super) fn io(path: &Path, action: &'static str) -> impl Fn(io::Error) -> Self + Copy {
        move |source| SqliteError::Io { path: path.to_owned(), action, source }
    }

    /// Returns the error of the spool at `path` for one of SQLite's.
    pub(super) fn from_sqlite(path: &Path, action: &'static str, source: rusqlite::Error) -> Self {
        let extended_code = source.sqlite_error().map(|error| error.extended_code);
        let (is_write, is_memory, is_lock) = (
            extended_code.is_some_and(|code| [IOERR_WRITE, IOERR_SHMSIZE].contains(&code)),
            extended_code.is_some_and(|code| [IOERR_SHMMAP, IOERR_SHMOPEN, IOERR_SHMSIZE].contains(&code)),
            extended_code.is_some_and(|code| [IOERR_LOCK, IOERR_RDLOCK, IOERR_SHMLOCK].contains(&code)),
        );
        if is_write && file::has_no_room(path) {
            return SqliteError::NoRoom { path: path.to_owned(), action };
        }
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => SqliteError::NoRoom { path, action },
            _ if is_memory => SqliteError::NoSharedMemory { path, source },
            _ if is_lock => SqliteError::NoLocks { path, source: source.into() },
            Some(ErrorCode::DatabaseBusy) => SqliteError::Locked { path, action },
            Some(ErrorCode::NotADatabase) => SqliteError::NotASpool { path },
            _ if is_damage(&source) => SqliteError::Damaged { path, action, source },
            _ => SqliteError::Sqlite { path, action, source },
        }
    }

    fn kind(&self) -> SpoolErrorKind {
        match self {
            SqliteError::Missing { .. } => SpoolErrorKind::Missing,
            SqliteError::RoleTaken { .. } => SpoolErrorKind::RoleTaken,
            SqliteError::Locked { .. } => SpoolErrorKind::Locked,
            SqliteError::NoRoom { .. } => SpoolErrorKind::NoRoom,
            SqliteError::Io { source, .. } if file::is_no_room(source) => SpoolErrorKind::NoRoom,
            SqliteError::Sqlite { source, .. } if is_io_failure(source) => SpoolErrorKind::StorageFailed,
            SqliteError::WriteFailed { .. } | SqliteError::Replaced { .. } => SpoolErrorKind::StorageFailed,
            _ => SpoolErrorKind::Other,
        }
    }
}

impl From<SqliteError> for SpoolError {
    fn from(error: SqliteError) -> Self {
        SpoolError::new(error.kind(), error)
    }
}

pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Whether the disk failed, so that it is unknown what it holds.
fn is_io_failure(error: &rusqlite::Error) -> bool {
    // A failure in the hook that follows a commit may lose its code and come back as SQLite's "logic error".
    // Nothing else causes that here, and if something did, the state of the disk would be just as unknown.
    matches!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::Unknown))
}

/// Whether an error means that what was read is damaged.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::Utf8Error(..)
    ) || error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
}
