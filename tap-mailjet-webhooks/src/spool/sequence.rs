//! Sequences: Unix times that always increase, whatever the clock does.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::os::clock::UnixMillis;

/// The largest sequence that the clock alone can lead to: in nanoseconds, a moment in the year 2230.
///
/// Above it, a sequence per nanosecond is left for thirty years, so that a clock that was once set far ahead
/// does not use them all up.
pub(super) const LAST_BY_CLOCK: i64 = i64::MAX - 1_000_000_000_000_000_000;

/// The number of an event or a rejected item: its key, its bookmark and its place in commit order.
///
/// It is also used as a position: "everything up to this sequence".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(i64);

impl Sequence {
    /// The position before the first event. Events have sequences from 1.
    pub const START: Sequence = Sequence(0);
    /// The position after every event.
    pub const END: Sequence = Sequence(i64::MAX);

    /// The sequence with this number.
    pub const fn new(number: i64) -> Self {
        Sequence(number)
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Returns what the clock said when the sequence was assigned, in either unit, or later: a sequence is
    /// never smaller than one before it.
    pub(super) const fn assigned_at(self) -> UnixMillis {
        // In milliseconds, this would be the year 5138; in nanoseconds, it is 1973.
        const FIRST_IN_NANOSECONDS: i64 = 100_000_000_000_000_000;
        UnixMillis::new(if self.0 < FIRST_IN_NANOSECONDS { self.0 } else { self.0 / 1_000_000 })
    }

    /// The sequence after this one; the last one is followed by itself.
    #[must_use]
    pub const fn next(self) -> Self {
        Sequence(self.0.saturating_add(1))
    }

    /// The sequence before this one.
    #[must_use]
    pub const fn previous(self) -> Self {
        Sequence(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The unit of `_sdc_sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SequenceUnit {
    /// 13 digits. Above 1000 events a second, the later ones borrow the milliseconds that follow.
    #[default]
    Millisecond,
    /// 19 digits: milliseconds × 10^6 plus a counter, the form that Stitch's own tables hold.
    Nanosecond,
}

impl SequenceUnit {
    /// The difference between the sequences of two moments that are a millisecond apart.
    pub(super) fn per_millisecond(self) -> i64 {
        match self {
            SequenceUnit::Millisecond => 1,
            SequenceUnit::Nanosecond => 1_000_000,
        }
    }

    /// Returns the sequence for a moment, at most `LAST_BY_CLOCK`.
    pub fn sequence_at(self, moment: UnixMillis) -> Sequence {
        Sequence(moment.get().saturating_mul(self.per_millisecond()).min(LAST_BY_CLOCK))
    }
}

/// Assigns sequences: `max(last + 1, now)`.
#[derive(Debug)]
pub(super) struct Sequencer {
    pub(super) unit: SequenceUnit,
    /// The largest sequence that was ever assigned.
    pub(super) last: Sequence,
}

impl Sequencer {
    pub(super) fn next(&mut self, now: UnixMillis) -> Sequence {
        // The last possible sequence is assigned again and again, and the spool refuses the duplicate.
        self.last = self.unit.sequence_at(now).max(self.last.next());
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assign<const N: usize>(sequencer: &mut Sequencer, clock: [i64; N]) -> [i64; N] {
        clock.map(|now| sequencer.next(UnixMillis::new(now)).get())
    }

    #[test]
    fn sequences_increase_whatever_the_clock_does() {
        let mut sequencer = Sequencer { last: Sequence::START, unit: SequenceUnit::Millisecond };
        let clock = [1000, 1000, 1000, 1001, 5000, 400, 400, 5001, 5003, 5009];
        let expected = [1000, 1001, 1002, 1003, 5000, 5001, 5002, 5003, 5004, 5009];
        assert_eq!(assign(&mut sequencer, clock), expected);
    }

    #[test]
    fn nanoseconds_have_stitchs_19_digits() {
        let mut sequencer = Sequencer { last: Sequence::START, unit: SequenceUnit::Nanosecond };
        let sequences = assign(&mut sequencer, [1_565_276_078_922, 1_565_276_078_922]);
        assert_eq!(sequences, [1_565_276_078_922_000_000, 1_565_276_078_922_000_001]);
    }

    #[test]
    fn sequences_increase_at_the_end_of_time() {
        let mut sequencer = Sequencer { last: Sequence::START, unit: SequenceUnit::Nanosecond };
        let sequences = assign(&mut sequencer, [i64::MAX, i64::MAX, 0]);
        assert_eq!(sequences, [LAST_BY_CLOCK, LAST_BY_CLOCK + 1, LAST_BY_CLOCK + 2]);
        let mut exhausted = Sequencer { last: Sequence::END, unit: SequenceUnit::Millisecond };
        assert_eq!(exhausted.next(UnixMillis::new(0)), Sequence::END);
    }

    #[test]
    fn a_change_of_unit_does_not_go_back() {
        let last = Sequence::new(1_565_276_078_922_000_000);
        let mut sequencer = Sequencer { last, unit: SequenceUnit::Millisecond };
        assert_eq!(sequencer.next(UnixMillis::new(1_565_276_078_999)), last.next());
    }
}
