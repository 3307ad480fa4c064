//! How numbers, ages and times are written on the page.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::os::clock::UnixMillis;

/// Separates groups of three digits.
const THIN_SPACE: char = '\u{2009}';

/// Writes a number with its digits in groups of three.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(THIN_SPACE);
        }
        text.push(digit);
    }
    text
}

/// Writes "1 event" or "2 events".
pub(super) fn count(value: u64, one: &str) -> String {
    let plural = if value == 1 { "" } else { "s" };
    format!("{} {one}{plural}", number(value))
}

/// Writes a span of time in its largest unit, rounded down: "4 seconds", "2 hours".
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (value, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    count(value, unit)
}

/// Writes how long something is ago: "just now", "4 seconds ago".
pub(super) fn ago(age: Duration) -> String {
    if age < Duration::from_secs(1) { "just now".to_owned() } else { format!("{} ago", span(age)) }
}

/// Writes a size in bytes in its largest binary unit, with one digit after the point below 10.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut scale = 1_u64;
    while unit + 1 < UNITS.len() && bytes / scale >= 1024 {
        scale *= 1024;
        unit += 1;
    }
    let (whole, tenths) = (bytes / scale, bytes % scale * 10 / scale);
    match (unit, whole, tenths) {
        (0, _, _) | (_, 10.., _) | (_, _, 0) => format!("{} {}", number(whole), UNITS[unit]),
        _ => format!("{whole}.{tenths} {}", UNITS[unit]),
    }
}

fn moment(moment: UnixMillis) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(moment.get()).unwrap_or_default()
}

/// Writes a day: "3 Aug 2026".
pub(super) fn day(at: UnixMillis) -> String {
    moment(at).format("%-d %b %Y").to_string()
}

/// Writes a time of day, with seconds: "00:21:40".
pub(super) fn time_of_day(at: UnixMillis) -> String {
    moment(at).format("%H:%M:%S").to_string()
}

/// Writes a day and a time of day: "24 Nov, 09:40 UTC".
pub(super) fn day_and_time(at: UnixMillis) -> String {
    moment(at).format("%-d %b, %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ages_sizes_and_times_are_written_for_people() {
        let numbers = [0, 999, 1_000, 1_234_567].map(number);
        assert_eq!(numbers, ["0", "999", "1\u{2009}000", "1\u{2009}234\u{2009}567"]);
        assert_eq!([1, 2].map(|value| count(value, "event")), ["1 event", "2 events"]);
        let spans = [0, 1, 59, 60, 3_599, 7_300, 86_399, 200_000].map(|s| span(Duration::from_secs(s)));
        let expected = [
            "0 seconds",
            "1 second",
            "59 seconds",
            "1 minute",
            "59 minutes",
            "2 hours",
            "23 hours",
            "2 days",
        ];
        assert_eq!(spans, expected);
        let ages = [0, 999, 1_000].map(|age| ago(Duration::from_millis(age)));
        assert_eq!(ages, ["just now", "just now", "1 second ago"]);
        let sizes = [0, 1_023, 1_024, 1_536, 10 << 30, (10 << 30) + (1 << 29), u64::MAX].map(bytes);
        let expected = [
            "0 bytes",
            "1\u{2009}023 bytes",
            "1 KiB",
            "1.5 KiB",
            "10 GiB",
            "10 GiB",
            "16\u{2009}777\u{2009}215 TiB",
        ];
        assert_eq!(sizes, expected);
        let at = UnixMillis::new(1_795_652_500_042);
        assert_eq!(day(at), "26 Nov 2026");
        assert_eq!(time_of_day(at), "00:21:40");
        assert_eq!(day_and_time(at), "26 Nov, 00:21 UTC");
    }
}
