//! The event log: what a spool stores, in the order of commits.
//!
//! Appending is in [`super::writer`]; this file has what reading and trimming share.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use super::{Sequence, SpoolError};
use crate::os::clock::UnixMillis;

/// The two kinds of items in a spool. Their sequences are of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    /// An event.
    Event,
    /// An item that was received and is not an event.
    Rejected,
}

/// An event, as the spool holds it.
#[derive(Debug, Clone, Copy)]
pub struct StoredEvent<'a> {
    /// The event's sequence.
    pub sequence: Sequence,
    /// When its webhook arrived.
    pub received_at: UnixMillis,
    /// Its JSON text, as received.
    pub body: &'a [u8],
}

/// An item that is not an event, as the spool holds it.
#[derive(Debug, Clone, Copy)]
pub struct StoredRejection<'a> {
    /// Its sequence.
    pub sequence: Sequence,
    /// When it arrived.
    pub received_at: UnixMillis,
    /// Why it is not an event.
    pub reason: &'a str,
    /// What was received, cut at 64 KiB.
    pub body: &'a [u8],
}

/// A range of items that cannot be read: those with a sequence past `after`, up to `through`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The last sequence before the range.
    pub after: Sequence,
    /// The last sequence that an item in the range can have.
    pub through: Sequence,
    /// Why they cannot be read.
    pub reason: String,
}

/// How many items wait, as far as a quick look tells: a spool may hold gigabytes, and some can count only by reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    /// Exactly this many.
    Exactly(u64),
    /// More than this.
    MoreThan(u64),
}

impl Backlog {
    /// How many items a quick look counts.
    pub(super) const QUICK_LOOK: u64 = 10_000;

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Backlog::Exactly(0)
    }
}

impl fmt::Display for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backlog::Exactly(number) => write!(f, "{number}"),
            Backlog::MoreThan(number) => write!(f, "more than {number}"),
        }
    }
}

/// Reads the event log in the order of sequences.
///
/// It never writes, holds no lock between two calls, and never shows an item that could still be lost: what it has shown
/// stays, under the same sequence.
pub trait EventReader: fmt::Debug + Send {
    /// Shows `visit` up to `limit` events past `position`, in order, until it breaks. Returns how many it has shown.
    ///
    /// What cannot be read is shown as [`Damage`] and skipped.
    fn read_past(
        &mut self,
        position: Sequence,
        limit: u32,
        visit: &mut dyn FnMut(Result<StoredEvent<'_>, Damage>) -> ControlFlow<()>,
    ) -> Result<usize, SpoolError>;

    /// Does for rejected items what [`EventReader::read_past`] does for events.
    fn read_rejected_past(
        &mut self,
        position: Sequence,
        limit: u32,
        visit: &mut dyn FnMut(Result<StoredRejection<'_>, Damage>) -> ControlFlow<()>,
    ) -> Result<usize, SpoolError>;

    /// Returns how many items of this kind lie past `position`, at a quick look.
    fn backlog_past(&mut self, kind: ItemKind, position: Sequence) -> Result<Backlog, SpoolError>;

    /// Counts the items of this kind past `position`, which may take seconds where there are gigabytes.
    fn count_past(&mut self, kind: ItemKind, position: Sequence) -> Result<u64, SpoolError>;

    /// Returns when the first event past `position` arrived; `None` if there is none or it cannot be read.
    fn oldest_past(&mut self, position: Sequence) -> Result<Option<UnixMillis>, SpoolError>;

    /// Returns the smallest sequence in the log, or the smallest possible one if that cannot be read; `None` if the log
    /// is empty.
    fn first_sequence(&mut self) -> Result<Option<Sequence>, SpoolError>;
}

/// Deletes what the target has stored, once it is old enough.
///
/// An implementation that can lose the role of the emitter to another process demands it with each step.
pub trait Trimmer: fmt::Debug + Send {
    /// Deletes some items of this kind from the front of the log: those up to `confirmed_through` that arrived at least
    /// `retention` ago. Returns how many; 0 means that no more can go now.
    ///
    /// A step is short, so that commits do not wait for it. It stops at the first item that has to stay, so that the log
    /// is always the end of the series.
    fn step(
        &mut self,
        kind: ItemKind,
        confirmed_through: Sequence,
        retention: Duration,
    ) -> Result<usize, SpoolError>;

    /// Gives some of the room that trimming has freed back to the disk. Returns whether there is more to give back.
    fn give_back(&mut self) -> Result<bool, SpoolError>;
}
