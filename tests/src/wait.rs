//! Waiting for something to happen.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it. Generous, so that a slow machine fails no test.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Looks until `look` finds something. For what tells nobody when it happens; where there is a line or an exit to wait
/// for, wait for that.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {DEADLINE:?} in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
