//! The wall clock, and how its moments are written.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};

/// A moment in Unix milliseconds, by a clock that may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(i64);

impl UnixMillis {
    /// The last moment that RFC 3339 can express: the end of the year 9999.
    const LAST_IN_RFC3339: i64 = 253_402_300_799_999;

    /// The moment `millis` milliseconds after the start of 1970, UTC.
    pub const fn new(millis: i64) -> Self {
        UnixMillis(millis)
    }

    /// Reads the system's clock.
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(millis(since_epoch))
    }

    /// Milliseconds since the start of 1970, UTC.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Returns how long after `earlier` this moment is; zero if a clock that stepped back
    /// makes it earlier.
    pub fn since(self, earlier: UnixMillis) -> Duration {
        let passed = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(passed).unwrap_or(0))
    }

    /// Returns the moment `duration` earlier.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        UnixMillis(self.0.saturating_sub(millis(duration)))
    }

    /// Writes the moment as RFC 3339 text in UTC, with milliseconds and a Z.
    ///
    /// A moment that RFC 3339 cannot express becomes the nearest one that it can, because targets stop at
    /// anything else.
    pub fn to_rfc3339(self) -> String {
        let in_range = self.0.clamp(0, Self::LAST_IN_RFC3339);
        let moment = DateTime::from_timestamp_millis(in_range).expect("the value was clamped to the range");
        moment.to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A wall clock that never runs ahead of the time that has really elapsed since it was started.
///
/// If the system's clock is set an hour forward, events must not be deleted an hour early: setting the clock
/// back does not bring them back.
#[derive(Debug)]
pub struct CappedClock {
    wall: fn() -> UnixMillis,
    started_at: UnixMillis,
    started: Instant,
}

impl CappedClock {
    /// Starts a clock that follows `wall` from now on.
    pub fn start(wall: fn() -> UnixMillis) -> Self {
        CappedClock { wall, started_at: wall(), started: Instant::now() }
    }

    /// Reads the clock.
    pub fn now(&self) -> UnixMillis {
        self.cap((self.wall)(), self.started.elapsed())
    }

    fn cap(&self, wall: UnixMillis, elapsed: Duration) -> UnixMillis {
        wall.min(UnixMillis(self.started_at.0.saturating_add(millis(elapsed))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_becomes_text_that_targets_can_read() {
        let cases = [
            (1_513_975_381_042, "2017-12-22T20:43:01.042Z"),
            (0, "1970-01-01T00:00:00.000Z"),
            (1_483_228_799_999, "2016-12-31T23:59:59.999Z"),
            // Between the two was a leap second, which Unix time does not count.
            (1_483_228_800_000, "2017-01-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (-5, "1970-01-01T00:00:00.000Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
        ];
        for (millis, text) in cases {
            assert_eq!(UnixMillis::new(millis).to_rfc3339(), text);
        }
    }

    #[test]
    fn a_capped_clock_runs_no_faster_than_elapsed_time() {
        const HOUR: i64 = 3_600_000;
        let clock = CappedClock::start(|| UnixMillis::new(10 * HOUR));
        // Hours elapsed, what the wall clock says, and what the capped clock says.
        let cases =
            [(0, 10, 10), (1, 11, 11), (1, 12, 11), (1, 10, 10), (2, 9, 9), (3, 13, 13), (3, 500, 13)];
        for (elapsed, wall, expected) in cases {
            let now = clock.cap(UnixMillis::new(wall * HOUR), Duration::from_secs(3600 * elapsed));
            assert_eq!(now.get(), expected * HOUR, "after {elapsed} hours, the wall clock at {wall}");
        }
    }
}
