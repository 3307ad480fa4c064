//! Why records can't be stored, or a STATE can't be printed.

use std::io;
use std::path::PathBuf;

use crate::lines::MAX_LINE_BYTES;

/// Why the sink stops.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// An operation on a file or directory failed.
    #[error("{path} can't be {operation}: {source}; {advice}")]
    Storage {
        /// The file or directory.
        path: PathBuf,
        /// What failed: created, opened, written …
        operation: &'static str,
        /// What the system says.
        source: io::Error,
        /// What to do about it.
        advice: &'static str,
    },
    /// Another process has locked the file.
    #[error(
        "{0} is being written by another process; wait until it has finished, or set another \
         \"destination_path\""
    )]
    Locked(PathBuf),
    /// An existing file does not consist of lines.
    #[error(
        "{path} has no line ending in its last {mib} MiB, so it is not JSON Lines; move it away, or set \
         another \"destination_path\"",
        path = .0.display(), mib = MAX_LINE_BYTES >> 20
    )]
    NotJsonLines(PathBuf),
    /// Nobody reads the STATEs.
    #[error("stdout can't be written: {0}; the records are stored, but the STATE that covers them is lost")]
    Stdout(io::Error),
}
