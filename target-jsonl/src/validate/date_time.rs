//! The format `date-time`, the only one that is checked: what taps really write.
//!
//! RFC 3339, section 5.6, and what Singer's own Python library accepts besides: a date and time without a
//! zone, or with a space in place of the `T`, a zone without a colon, and a date alone.

use chrono::NaiveDate;

/// Whether `text` is a date and time, such as `2017-12-22T21:36:21Z`.
///
/// A leap second is only possible at 23:59:60 UTC. `T` and `Z` may be lower case, as the RFC allows.
pub(super) fn is_date_time(text: &str) -> bool {
    let text = text.as_bytes();
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, rest @ ..] = text else { return false };
    let (Some(century), Some(year)) = (two_digits(*y1, *y2), two_digits(*y3, *y4)) else { return false };
    let (Some(month), Some(day)) = (two_digits(*m1, *m2), two_digits(*d1, *d2)) else { return false };
    let year = i32::from(century) * 100 + i32::from(year);
    let is_date = NaiveDate::from_ymd_opt(year, month.into(), day.into()).is_some();
    match rest {
        [] => is_date,
        [b'T' | b't' | b' ', time @ ..] => is_date && is_time(time),
        _ => false,
    }
}

/// Whether `text` is a time of day, with or without a zone.
fn is_time(text: &[u8]) -> bool {
    let [h1, h2, b':', n1, n2, b':', s1, s2, rest @ ..] = text else { return false };
    let (Some(hour), Some(minute), Some(second)) =
        (two_digits(*h1, *h2), two_digits(*n1, *n2), two_digits(*s1, *s2))
    else {
        return false;
    };
    let Some(offset) = offset_in_minutes(after_fraction(rest)) else { return false };
    let is_last_minute = || (in_minutes(hour, minute) - offset).rem_euclid(1440) == 1439;
    hour <= 23 && minute <= 59 && (second <= 59 || second == 60 && is_last_minute())
}

/// Skips the fraction of a second, if there is one. A point without digits is not a fraction and is not
/// skipped; no offset begins with a point, so it is refused.
fn after_fraction(text: &[u8]) -> &[u8] {
    let Some(digits) = text.strip_prefix(b".") else { return text };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 { text } else { &digits[length..] }
}

/// Reads `Z`, `+02:00`, `-0330` or `+02` with nothing after it. Nothing at all means UTC, too.
fn offset_in_minutes(text: &[u8]) -> Option<i32> {
    match text {
        [] | [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, rest @ ..] => {
            let minutes = match rest {
                [] => 0,
                [b':', m1, m2] | [m1, m2] => two_digits(*m1, *m2)?,
                _ => return None,
            };
            let hours = two_digits(*h1, *h2)?;
            let offset = in_minutes(hours, minutes);
            (hours <= 23 && minutes <= 59).then_some(if *sign == b'-' { -offset } else { offset })
        }
        _ => None,
    }
}

fn two_digits(tens: u8, ones: u8) -> Option<u8> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| (tens - b'0') * 10 + (ones - b'0'))
}

fn in_minutes(hours: u8, minutes: u8) -> i32 {
    i32::from(hours) * 60 + i32::from(minutes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_taps_write_is_a_date_time_and_nonsense_is_not() {
        let right = [
            "2017-12-22T21:36:21Z|2017-12-22t21:36:21z|2017-12-22T21:36:21.5Z|2017-12-22T21:36:21-00:00",
            "2017-12-22T21:36:21.123456789012+02:00|2016-12-31T23:59:60Z|2016-12-31T15:59:60-08:00",
            "2017-01-01T05:29:60+05:30|2000-02-29T00:00:00Z|0000-01-01T00:00:00Z|2017-12-22",
            "2017-12-22T21:36:21|2017-12-22 21:36:21Z|2017-12-22 21:36:21.5|2017-12-22T21:36:21+0200",
            "2017-12-22T21:36:21+02|2017-12-22T21:36:21-0330",
        ];
        let wrong = [
            "|2017-12|2017-12-22T|2017-12-22  21:36:21|2017-12-22T21:36Z|2017-12-22T21:36:21.Z|22.12.2017",
            "2017-12-22T21:36:21,5Z|2017-12-22T21:36:21+02000|2017-12-22T21:36:21+24:00",
            "2017-12-22T21:36:21+02:60|2017-12-22T21:36:21Z | 2017-12-22T21:36:21Z|17-12-22T21:36:21Z",
            "2017-12-22T24:00:00Z|2017-12-22T21:60:00Z|2017-12-22T21:36:60Z|2017-12-22T21:36:61Z",
            "2017-13-22T21:36:21Z|2017-00-22T21:36:21Z|2017-12-32T21:36:21Z|2017-12-00T21:36:21Z",
            "2017-02-29T21:36:21Z|1900-02-29T21:36:21Z|+2017-12-22T21:36:21Z|２017-12-22T21:36:21Z",
        ];
        for text in right.iter().flat_map(|line| line.split('|')) {
            assert!(is_date_time(text), "{text}");
        }
        for text in wrong.iter().flat_map(|line| line.split('|')) {
            assert!(!is_date_time(text), "{text}");
        }
    }

    proptest! {
        /// The jsonschema crate has its own check, of RFC 3339. Ours replaces it there, and accepts all
        /// that it does. With a `T` and a zone that has a colon, the two agree.
        #[test]
        fn the_jsonschema_crate_agrees(
            text in "[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9]:[0-6][0-9](\\.[0-9]{0,7})?\
                     ([Zz]|[+-][0-2][0-9]:[0-6][0-9])?",
            leap in "(2016-12-31T|2017-01-01T)[0-2][0-9]:[0-5][0-9]:60(Z|[+-][0-2][0-9]:[0-5][0-9])",
        ) {
            let schema = json!({ "format": "date-time" });
            let theirs = jsonschema::options()
                .with_draft(jsonschema::Draft::Draft7)
                .should_validate_formats(true)
                .build(&schema)
                .expect("a schema");
            for text in [text, leap] {
                let ends_well = text.ends_with(|c: char| c.is_ascii_digit() || matches!(c, 'Z' | 'z'));
                let has_zone = text[19..].contains(['Z', 'z', '+', '-']);
                let is_strict = !text.contains(' ') && ends_well && has_zone;
                let is_theirs = theirs.is_valid(&json!(text));
                prop_assert!(is_date_time(&text) || !is_theirs, "{}", text);
                prop_assert!(!is_strict || is_date_time(&text) == is_theirs, "{}", text);
            }
        }
    }
}
