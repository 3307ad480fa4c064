//! How large a spool is, and how much room there is for more.

use std::path::Path;

use rusqlite::Connection;

use crate::spool::SpoolError;
use crate::spool::sqlite::{self, LOG_BYTES};

/// How large a spool is, and how much room there is for more: bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUsage {
    /// What the spool holds something in, with what its log has beyond the usual.
    pub used: u64,
    /// What the spool has and does not need, since trimming emptied it: it is written before the file grows.
    pub free_within: u64,
    /// What is free on its disk.
    pub disk_free: u64,
}

impl DiskUsage {
    /// Looks at the spool at `path`, which `connection` has open.
    pub(super) fn look(path: &Path, connection: &Connection) -> Result<Self, SpoolError> {
        let sqlite = |source| SpoolError::sqlite(path, "looking at its size", source);
        let pragma =
            |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(sqlite);
        let (pages, free_pages) = (pragma("page_count")?, pragma("freelist_count")?);
        let page_size = pragma("page_size")?;
        let bytes = |pages: i64| u64::try_from(pages * page_size).unwrap_or(0);
        // It may not be there yet.
        let log = sqlite::beside(path, "-wal").metadata().map_or(0, |log| log.len());
        let disk = rustix::fs::statvfs(path).map_err(|error| SpoolError::Io {
            path: path.to_owned(),
            doing: "looking at the free space of its disk",
            source: error.into(),
        })?;
        Ok(DiskUsage {
            used: bytes(pages - free_pages) + log.saturating_sub(LOG_BYTES.into()),
            free_within: bytes(free_pages),
            disk_free: disk.f_bavail.saturating_mul(disk.f_frsize),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Somebody who reads in a long transaction lets the log grow without end.
    #[test]
    fn a_log_beyond_the_usual_counts_as_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("spool.db");
        let connection = sqlite::open(&path).expect("a spool");
        let used = || DiskUsage::look(&path, &connection).expect("a look").used;
        let before = used();
        let log =
            std::fs::OpenOptions::new().write(true).open(sqlite::beside(&path, "-wal")).expect("its log");
        for (bytes, counted) in [(u64::from(LOG_BYTES), 0), (u64::from(LOG_BYTES) + 1000, 1000)] {
            log.set_len(bytes).expect("a longer file");
            assert_eq!(used(), before + counted);
        }
    }
}
