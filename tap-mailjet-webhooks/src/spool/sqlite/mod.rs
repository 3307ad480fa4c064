//! The SQLite file: made, opened and checked.

pub(super) mod damage;
pub(super) mod disk_usage;
pub(super) mod examine;
mod headroom;
pub(super) mod ledger;
pub(super) mod reader;
pub(super) mod role;
mod row_count;
pub(super) mod stats;
pub(super) mod trim;
pub(super) mod writer;

use std::ffi::c_int;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};
use tracing::{info, warn};

use super::SpoolError;

/// Marks the file as a spool: "`MJwh`".
const APPLICATION_ID: i64 = 0x4d4a_7768;
/// How long to wait for another process's transaction. Those are all short; a longer wait means that somebody has the
/// file open in a tool.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A WAL that grew in a burst is cut back to this when it is next reset.
pub(super) const LOG_BYTES: u32 = 64 << 20;

/// Pages in the log at which it is copied into the database: SQLite's own default.
const CHECKPOINT_FRAMES: c_int = 1000;

/// What makes each format out of the one before; the first one out of an empty file. The format of a file is kept in it as
/// `user_version`: how many of these it has been through. Never change one that was released: add another, and to
/// `tests/fixtures` a spool of the format that is now an older one.
const FORMATS: &[&str] = &["
    CREATE TABLE event (sequence INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, body TEXT NOT NULL) STRICT;
    CREATE TABLE rejected (
        sequence INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, reason TEXT NOT NULL, body BLOB NOT NULL
    ) STRICT;
    CREATE TABLE webhook_url (
        id INTEGER PRIMARY KEY AUTOINCREMENT, label TEXT, token_sha256 BLOB NOT NULL, created_at INTEGER NOT NULL,
        last_used_at INTEGER, revoked_at INTEGER
    ) STRICT;
    CREATE TABLE discovered_column (
        stream TEXT NOT NULL, name TEXT NOT NULL, json_type TEXT NOT NULL, UNIQUE (stream, name)
    ) STRICT;
    CREATE TABLE fact (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"];

/// The newest format that this version knows.
fn known(formats: &[&str]) -> i64 {
    i64::try_from(formats.len()).unwrap_or(i64::MAX)
}

/// Opens the spool at `path`, and makes it if it is not there, with its directory.
pub(crate) fn open(path: &Path) -> Result<Connection, SpoolError> {
    demand_no_lone_log(path)?;
    tell_if_log_is_gone(path);
    create_file(path)?;
    let names = demand_file(path)?.nlink();
    if names > 1 {
        return Err(SpoolError::HardLinked { path: path.to_owned(), names });
    }
    let sqlite = |doing| move |source| SpoolError::sqlite(path, doing, source);
    let mut connection = Connection::open(path).map_err(sqlite("opening"))?;
    // SQLite opens what it may not write for reading, and a listener would find out at its first webhook.
    if connection.is_readonly("main").map_err(sqlite("opening"))? {
        let source = ErrorKind::PermissionDenied.into();
        return Err(SpoolError::Io { path: path.to_owned(), doing: "opening it for writing", source });
    }
    connection.busy_handler(Some(wait_for_lock)).map_err(sqlite("opening"))?;
    // First, since WAL mode is written into the file: one of something else stays as it is.
    format_of(&connection, path, known(FORMATS))?;
    configure(&connection, path)?;
    connection.wal_hook(Some(checkpoint)).map_err(sqlite("opening"))?;
    migrate(&mut connection, path, FORMATS)?;
    Ok(connection)
}

/// Name of the fact that holds the largest sequence that was ever trimmed.
pub(super) const TRIMMED_THROUGH: &str = "trimmed_through";
/// Name of the fact that says that a run was given a state.
pub(super) const STATE_GIVEN: &str = "state_given";
/// Name of the fact that holds a sequence that no bookmark of any STATE is past.
pub(super) const WRITTEN_THROUGH: &str = "written_through";

/// Name of the fact that holds the largest sequence up to which all events were ever confirmed.
pub(super) const CONFIRMED_THROUGH: &str = "confirmed_through";

/// Reads a fact about the spool.
pub(super) fn fact(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT value FROM fact WHERE name = ?1", [name], |row| row.get(0)).optional()
}

/// Sets a fact about the spool.
pub(super) fn set_fact(connection: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    connection.execute("INSERT OR REPLACE INTO fact (name, value) VALUES (?1, ?2)", (name, value)).map(drop)
}

/// Whether another process holds the lock that was needed.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

/// Lets one attempt wait for another process's transaction for so long only.
pub(super) fn with_patience<T>(
    connection: &mut Connection,
    patience: Duration,
    attempt: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.busy_timeout(patience)?;
    let outcome = attempt(connection);
    connection.busy_handler(Some(wait_for_lock))?;
    outcome
}

/// Waits for whoever holds a lock, for about [`BUSY_TIMEOUT`] in all; `tries` is how often that has been done for this one.
/// SQLite's own way would sleep for tens of milliseconds where the lock is held for one.
fn wait_for_lock(tries: i32) -> bool {
    const FINE: (i32, Duration) = (100, Duration::from_micros(200));
    const COARSE: Duration = Duration::from_millis(5);
    let coarse = i32::try_from(BUSY_TIMEOUT.as_millis() / COARSE.as_millis()).unwrap_or(i32::MAX);
    std::thread::sleep(if tries < FINE.0 { FINE.1 } else { COARSE });
    tries < FINE.0 + coarse
}

/// Whether the disk failed, so that nobody knows what is on it.
pub(super) fn is_io_failure(error: &rusqlite::Error) -> bool {
    // What fails in the hook behind a commit may come back without its code, as SQLite's "logic error". There is no other cause
    // of that here, and where there were, nothing could be said of the disk either.
    matches!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::Unknown))
}

