//! Why records cannot be stored, or a STATE cannot be printed.

use std::io;
use std::path::PathBuf;

use crate::lines::MAX_LINE_BYTES;

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
        "{path} has no line ending in its last {mib} MiB, so it is not JSON Lines; move it away, or set \
         another \"destination_path\"",
        path = .0.display(), mib = MAX_LINE_BYTES >> 20
    )]
    NotJsonLines(PathBuf),
    #[error("stdout cannot be written: {0}; the records are stored, but the STATE that covers them is lost")]
    Stdout(io::Error),
}
