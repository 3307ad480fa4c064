//! What can go wrong with a spool.
//!
//! [`AppendError`] is for the listener: why a batch was not stored. [`SpoolError`] is for everybody else: a kind that
//! the program acts on, and a message for people, worded by the implementation that it comes from.

use std::error::Error;
use std::fmt;

/// Why a spool has not confirmed a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The spool has reached `spool_max_bytes`. Nothing was stored.
    #[error("the spool is full (spool_max_bytes)")]
    SpoolFull,
    /// The disk has less than `min_free_bytes` left, or no room at all. Nothing was stored.
    #[error("the disk is full or nearly full (min_free_bytes)")]
    DiskLow,
    /// Too many bytes are waiting to be written. Nothing was stored.
    #[error("too much is waiting to be written")]
    Overloaded,
    /// Another process held the spool's write lock for too long. Nothing was stored.
    #[error("another process keeps the spool locked")]
    Locked,
    /// Whether the batch was stored is unknown, for example because the connection to a server broke during the commit.
    /// The spool lives on.
    #[error("the spool did not say in time whether it has stored the events")]
    OutcomeUnknown,
    /// The spool has failed, and the process is about to end. Whether the batch was stored is unknown.
    #[error("the spool has failed")]
    Failed,
    /// The spool is being closed. Nothing was stored.
    #[error("the tap is stopping")]
    Closed,
}

/// What the program can do about a [`SpoolError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpoolErrorKind {
    /// There is no spool yet, and this operation makes none.
    Missing,
    /// Another process has the role. Nothing to do here; exit code 75.
    RoleTaken,
    /// This process had the role, and another one has it now. Nothing may be written any more; exit code 75.
    RoleLost,
    /// Another process holds a lock. The same operation may succeed later.
    Locked,
    /// There is no room. Nothing was written, and the same operation may succeed later.
    NoRoom,
    /// The storage failed, and what it holds is unknown. Nothing may be retried: a sync that succeeds afterwards proves
    /// nothing about what the failed one was meant to store.
    StorageFailed,
    /// Anything else, which a person has to put right.
    Other,
}

/// A failure of a spool: one line for people, and what the program can do about it.
pub struct SpoolError {
    kind: SpoolErrorKind,
    source: Box<dyn Error + Send + Sync>,
}

impl SpoolError {
    /// An error of this kind, with the implementation's own error as its message.
    pub(super) fn new(kind: SpoolErrorKind, source: impl Error + Send + Sync + 'static) -> Self {
        SpoolError { kind, source: Box::new(source) }
    }

    /// What the program can do about it.
    #[must_use]
    pub fn kind(&self) -> SpoolErrorKind {
        self.kind
    }
}

impl fmt::Debug for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

impl Error for SpoolError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}
