//! The spool as one SQLite file on a local disk.
//!
//! # What it relies on
//!
//! - SQLite in WAL mode with `synchronous=FULL`: the log is synced at each commit. Both settings are read
//!   back.
//! - A disk that keeps what it reports as synced, and POSIX file locks: a local file system, not NFS.
//! - The directory entries of a new file and of new parent directories are synced when they are created.
//!
//! # What it adds to the contract
//!
//! - When the writer meets an I/O error or damage, it never uses its connection again, and the process ends.
//!   The kernel may have dropped the dirty pages of a failed fsync, so a retry could succeed without storing
//!   anything. An I/O error also ends the process if it happens while the log is copied into the database
//!   after a commit, or on any other connection that writes.
//! - The writer notices deleted, moved or replaced files before its next answer, and the process ends. (It
//!   does not notice files that are overwritten in place.)
//! - Only one process at a time can be the listener, too. The clock is this machine's.
//!
//! # Format
//!
//! One file, which any SQLite tool can open:
//!
//! | table | columns |
//! | --- | --- |
//! | `event` | `sequence` (key), `received_at` (Unix milliseconds), `body` (the event's text as received) |
//! | `rejected` | `sequence` (key, same series), `received_at`, `reason`, `body` (bytes), `body_hash` |
//! | `webhook_url` | `id`, `label`, `token_sha256`, `created_at`, `last_used_at`, `revoked_at`, |
//! | | `mailjet_account`, `pending`, `retire_after` and `unused_for` (milliseconds) |
//! | `discovered_column` | `stream`, `name`, `json_type` |
//! | `item_count` | `step` and `start` (milliseconds), `name`, `count`: what was received over time |
//! | `row_block` | `item_table`, `last`, `rows`: how many rows a block of that table has, up to `last` |
//! | `fact` | `name`, `value`: single facts about the spool itself |
//!
//! `body_hash` is the start of the body's BLAKE3 hash. It is null in rows from before format 2, whose
//! bodies were cut at 64 KiB.
//!
//! # Files
//!
//! | file | contents |
//! | --- | --- |
//! | [`database`], [`format`](mod@format) | a connection, its settings, and the tables of each format |
//! | [`file`](mod@file), [`role`] | the files on the disk, and roles as locks on files |
//! | [`group_store`], [`disk_usage`] | appending, if there is room |
//! | [`reader`], [`damage`] | reading, and what to skip where a table is damaged |
//! | [`follower`] | learning what another process commits |
//! | [`trim`] | trimming |
//! | [`registry`], [`facts`] | the small tables |
//! | [`stats`], [`row_count`], [`check`] | what `spool status` and `spool verify` show |
//! | [`error`] | what can go wrong, in messages for people |

mod check;
mod damage;
mod database;
mod disk_usage;
mod error;
mod facts;
mod file;
mod follower;
mod format;
mod group_store;
mod reader;
mod registry;
mod role;
mod row_count;
mod stats;
mod trim;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{debug, warn};

use super::headroom::Headroom;
use super::{
    CommitFollower, EventReader, Limits, Registry, RegistryView, Role, RoleLock, SequenceUnit, Spool,
    SpoolError, SpoolView, StatsReader, Trimmer, Watermark, Writer, WriterHandle,
};
use crate::os::clock::Clock;
use crate::os::log_throttle::LogThrottle;
use database::Database;
use error::SqliteError;
use file::OpenFiles;
use group_store::SqliteGroupStore;
use reader::SqliteReader;
use registry::SqliteRegistry;
use row_count::KeptCounts;
use stats::SqliteStatsReader;
use trim::SqliteTrimmer;

/// How long an impatient registry waits for another process's transaction.
const IMPATIENT_LOCK_TIMEOUT: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct SqliteSpool {
    path: PathBuf,
    is_writable: bool,
    clock: Clock,
    watermark: Watermark,
}

impl SqliteSpool {
    /// Opens the spool at `path`, and creates it and its directory if they do not exist.
    pub(super) fn create_or_open(path: &Path, clock: Clock) -> Result<Self, SpoolError> {
        let mut database = Database::create_or_open(path)?;
        if let Err(error) = trim::note_first_time(&mut database, clock) {
            // On a full disk, a spool that can be emptied is worth more than this note.
            warn!("{error}");
        }
        file::warn_if_remote(path);
        let (path, watermark) = (path.to_owned(), Watermark::default());
        Ok(SqliteSpool { path, is_writable: true, clock, watermark })
    }

