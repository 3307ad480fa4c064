//! Takes snapshots.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::warn;

use super::{Behind, ListenerStatus, Snapshot, SpoolStatus};
use crate::emitter::progress::EmitterProgress;
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

    /// Takes a snapshot, which reads files. If the spool cannot be read, it logs a warning and the snapshot
    /// lacks the spool.
    pub fn snapshot(&mut self) -> Snapshot {
        let spool = self.spool_status().map_err(|error| {
            if let Some(suppressed) = self.throttle.allow() {
                warn!("the status lacks the spool: {error}{suppressed}");
            }
            // The next snapshot opens the spool again.
            self.stats = None;
        });
        Snapshot {
            taken_at: UnixMillis::now(),
            listener: self.listener.clone(),
            emitter: self.emitter.as_ref().map(EmitterProgress::snapshot),
            spool: spool.ok(),
        }
    }

    /// Reads the spool's part of a snapshot.
    pub fn spool_status(&mut self) -> Result<SpoolStatus, SpoolError> {
        let reader = match &mut self.stats {
            Some(reader) => reader,
            none => none.insert(self.spool.stats_reader()?),
        };
        let stats = reader.read()?;
        let behind = match &self.emitter {
            None => None,
            Some(emitter) => {
                let progress = emitter.snapshot();
                // If no stream of events is selected, there is nothing to write.
                let unwritten = reader.pending_past(progress.written_through.unwrap_or(Sequence::END))?;
                let confirmed = progress.confirmed_through;
                let unstored = confirmed.map(|confirmed| reader.pending_past(confirmed)).transpose()?;
                Some(Behind { unwritten, unstored: unstored.unwrap_or(unwritten) })
            }
        };
        Ok(SpoolStatus { name: self.spool.to_string(), stats, behind })
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
