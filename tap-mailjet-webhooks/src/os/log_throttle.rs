//! Keeps a log line that may come any number of times from flooding the log.

use std::fmt;
use std::time::{Duration, Instant};

/// How long a line is only counted after it was told.
const QUIET: Duration = Duration::from_secs(10);

/// Lets a line that may come any number of times be told at most once in ten seconds. A full disk must not be filled further
/// by the log of it.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle {
    told: Option<Instant>,
    untold: u64,
}

/// How many lines went by untold: ends the next one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Suppressed(u64);

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            others => write!(f, " (and {others} like it since the last time)"),
        }
    }
}

impl LogThrottle {
    /// Whether to tell the line now, and if so how many went by untold.
    pub(crate) fn due(&mut self) -> Option<Suppressed> {
        self.due_at(Instant::now())
    }

    fn due_at(&mut self, now: Instant) -> Option<Suppressed> {
        if self.told.is_some_and(|told| now.duration_since(told) < QUIET) {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(Suppressed(std::mem::take(&mut self.untold)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_once_and_then_counted() {
        let mut sparing = LogThrottle::default();
        let start = Instant::now();
        let told =
            [0, 1, 9, 10, 11, 25, 40].map(|seconds| sparing.due_at(start + Duration::from_secs(seconds)));
        assert_eq!(
            told,
            [Some(0), None, None, Some(2), None, Some(1), Some(0)].map(|told| told.map(Suppressed))
        );
        assert_eq!(
            [0, 2].map(|untold| Suppressed(untold).to_string()),
            ["", " (and 2 like it since the last time)"]
        );
    }
}
