//! The format `date-time`, the only one that is checked: exactly RFC 3339, section 5.6.

/// Whether `text` is a date and time with a zone, such as `2017-12-22T21:36:21Z`.
///
/// A leap second is only possible at 23:59:60 UTC. `T` and `Z` may be lower case, as the RFC allows.
pub(super) fn is_date_time(text: &str) -> bool {
    let text = text.as_bytes();
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T' | b't', rest @ ..] = text else { return false };
    let [h1, h2, b':', n1, n2, b':', s1, s2, rest @ ..] = rest else { return false };
    let (Some(century), Some(year)) = (two_digits(*y1, *y2), two_digits(*y3, *y4)) else { return false };
    let (Some(month), Some(day)) = (two_digits(*m1, *m2), two_digits(*d1, *d2)) else { return false };
    let (Some(hour), Some(minute), Some(second)) =
        (two_digits(*h1, *h2), two_digits(*n1, *n2), two_digits(*s1, *s2))
    else {
        return false;
    };
    let Some(offset) = offset_in_minutes(after_fraction(rest)) else { return false };
    let is_in_range = day >= 1 && day <= days_in(century * 100 + year, month) && hour <= 23 && minute <= 59;
    is_in_range && (second <= 59 || second == 60 && (hour * 60 + minute - offset).rem_euclid(1440) == 1439)
}

/// Skips the fraction of a second, if there is one. A point without digits is not a fraction and is not
/// skipped; no offset begins with a point, so it is refused.
fn after_fraction(text: &[u8]) -> &[u8] {
    let Some(digits) = text.strip_prefix(b".") else { return text };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 { text } else { &digits[length..] }
}

/// Reads `Z`, `+02:00` or `-03:30` with nothing after it.
fn offset_in_minutes(text: &[u8]) -> Option<i32> {
    match text {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (two_digits(*h1, *h2)?, two_digits(*m1, *m2)?);
            let offset = hours * 60 + minutes;
            (hours <= 23 && minutes <= 59).then_some(if *sign == b'-' { -offset } else { offset })
        }
        _ => None,
    }
}

fn two_digits(tens: u8, ones: u8) -> Option<i32> {
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| i32::from(tens - b'0') * 10 + i32::from(ones - b'0'))
}

/// Returns 0 if there is no such month, so that no day fits.
fn days_in(year: i32, month: i32) -> i32 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_rfc_3339_is_a_date_time() {
        let right = [
            "2017-12-22T21:36:21Z|2017-12-22t21:36:21z|2017-12-22T21:36:21.5Z|2017-12-22T21:36:21-00:00",
            "2017-12-22T21:36:21.123456789012+02:00|2016-12-31T23:59:60Z|2016-12-31T15:59:60-08:00",
            "2017-01-01T05:29:60+05:30|2000-02-29T00:00:00Z|0000-01-01T00:00:00Z",
        ];
        let wrong = [
            "|2017-12-22|2017-12-22T21:36:21|2017-12-22 21:36:21Z|2017-12-22T21:36Z|2017-12-22T21:36:21.Z",
            "2017-12-22T21:36:21,5Z|2017-12-22T21:36:21+0200|2017-12-22T21:36:21+24:00",
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
        /// The jsonschema crate has its own check. Ours replaces it there, and gives the same verdict.
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
                prop_assert_eq!(is_date_time(&text), theirs.is_valid(&json!(text)), "{}", text);
            }
        }
    }
}