/// Whether the disk had no room.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Does what is worth waiting for as long as another process keeps the spool locked.
pub(crate) fn retry_while_locked<T>(
    path: &Path,
    doing: &'static str,
    mut attempt: impl FnMut() -> rusqlite::Result<T>,
) -> Result<T, SpoolError> {
    loop {
        match attempt() {
            // An attempt has waited for BUSY_TIMEOUT itself.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                warn!("spool {}: {doing} waits, since another process keeps the file locked", path.display());
            }
            other => {
                return other.map_err(|source| SpoolError::sqlite(path, doing, source));
            }
        }
    }
}

/// The sequence that new ones go on after: the largest that was ever handed out, also to rows that are gone, or, in a spool that
/// goes on with another one's state, that state's; 0 for a new spool.
pub(super) fn last_sequence(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "SELECT max((SELECT coalesce(max(sequence), 0) FROM event),
                        (SELECT coalesce(max(sequence), 0) FROM rejected),
                        (SELECT coalesce(max(value), 0) FROM fact WHERE name IN (?1, ?2)))",
        )?
        .query_row([TRIMMED_THROUGH, WRITTEN_THROUGH], |row| row.get(0))
}

/// Opens the spool at `path` for reading, if there is one. Nothing is made.
pub(crate) fn look(path: &Path) -> Result<Option<Connection>, SpoolError> {
    look_at(path).map_err(|error| match error {
        SpoolError::Sqlite { source, .. } if source.sqlite_error_code() == Some(ErrorCode::CannotOpen) => {
            SpoolError::Unreadable { path: path.to_owned(), source }
        }
        other => other,
    })
}

fn look_at(path: &Path) -> Result<Option<Connection>, SpoolError> {
    let sqlite = |source| SpoolError::sqlite(path, "opening", source);
    demand_no_lone_log(path)?;
    if !path.exists() {
        return Ok(None);
    }
    demand_file(path)?;
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(sqlite)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(sqlite)?;
    let format = format_of(&connection, path, known(FORMATS))?;
    // A file that is just being made has no tables yet.
    Ok((format > 0).then_some(connection))
}

/// Makes sure that a file is at `path`: of a directory or a device SQLite says no more than "disk I/O error".
fn demand_file(path: &Path) -> Result<Metadata, SpoolError> {
    let io = |source| SpoolError::Io { path: path.to_owned(), doing: "looking at it", source };
    let metadata = path.metadata().map_err(io)?;
    if metadata.is_file() { Ok(metadata) } else { Err(SpoolError::NotASpool { path: path.to_owned() }) }
}

/// The format of a spool, up to the newest that is `known`; 0 for a file that holds nothing yet.
fn format_of(connection: &Connection, path: &Path, known: i64) -> Result<i64, SpoolError> {
    let sqlite = |source| SpoolError::sqlite(path, "opening", source);
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(sqlite);
    let found = pragma("user_version")?;
    if found == 0 {
        let table = connection.query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(())).optional();
        return match table.map_err(sqlite)? {
            Some(()) => Err(SpoolError::NotASpool { path: path.to_owned() }),
            None => Ok(0),
        };
    }
    if pragma("application_id")? != APPLICATION_ID {
        return Err(SpoolError::NotASpool { path: path.to_owned() });
    }
    if found > known {
        return Err(SpoolError::NewerFormat { path: path.to_owned(), found, known });
    }
    Ok(found)
}

