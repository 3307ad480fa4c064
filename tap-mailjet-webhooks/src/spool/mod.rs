//! The spool: keeps events safe between Mailjet and the target.
//!
//! It knows bytes, sequences and durability, and nothing of HTTP or columns. This module is the contract:
//! types, promises and errors. Each implementation is a folder beside it ([`sqlite`], [`postgres`]) and an
//! arm of each `match` on [`SpoolLocation`]. Outside code sees two things:
//!
//! - the *event log*: append ([`Append`]), read past a position ([`EventReader`]), trim ([`Trimmer`])
//! - the *registry* ([`Registry`]): webhook URLs, discovered columns, positions, roles ([`RoleLock`])
//!
//! # Promises
//!
//! 1. [`Append::append`] returns a [`Receipt`] only after the whole [`Batch`] has been committed and is
//!    durable.
//! 2. Sequences are unique and strictly increasing in commit order, across restarts, trimming and clock
//!    steps. Nothing is ever committed behind a sequence that a reader has seen, so reading past it misses
//!    nothing.
//! 3. A batch is stored whole or not at all.
//! 4. After an error that leaves the outcome unknown ([`AppendError::OutcomeUnknown`],
//!    [`AppendError::Failed`]), the spool does not retry: the sender has to repeat. If the storage itself has
//!    failed, the process ends.
//! 5. Nothing is accepted that cannot be kept: the spool checks for room before it writes.
//! 6. Memory is bounded in bytes: everything that waits to be written holds a [`Reservation`], and the
//!    [`Budget`] is finite.
//! 7. Damage is skipped: what can be read is read, and what cannot is reported ([`Damage`]).
//! 8. Only one process at a time can be the emitter ([`RoleLock`]); each implementation decides whether there
//!    can be several listeners. A role ends with its process, however that ends.
//!
//! # What an implementation decides
//!
//! - Whose clock gives the time for sequences, for trimming by age and for the registry.
//! - What advances the [`Watermark`] that wakes readers: only this process's commits, or those of others too.
//! - Whether "free bytes on the disk" means anything ([`DiskUsage`]).
//!
//! # Files
//!
//! | file | contents |
//! | --- | --- |
//! | [`batch`], [`budget`] | what a request hands over, and the bound on the memory it takes |
//! | [`writer`] | the thread that appends, and its measurements |
//! | [`event_log`], [`watermark`] | reading and trimming, and what wakes readers |
//! | [`sequence`] | sequences, and how they are assigned |
//! | [`registry`] | webhook URLs, discovered columns, positions, roles |
//! | [`stats`] | counts and sizes |
//! | [`import`] | copying a whole spool into another one |
//! | [`headroom`], [`retention`], [`spool_clock`] | whether there is room, and what is old enough to go |
//! | [`facts`] | the names of single facts |
//! | [`error`] | what can go wrong |
//! | [`sqlite`] | the implementation in an SQLite file |
//! | [`postgres`] | the implementation in a replicated PostgreSQL |

mod batch;
mod budget;
mod error;
mod event_log;
mod facts;
mod headroom;
pub mod import;
mod postgres;
mod registry;
mod retention;
mod sequence;
mod spool_clock;
mod sqlite;
mod stats;
mod watermark;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::os::clock::Clock;

pub use batch::{Batch, Items, Receipt};
pub use budget::{Budget, Reservation};
pub use error::{AppendError, SpoolError, SpoolErrorKind};
pub use event_log::{Backlog, Damage, EventReader, ItemKind, StoredItem, Trimmer};
pub use postgres::{Durability, PostgresLocation, PostgresUrl, PostgresUrlError, SchemaName, TlsAuthorities};
pub use registry::{
    CountStep, DiscoveredColumn, ItemCount, MailjetAccount, Registry, RegistryView, Retirement, Role,
    RoleLock, TokenHash, UrlPurpose, WebhookUrl,
};
pub use sequence::{Sequence, SequenceUnit};
pub use stats::{DiskUsage, Pending, SpoolStats, StatsReader};
pub use watermark::{Wakeup, Watermark};
pub use writer::{Append, CommitStats, Limits, Writer, WriterHandle};

/// The length of a rejected item that an earlier version has cut: a spool may still hold some.
pub const CUT_BODY_BYTES: usize = 65_536;

/// Where a spool is. This also decides which implementation opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpoolLocation {
    /// An SQLite file on a local disk.
    Sqlite(PathBuf),
    /// A schema of a PostgreSQL database.
    Postgres(Box<PostgresLocation>),
}

/// Opens a spool for reading and writing, and creates it if it does not exist.
pub fn open(location: &SpoolLocation) -> Result<Arc<dyn Spool>, SpoolError> {
    match location {
        SpoolLocation::Sqlite(path) => {
            Ok(Arc::new(sqlite::SqliteSpool::create_or_open(path, Clock::SYSTEM)?))
        }
        SpoolLocation::Postgres(location) => {
            Ok(Arc::new(postgres::PostgresSpool::create_or_open(location, None)?))
        }
    }
}

