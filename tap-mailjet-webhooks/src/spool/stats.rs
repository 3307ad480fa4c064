//! What a spool holds, and how far everyone has got with it.

use std::fmt;

use super::{Sequence, SpoolError};
use crate::os::clock::UnixMillis;

/// What a spool holds, and how far everyone has got with it, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolStats {
    /// Events in the spool.
    pub events: u64,
    /// Rejected items in the spool.
    pub rejected: u64,
    /// When the first of the events arrived.
    pub oldest_event: Option<UnixMillis>,
    /// When the last of them arrived.
    pub newest_event: Option<UnixMillis>,
    /// How much room the spool takes and has.
    pub disk: DiskUsage,
    /// The largest sequence that was ever assigned.
    pub committed_through: Sequence,
    /// A sequence that no STATE of this spool is past; `None` if no STATE was written.
    pub written_through: Option<Sequence>,
    /// The sequence up to which all events were ever confirmed; `None` if none were.
    pub confirmed_through: Option<Sequence>,
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
    /// Returns how long the oldest event has been pending at the moment `now`, in seconds; 0 if there is none.
    #[must_use]
    pub fn age_seconds(&self, now: UnixMillis) -> f64 {
        self.oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64())
    }
}

/// How much room a spool takes, and how much there is. All of it in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUsage {
    /// What holds data.
    pub used: u64,
    /// What trimming has freed within the spool; `None` where that cannot be told.
    pub free_within: Option<u64>,
    /// What is free on the disk; `None` where the disk is another machine's.
    pub disk_free: Option<u64>,
}

/// Looks at a spool more than once at little cost: only what has come and gone since the last look is counted.
pub trait StatsReader: fmt::Debug + Send {
    /// Looks at the spool, as of one moment.
    fn read(&mut self) -> Result<SpoolStats, SpoolError>;

    /// Returns which events are past `position`, as of the last [`StatsReader::read`] or later.
    fn pending_past(&mut self, position: Sequence) -> Result<Pending, SpoolError>;
}
