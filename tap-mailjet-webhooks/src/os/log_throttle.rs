//! Keeps a log line that may come often from flooding the log.

use std::fmt;
use std::time::{Duration, Instant};

/// The shortest time between two lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// Allows a log line at most once in ten seconds and counts the others: a full disk must not be filled
/// further by log lines about it.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle {
    last_allowed: Option<Instant>,
    suppressed: u64,
}

/// How many lines were suppressed before one that is allowed. Its text goes at the end of that line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Suppressed(u64);

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            lines => write!(f, " (and {lines} more like this since the last such line)"),
        }
    }
}

impl LogThrottle {
    /// Returns how many lines were suppressed since the last one if a line may be logged now, and `None` if
    /// this one has to be suppressed too.
    pub(crate) fn allow(&mut self) -> Option<Suppressed> {
        self.allow_at(Instant::now())
    }

    fn allow_at(&mut self, now: Instant) -> Option<Suppressed> {
        if self.last_allowed.is_some_and(|last| now.duration_since(last) < INTERVAL) {
            self.suppressed += 1;
            return None;
        }
        self.last_allowed = Some(now);
        Some(Suppressed(std::mem::take(&mut self.suppressed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_allowed_once_in_ten_seconds_and_says_how_many_were_suppressed() {
        let mut throttle = LogThrottle::default();
        let start = Instant::now();
        let allowed =
            [0, 1, 9, 10, 11, 25, 40].map(|seconds| throttle.allow_at(start + Duration::from_secs(seconds)));
        let expected = [Some(0), None, None, Some(2), None, Some(1), Some(0)];
        assert_eq!(allowed, expected.map(|lines| lines.map(Suppressed)));
        assert_eq!(
            [0, 2].map(|lines| Suppressed(lines).to_string()),
            ["", " (and 2 more like this since the last such line)"]
        );
    }
}
