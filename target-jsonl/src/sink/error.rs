//! Why records cannot be stored, or a STATE cannot be printed.

use std::io;
use std::path::{Path, PathBuf};

use crate::MAX_LINE_BYTES;

/// Why the sink stops.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum SinkError {
    #[error("{path} cannot be {operation}: {source}; {advice}")]
    Storage { path: PathBuf, operation: &'static str, source: io::Error, advice: &'static str },
    #[error(
        "{0} is being written by another process; wait until it has finished, or set another \
         \"destination_path\""
    )]
    Locked(PathBuf),
    #[error(
        "{} is {what}, to which this target does not append; move it away, or set another \
         \"destination_path\"",
        path.display()
    )]
    NotOwnFile { path: PathBuf, what: &'static str },
    #[error(
        "{path} has no line ending in its last {mib} MiB, so it is not JSON Lines; move it away, or set \
         another \"destination_path\"",
        path = .0.display(), mib = MAX_LINE_BYTES >> 20
    )]
    NotJsonLines(PathBuf),
    #[error(
        "{} was deleted while it was written: rows since the last STATE are lost with it, and no STATE \
         covers them; run the tap again",
        .0.display()
    )]
    Deleted(PathBuf),
    #[error("stdout cannot be written: {0}; the records are stored, but the STATE that covers them is lost")]
    Stdout(io::Error),
}

impl SinkError {
    /// Returns a function that turns what the system says into the error of an operation on `path`.
    pub(super) fn storage(
        path: &Path,
        operation: &'static str,
        advice: &'static str,
    ) -> impl FnOnce(io::Error) -> SinkError {
        move |source| SinkError::Storage { path: path.to_owned(), operation, source, advice }
    }

    /// Likewise, for an fsync.
    pub(super) fn sync(path: &Path) -> impl FnOnce(io::Error) -> SinkError {
        let advice =
            "no STATE was printed for records that may be lost; check the disk, then run the tap again";
        SinkError::storage(path, "synced to disk", advice)
    }
}
