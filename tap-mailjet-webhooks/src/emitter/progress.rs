//! How far the emitter has got, for display: the live line and the metrics.
//!
//! Nothing here decides anything. [`Written`](super::Written) decides what may be trimmed.

use std::sync::Arc;

use catalog::stream::StreamId;
use parking_lot::Mutex;

use crate::spool::Sequence;

/// How far the emitter has got. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct EmitterProgress(Arc<Mutex<ProgressSnapshot>>);

/// How far the emitter has got, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProgressSnapshot {
    /// The events that stdout has taken, in any stream.
    pub events_written: u64,
    /// The records that stdout has taken, for each selected stream.
    pub records_written: Vec<(StreamId, u64)>,
    /// The sequence up to which stdout has taken every event; `None` if no stream of events is selected.
    pub written_through: Option<Sequence>,
    /// The sequence up to which the state file confirms every event; `None` if no state file is followed or
    /// no stream of events is selected.
    pub confirmed_through: Option<Sequence>,
}

impl EmitterProgress {
    pub(crate) fn snapshot(&self) -> ProgressSnapshot {
        self.0.lock().clone()
    }

    /// Notes what stdout has taken: `events` since the last call, and in all.
    pub(super) fn note_written(
        &self,
        events: u64,
        records_written: Vec<(StreamId, u64)>,
        written_through: Option<Sequence>,
    ) {
        let mut progress = self.0.lock();
        progress.events_written += events;
        progress.records_written = records_written;
        progress.written_through = written_through;
    }

    pub(super) fn note_confirmed(&self, confirmed_through: Option<Sequence>) {
        self.0.lock().confirmed_through = confirmed_through;
    }
}
