//! Whether there is room for more: nothing is accepted that cannot be kept.

use std::time::{Duration, Instant};

use super::{AppendError, DiskUsage, Limits};

/// How long a measurement of the spool and its disk is used.
const MEASUREMENT_AGE: Duration = Duration::from_secs(1);
/// How many bytes may be written before the next measurement.
const MEASUREMENT_BYTES: u64 = 8 << 20;

/// How much room there was at the last measurement, less what has been written since.
#[derive(Debug)]
pub(super) struct Headroom {
    limits: Limits,
    measured_at: Instant,
    written: u64,
    disk: DiskUsage,
}

impl Headroom {
    /// What `limits` leave of a disk that was just measured.
    pub(super) fn new(limits: Limits, disk: DiskUsage) -> Self {
        Headroom { limits, measured_at: Instant::now(), written: 0, disk }
    }

    /// Measures again if the last measurement is too old.
    pub(super) fn refresh<E>(&mut self, measure: impl FnOnce() -> Result<DiskUsage, E>) -> Result<(), E> {
        if self.measured_at.elapsed() >= MEASUREMENT_AGE || self.written >= MEASUREMENT_BYTES {
            *self = Headroom::new(self.limits, measure()?);
        }
        Ok(())
    }

    pub(super) fn admit(&mut self, bytes: u64) -> Result<(), AppendError> {
        self.could_admit(bytes)?;
        self.written += bytes;
        Ok(())
    }

    pub(super) fn could_admit(&self, bytes: u64) -> Result<(), AppendError> {
        let DiskUsage { used, free_within, disk_free } = self.disk;
        let written = self.written + bytes;
        if used + written > self.limits.spool_max_bytes {
            return Err(AppendError::SpoolFull);
        }
        let free = disk_free.unwrap_or(u64::MAX).saturating_add(free_within.unwrap_or(0));
        if free < self.limits.min_free_bytes.saturating_add(written) {
            return Err(AppendError::DiskLow);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_trimming_has_freed_count_as_room() {
        let limits = Limits { spool_max_bytes: 1000, min_free_bytes: 500, memory_bytes: 0 };
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
            let disk = DiskUsage { used, free_within: Some(free_within), disk_free: Some(disk_free) };
            let mut headroom = Headroom::new(limits, disk);
            while headroom.admit(100).is_ok() {}
            assert_eq!(headroom.written, expected, "{disk:?}");
        }
    }
}