fn configure(connection: &Connection, path: &Path) -> Result<(), SpoolError> {
    let sqlite = |source| SpoolError::sqlite(path, "opening", source);
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).map_err(sqlite)?;
    if pages == 0 {
        // Can be chosen only while the file is empty: the pages of trimmed events can be given back.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(sqlite)?;
    }
    connection.pragma_update(None, "journal_mode", "WAL").map_err(sqlite)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(sqlite)?;
    // macOS: fsync alone does not reach the disk there. Elsewhere this does nothing.
    connection.pragma_update(None, "fullfsync", true).map_err(sqlite)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true).map_err(sqlite)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES).map_err(sqlite)?;

    let check = |pragma: &'static str, found: String, needed: &'static str| {
        let wrong = SpoolError::Setting { path: path.to_owned(), pragma, found: found.clone(), needed };
        if found == needed { Ok(()) } else { Err(wrong) }
    };
    let journal_mode: String =
        connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(sqlite)?;
    check("journal_mode", journal_mode, "wal")?;
    let synchronous: i64 =
        connection.pragma_query_value(None, "synchronous", |row| row.get(0)).map_err(sqlite)?;
    check("synchronous", synchronous.to_string(), "2")
}

/// Copies the log into the database once it has `frames` enough, as SQLite itself would. But SQLite keeps it to itself when
/// that fails, and tries again behind the next commit: the sync that failed, too.
fn checkpoint(wal: &mut Wal, frames: c_int) -> rusqlite::Result<()> {
    if frames < CHECKPOINT_FRAMES {
        return Ok(());
    }
    match wal.checkpoint() {
        // Somebody else is at it, or there is no room for it: what is committed is safe where it is.
        Err(error) if is_busy(&error) || is_full(&error) => Ok(()),
        other => other,
    }
}

/// Makes the tables of a new spool, and brings those of an older format to the last of `formats`: all of it, or nothing.
fn migrate(connection: &mut Connection, path: &Path, formats: &[&str]) -> Result<(), SpoolError> {
    let known = known(formats);
    if format_of(connection, path, known)? == known {
        return Ok(());
    }
    let sqlite = |source| SpoolError::sqlite(path, "making its tables", source);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
    // Of several processes that start at once, one makes the tables.
    let found = format_of(&transaction, path, known)?;
    for step in formats.iter().skip(usize::try_from(found).unwrap_or(usize::MAX)) {
        transaction.execute_batch(step).map_err(sqlite)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(sqlite)?;
    transaction.pragma_update(None, "user_version", known).map_err(sqlite)?;
    transaction.commit().map_err(sqlite)?;
    if (1..known).contains(&found) {
        info!("spool {}: its format was {found} and is {known} now", path.display());
    }
    Ok(())
}

/// Makes sure that there is no log without a database: SQLite would delete it, with what only it holds.
fn demand_no_lone_log(path: &Path) -> Result<(), SpoolError> {
    let log = beside(path, "-wal");
    let has_bytes = |file: &Path| file.metadata().is_ok_and(|meta| meta.len() > 0);
    // In this order: a spool that is being made has a database before it has a log.
    if has_bytes(&log) && !has_bytes(path) {
        return Err(SpoolError::LoneLog { path: path.to_owned(), log });
    }
    Ok(())
}

/// Warns if the log was there and is not any more. SQLite makes the log's index after the log and deletes it before: an index
/// alone was left behind by somebody else.
fn tell_if_log_is_gone(path: &Path) {
    let (log, index) = (beside(path, "-wal"), beside(path, "-shm"));
    // Twice: another process may be making both.
    if !log.exists() && index.exists() && !log.exists() {
        warn!(
            "spool {}: the last run did not end cleanly, and its log {} is gone since: what only the log held is lost",
            path.display(),
            log.display()
        );
    }
}

/// Makes the file and its directory, if they are not there, in a way that survives a power cut.
fn create_file(path: &Path) -> Result<(), SpoolError> {
    let io = |doing| move |source| SpoolError::Io { path: path.to_owned(), doing, source };
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    create_directory(directory).map_err(io("making its directory"))?;
    // Created here and not by SQLite, so that only its owner can read it: it holds addresses of people.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => sync_directory(directory).map_err(io("syncing its directory")),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io("making the file")(error)),
    }
}

fn create_directory(directory: &Path) -> std::io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = match directory.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    create_directory(parent)?;
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory(parent),
    }
}

fn sync_directory(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}

/// The files that a spool consists of, as they were when they were opened.
///
/// A file that is deleted or replaced stays what it was for those who have it open: they would go on writing, and nobody
/// else would ever see what they wrote.
#[derive(Debug)]
pub(super) struct OpenFiles {
    path: PathBuf,
    /// The database, its write-ahead log, that one's index and the lock, each with its device and inode.
    files: [(PathBuf, (u64, u64)); 4],
}

