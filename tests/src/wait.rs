//! Waiting for something to happen.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for anything before it fails. Long enough for a slow machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Polls until `look` finds something. Where a test can wait for a line or an exit, it should do that
/// instead.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, what, look)
}

/// Polls like [`until`], for something that takes a processor most of a minute even if nothing else runs.
pub fn until_computed<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(4 * DEADLINE, what, look)
}

fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {limit:?} in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
