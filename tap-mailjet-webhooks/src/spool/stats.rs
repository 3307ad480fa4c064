//! Counts and sizes of a spool.

use std::fmt;

use super::{Sequence, SpoolError};
use crate::os::clock::UnixMillis;

/// What a spool holds, and how far each component has got with it, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolStats {
    /// Events in the spool.
    pub events: u64,
    /// Rejected items in the spool.
    pub rejected: u64,
    /// When the first of these events arrived.
    pub oldest_event: Option<UnixMillis>,
    /// When the last of these events arrived.
    pub newest_event: Option<UnixMillis>,
    /// How much space the spool takes, and how much is free.
    pub disk: DiskUsage,
    /// The largest sequence that was ever assigned, or that of a state that the spool has taken over.
    pub committed_through: Sequence,
    /// The largest bookmark that a STATE of this spool can have; `None` if no STATE was written.
    pub written_through: Option<Sequence>,
    /// The sequence up to which the target has confirmed every event; `None` if it has confirmed none.
    pub confirmed_through: Option<Sequence>,
    /// When the target last confirmed more than before; `None` if it has confirmed nothing.
    pub confirmed_at: Option<UnixMillis>,
    /// The largest sequence that was ever trimmed; `None` if none was.
    pub trimmed_through: Option<Sequence>,
    /// Events that no state has confirmed.
    pub unconfirmed: Pending,
}

/// Events past a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// How many.
    pub events: u64,
    /// When the first of them arrived.
    pub oldest: Option<UnixMillis>,
}

impl Pending {
    /// Returns how long the oldest event has been pending at the moment `now`, in seconds; 0 if there is
    /// none.
    pub fn age_seconds(&self, now: UnixMillis) -> f64 {
        self.oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64())
    }
}

/// How much space a spool takes, and how much is free, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUsage {
    /// The bytes that hold data.
    pub used: u64,
    /// The bytes that trimming has freed within the spool; `None` if that is unknown.
    pub free_within: Option<u64>,
    /// The free bytes on the disk; `None` if it is another machine's.
    pub disk_free: Option<u64>,
}

/// Reads what a spool holds. Repeated reads cost little: each counts only what was added or deleted since the
/// last.
pub trait StatsReader: fmt::Debug + Send {
    /// Reads everything, with all counts and positions as of one moment.
    fn read(&mut self) -> Result<SpoolStats, SpoolError>;

    /// Returns the events past `position`, as of the last [`StatsReader::read`] or later.
    fn pending_past(&mut self, position: Sequence) -> Result<Pending, SpoolError>;
}
