//! The spool: where events are safe between Mailjet and the target.
//!
//! It knows bytes, sequence numbers and fsync; it knows nothing of HTTP or of columns.
//!
//! # What it promises
//!
//! 1. [`Append::append`] answers with a [`Receipt`] only after the transaction that holds the whole [`Batch`] has been
//!    committed and synced. There is no other way to get a `Receipt`.
//! 2. Sequences are unique and strictly increasing, in the order of commits, across restarts, trimming and steps of
//!    the clock. Reading past a sequence therefore never misses an event that is committed later.
//! 3. A batch is kept whole or not at all.
//! 4. After an error that leaves the state of the disk unknown (I/O error, damage), the connection is never used
//!    again: everything waiting is refused and the process is told to stop. The kernel may have dropped the dirty pages
//!    of a failed fsync, so that a retry would succeed without having stored anything. The same holds where the log is
//!    copied into the database behind a commit, and for every other connection that the process writes through.
//! 5. Files that somebody deletes, moves or replaces are noticed before the next answer, and end the process likewise. (Files that
//!    are overwritten in place are not.)
//! 6. Nothing is accepted that can't be kept: the size of the spool and the free space of its disk are checked before
//!    the write.
//! 7. Memory is bounded in bytes: what waits to be written holds a [`Reservation`], and the [`Budget`] has an end.
//! 8. Damage is got past: what can be read is read, and what can't is told ([`Damage`]).
//! 9. One process at a time has the role of the listener, and one the role of the emitter ([`RoleLock`]). The kernel
//!    releases a role when its process ends, however it ends.
//!
//! # What it relies on
//!
//! - SQLite in WAL mode with `synchronous=FULL`: the WAL is synced at each commit. Both settings are read back.
//! - A disk that keeps what it said was synced, and POSIX file locks: a local file system, not NFS.
//! - The directory entry of a new file, and those of new parent directories, are synced when they are made.
//!
//! # Format
//!
//! One SQLite file, made for anyone to open:
//!
//! | table | columns |
//! | --- | --- |
//! | `event` | `sequence` (key), `received_at` (Unix milliseconds), `body` (the event's JSON text as received) |
//! | `rejected` | `sequence` (key, of the same series), `received_at`, `reason`, `body` (bytes as received, cut at 64 KiB) |
//! | `webhook_url` | see [`crate::listener::token`] |
//! | `discovered_column` | see [`crate::emitter`] |
//! | `fact` | `name`, `value`: single facts about the spool itself |

mod batch;
mod budget;
mod commits;
mod sequence;
mod sqlite;
mod watermark;

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

pub use batch::{Batch, Items};
pub use budget::{Budget, Reservation};
pub use commits::Commits;
pub use sequence::SequenceUnit;
pub use sqlite::damage::Damage;
pub use sqlite::disk_usage::DiskUsage;
pub use sqlite::examine::{VerifyReport, export, verify};
pub use sqlite::ledger::Ledger;
pub use sqlite::reader::{Backlog, Reader, StoredEvent, StoredRejection};
pub use sqlite::role::{Role, RoleLock, holder_of};
pub use sqlite::stats::{Pending, SpoolStats, StatsReader};
pub use sqlite::trim::{ItemKind, Trimmer};
pub use sqlite::writer::{Limits, Writer, WriterHandle};
pub(crate) use sqlite::{look, open, retry_while_locked};
pub use watermark::{Wakeup, Watermark};

/// The bytes of a rejected body that are kept.
pub const REJECTED_BODY_BYTES: usize = 65_536;

/// Says that a batch is on disk. Only a spool gives receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Events that are kept.
    pub accepted: usize,
    /// Items that are kept although they are not events.
    pub rejected: usize,
}

/// Why a spool does not take a batch now. Nothing of the batch has been kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The spool has reached `spool_max_bytes`.
    #[error("the spool is full (spool_max_bytes)")]
    SpoolFull,
    /// The disk has less than `min_free_bytes` left, or has none.
    #[error("the disk is full, or nearly so (min_free_bytes)")]
    DiskLow,
    /// Too many bytes wait to be written.
    #[error("too much is waiting to be written")]
    Overloaded,
    /// Another process held the spool's write lock for too long.
    #[error("another process keeps the spool locked")]
    Locked,
    /// The spool has failed and the process is about to end.
    #[error("the spool has failed")]
    Failed,
    /// The spool is being closed.
    #[error("the tap is stopping")]
    Closed,
}

/// Something that keeps batches: the seam between the listener and the spool.
pub trait Append: Clone + Send + Sync + 'static {
    /// Asks for memory to read a request of `bytes` into.
    fn reserve(&self, bytes: usize) -> Result<Reservation, AppendError>;

    /// Keeps `batch`, and answers once it is on disk.
    fn append(&self, batch: Batch) -> impl Future<Output = Result<Receipt, AppendError>> + Send;
}