    /// Opens the spool at `path` for reading, and creates nothing.
    pub(super) fn open_existing(path: &Path) -> Result<Self, SpoolError> {
        drop(Database::open_existing(path)?);
        let (path, watermark) = (path.to_owned(), Watermark::default());
        Ok(SqliteSpool { path, is_writable: false, clock: Clock::SYSTEM, watermark })
    }

    /// Opens a connection that only reads. If this process may write, SQLite must be able to as well: the
    /// last connection to close copies the log into the file, unless it is read-only.
    fn open_for_reading(&self) -> Result<Database, SqliteError> {
        if !self.is_writable {
            return Database::open_existing(&self.path);
        }
        let database = Database::create_or_open(&self.path)?;
        database.connection.pragma_update(None, "query_only", true).map_err(database.failed("opening"))?;
        Ok(database)
    }
}

impl fmt::Display for SqliteSpool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl SpoolView for SqliteSpool {
    fn reader(&self) -> Result<Box<dyn EventReader>, SpoolError> {
        Ok(Box::new(SqliteReader { database: self.open_for_reading()?, throttle: LogThrottle::default() }))
    }

    fn registry_view(&self) -> Result<Box<dyn RegistryView>, SpoolError> {
        Ok(Box::new(SqliteRegistry { database: self.open_for_reading()?, clock: self.clock.wall }))
    }

    fn stats_reader(&self) -> Result<Box<dyn StatsReader>, SpoolError> {
        Ok(Box::new(SqliteStatsReader::new(Database::open_existing(&self.path)?)))
    }

    fn role_holders(&self, role: Role) -> Result<Vec<String>, SpoolError> {
        Ok(role::holder(role, &self.path)?.into_iter().collect())
    }

    fn check(&self) -> Result<Vec<String>, SpoolError> {
        Ok(check::check(&Database::open_existing(&self.path)?.connection))
    }
}

impl Spool for SqliteSpool {
    fn take_role(&self, role: Role) -> Result<RoleLock, SpoolError> {
        Ok(RoleLock::new(role, role::take(role, &self.path)?))
    }

    fn start_writer(
        &self,
        role: &RoleLock,
        unit: SequenceUnit,
        limits: Limits,
    ) -> Result<(WriterHandle, Writer), SpoolError> {
        let mut database = Database::create_or_open(&self.path)?;
        let last = facts::last_sequence(&database.connection).map_err(database.failed("reading"))?;
        // Reading that has made SQLite open all of the spool's files, so all of them exist.
        let files = OpenFiles::note(&self.path, &role::lock_path(role.role, &self.path))?;
        self.watermark.advance(last);
        let headroom = Headroom::new(limits, disk_usage::measure(&database)?);
        disk_usage::warn_if_never_enough(&self.path, limits.min_free_bytes);
        // Only what is shown depends on them, so a damaged row is for its reader to report.
        let counts =
            KeptCounts::open(&mut database).inspect_err(|error| debug!("no counts are kept: {error}")).ok();
        let clock = self.clock.wall;
        let store = SqliteGroupStore { database, files, unit, headroom, counts, clock };
        let started = Writer::start(store, limits.memory_bytes, self.watermark.clone());
        Ok(started.map_err(SqliteError::from)?)
    }

    fn watermark(&self) -> &Watermark {
        &self.watermark
    }

    fn follow_commits(&self, is_listener: bool) -> Result<Option<CommitFollower>, SpoolError> {
        let follow = || follower::follow(&self.path, self.watermark.clone());
        Ok((!is_listener).then(follow).transpose()?)
    }

    fn trimmer(&self) -> Result<Box<dyn Trimmer>, SpoolError> {
        Ok(Box::new(SqliteTrimmer::open(&self.path, self.clock)?))
    }

    fn registry(&self) -> Result<Box<dyn Registry>, SpoolError> {
        Ok(Box::new(SqliteRegistry {
            database: Database::create_or_open(&self.path)?,
            clock: self.clock.wall,
        }))
    }

    fn impatient_registry(&self) -> Result<Box<dyn Registry>, SpoolError> {
        let database = Database::create_or_open(&self.path)?;
        let limited = database.connection.busy_timeout(IMPATIENT_LOCK_TIMEOUT);
        limited.map_err(database.failed("opening"))?;
        Ok(Box::new(SqliteRegistry { database, clock: self.clock.wall }))
    }

    fn registry_lasts(&self) -> Option<Duration> {
        None
    }

    fn tidy_up(&self) {
        // When the last connection that may write is closed, SQLite copies the log into the file and deletes
        // it. The last connection before may have been a read-only one.
        drop(Database::create_or_open(&self.path));
    }
}
