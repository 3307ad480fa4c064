//! The wall clock, and how it is written.

use std::time::{SystemTime, UNIX_EPOCH};

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
            (-5, "1970-01-01T00:00:00.000Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
        ];
        for (millis, text) in cases {
            assert_eq!(rfc3339(millis), text);
        }
    }
}
