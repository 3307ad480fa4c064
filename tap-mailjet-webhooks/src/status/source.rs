//! Takes snapshots.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::warn;

use super::{Behind, ListenerStatus, Snapshot, SpoolStatus};
use crate::emitter::progress::{EmitterProgress, ProgressSnapshot};
use crate::os::clock::UnixMillis;
use crate::os::log_throttle::LogThrottle;
use crate::spool::{Sequence, SpoolError, SpoolView, StatsReader};

/// Takes snapshots of a spool and of the components that this process runs on it.
#[derive(Debug)]
pub struct StatusSource {
    listener: Option<ListenerStatus>,
    emitter: Option<EmitterProgress>,
    spool: Arc<dyn SpoolView>,
    /// Opened when first needed.
    stats: Option<Box<dyn StatsReader>>,
    throttle: LogThrottle,
}

impl StatusSource {
    /// A source for these components, each `None` if this process does not run it.
    pub fn new(
        spool: Arc<dyn SpoolView>,
        listener: Option<ListenerStatus>,
        emitter: Option<EmitterProgress>,
    ) -> Self {
        StatusSource { listener, emitter, spool, stats: None, throttle: LogThrottle::default() }
    }

    /// Takes a snapshot of everything, which counts what the spool holds. If the spool cannot be read, it
    /// logs a warning and the snapshot lacks the spool.
    pub fn snapshot(&mut self) -> Snapshot {
        // In this order: how far the emitter is behind then follows from what was counted for the status.
        let spool = self.spool_status();
        let spool = self.or_warn(spool);
        let behind = if spool.is_some() { self.behind() } else { Ok(None) };
        Snapshot { spool, ..self.snapshot_with(behind) }
    }

    /// Takes a snapshot without the spool: it counts only what the emitter has still to write.
    pub fn progress(&mut self) -> Snapshot {
        let behind = self.behind();
        self.snapshot_with(behind)
    }

    fn snapshot_with(&mut self, behind: Result<Option<Behind>, SpoolError>) -> Snapshot {
        Snapshot {
            taken_at: UnixMillis::now(),
            listener: self.listener.clone(),
            emitter: self.emitter.as_ref().map(EmitterProgress::snapshot),
            behind: self.or_warn(behind).flatten(),
            spool: None,
        }
    }

    fn or_warn<T>(&mut self, read: Result<T, SpoolError>) -> Option<T> {
        read.map_err(|error| {
            if let Some(suppressed) = self.throttle.allow() {
                warn!("the status lacks the spool: {error}{suppressed}");
            }
            // The next snapshot opens the spool again.
            self.stats = None;
        })
        .ok()
    }

    /// Reads the spool's part of a snapshot.
    pub fn spool_status(&mut self) -> Result<SpoolStatus, SpoolError> {
        Ok(SpoolStatus { name: self.spool.to_string(), stats: self.reader()?.read()? })
    }

    fn behind(&mut self) -> Result<Option<Behind>, SpoolError> {
        let Some(emitter) = &self.emitter else { return Ok(None) };
        let ProgressSnapshot { written_through, confirmed_through, .. } = emitter.snapshot();
        let reader = self.reader()?;
        // The position that is further back comes first, so that both count the same rows.
        let unstored = confirmed_through.map(|confirmed| reader.pending_past(confirmed)).transpose()?;
        // If no stream of events is selected, there is nothing to write.
        let unwritten = reader.pending_past(written_through.unwrap_or(Sequence::END))?;
        Ok(Some(Behind { unwritten, unstored: unstored.unwrap_or(unwritten) }))
    }

    fn reader(&mut self) -> Result<&mut Box<dyn StatsReader>, SpoolError> {
        match &mut self.stats {
            Some(reader) => Ok(reader),
            none => Ok(none.insert(self.spool.stats_reader()?)),
        }
    }
}

/// A source that several tasks share, and that can be closed while they still hold it.
#[derive(Debug, Clone)]
pub struct SharedSource(Arc<Mutex<Option<StatusSource>>>);

impl SharedSource {
    /// Shares `source`.
    pub fn new(source: StatusSource) -> Self {
        SharedSource(Arc::new(Mutex::new(Some(source))))
    }

    /// Takes a snapshot; `None` once the source is closed.
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(StatusSource::snapshot)
    }

    /// Closes the source, and the spool with it. Waits for a snapshot that is being taken.
    pub fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
