//! How far the emitter has got: counted where it happens, told elsewhere. What comes in is counted by the listener
//! ([`crate::listener::Traffic`]).

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use catalog::stream::StreamId;

use crate::spool::Sequence;

/// How far the emitter has got. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    shared: Arc<Shared>,
}

/// How far stdout has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// Every event up to this sequence has been written to each selected stream that has it.
    pub events: Sequence,
    /// So has every rejected item up to this one.
    pub rejected: Sequence,
    /// What this run has written to each selected stream.
    pub streams: Vec<Written>,
}

impl Default for Reached {
    fn default() -> Self {
        Reached { events: Sequence::START, rejected: Sequence::START, streams: Vec::new() }
    }
}

/// What a run has written to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The stream.
    pub stream: StreamId,
    /// Sequence of its last record; 0 if there was none.
    pub last: Sequence,
    /// How many records.
    pub records: u64,
}

impl Written {
    /// Counts a record.
    pub fn count(&mut self, sequence: Sequence) {
        self.last = sequence;
        self.records += 1;
    }
}

impl Reached {
    /// The selected streams of events, or that of rejected items.
    pub fn streams(&self, rejected: bool) -> impl Iterator<Item = &Written> {
        self.streams.iter().filter(move |written| (written.stream == StreamId::Rejected) == rejected)
    }

    /// Sequence up to which events, or rejected items, have been written; 0 where no stream of them is selected.
    #[must_use]
    pub fn taken(&self, rejected: bool) -> Sequence {
        if self.streams(rejected).next().is_none() {
            Sequence::START
        } else if rejected {
            self.rejected
        } else {
            self.events
        }
    }
}

#[derive(Debug)]
struct Shared {
    written: AtomicU64,
    /// How far stdout has got.
    reached: Mutex<Reached>,
    /// The largest bookmark of any STATE that this run or one before it has written.
    bookmark: AtomicI64,
    /// Sequence up to which the state file confirms all events; -1 while nothing follows one.
    confirmed: AtomicI64,
}

impl Default for Shared {
    fn default() -> Self {
        Shared {
            written: AtomicU64::new(0),
            reached: Mutex::default(),
            bookmark: AtomicI64::new(0),
            confirmed: AtomicI64::new(-1),
        }
    }
}

impl Counters {
    /// Counts events that stdout took, to whichever streams, and notes how far it has got with them.
    pub fn written(&self, events: u64, reached: &Reached) {
        self.shared.written.fetch_add(events, Ordering::Relaxed);
        self.shared.reached.lock().unwrap_or_else(PoisonError::into_inner).clone_from(reached);
    }

    /// Notes the largest bookmark of any STATE that has been or is about to be written.
    pub fn bookmark_written(&self, sequence: Sequence) {
        self.shared.bookmark.store(sequence.get(), Ordering::Release);
    }

    /// The largest bookmark that a state of this spool can have.
    #[must_use]
    pub fn largest_bookmark(&self) -> Sequence {
        Sequence::new(self.shared.bookmark.load(Ordering::Acquire))
    }

    /// Notes that the target has everything up to `sequence`.
    pub fn confirmed_through(&self, sequence: Sequence) {
        self.shared.confirmed.store(sequence.get(), Ordering::Relaxed);
    }

    /// Sequence up to which the target has everything; none while nothing follows what it confirms.
    #[must_use]
    pub fn confirmed(&self) -> Option<Sequence> {
        Some(self.shared.confirmed.load(Ordering::Relaxed))
            .filter(|sequence| *sequence >= 0)
            .map(Sequence::new)
    }

    /// How far stdout has got.
    #[must_use]
    pub fn reached(&self) -> Reached {
        self.shared.reached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Events that stdout took.
    #[must_use]
    pub fn total_written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }
}