impl SpoolError {
    /// What an error of SQLite's means for the spool at `path`.
    pub(crate) fn sqlite(path: &Path, doing: &'static str, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy) => SpoolError::Locked { path, doing },
            Some(ErrorCode::NotADatabase) => SpoolError::NotASpool { path },
            _ if sqlite::damage::is_damage(&source) => SpoolError::Damaged { path, doing, source },
            _ => SpoolError::Sqlite { path, doing, source },
        }
    }

    /// Whether the disk had no room. Nothing was written then.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, SpoolError::Sqlite { source, .. } if sqlite::is_full(source))
    }

    /// Whether the disk failed, after which nothing may be tried again: a sync that succeeds then says nothing of what the
    /// failed one was to store.
    #[must_use]
    pub fn is_io_failure(&self) -> bool {
        matches!(self, SpoolError::Sqlite { source, .. } if sqlite::is_io_failure(source))
    }
}

/// What goes wrong with a spool, told to a person.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The directory or the file can't be made or opened.
    #[error(
        "spool {path}: {doing}: {source}; spool_path has to be a file that this user can write, on a local disk"
    )]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no spool to look at.
    #[error(
        "spool {path}: there is none yet; a run, `listen` or `url new` makes it. If there should be one, correct spool_path"
    )]
    Missing {
        /// The file that is not there, or holds nothing.
        path: PathBuf,
    },
    /// The file is gone, and what was not yet copied into it is still there.
    #[error(
        "spool {path}: the file is missing or empty, but its log {log} is there and may hold events that were answered with \
         200; put back the file that it belongs to, or move the log away to begin with a new spool"
    )]
    LoneLog {
        /// The spool.
        path: PathBuf,
        /// Its log.
        log: PathBuf,
    },
    /// It can't be looked at: SQLite keeps a file beside it, also for those who only read.
    #[error(
        "spool {path}: {source}; it has to be a file that this user can read, in a folder that this user can write to. Copy it \
         to such a folder, with its log ({path}-wal) if there is one, and name the copy in spool_path"
    )]
    Unreadable {
        /// The spool.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// SQLite reports an error.
    #[error("spool {path}: {doing}: {source}")]
    Sqlite {
        /// The spool.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// Another process holds the lock that was needed; the same may succeed later.
    #[error(
        "spool {path}: {doing}: another process keeps the file locked; try again, and if it stays so, close the tool that has \
         it open"
    )]
    Locked {
        /// The spool.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
    },
    /// The file has several names. SQLite keeps a log for each, and so would lose what is in the other's.
    #[error("spool {path}: the file has {names} names (hard links); keep one of them")]
    HardLinked {
        /// The spool.
        path: PathBuf,
        /// How many.
        names: u64,
    },
    /// What is in the file is not what was written.
    #[error(
        "spool {path}: {doing}: {source}; `spool verify` tells what is damaged, `spool export` writes what can be read. Set \
         spool_path to another file, then start again"
    )]
    Damaged {
        /// The spool.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file was written by a later version of the tap.
    #[error(
        "spool {path}: it has format {found}, this version of tap-mailjet-webhooks knows up to {known}; use the version \
         that made it, or a later one"
    )]
    NewerFormat {
        /// The spool.
        path: PathBuf,
        /// The format of the file.
        found: i64,
        /// The newest format that is known.
        known: i64,
    },
    /// The file is no spool.
    #[error("spool {path}: this is a file of something else, and no spool; set spool_path to another file")]
    NotASpool {
        /// The file.
        path: PathBuf,
    },
    /// A setting that durability needs did not take.
    #[error(
        "spool {path}: SQLite answers {found} to {pragma}; the spool needs {needed} (is this a local disk?)"
    )]
    Setting {
        /// The spool.
        path: PathBuf,
        /// The setting.
        pragma: &'static str,
        /// What it is.
        found: String,
        /// What it has to be.
        needed: &'static str,
    },
    /// Another process has the role.
    #[error("another process is the {role} of spool {path} (process {holder}); nothing to do here")]
    RoleTaken {
        /// The role.
        role: Role,
        /// The spool.
        path: PathBuf,
        /// Id of the process that has it, as far as known.
        holder: String,
    },
    /// The writer met an error after which nothing can be said about the disk.
    #[error(
        "spool {path}: writing failed ({reason}); no webhook is accepted any more, since it can't be known what is on \
         disk. Mailjet repeats what was not answered with 200. Check the disk, then start again"
    )]
    Poisoned {
        /// The spool.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// Somebody has deleted or replaced a file of a spool that is in use.
    #[error(
        "spool {path}: {file} was deleted or replaced while the tap was running; no webhook is accepted any more. What \
         was in it is lost, unless there is a copy: stop the tap before moving its spool. Mailjet repeats what was not \
         answered with 200"
    )]
    Replaced {
        /// The spool.
        path: PathBuf,
        /// The file of it that is gone.
        file: PathBuf,
    },
}
