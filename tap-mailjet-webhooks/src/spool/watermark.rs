//! Tells the emitter, in the same process, that the spool has more for it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The largest sequence that is committed, and whether there will be another.
#[derive(Debug, Clone, Default)]
pub struct Watermark {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    committed: i64,
    closed: bool,
}

/// What became of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wakeup {
    /// There is something past the position.
    Advanced,
    /// The time is over.
    TimedOut,
    /// Nothing is left past the position, and nothing will come.
    Closed,
}

impl Watermark {
    /// Says that everything up to `sequence` is committed.
    pub fn advance(&self, sequence: i64) {
        self.change(|state| state.committed = sequence);
    }

    /// Says that nothing more will be committed.
    pub fn end(&self) {
        self.change(|state| state.closed = true);
    }

    /// The largest sequence that is committed.
    #[must_use]
    pub fn committed(&self) -> i64 {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).committed
    }

    /// Waits until there is something past `position`, for `limit` at the most.
    #[must_use]
    pub fn wait_past(&self, position: i64, limit: Duration) -> Wakeup {
        let (mutex, condvar) = &*self.shared;
        let state = mutex.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, _) = condvar
            .wait_timeout_while(state, limit, |state| state.committed <= position && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        if state.committed > position {
            Wakeup::Advanced
        } else if state.closed {
            Wakeup::Closed
        } else {
            Wakeup::TimedOut
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let (mutex, condvar) = &*self.shared;
        change(&mut mutex.lock().unwrap_or_else(PoisonError::into_inner));
        condvar.notify_all();
    }
}
