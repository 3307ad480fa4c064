//! The wall clock, and how it is written.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};

/// Now, in Unix milliseconds.
#[must_use]
pub fn unix_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// How long after `earlier` a moment is (both in Unix milliseconds); 0 if a clock stepped back between them.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "no time that passes here is 285 000 years")]
pub fn seconds_between(earlier: i64, later: i64) -> f64 {
    later.saturating_sub(earlier).max(0) as f64 / 1000.0
}

/// The wall clock, held back where it runs ahead of the time that has really passed: by it, nothing is older than it is.
///
/// A clock that is set an hour forward would otherwise have events deleted an hour early; set back again, it can't
/// bring them back.
#[derive(Debug)]
pub struct PatientClock {
    wall: fn() -> i64,
    started_at: i64,
    started: Instant,
}

impl PatientClock {
    /// Goes by `wall`, which tells Unix milliseconds, from now on.
    pub fn start(wall: fn() -> i64) -> Self {
        PatientClock { wall, started_at: wall(), started: Instant::now() }
    }

    /// Now, in Unix milliseconds.
    #[must_use]
    pub fn unix_millis(&self) -> i64 {
        self.at((self.wall)(), self.started.elapsed())
    }

    fn at(&self, wall: i64, elapsed: Duration) -> i64 {
        wall.min(self.started_at.saturating_add(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// A moment as RFC 3339 text in UTC, with milliseconds and a Z. Moments that RFC 3339 can't express (the year is
/// beyond 9999) become the last one that it can: targets would stop at anything else.
#[must_use]
pub fn rfc3339(unix_millis: i64) -> String {
    const LAST: i64 = 253_402_300_799_999;
    let moment = DateTime::from_timestamp_millis(unix_millis.clamp(0, LAST)).expect("it is within the range");
    moment.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_always_one_that_targets_can_read() {
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
            assert_eq!(rfc3339(millis), text);
        }
    }

    #[test]
    fn a_patient_clock_runs_no_faster_than_time() {
        const HOUR: i64 = 3_600_000;
        let clock = PatientClock::start(|| 10 * HOUR);
        // Hours that have passed, what the wall clock says, and what is taken for now.
        let cases =
            [(0, 10, 10), (1, 11, 11), (1, 12, 11), (1, 10, 10), (2, 9, 9), (3, 13, 13), (3, 500, 13)];
        for (passed, wall, expected) in cases {
            let now = clock.at(wall * HOUR, Duration::from_secs(3600 * passed));
            assert_eq!(now, expected * HOUR, "after {passed} hours, the wall clock at {wall}");
        }
    }
}
