//! How much space a spool takes, and how much is free.

use std::path::Path;

use tracing::warn;

use super::SqliteError;
use super::database::{Database, LOG_BYTES};
use super::file;
use crate::spool::DiskUsage;

pub(super) fn measure(database: &Database) -> Result<DiskUsage, SqliteError> {
    let pragma = |name| database.pragma(name).map_err(database.failed("reading its size"));
    let (pages, free_pages, page_size) =
        (pragma("page_count")?, pragma("freelist_count")?, pragma("page_size")?);
    let bytes = |pages: i64| u64::try_from(pages * page_size).unwrap_or(0);
    // The log may not exist yet. Only what exceeds its usual size counts.
    let log = file::log_of(&database.path).metadata().map_or(0, |log| log.len());
    let io = SqliteError::io(&database.path, "reading the free space of its disk");
    let disk = rustix::fs::statvfs(&database.path).map_err(|error| io(error.into()))?;
    Ok(DiskUsage {
        used: bytes(pages - free_pages) + log.saturating_sub(LOG_BYTES.into()),
        free_within: Some(bytes(free_pages)),
        disk_free: Some(disk.f_bavail.saturating_mul(disk.f_frsize)),
    })
}

/// Logs a warning if the disk is so small that nothing will ever be accepted.
pub(super) fn warn_if_never_enough(path: &Path, min_free_bytes: u64) {
    let Ok(disk) = rustix::fs::statvfs(path) else { return };
    let total = disk.f_blocks.saturating_mul(disk.f_frsize);
    if total < min_free_bytes {
        warn!(
            "spool {}: its disk has {total} bytes in all, which is less than min_free_bytes \
             ({min_free_bytes}): every webhook is answered 503. Lower min_free_bytes, or use a larger disk",
            path.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tool that reads in a long transaction makes the log grow without bound.
    #[test]
    fn a_log_beyond_the_usual_size_counts_as_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("spool.db");
        let database = Database::create_or_open(&path).expect("a spool");
        let used = || measure(&database).expect("a measurement").used;
        let before = used();
        let log = std::fs::OpenOptions::new().write(true).open(file::log_of(&path)).expect("its log");
        for (bytes, counted) in [(u64::from(LOG_BYTES), 0), (u64::from(LOG_BYTES) + 1000, 1000)] {
            log.set_len(bytes).expect("a longer file");
            assert_eq!(used(), before + counted);
        }
    }
}
