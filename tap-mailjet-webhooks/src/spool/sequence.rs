//! Sequence numbers: a Unix epoch that never stands still and never goes back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest sequence that a clock leads to: in nanoseconds, a moment of the year 2230. It leaves room for a sequence a
/// nanosecond for thirty years to come: a clock that was once set to far away must not use them up.
const LAST_BY_CLOCK: i64 = i64::MAX - 1_000_000_000_000_000_000;

/// The unit of `_sdc_sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SequenceUnit {
    /// 13 digits. Above 1000 events a second, the later ones borrow the milliseconds that follow.
    #[default]
    Millisecond,
    /// 19 digits: milliseconds × 10^6 and a counter, the form that Stitch's own tables hold.
    Nanosecond,
}

impl SequenceUnit {
    /// The sequence that belongs to a moment given in Unix milliseconds, up to one of the year 2230.
    #[must_use]
    pub fn at(self, unix_millis: i64) -> i64 {
        let sequence = match self {
            SequenceUnit::Millisecond => unix_millis,
            SequenceUnit::Nanosecond => unix_millis.saturating_mul(1_000_000),
        };
        sequence.min(LAST_BY_CLOCK)
    }
}

/// Hands out sequences: `max(last + 1, now)`.
#[derive(Debug)]
pub(super) struct Sequencer {
    unit: SequenceUnit,
    last: i64,
}

impl Sequencer {
    /// Goes on after `last`, the largest sequence that was ever handed out.
    pub(super) fn after(last: i64, unit: SequenceUnit) -> Self {
        Sequencer { unit, last }
    }

    /// The next sequence, given the time now.
    pub(super) fn next(&mut self, unix_millis: i64) -> i64 {
        // Where there are no more, SQLite refuses the one that it has.
        self.last = self.unit.at(unix_millis).max(self.last.saturating_add(1));
        self.last
    }

    /// The last sequence that was handed out.
    pub(super) fn last(&self) -> i64 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_increase_whatever_the_clock_does() {
        let mut sequencer = Sequencer::after(0, SequenceUnit::Millisecond);
        let clock = [1000, 1000, 1000, 1001, 5000, 400, 400, 5001, 5003];
        let sequences: Vec<_> = clock.into_iter().map(|now| sequencer.next(now)).collect();
        assert_eq!(sequences, [1000, 1001, 1002, 1003, 5000, 5001, 5002, 5003, 5004]);
    }

    /// An hour forward and back, twice, and the end of a year between two events.
    #[test]
    fn sequences_increase_while_the_clock_jumps_by_an_hour() {
        const HOUR: i64 = 3_600_000;
        const NEW_YEAR: i64 = 1_798_761_600_000;
        let clock = [-1, 0, HOUR, HOUR + 1, 1, 2, -HOUR, -HOUR, HOUR + 2, HOUR + 9].map(|at| NEW_YEAR + at);
        let expected = [-1, 0, HOUR, HOUR + 1, HOUR + 2, HOUR + 3, HOUR + 4, HOUR + 5, HOUR + 6, HOUR + 9]
            .map(|at| NEW_YEAR + at);
        let mut sequencer = Sequencer::after(0, SequenceUnit::Millisecond);
        assert_eq!(clock.map(|now| sequencer.next(now)), expected);
    }

    #[test]
    fn nanoseconds_have_stitchs_19_digits() {
        let mut sequencer = Sequencer::after(0, SequenceUnit::Nanosecond);
        let sequences = [sequencer.next(1_565_276_078_922), sequencer.next(1_565_276_078_922)];
        assert_eq!(sequences, [1_565_276_078_922_000_000, 1_565_276_078_922_000_001]);
    }

    #[test]
    fn sequences_increase_at_the_end_of_time() {
        let mut sequencer = Sequencer::after(0, SequenceUnit::Nanosecond);
        let sequences = [i64::MAX, i64::MAX, 0].map(|now| sequencer.next(now));
        assert_eq!(sequences, [LAST_BY_CLOCK, LAST_BY_CLOCK + 1, LAST_BY_CLOCK + 2]);
        assert_eq!(Sequencer::after(i64::MAX, SequenceUnit::Millisecond).next(0), i64::MAX);
    }

    #[test]
    fn a_change_of_unit_does_not_go_back() {
        let mut sequencer = Sequencer::after(1_565_276_078_922_000_000, SequenceUnit::Millisecond);
        assert_eq!(sequencer.next(1_565_276_078_999), 1_565_276_078_922_000_001);
    }
}