impl OpenFiles {
    /// Notes which files the spool at `path` consists of now, and which one is the `lock` of the process's role.
    pub(super) fn of(path: &Path, lock: &Path) -> Result<Self, SpoolError> {
        let io = |source| SpoolError::Io { path: path.to_owned(), doing: "looking at its files", source };
        let with_identity = |path: PathBuf| -> Result<_, SpoolError> {
            let identity = identity(&path).map_err(io)?;
            Ok((path, identity))
        };
        let files = [
            with_identity(path.to_owned())?,
            with_identity(beside(path, "-wal"))?,
            with_identity(beside(path, "-shm"))?,
            with_identity(lock.to_owned())?,
        ];
        Ok(OpenFiles { path: path.to_owned(), files })
    }

    /// Makes sure that whoever opens the spool now gets the same files.
    pub(super) fn demand_unchanged(&self) -> Result<(), SpoolError> {
        for (file, noted) in &self.files {
            match identity(file) {
                Ok(found) if found == *noted => {}
                Err(source) if source.kind() != ErrorKind::NotFound => {
                    return Err(SpoolError::Io { path: file.clone(), doing: "looking at it", source });
                }
                Ok(_) | Err(_) => {
                    return Err(SpoolError::Replaced { path: self.path.clone(), file: file.clone() });
                }
            }
        }
        Ok(())
    }
}

/// A file that SQLite keeps beside the spool at `path`: beside the one that a symbolic link leads to.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.canonicalize().unwrap_or_else(|_| path.to_owned()).into_os_string();
    path.push(suffix);
    path.into()
}

/// The device and the inode behind `path`, and nothing else of it: since Linux 6.13, whoever asks for a file's times makes the
/// next write change them, and the next sync write the inode as well as the data, which takes half as long again.
#[cfg(target_os = "linux")]
fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::INO)?;
    Ok((makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino))
}

#[cfg(not(target_os = "linux"))]
fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    let meta = path.metadata()?;
    Ok((meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_is_made_with_its_directories_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b/spool.db");
        open(&path).expect("a new spool");
        open(&path).expect("the same spool");
        let mode = |path: &Path| path.metadata().expect("it exists").permissions().mode() & 0o777;
        assert_eq!(
            (mode(&path), mode(path.parent().expect("b")), mode(&folder.path().join("a"))),
            (0o600, 0o700, 0o700)
        );
    }

    #[test]
    fn what_is_not_our_spool_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let other = folder.path().join("other.db");
        Connection::open(&other).and_then(|c| c.execute_batch("CREATE TABLE t (a)")).expect("a database");
        assert!(matches!(open(&other), Err(SpoolError::NotASpool { .. })));

        let text = folder.path().join("notes.txt");
        std::fs::write(&text, "x".repeat(5000)).expect("a file");
        assert!(matches!(open(&text), Err(SpoolError::NotASpool { .. })));

        let newer = folder.path().join("newer.db");
        open(&newer)
            .map(|c| {
                let _: () = c.pragma_update(None, "user_version", 99).expect("an update");
            })
            .expect("a spool");
        let error = open(&newer).expect_err("a newer format").to_string();
        assert!(error.contains("format 99"), "{error}");
    }

    /// A format to come, after today's: what a release that changes it will do to the spools that are out there.
    #[test]
    fn an_older_format_is_brought_to_the_last_one_in_one_transaction() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("spool.db");
        let mut connection = open(&path).expect("a spool of today");
        connection.execute("INSERT INTO event VALUES (7, 8, '{}')", []).expect("an event");
        let today = FORMATS[0];
        let tagged = "ALTER TABLE event ADD COLUMN tag TEXT; UPDATE event SET tag = 'old'";
        let format = |connection: &Connection| {
            connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).expect("a number")
        };

        let broken = [today, tagged, "ALTER TABLE nothing ADD COLUMN x"];
        migrate(&mut connection, &path, &broken).expect_err("there is no such table");
        assert_eq!(format(&connection), 1, "nothing of it is there");
        connection.query_row("SELECT tag FROM event", [], |_| Ok(())).expect_err("no such column");

        let formats = [today, tagged, "INSERT INTO fact VALUES ('third', 3)"];
        for _ in 0..2 {
            migrate(&mut connection, &path, &formats).expect("a migration");
        }
        let row = connection.query_row("SELECT sequence, body, tag FROM event", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        });
        assert_eq!(row, Ok((7, "{}".to_owned(), "old".to_owned())));
        assert_eq!((format(&connection), fact(&connection, "third")), (3, Ok(Some(3))));

        let refused = migrate(&mut connection, &path, FORMATS).expect_err("a spool of the future");
        assert!(matches!(refused, SpoolError::NewerFormat { found: 3, .. }), "{refused}");
    }
}