/// Opens a spool like [`open`], with `clock` in place of every clock that it would ask.
pub fn open_with_clock(location: &SpoolLocation, clock: Clock) -> Result<Arc<dyn Spool>, SpoolError> {
    match location {
        SpoolLocation::Sqlite(path) => Ok(Arc::new(sqlite::SqliteSpool::create_or_open(path, clock)?)),
        SpoolLocation::Postgres(location) => {
            Ok(Arc::new(postgres::PostgresSpool::create_or_open(location, Some(clock))?))
        }
    }
}

/// Opens a spool for reading only. This creates nothing and needs no role. A spool that does not exist is an
/// error of the kind [`SpoolErrorKind::Missing`].
pub fn open_existing(location: &SpoolLocation) -> Result<Arc<dyn SpoolView>, SpoolError> {
    match location {
        SpoolLocation::Sqlite(path) => Ok(Arc::new(sqlite::SqliteSpool::open_existing(path)?)),
        SpoolLocation::Postgres(location) => Ok(Arc::new(postgres::PostgresSpool::open_existing(location)?)),
    }
}

/// Begins to copy another spool into a PostgreSQL spool, which is created. It must not have been used, unless
/// by a copy that was interrupted.
pub fn importer(location: &PostgresLocation) -> Result<Box<dyn import::Importer>, SpoolError> {
    postgres::importer(location)
}

/// Advances the [`Watermark`] of a spool with what other processes commit, until this is dropped.
#[derive(Debug)]
pub struct CommitFollower {
    _stop: Box<dyn fmt::Debug + Send + Sync>,
}

impl CommitFollower {
    /// Wraps whatever ends the following when it is dropped.
    fn new(stop: impl fmt::Debug + Send + Sync + 'static) -> Self {
        CommitFollower { _stop: Box::new(stop) }
    }
}

/// A spool that is open for reading.
///
/// Messages name it by its [`Display`](fmt::Display) form, which contains no secrets.
pub trait SpoolView: fmt::Debug + fmt::Display + Send + Sync {
    /// Opens a reader of the event log.
    fn reader(&self) -> Result<Box<dyn EventReader>, SpoolError>;

    /// Opens the registry for reading.
    fn registry_view(&self) -> Result<Box<dyn RegistryView>, SpoolError>;

    /// Opens a reader of the spool's counts and sizes.
    fn stats_reader(&self) -> Result<Box<dyn StatsReader>, SpoolError>;

    /// Returns a name for each holder of `role`, such as its process id.
    fn role_holders(&self, role: Role) -> Result<Vec<String>, SpoolError>;

    /// Checks everything but the items themselves: the storage, the sequences, the positions. Returns one
    /// line for each problem.
    fn check(&self) -> Result<Vec<String>, SpoolError>;
}

/// A spool that is open for reading and writing. Threads can share it, but not what it opens.
pub trait Spool: SpoolView {
    /// Takes a role. If another process has it, the error names that process.
    fn take_role(&self, role: Role) -> Result<RoleLock, SpoolError>;

    /// Starts the thread that appends to the event log. `role` has to be that of the listener. The thread
    /// advances the spool's [`watermark`](Spool::watermark) with each commit and closes it when it ends.
    fn start_writer(
        &self,
        role: &RoleLock,
        unit: SequenceUnit,
        limits: Limits,
    ) -> Result<(WriterHandle, Writer), SpoolError>;

    /// Returns the watermark that wakes the readers in this process.
    fn watermark(&self) -> &Watermark;

    /// Starts to advance the [`watermark`](Spool::watermark) with what other processes commit. Returns `None`
    /// if none can, because this process `is_listener` and an implementation allows only one.
    fn follow_commits(&self, is_listener: bool) -> Result<Option<CommitFollower>, SpoolError>;

    /// Opens the event log for trimming.
    fn trimmer(&self) -> Result<Box<dyn Trimmer>, SpoolError>;

    /// Opens the registry for reading and writing.
    fn registry(&self) -> Result<Box<dyn Registry>, SpoolError>;

    /// Opens the registry for a caller that will soon try again: if another process holds a lock, it gives up
    /// after a moment.
    fn impatient_registry(&self) -> Result<Box<dyn Registry>, SpoolError>;

    /// Returns how long the registry's webhook URLs may be accepted after they were read. `None`: until they
    /// can be read again, because whatever keeps them from being read keeps everybody from changing them.
    fn registry_lasts(&self) -> Option<Duration>;

    /// Tidies the storage. Called once, after everything that the spool has opened is closed.
    fn tidy_up(&self);
}
