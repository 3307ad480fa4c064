//! Tells readers that the event log has more for them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Sequence;

/// The largest sequence that is known to be committed, and whether more will come.
///
/// Clones share it. The writer in this process advances it. If several machines share a spool, the
/// implementation also advances it when it learns of their commits.
#[derive(Debug, Clone, Default)]
pub struct Watermark {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    committed: Sequence,
    is_closed: bool,
}

/// Why a wait for new events has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wakeup {
    /// There is something past the position.
    Advanced,
    /// Nothing came within the limit.
    TimedOut,
    /// There is nothing past the position, and nothing more will come.
    Closed,
}

impl Watermark {
    /// Notes that everything up to `sequence` is committed.
    pub fn advance(&self, sequence: Sequence) {
        let mut state = self.state();
        // Another process's commit, which followed one of this process, may be known first.
        state.committed = state.committed.max(sequence);
        drop(state);
        self.shared.1.notify_all();
    }

    /// Notes that nothing more will be committed.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.shared.1.notify_all();
    }

    /// Returns the largest sequence that is known to be committed.
    pub fn committed(&self) -> Sequence {
        self.state().committed
    }

    /// Waits until there is something past `position`, for at most `limit`.
    pub fn wait_past(&self, position: Sequence, limit: Duration) -> Wakeup {
        let (state, _) = self
            .shared
            .1
            .wait_timeout_while(self.state(), limit, |state| state.committed <= position && !state.is_closed)
            .unwrap_or_else(PoisonError::into_inner);
        if state.committed > position {
            Wakeup::Advanced
        } else if state.is_closed {
            Wakeup::Closed
        } else {
            Wakeup::TimedOut
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
