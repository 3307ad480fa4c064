//! The event log: what a spool stores, in commit order.
//!
//! Reading and trimming are here; appending is in [`super::writer`].

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use super::{Sequence, SpoolError};
use crate::os::clock::UnixMillis;

/// The two kinds of items in a spool. They share one series of sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    /// An event.
    Event,
    /// An item that was received and is not an event.
    Rejected,
}

impl ItemKind {
    /// Both kinds.
    pub const ALL: [ItemKind; 2] = [ItemKind::Event, ItemKind::Rejected];

    /// The name of the table that holds them.
    pub(super) fn table(self) -> &'static str {
        match self {
            ItemKind::Event => "event",
            ItemKind::Rejected => "rejected",
        }
    }
}

/// An item as the spool holds it.
#[derive(Debug, Clone, Copy)]
pub struct StoredItem<'a> {
    /// The item's key and position in the log.
    pub sequence: Sequence,
    /// When its webhook arrived.
    pub received_at: UnixMillis,
    /// Why the item is not an event; `None` if it is one.
    pub reason: Option<&'a str>,
    /// The bytes as received. Those of an event are JSON: where the webhook was not quite JSON, the
    /// listener has repaired it.
    pub body: &'a [u8],
}

/// A range of items that cannot be read: those past `after`, up to and including `through`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The position before the range.
    pub after: Sequence,
    /// The largest sequence in the range.
    pub through: Sequence,
    /// Why the items cannot be read.
    pub reason: String,
}

/// The number of items that wait, exact only if it is small. To count gigabytes of them could take seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    /// Exactly this many.
    Exactly(u64),
    /// More than this many.
    MoreThan(u64),
}

impl Backlog {
    /// The largest number that is counted exactly.
    pub(super) const MAX_EXACT: u32 = 10_000;

    /// Whether nothing waits.
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
/// It never writes, holds no lock between calls, and shows only durable items: none that a crash could undo.
pub trait EventReader: fmt::Debug + Send {
    /// Shows `visit` up to `limit` items of this kind past `position`, in order, until `visit` breaks.
    /// Returns how many it has shown.
    ///
    /// A range that cannot be read is shown as one [`Damage`].
    fn read_past(
        &mut self,
        kind: ItemKind,
        position: Sequence,
        limit: u32,
        visit: &mut dyn FnMut(Result<StoredItem<'_>, Damage>) -> ControlFlow<()>,
    ) -> Result<usize, SpoolError>;

    /// Shows `visit` up to `limit` items of this kind up to `through`, the newest first, until `visit`
    /// breaks. It ends early at what cannot be read.
    fn read_newest(
        &mut self,
        kind: ItemKind,
        through: Sequence,
        limit: u32,
        visit: &mut dyn FnMut(StoredItem<'_>) -> ControlFlow<()>,
    ) -> Result<(), SpoolError>;

    /// Returns how many readable items of this kind lie past `position`.
    fn backlog_past(&mut self, kind: ItemKind, position: Sequence) -> Result<Backlog, SpoolError>;

    /// Returns the smallest sequence in the log, or the smallest possible one if that cannot be read; `None`
    /// if the log is empty.
    fn first_sequence(&mut self) -> Result<Option<Sequence>, SpoolError>;
}

/// Deletes what the target has stored, once it is old enough.
///
/// If an implementation can lose the role of the emitter to another process, each step checks that it still
/// has it.
pub trait Trimmer: fmt::Debug + Send {
    /// Deletes some items of this kind from the front of the log: those up to `confirmed_through` that
    /// arrived more than `retention` ago. Returns how many; 0 means that no more can be deleted now.
    ///
    /// A step is short, so that commits do not wait for it. It stops at the first item that has to stay, so
    /// deletions never leave a gap in the log.
    fn step(
        &mut self,
        kind: ItemKind,
        confirmed_through: Sequence,
        retention: Duration,
    ) -> Result<usize, SpoolError>;

    /// Gives some of the space that trimming has freed back to the disk. Returns whether there is more to
    /// give.
    fn give_back(&mut self) -> Result<bool, SpoolError>;
}
