//! Bookmarks that a tool has rounded.
//!
//! Some tools know numbers only as doubles (`jq` before 1.7, JavaScript). They reprint a bookmark past 2^53,
//! as `sequence_unit` nanosecond has them, as the nearest double with as few digits as possible. The result
//! may be larger than what was stored.

use super::Sequence;

/// The first integer after which doubles skip some.
const FIRST_SKIPPED: i64 = 1 << f64::MANTISSA_DIGITS;

/// How far rounding moves a bookmark at most.
pub(super) const LARGEST_DISTANCE: u64 = 1 << (i64::MAX.ilog2() + 1 - f64::MANTISSA_DIGITS);

/// Returns the smallest sequence that a bookmark may have been before it was rounded; `None` if it was not:
/// a double would be printed otherwise.
#[allow(clippy::cast_precision_loss)] // That is what this is about.
pub(super) fn smallest_before_rounding(bookmark: Sequence) -> Option<Sequence> {
    let number = bookmark.get();
    if number < FIRST_SKIPPED || (number as f64).to_string() != number.to_string() {
        return None;
    }
    // Rounding to a double moves it by half the distance of two doubles at most, and so does printing few
    // digits.
    let distance = 1 << (number.ilog2() + 1 - f64::MANTISSA_DIGITS);
    Some(Sequence::new(number - distance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_double_would_print_may_have_been_rounded() {
        let cases = [
            (1_513_975_381_000, None),
            (9_007_199_254_740_991, None),
            (1_565_276_078_922_000_095, None),
            // 1565276078922000095, as jq 1.6 prints it, and a sequence that no tool has touched.
            (1_565_276_078_922_000_100, Some(1_565_276_078_921_999_844)),
            (1_565_276_078_922_000_000, Some(1_565_276_078_921_999_744)),
        ];
        for (bookmark, expected) in cases {
            let smallest = smallest_before_rounding(Sequence::new(bookmark));
            assert_eq!(smallest.map(Sequence::get), expected, "{bookmark}");
        }
    }

    #[test]
    fn the_smallest_is_never_past_the_original() {
        for counter in 0..1000 {
            let original = 1_565_276_078_922_000_000 + counter;
            #[allow(clippy::cast_precision_loss)]
            let rounded = (original as f64).to_string().parse().expect("an integer");
            let smallest = smallest_before_rounding(Sequence::new(rounded)).expect("it was rounded");
            assert!(smallest.get() <= original, "{original} {rounded} {smallest}");
        }
    }
}
