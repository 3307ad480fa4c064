//! The log of refused requests: each kind is told at most once in ten seconds. A full disk must not be filled further by the
//! log of who was told so.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Level, debug, info, warn};

use super::refusal::Refusal;

/// How long a kind of refusal is only counted after it was told.
const QUIET: Duration = Duration::from_secs(10);

/// What was told lately.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    /// By tag: when it was last told, and how many there were since.
    told: Mutex<HashMap<&'static str, (Instant, u64)>>,
}

impl RefusalLog {
    /// Tells a refusal, or counts it.
    pub(super) fn tell(&self, refusal: &Refusal) {
        let (status, tag) = (refusal.status().as_u16(), refusal.tag());
        if refusal.log_level() == Level::DEBUG {
            debug!(status, tag, "refused: {refusal}");
            return;
        }
        let Some(others) = self.count(tag, Instant::now()) else { return };
        let others =
            if others == 0 { String::new() } else { format!(" (and {others} like it since the last time)") };
        if refusal.log_level() == Level::INFO {
            info!(status, tag, "refused: {refusal}{others}");
        } else {
            warn!(status, tag, "refused: {refusal}{others}");
        }
    }

    /// How many went by untold, if it is time to tell one.
    fn count(&self, tag: &'static str, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match told.get_mut(tag) {
            Some((at, others)) if now.duration_since(*at) < QUIET => {
                *others += 1;
                None
            }
            _ => told.insert(tag, (now, 0)).map_or(Some(0), |(_, others)| Some(others)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_told_once_and_then_counted() {
        let log = RefusalLog::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let told = [("a", 0), ("a", 1), ("b", 1), ("a", 9), ("a", 10), ("a", 11), ("a", 25), ("b", 30)];
        let counted = told.map(|(tag, seconds)| log.count(tag, after(seconds)));
        assert_eq!(counted, [Some(0), None, Some(0), None, Some(2), None, Some(1), Some(0)]);
    }
}
