//! A connection to the SQLite file: opened, checked, and set up so that a commit is durable.

use std::ffi::c_int;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use tracing::warn;

use super::error::{SqliteError, is_busy, is_full};
use super::{file, format};

/// How long to wait for another process's transaction. Those of a tap are short, so a longer wait means that
/// some tool has the file open.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// After a burst, the log is cut back to this many bytes when it is next reset.
pub(super) const LOG_BYTES: u32 = 64 << 20;

/// The pages at which the log is copied into the database: SQLite's own default.
const CHECKPOINT_PAGES: c_int = 1000;

#[derive(Debug)]
pub(super) struct Database {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
}

impl Database {
    /// Opens the spool at `path` for reading and writing, and creates it and its directory if they do not
    /// exist.
    pub(super) fn create_or_open(path: &Path) -> Result<Self, SqliteError> {
        file::demand_no_lone_log(path)?;
        file::warn_if_log_is_gone(path);
        file::create(path)?;
        let names = file::demand_regular(path)?.nlink();
        if names > 1 {
            return Err(SqliteError::HardLinked { path: path.to_owned(), names });
        }
        let failed = |source| SqliteError::from_sqlite(path, "opening", source);
        let mut connection = Connection::open(path).map_err(failed)?;
        // If SQLite may not write to a file, it opens it for reading only. A listener would find out at its
        // first webhook.
        if connection.is_readonly("main").map_err(failed)? {
            return Err(SqliteError::io(path, "opening it for writing")(ErrorKind::PermissionDenied.into()));
        }
        connection.busy_handler(Some(wait_for_lock)).map_err(failed)?;
        // This comes before WAL mode is set, which changes the file: a file that is not a spool stays as it
        // is.
        format::read(&connection, path, format::FORMATS)?;
        configure(&connection, path)?;
        connection.wal_hook(Some(checkpoint)).map_err(failed)?;
        format::migrate(&mut connection, path, format::FORMATS)?;
        Ok(Database { path: path.to_owned(), connection })
    }

    /// Opens the spool at `path` for reading, and creates nothing.
    pub(super) fn open_existing(path: &Path) -> Result<Self, SqliteError> {
        let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
            Some(ErrorCode::CannotOpen) => SqliteError::Unreadable { path: path.to_owned(), source },
            _ => SqliteError::from_sqlite(path, "opening", source),
        };
        let missing = || SqliteError::Missing { path: path.to_owned() };
        file::demand_no_lone_log(path)?;
        if !path.exists() {
            return Err(missing());
        }
        file::demand_regular(path)?;
        let connection =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
        connection.busy_timeout(LOCK_TIMEOUT).map_err(failed)?;
        let format = format::read(&connection, path, format::FORMATS).map_err(|error| match error {
            SqliteError::Sqlite { source, .. } => failed(source),
            other => other,
        })?;
        // A file that is just being created has no tables yet.
        if format > 0 { Ok(Database { path: path.to_owned(), connection }) } else { Err(missing()) }
    }

    /// Turns SQLite errors into [`SqliteError`]s that say what was being done.
    pub(super) fn failed(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> SqliteError + '_ {
        move |source| SqliteError::from_sqlite(&self.path, action, source)
    }

    /// Reads a setting or a measurement of SQLite.
    pub(super) fn pragma(&self, name: &str) -> rusqlite::Result<i64> {
        self.connection.pragma_query_value(None, name, |row| row.get(0))
    }

    /// Does `work` in one transaction that holds the write lock from its start.
    pub(super) fn write<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, SqliteError> {
        let write = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        write().map_err(|source| SqliteError::from_sqlite(&self.path, action, source))
    }

    /// Does `work` like [`Database::write`], and repeats it for as long as another process keeps the file
    /// locked.
    pub(super) fn write_when_unlocked<T>(
        &mut self,
        action: &'static str,
        work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, SqliteError> {
        loop {
            match self.write(action, &work) {
                // The attempt itself has waited for `LOCK_TIMEOUT`.
                Err(SqliteError::Locked { .. }) => warn!(
                    "spool {}: {action}: waiting, because another process keeps the file locked",
                    self.path.display()
                ),
                other => return other,
            }
        }
    }

    /// Does `attempt` with a `limit` of its own on waiting for another process's transaction.
    pub(super) fn with_lock_timeout<T>(
        &mut self,
        limit: Duration,
        attempt: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.connection.busy_timeout(limit)?;
        let outcome = attempt(&mut self.connection);
        self.connection.busy_handler(Some(wait_for_lock))?;
        outcome
    }
}

/// Waits for another process to release a lock, for about [`LOCK_TIMEOUT`] in all. `tries` counts the waits
/// so far.
///
/// SQLite's own handler would sleep for tens of milliseconds for a lock that is held for one.
fn wait_for_lock(tries: i32) -> bool {
    const SHORT_WAITS: i32 = 100;
    const SHORT: Duration = Duration::from_micros(200);
    const LONG: Duration = Duration::from_millis(5);
    let long_waits = i32::try_from(LOCK_TIMEOUT.as_millis() / LONG.as_millis()).unwrap_or(i32::MAX);
    std::thread::sleep(if tries < SHORT_WAITS { SHORT } else { LONG });
    tries < SHORT_WAITS + long_waits
}

fn configure(connection: &Connection, path: &Path) -> Result<(), SqliteError> {
    let failed = |source| SqliteError::from_sqlite(path, "opening", source);
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).map_err(failed)?;
    if pages == 0 {
        // Can be set only while the file is empty. It allows the pages of trimmed events to be given back to
        // the disk.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(failed)?;
    }
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    // On macOS, fsync alone does not reach the disk. Elsewhere these two do nothing.
    connection.pragma_update(None, "fullfsync", true).map_err(failed)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true).map_err(failed)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES).map_err(failed)?;

    let demand = |pragma: &'static str, found: String, needed: &'static str| {
        if found == needed {
            return Ok(());
        }
        Err(SqliteError::Setting { path: path.to_owned(), pragma, found, needed })
    };
    let journal_mode: String =
        connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(failed)?;
    demand("journal_mode", journal_mode, "wal")?;
    let synchronous: i64 =
        connection.pragma_query_value(None, "synchronous", |row| row.get(0)).map_err(failed)?;
    demand("synchronous", synchronous.to_string(), "2")
}

/// Copies the log into the database once it has enough pages, as SQLite itself would.
///
/// SQLite itself would hide a failure of the copy and try again after the next commit, including the sync
/// that failed.
fn checkpoint(wal: &mut Wal, pages: c_int) -> rusqlite::Result<()> {
    if pages < CHECKPOINT_PAGES {
        return Ok(());
    }
    match wal.checkpoint() {
        // Another process is copying, or the disk is full. What is committed is safe in the log.
        Err(error) if is_busy(&error) || is_full(&error) => Ok(()),
        other => other,
    }
}
