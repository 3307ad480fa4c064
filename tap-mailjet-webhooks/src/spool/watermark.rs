//! Tells readers that the event log has more for them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Sequence;

/// The largest sequence that is known to be committed, and whether more will come.
///
/// Clones share it. It is advanced by the writer in this process or, for a spool that several machines share, by whatever
/// the implementation learns from the others.
#[derive(Debug, Clone, Default)]
pub struct Watermark {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug)]
struct State {
    committed: Sequence,
    is_closed: bool,
}

impl Default for State {
    fn default() -> Self {
        State { committed: Sequence::START, is_closed: false }
    }
}

/// Why a wait for new events has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wakeup {
    /// There is something past the position.
    Advanced,
    /// The time is up.
    TimedOut,
    /// There is nothing past the position, and nothing will come.
    Closed,
}

impl Watermark {
    /// Notes that everything up to `sequence` is committed.
    pub fn advance(&self, sequence: Sequence) {
        self.state().committed = sequence;
        self.shared.1.notify_all();
    }

    /// Notes that nothing more will be committed.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.shared.1.notify_all();
    }

    /// The largest sequence that is known to be committed.
    #[must_use]
    pub fn committed(&self) -> Sequence {
        self.state().committed
    }

    /// Waits until there is something past `position`, for at most `limit`.
    #[must_use]
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
