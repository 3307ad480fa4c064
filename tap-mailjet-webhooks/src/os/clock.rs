//! The wall clock, and how its moments are written.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};

use super::uptime::Uptime;

/// What tells the time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// The time of day, which somebody can set.
    pub wall: fn() -> UnixMillis,
    /// How long the machine has been running, if that is known. Nobody can set that.
    pub uptime: fn() -> Option<Uptime>,
}

impl Clock {
    /// The machine's clocks.
    pub const SYSTEM: Clock = Clock { wall: UnixMillis::now, uptime: Uptime::read };
}

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

    /// Returns the moment `duration` later.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        UnixMillis(self.0.saturating_add(millis(duration)))
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

/// Returns a span of time in milliseconds.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
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
}
