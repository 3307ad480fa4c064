//! How a running emitter is stopped, and how a run ended.

use std::io;
use std::sync::OnceLock;
use std::time::Instant;

use tokio::sync::Notify;

use crate::os::thread::ThreadError;
use crate::spool::{Backlog, SpoolError};

/// Connects a running emitter with what stops it.
#[derive(Debug, Default)]
pub struct StopControl {
    deadline: OnceLock<Instant>,
    /// Notified when nothing has arrived for [`Pace::idle_exit`](super::Pace::idle_exit).
    pub idle: Notify,
}

impl StopControl {
    /// Makes the emitter end at `deadline` even if there is more to write. The first deadline counts.
    pub fn cut_short_at(&self, deadline: Instant) {
        let _ = self.deadline.set(deadline);
    }

    /// Whether the run has been asked to end.
    pub(super) fn is_ending(&self) -> bool {
        self.deadline.get().is_some()
    }

    pub(super) fn is_over(&self) -> bool {
        self.deadline.get().is_some_and(|deadline| Instant::now() >= *deadline)
    }
}

/// How a successful run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything in the spool is written, and nothing more will come.
    AllWritten,
    /// The run was stopped with this many events left in the spool.
    CutShort(Backlog),
}

/// Why the emitter failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum EmitError {
    #[error("the reader of stdout is gone; what was not written stays in the spool for the next run")]
    ReaderGone,
    #[error("cannot write to stdout: {0}; what was not written stays in the spool for the next run")]
    Output(io::Error),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Thread(#[from] ThreadError),
}

impl From<io::Error> for EmitError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            EmitError::ReaderGone
        } else {
            EmitError::Output(error)
        }
    }
}
