//! Whether there is room for more: nothing is accepted that can't be kept.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::disk_usage::DiskUsage;
use crate::spool::{AppendError, Limits, SpoolError};

/// How long a look at the sizes of spool and disk may be relied on.
const ROOM_AGE: Duration = Duration::from_secs(1);
/// How many bytes may be written on the strength of one such look.
const ROOM_BYTES: u64 = 8 << 20;

/// How much room there was at the last look, less what has been written since.
#[derive(Debug)]
pub(super) struct Headroom {
    limits: Limits,
    looked_at: Instant,
    written: u64,
    space: DiskUsage,
}

impl Headroom {
    pub(super) fn look(path: &Path, connection: &Connection, limits: Limits) -> Result<Self, SpoolError> {
        let space = DiskUsage::look(path, connection)?;
        Ok(Headroom { limits, looked_at: Instant::now(), written: 0, space })
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn is_stale(&self) -> bool {
        self.looked_at.elapsed() >= ROOM_AGE || self.written >= ROOM_BYTES
    }

    /// Decides whether there is room for a batch of so many bytes, and counts it as written if so.
    pub(super) fn admit(&mut self, cost: u64) -> Result<(), AppendError> {
        self.could_take(cost)?;
        self.written += cost;
        Ok(())
    }

    /// Decides whether there is room for a batch of so many bytes.
    pub(super) fn could_take(&self, cost: u64) -> Result<(), AppendError> {
        let written = self.written + cost;
        if self.space.used + written > self.limits.spool_max_bytes {
            return Err(AppendError::SpoolFull);
        }
        if self.space.disk_free + self.space.free_within < self.limits.min_free_bytes.saturating_add(written)
        {
            return Err(AppendError::DiskLow);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_trimming_emptied_is_room() {
        let limits = Limits { spool_max_bytes: 1000, min_free_bytes: 500, memory_bytes: 0 };
        let looked_at = Instant::now();
        // (used, free within the spool, free on the disk) and how much is admitted, in batches of 100
        let cases = [
            ((0, 0, 499), 0),
            ((0, 0, 750), 200),
            ((0, 200, 400), 100),
            ((0, 600, 0), 100),
            ((900, 9000, 9000), 100),
            ((1000, 9000, 9000), 0),
        ];
        for ((used, free_within, disk_free), expected) in cases {
            let space = DiskUsage { used, free_within, disk_free };
            let mut room = Headroom { limits, looked_at, written: 0, space };
            while room.admit(100).is_ok() {}
            assert_eq!(room.written, expected, "{space:?}");
        }
    }
}
