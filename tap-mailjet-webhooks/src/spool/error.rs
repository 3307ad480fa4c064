//! What can go wrong with a spool.
//!
//! [`AppendError`] tells the listener why a batch was not confirmed. Every other operation returns a
//! [`SpoolError`]: a kind that the program acts on, and a message for people from the implementation.

use std::error::Error;

/// Why a spool has not confirmed a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum AppendError {
    #[error("the spool is full (spool_max_bytes)")]
    SpoolFull,
    #[error("the disk or a quota is full, or the disk nearly so (min_free_bytes)")]
    DiskLow,
    #[error("too much is waiting to be written")]
    Overloaded,
    #[error("another process keeps the spool locked")]
    Locked,
    /// It is unknown whether the batch was stored, for example because the connection to a server broke
    /// during the commit. The spool keeps working.
    #[error("the spool did not confirm in time that it has stored the events")]
    OutcomeUnknown,
    /// Nothing was stored, and it may work again soon.
    #[error("the database cannot be reached or does not accept anything")]
    Unavailable,
    /// The database may have stored the batch, but does not promise to keep it.
    #[error("the database does not keep what it stores as spool_durability demands")]
    NotDurable,
    #[error("the spool has failed")]
    Failed,
    #[error("the tap is stopping")]
    Closed,
}

/// What the program can do about a [`SpoolError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpoolErrorKind {
    /// There is no spool yet, and this operation creates none.
    Missing,
    /// Another process has the role, so there is nothing to do here; exit code 75.
    RoleTaken,
    /// Another process has taken the role from this one, which must write nothing more; exit code 75.
    RoleLost,
    /// Another process holds a lock. The same operation may succeed later.
    Locked,
    /// The database does not answer. The same operation may succeed later.
    Unavailable,
    /// There is no room. Nothing was written, and the same operation may succeed later.
    NoRoom,
    /// The storage failed, and what it holds is unknown. Nothing may be retried: a sync that succeeds
    /// afterwards proves nothing about what the failed one was meant to store.
    StorageFailed,
    /// Anything else; a person has to fix it.
    Other,
}

/// A failure of a spool: one line for people, and what the program can do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SpoolError {
    kind: SpoolErrorKind,
    message: Box<dyn Error + Send + Sync>,
}

impl SpoolError {
    pub(super) fn new(kind: SpoolErrorKind, error: impl Error + Send + Sync + 'static) -> Self {
        SpoolError { kind, message: Box::new(error) }
    }

    /// What the program can do about it.
    pub fn kind(&self) -> SpoolErrorKind {
        self.kind
    }
}
