//! The spool: where events are safe between Mailjet and the target.
//!
//! It knows bytes, sequences and durability, and nothing of HTTP or of columns. This module is the contract: types,
//! promises and errors. Each implementation is a folder beside it ([`sqlite`]) and an arm of the `match` in [`open`].
//! Code outside sees two things:
//!
//! - the *event log*: append ([`Append`]), read past a position ([`EventReader`]), trim ([`Trimmer`])
//! - the *registry* ([`Registry`]): webhook URLs, discovered columns, positions, roles ([`RoleLock`])
//!
//! # Promises
//!
//! 1. [`Append::append`] answers with a [`Receipt`] only after the whole [`Batch`] has been committed and is durable. There is
//!    no other way to get a `Receipt`.
//! 2. Sequences are unique and strictly increasing, in the order of commits, across restarts, trimming and steps of the
//!    clock. Nothing is ever committed behind a sequence that a reader has seen, so reading past it misses nothing.
//! 3. A batch is stored whole or not at all.
//! 4. After an error that leaves it unknown what is stored ([`AppendError::OutcomeUnknown`], [`AppendError::Failed`]), nothing
//!    is retried inside: the sender is asked to repeat. Where the storage itself has failed, the process ends.
//! 5. Nothing is accepted that cannot be kept: room is checked before the write.
//! 6. Memory is bounded in bytes: what waits to be written holds a [`Reservation`], and the [`Budget`] is finite.
//! 7. Damage is skipped: what can be read is read, and what cannot be read is reported ([`Damage`]).
//! 8. One process at a time has the role of the emitter ([`RoleLock`]); whether there can be several listeners is for the
//!    implementation to say. A role ends with its process, however that ends.
//!
//! # What an implementation decides
//!
//! - Whose clock counts: "now" for sequences, for what is old enough to be trimmed and for the registry.
//! - What tells readers of new events: a [`Watermark`] that this process's commits advance, or another process's.
//! - Whether bytes free on a disk mean anything ([`DiskUsage`]).

mod batch;
mod budget;
mod commits;
mod error;
mod event_log;
mod registry;
mod sequence;
mod sqlite;
mod stats;
mod watermark;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::os::clock::UnixMillis;

pub use batch::{Batch, Items, Receipt};
pub use budget::{Budget, Reservation};
pub use commits::CommitStats;
pub use error::{AppendError, SpoolError, SpoolErrorKind};
pub use event_log::{Backlog, Damage, EventReader, ItemKind, StoredEvent, StoredRejection, Trimmer};
pub use registry::{DiscoveredColumn, Registry, RegistryView, Role, RoleLock, TokenHash, WebhookUrl};
pub use sequence::{Sequence, SequenceUnit};
pub use stats::{DiskUsage, Pending, SpoolStats, StatsReader};
pub use watermark::{Wakeup, Watermark};
pub use writer::{Append, Limits, Writer, WriterHandle};

/// The bytes of a rejected item that are stored.
pub const REJECTED_BODY_BYTES: usize = 65_536;

/// Where a spool is, and so which implementation it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpoolLocation {
    /// An SQLite file on a local disk.
    Sqlite(PathBuf),
}

/// Opens a spool for reading and writing, and makes it if there is none.
pub fn open(location: &SpoolLocation) -> Result<Arc<dyn Spool>, SpoolError> {
    open_with_clock(location, UnixMillis::now)
}

/// Does what [`open`] does, with another clock than this machine's. An implementation that goes by a server's clock
/// ignores it.
pub fn open_with_clock(
    location: &SpoolLocation,
    clock: fn() -> UnixMillis,
) -> Result<Arc<dyn Spool>, SpoolError> {
    match location {
        SpoolLocation::Sqlite(path) => Ok(Arc::new(sqlite::SqliteSpool::create_or_open(path, clock)?)),
    }
}

/// Opens a spool for reading only; `None` if there is none. Nothing is made, and no role is needed.
pub fn open_existing(location: &SpoolLocation) -> Result<Option<Arc<dyn SpoolView>>, SpoolError> {
    match location {
        SpoolLocation::Sqlite(path) => match sqlite::SqliteSpool::open_existing(path)? {
            Some(spool) => Ok(Some(Arc::new(spool))),
            None => Ok(None),
        },
    }
}

/// Returns the error for a spool that has to be there and is not.
#[must_use]
pub fn missing(location: &SpoolLocation) -> SpoolError {
    match location {
        SpoolLocation::Sqlite(path) => sqlite::missing(path),
    }
}

/// A spool, as far as it can be looked at.
///
/// Messages name it by its [`Display`](fmt::Display) form, which has no secrets.
pub trait SpoolView: fmt::Debug + fmt::Display + Send + Sync {
    /// Opens a reader of the event log.
    fn reader(&self) -> Result<Box<dyn EventReader>, SpoolError>;

    /// Opens the registry for reading.
    fn registry_view(&self) -> Result<Box<dyn RegistryView>, SpoolError>;

    /// Opens what counts and measures.
    fn stats_reader(&self) -> Result<Box<dyn StatsReader>, SpoolError>;

    /// Returns who has `role`, as far as that is known: one name for each holder, such as a process id.
    fn role_holders(&self, role: Role) -> Result<Vec<String>, SpoolError>;

    /// Checks everything but the items themselves: the format, the storage, the order of sequences, the facts. Returns what
    /// is wrong, each in a line.
    fn check(&self) -> Result<Vec<String>, SpoolError>;
}

/// A spool that is open for reading and writing. It can be shared between threads; what it opens belongs to one thread each.
pub trait Spool: SpoolView {
    /// Takes a role, or says who has it.
    fn take_role(&self, role: Role) -> Result<RoleLock, SpoolError>;

    /// Starts the thread that appends to the event log. `role` proves that this process is a listener. The thread advances
    /// the spool's [`watermark`](Spool::watermark) with each commit and closes it when it ends.
    fn start_writer(
        &self,
        role: &RoleLock,
        unit: SequenceUnit,
        limits: Limits,
    ) -> Result<(WriterHandle, Writer), SpoolError>;

    /// Returns what tells readers in this process of new events.
    fn watermark(&self) -> &Watermark;

    /// Opens what deletes from the event log.
    fn trimmer(&self) -> Result<Box<dyn Trimmer>, SpoolError>;

    /// Opens the registry.
    fn registry(&self) -> Result<Box<dyn Registry>, SpoolError>;

    /// Opens the registry for a caller that comes back soon: it gives up after a moment if another process holds a lock.
    fn impatient_registry(&self) -> Result<Box<dyn Registry>, SpoolError>;

    /// Leaves the spool as tidy as it can be: called once, when everything that it has opened is closed.
    fn tidy_up(&self);
}
