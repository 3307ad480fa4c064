//! Deletes from the spool what the target has stored, once it is old enough.

use std::time::{Duration, Instant};

use tracing::{debug, error};

use super::written::Confirmed;
use crate::os::log_throttle::LogThrottle;
use crate::spool::{ItemKind, Registry, Sequence, SpoolError, SpoolErrorKind, Trimmer};

/// How long a trim may take. The end of a run may wait for that, and for [`GIVE_BACK_TIME`].
const TRIM_TIME: Duration = Duration::from_secs(1);
/// How long giving room back to the disk may take in addition. Even if there is always something to trim, the
/// disk gets room back.
const GIVE_BACK_TIME: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Trimming {
    trimmer: Box<dyn Trimmer>,
    registry: Box<dyn Registry>,
    retention: Duration,
    /// Up to where the registry has noted events as confirmed.
    noted_through: Sequence,
    error_throttle: LogThrottle,
}

impl Trimming {
    pub(super) fn new(trimmer: Box<dyn Trimmer>, registry: Box<dyn Registry>, retention: Duration) -> Self {
        Trimming {
            trimmer,
            registry,
            retention,
            noted_through: Sequence::START,
            error_throttle: LogThrottle::default(),
        }
    }

    /// Deletes what is confirmed and old enough. Fails only if the storage has failed.
    pub(super) fn trim(&mut self, confirmed: Confirmed) -> Result<(), SpoolError> {
        match self.try_trim(confirmed) {
            Err(error) if error.kind() == SpoolErrorKind::StorageFailed => Err(error),
            Err(error) => {
                // The rows stay longer than necessary, and the next trim tries again.
                if let Some(suppressed) = self.error_throttle.allow() {
                    error!("{error}{suppressed}");
                }
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn try_trim(&mut self, confirmed: Confirmed) -> Result<(), SpoolError> {
        let start = Instant::now();
        for kind in ItemKind::ALL {
            let Some(confirmed_through) = confirmed.through(kind) else { continue };
            while start.elapsed() < TRIM_TIME {
                match self.trimmer.step(kind, confirmed_through, self.retention)? {
                    0 => break,
                    trimmed => debug!("{trimmed} rows were trimmed"),
                }
            }
        }
        while start.elapsed() < TRIM_TIME + GIVE_BACK_TIME && self.trimmer.give_back()? {}
        // This comes last: on a full disk, room is worth more than this note.
        if let Some(confirmed_through) = confirmed.through(ItemKind::Event)
            && confirmed_through > self.noted_through
        {
            self.registry.note_confirmed_through(confirmed_through)?;
            self.noted_through = confirmed_through;
        }
        Ok(())
    }
}
